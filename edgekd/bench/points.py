"""Points that differ in what was named: `threads=2`, `device=pi4`, `graph-optimization=basic`."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekd.bench.jobs import Job
from edgekd.errors import InputError

COUNTS = ("threads", "streams", "batch")
PLACES = ("device", "connect", "target", "inputs")
OPTION = re.compile(r"[a-z][a-z0-9-]{0,39}")
VALUE = re.compile(r"[\x21-\x7e]{1,200}")
MAX_COUNT = 100_000


def read_pair(text: str) -> tuple[str, str]:
    """`KEY=VALUE`. Raises InputError where it is not that."""
    key, equals, value = text.partition("=")
    if not equals or not OPTION.fullmatch(key) or not VALUE.fullmatch(value):
        raise InputError(f"{text[:80]!a} is not of the form key=value, such as threads=2 or graph-optimization=basic")
    return key, value


def varied(job: Job, values: Mapping[str, str]) -> Job:
    """The job with other values: of COUNTS, of PLACES, and everything else an option of the runtime.

    Raises InputError for a count that is none. What options there are is known where the runtime is; it refuses others.
    """
    for key, value in values.items():
        if key in COUNTS:
            count: dict[str, Any] = {key: _count(key, value)}
            job = replace(job, **count) if key == "threads" else replace(job, use=replace(job.use, **count))
        elif key in PLACES:
            place: dict[str, Any] = {key: value}
            job = replace(job, **place)
        else:
            options = {**dict(job.use.options), key: value}
            job = replace(job, use=replace(job.use, options=tuple(sorted(options.items()))))
    return job


def _count(key: str, value: str) -> int:
    if not value.isascii() or not value.isdigit() or not 1 <= int(value[:9]) <= MAX_COUNT:
        raise InputError(f"{key}={value}: expected a whole number from 1")
    return int(value)


def read_side(text: str, job: Job) -> Job:
    """`MODEL` or `MODEL@key=value,key=value`: the job with that model and those values. A file of the whole name comes first."""
    path, at, pairs = text.rpartition("@")
    if not at or os.path.exists(text):  # False, not an error, for a name that is too long
        return replace(job, model=Path(text))
    return varied(replace(job, model=Path(path)), dict(read_pair(pair) for pair in pairs.split(",")))
