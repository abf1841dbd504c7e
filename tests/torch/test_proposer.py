"""The search proposes what is new and allowed, the same from the same seed, and ends where the space does."""

from collections.abc import Callable

import pytest

from edgekd.search.proposer import Proposer, Trial
from edgekd.students.space import Space
from edgekd.types import Candidate

SPACE = Space(family="resnet", axes={"width": (8, 16, 32), "depth": (1, 2), "skip": (False, True)})
SIZE = 12
EPOCHS = 4


def proposer(seed: int = 0, allowed: Callable[[Candidate], bool] = lambda candidate: True) -> Proposer:
    return Proposer(SPACE, seed, allowed, [SPACE.smallest], EPOCHS)


def told(trial: Trial) -> float:
    """More width is better here."""
    return float(trial.candidate.values["width"]) / 100


def run(search: Proposer, count: int) -> list[Candidate]:
    found = []
    for _ in range(count):
        trial = search.next()
        if trial is None:
            break
        trial.tell(told(trial), 0.0)
        found.append(trial.candidate)
    return found


def test_the_smallest_comes_first_and_none_comes_twice() -> None:
    """All candidates of a space are proposed, each once, then there is no more."""
    found = run(proposer(), SIZE + 5)
    assert found[0] == SPACE.smallest
    assert len(found) == len(set(found)) == SIZE


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_and_answers_give_the_same_search(seed: int) -> None:
    """A replayed run proposes what the first one did."""
    assert run(proposer(seed), 8) == run(proposer(seed), 8)


def test_what_is_not_allowed_is_not_proposed() -> None:
    """Beyond the first, every candidate passes; the space ends where those do."""
    found = run(proposer(allowed=lambda candidate: candidate.values["width"] == 16), SIZE)
    assert all(candidate.values["width"] == 16 for candidate in found[1:])
    assert len(found) == 5


def test_failed_and_infeasible_trials_are_taken() -> None:
    """A trial that never trained, or is over budget, is told and the search goes on."""
    search = proposer()
    for excess in (3.0, 0.0, 1.5, 0.0, 0.2):
        trial = search.next()
        assert trial is not None
        trial.tell(None if excess else 0.5, excess)
    assert search.next() is not None


def test_a_candidate_far_behind_is_stopped() -> None:
    """Below the median of the others at the same epoch after the warm-up, report() says so; the leader never hears it.

    At the end there is nothing left to stop: whoever got there counts as trained.
    """
    search, verdicts = proposer(), []
    for accuracy in (0.9, 0.8, 0.85, 0.2, 0.95):
        trial = search.next()
        assert trial is not None
        told = [trial.report(epoch, accuracy) for epoch in range(1, EPOCHS + 1)]
        assert told[-1] is False
        verdicts.append(any(told))
        trial.tell(accuracy, 0.0)
    assert verdicts == [False, False, False, True, False]
