"""Many comparisons in one run: a screening, then a confirmation of the suspects on fresh blocks, with Holm's correction.

With one test a comparison, fifty unchanged models would turn a build red in half of all runs at 1 % each. Screening data choose
the suspects and are never used again, so the confirmation's errors are what they claim; at each of its looks Holm's step-down
[1979] bounds the chance of any false REGRESSED in the whole run by `alpha_run` over the looks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from edgekd.gate.sequential import Decision, Profile, decide

ALPHA_RUN = 0.01
SUSPECT = 0.2
"""P-value against "no slower than tolerated" below which a comparison is measured afresh."""
Measure = Callable[[Sequence[int], int], Mapping[int, Sequence[float]]]
"""`measure(which, blocks)`: so many more log ratios of each of these comparisons, interleaved over all of them."""


def judge_family(count: int, profile: Profile, measure: Measure, alpha_run: float = ALPHA_RUN) -> list[Decision]:
    """One decision a comparison. A single one needs no screening: its looks are the profile's own."""
    if count == 1:
        return [_alone(profile, measure)]
    found, suspects = _screen(count, profile, measure)
    found |= _confirm(suspects, profile, measure, alpha_run)
    return [found[index] for index in range(count)]


def _alone(profile: Profile, measure: Measure) -> Decision:
    values: list[float] = []
    for look in profile.looks:
        values += measure([0], look - len(values))[0]
        decision = decide(values, profile)
        if decision.outcome is not None:
            break
    return decision


def _screen(count: int, profile: Profile, measure: Measure) -> tuple[dict[int, Decision], list[int]]:
    """What is decided without suspicion, and the suspects. What is neither is measured on, up to the last look."""
    values: dict[int, list[float]] = {index: [] for index in range(count)}
    found: dict[int, Decision] = {}
    suspects: list[int] = []
    waiting = list(values)
    for look in profile.looks:
        fresh = measure(waiting, look - len(values[waiting[0]]))
        for index in waiting:
            values[index] += fresh[index]
            decision = decide(values[index], profile)
            if decision.p_regressed < SUSPECT:
                suspects.append(index)
            elif decision.outcome is not None:
                found[index] = decision
        waiting = [index for index in waiting if index not in found and index not in suspects]
        if not waiting:
            break
    return found, suspects


def _confirm(suspects: Sequence[int], profile: Profile, measure: Measure, alpha_run: float) -> dict[int, Decision]:
    values: dict[int, list[float]] = {index: [] for index in suspects}
    decisions: dict[int, Decision] = {}
    waiting = list(suspects)
    for look in profile.looks if suspects else ():
        fresh = measure(waiting, look - len(values[waiting[0]]))
        for index in waiting:
            values[index] += fresh[index]
            decisions[index] = decide(values[index], profile)
        refused = holm({index: decisions[index].p_regressed for index in suspects}, alpha_run / len(profile.looks))
        for index in waiting:
            decisions[index] = _confirmed(decisions[index], index in refused, last=look == profile.looks[-1])
        waiting = [index for index in waiting if decisions[index].outcome is None]
        if not waiting:
            break
    return decisions


def _confirmed(decision: Decision, refused: bool, *, last: bool) -> Decision:
    """REGRESSED is Holm's to say; the other answers are the comparison's own."""
    if refused:
        return replace(decision, outcome="REGRESSED")
    own = None if decision.outcome == "REGRESSED" else decision.outcome
    return replace(decision, outcome="INCONCLUSIVE" if own is None and last else own)


def holm(p_values: Mapping[int, float], alpha: float) -> set[int]:
    """The hypotheses that Holm's step-down procedure refuses at a family-wise level."""
    refused: set[int] = set()
    for rank, index in enumerate(sorted(p_values, key=lambda key: (p_values[key], key))):
        if p_values[index] > alpha / (len(p_values) - rank):
            break
        refused.add(index)
    return refused
