"""Run one measuring job beside a target's `runner.py`, on the device: `python harness.py job.json`.

Pushed to devices as it is: standard library + numpy, Python 3.8 syntax, nothing of edgekd. The only line on stdout is
one JSON document; whatever runtimes print goes to stderr. On failure the document is {"error", "stage"} and the exit
code is 1. `stage` is `import` (the runtime), `load` (the model file) or `run`.

Job: mode (`empty`, `memory`, `latency`), model (file name, in this folder), threads, seed, inputs (null: random, or
.npy file names), warmup_queries, queries (exact, or null), min_queries, max_queries, min_seconds, max_seconds.
"""

from __future__ import annotations

import ctypes
import gc
import glob
import json
import os
import platform
import sys
import time
from typing import Any, Callable

SCHEMA = "edgekd.reply/1"
PAGE = 4096
MEMORY_QUERIES = 3  # runtimes plan and fill their arenas in the first query; two more show that it stays there


class JobError(Exception):
    """A failure to report: `stage` says where."""

    def __init__(self, stage: str, error: object) -> None:
        text = str(error).strip() or type(error).__name__
        super().__init__(text)
        self.stage = stage


def main(job_file: str) -> int:
    reply_to = os.dup(1)
    os.dup2(2, 1)
    try:
        reply, code = perform(job_file), 0
    except JobError as error:
        reply, code = {"schema": SCHEMA, "error": str(error)[:2000], "stage": error.stage}, 1
    with os.fdopen(reply_to, "w") as stream:
        stream.write(json.dumps(reply) + "\n")
    return code


def perform(job_file: str) -> dict[str, Any]:
    """The reply to a job. Raises JobError."""
    here = os.path.dirname(os.path.abspath(__file__))
    with open(job_file) as stream:
        job = json.load(stream)
    versions = import_runtime(here)
    if job["mode"] != "latency":
        settle_libraries()
    reply = {"schema": SCHEMA, "mode": job["mode"], "versions": versions, "machine": static_facts()}
    if job["mode"] != "empty":
        model = attempt("load", load, here, job)
        arrays = attempt("load", make_inputs, model.inputs, job, here)
        if job["mode"] == "latency":
            reply.update(attempt("run", latency, model, arrays, job))
        else:
            attempt("run", repeat, model, arrays, MEMORY_QUERIES)
    if job["mode"] != "latency":
        reply["memory"] = attempt("run", memory)
    return reply


