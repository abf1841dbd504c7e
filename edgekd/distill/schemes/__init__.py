"""The ways to train one student: each plans a graph of stages, the last of which is what ships.

A scheme is a factory that takes its numbers from `scheme = { name = "chain", assistants = 2 }` and gives `(Plan) -> stages`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from edgekd.distill.stage import Plan, Stage
from edgekd.errors import InputError, did_you_mean

SCHEMES = {
    "born_again": "edgekd.distill.schemes.born_again:born_again",
    "chain": "edgekd.distill.schemes.chain:chain",
    "collaborative": "edgekd.distill.schemes.online:collaborative",
    "direct": "edgekd.distill.schemes.direct:direct",
    "exits": "edgekd.distill.schemes.exits:exits",
    "mutual": "edgekd.distill.schemes.online:mutual",
    "plain": "edgekd.distill.schemes.direct:plain",
    "progressive": "edgekd.distill.schemes.progressive:progressive",
}

Planner = Callable[[Plan], tuple[Stage, ...]]


def find_scheme(name: str, numbers: Mapping[str, Any]) -> Planner:
    """A scheme by its name. Raises InputError for a name that is not known, or numbers that it does not take."""
    from edgekd.plugins import load_attribute

    if name not in SCHEMES and ":" not in name:
        raise InputError(f"[distill] scheme '{name}' is not known" + did_you_mean(name, SCHEMES))
    try:
        planner: Planner = load_attribute(SCHEMES.get(name, name), None)(**numbers)
    except (TypeError, ValueError) as error:
        raise InputError(f"[distill] scheme '{name}': {error}") from error
    return planner
