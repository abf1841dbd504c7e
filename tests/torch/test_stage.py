"""Stages are known by the content of all that decides their weights."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from training_runs import RECIPE, candidate, losses, plan

from edgekd.distill.schemes.chain import chain
from edgekd.distill.stage import TEACHER, Stage, stage_keys

GRAPH = (
    Stage(name="first", candidate=candidate(width=16), recipe=RECIPE, seed=1),
    Stage(name="second", candidate=candidate(), recipe=RECIPE, seed=1, taught_by=("first",)),
    Stage(name="third", candidate=candidate(), recipe=RECIPE, seed=1, taught_by=("first",), starts_from="second"),
)


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": replace(RECIPE, learning_rate=0.04)},
        {"recipe": replace(RECIPE, losses=losses("hints"))},
        {"seed": 2},
        {"candidate": candidate(width=12)},
        {"learner": "mutual", "count": 2},
        {"taught_by": ()},
        {"weight_bits": 8},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_change_reaches_all_that_follows_from_it(change: dict[str, object]) -> None:
    """What decides the first stage's weights changes the keys of the stages that it teaches, and of what grows out of those."""
    before, after = stage_keys(GRAPH, "t"), stage_keys((replace(GRAPH[0], **change), *GRAPH[1:]), "t")  # type: ignore[arg-type]
    assert all(before[name] != after[name] for name in ("first", "second", "third"))


def test_another_teacher_changes_every_taught_stage() -> None:
    """And not one that learns from the labels alone."""
    untaught = replace(GRAPH[0], taught_by=())
    assert all(stage_keys(GRAPH, "t")[name] != stage_keys(GRAPH, "u")[name] for name in ("first", "second", "third", TEACHER))
    assert stage_keys([untaught], "t")["first"] == stage_keys([untaught], "u")["first"]


def test_a_middle_stage_leaves_what_came_before() -> None:
    """A changed second stage does not train the first again."""
    before, after = stage_keys(GRAPH, "t"), stage_keys((GRAPH[0], replace(GRAPH[1], seed=9), GRAPH[2]), "t")
    assert before["first"] == after["first"]
    assert (before["second"] != after["second"], before["third"] != after["third"]) == (True, True)


def test_names_are_no_part_of_a_key() -> None:
    """The same training under another name is not done again."""
    renamed = (replace(GRAPH[0], name="a"), replace(GRAPH[1], name="b", taught_by=("a",)))
    ours, theirs = stage_keys(GRAPH[:2], "t"), stage_keys(renamed, "t")
    assert (ours["first"], ours["second"]) == (theirs["a"], theirs["b"])


def test_teaching_and_growing_are_not_the_same() -> None:
    """A parent that teaches and one that is started from give other keys."""
    taught, grown = replace(GRAPH[2], starts_from=None), replace(GRAPH[2], taught_by=(), starts_from="first")
    assert stage_keys((GRAPH[0], taught), "t")["third"] != stage_keys((GRAPH[0], grown), "t")["third"]


def test_keys_are_the_same_in_every_process() -> None:
    """A run that goes on in a new process, with other hashes of strings, finds its stages."""
    code = (
        "import sys, json; sys.path.insert(0, 'tests/torch')\n"
        "from training_runs import plan; from edgekd.distill.schemes.chain import chain\n"
        "from edgekd.distill.stage import stage_keys\n"
        "print(json.dumps(stage_keys(chain(assistants=2, precision='w8')(plan()), ['t'])))"
    )
    folder = __file__.rsplit("/tests/", 1)[0]
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder).stdout
    assert json.loads(found) == stage_keys(chain(assistants=2, precision="w8")(plan()), ["t"])
