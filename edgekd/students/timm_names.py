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
        """Input sizes, where pictures are square: what fits a network of fixed size, else three quarters, as it is, and twice.

        Sizes at which the network does not answer are left out. Raises InputError where it does at none.
        """
        side = input_shape[1]
        sizes: tuple[int, ...] = (*input_sizes(input_shape), *((2 * side,) if side <= DOUBLED_UP_TO else ()))
        if side != input_shape[2]:
            sizes = ()
        elif self.fixed:
            sizes = (-(-side // LARGEST_STRIDE) * LARGEST_STRIDE,)
        found = tuple(size for size in sizes if self._refusal((input_shape[0], size, size)) is None)
        if not found:
            refusal = self._refusal((input_shape[0], sizes[-1], sizes[-1]) if sizes else input_shape)
            if refusal is not None:
                raise refusal
        return {"input_size": found} if sizes else {}

    def _refusal(self, shape: tuple[int, ...]) -> InputError | None:
        """Why the network does not answer for pictures of this shape; tried without memory for its weights."""
        import torch

        try:
            with torch.device("meta"), torch.no_grad():
                self.build({}, shape, 2).eval()(torch.zeros(1, *shape))
        except InputError as error:
            return error
        except Exception as error:  # anyone's network runs here
            return self._cannot("take", shape, error)
        return None

    def _cannot(self, verb: str, shape: tuple[int, ...], error: Exception) -> InputError:
        sides = " x ".join(map(str, shape))
        return InputError(f"[students] family '{PREFIX}{self.name}' cannot {verb} pictures of {sides}: {first_line(error)}")

    def build(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> Any:
        """Raises InputError where timm does not build it for such pictures."""
        size = {"img_size": tuple(input_shape[1:])} if self.fixed else {}
        try:
            return self._timm.create_model(self.name, pretrained=False, num_classes=classes, in_chans=input_shape[0], **size)
        except Exception as error:  # anyone's constructor runs here
            raise self._cannot("be built for", input_shape, error) from error


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
