"""`edgekd bench --count-instructions`: the counted metric in a bench record."""

from contextlib import closing
from typing import Any

from edgekd.bench.jobs import Job
from edgekd.bench.transports import connect
from edgekd.bench.transports.address import read_address
from edgekd.bench.transports.book import find_address
from edgekd.emulate.count import RUNS, SPREAD, Counted, NotCounted, count_model, on_this_machine
from edgekd.plugins import find_target
from edgekd.types import Provenance

Record = dict[str, Any]


def check_counting(job: Job) -> None:
    """Raises MissingExtraError, before anything is measured, where this machine lacks what counts."""
    if _here(job):
        on_this_machine("counts")


def with_instructions(job: Job, record: Record) -> Record:
    """The job's record with `instructions_per_inference`, on one thread, from processes of their own.

    Unavailable, with the reason, on a device that is no emulated board. Raises as `count_model` does.
    """
    runner = find_target(record["target"]).runner
    assert runner is not None  # it was measured
    with closing(connect(find_address(job.device, job.connect) or "local")) as transport:
        try:
            found = count_model(transport, runner, job.model.absolute(), here=_here(job), use=job.used())
        except NotCounted as error:
            absent = {"value": None, "provenance": str(Provenance.UNAVAILABLE), "reason": str(error)}
            return {**record, "instructions_per_inference": absent}
    return {**record, "instructions_per_inference": figure(found), "warnings": [*record["warnings"], *doubts(found)]}


def figure(found: Counted) -> Record:
    """What JSON holds. An emulated processor executed them: for the same code the real one executes as many."""
    return {
        "value": found.per_inference,
        "values": list(found.values),
        "halves": [list(pair) for pair in found.halves],
        "spread": found.spread,
        "queries": found.queries,
        "threads": 1,
        "machine": found.machine,
        "cpu": found.cpu,
        "versions": found.versions,
        "provenance": str(Provenance.EMULATED),
    }


def doubts(found: Counted) -> list[str]:
    """A warning where the runs do not agree."""
    if found.spread <= SPREAD:
        return []
    return [
        f"instructions per inference differ by {found.spread:.2%} between {RUNS} runs, expected at most {SPREAD:.2%}: "
        "this model on this runtime does not repeat exactly; compare larger changes only"
    ]


def _here(job: Job) -> bool:
    address = find_address(job.device, job.connect)
    return address is None or read_address(address).kind == "local"
