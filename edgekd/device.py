"""What a device is: facts with a source, read from a TOML profile or probed on this machine. Never an address."""

import json
import platform
import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from edgekd.errors import InputError, did_you_mean, first_line

LOCAL = "local"
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


@dataclass(frozen=True, kw_only=True)
class Device:
    """Facts about a device that decide what can be built for it and how its figures read."""

    name: str
    os: Literal["linux", "android", "ios", "macos", "windows"]
    arch: Literal["x86_64", "aarch64", "armv7l"]
    isa: tuple[str, ...] = ()
    """Instruction sets that change what a runtime does: avx2, avx512f, avx512_vnni, avx_vnni, neon, dotprod, i8mm, fp16."""
    cores: tuple[int, ...] = ()
    """Cores of each cluster, fastest first."""
    memory_bytes: int | None = None
    accelerators: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    """Runtimes that it takes, the preferred one first."""
    source: str = ""
    """Where the facts come from: a data sheet's address, or `measured YYYY-MM-DD`, or `probed`."""
    notes: tuple[str, ...] = field(default=())


def device_names() -> list[str]:
    """`local`, and every profile that edgekd comes with."""
    return [LOCAL, *sorted(file.stem for file in _folder().glob("*.toml"))]


def find_device(name: str) -> Device:
    """This machine for `local`, else the profile of that name. Raises InputError where there is none, or it is wrong."""
    if name == LOCAL:
        return probe()
    known = device_names()
    if not re.fullmatch(r"[a-z0-9-]+", name) or name not in known:
        raise InputError(f"device '{name}' is not known" + did_you_mean(name, known))
    return read_profile(_folder() / f"{name}.toml")


def read_profile(file: Path) -> Device:
    """A profile as a Device named after its file. Raises InputError where it is not TOML, or a key or type is wrong."""
    try:
        facts: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not a TOML file: {first_line(error)}") from error
    known = {f.name for f in fields(Device)} - {"name"}
    for key in facts:
        if key not in known:
            raise InputError(f"{file}: a device has no '{key}'" + did_you_mean(key, known))
    from pydantic import TypeAdapter, ValidationError

    try:
        document = json.dumps({**facts, "name": file.stem}, default=str)
        return TypeAdapter(Device).validate_json(document, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{file}: {place}: {first['msg']}") from error


def _folder() -> Path:
    """Profiles lie inside an installed edgekd, and beside it in the source tree."""
    here = Path(__file__).parent
    installed = here / "_devices"
    return installed if installed.is_dir() else here.parent / "devices"


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
        source="probed",
    )


def _instruction_sets(root: Path) -> tuple[str, ...]:
    try:
        lines = (root / "proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ()
    pairs = [line.partition(":") for line in lines]
    flags = {flag for key, _, value in pairs if key.strip() in ("flags", "Features") for flag in value.split()}
    return tuple(dict.fromkeys(isa for flag, isa in CPU_FLAGS.items() if flag in flags))
