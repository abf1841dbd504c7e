"""Ensembles of teachers: one target whose gradient is that of the weighted sum of the teachers' losses."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from edgekd import Batch, Outputs, loss
from edgekd.distill.ensemble import TOLERANCE, WEIGHTINGS, combine, leave_one_out, shortest, teacher_weights
from edgekd.errors import InputError

torch.set_num_threads(1)
SAMPLES = 6
weightings = st.sampled_from(WEIGHTINGS)
seeds = st.integers(0, 2**32 - 1)
temperatures = st.sampled_from([1.0, 4.0, 20.0])


def answers(seed: int, teachers: int, classes: int = 5, deviation: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits of the teachers (K, B, C) and of the student (B, C), float64, and labels (B,)."""
    rng = torch.Generator().manual_seed(seed)
    z = deviation * torch.randn(teachers, SAMPLES, classes, generator=rng, dtype=torch.float64)
    student = deviation * torch.randn(SAMPLES, classes, generator=rng, dtype=torch.float64)
    return z, student, torch.randint(classes, (SAMPLES,), generator=rng)


def combined(weighting: str, z: Tensor, student: Tensor, labels: Tensor, temperature: float) -> Tensor:
    batch = Batch(inputs=torch.zeros(len(labels), 1), labels=labels)
    found: Tensor = combine(weighting, [Outputs(logits=one) for one in z], Outputs(logits=student), batch, temperature).logits
    return found


def soft_targets_gradient(target: Tensor, student: Tensor, labels: Tensor, temperature: float) -> Tensor:
    student = student.clone().requires_grad_()
    batch = Batch(inputs=torch.zeros(len(labels), 1), labels=labels)
    value = loss("soft_targets", temperature=temperature)(Outputs(logits=student), Outputs(logits=target), batch)
    (gradient,) = torch.autograd.grad(value, student)
    return gradient


def test_ca_mkd_weights_are_the_papers() -> None:
    """Cross-entropies of .1, .5 and 2 give .4455202, .4187257 and .1357540; computed in NumPy from the formula."""
    right = torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64).neg().exp()
    z = torch.stack([right, 1 - right], dim=1).log().unsqueeze(1)
    weights = teacher_weights("ca_mkd", z, z[0], torch.tensor([0]), 4.0)
    torch.testing.assert_close(
        weights[:, 0], torch.tensor([0.4455202, 0.4187257, 0.1357540], dtype=torch.float64), atol=1e-7, rtol=0
    )


def test_entropy_weights_are_the_closed_form() -> None:
    """Distributions over two classes of p = .5, .9 and .99 against (1 - H / sum of H) / 2, at temperature 1."""
    p = np.array([0.5, 0.9, 0.99])
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    z = torch.from_numpy(np.log(np.stack([p, 1 - p], axis=1))).unsqueeze(1)
    weights = teacher_weights("entropy", z, z[0], torch.tensor([0]), 4.0)
    np.testing.assert_allclose(weights[:, 0].numpy(), (1 - entropy / entropy.sum()) / 2, rtol=1e-12)


@given(st.sampled_from(WEIGHTINGS[1:]), seeds, st.integers(1, 8), temperatures)
def test_the_target_has_the_gradient_of_the_weighted_losses(weighting: str, seed: int, teachers: int, temperature: float) -> None:
    """Σ_k w_k T² KL(p_k ‖ p_s), differentiated teacher by teacher, is what soft_targets on the target gives the student."""
    z, student, labels = answers(seed, teachers)
    weights = teacher_weights(weighting, z, student, labels, temperature)
    ours = student.clone().requires_grad_()
    log_s = F.log_softmax(ours / temperature, dim=1)
    each = temperature**2 * F.kl_div(log_s.expand_as(z), F.log_softmax(z / temperature, dim=2), reduction="none", log_target=True)
    (expected,) = torch.autograd.grad((weights * each.sum(2)).sum(0).mean(), ours)
    target = combined(weighting, z, student, labels, temperature)
    found = soft_targets_gradient(target, student, labels, temperature)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-7)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_the_average_of_teachers_teaches(weighting: str) -> None:
    """Published averages of several teachers were detached constants: no gradient. Ours is T (p_s - p_target) / B, not 0."""
    z, student, labels = answers(0, 3)
    target = combined(weighting, z, student, labels, 4.0)
    found = soft_targets_gradient(target, student, labels, 4.0)
    closed = 4.0 * (F.softmax(student / 4, dim=1) - F.softmax(target / 4, dim=1)) / SAMPLES
    torch.testing.assert_close(found, closed, atol=1e-12, rtol=1e-9)
    assert (found.abs().sum(dim=1) > 1e-3).all()


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_no_gradient_goes_through_the_target(weighting: str) -> None:
    """Neither to the teachers nor, by weights that look at the student, to the student."""
    z, student, labels = answers(1, 3)
    assert not combined(weighting, z.requires_grad_(), student.requires_grad_(), labels, 4.0).requires_grad


