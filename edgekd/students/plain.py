"""Anybody's network as a family: what `module:name` may refer to besides a family."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from edgekd.errors import InputError, first_line
from edgekd.students import Family
from edgekd.types import Scalar

SHAPE = ("input_shape",)
CLASSES = ("classes", "num_classes", "n_classes", "num_labels")
CHANNELS = ("in_chans", "in_channels", "channels")
"""Names by which functions and classes take (C, H, W), the number of classes, and C."""
EXPECTED = (
    "expected a family (with `space` and `build`), or a function or class that makes a network from `input_shape` and `classes`"
)


def as_family(found: Any, reference: str) -> Family:
    """What `reference` refers to as a family. Raises InputError where it is none and makes none."""
    if inspect.isclass(found) and _is_family(found):
        try:
            found = found()
        except Exception as error:  # the user's own code runs here and may raise anything
            raise InputError(f"'{reference}' cannot be made without arguments: {first_line(error)}") from error
    if _is_family(found):
        family: Family = found
        return family
    if not (inspect.isclass(found) or inspect.isroutine(found)):
        hint = "; give its class, or a function" if hasattr(found, "state_dict") else ""
        raise InputError(f"'{reference}' is a {type(found).__name__}, {EXPECTED}{hint}")
    return PlainFamily(found, reference)


def _is_family(found: Any) -> bool:
    return callable(getattr(found, "space", None)) and callable(getattr(found, "build", None))


class PlainFamily:
    """A function or class that makes a network. Each of its parameters with a default that is a number, text or truth value is
    an axis with that one value; `[students.axes]` gives others.

    Raises:
        InputError: where it cannot be told the number of classes, or wants what edgekd does not know.
    """

    def __init__(self, make: Callable[..., Any], reference: str) -> None:
        self._make, self._reference = make, reference
        try:
            parameters = inspect.signature(make).parameters
        except (ValueError, TypeError) as error:
            raise InputError(f"'{reference}' does not tell its parameters, {EXPECTED}") from error
        named = [name for name, each in parameters.items() if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)]
        open_ended = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        self._shape = next((name for name in SHAPE if name in named), None)
        self._channels = next((name for name in CHANNELS if name in named), None)
        # torchvision's functions hand what they do not know on to a class that calls it so
        self._classes = next((name for name in CLASSES if name in named), "num_classes" if open_ended else None)
        if self._classes is None:
            raise InputError(f"'{reference}' takes no number of classes, {EXPECTED}")
        own = {name: parameters[name].default for name in named if name not in (self._shape, self._channels, self._classes)}
        for name, default in own.items():
            if default is inspect.Parameter.empty:
                raise InputError(f"'{reference}' wants '{name}', which has no default: {EXPECTED}")
        self._axes = {name: (default,) for name, default in own.items() if isinstance(default, str | int | float)}

    def space(self, input_shape: tuple[int, ...]) -> dict[str, tuple[Scalar, ...]]:
        return dict(self._axes)

    def build(self, params: Mapping[str, Scalar], input_shape: tuple[int, ...], classes: int) -> Any:
        """Raises InputError where that fails or makes no network."""
        from torch import nn

        given = {self._shape: tuple(input_shape), self._channels: input_shape[0], self._classes: classes}
        try:
            network = self._make(**params, **{name: value for name, value in given.items() if name is not None})
        except Exception as error:  # anyone's code runs here
            cause = f"{type(error).__name__}: {first_line(error)}"
            raise InputError(f"'{self._reference}' made no network with {dict(params)}: {cause}") from error
        if not isinstance(network, nn.Module):
            raise InputError(f"'{self._reference}' made a {type(network).__name__}, expected a torch.nn.Module")
        return network
