"""Every loss against its formula, computed apart: closed forms in float64, NumPy, or by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_outputs import batch_of, exact, mapped, network, value
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgekd import Batch, Outputs, loss
from edgekd.distill.losses.arithmetic import divergence, pearson
from edgekd.distill.losses.review import hierarchical_difference

STUDENT, TEACHER = [[2, 0.5, -1], [0, 1, 3]], [[3, 1, -2], [-1, 0.5, 4]]
LABELS = torch.tensor([0, 2])
THIRD = [[0.2, -0.4, 0.1]], [[1, -1, 0.5]]
POINTS = [[0, 0], [1, 0], [0, 2]], [[0, 0], [2, 0], [0, 1]]
TCKD, NCKD = 0.2487668488, 0.1427500076
INTER, INTRA = 0.0131850602, 0.1403405433


def of_logits(name: str, student: Tensor, teacher: Tensor, labels: Tensor = LABELS, **numbers: float) -> float:
    batch = Batch(inputs=None, labels=labels)
    return float(loss(name, **numbers)(Outputs(logits=student), Outputs(logits=teacher), batch).detach())


def of_points(name: str, student: object, teacher: object) -> float:
    ours, theirs = exact(student), exact(teacher)
    outputs = Outputs(logits=torch.zeros(len(ours), 2), embedding=ours), Outputs(logits=torch.zeros(1), embedding=theirs)
    return float(value(name, *outputs).detach())


@pytest.mark.parametrize(
    ("name", "numbers", "expected"),
    [
        ("soft_targets", {"temperature": 4.0}, 0.3152150347),
        ("soft_targets", {"temperature": 2.0, "standardize": True}, 0.0024052441),
        ("dkd", {"alpha": 1.0, "beta": 0.0, "warmup_epochs": 0}, TCKD),
        ("dkd", {"alpha": 0.0, "beta": 1.0, "warmup_epochs": 0}, NCKD),
        ("dkd", {"warmup_epochs": 0}, TCKD + 8 * NCKD),
    ],
)
def test_losses_over_two_rows_have_the_closed_forms_value(name: str, numbers: dict[str, float], expected: float) -> None:
    """Sum over classes, mean over samples, times T squared."""
    assert of_logits(name, exact(STUDENT), exact(TEACHER), **numbers) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("beta", "gamma"), [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (2.0, 0.5)])
def test_dist_has_the_closed_forms_value(beta: float, gamma: float) -> None:
    """One minus the mean correlation, over classes and over samples; golden values at temperature 1."""
    student, teacher = exact(STUDENT + THIRD[0]), exact(TEACHER + THIRD[1])
    found = of_logits("dist", student, teacher, temperature=1.0, beta=beta, gamma=gamma)
    assert found == pytest.approx(beta * INTER + gamma * INTRA, abs=1e-9)


@pytest.mark.parametrize(("name", "expected"), [("rkd_distance", 0.0729490169), ("rkd_angle", 0.0148148148)])
def test_rkd_has_the_closed_forms_value(name: str, expected: float) -> None:
    """Smooth L1 over all pairs or triples of three points, the diagonal included."""
    assert of_points(name, *POINTS) == pytest.approx(expected, abs=1e-9)


def test_attention_has_the_closed_forms_value() -> None:
    """Mean over samples and places of the squared difference of normalised maps of three and of five channels."""
    rng = np.random.default_rng(0)
    student, teacher = (torch.from_numpy(rng.normal(size=(2, channels, 2, 2))) for channels in (3, 5))
    assert float(with_maps("attention", student, teacher)) == pytest.approx(0.0858496966, abs=1e-9)


def with_maps(name: str, student: Tensor, teacher: Tensor, **numbers: float) -> Tensor:
    outputs = [Outputs(logits=torch.zeros(len(maps), 2), features={"a": maps}) for maps in (student, teacher)]
    return value(name, outputs[0], outputs[1], **numbers)


LOGITS = st.lists(st.lists(st.floats(-20, 20), min_size=4, max_size=4), min_size=2, max_size=2)


@given(rows=LOGITS, label=st.integers(0, 3), temperature=st.sampled_from([1.0, 4.0]))
def test_soft_targets_are_tckd_and_nckd_weighed_by_what_is_not_the_label(
    rows: list[list[float]], label: int, temperature: float
) -> None:
    """KD = TCKD + (1 − p_t) NCKD, the identity that the decoupled loss is built on."""
    student, teacher = exact(rows[:1]), exact(rows[1:])
    others = 1 - float(torch.softmax(teacher / temperature, dim=1)[0, label].detach())
    numbers = {"alpha": 1.0, "beta": others, "temperature": temperature, "warmup_epochs": 0}
    whole = of_logits("soft_targets", student, teacher, temperature=temperature)
    assert of_logits("dkd", student, teacher, torch.tensor([label]), **numbers) == pytest.approx(whole, abs=1e-9, rel=1e-9)


@pytest.mark.parametrize(("epoch", "factor"), [(0, 0.05), (1, 0.1), (18, 0.95), (19, 1.0), (300, 1.0)])
def test_dkd_warms_up_from_the_first_epoch_on(epoch: int, factor: float) -> None:
    """(epoch + 1) / 20, at most 1: no epoch is without a teacher."""
    student, teacher = network(0), network(1)
    full = value("dkd", student, teacher, batch_of(epoch=0), warmup_epochs=0)
    torch.testing.assert_close(value("dkd", student, teacher, batch_of(epoch=epoch)), factor * full)


@given(rows=st.lists(st.lists(st.floats(-9, 9), min_size=5, max_size=5), min_size=2, max_size=2))
def test_correlation_of_rows_is_numpys(rows: list[list[float]]) -> None:
    """Pearson's, between −1 and 1; 0 where a row is constant."""
    found = float(pearson(exact(rows[:1]), exact(rows[1:])).detach())
    deviations = [np.std(row) for row in rows]
    if min(deviations) > 1e-3:
        assert found == pytest.approx(float(np.corrcoef(rows)[0, 1]), abs=1e-9)
    assert -1 - 1e-9 <= found <= 1 + 1e-9
    assert float(pearson(exact(rows[:1]), torch.full((1, 5), 0.1, dtype=torch.float64)).detach()) == 0


