"""What a student family is: a space of architectures, and a way to build each of them.

`FAMILIES` names the built-in ones, `timm:NAME` an architecture of timm; `module:name` is anyone's own: a family, or a function
or class that makes a network (students/plain.py).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from edgekd.errors import InputError, did_you_mean
from edgekd.types import Candidate, Scalar

FAMILIES = {
    "conv1d": "edgekd.students.conv1d:CONV1D",
    "mbconv": "edgekd.students.mbconv:MBCONV",
    "mixer": "edgekd.students.mixer:MIXER",
    "resnet": "edgekd.students.resnet:RESNET",
    "text": "edgekd.students.text:TEXT",
    "vit": "edgekd.students.vit:VIT",
}


class Family(Protocol):
    def space(self, input_shape: tuple[int, ...]) -> dict[str, tuple[Scalar, ...]]:
        """Values of each axis for samples of `input_shape` (C, H, W), cheapest first: the first of each is the smallest."""
        ...

    def build(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> Any:
        """The untrained `torch.nn.Module` from (B, C, H, W) to logits (B, classes); `input_shape` is the resized one."""
        ...


class ElasticFamily(Family, Protocol):
    """A family that knows which of its students can share one set of weights; `elastic` is optional, `space` stands in for it."""

    def elastic(self, input_shape: tuple[int, ...], coupled: bool) -> dict[str, tuple[Scalar, ...]]:
        """Axes, cheapest first, whose students call the same layers by the same names, each tensor the leading slice of the
        largest one's (of a convolution's kernel the centre). `coupled`: few enough of them to look at one by one."""
        ...


def find_family(name: str, base: Path | None = None) -> Family:
    """A family by its name, by `timm:NAME` or by `module:name` (a file beside the project counts).

    Raises:
        InputError: where there is no such family.
        MissingExtraError: where timm cannot be imported.
    """
    from edgekd.plugins import load_attribute

    if name.startswith("timm:"):
        from edgekd.students.timm_names import TimmFamily

        return TimmFamily(name)
    if ":" in name:
        from edgekd.students.plain import as_family

        return as_family(load_attribute(name, base), name)
    if name not in FAMILIES:
        raise InputError(f"[students] family '{name}' is not known" + did_you_mean(name, FAMILIES))
    built_in: Family = load_attribute(FAMILIES[name], None)
    return built_in


def restricted(space: Mapping[str, tuple[Scalar, ...]], axes: Mapping[str, tuple[Scalar, ...]]) -> dict[str, tuple[Scalar, ...]]:
    """The space with the project's own values for some axes. Raises InputError for an axis that the family has not."""
    for axis in axes:
        if axis not in space and axis.rstrip("123456789") not in space:
            raise InputError(f"[students.axes] has no axis '{axis}'" + did_you_mean(axis, space))
    own = {axis: values for axis, values in axes.items() if axis not in space}  # of a single stage, such as depth2
    return {**{axis: tuple(axes.get(axis, values)) for axis, values in space.items()}, **own}


def elastic_axes(family: Family, input_shape: tuple[int, ...], coupled: bool) -> dict[str, tuple[Scalar, ...]]:
    """Axes of the students that share one set of weights: the family's own word, or all its axes where it has none."""
    elastic = getattr(family, "elastic", None)
    axes: dict[str, tuple[Scalar, ...]] = family.space(input_shape) if elastic is None else elastic(input_shape, coupled)
    return axes


def image_size(candidate: Candidate, input_shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(height, width) that this candidate's images are resized to; None where it takes them as they are."""
    size = candidate.values.get("input_size")
    return None if size is None or int(size) == input_shape[1] else (int(size), int(size))


def resized_shape(candidate: Candidate, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape (C, H, W) of one sample as the candidate takes it."""
    return (input_shape[0], *(image_size(candidate, input_shape) or input_shape[1:]))
