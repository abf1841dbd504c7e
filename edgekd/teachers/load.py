"""Find a teacher by what the project says, and load it."""

from pathlib import Path

from edgekd.data import Data, normalise
from edgekd.errors import InputError, did_you_mean
from edgekd.plugins import need
from edgekd.teachers import FeatureRequest
from edgekd.teachers.check import answers
from edgekd.teachers.keras_file import load_keras
from edgekd.teachers.loaded import LoadedTeacher, gives_probabilities, with_logits
from edgekd.teachers.onnx_file import load_onnx

FORMS = ("builtin:digits", "keras:FILE", "module:name", "onnx:FILE")
SAMPLE = 128
"""Validation samples to try a teacher on: enough to tell probabilities from logits, and one runtime's speed from another's."""


def load_teacher(
    model: str, weights: str | None, *, data: Data, base: Path, seed: int, features: FeatureRequest | None = None
) -> LoadedTeacher:
    """The teacher that a project names, in the fastest runtime that is here and agrees.

    A teacher that answers with probabilities is taken: their logarithms are its logits.

    Args:
        model: `module:name`, `onnx:FILE`, `keras:FILE` or `builtin:digits`.
        weights: file with the weights of a `module:name`; None where it brings its own.
        data: what it will be asked about.
        base: folder of the project file, which paths and modules are relative to.
        seed: of a teacher that is trained on the spot.
        features: the feature maps that a loss needs; None for none.

    Raises:
        InputError: where there is no such teacher, its files are missing or broken, or it does not fit the data.
        MissingExtraError: where it needs a package that is not installed.
    """
    kind, _, argument = model.partition(":")
    if not kind or not argument:
        raise InputError(f"teacher '{model}' is not known" + did_you_mean(model, FORMS))
    if weights is not None and kind in ("onnx", "keras", "builtin"):
        raise InputError(f"[teacher] weights is for a model 'module:name'; '{model}' has its own")
    if features is not None and kind in ("onnx", "keras"):
        raise InputError(f"teacher '{model}' shows no feature maps, which a loss of [distill] needs: use a 'module:name' teacher")
    sample = normalise(data.validation.inputs[:SAMPLE], data.contract)
    if kind == "onnx":
        teacher = load_onnx(model, base / argument, data.contract.shape)
    elif kind == "keras":
        teacher = load_keras(model, base / argument, data.contract.shape)
    else:
        need("torch", "train", f"teacher '{model}'")
        from edgekd.teachers.accelerate import accelerate
        from edgekd.teachers.builtin import load_digits_teacher
        from edgekd.teachers.torch_module import load_torch

        if kind == "builtin":
            if argument != "digits":
                raise InputError(f"teacher '{model}' is not known" + did_you_mean(model, FORMS))
            return load_digits_teacher(data, seed, features)
        teacher, tapped = load_torch(model, weights, base, data.contract, features)
        answers(teacher, sample, data.contract)
        teacher = accelerate(teacher, tapped, sample, len(data.train))
    return with_logits(teacher) if gives_probabilities(answers(teacher, sample, data.contract).logits) else teacher
