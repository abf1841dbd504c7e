"""What makes a figure doubtful, as values: each holds what was found, and its text says so and what to do next."""

from abc import ABC, abstractmethod
from dataclasses import dataclass


class Doubt(ABC):
    """Base of all of them; equal where what was found is equal."""

    @abstractmethod
    def __str__(self) -> str: ...


@dataclass(frozen=True)
class StealTime(Doubt):
    percent: float

    def __str__(self) -> str:
        return f"steal time {self.percent} %: the host gave this machine's processors to others; measure again, or on bare metal"


@dataclass(frozen=True)
class OtherPrograms(Doubt):
    cores: float

    def __str__(self) -> str:
        return f"other programs kept {self.cores} cores busy: stop them, or measure again when the machine is idle"


@dataclass(frozen=True)
class Governor(Doubt):
    name: str

    def __str__(self) -> str:
        return f"CPU governor is '{self.name}': the clock may change while measuring; set it to 'performance'"


@dataclass(frozen=True)
class TooManyThreads(Doubt):
    threads: int
    cpus: int

    def __str__(self) -> str:
        return f"{self.threads} threads on {self.cpus} processors: they wait for each other; use at most {self.cpus}"


@dataclass(frozen=True)
class FrequencyDrift(Doubt):
    low_mhz: float
    high_mhz: float

    def __str__(self) -> str:
        return f"the clock moved between {self.low_mhz:g} and {self.high_mhz:g} MHz under load: fix it, or let the device cool"


@dataclass(frozen=True)
class LatencyDrift(Doubt):
    change: float
    """From the start of a process to its end, as a fraction."""

    def __str__(self) -> str:
        what = "slower: heat or a falling clock; let the device cool" if self.change > 0 else "faster: raise the warm-up queries"
        return f"latency drifts: queries end {abs(self.change):.0%} {what}"


@dataclass(frozen=True)
class SlowedDown(Doubt):
    change: float
    """Of the level, as a fraction."""
    after: float
    """Share of all queries that came before."""

    def __str__(self) -> str:
        return (
            f"queries slowed down by {self.change:.0%} after {self.after:.0%} of the measurement, and stayed so: "
            "the device throttled, or another program began; let it cool, stop others, and measure again"
        )


@dataclass(frozen=True)
class Disagreement(Doubt):
    spread: float

    def __str__(self) -> str:
        return (
            f"processes disagree: their medians differ by {self.spread:.0%}; "
            "raise the number of processes, or quieten the machine"
        )


@dataclass(frozen=True)
class TwoModes(Doubt):
    low_ms: float
    high_ms: float
    share: float
    """Of queries around the higher mode."""

    def __str__(self) -> str:
        return (
            f"two kinds of query: {1 - self.share:.0%} take about {self.low_ms:.3g} ms, "
            f"{self.share:.0%} about {self.high_ms:.3g} ms; "
            "pin the threads to one kind of core, or fix the clock"
        )


@dataclass(frozen=True)
class FewSamples(Doubt):
    n: int
    needed: int
    percentile: int = 90

    def __str__(self) -> str:
        return f"{self.n} queries are too few for a p{self.percentile}: make at least {self.needed}"


@dataclass(frozen=True)
class Throttled(Doubt):
    cause: str
    """What the device says: a temperature limit, a capped clock, an events' counter, a cooling device."""

    def __str__(self) -> str:
        return f"the device throttled itself ({self.cause}): cool it, and measure again"


@dataclass(frozen=True)
class Hot(Doubt):
    temperature_c: float
    trip_c: float

    def __str__(self) -> str:
        return f"the device is at {self.temperature_c:g} °C and slows down from {self.trip_c:g} °C: cool it, and measure again"


@dataclass(frozen=True)
class UnderVoltage(Doubt):
    def __str__(self) -> str:
        return "the supply's voltage is too low, so the clock is capped: use the maker's power supply and a short cable"


@dataclass(frozen=True)
class Debugger(Doubt):
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} traces what is measured (a debugger, or strace): end it, and measure again"


@dataclass(frozen=True)
class Swapping(Doubt):
    mib: float

    def __str__(self) -> str:
        return f"the machine moved {self.mib:.1f} MiB between memory and swap while measuring: free memory, or turn swap off"


@dataclass(frozen=True)
class LowBattery(Doubt):
    percent: float

    def __str__(self) -> str:
        return f"the battery is at {self.percent:.0f} %: devices slow down to save it; charge it above 20 %, then unplug"


@dataclass(frozen=True)
class Charging(Doubt):
    def __str__(self) -> str:
        return "the battery is being charged, which heats the device: unplug it while measuring"
