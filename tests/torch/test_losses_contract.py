"""What holds for every loss: gradients, what it needs, what it refuses, and where a formula's own gradient does not exist."""

from typing import Any

import pytest
import torch
from loss_outputs import CLASSES, SAMPLES, WITH_WEIGHTS, batch_of, mapped, network, tensors, value
from torch import Tensor
from torch.nn import functional as F

from edgekd import Batch, Outputs, loss
from edgekd.distill import LOSSES
from edgekd.errors import InputError

EVERY = sorted(LOSSES)
NEEDS = {
    **{name: {"logits"} for name in ("soft_targets", "dkd", "dist")},
    **{name: {"embedding"} for name in ("rkd_distance", "rkd_angle", "similarity", "pkt", "correlation")},
    **{name: {"features"} for name in ("attention", "hints", "review")},
    "exits": {"logits", "features"},
}
SOFTENING = ("soft_targets", "dkd", "dist", "exits")
COMPARING = [name for name in EVERY if name != "exits"]
OF_FEATURES = [name for name in EVERY if "features" in NEEDS[name]]


@pytest.mark.parametrize("name", EVERY)
def test_every_loss_says_what_it_needs(name: str) -> None:
    """A trainer caches of the teacher, and taps of the student, what the losses ask for."""
    assert loss(name).needs == NEEDS[name]
    assert loss(name).ignores == ({"teacher"} if name == "exits" else set())


def test_only_attention_by_squares_makes_do_with_one_channel() -> None:
    """What a teacher's cache keeps of a map is sqrt(mean_c F²) there, and the whole map for every other loss."""
    assert [name for name in EVERY if loss(name).energy] == ["attention"]
    assert not loss("attention", p=3).energy


@pytest.mark.parametrize("name", EVERY)
def test_the_gradient_is_that_of_the_value(name: str) -> None:
    """Finite differences in float64 agree with what reaches the student; nothing reaches the teacher."""
    student, fixed, teacher = network(0), network(0), network(1, width=2)
    criterion = loss(name)

    def of(*given: Tensor) -> Tensor:
        early, late = given[2:]
        outputs = Outputs(logits=given[0], embedding=given[1], features={"early": early, "block.2": late})
        # What it detaches has no gradient to compare: it stays as it is.
        if name == "exits":
            outputs = Outputs(logits=fixed.logits, features={"early": early, "block.2": fixed.features["block.2"]})
        found: Tensor = criterion(outputs, teacher, batch_of())
        return found

    assert torch.autograd.gradcheck(of, tuple(tensors(student)), fast_mode=True)
    criterion(student, teacher, batch_of()).backward()
    assert all(tensor.grad is None for tensor in tensors(teacher))
    moved = [tensor.grad is not None and bool(tensor.grad.abs().max() > 0) for tensor in tensors(student)]
    assert any(moved)


@pytest.mark.parametrize("name", [name for name in COMPARING if name not in WITH_WEIGHTS])
def test_a_loss_is_zero_for_the_teachers_own_answers_only(name: str) -> None:
    """A student that answers as the teacher has nothing left to learn; another one has."""
    teacher = network(1)
    assert float(value(name, teacher, teacher).detach()) == pytest.approx(0, abs=1e-12)
    assert float(value(name, network(0), teacher).detach()) > 1e-4


@pytest.mark.parametrize("name", EVERY)
def test_the_order_of_samples_is_no_difference(name: str) -> None:
    """A permuted batch has the same loss."""
    student, teacher, batch, order = network(0), network(1, width=2), batch_of(), torch.tensor([3, 1, 5, 0, 2, 4])
    shuffled = Batch(inputs=batch.inputs, labels=batch.labels[order], epoch=batch.epoch)
    criterion = loss(name)
    expected = criterion(student, teacher, batch)
    found = criterion(mapped(student, lambda t: t[order]), mapped(teacher, lambda t: t[order]), shuffled)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", EVERY)
