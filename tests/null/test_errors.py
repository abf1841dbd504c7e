"""Errors that are meant for the user: an exit code each, and a text of one line."""

import errno
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd import errors
from edgekd.errors import EdgekdError, InputError, StageError, StorageError, did_you_mean, first_line, storage_errors


def kinds() -> list[type[EdgekdError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, EdgekdError)]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """The drawing at the top of the module names every exception with its exit code."""
    drawn = dict(re.findall(r"(\w+Error)\s+(\d+) ", errors.__doc__ or ""))
    assert {kind.__name__: str(kind.exit_code) for kind in kinds()} == drawn


def test_exit_codes_are_the_pinned_ones() -> None:
    """Scripts depend on them."""
    pinned = {"EdgekdError": 1, "InputError": 2, "InfeasibleError": 3, "MissingExtraError": 4, "DeviceError": 5}
    pinned |= {"NothingPassedError": 6, "StageError": 6, "StorageError": 7}
    assert {kind.__name__: kind.exit_code for kind in kinds()} == pinned


@pytest.mark.parametrize(("typed", "meant"), [("latncy_ms", "latency_ms"), ("onxruntime", "onnxruntime"), ("w8a9", "w8a8")])
def test_the_nearest_name_is_offered(typed: str, meant: str) -> None:
    """A slip of the finger is answered with the name that was meant."""
    assert did_you_mean(typed, ["latency_ms", "onnxruntime", "w8a8", "other"]) == f" (did you mean '{meant}'?)"


def test_without_a_near_name_all_are_listed() -> None:
    """What resembles nothing is answered with what there is, sorted; nothing with nothing."""
    assert did_you_mean("zzz", {"mbconv": 1, "cnn": 2}) == " (there is: cnn, mbconv)"
    assert did_you_mean("zzz", []) == ""


@given(st.text())
def test_the_first_line_is_one_short_line(text: str) -> None:
    """A vendor's pages become one line of at most 300 characters, never an empty one."""
    line = first_line(ValueError(text))
    assert len(line) <= 300
    assert len(line.splitlines()) == 1


def test_a_stage_error_keeps_its_parts() -> None:
    """The pipeline makes a Failure of stage, cause and hint; the text has all three."""
    error = StageError("convert", "no such operator", "use another")
    assert (error.stage, error.cause, error.hint) == ("convert", "no such operator", "use another")
    assert str(error) == "convert: no such operator (use another)"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_the_systems_refusal_to_write_is_a_storage_error(number: int) -> None:
    """A full disk, a read-only one and a forbidden folder say what was being written."""
    with pytest.raises(StorageError, match=r"cannot write the report: .*; free some space"), storage_errors("the report"):
        raise OSError(number, "as the system says it")


def test_other_errors_pass_storage_errors() -> None:
    """What is no refusal to write stays what it is."""
    with pytest.raises(InputError), storage_errors("x"):
        raise InputError("other")
