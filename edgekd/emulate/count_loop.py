"""Run a model's queries between marks: `python count_loop.py job.json`, where QEMU's plugin (`roi.c`) counts instructions.

Pushed beside a target's `runner.py` and the harness, whose job and ways of loading it takes: standard library + numpy, Python
3.8 syntax. Marks: 1, `queries` queries, 2, as many again, 3. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import os
import platform
import sys
from collections.abc import Iterable
from typing import Any

import harness

MARK = 0x5A5A00
HERE = os.path.dirname(os.path.abspath(__file__))


def mark(number: int) -> None:
    """A system call that the plugin sees; it fails everywhere, and does nothing."""
    with contextlib.suppress(OSError):
        os.getpgid(MARK | number)


def main(job_file: str) -> None:
    with open(job_file) as stream:
        job = json.load(stream)
    versions = harness.import_runtime(job["runner"])
    (model,), batches = harness.load_all(HERE, job)
    fed = list(itertools.islice(itertools.cycle(batches), job["queries"]))
    run_all(model, itertools.islice(itertools.cycle(batches), job["warmup_queries"]))
    gc.collect()
    gc.disable()  # when it runs depends on what was imported
    mark(1)
    run_all(model, fed)
    mark(2)
    run_all(model, fed)
    mark(3)
    reply = {"cpu": os.environ.get("QEMU_CPU", ""), "machine": platform.machine(), "versions": versions}
    print(json.dumps(reply))  # noqa: T201


def run_all(model: Any, batches: Iterable[list[Any]]) -> None:
    for arrays in batches:
        model.run(arrays)


if __name__ == "__main__":
    main(sys.argv[1])
