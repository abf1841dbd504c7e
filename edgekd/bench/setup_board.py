"""`edgekd devices setup`: a private environment with the runtimes on a device, which nothing else there sees.

It is a folder of wheels, `site`, beside the jobs in edgekd's own folder (`transports/scripts.py`): every run there has it first
on its PYTHONPATH, and removing it leaves the device as it was. The wheels come from this machine, so that the device needs
neither a network nor pip; or, where an index is named, from there by the device's own pip.
"""

import contextlib
import json
import re
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgekd.bench import setup_device
from edgekd.bench.checked import keys, printable
from edgekd.bench.transports import Transport, connect
from edgekd.bench.transports.address import read_address
from edgekd.bench.transports.faults import DeviceFault
from edgekd.bench.wheels import OLDEST_GLIBC, fetch_wheels
from edgekd.errors import DeviceError, InputError, did_you_mean, storage_errors

Record = dict[str, Any]
Say = Callable[[str], None]
ASK_S, UNPACK_S, PIP_S, IMPORT_S = 60.0, 900.0, 1800.0, 300.0
"""An emulated board takes 5 s to answer and 40 s to unpack; a Raspberry Pi Zero's card is as slow."""
INDEX = re.compile(r"(https?|file)://[!-~]{1,400}")
MACHINES = {"x86_64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64", "armv7l": "armv7l", "armv8l": "armv7l"}


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What a target's runner imports, and the packages that have it."""

    module: str
    packages: tuple[str, ...]


LITERT = Runtime(module="ai_edge_litert", packages=("ai-edge-litert",))
TFLITE = Runtime(module="tflite_runtime", packages=("tflite-runtime==2.14.0",))
"""The last one there is, for Python 3.8 to 3.11; it needs a numpy before 2, which 32-bit ARM has as a package of its system."""
ONNX, OPENVINO = (Runtime(module=name, packages=(name,)) for name in ("onnxruntime", "openvino"))
RUNTIMES: dict[str, dict[str, Runtime]] = {
    "x86_64": {"onnxruntime": ONNX, "openvino": OPENVINO, "tflite": LITERT},
    "aarch64": {"onnxruntime": ONNX, "openvino": OPENVINO, "tflite": LITERT},
    "armv7l": {"tflite": TFLITE},
}
"""Machine → target → runtime, as far as the package index has wheels. Of ARM, OpenVINO only where it is asked for."""
DEFAULTS = {"x86_64": ("onnxruntime", "openvino", "tflite"), "aarch64": ("onnxruntime", "tflite"), "armv7l": ("tflite",)}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a device said of its Python."""

    python: tuple[int, int]
    machine: str
    glibc: int
    note: str
    free: int


def setup_device_at(
    address: str, runtimes: Sequence[str] = (), *, index_url: str | None = None, say: Say = lambda text: None
) -> Record:
    """Put the runtimes of targets onto a device; nothing is done where they are there already and can be imported.

    Args:
        runtimes: names of targets; none takes those that the device's processor is known for.
        index_url: the device's own pip fetches from there; None fetches here and pushes.

    Returns:
        `address`, `state` (`made` or `unchanged`), `versions` by module.

    Raises:
        InputError: for an address, a runtime or an index that is none.
        DeviceError: where the device is lost, no wheel fits it, or what was put there cannot be imported.
    """
    _check(address, index_url)
    with contextlib.closing(connect(address)) as transport:
        facts = read_facts(transport, address)
        chosen = choose(runtimes, facts.machine)
        modules = ["numpy", *(runtime.module for runtime in chosen.values())]
        wanted = requirements(chosen)
        note = json.dumps({"requirements": wanted, "python": list(facts.python), "index": index_url})
        if facts.note == note:
            with contextlib.suppress(DeviceError):
                return {"address": address, "state": "unchanged", "versions": check(transport, address, "", modules)}
        if index_url is None:
            send(transport, address, facts, wanted, note, say)
        else:
            say(f"{address}: its pip fetches {', '.join(wanted)}")
            ask(transport, address, "fetch", index_url, note, *wanted, limit_s=PIP_S)
        versions = check(transport, address, "site", modules)
        ask(transport, address, "take")
        return {"address": address, "state": "made", "versions": versions}


def remove_setup(address: str) -> Record:
    """Remove what `setup_device_at` made. Raises InputError, DeviceError."""
    _check(address, None)
    with contextlib.closing(connect(address)) as transport:
        push_half(transport)
        removed = ask(transport, address, "remove").get("removed") is True
        return {"address": address, "state": "removed" if removed else "unchanged", "versions": {}}


def _check(address: str, index_url: str | None) -> None:
    if read_address(address).kind == "local":
        raise InputError('local is this machine: install runtimes here with pip, as pip install "edgekd[onnxruntime]"')
    if index_url is not None and not INDEX.fullmatch(index_url):
        raise InputError(f"--index-url {index_url[:60]!a} is no address of a package index: https://HOST/simple")


def choose(names: Sequence[str], machine: str) -> dict[str, Runtime]:
    """The runtimes of the targets that were asked for. Raises InputError where there is none for this machine."""
    known = RUNTIMES[machine]
    for name in names:
        if name not in known:
            raise InputError(f"no wheels of a runtime '{name[:40]}' are known for {machine}" + did_you_mean(name, known))
    return {name: known[name] for name in names or DEFAULTS[machine]}


def requirements(chosen: dict[str, Runtime]) -> list[str]:
    """Packages, none newer than this machine's: what is built here must load there. An older Python there takes older ones."""
    found = []
    for package in dict.fromkeys(package for runtime in chosen.values() for package in runtime.packages):
        here = None
        with contextlib.suppress(PackageNotFoundError):
            here = version(package)
        found.append(f"{package}<={here}" if here else package)
    return found


