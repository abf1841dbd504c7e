"""The runtimes in a board's root: wheels that the host's pip unpacks, found by the board's Python."""

import shutil
import subprocess
import sys
from pathlib import Path

from edgekd.bench.wheels import fetch_wheels
from edgekd.emulate.boards import Arch

GLIBC = 36
"""Minor version of Debian 12's."""
MACHINES: dict[Arch, str] = {"arm64": "aarch64", "armhf": "armv7l"}
RUNTIMES = ("onnxruntime==1.32.0", "ai-edge-litert==2.3.0", "numpy==2.4.6")
"""The versions of constraints.txt: board and host compute alike."""
TFLITE = {"arm64": ("tflite-runtime==2.14.0", "numpy<2"), "armhf": ("tflite-runtime==2.14.0",)}
"""The last tflite-runtime. With numpy 2 it can be imported, and then fails: it needs a folder with a numpy of its own."""
RUNTIMES_FOLDER = "opt/runtimes"
TFLITE_FOLDER = "opt/tflite"
TFLITE_PYTHON = f"/{TFLITE_FOLDER}/python"
"""An interpreter for which `import tflite_runtime` works; the board's python3 has the other runtimes."""
LIBRARY_PATHS = ("usr/lib/arm-linux-gnueabihf/blas", "usr/lib/arm-linux-gnueabihf/lapack")
"""Where Debian's numpy finds these is set up by update-alternatives, which never ran."""


def install_runtimes(root: Path, arch: Arch) -> None:
    """Put all runtimes that there are for `arch` into a root, and let its python3 find them. Raises DeviceError."""
    if arch == "arm64":
        _fetch(root / RUNTIMES_FOLDER, arch, RUNTIMES)
        (root / "usr/lib/python3/dist-packages/edgekd-runtimes.pth").write_text(f"/{RUNTIMES_FOLDER}\n")
    _fetch(root / TFLITE_FOLDER, arch, TFLITE[arch])
    _write_python(root, arch)


def _write_python(root: Path, arch: Arch) -> None:
    """The interpreter that sees tflite-runtime alone (-S leaves the other runtimes out)."""
    lines = [f"export PYTHONPATH=/{TFLITE_FOLDER}"]
    if arch == "armhf":
        libraries = ":".join(f"/{path}" for path in LIBRARY_PATHS)
        lines = [f"export PYTHONPATH=/{TFLITE_FOLDER}:/usr/lib/python3/dist-packages LD_LIBRARY_PATH={libraries}"]
    start = root / TFLITE_FOLDER / "python"
    start.write_text("\n".join(["#!/bin/sh", *lines, 'exec /usr/bin/python3 -S "$@"', ""]))
    start.chmod(0o755)


def _fetch(folder: Path, arch: Arch, requirements: tuple[str, ...]) -> None:
    fetch_wheels(folder, requirements, machine=MACHINES[arch], python=(3, 11), glibc=GLIBC, alone=arch == "armhf")


def compile_python(root: Path) -> None:
    """Compile the root's Python files on the host, where it has the same Python: a start takes 1.7 s instead of 4.2 s."""
    python = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
    if python is None:
        return
    places = [
        str(root / name) for name in ("opt", "usr/lib/python3.11", "usr/lib/python3/dist-packages") if (root / name).is_dir()
    ]
    argv = [python, "-m", "compileall", "-q", "-s", str(root), "-p", "/", "--invalidation-mode", "unchecked-hash", *places]
    subprocess.run(argv, capture_output=True, check=False)
