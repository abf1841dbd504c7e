"""Several teachers' cached logits made into one target, so that every loss on logits takes an ensemble as it takes a teacher.

Σ_k w_k KL(p_k ‖ p_s) and KL(Σ_k w_k p_k ‖ p_s) differ by a constant in the student: they have the same gradient. So a weight
for each teacher and sample is all that a weighting is, and the combined logits T log Σ_k w_k softmax(z_k / T) make
`soft_targets` at that temperature T the weighted sum of the teachers' losses. Only `mean_logits` is another objective.

    mean_logits         (1/K) Σ_k z_k, a geometric mean of the distributions
    mean_probabilities  w_k = 1/K
    entropy             w_k = (1 - H_k / Σ_j H_j) / (K - 1): who is sure counts more. The baseline EBKD of the next one's authors
    ca_mkd              w_k = (1 - softmax_k(CE_k)) / (K - 1): who is right counts more. Zhang, Chen, Wang 2022,
                        arXiv:2201.00007
    ae_kd               min_w ‖Σ_k w_k g_k‖², w_k <= C, over the gradients g_k in the student's logits: who asks for what the
                        others ask for too counts more. Du et al. 2020, NeurIPS, "Agree to Disagree", eq. 11. Solved for each
                        sample; the authors' program solves it for the batch's mean gradient
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from edgekd.distill import Batch, Outputs
from edgekd.errors import InputError, did_you_mean

WEIGHTINGS = ("mean_logits", "mean_probabilities", "entropy", "ca_mkd", "ae_kd")

TOLERANCE = 0.6
"""C, the most that one teacher may weigh: the default of the authors' program (its ν is 1 / (C K)); at least 1 / K."""
RIDGE = 1e-12
"""Added to the squared lengths, relative to the largest: one minimum even where teachers agree, at a cost below rounding."""


@dataclass(frozen=True)
class Contribution:
    """What one teacher adds: accuracy and NLL (nats, at temperature 1) of it alone, and of the target with and without it."""

    teacher: int
    accuracy_alone: float
    nll_alone: float
    accuracy_with: float
    nll_with: float
    accuracy_without: float
    nll_without: float


@torch.no_grad()
def combine(weighting: str, teachers: Sequence[Outputs], student: Outputs, batch: Batch, temperature: float) -> Outputs:
    """The target that stands for all `teachers` in a batch.

    Embeddings and features are left out: those of different teachers have no space in common. One teacher alone gives its
    logits back, up to a constant for each sample.

    Args:
        weighting: one of `WEIGHTINGS`.
        teachers: K answers on the same views, logits (B, C).
        student: its answers, for `ae_kd`; no gradient goes through the weights.
        batch: its labels (B,) are used by `ca_mkd`.
        temperature: that of the loss that the target is for, no unit, above 0.

    Returns:
        Logits (B, C), detached.

    Raises:
        InputError: for a weighting that is not known, no teacher, logits of other shapes, or labels that are no class numbers.
    """
    z = _stacked([teacher.logits for teacher in teachers], student.logits)
    return Outputs(logits=_combined(z, weighting, student.logits, batch.labels, temperature))


