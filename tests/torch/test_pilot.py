"""Losses on feature maps of an unlike teacher are kept only where they win a short training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic_data import CLASSES, CONTRACT
from torch import Tensor, nn
from training_runs import RECIPE, Watch, cache_of, candidate, losses, stages, training

from edgekd.distill.cache import TeacherCache
from edgekd.distill.kinds import kinds_of
from edgekd.distill.pilot import EPOCHS, Pilots, map_losses, pilot, unlike, without_maps
from edgekd.distill.recipe import Recipe, Tap
from edgekd.students import find_family
from edgekd.teachers import FeatureRequest
from edgekd.teachers.torch_module import load_torch

SHAPE = CONTRACT.shape
DENSE = frozenset({"dense convolution"})
MAPS: Recipe = replace(RECIPE, losses=(*RECIPE.losses, *losses("hints", weight=0.1)))


class Patches(nn.Module):
    """Patches of 2x2 as tokens, mixed by attention or by a linear layer over places."""

    def __init__(self, attention: bool) -> None:
        super().__init__()
        self.cut = nn.Conv2d(1, 8, 2, 2)
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True) if attention else nn.Linear(16, 16)
        self.attention, self.channels, self.head = attention, nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.cut(x).flatten(2).transpose(1, 2)
        x = self.mix(x, x, x)[0] if self.attention else self.mix(x.transpose(1, 2)).transpose(1, 2)
        logits: Tensor = self.head(self.channels(x).mean(1))
        return logits


def family(name: str, **changes: Any) -> nn.Module:
    values = {**candidate(**changes).values, "expansion": 2, "stem_stride": 1}
    network: nn.Module = find_family(name).build(values, SHAPE, CLASSES)
    return network


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> TeacherCache:
    return cache_of(tmp_path_factory.mktemp("cache"), 0, FeatureRequest())


@pytest.mark.parametrize(
    ("network", "kinds"),
    [
        (family("resnet"), {"dense convolution"}),
        (family("resnet", bottleneck=0.5), {"dense convolution"}),
        (family("mbconv"), {"depthwise convolution"}),
        (Patches(attention=True), {"dense convolution", "attention", "linear over tokens"}),
        (Patches(attention=False), {"dense convolution", "linear over tokens"}),
    ],
    ids=["resnet", "bottleneck", "mbconv", "attention", "mixer"],
)
def test_what_a_network_is_made_of(network: nn.Module, kinds: set[str]) -> None:
    """By what mixes its places; the stem that takes the picture in and 1x1 convolutions say nothing."""
    before = network.training
    assert kinds_of(network, SHAPE) == kinds
    assert network.training == before
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_alike_is_of_the_same_blocks() -> None:
    """Width and depth do not matter; a teacher that does not show its blocks is unlike everything."""
    assert not unlike(family("resnet", width=16, depth=3), SHAPE, kinds_of(family("resnet"), SHAPE))
    assert unlike(family("mbconv"), SHAPE, kinds_of(family("resnet"), SHAPE))
    assert unlike(family("resnet"), SHAPE, None)


def test_a_teacher_of_a_users_own_shows_its_blocks(tmp_path: Path) -> None:
    """Where feature maps are asked for; else nobody needs to know."""
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=4),\n"
        "    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))\n"
    )
    shown, _ = load_torch("mine:net", None, tmp_path, CONTRACT, FeatureRequest())
    assert shown.kinds == {"depthwise convolution"}
    assert load_torch("mine:net", None, tmp_path, CONTRACT)[0].kinds is None


def test_only_losses_on_the_teachers_maps_are_on_trial() -> None:
    """Exits look at the student's own maps; logits and embeddings are comparable whatever the architecture."""
    recipe = replace(RECIPE, losses=losses("soft_targets", "attention", "exits", "rkd_distance", "review"))
    recipe = replace(recipe, taps=(Tap(teacher="a", student="b"),))
    assert [item.name for item in map_losses(recipe)] == ["attention", "review"]
    bare = without_maps(recipe)
    assert bare is not None
    assert ([item.name for item in bare.losses], bare.taps) == (["soft_targets", "exits", "rkd_distance"], ())
    assert without_maps(RECIPE) is None
    assert without_maps(replace(RECIPE, losses=losses("hints"), task_weight=0.0)) is None