def read_facts(transport: Transport, address: str) -> Facts:
    """Push this module's half, and ask what fits. Raises DeviceError where nothing does."""
    push_half(transport)
    try:
        found = ask(transport, address, "facts")
    except DeviceFault as fault:
        if fault.cause != "cannot-start":
            raise
        hint = "Termux has one, or Android's benchmark_model needs none" if address.startswith("adb:") else "install python3"
        raise DeviceError(f"{address}: no Python answers there: {hint}") from fault
    keys(found, {"python", "bits", "libc", "system", "machine", "note", "free"}, set(), address)
    machine = MACHINES.get(str(found["machine"]))
    machine = "armv7l" if machine == "aarch64" and found["bits"] == 32 else machine
    python, libc = found["python"], found["libc"]
    plain = isinstance(found["note"], str) and isinstance(libc, list)
    if not plain or not _numbers(python) or not _numbers([found["free"], 0]):
        raise DeviceFault(address, "garbage", "its facts are not of the kind that was asked for")
    glibc = re.fullmatch(r"2\.([0-9]{1,3})(\.[0-9]{1,3})?", str(libc[1])) if libc[:1] == ["glibc"] and len(libc) == 2 else None
    if found["system"] != "Linux" or machine is None or glibc is None or int(glibc[1]) < OLDEST_GLIBC:
        what = printable(f"{found['system']} on {found['machine']}, C library {' '.join(map(str, libc)) or 'unknown'}")
        raise DeviceError(f"{address}: {what}: the runtimes have wheels for Linux with glibc 2.{OLDEST_GLIBC} or later only")
    if tuple(python) < (3, 8):
        raise DeviceError(f"{address}: Python {python[0]}.{python[1]} is older than 3.8: install a later one there")
    return Facts(python=(python[0], python[1]), machine=machine, glibc=int(glibc[1]), note=found["note"], free=int(found["free"]))


def _numbers(values: object) -> bool:
    return isinstance(values, list) and len(values) == 2 and all(type(v) is int and 0 <= v < 2**60 for v in values)


def send(transport: Transport, address: str, facts: Facts, wanted: list[str], note: str, say: Say) -> None:
    """Fetch the wheels here, and unpack them there."""
    with storage_errors("a temporary folder"), tempfile.TemporaryDirectory(prefix="edgekd-setup-") as scratch:
        folder, archive = Path(scratch) / "site", Path(scratch) / "site.tar"
        say(f"fetching {', '.join(wanted)} for {facts.machine} and Python {facts.python[0]}.{facts.python[1]}")
        # 32-bit ARM has no wheel of numpy there: it is the system's own.
        fetch_wheels(
            folder, wanted, machine=facts.machine, python=facts.python, glibc=facts.glibc, alone=facts.machine == "armv7l"
        )
        with tarfile.open(archive, "w") as stream:
            for path in sorted(folder.iterdir()):
                stream.add(path, arcname=path.name, filter=_anonymous)
        size = archive.stat().st_size
        if facts.free < 2 * size:
            free, need = facts.free >> 20, 2 * size >> 20
            raise DeviceFault(address, "disk-full", f"{free} MiB are free there, {need} MiB are needed: free some space")
        say(f"sending {size >> 20} MiB to {address}")
        transport.push(archive, "site.tar")
    ask(transport, address, "unpack", "site.tar", note, limit_s=UNPACK_S)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def check(transport: Transport, address: str, folder: str, modules: Sequence[str]) -> dict[str, str]:
    """Versions of the modules as imported there. Raises DeviceError where one cannot be."""
    found = ask(transport, address, "check", folder, *modules, limit_s=IMPORT_S).get("versions")
    if not isinstance(found, dict) or found.keys() != set(modules):
        raise DeviceFault(address, "garbage", "it does not say what it imported")
    return {name: printable(str(text))[:40] for name, text in found.items()}


def push_half(transport: Transport) -> None:
    transport.push(Path(setup_device.__file__), "setup_device.py")


def ask(transport: Transport, address: str, *words: str, limit_s: float = ASK_S) -> Record:
    """What the device's half answers. Raises DeviceError where it fails."""
    done = transport.run([transport.python, "setup_device.py", *words], limit_s)
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError, RecursionError):
        said = printable((done.stderr.strip().splitlines() or ["nothing"])[-1])
        raise DeviceFault(address, "garbage", f"setup's step '{words[0]}' gave no answer (exit code {done.rc}): {said}") from None
    if not isinstance(answer, dict):
        raise DeviceFault(address, "garbage", f"setup's step '{words[0]}' gave no object")
    if "error" in answer:
        raise DeviceError(f"{address}: setup's step '{words[0]}' failed there: {printable(str(answer['error']))}")
    return answer
