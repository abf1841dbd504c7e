"""Schemes are trained stage by stage: each once, cut off anywhere, whatever losses, learners and sizes meet."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from training_runs import (
    EVERY_STEP,
    FAMILY,
    RECIPE,
    Cut,
    Watch,
    cache_of,
    candidate,
    losses,
    plan,
    recorded,
    stages,
    trained,
    training,
)

from edgekd.distill import LOSSES, trainer
from edgekd.distill.cache import TeacherCache
from edgekd.distill.recipe import Recipe, Tap
from edgekd.distill.schemes.chain import chain
from edgekd.errors import InputError
from edgekd.teachers import FeatureRequest

CHAIN = {"assistants": 1, "precision": "w8"}
SOFT = RECIPE.losses


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> tuple[TeacherCache, ...]:
    """Of three teachers; the first shows feature maps in every form that a test asks for."""
    folder = tmp_path_factory.mktemp("caches")
    for request in (FeatureRequest(), FeatureRequest(energy=True), FeatureRequest(paths=("stage1_block1", "stage2_block1"))):
        cache_of(folder, 0, request, views=4)
    return tuple(cache_of(folder, seed, views=4) for seed in range(3))


def interrupted(folder: Path, planned: Any, caches: Any, cuts: list[int]) -> int:
    """Train with power cuts, each after so many moves of the progress bar, then to the end; how many struck."""
    struck = 0
    for cut in cuts:
        try:
            trained(folder, planned, caches, watch=Watch(cut))
        except Cut:
            struck += 1
    trained(folder, planned, caches)
    return struck


CASES: dict[str, tuple[Recipe, str, dict[str, Any]]] = {
    "chain": (RECIPE, "chain", CHAIN),
    "chain, adapters": (replace(RECIPE, losses=(*SOFT, *losses("hints", "review", weight=0.1))), "chain", CHAIN),
    "chain, normalized": (replace(RECIPE, losses=(*SOFT, *losses("attention")), normalize=True), "chain", CHAIN),
    "mutual": (replace(RECIPE, losses=(*SOFT, *losses("hints", weight=0.1))), "mutual", {}),
    "collaborative": (RECIPE, "collaborative", {"branches": 2}),
    "exits": (RECIPE, "exits", {}),
    "born again": (RECIPE, "born_again", {"generations": 2, "together": True}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_scheme_cut_off_anywhere_ends_bit_identically(
    name: str, caches: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every stage, and while a student's answers are cached: weights and curves of all stages are the undisturbed run's."""
    recipe, scheme, numbers = CASES[name]
    planned = stages(recipe, scheme, numbers)
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", EVERY_STEP)
    watch = Watch()
    whole = trained(tmp_path / "whole", planned, caches[:1], watch=watch)
    assert whole["failure"] is None
    draws = random.Random(name)
    cuts = [draws.randrange(1, watch.moves // 2) for _ in range(5)]
    assert interrupted(tmp_path / "cut", planned, caches[:1], cuts) >= 2
    assert recorded(tmp_path / "cut") == recorded(tmp_path / "whole")


class Dropping:
    """A family whose students draw while they learn."""

    def space(self, input_shape: tuple[int, ...]) -> dict[str, Any]:
        return FAMILY.space(input_shape)

    def build(self, params: Any, input_shape: tuple[int, ...], classes: int) -> nn.Module:
        *layers, last = FAMILY.build(params, input_shape, classes)
        return nn.Sequential(*layers, nn.Dropout(0.2), last)


def test_dropout_is_taken_up_where_it_was(caches: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's student that draws at random ends bit-identically too, whatever else drew from the global generator."""
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", EVERY_STEP)
    planned = stages(RECIPE)
    family = {"family": Dropping()}
    torch.manual_seed(1)
    whole = trained(tmp_path / "whole", planned, caches[:1], **family)
    torch.manual_seed(2)
    with pytest.raises(Cut):
        trained(tmp_path / "cut", planned, caches[:1], watch=Watch(5), **family)
    assert trained(tmp_path / "cut", planned, caches[:1], **family)["sha256"] == whole["sha256"]


def test_finished_stages_are_not_trained_again(caches: Any, tmp_path: Path) -> None:
    """A second run over the same store trains nothing; one that shares a stage trains the rest."""
    planned = stages(RECIPE, "chain", CHAIN)
    trained(tmp_path / "run", planned, caches[:1])
    again, shorter = Watch(), Watch()
    trained(tmp_path / "run", planned, caches[:1], watch=again)
    assert again.titles == []
    trained(tmp_path / "run", stages(RECIPE, "chain", {"assistants": 1}), caches[:1], watch=shorter)
    assert not any("assistant-1" in title and "final" not in title and "resnet" in title for title in shorter.titles)


def test_a_failed_stage_ends_its_scheme(caches: Any, tmp_path: Path) -> None:
    """Its failure is the scheme's and says which stage failed; the student is not trained, no epoch is told as its own."""
    planned = list(stages(RECIPE, "chain", {"assistants": 1}))
    planned[0] = replace(planned[0], recipe=replace(RECIPE, learning_rate=1e12))
    told: list[int] = []
    watch = Watch()

    def on_epoch(epoch: int, accuracy: float) -> bool:
        told.append(epoch)
        return False

    with training(tmp_path / "run", caches[:1], watch) as made:
        found = made.run(planned, "final", on_epoch)
    assert found["failure"]["stage"] == "distil"
    assert "assistant-1" in found["failure"]["cause"]
    assert (told, found["curve"]) == ([], [])
    assert not any("final" in title for title in watch.titles)
    assert not list((tmp_path / "run").rglob("checkpoint*"))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_every_loss_trains(name: str, caches: Any, tmp_path: Path) -> None:
    """With a gradient of the labels' length, its own value falls while the student learns, and nothing of it ships."""
    recipe = replace(RECIPE, epochs=4, task_weight=1.0, losses=losses(name), normalize=True)
    found = trained(tmp_path / "run", stages(recipe), caches[:1])
    assert found["failure"] is None
    assert found["curve"][-1]["accuracy"] > 0.5
    assert found["curve"][-1]["loss"] < found["curve"][1]["loss"]
    with training(tmp_path / "run") as made:
        module = made.module(candidate(), found)
    assert not any("map_" in key for key in module.state_dict())


NAMED = (Tap(teacher="stage1_block1", student="stage1_block1"), Tap(teacher="stage2_block1", student="stage2_block1"))
FEATURES = replace(RECIPE, losses=losses("hints", "attention"), task_weight=1.0)


@pytest.mark.parametrize("size", [6, 8])
@pytest.mark.parametrize("taps", [(), NAMED], ids=["auto", "named"])
def test_feature_losses_whatever_the_pictures_size(size: int, taps: tuple[Tap, ...], caches: Any, tmp_path: Path) -> None:
    """A student of smaller pictures learns from its teacher's maps, paired by resolution or by name."""
    found = trained(tmp_path / "run", stages(replace(FEATURES, taps=taps), input_size=size), caches[:1])
    assert found["failure"] is None
    assert {"hints", "attention"} == set(found["curve"][-1]["gradient_ratios"])


@pytest.mark.parametrize("scheme", ["chain", "born_again"])
def test_named_taps_are_the_projects_teachers(scheme: str, caches: Any, tmp_path: Path) -> None:
    """A student that teaches has other layers: its maps pair by resolution, and the scheme goes through."""
    recipe = replace(FEATURES, taps=NAMED)
    assert trained(tmp_path / "run", stages(recipe, scheme), caches[:1])["failure"] is None


def test_a_candidate_without_a_named_layer_fails_alone(caches: Any, tmp_path: Path) -> None:
    """Candidates differ in depth: one that lacks the layer is a failed trial with a hint, not the end of the run."""
    taps = (Tap(teacher="stage1_block1", student="stage1_block1.body.7"), Tap(teacher="stage2_block1", student="stage2_block1"))
    found = trained(tmp_path / "run", stages(replace(FEATURES, taps=taps)), caches[:1])
    assert "no layer 'stage1_block1.body.7' (did you mean 'stage1_block1.body.1'?)" in found["failure"]["cause"]


def test_a_teachers_layer_is_named_once(caches: Any, tmp_path: Path) -> None:
    """Of two student layers that should learn from one of the teacher's, none is dropped in silence."""
    taps = (Tap(teacher="stage1_block1", student="stage1_block1"), Tap(teacher="stage1_block1", student="stage2_block1"))
    with pytest.raises(InputError, match="'stage1_block1' twice"):
        trained(tmp_path / "run", stages(replace(FEATURES, taps=taps)), caches[:1])


@pytest.mark.parametrize("combine", ["mean_logits", "mean_probabilities", "entropy", "ca_mkd", "ae_kd"])
def test_three_teachers_at_once(combine: str, caches: Any, tmp_path: Path) -> None:
    """Every weighting trains a student that agrees with the ensemble."""
    found = trained(tmp_path / "run", stages(replace(RECIPE, combine=combine, epochs=6, views=4, task_weight=0.0)), caches)
    assert found["failure"] is None
    assert found["curve"][-1]["agreement"] > 0.5


def test_maps_of_several_teachers_are_refused(caches: Any, tmp_path: Path) -> None:
    """Feature maps have no common space."""
    with pytest.raises(InputError, match="take one teacher"):
        trained(tmp_path / "run", stages(FEATURES), caches)


def test_without_caches_a_recipe_trains_plainly(tmp_path: Path) -> None:
    """A training without teachers asks no loss for one."""
    found = trained(tmp_path / "run", stages(RECIPE), ())
    assert found["failure"] is None
    assert found["curve"][-1]["agreement"] is None


def test_the_rounded_student_is_on_its_grid(caches: Any, tmp_path: Path) -> None:
    """What a chain with precision w4 ships has at most 15 values in each output channel, under the family's names."""
    found = trained(tmp_path / "run", chain(assistants=1, precision="w4")(plan()), caches[:1])
    with training(tmp_path / "run") as made:
        state = made.module(candidate(), found).state_dict()
    for name, value in state.items():
        if value.ndim > 1:
            assert all(len(channel.unique()) <= 15 for channel in value), name


def test_the_threads_are_the_recipes_before_anything_is_computed(caches: Any, tmp_path: Path) -> None:
    """A resumed run answers with as many threads as the undisturbed one: sums differ in their last bits by them."""
    seen: list[int] = []

    class Counting(Watch):
        def at(self, *told: Any, **more: Any) -> None:
            seen.append(torch.get_num_threads())

    first, second = stages(RECIPE, "born_again")
    with training(tmp_path / "run", caches[:1]) as made:
        made.run([first, replace(second, recipe=replace(RECIPE, epochs=1))], "final")
    torch.set_num_threads(2)
    trained(tmp_path / "run", (first, second), caches[:1], watch=Counting())
    assert set(seen) == {1}
