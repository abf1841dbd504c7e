"""Any architecture of timm by its name, untrained: `family = "timm:mobilenetv3_small_050"`.

timm imports torchvision, which runs beside the one torch that it was compiled for.

Source: Wightman 2019, PyTorch Image Models, doi:10.5281/zenodo.4414861.
"""

from collections.abc import Mapping
from typing import Any

from edgekd.errors import InputError, MissingExtraError, did_you_mean, first_line
from edgekd.plugins import need
from edgekd.students.layers import input_sizes
from edgekd.types import Scalar

PREFIX = "timm:"
LARGEST_STRIDE = 32
"""Networks of a fixed input size cut their input into patches and windows, which must fit; this side fits nearly all of them."""
DOUBLED_UP_TO = 64
"""Pixels. Most of timm's networks halve a picture five times: a small one is worth doubling before."""


class TimmFamily:
    """One architecture of timm; its only axis is the side that pictures are resized to.

    Raises:
        MissingExtraError: with the exact pip command, where timm or its torchvision cannot be imported.
        InputError: for a name that timm does not have.
    """

    def __init__(self, name: str) -> None:
        self.name = name.removeprefix(PREFIX)
        self._timm = timm = _timm(name)
        if not timm.is_model(self.name):
            raise InputError(f"[students] family '{name}': timm has no '{self.name}'" + _suggestion(timm, self.name))
        self.fixed = bool(timm.get_pretrained_cfg(self.name).fixed_input_size)

    def space(self, input_shape: tuple[int, ...]) -> dict[str, tuple[Scalar, ...]]:
        """Input sizes, where pictures are square: what fits a network of fixed size, else three quarters, as it is, and twice."""
        side = input_shape[1]
        if side != input_shape[2]:
            return {}
        if self.fixed:
            return {"input_size": (-(-side // LARGEST_STRIDE) * LARGEST_STRIDE,)}
        return {"input_size": (*input_sizes(input_shape), *((2 * side,) if side <= DOUBLED_UP_TO else ()))}

    def build(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> Any:
        """Raises InputError where timm does not build it for such pictures."""
        size = {"img_size": tuple(input_shape[1:])} if self.fixed else {}
        try:
            return self._timm.create_model(self.name, pretrained=False, num_classes=classes, in_chans=input_shape[0], **size)
        except Exception as error:  # anyone's constructor runs here
            shape = " x ".join(map(str, input_shape))
            raise InputError(f"timm cannot build '{self.name}' for pictures of {shape}: {first_line(error)}") from error


def _timm(name: str) -> Any:
    """The library. A torchvision that was compiled for another torch does not raise ImportError but RuntimeError."""
    what = f"family '{name}'"
    try:
        return need("timm", "timm", what)
    except RuntimeError as error:
        command = 'pip install --force-reinstall torch torchvision "edgekd[timm]"'
        cause = f"{what}: timm cannot be imported ({first_line(error)}): torch and torchvision do not belong together"
        raise MissingExtraError(f"{cause}: {command}") from error


def _suggestion(timm: Any, name: str) -> str:
    """What was meant; of a thousand names no list."""
    found = did_you_mean(name, timm.list_models())
    return found if "did you mean" in found else "; timm.list_models() gives all names"
