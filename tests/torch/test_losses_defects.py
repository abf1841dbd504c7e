"""Mistakes that published distillation code has made: each is computed here beside the right value, and differs from it."""

import pytest
import torch
from loss_outputs import batch_of, exact, network, value
from torch import Tensor
from torch.nn import functional as F

from edgekd import Batch, Outputs
from edgekd.distill.losses.arithmetic import pearson
from edgekd.errors import InputError

STUDENT, TEACHER = [[2, 0.5, -1], [0, 1, 3]], [[3, 1, -2], [-1, 0.5, 4]]


def logits_of(student: Tensor, teacher: Tensor) -> tuple[Outputs, Outputs]:
    return Outputs(logits=student), Outputs(logits=teacher)


def softened(temperature: float) -> tuple[Tensor, Tensor]:
    return tuple(F.log_softmax(exact(rows) / temperature, dim=1).detach() for rows in (STUDENT, TEACHER))


@pytest.mark.parametrize("alpha", [0.0, 1e-6])
def test_a_weight_of_zero_keeps_the_square_of_the_temperature(alpha: float) -> None:
    """Defective: with alpha 0 a branch without T² is taken, 16 times weaker at T = 4 than with alpha 1e-6."""
    student, teacher = exact(STUDENT), exact(TEACHER)
    batch = Batch(inputs=None, labels=torch.tensor([0, 2]))
    numbers = {"alpha": alpha, "beta": 1.0, "warmup_epochs": 0}
    found = float(value("dkd", *logits_of(student, teacher), batch, **numbers).detach())
    defective = 0.1427500076 / 4**2
    assert found == pytest.approx(0.1427500076, rel=1e-5)
    assert found == pytest.approx(16 * defective, rel=1e-5)


def test_dist_falls_as_correlation_rises() -> None:
    """Defective: the mean correlation itself is added to the loss, so that training makes student and teacher differ."""
    teacher, other = network(0).logits.detach(), network(1).logits.detach()
    losses, defective = [], []
    for share in (0.0, 0.3, 0.6, 0.9, 1.0):
        student = share * teacher + (1 - share) * other
        losses.append(float(value("dist", *logits_of(student, teacher), beta=0.0, temperature=1.0)))
        columns = [logits.softmax(dim=1).T for logits in (student, teacher)]
        defective.append(float(pearson(*columns).mean()))
    assert losses == sorted(losses, reverse=True)
    assert defective == sorted(defective)
    assert losses[-1] == pytest.approx(0, abs=1e-9)
    assert defective[-1] == pytest.approx(1)


@pytest.mark.parametrize("classes", [3, 10, 100])
def test_the_divergence_is_not_averaged_over_classes(classes: int) -> None:
    """Defective: reduction 'mean' divides by the number of classes too; the term is C times too small."""
    student, teacher = network(0, classes=classes), network(1, classes=classes)
    found = value("soft_targets", student, teacher, temperature=4.0)
    log_q, log_p = (F.log_softmax(outputs.logits / 4, dim=1) for outputs in (student, teacher))
    defective = 16 * F.kl_div(log_q, log_p, reduction="mean", log_target=True)
    torch.testing.assert_close(found, classes * defective)


def test_the_golden_value_is_not_that_of_a_mean() -> None:
    """Defective: 0.1050716782 in place of 0.3152150347 at T = 4 for three classes."""
    found = value("soft_targets", *logits_of(exact(STUDENT), exact(TEACHER)), temperature=4.0)
    log_q, log_p = softened(4.0)
    defective = float(16 * F.kl_div(log_q, log_p, reduction="mean", log_target=True))
    assert float(found.detach()) == pytest.approx(0.3152150347, abs=1e-9)
    assert defective == pytest.approx(0.1050716782, abs=1e-9)


def test_the_target_is_a_distribution() -> None:
    """Defective: log-probabilities given where probabilities are expected: log of a negative number, NaN or a negative 'loss'."""
    log_q, log_p = softened(4.0)
    expected = float(16 * (log_p.exp() * (log_p - log_q)).sum(1).mean())
    found = value("soft_targets", *logits_of(exact(STUDENT), exact(TEACHER)), temperature=4.0)
    assert float(found.detach()) == pytest.approx(expected, abs=1e-12)
    defective = F.kl_div(log_q, log_p, reduction="batchmean", log_target=False)
    assert not defective.isfinite() or defective < 0


