"""What a device is: facts with a source, read from a TOML profile or probed on this machine. Never an address."""

import json
import os
import platform
import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from edgekd.errors import InputError, did_you_mean, first_line

LOCAL = "local"
NAME = r"[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?"
"""Names of profiles: never a path."""
RUNTIMES = ("onnxruntime", "openvino", "tflite", "coreml")

CPU_FLAGS = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "neon": "neon",
    "asimd": "neon",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "asimdhp": "fp16",
}
"""What /proc/cpuinfo calls them (x86: flags; ARM: Features, Linux Documentation/arch/arm64/elf_hwcaps.rst) → Device.isa."""


NO_FACTS = ("name", "sources", "notes", "untested_on_hardware")
"""Keys of a profile that are no facts of the device, so that no source is asked for them."""
MAX_PROFILE_BYTES = 64 << 10
MAX_TEXT = 300
SHARES_CLUSTERS = ("cpus", "max_mhz")


@dataclass(frozen=True, kw_only=True)
class Device:
    """Facts about a device that decide what can be built for it and how its figures read."""

    name: str
    os: Literal["linux", "android", "ios", "macos", "windows"]
    arch: Literal["x86_64", "aarch64", "armv7l"]
    soc: str = ""
    cpus: tuple[str, ...] = ()
    """Kind of core of each cluster, fastest first."""
    isa: tuple[str, ...] = ()
    """Instruction sets that change what a runtime does: avx2, avx512f, avx512_vnni, avx_vnni, neon, dotprod, i8mm, fp16."""
    cores: tuple[int, ...] = ()
    """Cores of each cluster, fastest first."""
    max_mhz: tuple[int, ...] = ()
    """Highest clock of each cluster, fastest first."""
    memory_bytes: int | None = None
    accelerators: tuple[str, ...] = ()
    power_w: tuple[float, ...] = ()
    """Limits or modes of power that its maker states, in W, lowest first; of the chip or module, not of the whole device."""
    meters: tuple[str, ...] = ()
    """Energy meters (edgekd.bench.meters) that it has a sensor for."""
    targets: tuple[str, ...] = ()
    """Runtimes that it takes, the preferred one first."""
    sources: dict[str, str] = field(default_factory=dict)
    """Fact → where it comes from: a data sheet, a page, or `probed YYYY-MM-DD`. A profile has one for every fact."""
    untested_on_hardware: bool = True
    """Whether edgekd never ran on the real thing: its facts are then from paper only."""
    notes: tuple[str, ...] = field(default=())

    def __hash__(self) -> int:
        return hash((self.name, self.os, self.arch))


def device_names() -> list[str]:
    """`local`, every profile that edgekd comes with, and the user's own."""
    return [LOCAL, *sorted({file.stem for folder in _folders() for file in folder.glob("*.toml")})]


def find_device(name: str) -> Device:
    """This machine for `local`, else the profile of that name. Raises InputError where there is none, or it is wrong."""
    if name == LOCAL:
        return probe()
    known = device_names()
    if not re.fullmatch(NAME, name) or name not in known:
        raise InputError(f"device {name[:60]!a} is not known" + did_you_mean(name, known))
    files = [folder / f"{name}.toml" for folder in _folders()]
    return read_profile(next(file for file in files if file.is_file()))


def is_shipped(name: str) -> bool:
    """Whether edgekd comes with a profile of that name, which a user's own does not replace."""
    return (_folder() / f"{name}.toml").is_file()


