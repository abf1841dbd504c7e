"""What a teacher's cached answers say of it: figures, advice with stable names, and the teachers that are not worth asking."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from edgekd.data import Data, normalise
from edgekd.data.settings import DataSettings
from edgekd.data.sources import load_data
from edgekd.errors import InputError
from edgekd.teachers.advice import Advice, capacity_gap, versus_reference, worse_than_student
from edgekd.teachers.advice import Capacity as CapacityOf
from edgekd.teachers.builtin import DigitsNet
from edgekd.teachers.check import check_teacher
from edgekd.teachers.load import load_teacher
from edgekd.teachers.reference import linear_reference, pooled
from edgekd.teachers.suitability import Suitability, assess, smoothing_signature, temperature_for
from edgekd.teachers.torch_module import tapped_teacher, torch_teacher

EPOCHS = 20


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data(DataSettings(source="digits"), base=Path())


@cache
def _trained(smoothing: float, seed: int) -> nn.Module:
    data = load_data(DataSettings(source="digits"), base=Path())
    torch.manual_seed(seed)
    network = DigitsNet()
    inputs, labels = torch.from_numpy(normalise(data.train.inputs, data.contract)), torch.from_numpy(data.train.labels)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs[rows]), labels[rows], label_smoothing=smoothing).backward()
            optimizer.step()
    return network.eval()


def trained(smoothing: float, seed: int) -> nn.Module:
    """The digits net, trained with label smoothing or without; the caller's own to spoil."""
    return deepcopy(_trained(smoothing, seed))


def logits_of(network: nn.Module, data: Data) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """On validation and on training samples."""
    with torch.inference_mode():
        found = [network(torch.from_numpy(normalise(p.inputs, data.contract))).numpy() for p in (data.validation, data.train)]
    return found[0], found[1]


def judged(data: Data, validation: NDArray[np.float32], train: NDArray[np.float32], **numbers: Any) -> Suitability:
    return assess(
        logits=validation,
        labels=data.validation.labels,
        train_logits=train,
        train_labels=data.train.labels,
        reference_right=linear_reference(data, 0),
        **numbers,
    )


def rules(found: Suitability) -> set[str]:
    return {item.rule for item in found.advice}


def test_a_sound_teacher_gets_figures_and_a_temperature_only(data: Data) -> None:
    """Its accuracy lies in its Wilson interval, its figures are plain JSON, and nothing but a temperature is advised."""
    found = judged(data, *logits_of(trained(0.0, seed=0), data), teacher_params=38_000, student_params=9_000)
    assert rules(found) == {"temperature"}
    assert found.chance < 0.2 < 0.95 < found.accuracy_low <= found.accuracy <= found.accuracy_high <= 1
    assert found.entropy_share == pytest.approx(found.entropy_nats / np.log(10))
    assert found.params_ratio == pytest.approx(38 / 9)
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["advice"][0]["rule"] == "temperature"
    found.check("t")


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("smoothing", "expected"), [(0.0, False), (0.1, True)])
def test_label_smoothing_is_told_from_the_margins(data: Data, seed: int, smoothing: float, expected: bool) -> None:
    """A net trained with smoothing 0.1 is named and gets temperature 1; the same net without it is not and does not."""
    found = judged(data, *logits_of(trained(smoothing, seed), data))
    assert ("label-smoothed-teacher" in rules(found)) == expected
    assert (found.temperature == 1.0) == expected
    if expected:
        assert found.implied_smoothing == pytest.approx(0.1, abs=0.03)


@given(st.floats(0.02, 0.5), st.integers(2, 20), st.floats(-5, 5))
def test_the_optimum_of_label_smoothing_implies_it(smoothing: float, classes: int, constant: float) -> None:
    """Logits at the optimum under ε give ε back, to the closed form, with no spread; a constant a sample changes nothing."""
    labels = np.arange(60) % classes
    targets = np.full((60, classes), smoothing / classes)
    targets[np.arange(60), labels] += 1 - smoothing
    found = smoothing_signature(np.log(targets) + constant, labels)
    assert found is not None
    assert found.implied == pytest.approx(smoothing)
    assert found.spread == pytest.approx(0, abs=1e-9)


