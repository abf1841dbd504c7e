"""One set of weights for a whole space: every student is cut out of the largest one.

A tensor of a smaller student is the leading slice of the largest one's tensor of the same name, and of a convolution's kernel the
centre; blocks that it has not are left out. So any family shares weights whose students name their layers alike.

Source: Cai et al. 2020, arXiv:1908.09791 (OFA, section 3); kernels are cropped without transformation matrices, as in Wang et
al. 2021, arXiv:2011.09011 (AttentiveNAS).
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from edgekd.errors import InputError
from edgekd.students import Family, resized_shape
from edgekd.students.space import Space
from edgekd.types import Candidate

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
Slices = tuple[slice, ...]


class Cutter:
    """Students of a space as cuttings of its largest one.

    Args:
        largest: shape of each of its tensors, by name.
        shape: of one raw sample (C, H, W).
    """

    def __init__(self, family: Family, space: Space, shape: tuple[int, ...], classes: int) -> None:
        self.family, self.space, self.shape, self.classes = family, space, shape, classes
        self.largest = {name: tuple(tensor.shape) for name, tensor in self.skeleton(space.largest).state_dict().items()}
        self._slices: dict[Candidate, dict[str, Slices]] = {}

    def skeleton(self, candidate: Candidate) -> nn.Module:
        """The student without memory for its weights."""
        with torch.device("meta"):
            network: nn.Module = self.family.build(candidate.values, resized_shape(candidate, self.shape), self.classes)
        return network

    def slices(self, candidate: Candidate) -> dict[str, Slices]:
        """Where each of its tensors lies in the largest student's. Raises InputError for one that has no place there."""
        if candidate not in self._slices:
            network = self.skeleton(candidate)
            kernels = {f"{path}.weight" for path, module in network.named_modules() if isinstance(module, CONVOLUTIONS)}
            self._slices[candidate] = {
                name: self._place(candidate, name, tuple(tensor.shape), name in kernels)
                for name, tensor in network.state_dict().items()
            }
        return self._slices[candidate]

    def _place(self, candidate: Candidate, name: str, shape: tuple[int, ...], kernel: bool) -> Slices:
        whole = self.largest.get(name)
        if whole is None or len(whole) != len(shape) or any(a > b for a, b in zip(shape, whole, strict=True)):
            what = f"{candidate.family} {candidate.values} has a layer {name} {shape}, the largest student {whole or 'none'}"
            raise InputError(f"[students] these students cannot share weights: {what}; fix an axis to one value")
        starts = [(b - a) // 2 if kernel and dim > 1 else 0 for dim, (a, b) in enumerate(zip(shape, whole, strict=True))]
        return tuple(slice(start, start + length) for start, length in zip(starts, shape, strict=True))

    def cut(self, candidate: Candidate, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The student's tensors as views of the largest one's; those that `tensors` has not are left out."""
        return {name: tensors[name][place] for name, place in self.slices(candidate).items() if name in tensors}

    def check(self) -> None:
        """That all students share weights. Raises InputError naming the first that does not."""
        for candidate in self._extremes():
            self.slices(candidate)

    def _extremes(self) -> Iterator[Candidate]:
        """The largest with one axis at another value, and the smallest with one: what does not fit there fits nowhere."""
        for base in (self.space.largest, self.space.smallest):
            for axis, values in self.space.axes.items():
                for value in values:
                    yield Candidate.of(base.family, {**base.values, axis: value})