@given(weightings, seeds, temperatures)
def test_one_teacher_is_given_back(weighting: str, seed: int, temperature: float) -> None:
    """Up to a constant for each sample, which no softmax sees."""
    z, student, labels = answers(seed, 1)
    shift = combined(weighting, z, student, labels, temperature) - z[0]
    torch.testing.assert_close(shift, shift[:, :1].expand_as(shift), atol=1e-10, rtol=0)


@given(weightings, seeds, st.integers(1, 8), temperatures, st.sampled_from([0.0, 0.1, 3.0, 300.0]))
def test_weights_share_out_one(weighting: str, seed: int, teachers: int, temperature: float, deviation: float) -> None:
    """Of sum 1 for each sample, none below 0, from teachers that say nothing to teachers that are certain; all finite."""
    z, student, labels = answers(seed, teachers, deviation=deviation)
    weights = teacher_weights(weighting, z.float(), student.float(), labels, temperature)
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(SAMPLES), atol=1e-5, rtol=0)
    assert (weights >= 0).all()
    assert torch.isfinite(combined(weighting, z.float(), student.float(), labels, temperature)).all()


@given(weightings, seeds, st.permutations(range(4)), temperatures)
def test_the_order_of_teachers_does_not_matter(weighting: str, seed: int, order: list[int], temperature: float) -> None:
    """Weights go with their teachers, and the target stays as it is."""
    z, student, labels = answers(seed, 4)
    weights = teacher_weights(weighting, z, student, labels, temperature)
    moved = teacher_weights(weighting, z[order], student, labels, temperature)
    torch.testing.assert_close(moved, weights[order], atol=1e-6, rtol=0)
    one, other = combined(weighting, z, student, labels, temperature), combined(weighting, z[order], student, labels, temperature)
    torch.testing.assert_close(F.softmax(other, dim=1), F.softmax(one, dim=1), atol=1e-6, rtol=0)


@given(weightings, seeds, temperatures, st.floats(-50, 50))
def test_a_shift_of_a_teachers_logits_is_no_difference(weighting: str, seed: int, temperature: float, shift: float) -> None:
    """Logits mean something only up to a constant for each sample."""
    z, student, labels = answers(seed, 3)
    moved = z.clone()
    moved[1] += shift
    one, other = (combined(weighting, some, student, labels, temperature) for some in (z, moved))
    torch.testing.assert_close(F.softmax(other, dim=1), F.softmax(one, dim=1), atol=1e-6, rtol=0)


@given(seeds)
def test_temperature_changes_only_what_it_should(seed: int) -> None:
    """The mean of logits and the weights by confidence do not know it; the mixture at T is that of the softened answers."""
    z, student, labels = answers(seed, 3)
    torch.testing.assert_close(*(combined("mean_logits", z, student, labels, t) for t in (1.0, 8.0)))
    for weighting in ("entropy", "ca_mkd"):
        torch.testing.assert_close(*(teacher_weights(weighting, z, student, labels, t) for t in (1.0, 8.0)))
    mixture = F.softmax(combined("mean_probabilities", z, student, labels, 8.0) / 8, dim=1)
    torch.testing.assert_close(mixture, F.softmax(z / 8, dim=2).mean(dim=0))
    once, scaled = teacher_weights("ae_kd", z, student, labels, 4.0), teacher_weights("ae_kd", 2 * z, 2 * student, labels, 8.0)
    torch.testing.assert_close(once, scaled, atol=1e-6, rtol=0)


