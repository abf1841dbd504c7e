"""Find a data source by name, load it, split it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgekd.data import Data
from edgekd.data.arrays import from_arrays
from edgekd.data.digits import load_digits
from edgekd.data.fashion_mnist import load_fashion_mnist
from edgekd.data.images import load_images
from edgekd.data.npz import load_npz
from edgekd.data.settings import DataSettings
from edgekd.data.splits import Samples, split
from edgekd.data.views import Augment
from edgekd.errors import EdgekdError, InputError, did_you_mean, first_line
from edgekd.plugins import load_attribute

KNOWN = ("digits", "fashion-mnist", "npz:FILE", "images:DIR", "module:name")
AUGMENT = {"digits": Augment(shift=1), "fashion-mnist": Augment(shift=2, flip=True), "images": Augment(shift=2)}
"""By source. Of arrays and users' own sources nothing is known: they are left as they are."""


def load_data(settings: DataSettings, *, base: Path) -> Data:
    """The three splits of the source that a project names.

    Args:
        settings: the project's `[data]` table.
        base: folder of the project file, which paths and modules are relative to.

    Raises:
        InputError: where the source is not known, its files are missing or broken, or its samples make no sense.
        MissingExtraError: where the source needs a package that is not installed.
    """
    kind, _, argument = settings.source.partition(":")
    if settings.size is not None and kind != "images":
        raise InputError(f"[data] size is for source 'images:DIR', not for '{settings.source}'")
    if settings.dir is not None and kind != "fashion-mnist":
        raise InputError(f"[data] dir is for source 'fashion-mnist', not for '{settings.source}'")
    if kind in ("digits", "fashion-mnist") and not argument:
        folder = None if settings.dir is None else base / settings.dir
        samples = load_digits() if kind == "digits" else load_fashion_mnist(folder)
    elif kind == "npz" and argument:
        samples = load_npz(base / argument)
    elif kind == "images" and argument:
        samples = load_images(base / argument, settings.size)
    elif kind and argument:
        loaded = _load_users(settings.source, base)
        if isinstance(loaded, Data):
            return loaded
        samples = loaded
    else:
        raise InputError(f"data source '{settings.source}' is not known" + did_you_mean(settings.source, KNOWN))
    return split(samples, settings, base)


def augment_of(settings: DataSettings) -> Augment:
    """How the pictures are varied for training: the project's word, or what suits the source."""
    chosen = AUGMENT.get(settings.source.partition(":")[0], Augment())
    if settings.shift is not None:
        chosen = replace(chosen, shift=settings.shift)
    if settings.flip is not None:
        chosen = replace(chosen, flip=settings.flip)
    return chosen


def _load_users(reference: str, base: Path) -> Data | Samples:
    """What the user's function returns: `Data`, taken as it is, or a dict of arrays as in `npz:FILE`, to be split here."""
    function = load_attribute(reference, base)
    if not callable(function):
        raise InputError(f"data source '{reference}' is {type(function).__name__}, expected a function without arguments")
    try:
        found = function()
    except EdgekdError:
        raise
    except Exception as error:  # the user's own code may raise anything
        raise InputError(f"data source '{reference}' failed: {type(error).__name__}: {first_line(error)}") from error
    if isinstance(found, Data):
        return found
    if isinstance(found, Mapping):
        return from_arrays(reference, found)
    raise InputError(f"data source '{reference}' returned {type(found).__name__}, expected edgekd.data.Data or a dict of arrays")