def test_a_divergence_counts_what_has_probability_only() -> None:
    """p = 0 adds nothing, whatever q is; q = 0 where p is not is infinite."""
    p, q = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.25, 0.75, 0.0]])
    expected = 0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75)
    assert float(divergence(p.log(), q.log())) == pytest.approx(expected, rel=1e-6)
    assert float(divergence(q.log(), torch.tensor([[1.0, 0.0, 0.0]]).log())) == math.inf


def cosines(points: NDArray[np.float64]) -> NDArray[np.float64]:
    directions = points / np.linalg.norm(points, axis=1, keepdims=True)
    return directions @ directions.T


def gram(points: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = points @ points.T
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def neighbours(points: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = (cosines(points) + 1) / 2
    return rows / rows.sum(1, keepdims=True)


def kernel(points: NDArray[np.float64]) -> NDArray[np.float64]:
    c = cosines(points)
    return np.exp(-0.8) * (1 + 0.8 * c + 0.32 * c**2)


def test_losses_over_similarities_have_their_formulas_value() -> None:
    """Similarity preserving, probabilistic transfer and correlation congruence of 6 samples in 3 and 5 dimensions, in NumPy."""
    rng = np.random.default_rng(3)
    student, teacher = rng.normal(size=(6, 3)), rng.normal(size=(6, 5))
    ours, theirs = neighbours(student), neighbours(teacher)
    expected = {
        "similarity": ((gram(student) - gram(teacher)) ** 2).sum() / 36,
        "pkt": (theirs * np.log((theirs + 1e-7) / (ours + 1e-7))).sum() / 36,
        "correlation": ((kernel(student) - kernel(teacher)) ** 2).sum() / 36,
    }
    for name, number in expected.items():
        assert of_points(name, student, teacher) == pytest.approx(number, rel=1e-9), name


def test_a_long_taylor_series_is_the_gaussian_kernel() -> None:
    """Correlation congruence at order 30 compares exp(−gamma ‖x − y‖²) of unit vectors."""
    student, teacher = network(0), network(1, width=2)
    kernels = []
    for outputs in (student, teacher):
        directions = F.normalize(outputs.embedding.detach())
        kernels.append(torch.exp(-0.4 * torch.cdist(directions, directions) ** 2))
    expected = ((kernels[0] - kernels[1]) ** 2).mean()
    torch.testing.assert_close(value("correlation", student, teacher, order=30).detach(), expected)


def test_hierarchical_difference_weighs_halving_levels() -> None:
    """Of 4×4 maps: the full one 1, pooled to 2×2 one half, to 1×1 a quarter, over their sum."""
    rng = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(2, 3, 4, 4, generator=rng, dtype=torch.float64) for _ in range(2))
    gap = ours - theirs
    halves = gap.reshape(2, 3, 2, 2, 2, 2).mean((3, 5))
    expected = (gap.square().mean() + halves.square().mean() / 2 + gap.mean((2, 3)).square().mean() / 4) / 1.75
    torch.testing.assert_close(hierarchical_difference(ours, theirs), expected)


def test_hints_are_the_error_after_the_adapter() -> None:
    """Mean over keys of the mean squared error between the teacher's map and a 1×1 convolution of the student's, pooled 2:1."""
    rng = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(2, c, s, s, generator=rng, dtype=torch.float64) for c, s in ((3, 4), (5, 2)))
    outputs = [Outputs(logits=torch.zeros(2, 2).double(), features={"a": maps}) for maps in (student, teacher)]
    criterion = loss("hints")
    found = criterion(*outputs, batch_of(2))
    kernel, bias = (parameter.detach() for parameter in criterion.parameters())
    adapted = torch.einsum("oi,biyx->boyx", kernel[:, :, 0, 0], student.reshape(2, 3, 2, 2, 2, 2).mean((3, 5)))
    torch.testing.assert_close(found.detach(), (adapted + bias[None, :, None, None] - teacher).square().mean())


