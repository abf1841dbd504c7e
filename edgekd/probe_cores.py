"""The clusters of a Linux device's processor: how many cores of which kind, at which highest clock."""

import re
from dataclasses import dataclass

from edgekd.bench.files import Files, number_of, text_of

PLACE = "/sys/devices/system/cpu"
MAX_PROCESSORS = 1024
MAX_CLOCKS = 64
"""Processors whose clock is asked for one by one: each may be a round trip. Servers have more, all alike."""

ARM_PARTS = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD48: "Cortex-X2",
    0xD49: "Neoverse-N2",
    0xD4B: "Cortex-A78C",
    0xD4D: "Cortex-A715",
    0xD4E: "Cortex-X3",
    0xD4F: "Neoverse-V2",
    0xD80: "Cortex-A520",
    0xD81: "Cortex-A720",
    0xD82: "Cortex-X4",
    0xC07: "Cortex-A7",
    0xC0F: "Cortex-A15",
    0xC0E: "Cortex-A17",
    0xC09: "Cortex-A9",
}
"""Parts of implementer 0x41, Arm. Source: Linux arch/arm64/include/asm/cputype.h and arch/arm/include/asm/cputype.h."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """`kind` is empty and `max_mhz` 0 where the device does not tell."""

    cores: int
    kind: str = ""
    max_mhz: int = 0


def clusters(files: Files, cpuinfo: str) -> list[Cluster]:
    """Fastest first. Processors are told apart by kind and highest clock; two threads of a core are one core."""
    processors = _processors(cpuinfo)[:MAX_PROCESSORS]
    if not processors:
        return []
    atoms = _range(text_of(files, "/sys/devices/cpu_atom/cpus"))
    groups: dict[tuple[bool, str, int], set[str]] = {}
    clocks: dict[int, int] = {}
    for number, facts in enumerate(processors):
        kind = _kind(facts)
        clock = _clock(files, number) if number < MAX_CLOCKS else clocks.get(number % MAX_CLOCKS, 0)
        clocks[number] = clock
        x86 = "core id" in facts
        core = f"{facts.get('physical id', '0')}.{facts['core id']}" if x86 else str(number)
        groups.setdefault((number in atoms, kind, 0 if x86 else clock), set()).add(core)
    fastest = {key: _fastest(key, clocks, processors, atoms) for key in groups}
    found = [Cluster(cores=len(cores), kind=key[1], max_mhz=fastest[key]) for key, cores in groups.items()]
    return sorted(found, key=lambda cluster: cluster.max_mhz, reverse=True)


def _fastest(key: tuple[bool, str, int], clocks: dict[int, int], processors: list[dict[str, str]], atoms: set[int]) -> int:
    """A cluster's highest clock: on x86 favoured cores of one kind have higher ones than their neighbours."""
    if key[2]:
        return key[2]
    return max(clocks[n] for n in range(len(processors)) if (n in atoms) == key[0] and _kind(processors[n]) == key[1])


def _processors(cpuinfo: str) -> list[dict[str, str]]:
    """One entry a `processor : N` line, with the lines that follow it."""
    found: list[dict[str, str]] = []
    for line in cpuinfo.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and value.isdigit():
            found.append({})
        elif found and key:
            found[-1].setdefault(key, value)
    return found


def _kind(facts: dict[str, str]) -> str:
    part = facts.get("CPU part", "")
    arm = facts.get("CPU implementer", "").lower() == "0x41"
    return ARM_PARTS.get(int(part, 16), "") if arm and re.fullmatch(r"0x[0-9a-fA-F]{1,4}", part) else ""


def _clock(files: Files, number: int) -> int:
    """Highest clock of a processor in MHz; 0 where it is not told, or cannot be one."""
    khz = number_of(files, f"{PLACE}/cpu{number}/cpufreq/cpuinfo_max_freq")
    return khz // 1000 if khz is not None and 10_000 <= khz <= 20_000_000 else 0


def _range(text: str) -> set[int]:
    """The numbers of a text like `0-3,8`."""
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part.strip())
        if match:
            found.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return found
