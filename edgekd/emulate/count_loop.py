"""Run a model's queries between marks: `python count_loop.py job.json`, where QEMU's plugin (`roi.c`) counts instructions.

Pushed beside a target's `runner.py` and the harness's `feeding.py`: standard library + numpy, Python 3.8 syntax. Job: model
(file name, in this folder), runner (module name), seed, inputs, samples, batch (as the harness's), warmup_queries, queries.
Marks: 1, `queries` queries, 2, as many again, 3. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import platform
import sys

MARK = 0x5A5A00
WHERE = os.path.dirname(os.path.abspath(__file__))


def mark(number: int) -> None:
    """A system call that the plugin sees; it fails everywhere, and does nothing."""
    with contextlib.suppress(OSError):
        os.getpgid(MARK | number)


def main(job_file: str) -> None:
    sys.path.insert(0, WHERE)
    import feeding

    with open(job_file) as stream:
        job = json.load(stream)
    runner = importlib.import_module(job["runner"])
    model = runner.load(os.path.join(WHERE, job["model"]), 1)
    batches = feeding.make_batches(model.inputs, job, WHERE)
    fed = [batches[i % len(batches)] for i in range(job["queries"])]
    for arrays in (batches * job["warmup_queries"])[: job["warmup_queries"]]:
        model.run(arrays)
    gc.collect()
    gc.disable()  # when it runs depends on what was imported
    mark(1)
    for arrays in fed:
        model.run(arrays)
    mark(2)
    for arrays in fed:
        model.run(arrays)
    mark(3)
    reply = {"cpu": os.environ.get("QEMU_CPU", ""), "machine": platform.machine(), "versions": runner.version()}
    print(json.dumps(reply))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