def test_a_batch_given_twice_has_the_same_loss(name: str) -> None:
    """Losses are means over samples, pairs or triples. Rows of `similarity` and `pkt` are shared out over the batch: half."""
    student, teacher, batch = network(0), network(1, width=2), batch_of()
    twice = Batch(inputs=None, labels=batch.labels.repeat(2), epoch=batch.epoch)
    criterion = loss(name)
    once = criterion(student, teacher, batch)
    found = criterion(*(mapped(o, lambda t: torch.cat([t, t])) for o in (student, teacher)), twice)
    share = 0.5 if name in ("similarity", "pkt") else 1.0
    torch.testing.assert_close(found, share * once, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["soft_targets", "dkd"])
def test_classes_without_probability_change_nothing(name: str) -> None:
    """Ninety classes that both networks exclude leave value and gradient as they were: the scale does not go with C."""
    student, teacher = network(0), network(1)
    nothing = torch.full((SAMPLES, 90), -torch.inf, dtype=torch.float64)
    wide = [Outputs(logits=torch.cat([outputs.logits, nothing], dim=1)) for outputs in (student, teacher)]
    few, many = value(name, student, teacher), value(name, wide[0], wide[1])
    torch.testing.assert_close(many, few)
    gradients = [torch.autograd.grad(found, student.logits)[0] for found in (few, many)]
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name: str, kind: torch.dtype) -> None:
    """Under autocast too: the value is that of the same numbers in float32, and gradients come back in the student's type."""
    student, teacher = network(0, dtype=kind), network(1, width=2, dtype=kind)
    with torch.autocast("cpu", torch.bfloat16):
        found = value(name, student, teacher)
    found.backward()
    expected = value(name, *(mapped(outputs, lambda t: t.detach().float()) for outputs in (student, teacher)))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.detach(), expected.detach(), rtol=1e-5, atol=1e-7)
    gradients = [tensor.grad for tensor in tensors(student) if tensor.grad is not None]
    assert all(gradient.dtype == kind and gradient.isfinite().all() for gradient in gradients)


def first_twice(tensor: Tensor) -> Tensor:
    return tensor.index_copy(0, torch.tensor([1]), tensor[:1])