def test_hints_are_a_mean_over_keys() -> None:
    """Tapping more layers does not make the loss larger; a smaller map is interpolated up to the teacher's."""
    student, teacher, criterion = network(0), network(1, width=2), loss("hints")
    found = criterion(student, teacher, batch_of())
    errors = []
    for key, maps in teacher.features.items():
        adapted = criterion.weights.made["map_" + key.replace(".", "/")](student.features[key])
        adapted = F.interpolate(adapted, size=maps.shape[2:], mode="bilinear", align_corners=False)
        errors.append(F.mse_loss(adapted, maps))
    torch.testing.assert_close(found, sum(errors) / 2)


@pytest.mark.parametrize("soft", [False, True], ids=["class indices", "probabilities"])
def test_exits_are_labels_last_logits_and_deepest_map(soft: bool) -> None:
    """(1 − alpha) CE + alpha T² KL + weight · error of the map, at the one exit before the deepest map."""
    student, plain = network(0), batch_of()
    labels = F.one_hot(plain.labels, 5).float() * 0.8 + 0.04 if soft else plain.labels
    batch = Batch(inputs=None, labels=labels)
    criterion = loss("exits", temperature=2.0, alpha=0.4, feature_weight=0.5)
    found = criterion(student, student, batch)
    head = next(iter(criterion.weights.made.values()))
    adapted, answers = head(F.adaptive_avg_pool2d(student.features["early"], (4, 4)), (4, 4))
    log_p, log_q = (F.log_softmax(logits / 2, dim=1) for logits in (student.logits, answers))
    hard = F.cross_entropy(answers, labels.double() if soft else labels)
    gap = F.mse_loss(adapted, student.features["block.2"])
    expected = 0.6 * hard + 0.4 * 4 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) + 0.5 * gap
    torch.testing.assert_close(found, expected)


@given(seed=st.integers(0, 99), p=st.sampled_from([1.0, 1.5, 2.0, 3.0, 4.0]))
def test_attention_needs_one_channel_of_the_teacher(seed: int, p: float) -> None:
    """The cached map (mean_c |F|^p)^(1/p) gives the same loss and gradient as the feature map itself."""
    student, teacher = network(seed), network(seed + 100, width=2)

    def energy(maps: Tensor) -> Tensor:
        return maps.detach().abs().pow(p).mean(1, keepdim=True).pow(1 / p)

    cached = Outputs(logits=teacher.logits, features={key: energy(maps) for key, maps in teacher.features.items()})
    losses = [value("attention", student, given, p=p) for given in (teacher, cached)]
    torch.testing.assert_close(losses[0], losses[1])
    gradients = [torch.autograd.grad(found, list(student.features.values()), retain_graph=True) for found in losses]
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("larger", ["student", "teacher"])
def test_attention_averages_the_larger_map_down(larger: str) -> None:
    """A map of twice the side is compared by the mean activity of its 2×2 fields."""
    rng = torch.Generator().manual_seed(1)
    small, large = (torch.randn(2, 3, side, side, generator=rng, dtype=torch.float64) for side in (2, 4))
    mean = large.square().mean(1, keepdim=True).reshape(2, 1, 2, 2, 2, 2).mean((3, 5)).sqrt()
    pair = (large, small) if larger == "student" else (small, large)
    averaged = (mean, small) if larger == "student" else (small, mean)
    torch.testing.assert_close(with_maps("attention", *pair), with_maps("attention", *averaged))


@pytest.mark.parametrize("name", ["rkd_distance", "rkd_angle", "similarity", "pkt", "correlation"])
def test_relations_do_not_change_when_an_embedding_is_turned_and_scaled(name: str) -> None:
    """Only how samples lie to each other is compared, in each network's own space and unit."""
    student, teacher = network(0), network(1, width=2)
    turn = torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    moved = Outputs(logits=student.logits, embedding=3 * student.embedding @ turn)
    torch.testing.assert_close(value(name, moved, teacher), value(name, student, teacher))


@pytest.mark.parametrize("standardize", [False, True])
def test_dist_and_standardized_targets_are_free_in_shift(standardize: bool) -> None:
    """Adding a number to all logits of a sample is no difference between two networks."""
    student, teacher = network(0), network(1)
    shifted = mapped(student, lambda tensor: tensor + 2.0)
    for name, numbers in (("dist", {}), ("soft_targets", {"standardize": standardize})):
        torch.testing.assert_close(value(name, shifted, teacher, **numbers), value(name, student, teacher, **numbers))
