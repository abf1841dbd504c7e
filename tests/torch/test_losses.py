"""Distillation losses against closed forms in float64, and the properties that recipes rely on."""

import pytest
import torch
from torch import Tensor

from edgekd import Batch, Outputs, loss
from edgekd.errors import InputError

STUDENT = [[2, 0.5, -1], [0, 1, 3]]
TEACHER = [[3, 1, -2], [-1, 0.5, 4]]


def value(student: Tensor, teacher: Tensor, **numbers: float) -> Tensor:
    batch = Batch(inputs=torch.zeros(len(student), 1), labels=torch.zeros(len(student), dtype=torch.int64))
    found: Tensor = loss("soft_targets", **numbers)(Outputs(logits=student), Outputs(logits=teacher), batch)
    return found


def exact(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [({"temperature": 4.0}, 0.3152150347), ({"temperature": 2.0, "standardize": True}, 0.0024052441)],
)
def test_soft_targets_have_the_closed_forms_value(numbers: dict[str, float], expected: float) -> None:
    """Sum over classes, mean over samples, times T squared; computed in NumPy from the formula."""
    assert float(value(exact(STUDENT), exact(TEACHER), **numbers)) == pytest.approx(expected, abs=1e-9)


def test_no_gradient_reaches_the_teacher() -> None:
    """The student learns; the teacher does not."""
    student, teacher = exact(STUDENT), exact(TEACHER)
    value(student, teacher, temperature=4.0).backward()
    assert student.grad is not None
    assert student.grad.abs().max() > 0
    assert teacher.grad is None


@pytest.mark.parametrize("classes", [10, 100])
@pytest.mark.parametrize("deviation", [1.0, 3.0, 6.0])
def test_the_gradient_keeps_its_scale_with_temperature(classes: int, deviation: float) -> None:
    """From T = 3 to T = 20 the gradient's norm stays within 0.4 to 1.5; without T squared it would fall to 0.01 to 0.03."""
    rng = torch.Generator().manual_seed(0)
    teacher = torch.randn(512, classes, generator=rng, dtype=torch.float64) * deviation
    teacher[torch.arange(512), torch.randint(classes, (512,), generator=rng)] += 2 * deviation
    noise = torch.randn(512, classes, generator=rng, dtype=torch.float64)
    norms = []
    for temperature in (3.0, 20.0):
        student = (0.6 * teacher + 0.4 * deviation * noise).requires_grad_()
        (grad,) = torch.autograd.grad(value(student, teacher, temperature=temperature), student)
        norms.append(float(grad.norm(dim=1).mean()))
    assert 0.4 < norms[1] / norms[0] < 1.5
    assert 0.009 < (norms[1] / 20**2) / (norms[0] / 3**2) < 0.03


@pytest.mark.parametrize("standardize", [False, True])
def test_a_batch_given_twice_has_the_same_loss(standardize: bool) -> None:
    """The loss is a mean over samples: duplicating the batch changes nothing."""
    student, teacher = exact(STUDENT), exact(TEACHER)
    once = value(student, teacher, temperature=4.0, standardize=standardize)
    twice = value(student.repeat(2, 1), teacher.repeat(2, 1), temperature=4.0, standardize=standardize)
    torch.testing.assert_close(twice, once)


@pytest.mark.parametrize("numbers", [{"temperature": 1.0}, {"temperature": 20.0}, {"temperature": 2.0, "standardize": True}])
def test_it_is_zero_for_the_teachers_own_answers_only(numbers: dict[str, float]) -> None:
    """A divergence: 0 where both agree, above 0 elsewhere; a shift of all logits of a sample is no difference."""
    teacher = exact(TEACHER)
    assert float(value(teacher + 3.0, teacher, **numbers)) == pytest.approx(0, abs=1e-12)
    assert float(value(exact(STUDENT), teacher, **numbers)) > 0


def test_standardized_logits_are_free_in_scale() -> None:
    """A student that is a multiple of the teacher is as good as the teacher itself."""
    teacher = exact(TEACHER)
    assert float(value(5 * teacher, teacher, temperature=2.0, standardize=True)) == pytest.approx(0, abs=1e-9)


def test_large_logits_give_finite_losses() -> None:
    """Logits of thousands neither overflow nor give NaN, in float32 too."""
    student, teacher = torch.tensor([[5e3, -5e3, 0.0]], requires_grad=True), torch.tensor([[-5e3, 5e3, 0.0]])
    found = value(student, teacher, temperature=1.0)
    found.backward()
    assert torch.isfinite(found)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("temperature", [0, -1, float("nan"), "hot"])
def test_a_temperature_must_be_above_zero(temperature: float) -> None:
    """Any other is an InputError that names the loss."""
    with pytest.raises(InputError, match="loss 'soft_targets'"):
        loss("soft_targets", temperature=temperature)


def test_unknown_losses_and_numbers_are_refused() -> None:
    """A misspelt loss is answered with the one that was meant; a number that it does not take is named."""
    with pytest.raises(InputError, match="did you mean 'soft_targets'"):
        loss("soft_target")
    with pytest.raises(InputError, match="temprature"):
        loss("soft_targets", temprature=4.0)
    with pytest.raises(InputError, match="no_such_module"):
        loss("no_such_module:loss")