SINGULAR: dict[str, Any] = {
    "zeros": torch.zeros_like,
    "ones": torch.ones_like,
    "all samples alike": lambda t: t[:1].expand_as(t),
    "two samples alike": first_twice,
    "huge": lambda t: 5e3 * t,
    "tiny": lambda t: 1e-20 * t,
    "one channel": lambda t: torch.cat([t[:, :1], torch.zeros_like(t[:, 1:])], dim=1),
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("singular", SINGULAR)
@pytest.mark.parametrize("who", ["student", "teacher", "both"])
def test_singular_answers_give_finite_losses_and_gradients(name: str, singular: str, who: str) -> None:
    """Dead maps, equal logits, coincident points and saturated softmaxes: a training must live through them, in float32."""
    student, teacher = (
        mapped(network(seed, width, dtype=torch.float32), lambda t: t.detach()) for seed, width in ((0, 1), (1, 2))
    )
    if who != "teacher":
        student = mapped(student, SINGULAR[singular])
    if who != "student":
        teacher = mapped(teacher, SINGULAR[singular])
    student = mapped(student, lambda t: t.clone().requires_grad_())
    found = value(name, student, teacher)
    found.backward()
    assert found.isfinite()
    assert all(tensor.grad.isfinite().all() for tensor in tensors(student) if tensor.grad is not None)


@pytest.mark.parametrize("classes", [3, 7, 10, 49, 100])
@pytest.mark.parametrize("shift", [0.0, 0.1, 17.3])
@pytest.mark.parametrize(("name", "numbers"), [("dist", {}), ("soft_targets", {"standardize": True})])
def test_equal_logits_are_constant(name: str, numbers: dict[str, bool], classes: int, shift: float) -> None:
    """A classifier that starts at zero: what rounding leaves of its rows has no direction, so no gradient of millions."""
    student = Outputs(logits=torch.full((SAMPLES, classes), shift, requires_grad=True))
    value(name, student, network(1, classes=classes, dtype=torch.float32), **numbers).backward()
    assert student.logits.grad.abs().max() < 1e-3


@pytest.mark.parametrize("name", EVERY)
def test_what_is_missing_is_named(name: str) -> None:
    """A loss over embeddings or maps of a network that shows none is refused in one line that says whose."""
    bare, full = Outputs(logits=network(0).logits), network(1)
    for need, words in (("embedding", "an embedding"), ("features", "feature maps")):
        if need in NEEDS[name]:
            with pytest.raises(InputError, match=f"loss '{name}' needs {words}; the student shows none"):
                value(name, bare, full)
            if name in COMPARING:
                with pytest.raises(InputError, match=f"loss '{name}' needs {words}; the teacher shows none"):
                    value(name, full, bare)


@pytest.mark.parametrize("name", [name for name in OF_FEATURES if name in COMPARING])
def test_maps_that_do_not_pair_are_named(name: str) -> None:
    """Keys that only one network has are no pair to compare, nor are vectors maps."""
    student, teacher = network(0), network(1)
    other = Outputs(logits=teacher.logits, features={"early": teacher.features["early"]})
    with pytest.raises(InputError, match=rf"loss '{name}' pairs .* by key; the student has early, block\.2, the teacher early$"):
        value(name, student, other)
    flat = Outputs(logits=student.logits, features={key: maps.flatten(1) for key, maps in student.features.items()})
    with pytest.raises(InputError, match=rf"loss '{name}' needs \(B, C, H, W\); the student's 'early' has shape \(6, 192\)"):
        value(name, flat, teacher)


@pytest.mark.parametrize("name", ["soft_targets", "dkd", "dist"])
def test_logits_of_other_classes_are_refused(name: str) -> None:
    """A teacher of 7 classes, logits of one class, and logits of places are no targets for a student of 5."""
    student = network(0)
    with pytest.raises(InputError, match=rf"loss '{name}' needs logits of one shape; .*\(6, 5\), the teacher's \(6, 7\)"):
        value(name, student, network(1, classes=7))
    for shape in ((6, 1), (6, 5, 2)):
        with pytest.raises(InputError, match=f"loss '{name}' needs .*2 classes or more"):
            value(name, *[Outputs(logits=torch.zeros(shape))] * 2)


def test_embeddings_of_other_samples_are_refused() -> None:
    """Pairs are of the same samples."""
    with pytest.raises(InputError, match="loss 'pkt' compares the same samples; there are 4 and 6"):
        value("pkt", network(0), network(1, samples=4))


@pytest.mark.parametrize("name", EVERY)
def test_small_batches_are_handled_or_refused_by_name(name: str) -> None:
    """A batch of one or two: a finite loss, or a refusal that says how many samples are compared at least."""
    least = {"rkd_distance": 2, "similarity": 2, "pkt": 2, "correlation": 2, "rkd_angle": 3}.get(name, 1)
    for samples in (0, 1, 2):
        student, teacher = network(0, samples=samples), network(1, width=2, samples=samples)
        if samples < max(least, 1):
            with pytest.raises(InputError, match=f"loss '{name}' compares {least} samples or more, the batch has {samples}"):
                value(name, student, teacher)
        else:
            found = value(name, student, teacher)
            found.backward()
            assert found.isfinite()


def test_dist_in_small_batches_has_the_terms_that_it_can() -> None:
    """One sample leaves the term over classes; of two, that over samples is a constant without a gradient."""
    student, teacher = network(0, samples=1), network(1, samples=1)
    torch.testing.assert_close(value("dist", student, teacher, gamma=9.0), value("dist", student, teacher, gamma=0.0))
    student, teacher = network(0, samples=2), network(1, samples=2)
    value("dist", student, teacher, beta=0.0).backward()
    assert student.logits.grad.abs().max() < 1e-9


def test_dist_of_two_classes_learns_from_samples() -> None:
    """Over two classes a correlation is 1 or −1; over samples it still ranks them. With fewer than three it is refused."""
    student, teacher = network(0, classes=2), network(1, classes=2)
    value("dist", student, teacher, gamma=0.0).backward()
    assert student.logits.grad.abs().max() < 1e-9
    value("dist", student, teacher).backward()
    assert student.logits.grad.abs().max() > 1e-3
    with pytest.raises(InputError, match="loss 'dist' needs 3 samples or more where there are 2 classes, the batch has 2"):
        value("dist", network(0, samples=2, classes=2), network(1, samples=2, classes=2))


@pytest.mark.parametrize("name", [name for name in EVERY if name != "dkd"])
def test_mixed_samples_are_welcome_where_no_one_label_is_needed(name: str) -> None:
    """Labels (B, C) of mixup: the loss is that of the same answers, or takes them as probabilities."""
    student, teacher, batch = network(0), network(1, width=2), batch_of()
    soft = Batch(inputs=None, labels=F.one_hot(batch.labels, CLASSES).float(), epoch=batch.epoch)
    torch.testing.assert_close(value(name, student, teacher, soft), value(name, student, teacher, batch))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.full((SAMPLES, CLASSES), 0.2), r"not soft ones \(6, 5\): mixed samples have no one label"),
        (torch.zeros(SAMPLES - 1, dtype=torch.int64), r"class indices \(6,\) as labels, not \(5,\)"),
        (torch.full((SAMPLES,), CLASSES), "labels from 0 to 4, one of them is 5"),
        (torch.full((SAMPLES,), -1), "labels from 0 to 4, one of them is -1"),
    ],
)
def test_dkd_refuses_labels_that_are_no_class(labels: Tensor, words: str) -> None:
    """It tells the label's class from the others."""
    with pytest.raises(InputError, match=f"loss 'dkd' needs .*{words}"):
        value("dkd", network(0), network(1), Batch(inputs=None, labels=labels))


