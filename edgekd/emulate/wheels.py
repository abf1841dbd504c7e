"""The runtimes' wheels for a board, fetched and unpacked by the host's pip: nothing of them runs here."""

import shutil
import subprocess
import sys
from pathlib import Path

from edgekd.emulate.boards import Arch
from edgekd.errors import DeviceError, first_line

PIP_SECONDS = 600
GLIBC = ("2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_17")
"""manylinux tags that Debian 12 (glibc 2.36) takes; pip wants each one named."""
MACHINES: dict[Arch, str] = {"arm64": "aarch64", "armhf": "armv7l"}
RUNTIMES = ("onnxruntime==1.32.0", "ai-edge-litert==2.3.0", "numpy==2.4.6")
"""The versions of constraints.txt: board and host compute alike."""
TFLITE = {"arm64": ("tflite-runtime==2.14.0", "numpy<2"), "armhf": ("tflite-runtime==2.14.0",)}
"""The last tflite-runtime. With numpy 2 it can be imported, and then fails: it needs a folder with a numpy of its own."""
RUNTIMES_FOLDER = "opt/runtimes"
TFLITE_FOLDER = "opt/tflite"
TFLITE_PYTHON = f"/{TFLITE_FOLDER}/python"
"""An interpreter for which `import tflite_runtime` works; the board's python3 has the other runtimes."""
UNUSED = (
    *("onnxruntime/capi/libonnxruntime.so*", "onnxruntime/transformers", "onnxruntime/tools", "onnxruntime/quantization"),
    *("ai_edge_litert/libLiteRtWebGpuAccelerator.so", "ai_edge_litert/vendors", "numpy/_core/tests", "numpy/*/tests", "bin"),
)
"""Of 160 MB some 100 stay: a second copy of ONNX Runtime's library, a GPU plugin, tests, tools for a host."""
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
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), "--only-binary=:all:", "--no-compile"]
    argv += ["--python-version", "3.11", "--implementation", "cp"]
    for glibc in GLIBC:
        argv += ["--platform", f"manylinux_{glibc}_{MACHINES[arch]}"]
    argv += ["--platform", f"manylinux2014_{MACHINES[arch]}", *(["--no-deps"] if arch == "armhf" else []), *requirements]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise DeviceError(f"pip was not done after {PIP_SECONDS} s; is the package index reachable?") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "ERROR" in line] or [done.stderr]
        raise DeviceError(f"pip could not fetch {', '.join(requirements)} for {arch}: {first_line(RuntimeError(said[0]))}")
    for pattern in UNUSED:
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


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
