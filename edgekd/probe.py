"""Read a live device and write its profile. What it answers is untrusted: bounded, and refused where it cannot be true."""

import contextlib
import datetime
import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from edgekd.bench.files import Files, Here, There, printable, text_of
from edgekd.bench.meters.choose import meters_of
from edgekd.device import LOCAL, NAME, Device, instruction_sets, is_shipped, read_profile, user_folder, wrong
from edgekd.errors import DeviceError, InputError, storage_errors
from edgekd.probe_cores import Cluster, clusters

ARCHS = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64", "armv8l": "armv7l", "armv7l": "armv7l"}
"""`armv8l` is a 32-bit system on a 64-bit processor."""
TARGETS = {
    ("linux", "x86_64"): ("onnxruntime", "openvino", "tflite"),
    ("linux", "aarch64"): ("tflite", "onnxruntime"),
    ("linux", "armv7l"): ("tflite",),
    ("android", "aarch64"): ("tflite", "onnxruntime"),
    ("android", "armv7l"): ("tflite",),
    ("android", "x86_64"): ("tflite", "onnxruntime"),
    ("macos", "aarch64"): ("coreml", "onnxruntime", "tflite"),
    ("macos", "x86_64"): ("coreml", "onnxruntime"),
}
"""Runtimes that have packages for it, the usual one first (README files of targets/)."""
MAC_FEATURES = {
    "hw.optional.arm.FEAT_DotProd": "dotprod",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_FP16": "fp16",
}


def probe_address(address: str) -> Device:
    """What the device at `local`, `ssh:HOST` or `adb:SERIAL` is. Raises InputError, DeviceError."""
    if address == LOCAL:
        return probe_files(Here(), LOCAL)
    from edgekd.bench.transports import connect

    with contextlib.closing(connect(address)) as transport:
        return probe_files(There(transport), "probed")


def probe_files(files: Files, name: str) -> Device:
    """What the device behind `files` is. Raises DeviceError where it is of a kind that edgekd does not know, or lies."""
    system, arch = _said(files, "uname", "-s"), ARCHS.get(_said(files, "uname", "-m"))
    kind = {"Linux": "linux", "Darwin": "macos"}.get(system)
    if kind is None or arch is None:
        raise DeviceError(f"{name}: a system '{system[:40]}' was found, expected Linux, Android or macOS on x86-64 or ARM")
    if kind == "linux" and _said(files, "getprop", "ro.build.version.release"):
        kind = "android"
    facts: dict[str, Any] = {"os": kind, "arch": arch, **(_mac(files) if kind == "macos" else _linux(files, kind))}
    facts["targets"] = TARGETS[kind, arch]
    found = Device(name=name, untested_on_hardware=False, **{key: value for key, value in facts.items() if value})
    found = replace(found, meters=tuple(m.name for m in meters_of(found, files) if m.unavailable(found) is None))
    reason = wrong(found)
    if reason:
        raise DeviceError(f"{name}: the device's answers cannot be true: {reason}")
    return replace(found, sources=_sources(found))


def _linux(files: Files, kind: str) -> dict[str, Any]:
    cpuinfo = text_of(files, "/proc/cpuinfo")
    groups = clusters(files, cpuinfo)
    memory = re.search(r"^MemTotal:\s+([0-9]{1,15}) kB$", text_of(files, "/proc/meminfo"), re.MULTILINE)
    soc = _said(files, "getprop", "ro.soc.model") if kind == "android" else ""
    return {
        "soc": soc or _model(files, cpuinfo),
        "isa": instruction_sets(cpuinfo),
        "memory_bytes": int(memory[1]) * 1024 if memory else None,
        **_of_clusters(groups),
    }