def test_too_few_right_answers_imply_nothing() -> None:
    """A spread of margins is not made up from a handful of samples."""
    assert smoothing_signature(np.eye(10, dtype=np.float32), np.arange(10)) is None


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.floats(0.5, 40), st.floats(0.2, 0.8))
def test_the_temperature_gives_the_entropy_that_is_asked_for(seed: int, classes: int, scale: float, share: float) -> None:
    """Within the range, targets softened by it have that share of log C; at its ends, as near as can be."""
    logits = (scale * np.random.default_rng(seed).normal(size=(50, classes))).astype(np.float32)

    def entropy(temperature: float) -> float:
        p = np.exp(logits.astype(float) / temperature - (logits / temperature).max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        return float(-(p * np.log(np.maximum(p, 1e-300))).sum(axis=1).mean() / np.log(classes))

    found = temperature_for(logits, share)
    assert 1 <= found <= 10
    assert found == 1 or entropy(found - 0.11) <= share
    assert found == 10 or entropy(found + 0.11) >= share


def test_a_teacher_worse_than_logistic_regression_stops(data: Data) -> None:
    """Classes in another order for a third of the samples: both scores, the p-value and a next step are in one line."""
    validation, train = logits_of(trained(0.0, seed=0), data)
    wrong = validation.copy()
    wrong[::3] = np.roll(wrong[::3], 1, axis=1)
    found = judged(data, wrong, train)
    assert found.worse_than_reference_p < 1e-6
    with pytest.raises(InputError, match=r"teacher-worse-than-student: teacher t: it is right on 9\d of 144") as caught:
        found.check("t")
    assert "\n" not in str(caught.value)
    assert "the order of classes" in str(caught.value)


def test_the_reference_learns_and_is_the_same_for_a_seed(data: Data) -> None:
    """Logistic regression knows 95 % of the digits, from no more samples than it may have, and repeats itself."""
    first = linear_reference(data, 0)
    assert first.mean() > 0.95
    assert np.array_equal(first, linear_reference(data, 0))


def test_large_pictures_are_averaged_for_the_reference() -> None:
    """A side of 70 becomes 23: means of whole blocks, in any number of channels."""
    inputs = np.random.default_rng(0).integers(0, 256, (2, 3, 70, 33), dtype=np.uint8)
    found = pooled(inputs)
    assert found.shape == (2, 3, 23, 16)
    assert found[1, 2, 4, 5] == pytest.approx(inputs[1, 2, 12:15, 10:12].mean())
    assert pooled(inputs[..., :32, :32]).shape == (2, 3, 32, 32)


def test_a_lead_by_luck_does_not_stop() -> None:
    """Two samples of a hundred more than the teacher are no finding; ten are, if the teacher alone is right on none."""
    teacher, reference = np.zeros(100, bool), np.zeros(100, bool)
    teacher[:90], reference[:90] = True, True
    reference[90:92] = True
    assert worse_than_student(versus_reference(teacher, reference), 100) is None
    reference[90:] = True
    duel = versus_reference(teacher, reference)
    assert duel.p_value == pytest.approx(0.5**10)
    assert worse_than_student(duel, 100) is not None
    assert versus_reference(reference, reference).p_value == 1


def _random(samples: int, scale: float, right: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits (N, 10), the largest of which is `scale` above the rest, and labels that they are right about."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, samples)
    named = np.where(rng.random(samples) < right, labels, (labels + 1) % 10)
    return (scale * np.eye(10)[named] + rng.normal(0, 0.5, (samples, 10))).astype(np.float32), labels


def _assess(validation: tuple[Any, Any], train: tuple[Any, Any]) -> Suitability:
    return assess(
        logits=validation[0],
        labels=validation[1],
        train_logits=train[0],
        train_labels=train[1],
        reference_right=np.zeros(len(validation[1]), bool),
    )


def test_an_overconfident_teacher_is_named() -> None:
    """Sure of everything and right on 80 %; the same teacher when it is right on 99 % is not."""
    train = _random(500, 12, 1.0)
    assert "overconfident-teacher" in rules(_assess(_random(500, 12, 0.8), train))
    assert "overconfident-teacher" not in rules(_assess(_random(500, 12, 0.99), train))


def test_a_teacher_that_memorised_is_named() -> None:
    """Sure of what it was trained on and unsure of the rest; one that is as sure of both is not."""
    unsure = _random(500, 4, 0.85)
    assert "memorised-teacher" in rules(_assess(unsure, _random(500, 12, 1.0)))
    assert "memorised-teacher" not in rules(_assess(unsure, unsure))


@pytest.mark.parametrize(
    ("teacher", "student", "lead", "assistants"),
    [
        (19_999, 1000, True, None),
        (25_000, 1000, True, ["5,000"]),
        (1_000_000, 1000, True, ["100,000", "10,000"]),
        (25_000, 1000, False, None),
        (None, 1000, True, None),
        (25_000, None, True, None),
    ],
)
def test_a_capacity_gap_asks_for_assistants(teacher: int, student: int, lead: bool, assistants: list[str] | None) -> None:
    """From 20 times on, one assistant for each factor of 20, evenly spaced; none where the teacher has no lead to bridge."""
    found = capacity_gap(CapacityOf(teacher_params=teacher, student_params=student, accuracy_difference=None, lead_known=lead))
    assert (found is None) == (assistants is None)
    if found and assistants:
        assert found.next_step == f"distil by way of assistants of about {', '.join(assistants)} parameters"


def test_only_advice_that_stops_raises(data: Data) -> None:
    """A warning lets the run go on; the first that stops is what is raised."""
    found = _assess(_random(500, 12, 0.8), _random(500, 12, 1.0))
    found.check("t")
    stop = Advice(rule="some-rule", text="it is so", next_step="do that", stop=True)
    with pytest.raises(InputError, match="some-rule: teacher t: it is so; do that"):
        replace(found, advice=(*found.advice, stop)).check("t")


class Noisy(nn.Module):
    """Drops units whatever mode it is in."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return F.dropout(inputs, 0.1, training=True)


def _dropping(network: DigitsNet) -> nn.Module:
    return nn.Sequential(network.features, nn.Flatten(), Noisy(), network.head)


def _of_the_batch(network: DigitsNet) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    return network


@pytest.mark.parametrize(
    ("spoil", "what"),
    [(_dropping, "the same batch twice"), (_of_the_batch, "the same samples in another batch")],
    ids=["dropout", "batch statistics"],
)
def test_a_teacher_in_training_mode_is_refused(data: Data, spoil: Callable[[Any], nn.Module], what: str) -> None:
    """Dropout that eval() does not stop, and statistics of the batch, are told apart, each with what to do."""
    network = trained(0.0, seed=0)
    teacher = torch_teacher("t", tapped_teacher(network, data.contract), "code")
    assert check_teacher(teacher, data).accuracy > 0.95
    spoiled = torch_teacher("t", tapped_teacher(spoil(network), data.contract), "code")
    with pytest.raises(InputError, match=rf"^teacher-in-train-mode: teacher t answers {what} with .*call eval\(\)"):
        check_teacher(spoiled, data)


def test_a_teacher_that_comes_in_training_mode_is_put_into_evaluation_mode(data: Data, tmp_path: Path) -> None:
    """torchdistill trained on such a teacher's batch statistics and dropout; the loader calls eval(), and its answers hold."""
    torch.save(trained(0.0, seed=0).state_dict(), tmp_path / "w.pt")
    code = "from edgekd.teachers.builtin import DigitsNet\ndef net():\n    return DigitsNet().train()\n"
    (tmp_path / "training.py").write_text(code)
    teacher = load_teacher("training:net", "w.pt", data=data, base=tmp_path, seed=0)
    assert check_teacher(teacher, data).accuracy > 0.95
    sample = normalise(data.validation.inputs[:9], data.contract)
    alone = np.concatenate([teacher.outputs(sample[row : row + 1]).logits for row in range(9)])
    assert np.allclose(teacher.outputs(sample).logits, alone, atol=1e-3)
