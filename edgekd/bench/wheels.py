"""Wheels for another machine, fetched and unpacked by this machine's pip: nothing of them runs here."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edgekd.errors import DeviceError, first_line

PIP_SECONDS = 600
OLDEST_GLIBC = 17
"""Minor version of manylinux2014 (PEP 599)."""
UNUSED = (
    *("onnxruntime/capi/libonnxruntime.so*", "onnxruntime/transformers", "onnxruntime/tools", "onnxruntime/quantization"),
    *("ai_edge_litert/libLiteRtWebGpuAccelerator.so", "ai_edge_litert/vendors", "numpy/_core/tests", "numpy/*/tests", "bin"),
)
"""Of 160 MB some 100 stay: a second copy of ONNX Runtime's library, a GPU plugin, tests, tools for a host."""


def fetch_wheels(
    folder: Path, requirements: Sequence[str], *, machine: str, python: tuple[int, int], glibc: int, alone: bool = False
) -> None:
    """Unpack what the requirements ask for into `folder`.

    Args:
        machine: as wheels name it: x86_64, aarch64 or armv7l.
        glibc: minor version of the machine's glibc 2: pip wants each tag that it takes by name (PEP 600).
        alone: without what they depend on.

    Raises:
        DeviceError: where there is no such wheel, or the index cannot be reached.
    """
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "--only-binary=:all:", "--no-compile"]
    argv += ["--disable-pip-version-check", "--python-version", f"{python[0]}.{python[1]}", "--implementation", "cp"]
    for tag in [f"manylinux_2_{minor}" for minor in range(glibc, OLDEST_GLIBC - 1, -1)] + ["manylinux2014"]:
        argv += ["--platform", f"{tag}_{machine}"]
    wanted = f"{', '.join(requirements)} for Python {python[0]}.{python[1]} on {machine}"
    try:
        argv += [*(["--no-deps"] if alone else []), *requirements]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PIP_SECONDS, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise DeviceError(f"pip was not done after {PIP_SECONDS} s; is the package index reachable?") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "ERROR" in line] or [done.stderr]
        raise DeviceError(f"pip could not fetch {wanted}: {first_line(RuntimeError(said[0]))}")
    for pattern in UNUSED:
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