def test_distributions_are_compared_not_logits() -> None:
    """Defective: the squared error of raw logits punishes a shift that changes no answer."""
    teacher = exact(TEACHER)
    found = value("soft_targets", *logits_of(teacher + 3.0, teacher))
    defective = F.mse_loss(teacher + 3.0, teacher)
    assert float(found.detach()) == pytest.approx(0, abs=1e-12)
    assert float(defective.detach()) == pytest.approx(9)


def test_an_average_over_hints_keeps_its_gradient() -> None:
    """Defective: the mean of a list of losses through a new tensor is a number without a gradient: nothing is learnt."""
    student, teacher = network(0), network(1, width=2)
    found = value("hints", student, teacher)
    found.backward()
    assert all(float(maps.grad.norm()) > 1e-3 for maps in student.features.values())
    defective = torch.mean(torch.tensor([float(found.detach())] * 2, dtype=torch.float64))
    torch.testing.assert_close(defective, found.detach())
    assert not defective.requires_grad


def test_at_a_temperature_of_twenty_the_term_is_alive() -> None:
    """Defective: T = 20, reduction 'mean' and no T²: 4000 times too small for ten classes."""
    student, teacher = network(0, classes=10), network(1, classes=10)
    found = value("soft_targets", student, teacher, temperature=20.0)
    log_q, log_p = (F.log_softmax(outputs.logits / 20, dim=1) for outputs in (student, teacher))
    defective = F.kl_div(log_q, log_p.exp(), reduction="mean")
    assert float((found / defective).detach()) == pytest.approx(4000)


def test_class_indices_beyond_sixteen_bits_are_themselves() -> None:
    """Defective: kept as int16, class 40000 is −25536: refused, and as the index that Python makes of it another class."""
    student, teacher = (network(seed, samples=2, classes=50_000, dtype=torch.float32) for seed in (0, 1))
    labels = torch.tensor([40_000, 32_768])
    numbers = {"beta": 0.0, "warmup_epochs": 0, "temperature": 1.0}
    found = value("dkd", student, teacher, Batch(inputs=None, labels=labels), **numbers)
    log_p, log_q = (outputs.logits.log_softmax(dim=1).gather(1, labels.unsqueeze(1)).exp() for outputs in (teacher, student))
    expected = (log_p * (log_p / log_q).log() + (1 - log_p) * ((1 - log_p) / (1 - log_q)).log()).mean()
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=0)
    short = labels.to(torch.int16)
    with pytest.raises(InputError, match="labels from 0 to 49999, one of them is -25536"):
        value("dkd", student, teacher, Batch(inputs=None, labels=short), **numbers)
    defective = value("dkd", student, teacher, Batch(inputs=None, labels=short.long() % 50_000), **numbers)
    assert float(defective.detach()) != pytest.approx(float(found.detach()), rel=1e-2)


def test_dkd_of_two_classes_is_the_soft_targets() -> None:
    """Defective: NCKD over the one class left is 0 whatever the student says: a loss of NCKD alone would be dead."""
    student, teacher = network(0, classes=2), network(1, classes=2)
    batch = batch_of(classes=2)
    found = value("dkd", student, teacher, batch, temperature=4.0)
    torch.testing.assert_close(found, value("soft_targets", student, teacher, temperature=4.0))
    (gradient,) = torch.autograd.grad(found, student.logits)
    assert gradient.isfinite().all()
    assert float(gradient.norm()) > 1e-3
    label = F.one_hot(batch.labels, 2)
    log_q, log_p = (F.log_softmax(outputs.logits / 4 - 1000 * label, dim=1) for outputs in (student, teacher))
    defective = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    (nothing,) = torch.autograd.grad(defective, student.logits)
    assert float(nothing.abs().max()) < 1e-12
    with pytest.raises(InputError, match="loss 'dkd' with alpha 0 compares nothing where there are 2 classes"):
        value("dkd", student, teacher, batch, alpha=0.0)
