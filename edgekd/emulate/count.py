"""Instructions per inference, counted by a QEMU plugin: a cost that repeats, on a machine that is busy with other things.

For one thread only: what several threads do while they wait for each other is not a cost.
"""

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.bench import feeding
from edgekd.bench.transports.base import Transport
from edgekd.emulate.native import library
from edgekd.emulate.qemu import INSTALL, find_qemu
from edgekd.errors import DeviceError, MissingExtraError, first_line, storage_errors

COUNTS = "counts"
"""The plugin's file, in the transport's folder."""
MAX_COUNTS_BYTES = 1 << 20
LINE = re.compile(r"(mark|end) ([0-9]{1,3}) ([0-9]{1,20})")
FIXED = ("PYTHONHASHSEED=0", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1", "PYTHONDONTWRITEBYTECODE=1")
"""With a seed of its own each process builds its dictionaries otherwise: some 0.05 % of the instructions of a small model."""
X86_CPU = "max"
"""Of qemu-x86_64: AVX2 and FMA, no AVX-512. Its default has neither, and runtimes would take other code."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Instructions of one inference, in two halves of a run: they say themselves how much they can be trusted."""

    per_inference: float
    halves: tuple[float, float]
    queries: int
    """In each half."""
    cpu: str
    machine: str
    versions: dict[str, str]

    @property
    def spread(self) -> float:
        """Difference of the halves as a fraction."""
        return abs(self.halves[0] - self.halves[1]) / self.per_inference


def count_instructions(transport: Transport, argv: Sequence[str], timeout_s: float, *, here: bool) -> tuple[dict[int, int], str]:
    """Run a command of a device under the counting plugin.

    Args:
        transport: where it runs; files that it needs are there already.
        argv: marks its regions as `roi.c` says.
        here: on this machine, by qemu-x86_64; else on an emulated board, whose programs QEMU runs already.

    Returns:
        Instructions since the start of the process at each mark, and what the command printed.

    Raises:
        DeviceError: the command failed, or nothing counted: the device is no emulated board, or its QEMU takes no plugins.
        MissingExtraError: this machine has no QEMU that takes plugins.
    """
    prefix = _on_this_machine() if here else [f"QEMU_PLUGIN=/plugin/roi.so,out={COUNTS}"]
    done = transport.run(["env", *FIXED, *prefix, *argv], timeout_s)
    if done.rc:
        raise DeviceError(f"counting failed with exit code {done.rc}: {_last_line(done.stderr)}")
    with storage_errors("a temporary folder"), tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        file = Path(folder) / COUNTS
        try:
            transport.pull(COUNTS, file)
        except DeviceError as error:
            raise DeviceError(
                "nothing was counted there: instructions are counted on this machine and on emulated boards"
            ) from error
        if file.stat().st_size > MAX_COUNTS_BYTES:
            raise DeviceError(f"the file of counts has {file.stat().st_size >> 20} MB; it is not the plugin's")
        return read_counts(file.read_text(errors="replace")), done.stdout


def _on_this_machine() -> list[str]:
    qemu = find_qemu("x86_64")
    if not qemu.plugins:
        raise MissingExtraError(f"{qemu.path} takes no plugins, so it cannot count; QEMU 7.2 of Debian 12 does: {INSTALL}")
    return [str(qemu.path), "-cpu", X86_CPU, "-plugin", f"{library('roi')},out={COUNTS}"]


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


def count_model(
    transport: Transport,
    runner: Path,
    model: Path,
    *,
    here: bool,
    queries: int = 10,
    warmup_queries: int = 3,
    timeout_s: float = 600,
) -> Counted:
    """Instructions of one inference of a model file (or folder) by a target's runner, on random inputs of one seed.

    Raises DeviceError and MissingExtraError as `count_instructions`; DeviceError for a reply that is not one.
    """
    job = {
        "model": model.name,
        "runner": runner.stem,
        "seed": 0,
        "inputs": None,
        "samples": None,
        "batch": None,
        "warmup_queries": warmup_queries,
        "queries": queries,
    }
    with storage_errors("a temporary folder"), tempfile.TemporaryDirectory(prefix="edgekd-") as folder:
        job_file = Path(folder) / "job.json"
        job_file.write_text(json.dumps(job))
        for file in (runner, model, job_file, Path(feeding.__file__), Path(__file__).with_name("count_loop.py")):
            transport.push(file, file.name)
    if model.suffix == ".xml":
        transport.push(model.with_suffix(".bin"), model.with_suffix(".bin").name)
    marks, printed = count_instructions(transport, [transport.python, "count_loop.py", "job.json"], timeout_s, here=here)
    if sorted(marks) != [1, 2, 3]:
        raise DeviceError(f"marks {sorted(marks)} were counted, expected 1, 2 and 3")
    first, second = ((marks[i + 1] - marks[i]) / queries for i in (1, 2))
    facts = _reply(printed)
    return Counted(
        per_inference=(first + second) / 2,
        halves=(first, second),
        queries=queries,
        cpu=X86_CPU if here else str(facts.get("cpu", ""))[:40],
        machine=str(facts.get("machine", ""))[:40],
        versions={str(k)[:40]: str(v)[:40] for k, v in facts.get("versions", {}).items()},
    )


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
