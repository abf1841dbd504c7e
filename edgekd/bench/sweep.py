"""Every combination of what was named, measured one by one: threads, batches, runtime options, models, devices."""

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

from edgekd.bench.jobs import Job
from edgekd.bench.points import read_pair, varied
from edgekd.errors import DeviceError, EdgekdError, InputError, MissingExtraError, first_line

MAX_POINTS = 500

Record = dict[str, Any]
Axes = dict[str, list[str]]


def read_axes(texts: Sequence[str]) -> Axes:
    """`threads=1,2`: a key with its values. Raises InputError where it is not that, or a key or value comes twice."""
    axes: Axes = {}
    for text in texts:
        key, values = read_pair(text)
        axis = values.split(",")
        if key in axes or len(set(axis)) < len(axis) or "" in axis:
            raise InputError(f"--sweep {text[:80]!a}: expected each key once, and different values: threads=1,2")
        axes[key] = axis
    return axes


def points(jobs: Sequence[Job], axes: Axes) -> list[tuple[dict[str, str], Job]]:
    """What each point is called and its job: all combinations, for each of the models. Raises InputError for too many."""
    combined = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    if len(combined) * len(jobs) > MAX_POINTS:
        raise InputError(f"the sweep has {len(combined) * len(jobs)} points, expected at most {MAX_POINTS}")
    several = len(jobs) > 1
    return [
        ({**({"model": str(job.model)} if several else {}), **values}, varied(job, values)) for job in jobs for values in combined
    ]


def sweep(
    jobs: Sequence[Job],
    axes: Axes,
    measure: Callable[[Job], Record] = Job.measure,
    told: Callable[[int, int, Record], None] = lambda done, of, record: None,
    seed: int = 0,
) -> list[Record]:
    """The records of all points, in the order of their names, each with its `point`.

    They are measured in an order drawn at random, so that a machine that grows warm or busy does not look like an axis.
    A point that cannot be measured is a record with `failure`: what went wrong. `told` hears of each as it ends.

    Raises:
        EdgekdError: the first failure, where no point could be measured.
    """
    asked = points(jobs, axes)
    found: dict[int, Record] = {}
    failures: list[EdgekdError] = []
    for number in random.Random(seed).sample(range(len(asked)), len(asked)):
        point, job = asked[number]
        try:
            record = measure(job)
        except (InputError, DeviceError, MissingExtraError) as error:
            record = {"artifact": str(job.model), "device": job.device, "failure": first_line(error)}
            failures.append(error)
        found[number] = {"point": point, **record}
        told(len(found), len(asked), found[number])
    if len(failures) == len(asked):
        raise failures[0]
    return [found[number] for number in range(len(asked))]
