"""Instructions per inference, counted by a QEMU plugin: a cost that repeats, on a machine that is busy with other things.

For one thread only: what several threads do while they wait for each other is not a cost.
"""

import itertools
import json
import platform
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.artifact import files_of
from edgekd.bench import harness
from edgekd.bench.settings import WARM, Use
from edgekd.bench.transports.base import Transport
from edgekd.emulate.native import library
from edgekd.emulate.qemu import INSTALL, find_qemu
from edgekd.errors import DeviceError, MissingExtraError, first_line, storage_errors

MAX_COUNTS_BYTES = 1 << 20
LINE = re.compile(r"(mark|end) ([0-9]{1,3}) ([0-9]{1,20})")
FIXED = (
    *("PYTHONHASHSEED=0", "QEMU_RAND_SEED=0", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "PYTHONDONTWRITEBYTECODE=1"),
    "GLIBC_TUNABLES=glibc.malloc.tcache_count=8192",
)
"""With a seed of its own each process builds its dictionaries otherwise: some 0.05 % of the instructions of a small model. And a
runtime that loads by several threads leaves a heap whose free lists differ each time; searching them is counted (OpenVINO: up to
0.2 %). With thread caches that keep all small blocks, a query takes those that the last one gave back, at the same cost."""
X86_CPU = "max"
"""Of qemu-x86_64: AVX2 and FMA, no AVX-512. Its default has neither, and runtimes would take other code."""
WARMUP_QUERIES = 10
"""Until a query finds all of its memory in the lists that those before it filled."""
NUMBERS = itertools.count()
"""Of the plugin's files, which it never overwrites."""
RUNS = 2
"""Fresh processes: whether a count repeats is seen, not assumed."""
SPREAD = 0.0002
"""Up to which counts of two runs are the same: an instruction more in five thousand is Python's bookkeeping."""


class NotCounted(DeviceError):
    """The command ran, and nothing counted there."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Instructions of one inference, in two halves of each run: they say themselves how much they can be trusted."""

    halves: tuple[tuple[float, float], ...]
    """A pair a run, in the order taken."""
    queries: int
    """In each half."""
    cpu: str
    machine: str
    versions: dict[str, str]

    @property
    def values(self) -> tuple[float, ...]:
        """One a run."""
        return tuple(sum(pair) / 2 for pair in self.halves)

    @property
    def per_inference(self) -> float:
        return sum(self.values) / len(self.values)

    @property
    def spread(self) -> float:
        """Of the runs: largest minus smallest, as a fraction of their mean."""
        return (max(self.values) - min(self.values)) / self.per_inference


def count_model(
    transport: Transport,
    runner: Path,
    model: Path,
    *,
    here: bool,
    use: Use = WARM,
    queries: int = 10,
    warmup_queries: int = WARMUP_QUERIES,
    runs: int = RUNS,
    timeout_s: float = 600,
) -> Counted:
    """Instructions of one inference of a model file (or folder) by a target's runner, on one thread.

    Args:
        transport: where it runs: this machine, or an emulated board.
        here: as of `count_instructions`.
        use: its inputs and batch; random inputs are of one seed.
        queries: in each half of a run.
        runs: fresh processes.
        timeout_s: of each run.

    Raises DeviceError and MissingExtraError as `count_instructions`; DeviceError for a reply that is not one.
    """
    job = {"runner": runner.stem, "model": model.name, "threads": 1, "streams": 1, "seed": 0, "batch": use.batch}
    job |= {"inputs": [file.name for file in use.inputs] or None, "samples": use.samples}
    job |= {"options": dict(use.options), "warmup_queries": warmup_queries, "queries": queries}
    _push(transport, [runner, *([model] if model.is_dir() else [file for _, file in files_of(model)]), *use.inputs], job)
    halves, reply = [], dict[str, Any]()
    for _ in range(runs):
        argv = [transport.python, "count_loop.py", "job.json"]
        marks, printed = count_instructions(transport, argv, timeout_s, here=here, out=f"counts-{next(NUMBERS)}")
        if sorted(marks) != [1, 2, 3]:
            raise DeviceError(f"marks {sorted(marks)} were counted, expected 1, 2 and 3")
        halves.append(((marks[2] - marks[1]) / queries, (marks[3] - marks[2]) / queries))
        reply = _reply(printed)
    return Counted(
        halves=tuple(halves),
        queries=queries,
        cpu=X86_CPU if here else str(reply.get("cpu", ""))[:40],
        machine=str(reply.get("machine", ""))[:40],
        versions={str(k)[:40]: str(v)[:40] for k, v in reply.get("versions", {}).items()},
    )


