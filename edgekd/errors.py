"""Exceptions whose message is meant for the user, and the exit code that each one ends a command with.

    EdgekdError                1   something edgekd itself got wrong
    ├── InputError             2   usage, project file, data, teacher, model file
    ├── InfeasibleError        3   no candidate can meet a budget
    ├── MissingExtraError      4   a needed extra is not installed
    ├── DeviceError            5   a device was lost, or its run failed
    ├── NothingPassedError     6   every trial failed, or no artifact passed verification
    ├── StorageError           7   a folder cannot be written, a disk is full
    └── StageError             6   one stage of one trial failed; the pipeline turns it into a `Failure`

Messages follow one form: what it is about, what was expected, what was found, what to do. One or two lines.
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class EdgekdError(Exception):
    """Base of all errors that reach the user without a traceback."""

    exit_code = 1


class InputError(EdgekdError):
    exit_code = 2


class InfeasibleError(EdgekdError):
    exit_code = 3


class MissingExtraError(EdgekdError):
    exit_code = 4


class DeviceError(EdgekdError):
    exit_code = 5


class NothingPassedError(EdgekdError):
    exit_code = 6


class StorageError(EdgekdError):
    exit_code = 7


class StageError(EdgekdError):
    """A stage (convert, quantize, verify, …) failed for one candidate; `hint` says what the user can do about it."""

    exit_code = 6

    def __init__(self, stage: str, cause: str, hint: str = "") -> None:
        super().__init__(f"{stage}: {cause}" + (f" ({hint})" if hint else ""))
        self.stage, self.cause, self.hint = stage, cause, hint


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"`, or the list of what there is, to append to an error message."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f" (there is: {', '.join(known)})" if known else ""


def first_line(error: BaseException, limit: int = 300) -> str:
    """The first non-empty line of an error's text, cut to `limit` characters: vendors' messages run over pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:limit]


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn the operating system's refusal to write into a `StorageError` that names `what` was being written."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {what}: {error.strerror or error}; free some space or choose another --out") from error
