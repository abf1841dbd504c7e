"""`keras:FILE`: Keras's own layers are run; whatever could run code of the file's own is refused before Keras sees it."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras")

from edgekd.errors import InputError  # noqa: E402
from edgekd.teachers.keras_file import load_keras  # noqa: E402
from edgekd.teachers.loaded import gives_probabilities  # noqa: E402

INPUTS = np.random.default_rng(0).normal(size=(5, 2, 6, 7)).astype(np.float32)


def network(layers: list[Any]) -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.layers.Input((6, 7, 2)), *layers])


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small convolutional network with a softmax."""
    layers = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.BatchNormalization()]
    layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, activation="softmax")]
    file = tmp_path_factory.mktemp("keras") / "m.keras"
    network(layers).save(file)
    return file


def test_answers_are_keras_own(saved: Path) -> None:
    """Channels are turned last; parameters are the trainable ones; the answers are those of the model."""
    teacher = load_keras("t", saved, (2, 6, 7))
    expected = keras.saving.load_model(saved).predict(np.moveaxis(INPUTS, 1, -1), verbose=0)
    found = teacher.outputs(INPUTS).logits
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert gives_probabilities(found)
    assert teacher.params == 4 * 2 * 9 + 4 + 8 + 4 * 3 + 3


def test_functional_models_are_taken(tmp_path: Path) -> None:
    """A graph with a sum and an operation of Keras's own."""
    inputs = keras.Input((6, 7, 2))
    turned = keras.layers.Conv2D(2, 3, padding="same")(inputs)
    outputs = keras.layers.Dense(3)(keras.layers.Flatten()(keras.ops.relu(turned + inputs)))
    keras.Model(inputs, outputs).save(tmp_path / "m.keras")
    assert load_keras("t", tmp_path / "m.keras", (2, 6, 7)).outputs(INPUTS).logits.shape == (5, 3)


def test_other_shapes_are_refused(saved: Path) -> None:
    """Both shapes are in the message."""
    with pytest.raises(InputError, match=r"takes samples of shape \(6, 7, 2\), those of the data are \(1, 8, 8\)"):
        load_keras("t", saved, (1, 8, 8))


def test_lambda_layers_are_refused(tmp_path: Path) -> None:
    """A Lambda layer holds code."""
    network([keras.layers.Lambda(lambda x: x * 2), keras.layers.Flatten(), keras.layers.Dense(3)]).save(tmp_path / "m.keras")
    with pytest.raises(InputError, match=r"has a 'keras\.layers\.Lambda', which could run code"):
        load_keras("t", tmp_path / "m.keras", (2, 6, 7))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("activation", {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"}),
        ("activation", {"class_name": "__lambda__", "config": {"value": "4wAA"}}),
        ("kernel_initializer", {"module": "os", "class_name": "system", "config": {}, "registered_name": None}),
        ("kernel_initializer", {"module": "keras.utils", "class_name": "get_file", "config": {}, "registered_name": None}),
        ("kernel_initializer", {"module": None, "class_name": "Mine", "config": {}, "registered_name": "mine>Mine"}),
        ("kernel_initializer", {"module": ["keras"], "class_name": "Zeros", "config": {}, "registered_name": None}),
    ],
)
def test_what_names_code_is_refused(saved: Path, tmp_path: Path, key: str, value: Any) -> None:
    """Functions and objects of other modules, wherever they stand in the description."""
    with zipfile.ZipFile(saved) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    description = json.loads(members["config.json"])
    description["config"]["layers"][1]["config"][key] = value
    members["config.json"] = json.dumps(description).encode()
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match=f"{value['class_name']}', which could run code"):
        load_keras("t", tmp_path / "m.keras", (2, 6, 7))


def test_other_files_are_refused(saved: Path, tmp_path: Path) -> None:
    """HDF5, members that do not belong, cut files, missing ones: one line each."""
    extra, cut = tmp_path / "extra.keras", tmp_path / "cut.keras"
    extra.write_bytes(saved.read_bytes())
    with zipfile.ZipFile(extra, "a") as archive:
        archive.writestr("../evil.py", "")
    cut.write_bytes(saved.read_bytes()[:-200])
    cases = [(tmp_path / "m.h5", "must be a .keras"), (extra, "holds '../evil.py'"), (cut, "not a whole .keras")]
    for file, message in [*cases, (tmp_path / "none.keras", "does not exist")]:
        with pytest.raises(InputError, match=message) as caught:
            load_keras("t", file, (2, 6, 7))
        assert "\n" not in str(caught.value)
