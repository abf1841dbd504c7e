"""What a device says about itself around a measurement, beyond what the harness sees: heat, supply, swap, battery.

Formats: /sys/class/thermal (Linux Documentation/ABI/testing/sysfs-class-thermal), thermal_throttle of x86 (Documentation/ABI/
testing/sysfs-devices-system-cpu), /proc/vmstat (man 5 proc), /sys/class/power_supply (Documentation/ABI/
testing/sysfs-class-power), `vcgencmd get_throttled` (https://www.raspberrypi.com/documentation/computers/os.html#get_throttled).
"""

import re
from dataclasses import dataclass

from edgekd.bench.doubts import Charging, Doubt, Hot, LowBattery, Swapping, Throttled, UnderVoltage
from edgekd.bench.files import Files, number_of, text_of
from edgekd.bench.meters.battery import COMMAND, parse

LOW_BATTERY_PERCENT = 20.0  # where Android and Windows offer, and iOS applies, their saving of power
SWAP_PAGES = 256  # 1 MiB: a few pages move on any machine
PAGE_MIB = 4 / 1024
UNDER_VOLTAGE, CAPPED, THROTTLING, SOFT_LIMIT = 1, 2, 4, 8  # since boot: the same shifted by 16
MAX_PLACES = 32  # zones, processors and cooling devices that are looked at
READ = (
    *("/proc/vmstat", "/sys/class/power_supply/*/scope", "/sys/class/power_supply/*/type"),
    *("/sys/class/power_supply/*/capacity", "/sys/class/power_supply/*/status"),
    *("/sys/class/thermal/cooling_device*/type", "/sys/class/thermal/cooling_device*/cur_state"),
    *("/sys/class/thermal/thermal_zone*/temp", "/sys/class/thermal/thermal_zone*/trip_point_*"),
    "/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count",
)
"""All that a look reads, in one go: a phone has dozens of zones."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """One look; None is what the device does not tell."""

    throttled_bits: int | None = None
    throttle_events: int | None = None
    """Of x86 processors since boot, over cores and packages."""
    cooling: tuple[str, ...] = ()
    """Devices that are slowing the processor down at this moment."""
    heat: tuple[float, float] | None = None
    """°C of the zone nearest to, or furthest above, the trip point where it begins to slow down, and that point."""
    swap_pages: int | None = None
    battery_percent: float | None = None
    charging: bool | None = None


def look(files: Files, android: bool = False) -> Surroundings:
    """Raises DeviceError where the device is lost; what cannot be read is None."""
    files = files.snapshot(READ)
    percent, charging = _android_battery(files) if android else _battery(files)
    return Surroundings(
        throttled_bits=_throttled_bits(files),
        throttle_events=_throttle_events(files),
        cooling=_cooling(files),
        heat=_heat(files),
        swap_pages=_swap_pages(files),
        battery_percent=percent,
        charging=charging,
    )


def doubts_between(before: Surroundings, after: Surroundings) -> list[Doubt]:
    """What happened from one look to the next, or holds at either, that makes a figure doubtful."""
    found = [*_heat_doubts(before, after), *_throttle_doubts(before, after)]
    if before.swap_pages is not None and after.swap_pages is not None and after.swap_pages - before.swap_pages >= SWAP_PAGES:
        found.append(Swapping(round((after.swap_pages - before.swap_pages) * PAGE_MIB, 1)))
    levels = [look.battery_percent for look in (before, after) if look.battery_percent is not None]
    if levels and min(levels) < LOW_BATTERY_PERCENT:
        found.append(LowBattery(min(levels)))
    if before.charging or after.charging:
        found.append(Charging())
    return found


def _heat_doubts(before: Surroundings, after: Surroundings) -> list[Doubt]:
    heats = [look.heat for look in (before, after) if look.heat is not None and look.heat[0] >= look.heat[1]]
    return [Hot(*max(heats))] if heats else []


def _throttle_doubts(before: Surroundings, after: Surroundings) -> list[Doubt]:
    found: list[Doubt] = []
    bits = _bits_during(before.throttled_bits, after.throttled_bits)
    if bits & UNDER_VOLTAGE:
        found.append(UnderVoltage())
    words = {CAPPED: "its clock was capped", THROTTLING: "it throttled", SOFT_LIMIT: "its soft temperature limit was reached"}
    causes = [word for bit, word in words.items() if bits & bit]
    if before.throttle_events is not None and after.throttle_events is not None:
        events = after.throttle_events - before.throttle_events
        causes += [f"{events} thermal events"] if events > 0 else []
    causes += [f"cooling by {name}" for name in dict.fromkeys(before.cooling + after.cooling)]
    return [*found, *([Throttled(", ".join(causes))] if causes else [])]


def _bits_during(before: int | None, after: int | None) -> int:
    """Bits that hold at either look, or were set since boot only after the first one."""
    if before is None or after is None:
        return 0
    return (before & 0xF) | (after & 0xF) | ((after >> 16) & 0xF & ~(before >> 16))


def _throttled_bits(files: Files) -> int | None:
    try:
        said = files.output(["vcgencmd", "get_throttled"], 5)
    except OSError:
        return None
    found = re.fullmatch(r"throttled=0x([0-9a-fA-F]{1,8})", said.strip())
    return int(found[1], 16) if found else None


def _throttle_events(files: Files) -> int | None:
    place = "/sys/devices/system/cpu"
    cpus = [name for name in files.names(place) if re.fullmatch(r"cpu[0-9]+", name)][:MAX_PLACES]
    counts: list[int] = []
    for cpu in cpus:
        for name in ("core_throttle_count", "package_throttle_count"):
            count = number_of(files, f"{place}/{cpu}/thermal_throttle/{name}")
            if count is None:
                return sum(counts) if counts else None
            counts.append(count)
    return sum(counts) if counts else None


def _cooling(files: Files) -> tuple[str, ...]:
    """Processor cooling devices that are at work: fans and displays are cooling devices too, and slow nothing down."""
    place, found = "/sys/class/thermal", []
    for name in [name for name in files.names(place) if name.startswith("cooling_device")][:MAX_PLACES]:
        kind = text_of(files, f"{place}/{name}/type")
        slows = re.match(r"(processor|cpufreq|thermal-cpufreq|cpu-|devfreq|thermal-devfreq)", kind.lower())
        if slows and (number_of(files, f"{place}/{name}/cur_state") or 0) > 0:
            found.append(kind[:40])
    return tuple(found)


def _heat(files: Files) -> tuple[float, float] | None:
    """Of the zone with the least room to its first passive trip point."""
    place = "/sys/class/thermal"
    zones = [name for name in files.names(place) if name.startswith("thermal_zone")][:MAX_PLACES]
    found = []
    for zone in zones:
        degrees = number_of(files, f"{place}/{zone}/temp")
        points = [name[:-5] for name in files.names(f"{place}/{zone}") if re.fullmatch(r"trip_point_[0-9]+_type", name)]
        for point in points:
            if text_of(files, f"{place}/{zone}/{point}_type") != "passive":
                continue
            trip = number_of(files, f"{place}/{zone}/{point}_temp")
            if degrees is not None and trip is not None and -40_000 < degrees < 150_000 and 0 < trip < 150_000:
                found.append((degrees / 1000, trip / 1000))
    return max(found, key=lambda pair: pair[0] - pair[1]) if found else None


def _swap_pages(files: Files) -> int | None:
    values = dict(line.split()[:2] for line in text_of(files, "/proc/vmstat").splitlines() if len(line.split()) == 2)
    pages = [values.get(name, "") for name in ("pswpin", "pswpout")]
    return sum(map(int, pages)) if all(re.fullmatch(r"[0-9]{1,19}", page) for page in pages) else None


def _battery(files: Files) -> tuple[float | None, bool | None]:
    """Of a laptop or a board with a battery: those that belong to a mouse say so by their scope."""
    place = "/sys/class/power_supply"
    for name in files.names(place):
        own = text_of(files, f"{place}/{name}/scope").lower() != "device"
        if own and text_of(files, f"{place}/{name}/type") == "Battery":
            percent = number_of(files, f"{place}/{name}/capacity")
            sound = percent is not None and 0 <= percent <= 100
            return float(percent or 0) if sound else None, text_of(files, f"{place}/{name}/status") == "Charging"
    return None, None


def _android_battery(files: Files) -> tuple[float | None, bool | None]:
    try:
        found = parse(files.output(COMMAND))
    except (OSError, ValueError):
        return None, None
    return found.level_percent, found.charging
