"""One device, through its transport: what works there, what is missing, and the command that mends it."""

import contextlib
import re
import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from edgekd.bench.files import Files, There, text_of
from edgekd.bench.meters import find_meter
from edgekd.bench.surroundings import doubts_between, look
from edgekd.bench.transports import Transport, connect
from edgekd.device import LOCAL, Device, device_names
from edgekd.errors import EdgekdError
from edgekd.probe import probe_files

MODULES = {
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "tflite": ("ai_edge_litert", "tflite_runtime"),
    "coreml": ("coremltools",),
}
"""Runtime → modules of which one must be there."""
MIN_PYTHON = (3, 8)
MIN_FREE_BYTES = 500 << 20  # ONNX Runtime with numpy takes 100 MB installed, OpenVINO 300 MB
MIN_MEMORY_BYTES = 150 << 20  # what a runtime with its libraries takes, before any model
TIMEOUT_S = 30.0
GOVERNOR = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"

Line = dict[str, str]
"""device, name, state (ok, missing, unavailable, doubtful) and text."""


def examine_devices(addresses: Sequence[str]) -> list[Line]:
    """The lines of each device in turn; they are looked at at the same time, so a dead one costs no more than its own wait."""
    if not addresses:
        return []
    with ThreadPoolExecutor(max_workers=min(8, len(addresses))) as pool:
        return [line for lines in pool.map(examine_address, addresses) for line in lines]


def noted_addresses() -> list[str]:
    """Addresses of the devices that the user's own devices.toml has."""
    from edgekd.bench.transports.book import find_address

    found = [find_address(name, None) for name in device_names() if name != LOCAL]
    return list(dict.fromkeys(address for address in found if address))


def examine_address(address: str) -> list[Line]:
    """One device. Where it cannot be reached, that is the only line."""
    try:
        with contextlib.closing(connect(address)) as transport:
            return [{"device": address, **line} for line in examine_transport(transport, address)]
    except EdgekdError as error:
        return [{"device": address, "name": "connection", "state": "missing", "text": _plain(str(error), address)}]


def examine_transport(transport: Transport, address: str) -> list[Line]:
    """Raises DeviceError where the device is lost."""
    files, name = There(transport), LOCAL if address == LOCAL else "probed"
    try:
        device = probe_files(files, name)
    except EdgekdError as error:
        return [_line("system", "unavailable", _plain(str(error), name))]
    cores = " + ".join(map(str, device.cores)) or "unknown"
    lines = [_line("system", "ok", f"{device.os} on {device.arch}, {cores} cores, {device.soc or 'chip unknown'}")]
    lines += _python(transport, device, address)
    lines += _space(files)
    lines += _clock(files)
    lines += [_line("condition", "doubtful", str(doubt)) for doubt in _doubts(files, device)]
    meter = find_meter(device, files)
    lines.append(_line("energy", "unavailable", meter) if isinstance(meter, str) else _line("energy", "ok", meter.name))
    return lines


def _line(name: str, state: str, text: str) -> Line:
    return {"name": name, "state": state, "text": text}


def _plain(text: str, address: str) -> str:
    """Messages begin with the address, which has a column of its own."""
    return text.removeprefix(f"{address}: ")


def _python(transport: Transport, device: Device, address: str) -> Iterator[Line]:
    """The interpreter, numpy, and each runtime that the device takes."""
    mend = f"edgekd devices setup {shlex.quote(address)}" if address != LOCAL else 'pip install "edgekd[{}]"'
    said = _output(transport, [transport.python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
    version = re.fullmatch(r"([0-9]{1,2})\.([0-9]{1,3})", said)
    if version is None or (int(version[1]), int(version[2])) < MIN_PYTHON:
        got = f"Python {said[:20]} is older than 3.8" if version else "no Python answers"
        yield _line("python", "missing", f"{got}: {mend if address != LOCAL else 'install Python 3.8 or later'}")
        return
    yield _line("python", "ok", said)
    for name, modules in (("numpy", ("numpy",)), *((target, MODULES[target]) for target in device.targets)):
        found = next((text for module in modules if (text := _version(transport, module))), None)
        missing = f"{' or '.join(modules)} is not installed: {mend.format(name)}"
        yield _line(name, "ok" if found else "missing", found or missing)


def _version(transport: Transport, module: str) -> str | None:
    """Import it, as a run would: a wheel for another processor is found, and does not load."""
    program = f"import {module} as m; print('{module}', getattr(m, '__version__', ''))"
    said = _output(transport, [transport.python, "-c", program])
    return said if said.startswith(module) else None


def _output(transport: Transport, argv: list[str]) -> str:
    """The last line of what a command says; nothing where it fails."""
    try:
        lines = There(transport).output(argv, TIMEOUT_S).strip().splitlines()
    except OSError:
        return ""
    return "".join(c for c in lines[-1] if c.isprintable())[:100].strip() if lines else ""


def _space(files: Files) -> Iterator[Line]:
    """Free disk where runs are put, and memory; a device that does not tell has no line."""
    with contextlib.suppress(OSError):
        fields = files.output(["df", "-Pk", "."]).strip().splitlines()[-1].split()
        if len(fields) >= 4 and re.fullmatch(r"[0-9]{1,15}", fields[3]):
            yield _enough("disk", int(fields[3]) * 1024, MIN_FREE_BYTES, "free some space")
    memory = re.search(r"^MemAvailable:\s+([0-9]{1,15}) kB$", text_of(files, "/proc/meminfo"), re.MULTILINE)
    if memory:
        yield _enough("memory", int(memory[1]) * 1024, MIN_MEMORY_BYTES, "end other programs")


def _enough(name: str, free: int, least: int, mend: str) -> Line:
    text = f"{free / 2**20:,.0f} MiB free"
    return _line(name, "ok", text) if free >= least else _line(name, "missing", f"{text}, {least >> 20} MiB are needed: {mend}")


def _clock(files: Files) -> Iterator[Line]:
    governor = text_of(files, GOVERNOR)
    if not re.fullmatch(r"[a-z_]{1,30}", governor):
        return
    mend = f"echo performance | sudo tee {GOVERNOR.replace('cpu0', 'cpu*')}"
    sound = governor == "performance"
    yield _line("clock", "ok" if sound else "doubtful", governor if sound else f"the governor is {governor}: {mend}")


def _doubts(files: Files, device: Device) -> list[object]:
    now = look(files, android=device.os == "android")
    return list(doubts_between(now, now))
