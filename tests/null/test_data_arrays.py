"""`npz:FILE`: arrays of all usual forms are taken, and what is wrong with others is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.data.arrays import from_arrays
from edgekd.data.npz import load_npz
from edgekd.errors import InputError

X = np.arange(6 * 4, dtype=np.float32).reshape(6, 4)
Y = np.array([0, 1, 2, 0, 1, 2])


def test_grey_pictures_get_a_channel() -> None:
    """(N, H, W) of bytes becomes (N, 1, H, W), from 0 to 255."""
    found = from_arrays("a", {"x": np.zeros((6, 5, 7), np.uint8), "y": Y})
    assert (found.inputs.shape, found.inputs.dtype, found.value_max) == ((6, 1, 5, 7), np.uint8, 255.0)
    assert found.test is None


def test_numbers_are_taken_as_they_are() -> None:
    """Doubles and integers become float32, with 1 as the largest value."""
    for dtype in (np.float64, np.int32):
        found = from_arrays("a", {"x": X.astype(dtype), "y": Y.astype(np.uint8)})
        assert (found.inputs.dtype, found.labels.dtype, found.value_max) == (np.float32, np.int64, 1.0)
        np.testing.assert_array_equal(X, found.inputs)


def test_own_test_set_and_names() -> None:
    """x_test and y_test are the test set; `classes` names the classes."""
    arrays = {"x_train": X, "y_train": Y, "x_test": X[:2], "y_test": Y[:2], "classes": ["red", "green", "blue"]}
    found = from_arrays("a", arrays)
    assert found.classes == ("red", "green", "blue")
    assert found.test is not None
    np.testing.assert_array_equal(X[:2], found.test[0])


NAN = X.copy()
NAN[3, 1] = np.nan
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"x": NAN, "y": Y}, "x has NaN or infinite values, the first in sample 3"),
    ({"x": np.full((6, 4), 1e300), "y": Y}, "NaN or infinite"),
    ({"x": X, "y": np.array([0, 1, 2, 0, 1, -1])}, "label -1, expected 0 to 2"),
    ({"x": X, "y": np.array([0, 1, 3, 0, 1, 3])}, "no training sample of class 2"),
    ({"x": X, "y": Y, "classes": ["a", "b"]}, "label 2, expected 0 to 1"),
    ({"x": X, "y": np.array([0, 1, 2, 0, 1, 10**12])}, "label 1000000000000, expected"),
    ({"x": X, "y": np.zeros(6, int)}, "one class only"),
    ({"x": X, "y": Y.astype(float)}, "y is float64 of shape .*expected integers"),
    ({"x": X, "y": Y[:5]}, "x has 6 samples, y has 5 labels"),
    ({"x": X, "y": np.eye(6, dtype=int)}, "expected integers of shape"),
    ({"x": X[:0], "y": Y[:0]}, "x is empty"),
    ({"x": X[:, 0], "y": Y}, "x has shape .*expected .N, C, H, W"),
    ({"x": np.zeros((6, 32, 32, 3), np.uint8), "y": Y}, "channels come first"),
    ({"x": np.array(["a"] * 6), "y": Y}, "expected numbers"),
    ({"x": X}, "no array 'y'"),
    ({"x_trian": X, "y_train": Y}, "array 'x_trian' .did you mean 'x_train'"),
    ({"x_train": X, "y_train": Y, "x_test": X[:, :2], "y_test": Y}, "samples of x_test are .*expected"),
    ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, "label 3, expected 0 to 2"),
    ({"x_train": X, "y_train": Y, "x_test": X}, "no array 'y_test'"),
    ({"x": X, "y": Y, "classes": ["a", "a", "b"]}, "distinct texts"),
]


@pytest.mark.parametrize(("arrays", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_arrays_are_refused(arrays: dict[str, Any], message: str) -> None:
    """One line says which array, what was expected and what was found."""
    with pytest.raises(InputError, match=message) as caught:
        from_arrays("a.npz", arrays)
    assert "\n" not in str(caught.value)


def test_npz_is_read(tmp_path: Path) -> None:
    """What np.savez wrote comes back, compressed or not."""
    for name, save in (("a.npz", np.savez), ("b.npz", np.savez_compressed)):
        save(tmp_path / name, x=X, y=Y)
        np.testing.assert_array_equal(X, load_npz(tmp_path / name).inputs)


def test_npz_never_unpickles(tmp_path: Path) -> None:
    """An archive with pickled objects is refused before anything in it runs."""
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (ran,))

    np.savez(tmp_path / "bomb.npz", x=np.array([Bomb()], dtype=object), y=Y)
    with pytest.raises(InputError, match=r"not a whole \.npz of plain arrays"):
        load_npz(tmp_path / "bomb.npz")
    assert not ran.exists()


@pytest.mark.parametrize("keep", [0, 10, 200, -30])
def test_a_cut_npz_is_refused(tmp_path: Path, keep: int) -> None:
    """A file that was cut off anywhere is an InputError."""
    np.savez(tmp_path / "whole.npz", x=X, y=Y)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:keep])
    with pytest.raises(InputError, match=r"not a whole \.npz"):
        load_npz(tmp_path / "cut.npz")


def test_other_files_are_refused(tmp_path: Path) -> None:
    """A single array and a missing file have messages of their own."""
    np.save(tmp_path / "one.npy", X)
    with pytest.raises(InputError, match="holds a single array"):
        load_npz(tmp_path / "one.npy")
    with pytest.raises(InputError, match="does not exist"):
        load_npz(tmp_path / "none.npz")