def read_profile(file: Path) -> Device:
    """A profile as a Device named after its file.

    Raises InputError where it is not TOML, a key or type is wrong, or a fact lacks its source.
    """
    facts = _parsed(file)
    known = {f.name for f in fields(Device)} - {"name"}
    for key in facts:
        if key not in known:
            raise InputError(f"{file}: a device has no {key[:40]!a}" + did_you_mean(key, known))
    from pydantic import TypeAdapter, ValidationError

    try:
        document = json.dumps({**facts, "name": file.stem}, default=str)
        found = TypeAdapter(Device).validate_json(document, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{file}: {place}: {first['msg']}") from error
    reason = wrong(found) or _unsourced(found, set(facts))
    if reason:
        raise InputError(f"{file}: {reason}")
    return found


def _parsed(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MAX_PROFILE_BYTES:
            raise InputError(f"{file}: {file.stat().st_size} bytes, expected at most {MAX_PROFILE_BYTES}")
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{file}: not a TOML file: {first_line(error)}") from error


def wrong(device: Device) -> str | None:
    """What types do not say: texts that terminals and reports can show, and numbers that a device can have."""
    texts = [device.soc, *device.cpus, *device.isa, *device.accelerators, *device.meters, *device.targets, *device.notes]
    for text in [*texts, *device.sources, *device.sources.values()]:
        if not text.isprintable() or len(text) > MAX_TEXT:
            return f"a text of printable characters, {MAX_TEXT} at most, was expected, not {text[:40]!r}"
    for key, numbers, most in (
        ("cores", device.cores, 1024),
        ("max_mhz", device.max_mhz, 20_000),
        ("power_w", device.power_w, 1e5),
    ):
        if not all(0 < number <= most for number in numbers):
            return f"{key}: numbers above 0 and up to {most:g} were expected"
    if device.memory_bytes is not None and not 2**20 <= device.memory_bytes <= 2**50:
        return f"memory_bytes: {device.memory_bytes} is no size of a memory in bytes"
    for key in SHARES_CLUSTERS:
        count = len(getattr(device, key))
        if count and count != len(device.cores):
            return f"{key}: {count} clusters, but cores has {len(device.cores)}"
    return None


def _unsourced(device: Device, keys: set[str]) -> str | None:
    """A fact without a source, or a source of no fact."""
    facts = keys - set(NO_FACTS)
    for key in sorted(facts - device.sources.keys()):
        return f"{key} has no source: add a line {key} = … to [sources]"
    for key in sorted(device.sources.keys() - facts):
        return f"[sources] names '{key}', which is no fact of this profile" + did_you_mean(key, facts)
    return None


def _folder() -> Path:
    """Profiles lie inside an installed edgekd, and beside it in the source tree."""
    here = Path(__file__).parent
    installed = here / "_devices"
    return installed if installed.is_dir() else here.parent / "devices"


def user_folder() -> Path:
    """The user's own profiles: `EDGEKD_DEVICES`, or the folder of settings of this user."""
    chosen = os.environ.get("EDGEKD_DEVICES")
    if chosen:
        return Path(chosen)
    from platformdirs import user_config_path

    return user_config_path("edgekd") / "devices"


def _folders() -> tuple[Path, Path]:
    return _folder(), user_folder()


def probe(root: Path = Path("/")) -> Device:
    """This machine. Instruction sets are read from /proc/cpuinfo under `root`: elsewhere than on Linux there are none.

    Raises InputError on an operating system or processor that edgekd does not know.
    """
    import psutil

    systems = {"linux": "linux", "darwin": "macos", "windows": "windows"}
    archs = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64", "armv7l": "armv7l"}
    system, arch = systems.get(platform.system().lower()), archs.get(platform.machine().lower())
    if system is None or arch is None:
        raise InputError(f"this machine ({platform.system()}, {platform.machine()}) is of a kind that edgekd cannot measure")
    return Device(
        name=LOCAL,
        os=system,  # type: ignore[arg-type]
        arch=arch,  # type: ignore[arg-type]
        isa=_instruction_sets(root),
        cores=(psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,),
        memory_bytes=psutil.virtual_memory().total,
        targets=RUNTIMES,
        sources=dict.fromkeys(("os", "arch", "isa", "cores", "memory_bytes", "targets"), "probed"),
        untested_on_hardware=False,
    )


def _instruction_sets(root: Path) -> tuple[str, ...]:
    try:
        return instruction_sets((root / "proc/cpuinfo").read_text(errors="replace"))
    except OSError:
        return ()


def instruction_sets(cpuinfo: str) -> tuple[str, ...]:
    """Those that a text of /proc/cpuinfo names."""
    pairs = [line.partition(":") for line in cpuinfo.splitlines()]
    flags = {flag for key, _, value in pairs if key.strip() in ("flags", "Features") for flag in value.split()}
    return tuple(dict.fromkeys(isa for flag, isa in CPU_FLAGS.items() if flag in flags))