@pytest.mark.parametrize("most", [0.3, TOLERANCE, 1.0])
@pytest.mark.parametrize(("count", "size"), [(2, 3), (4, 2), (5, 10), (8, 5), (8, 20)])
def test_the_shortest_combination_is_the_solvers(count: int, size: int, most: float) -> None:
    """SLSQP finds none that is shorter, at a shared direction that makes corners and edges the minimum too."""
    rng = np.random.default_rng(count * size)
    vectors = rng.normal(size=(12, count, size)) + 2 * rng.normal(size=(12, 1, size)) * rng.random((12, 1, 1))
    found = shortest(torch.from_numpy(vectors), most).numpy()
    most = max(most, 1 / count)
    assert found.min() >= 0
    assert found.max() <= most
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    for v, w in zip(vectors, found, strict=True):
        gram = v @ v.T
        solved = minimize(
            lambda x, gram=gram: x @ gram @ x,
            np.full(count, 1 / count),
            jac=lambda x, gram=gram: 2 * gram @ x,
            method="SLSQP",
            bounds=[(0, most)] * count,
            constraints={"type": "eq", "fun": lambda x: x.sum() - 1, "jac": np.ones_like},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert w @ gram @ w == pytest.approx(solved.fun, abs=1e-6 * gram.diagonal().max())


@given(seeds, st.integers(1, 8), st.integers(1, 10), st.sampled_from([0.2, 0.6, 1.0]), st.sampled_from([1e-6, 1.0, 1e6]))
def test_the_shortest_combination_fulfils_the_conditions(seed: int, count: int, size: int, most: float, scale: float) -> None:
    """Karush, Kuhn, Tucker: no weight that can grow has a smaller slope than one that can shrink. Copies are no trouble."""
    v = scale * torch.randn(20, count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    v[:5] = v[:5, :1]
    w = shortest(v, most)
    gram = v @ v.transpose(1, 2)
    slope = (gram @ w.unsqueeze(-1)).squeeze(-1) / gram.diagonal(dim1=1, dim2=2).amax(dim=1, keepdim=True)
    shrinks = slope.masked_fill(w < 1e-9, -torch.inf).max(dim=1).values
    grows = slope.masked_fill(w > max(most, 1 / count) - 1e-9, torch.inf).min(dim=1).values
    assert (shrinks - grows < 1e-9).all()


def test_ae_kd_follows_what_teachers_agree_on() -> None:
    """Of two teachers that ask for the same and one that asks for the opposite of half of it, the student hears both sides."""
    student = torch.zeros(1, 2, dtype=torch.float64)
    z = torch.tensor([[[4.0, 0.0]], [[4.0, 0.0]], [[0.0, 2.0]]], dtype=torch.float64)
    weights = teacher_weights("ae_kd", z, student, torch.tensor([0]), 1.0)
    pull = torch.sigmoid(torch.tensor([4.0, 4.0, -2.0], dtype=torch.float64)) - 0.5
    # Unbounded, the third would get .559 and the sum be 0: below the cap of .6 it may.
    assert float((weights[:, 0] * pull).sum()) == pytest.approx(0, abs=1e-6)
    assert float(weights[0, 0]) == pytest.approx(float(weights[1, 0]), abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_gives_a_float32_target(dtype: torch.dtype) -> None:
    """Caches may be in half precision; the mixture's small probabilities are not."""
    z, student, labels = answers(0, 3)
    assert combined("ae_kd", z.to(dtype), student.to(dtype), labels, 4.0).dtype == torch.float32


def test_what_cannot_be_combined_is_refused() -> None:
    """Misspelt weightings, no teacher, other classes, mixed labels: named, with what was expected."""
    z, student, labels = answers(0, 3)
    with pytest.raises(InputError, match="did you mean 'ca_mkd'"):
        combined("ca_mdk", z, student, labels, 4.0)
    with pytest.raises(InputError, match="temperature is 0"):
        combined("entropy", z, student, labels, 0)
    with pytest.raises(InputError, match="at least one teacher"):
        combined("entropy", z[:0], student, labels, 4.0)
    with pytest.raises(InputError, match=r"teacher 0 gives logits \(6, 4\), expected \(6, 5\)"):
        combined("entropy", z[:, :, :4], student, labels, 4.0)
    with pytest.raises(InputError, match=r"'ca_mkd' needs class numbers .* found float64 \(6, 5\)"):
        combined("ca_mkd", z, student, F.softmax(z[0], dim=1), 4.0)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_leaving_one_out_shows_who_helps(weighting: str) -> None:
    """Two teachers that err on different halves and one that guesses: without either of the first the target is worse."""
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=400)
    z = rng.normal(size=(3, 400, 4))
    z[0, np.arange(200), labels[:200]] += 6
    z[1, np.arange(200, 400), labels[200:]] += 6
    found = leave_one_out(weighting, list(z.astype(np.float32)), labels.astype(np.int32), 1.0, student_logits=z.mean(axis=0))
    assert [one.teacher for one in found] == [0, 1, 2]
    assert len({(one.accuracy_with, one.nll_with) for one in found}) == 1
    for one in found[:2]:
        assert one.accuracy_with > one.accuracy_without
        assert one.nll_with < one.nll_without
    assert found[2].accuracy_alone < 0.4
    direct = F.cross_entropy(torch.from_numpy(z[2]), torch.from_numpy(labels))
    assert found[2].nll_alone == pytest.approx(float(direct), rel=1e-5)


def test_of_two_the_other_is_left() -> None:
    """What is left without one of two teachers is the other one, alone."""
    z, _, labels = answers(0, 2)
    one, other = leave_one_out("mean_probabilities", [logits.numpy() for logits in z], labels.numpy(), 4.0)
    assert (one.accuracy_without, one.nll_without) == pytest.approx((other.accuracy_alone, other.nll_alone))


def test_leaving_one_out_says_what_it_needs() -> None:
    """A second teacher; for ae_kd the student's own answers, for which nothing can stand in."""
    z, _, labels = answers(0, 2)
    with pytest.raises(InputError, match="at least 2, found 1"):
        leave_one_out("entropy", [z[0].numpy()], labels.numpy(), 4.0)
    with pytest.raises(InputError, match="'ae_kd' depends on the student"):
        leave_one_out("ae_kd", [logits.numpy() for logits in z], labels.numpy(), 4.0)
    with pytest.raises(InputError, match=r"needs 6 class numbers as labels, found .*int64 \(5,\)"):
        leave_one_out("ca_mkd", [logits.numpy() for logits in z], labels[:5].numpy(), 4.0)