def test_exits_need_an_earlier_map() -> None:
    """With one map there is nothing before the deepest."""
    student = network(0)
    one = Outputs(logits=student.logits, features={"early": student.features["early"]})
    with pytest.raises(InputError, match="loss 'exits' needs two feature maps or more; the student shows one"):
        value("exits", one, one)


@pytest.mark.parametrize(
    ("name", "number", "wrong"),
    [
        *[(name, "temperature", wrong) for name in SOFTENING for wrong in (0, -1, float("nan"), "hot")],
        *[("dkd", number, -0.5) for number in ("alpha", "beta")],
        *[("dkd", "warmup_epochs", wrong) for wrong in (-1, 2.5, True)],
        *[("dist", number, float("inf")) for number in ("beta", "gamma")],
        *[("attention", "p", wrong) for wrong in (0.5, 0, None)],
        *[(name, "seed", wrong) for name in WITH_WEIGHTS for wrong in (-1, 0.5)],
        *[("review", "width", wrong) for wrong in (0, "wide")],
        *[("correlation", number, 0) for number in ("gamma", "order")],
        *[("exits", number, wrong) for number in ("alpha", "feature_weight") for wrong in (-1, float("nan"))],
        ("exits", "alpha", 1.5),
        ("soft_targets", "standardize", 1),
    ],
)
def test_numbers_that_make_no_sense_are_refused_by_name(name: str, number: str, wrong: Any) -> None:
    """One line that names the loss, the number and what was given, before any training."""
    with pytest.raises(InputError, match=f"^loss '{name}': {number} must be .*not {wrong!r}$"):
        loss(name, **{number: wrong})
