"""Teacher `keras:FILE`: a model that Keras 3 saved as `.keras`, made of Keras's own layers.

Loading a Keras file can run code of the file's: Lambda layers, functions named by module, layers that read other files.
Keras's `safe_mode` has been got around more than once (CVE-2025-1550, CVE-2025-9905, CVE-2025-12058), so the description
in the archive is read and judged here before Keras sees it, and HDF5 files are not taken at all.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import InputError, first_line
from edgekd.plugins import need, reading
from edgekd.quiet import quiet
from edgekd.teachers import TeacherOutputs
from edgekd.teachers.layout import in_layout, layout_of
from edgekd.teachers.loaded import LoadedTeacher

MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
MODULES = ("keras", "keras.initializers", "keras.regularizers", "keras.constraints", "keras.activations", "keras.layers")
MODULE_PREFIXES = ("keras.src.models.", "keras.src.ops.")
PLAIN = ("__keras_tensor__", "__tuple__")
"""What Keras writes without a module: a place in the graph, a tuple."""
REFUSED = (
    "Lambda",
    "TFSMLayer",
    "TorchModuleWrapper",
    "JaxLayer",
    "FlaxLayer",
    "StringLookup",
    "IntegerLookup",
    "TextVectorization",
)
"""Layers of Keras's own that run code from the file, or that read other files."""
LARGEST_CONFIG_BYTES = 1 << 26


def load_keras(name: str, file: Path, shape: tuple[int, ...]) -> LoadedTeacher:
    """The model in `file` for samples of `shape`; channels last, unless it was built the other way round.

    Raises InputError where the file is damaged, holds anything that could run code, or takes other inputs.
    """
    if file.suffix != ".keras":
        raise InputError(
            f"teacher file {file} must be a .keras: open it in Keras 3 and save it so with model.save('teacher.keras')"
        )
    _judge(file)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reads it once, when it is imported
    with quiet():
        need("tensorflow", "keras", "a teacher 'keras:FILE'")
    import keras

    with reading(file, f"a model by Keras {keras.__version__}"):
        model = keras.saving.load_model(file, compile=False, safe_mode=True)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        found = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise InputError(f"teacher {name} has {found}, expected one of each")
    layout = layout_of(name, model.inputs[0].shape[1:], shape)

    def answer(inputs: NDArray[np.float32]) -> TeacherOutputs:
        return TeacherOutputs(logits=np.asarray(model.predict_on_batch(in_layout(inputs, layout)), np.float32))

    return LoadedTeacher(
        name=name,
        params=int(sum(np.prod(weight.shape) for weight in model.trainable_weights)),
        fingerprint=hashlib.sha256(file.read_bytes()).hexdigest(),
        runtime=f"keras ({keras.backend.backend()})",
        answer=answer,
    )


def _judge(file: Path) -> None:
    """Raise InputError unless the archive holds a description of Keras's own harmless objects, and weights."""
    for item in _objects(_description(file)):
        module, kind = item.get("module"), item["class_name"]
        own = module in MODULES or (isinstance(module, str) and module.startswith(MODULE_PREFIXES))
        if not (own or (module is None and kind in PLAIN)) or kind in REFUSED:
            shown = f"{module}.{kind}" if module else kind
            raise InputError(
                f"{file} has a '{shown}', which could run code or read files: only Keras's own plain layers are taken"
            )


def _description(file: Path) -> Any:
    try:
        with zipfile.ZipFile(file) as archive:
            extra = sorted(set(archive.namelist()) - MEMBERS)
            if extra:
                raise InputError(f"{file} holds '{extra[0]}', expected {', '.join(sorted(MEMBERS))} only")
            if archive.getinfo("config.json").file_size > LARGEST_CONFIG_BYTES:
                raise InputError(f"{file} has a description of more than {LARGEST_CONFIG_BYTES:,} bytes")
            return json.loads(archive.read("config.json"))
    except FileNotFoundError as error:
        raise InputError(f"teacher file {file} does not exist") from error
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, RecursionError) as error:
        raise InputError(f"{file} is not a whole .keras file: {first_line(error)}") from error


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every description of an object, wherever it is nested."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if "class_name" in item:
                yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