def _of_clusters(groups: list[Cluster]) -> dict[str, Any]:
    """Kinds and clocks only where every cluster tells its own: the profile's lists go together."""
    found: dict[str, Any] = {"cores": tuple(group.cores for group in groups)}
    kinds, clocks = [group.kind for group in groups], [group.max_mhz for group in groups]
    return found | {"cpus": tuple(kinds) if all(kinds) else (), "max_mhz": tuple(clocks) if all(clocks) else ()}


def _model(files: Files, cpuinfo: str) -> str:
    """The board's name by its device tree, else the processor's."""
    board = text_of(files, "/sys/firmware/devicetree/base/model").strip("\0")
    lines = dict(line.partition(":")[::2] for line in cpuinfo.splitlines()[-200:])
    named = {key.strip(): value for key, value in lines.items()}
    return printable(board or named.get("Model", "") or named.get("model name", "") or named.get("Hardware", ""), 100)


def _mac(files: Files) -> dict[str, Any]:
    def number(name: str) -> int:
        text = _said(files, "sysctl", "-n", name)
        return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0

    levels = [number(f"hw.perflevel{level}.physicalcpu") for level in (0, 1)]
    isa = [name for feature, name in MAC_FEATURES.items() if number(feature) == 1]
    if _said(files, "uname", "-m") == "arm64":
        isa.insert(0, "neon")
    elif number("hw.optional.avx2_0") == 1:
        isa.insert(0, "avx2")
    return {
        "soc": _said(files, "sysctl", "-n", "machdep.cpu.brand_string")[:100],
        "isa": tuple(isa),
        "cores": tuple(count for count in levels or [] if count) or (number("hw.physicalcpu") or 1,),
        "memory_bytes": number("hw.memsize") or None,
    }


def _said(files: Files, *argv: str) -> str:
    """One line of what a command says, or nothing where it is not there."""
    try:
        return printable(files.output(argv))
    except OSError:
        return ""


def _sources(device: Device) -> dict[str, str]:
    """Each fact was read on this day; runtimes are those of edgekd for such a machine."""
    empty = Device(name=device.name, os=device.os, arch=device.arch)
    facts = [f.name for f in fields(Device) if f.name in ("os", "arch") or getattr(device, f.name) != getattr(empty, f.name)]
    day = f"probed {datetime.date.today().isoformat()}"
    found = {fact: day for fact in facts if fact not in ("name", "sources", "notes", "untested_on_hardware")}
    return found | ({"targets": "edgekd's runtimes for such a machine"} if "targets" in found else {})


def profile_text(device: Device) -> str:
    """The device as a profile file."""
    lines = [f"# {device.soc or device.name}: written by `edgekd devices probe`."]
    for key in sorted(device.sources, key=[f.name for f in fields(Device)].index):
        lines.append(f"{key} = {_toml(getattr(device, key))}")
    lines.append(f"untested_on_hardware = {_toml(device.untested_on_hardware)}")
    lines += ["", "[sources]", *(f"{key} = {_toml(text)}" for key, text in device.sources.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A TOML value: JSON's lists, texts, numbers and truth values are also TOML's, where texts have no control characters."""
    return json.dumps(value, ensure_ascii=False)


def save(device: Device, name: str) -> Path:
    """Write the device's profile under a new name in the user's folder.

    Raises InputError where the name is no name, is taken, or the profile would not be read; StorageError.
    """
    if not re.fullmatch(NAME, name) or name == LOCAL:
        raise InputError(f"{name[:60]!a} cannot be a device's name: use small letters, digits and hyphens")
    file = user_folder() / f"{name}.toml"
    if is_shipped(name) or file.exists():
        raise InputError(
            f"there is a device '{name}' already: choose another name" + (f", or remove {file}" if file.exists() else "")
        )
    with storage_errors(str(file)):
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".part")
        unfinished.write_text(profile_text(device), encoding="utf-8")
    try:
        read_profile(unfinished)
    except InputError:
        unfinished.unlink()
        raise
    with storage_errors(str(file)):
        unfinished.replace(file)
    return file
