"""Opening an artifact. The runtime trusts its files, so a stranger's is tried in a process of its own first."""

import subprocess
import sys
from pathlib import Path

from edgekd.errors import InputError
from edgekd.plugins import need, reading
from edgekd.session import RunnerSession
from edgekd_tflite import metadata
from edgekd_tflite.convert import NEEDED_BY

RUNNER = Path(__file__).with_name("runner.py")
TRIAL_SECONDS = 30
TRIAL_BYTES = 8 << 30
"""Address space of the trial: far above any student, below what a damaged shape may ask for."""
TRIAL = """
import runpy, sys
import numpy
try:
    import resource
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[3]), int(sys.argv[3])))
except (ImportError, ValueError, OSError):
    pass  # not on Windows; a lower limit may be set already
model = runpy.run_path(sys.argv[1])["load"](sys.argv[2], 1)
model.run([numpy.zeros(spec["shape"], spec["dtype"]) for spec in model.inputs])
"""


def open_session(path: Path, threads: int) -> RunnerSession:
    """Load an artifact. Raises InputError where it is broken, MissingExtraError where the runtime is not installed."""
    contract = metadata.contract(path)
    need("ai_edge_litert.interpreter", "tflite", NEEDED_BY)
    _try(path)
    with reading(path, "a TFLite model"):
        return RunnerSession(RUNNER, path, contract, threads)


def _try(path: Path) -> None:
    """Load the model and run it once, elsewhere: on a damaged graph the runtime may crash, hang or ask for all memory."""
    command = [sys.executable, "-c", TRIAL, str(RUNNER), str(path), str(TRIAL_BYTES)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TRIAL_SECONDS, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{path}: the runtime hangs on it ({TRIAL_SECONDS} s); build or copy the file again") from error
    if done.returncode < 0:
        raise InputError(f"{path}: the runtime crashes on it (signal {-done.returncode}); build or copy the file again")
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise InputError(f"{path}: the runtime refuses it: {said[-1][:300] if said else 'without a word'}")