def attempt(stage: str, call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except Exception as error:  # a runtime may raise anything; all of it is reported, none of it is handled
        raise JobError(stage, error) from error


def import_runtime(here: str) -> dict[str, str]:
    """Import the runner, with its runtime, and numpy's random numbers: what every mode has in memory before its work."""
    sys.path.insert(0, here)

    def start() -> dict[str, str]:
        import numpy
        import runner

        numpy.random.default_rng(0).standard_normal(1)
        versions = dict(runner.version())
        versions["numpy"] = numpy.__version__
        return versions

    return attempt("import", start)


def load(here: str, job: dict[str, Any]) -> Any:
    import runner

    return runner.load(os.path.join(here, job["model"]), job["threads"])


def make_inputs(specs: list[dict[str, Any]], job: dict[str, Any], here: str) -> list[Any]:
    """One array an input: from its .npy file, or seeded random in its own dtype and shape."""
    import numpy as np

    if job["inputs"]:
        return [np.load(os.path.join(here, name), allow_pickle=False) for name in job["inputs"]]
    rng = np.random.default_rng(job["seed"])
    return [random_input(rng, np.dtype(spec["dtype"]), fixed_shape(spec)) for spec in specs]


def fixed_shape(spec: dict[str, Any]) -> list[int]:
    """The input's shape with a free batch set to 1."""
    shape = list(spec["shape"])
    if shape and not is_fixed(shape[0]):
        shape[0] = 1
    if not all(is_fixed(size) for size in shape):
        raise ValueError("input '%s' has a free dimension in %s; export the model with a fixed shape" % (spec["name"], shape))
    return shape


def is_fixed(size: Any) -> bool:
    return isinstance(size, int) and size > 0


def random_input(rng: Any, dtype: Any, shape: list[int]) -> Any:
    """Standard normal floats, 8-bit integers over their whole range, wider integers and booleans 0 or 1.

    Wider integers are indices as a rule: 0 and 1 are valid ones everywhere.
    """
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    if dtype.kind in "iu" and dtype.itemsize == 1:
        low = -128 if dtype.kind == "i" else 0
        return rng.integers(low, low + 256, shape).astype(dtype)
    if dtype.kind in "iub":
        return rng.integers(0, 2, shape).astype(dtype)
    raise ValueError("no random input of type %s" % dtype)


def repeat(model: Any, arrays: list[Any], queries: int) -> None:
    for _ in range(queries):
        model.run(arrays)


def latency(model: Any, arrays: list[Any], job: dict[str, Any]) -> dict[str, Any]:
    """Warm up, then time queries one by one. Returns the raw times in order and the machine's state around them."""
    deadline = time.perf_counter() + job["max_seconds"]
    for _ in range(job["warmup_queries"]):
        model.run(arrays)
        if time.perf_counter() > deadline:
            break
    before = dynamic_facts()
    times = timed(model.run, arrays, job)
    return {"latency_ns": times, "before": before, "after": dynamic_facts()}


def timed(run: Callable[[list[Any]], Any], arrays: list[Any], job: dict[str, Any]) -> list[int]:
    """Time of each query in ns. Garbage collection is off: it is Python's, not the runtime's."""
    clock = time.perf_counter_ns
    times: list[int] = []
    least, most = (job["queries"], job["queries"]) if job["queries"] else (job["min_queries"], job["max_queries"])
    least_ns, most_ns = job["min_seconds"] * 1e9, job["max_seconds"] * 1e9
    if job["queries"]:
        least_ns, most_ns = 0, float("inf")
    gc.collect()
    gc.disable()
    start = clock()
    while True:
        begin = clock()
        run(arrays)
        end = clock()
        times.append(end - begin)
        spent = end - start
        if len(times) >= most or spent >= most_ns or (len(times) >= least and spent >= least_ns):
            gc.enable()
            return times


def static_facts(root: str = "/") -> dict[str, Any]:
    """What does not change while measuring; what cannot be read is absent."""
    facts: dict[str, Any] = {"system": platform.system(), "arch": platform.machine(), "python": platform.python_version()}
    facts["cpus"] = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cpu = cpu_model(root)
    if cpu:
        facts["cpu"] = cpu
    return facts


def cpu_model(root: str) -> str:
    """x86 gives a `model name` a core; ARM boards a `Model` or `Hardware` line for the whole machine, if at all."""
    lines = [line.partition(":") for line in read(root, "proc/cpuinfo").splitlines()]
    found = {key.strip(): value.strip() for key, _, value in lines}
    for key in ("model name", "Model", "Hardware"):
        if found.get(key):
            return found[key]
    return ""


def dynamic_facts(root: str = "/") -> dict[str, Any]:
    """What may change while measuring, with the clock it was read at; what cannot be read is absent."""
    facts: dict[str, Any] = {"clock_s": time.perf_counter(), "process_s": time.process_time()}
    if hasattr(os, "getloadavg"):
        facts["load_1m"] = os.getloadavg()[0]
    ticks = read(root, "proc/stat").split("\n")[0].split()[1:9]  # user nice system idle iowait irq softirq steal
    if len(ticks) == 8:
        values = [int(t) for t in ticks]
        facts.update(ticks_total=sum(values), ticks_idle=values[3] + values[4], ticks_steal=values[7])
    cpufreq = "sys/devices/system/cpu/cpu0/cpufreq/"
    governor, khz = read(root, cpufreq + "scaling_governor"), read(root, cpufreq + "scaling_cur_freq")
    if governor:
        facts["governor"] = governor
    if khz.isdigit():
        facts["frequency_mhz"] = int(khz) / 1000
    hottest = temperature(root)
    if hottest is not None:
        facts["temperature_c"] = hottest
    return facts


def temperature(root: str) -> float | None:
    """The hottest thermal zone in °C, or None. Zones give millidegrees; absent sensors read as absurd values."""
    degrees = []
    for path in glob.glob(os.path.join(root, "sys/class/thermal/thermal_zone*/temp")):
        text = read(root, os.path.relpath(path, root))
        if text.lstrip("-").isdigit() and -40 < int(text) / 1000 < 150:
            degrees.append(int(text) / 1000)
    return max(degrees) if degrees else None


def memory() -> dict[str, int]:
    """Peak resident and proportional set size of this process, in bytes.

    VmHWM, because ru_maxrss survives exec: a process started by a bigger one reports its parent's peak (Linux
    fs/exec.c, setmax_mm_hiwater_rss). Where there is no /proc, ru_maxrss is all there is (bytes on macOS).
    """
    peak = kib_line(read("/", "proc/self/status"), "VmHWM")
    if peak is None:
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"peak_rss_bytes": used if sys.platform == "darwin" else used * 1024}
    found = {"peak_rss_bytes": peak}
    pss = kib_line(read("/", "proc/self/smaps_rollup"), "Pss")
    if pss is not None:
        found["pss_bytes"] = pss
    return found


def settle_libraries(root: str = "/") -> None:
    """Read one byte of every page of the libraries that are loaded, so that all of their code is resident from here on.

    A runtime's code comes in page by page as a model first needs it: shared by all processes, given back under pressure,
    and no memory of the model. With it resident in `empty` and in `memory`, their difference is what the model itself
    takes: weights, arenas, generated code, and libraries that are loaded for it alone.
    """
    for line in read(root, "proc/self/maps").splitlines():
        parts = line.split(None, 5)
        if len(parts) == 6 and parts[1].startswith("r") and ".so" in os.path.basename(parts[5]):
            start, end = (int(address, 16) for address in parts[0].split("-"))
            for page in range(start, end, PAGE):
                ctypes.string_at(page, 1)


def kib_line(text: str, key: str) -> int | None:
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    return None


def read(root: str, path: str) -> str:
    try:
        with open(os.path.join(root, path), errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
