"""What a training is told by its teachers: rows of their caches, of the kinds that its losses look at."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgekd.distill import Outputs
from edgekd.distill.cache import TeacherCache
from edgekd.errors import InputError
from edgekd.teachers import FeatureRequest

ToTensor = Callable[[Any], Tensor]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The caches of one teacher or of several, and what is taken from them beside the logits.

    `keys` are those of the feature maps that the student has too.
    """

    caches: tuple[TeacherCache, ...]
    embedding: bool = False
    request: FeatureRequest | None = None
    keys: tuple[str, ...] = ()

    def view(self, view: int) -> "Callable[[NDArray[np.int64], ToTensor], list[Outputs]]":
        """Opens a view of the training split: a function from rows to each teacher's answers for them."""
        opened = [self._open(cache, view) for cache in self.caches]

        def rows_of(rows: NDArray[np.int64], tensor: ToTensor) -> list[Outputs]:
            return [_outputs({name: tensor(_float32(name, values[rows])) for name, values in kinds.items()}) for kinds in opened]

        return rows_of

    def _open(self, cache: TeacherCache, view: int) -> dict[str, Any]:
        kinds: dict[str, Any] = {"logits": cache.logits(view)}
        embedding = cache.embedding(view) if self.embedding else None
        if embedding is not None:
            kinds["embedding"] = embedding
        if self.request is not None:
            maps = cache.features(view, self.request)
            kinds |= {key: maps[key] for key in self.keys}
        return kinds

    def validation(self) -> NDArray[np.float32]:
        """(N, C) on the validation split: logarithms of the mean probabilities; a single teacher's own logits."""
        return mean_logits_of([cache.validation_logits() for cache in self.caches])

    def test(self) -> NDArray[np.float32]:
        """The same on the test split: for the final figures only."""
        return mean_logits_of([cache.test_logits() for cache in self.caches])


def mean_logits_of(logits: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Logarithms of the mean of several teachers' probabilities, (N, C); the logits themselves of a single one."""
    if len(logits) == 1:
        return logits[0]
    shifted = [z - z.max(1, keepdims=True) for z in logits]
    mean = np.mean([np.exp(z) / np.exp(z).sum(1, keepdims=True) for z in shifted], axis=0)
    return np.log(np.maximum(mean, np.finfo(np.float32).tiny)).astype(np.float32)


def _float32(name: str, values: NDArray[Any]) -> NDArray[np.float32]:
    """Rows as they are computed with. Raises InputError for those that half precision could not hold."""
    if values.dtype == np.float32:
        return values
    if not np.isfinite(values).all():
        largest = np.finfo(values.dtype).max
        raise InputError(f"the teacher's {name} goes beyond {largest:.0f}, where its cache ends: tap normalised layers")
    return values.astype(np.float32)


def _outputs(found: dict[str, Tensor]) -> Outputs:
    return Outputs(logits=found.pop("logits"), embedding=found.pop("embedding", None), features=found)
