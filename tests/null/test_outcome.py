"""Which candidates become finalists: each deployment has one, and together they are no more than asked for."""

from types import SimpleNamespace
from typing import Any

from edgekd.outcome import Outcome, TrialRecord
from edgekd.types import Budget, Candidate

PHONE, BOARD = (
    SimpleNamespace(label=name, device=SimpleNamespace(name=name), target=SimpleNamespace(name="null"), budget=Budget())
    for name in ("phone", "board")
)


def trial(width: int, rank: float, *fits: str) -> TrialRecord:
    """A rated student that was screened to fit these deployments."""
    found = TrialRecord(candidate=Candidate.of("resnet", {"width": width}), params=width, status="rated", rank=rank)
    found.screening = {name: [{"fits": True, "failure": None}] for name in fits}
    return found


def widths(count: int, *trials: TrialRecord, deployments: Any = (PHONE, BOARD)) -> list[Any]:
    outcome = Outcome(deployments=deployments, trials=list(trials))
    return [found.candidate.values["width"] for found in outcome.finalists(count)]


def test_each_deployment_has_its_best_one() -> None:
    """Though one was asked for; a student that is the best for both comes once."""
    small, large = trial(8, 0.5, "phone", "board"), trial(32, 0.9, "board")
    assert widths(1, small, large) == [32, 8]
    assert widths(1, small) == [8]


def test_the_others_follow_by_turns_up_to_the_number() -> None:
    """A single deployment gets all of them; with two the count stays the same."""
    students = [trial(width, width / 100, "phone", *(("board",) if width % 2 else ())) for width in range(10, 16)]
    assert widths(3, *students, deployments=(PHONE,)) == [15, 14, 13]
    assert widths(3, *students) == [15, 14, 13]
    assert widths(4, *students) == [15, 14, 13, 11]


def test_what_was_built_for_a_deployment_is_not_tried_again() -> None:
    """After an artifact that failed, the next best comes; after one that ships, nothing does."""
    best, next_best = trial(16, 0.9, "phone"), trial(8, 0.5, "phone")
    names = {"device": "phone", "target": "null"}
    best.artifacts.append({**names, "failure": {"stage": "verify"}})
    assert widths(1, best, next_best, deployments=(PHONE,)) == [8]
    figures = {"values": {"latency_ms": []}, "size_bytes": 1, "peak_memory_bytes": {"value": 1}, "energy_mj": {"value": None}}
    next_best.artifacts.append({**names, "failure": None, **figures})
    assert widths(1, best, next_best, deployments=(PHONE,)) == []
