"""Sources are found by name; users' own are called; what is not known is said with a guess."""

from pathlib import Path

import numpy as np
import pytest

from edgekd.data.settings import DataSettings
from edgekd.data.sources import augment_of, load_data
from edgekd.data.views import Augment
from edgekd.errors import InputError

MODULE = """
import numpy as np
from edgekd.data.settings import DataSettings
from edgekd.data.splits import Samples, split
from pathlib import Path

x, y = np.zeros((50, 1, 4, 4), np.uint8), np.arange(50) % 2

def arrays():
    return {"x": x, "y": y}

def data():
    samples = Samples(name="mine", inputs=x, labels=y, classes=("a", "b"), value_max=255.0)
    return split(samples, DataSettings(source="mine", validation=0.5), Path())

def wrong():
    return [x, y]

def broken():
    return x[100]

value = 3
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a module of sources and an .npz."""
    (tmp_path / "mine.py").write_text(MODULE)
    np.savez(tmp_path / "a.npz", x=np.zeros((50, 3), np.float32), y=np.arange(50) % 5)
    return tmp_path


def test_npz_beside_the_project(project: Path) -> None:
    """Files are relative to the project's folder."""
    data = load_data(DataSettings(source="npz:a.npz"), base=project)
    assert (len(data.train), len(data.validation), len(data.test)) == (36, 4, 10)
    assert (data.contract.shape, data.contract.classes) == ((3,), ("0", "1", "2", "3", "4"))


def test_users_arrays_are_split(project: Path) -> None:
    """A dict of arrays is treated like an .npz."""
    assert len(load_data(DataSettings(source="mine:arrays"), base=project).test) == 10


def test_users_data_is_taken_as_it_is(project: Path) -> None:
    """`Data` comes with its own splits."""
    data = load_data(DataSettings(source="mine:data"), base=project)
    assert (data.name, len(data.train), len(data.validation)) == ("mine", 20, 20)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("fashionmnist", "did you mean 'fashion-mnist'"),
        ("nowhere-such-data", "is not known"),
        ("", "is not known"),
        ("npz:", "did you mean 'npz:FILE'"),
        ("npz:none.npz", "does not exist"),
        ("images:none", "does not exist"),
        ("nosuchmodule:load", "no module 'nosuchmodule'"),
        ("mine:aray", "has no 'aray'"),
        ("mine:wrong", "returned list, expected edgekd.data.Data or a dict of arrays"),
        ("mine:broken", "failed: IndexError"),
        ("mine:value", "is int, expected a function"),
    ],
)
def test_wrong_sources_are_refused(project: Path, source: str, message: str) -> None:
    """In one line, with the nearest name or the cause."""
    with pytest.raises(InputError, match=message) as caught:
        load_data(DataSettings(source=source), base=project)
    assert "\n" not in str(caught.value)


def test_settings_of_other_sources_are_refused(project: Path) -> None:
    """`size` and `dir` mean nothing to most sources: they are not passed over in silence."""
    with pytest.raises(InputError, match="size is for source 'images:DIR'"):
        load_data(DataSettings(source="npz:a.npz", size=(4, 4)), base=project)
    with pytest.raises(InputError, match="dir is for source 'fashion-mnist'"):
        load_data(DataSettings(source="npz:a.npz", dir="d"), base=project)


def test_augmentation_is_the_sources_unless_told() -> None:
    """Each source has what suits it; the project overrules either part."""
    assert augment_of(DataSettings(source="fashion-mnist")) == Augment(shift=2, flip=True)
    assert augment_of(DataSettings(source="digits")) == Augment(shift=1, flip=False)
    assert augment_of(DataSettings(source="npz:a.npz")) == Augment(shift=0, flip=False)
    assert augment_of(DataSettings(source="images:d", flip=True)) == Augment(shift=2, flip=True)
    assert augment_of(DataSettings(source="fashion-mnist", shift=0, flip=False)) == Augment()
