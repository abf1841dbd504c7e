"""Likeness of two networks' embeddings: debiased linear CKA, and what pairing the samples at random gives.

The usual, biased, CKA is never shown: of two independent 32 x 64 Gaussian matrices it says 0.65, the debiased one -0.05.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edgekd.data import RawArray
from edgekd.data.views import permutation
from edgekd.errors import InputError

Doubles: TypeAlias = NDArray[np.float64]

FEWEST = 8
"""Samples in a batch. The estimator needs 4, but of 8 independent rows, 64 wide, it spreads by 0.22 already; of 32 by 0.05."""
BATCH = 512
"""Samples: two Gram matrices of 2 MB each, which a processor's cache holds."""
PERMUTATIONS = 199
"""So that the smallest p-value is 1 / 200, and 5 % of the values are a whole number of them."""
LEAST_VARIATION = 1e-9
"""Of HSIC(K, K) relative to the mean square of K: what rounding leaves of an embedding that does not vary is far below."""


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """CKA (at most 1; about 0 where unrelated, below it by chance), and its distribution over permuted samples.

    `p_value` is the probability that unrelated embeddings come out at least as alike. All are None, with `reason`, where an
    embedding does not vary. `samples` are those used: the rest of the last batch is left out.
    """

    value: float | None = None
    null_mean: float | None = None
    null_p95: float | None = None
    p_value: float | None = None
    samples: int
    permutations: int
    reason: str = ""


def embedding_similarity(
    x: RawArray, y: RawArray, *, batch: int = BATCH, permutations: int = PERMUTATIONS, seed: int = 0
) -> Similarity:
    """Debiased linear CKA of two embeddings of the same samples, which need not have the same width.

    HSIC is summed over batches, drawn at random, before anything is divided. The null pairs each batch's rows of `x` with its
    rows of `y` in random order.

    Args:
        x: (N, D1).
        y: (N, D2).
        batch: samples in a batch, at least 8; where N is smaller, all of them are one batch.
        permutations: of the null, at least 1.
        seed: of the batches and the permutations.

    Raises:
        InputError: for fewer than 8 samples or samples in a batch, shapes that do not fit, and values that are not finite.

    Source: Song et al. 2012, "Feature Selection via Dependence Maximization", equation 5 (HSIC_1); Nguyen, Raghu, Kornblith
    2021, arXiv:2010.15327, equations 2 and 3 (minibatch CKA); Phipson, Smyth 2010, doi:10.2202/1544-6115.1585 (p-value).
    """
    _check(x, y, batch, permutations)
    batch = min(batch, len(x))
    batches = permutation(len(x), 0, seed)[: len(x) // batch * batch].reshape(-1, batch)
    sums = _summed(_standardise(x), _standardise(y), batches, permutations, seed)
    undefined = [whose for whose, varies in (("first", sums.x_varies), ("second", sums.y_varies)) if not varies]
    if undefined:
        return Similarity(
            samples=batches.size,
            permutations=permutations,
            reason=f"the {undefined[0]} embedding does not vary between samples",
        )
    scale = np.sqrt(sums.x) * np.sqrt(sums.y)
    return Similarity(
        value=float(np.clip(sums.cross / scale, -1, 1)),
        null_mean=float(sums.null.mean() / scale),
        null_p95=float(np.quantile(sums.null, 0.95) / scale),
        p_value=(1 + int(np.count_nonzero(sums.null >= sums.cross))) / (1 + permutations),
        samples=batches.size,
        permutations=permutations,
    )


@dataclass(kw_only=True)
class _Sums:
    """HSIC over batches: of both embeddings, of each with itself, and of both under each permutation."""

    null: Doubles
    cross: float = 0.0
    x: float = 0.0
    y: float = 0.0
    square_x: float = 0.0
    square_y: float = 0.0

    @property
    def x_varies(self) -> bool:
        return self.x > LEAST_VARIATION * self.square_x

    @property
    def y_varies(self) -> bool:
        return self.y > LEAST_VARIATION * self.square_y


def _summed(x: Doubles, y: Doubles, batches: NDArray[np.int64], permutations: int, seed: int) -> _Sums:
    sums = _Sums(null=np.zeros(permutations))
    for number, rows in enumerate(batches):
        k, ell = _gram(x[rows]), _gram(y[rows])
        sums.cross += hsic(k, ell)
        sums.x += hsic(k, k)
        sums.y += hsic(ell, ell)
        sums.square_x += float(np.mean(k * k))
        sums.square_y += float(np.mean(ell * ell))
        for index in range(permutations):
            order = permutation(len(rows), 1 + index * len(batches) + number, seed)
            sums.null[index] += hsic(k, ell[np.ix_(order, order)])
    return sums


def hsic(k: Doubles, ell: Doubles) -> float:
    """Unbiased HSIC_1 of two Gram matrices (n, n) of diagonal 0, n above 3. An unbiased estimate of 0 may be below 0."""
    n = len(k)
    trace = float(np.vdot(k, ell))
    sums_k, sums_l = k.sum(axis=0), ell.sum(axis=0)
    product = float(sums_k.sum() * sums_l.sum()) / ((n - 1) * (n - 2))
    return (trace + product - 2 / (n - 2) * float(sums_k @ sums_l)) / (n * (n - 3))


def _gram(rows: Doubles) -> Doubles:
    gram: Doubles = rows @ rows.T
    np.fill_diagonal(gram, 0)
    return gram


def _standardise(embedding: RawArray) -> Doubles:
    """In float64, centred, at most 1: CKA depends on neither, and float32 sums of large values would drown it in rounding."""
    embedding = embedding.astype(np.float64)
    embedding /= max(np.abs(embedding).max(), np.finfo(np.float64).tiny)
    constant = np.ptp(embedding, axis=0) == 0
    centred: Doubles = np.where(constant, 0.0, embedding - embedding.mean(axis=0))
    largest = np.abs(centred).max()
    return centred / largest if largest > 0 else centred


def _check(x: RawArray, y: RawArray, batch: int, permutations: int) -> None:
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or not x.shape[1] or not y.shape[1]:
        raise InputError(f"embeddings of shapes {x.shape} and {y.shape}: expected (N, D1) and (N, D2) of the same N samples")
    if min(len(x), batch) < FEWEST:
        raise InputError(f"CKA of {len(x)} samples in batches of {batch}: expected at least {FEWEST} of both")
    if permutations < 1:
        raise InputError(f"CKA with {permutations} permutations: expected at least 1")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("embeddings are not finite: their likeness is not defined")
