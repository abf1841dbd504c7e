"""The two small C libraries of this folder, compiled with the host's compiler when they are first needed."""

import os
import subprocess
import tempfile
from pathlib import Path

from platformdirs import user_cache_path

from edgekd.errors import MissingExtraError, first_line, storage_errors
from edgekd.types import digest

COMPILE_SECONDS = 60


def cache_folder() -> Path:
    """Where roots and compiled files are kept for all boards of this user, or in `EDGEKD_CACHE`."""
    chosen = os.environ.get("EDGEKD_CACHE")
    return (Path(chosen) if chosen else user_cache_path("edgekd")) / "emulate"


def library(name: str) -> Path:
    """The shared library of `NAME.c`, in a folder of its own that a board may see. Raises MissingExtraError without gcc."""
    source = Path(__file__).with_name(f"{name}.c")
    folder = cache_folder() / f"native-{digest(source.read_text('utf-8'))[:12]}"
    built = folder / f"{name}.so"
    if built.exists():
        return built
    with storage_errors(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        # Readable by the board's users, who are nobody here.
        folder.chmod(0o755)
        handle, draft = tempfile.mkstemp(dir=folder, suffix=".so")
        os.close(handle)
    argv = ["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", draft, str(source), "-ldl"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingExtraError(f"{name}.c needs gcc, which did not run ({error}): apt-get install gcc libc6-dev") from error
    if done.returncode:
        raise MissingExtraError(f"gcc cannot compile {name}.c: {first_line(RuntimeError(done.stderr))}")
    os.chmod(draft, 0o755)
    os.replace(draft, built)
    return built