@torch.no_grad()
def teacher_weights(weighting: str, logits: Tensor, student: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """(K, B) weights, of sum 1 over the teachers, for their logits (K, B, C) and the student's (B, C).

    Raises:
        InputError: for a weighting that is not known, or labels that it cannot use.
    """
    _check(weighting, temperature)
    teachers, samples, _ = logits.shape
    if teachers == 1 or weighting.startswith("mean_"):
        return torch.full((teachers, samples), 1 / teachers, dtype=logits.dtype, device=logits.device)
    if weighting == "entropy":
        return _entropy_weights(logits)
    if weighting == "ca_mkd":
        return _confidence_weights(logits, labels)
    ours, theirs = (F.softmax(z.to(logits.dtype) / temperature, dim=-1) for z in (student, logits))
    gradients = temperature * (ours - theirs)
    return shortest(gradients.transpose(0, 1), TOLERANCE).T.to(logits.dtype)


def _combined(z: Tensor, weighting: str, student: Tensor, labels: Tensor, temperature: float) -> Tensor:
    weights = teacher_weights(weighting, z, student, labels, temperature)
    if weighting == "mean_logits":
        return z.mean(dim=0)
    log_p = F.log_softmax(z / temperature, dim=-1)
    return temperature * torch.logsumexp(weights.log().unsqueeze(-1) + log_p, dim=0)


def _check(weighting: str, temperature: float) -> None:
    if weighting not in WEIGHTINGS:
        raise InputError(f"weighting of the teachers '{weighting}' is not known" + did_you_mean(weighting, WEIGHTINGS))
    if not temperature > 0:
        raise InputError(f"weighting '{weighting}': temperature is {temperature}, expected above 0")


def _stacked(logits: Sequence[Tensor], student: Tensor) -> Tensor:
    """(K, B, C), float32 at least: a mixture's small probabilities are lost in half precision."""
    if not logits:
        raise InputError("an ensemble needs at least one teacher, found none")
    for number, one in enumerate(logits):
        if one.shape != student.shape or one.ndim != 2:
            expected = tuple(student.shape)
            raise InputError(f"teacher {number} gives logits {tuple(one.shape)}, expected {expected} (batch, classes)")
    stacked = torch.stack(list(logits)).detach()
    return stacked.to(torch.promote_types(stacked.dtype, torch.float32))


def _entropy_weights(logits: Tensor) -> Tensor:
    """Of the distributions at temperature 1: what softening does to them is no doubt of the teacher's."""
    log_p = F.log_softmax(logits, dim=-1)
    entropy = -(log_p.exp() * log_p).sum(dim=-1)
    # Where all are certain the shares are 0 / 0: the smallest number makes them equal.
    share = F.normalize(entropy + torch.finfo(logits.dtype).tiny, p=1, dim=0, eps=0)
    return (1 - share) / (len(logits) - 1)


def _confidence_weights(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.ndim != 1 or labels.is_floating_point():
        found = f"{str(labels.dtype).removeprefix('torch.')} {tuple(labels.shape)}"
        raise InputError(f"weighting 'ca_mkd' needs class numbers (B,) as labels, found {found}; mixed labels: use 'entropy'")
    cross_entropy = -F.log_softmax(logits, dim=-1).gather(2, labels.long().expand(len(logits), -1).unsqueeze(-1)).squeeze(-1)
    return (1 - F.softmax(cross_entropy, dim=0)) / (len(logits) - 1)


@torch.no_grad()
def shortest(vectors: Tensor, most: float) -> Tensor:
    """Weights of the shortest convex combination of K vectors, none of them above `most`: min_w ‖Σ_k w_k v_k‖².

    The dual of the one-class support vector machine, solved exactly: a step goes to the minimum over the weights that are
    free, or as far as the first of them that meets a bound and stays there; at a minimum the bound that most hinders lets go.
    Weights stay feasible and the length never grows, so what the last step leaves is good even if it was not the last needed.

    Args:
        vectors: (B, K, D), a problem for each of B.
        most: below 1 / K it is taken for 1 / K, which leaves only the mean.

    Returns:
        (B, K) float64, of sum 1, each from 0 to max(most, 1 / K). The squared length is within 1e-12 of the least, relative
        to the longest vector's.

    Source: Schölkopf et al. 2001, Neural Computation 13(7), eq. 3.4; primal active set method, Nocedal and Wright 2006,
        algorithm 16.3.
    """
    v = vectors.double()
    gram = v @ v.transpose(1, 2)
    problems, count = gram.shape[:2]
    scale = gram.diagonal(dim1=1, dim2=2).amax(dim=1).clamp_min(torch.finfo(torch.float64).tiny)
    gram = gram / scale[:, None, None] + RIDGE * torch.eye(count, dtype=torch.float64, device=v.device)
    most = max(most, 1 / count)
    w = torch.full((problems, count), 1 / count, dtype=torch.float64, device=v.device)
    free = torch.ones_like(w, dtype=torch.bool)
    for _ in range(10 * count):  # tests with 8 teachers need 13
        target, level = _minimum(gram, w, free)
        move = target - w
        room = torch.where(move > 0, most - w, w) / move.abs()
        reach, met = room.masked_fill(~free | (move.abs() < RIDGE), torch.inf).min(dim=1)
        w = (w + reach.clamp(max=1).unsqueeze(-1) * move).clamp(0, most)
        stopped = reach < 1
        free[stopped, met[stopped]] = False
        slope = (gram @ w.unsqueeze(-1)).squeeze(-1) - level
        hindrance, held = torch.where(w > most / 2, slope, -slope).masked_fill(free, -torch.inf).max(dim=1)
        released = ~stopped & (hindrance > RIDGE)
        free[released, held[released]] = True
        if not (stopped | released).any():
            break
    return w


def _minimum(gram: Tensor, w: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """(weights (B, K), their common slope (B, 1)) at the minimum of wᵀ G w / 2 with Σ w = 1, where only free weights move."""
    problems, count = w.shape
    system = torch.zeros(problems, count + 1, count + 1, dtype=w.dtype, device=w.device)
    system[:, :count, :count] = torch.where(free.unsqueeze(-1), gram, torch.eye(count, dtype=w.dtype, device=w.device))
    system[:, :count, count] = -free.to(w.dtype)
    system[:, count, :count] = 1
    right = torch.cat([w.masked_fill(free, 0), torch.ones_like(w[:, :1])], dim=1)
    solution = torch.linalg.solve(system, right)
    return solution[:, :count], solution[:, count:]


@torch.no_grad()
def leave_one_out(
    weighting: str, teachers_logits: Sequence[Any], labels: Any, temperature: float, student_logits: Any = None
) -> list[Contribution]:
    """What each teacher adds to the target on a split, in the order of the teachers.

    The target's NLL is that of softmax at temperature 1 over the combined logits: for one teacher, its own. `ca_mkd` reads
    the labels to make its target, here as in training, so its target is better than any network without them could be.

    Args:
        teachers_logits: K >= 2 arrays (N, C), on the validation split.
        labels: (N,) class numbers.
        temperature: that of the loss.
        student_logits: (N, C) of the trained student, which `ae_kd` needs. Nothing stands in for it: against the mean of the
            teachers the weights would be nearly equal whoever the student is.

    Raises:
        InputError: as `combine`, and for fewer than 2 teachers, or `ae_kd` without the student's logits.
    """
    _check(weighting, temperature)
    if len(teachers_logits) < 2:
        raise InputError(f"leaving one teacher out needs at least 2, found {len(teachers_logits)}")
    if weighting == "ae_kd" and student_logits is None:
        raise InputError("weighting 'ae_kd' depends on the student: what a teacher adds needs student_logits")
    tensors, y = [torch.as_tensor(logits) for logits in teachers_logits], torch.as_tensor(labels)
    student = tensors[0] if student_logits is None else torch.as_tensor(student_logits)
    z = _stacked(tensors, student)
    if y.shape != z.shape[1:2] or y.is_floating_point():
        raise InputError(f"leaving one teacher out needs {z.shape[1]} class numbers as labels, found {y.dtype} {tuple(y.shape)}")
    accuracy, nll = _quality(_combined(z, weighting, student, y, temperature), y)
    found = []
    for teacher in range(len(z)):
        others = torch.cat([z[:teacher], z[teacher + 1 :]])
        (alone, alone_nll), (without, without_nll) = (
            _quality(logits, y) for logits in (z[teacher], _combined(others, weighting, student, y, temperature))
        )
        found.append(Contribution(teacher, alone, alone_nll, accuracy, nll, without, without_nll))
    return found


def _quality(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """(accuracy, mean negative log-likelihood in nats)."""
    return float((logits.argmax(dim=-1) == labels).double().mean()), float(F.cross_entropy(logits.double(), labels.long()))