def _push(transport: Transport, files: Sequence[Path], job: dict[str, Any]) -> None:
    """The files under their own names, and what runs them there."""
    own = [Path(harness.__file__), Path(harness.__file__).with_name("feeding.py"), Path(__file__).with_name("count_loop.py")]
    with storage_errors("a temporary folder"), tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        job_file = Path(folder) / "job.json"
        job_file.write_text(json.dumps(job))
        for file in (*own, *files, job_file):
            transport.push(file, file.name)


def count_instructions(
    transport: Transport, argv: Sequence[str], timeout_s: float, *, here: bool, out: str = "counts"
) -> tuple[dict[int, int], str]:
    """Run a command of a device under the counting plugin.

    Args:
        transport: where it runs; files that it needs are there already.
        argv: marks its regions as `roi.c` says.
        here: on this machine, by qemu-x86_64; else on an emulated board, whose programs QEMU runs already.
        out: name of the plugin's file, new in the transport's folder.

    Returns:
        Instructions since the start of the process at each mark, and what the command printed.

    Raises:
        NotCounted: the device is no emulated board, or its QEMU takes no plugins.
        DeviceError: the command failed, or its counts are nonsense.
        MissingExtraError: this machine has no QEMU that takes plugins.
    """
    prefix = on_this_machine(out) if here else [f"QEMU_PLUGIN=/plugin/roi.so,out={out}"]
    done = transport.run(["env", *FIXED, *prefix, *argv], timeout_s)
    if done.rc:
        raise DeviceError(f"counting failed with exit code {done.rc}: {_last_line(done.stderr)}")
    with storage_errors("a temporary folder"), tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        file = Path(folder) / "counts"
        try:
            transport.pull(out, file)
        except DeviceError as error:
            raise NotCounted("nothing was counted there: instructions are counted here and on emulated boards") from error
        if file.stat().st_size > MAX_COUNTS_BYTES:
            raise DeviceError(f"the file of counts has {file.stat().st_size >> 20} MB; it is not the plugin's")
        return read_counts(file.read_text(errors="replace")), done.stdout


def on_this_machine(out: str) -> list[str]:
    """The start of a command that counts here, into `out`. Raises MissingExtraError with what to install."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise MissingExtraError(f"counting needs Linux on x86-64; this is {sys.platform} on {platform.machine()}")
    qemu = find_qemu("x86_64")
    if not qemu.plugins:
        raise MissingExtraError(f"{qemu.path} takes no plugins, so it cannot count; QEMU 7.2 of Debian 12 does: {INSTALL}")
    return [str(qemu.path), "-cpu", X86_CPU, "-plugin", f"{library('roi')},out={out}"]


def read_counts(text: str) -> dict[int, int]:
    """Instructions at each mark. Raises DeviceError for text that the plugin did not write, or a count that runs backwards."""
    found: dict[int, int] = {}
    for line in text.splitlines():
        match = LINE.fullmatch(line)
        if match is None:
            raise DeviceError(f"the file of counts has the line {line[:40]!r}, which the plugin did not write")
        what, number, count = match[1], int(match[2]), int(match[3])
        if what == "end":
            continue  # of the process itself, and of others that it started
        if number in found or count < max(found.values(), default=0):
            raise DeviceError(f"mark {number} comes twice or counts backwards: more than one process marked")
        found[number] = count
    return found


def _reply(printed: str) -> dict[str, Any]:
    try:
        reply = json.loads(printed.strip().splitlines()[-1])
    except (IndexError, ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict) or not isinstance(reply.get("versions", {}), dict):
        raise DeviceError("the counting run printed no reply")
    return reply


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return first_line(RuntimeError(lines[-1] if lines else "it said nothing"))