def pilots(folder: Path, cache: TeacherCache, kinds: frozenset[str] | None, watch: Watch) -> Any:
    return training(folder, (cache,), watch, teacher_kinds=kinds)


def test_alike_or_told_so_they_are_used_without_a_trial(cache: TeacherCache, tmp_path: Path) -> None:
    """The pilot costs trainings: it is for unlike architectures, and not for who has decided."""
    watch = Watch()
    with pilots(tmp_path / "run", cache, DENSE, watch) as made:
        found = Pilots(training=made, seed=3)
        assert found.fitting(candidate(), MAPS) == MAPS
        made.teacher_kinds = None
        always = replace(MAPS, feature_losses="always")
        assert found.fitting(candidate(), always) == always
        assert found.fitting(candidate(), RECIPE) == RECIPE
    assert (watch.titles, found.found) == ([], {})


def test_a_short_training_ranks_without_them(cache: TeacherCache, tmp_path: Path) -> None:
    """A rung is not worth two more trainings: what has not won stays off."""
    watch = Watch()
    with pilots(tmp_path / "run", cache, None, watch) as made:
        assert Pilots(training=made, seed=3).fitting(candidate(), MAPS, final=False) == without_maps(MAPS)
    assert watch.titles == []


def test_what_harms_is_left_out(cache: TeacherCache, tmp_path: Path) -> None:
    """Maps that drown the labels lose; it is said, with the figures, and recorded: a run that goes on does not try again."""
    harmful = replace(MAPS, losses=(*RECIPE.losses, *losses("hints", weight=1e4)))
    first, again = Watch(), Watch()
    with pilots(tmp_path / "run", cache, None, first) as made:
        trials = Pilots(training=made, seed=3)
        assert trials.fitting(candidate(), harmful) == without_maps(harmful)
        found = trials.found[candidate().id]
    assert (found["kept"], found["losses"], found["epochs"]) == (False, ["hints"], EPOCHS)
    assert any("hints left out" in title and f"{found['accuracy_without']:.4f} without" in title for title in first.titles)
    with pilots(tmp_path / "run", cache, None, again) as made:
        trials = Pilots(training=made, seed=3)
        trials.fitting(candidate(), harmful)
    assert trials.found[candidate().id] == found
    assert len(again.titles) == 1  # what was found, and no bar of a training


def test_what_helps_is_kept(cache: TeacherCache, tmp_path: Path) -> None:
    """A recipe that learns next to nothing without them: they win by far more than a standard error."""
    weak = replace(MAPS, task_weight=1e-9, losses=losses("hints", weight=1.0))
    with pilots(tmp_path / "run", cache, None, Watch()) as made:
        bare = without_maps(weak)
        assert bare is not None
        bare = replace(bare, learning_rate=1e-9)
        found = pilot(made, candidate(), replace(MAPS, learning_rate=0.1), bare, 3)
    assert found["kept"]
    assert found["accuracy_without"] is None or found["accuracy_with"] - found["accuracy_without"] > found["standard_error"]


def test_the_verdict_is_for_more_than_chance() -> None:
    """By hand: 9 gained against 4 lost is 5 > √13; 8 against 4 is 4 > √12; 7 against 4 is 3 < √11."""
    from edgekd.distill.pilot import _better

    def verdict(gained: int, lost: int) -> bool:
        ours, theirs = torch.zeros(100, dtype=torch.bool).numpy(), torch.zeros(100, dtype=torch.bool).numpy()
        ours[:gained] = True
        theirs[gained : gained + lost] = True
        return _better(ours, theirs)[0]

    assert [verdict(9, 4), verdict(8, 4), verdict(7, 4), verdict(0, 0), verdict(0, 5)] == [True, True, False, False, False]


def test_the_trial_trains_what_will_be_trained(cache: TeacherCache, tmp_path: Path) -> None:
    """With the candidate's first weights and the recipe's own numbers: only the epochs are fewer."""
    with pilots(tmp_path / "run", cache, None, Watch()) as made:
        bare = without_maps(MAPS)
        assert bare is not None
        pilot(made, candidate(), MAPS, bare, 3)
        kept = made.run(stages(replace(bare, epochs=EPOCHS)), "pilot")
        assert len(made.store.units("distil")) == 2
    assert len(kept["curve"]) == EPOCHS
