"""Run one measuring job beside a target's `runner.py`, on the device: `python harness.py job.json`.

Pushed to devices as it is: standard library + numpy, Python 3.8 syntax, nothing of edgekd but the files beside it:
loops.py (what is timed), steady.py, feeding.py (inputs), outputs.py, page_cache.py. The only line on stdout is one JSON document;
whatever runtimes print goes to stderr. On failure the document is {"error", "stage"} and the exit code is 1.
`stage` is `import` (the runtime), `load` (the model file) or `run`.

Job: mode (`empty`, `memory`, `latency`, `cold`, `sustained`, `duty`, `throughput`, `outputs`), model (file name, in
this folder), runner (module name), threads, streams, batch (null: the model's own), seed, inputs (null: random, or .npy
file names, an input each), samples (how many those files stack, or null), and what the mode's loop reads: warmup_queries,
queries (exact, or null), min_queries, max_queries, min_seconds, max_seconds, window_s, period_s, page_cache.
"""

from __future__ import annotations

import ctypes
import glob
import importlib
import itertools
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
    sys.path.insert(0, here)
    begin = time.perf_counter_ns()
    versions = import_runtime(job["runner"])
    imported = time.perf_counter_ns() - begin
    reply = {"schema": SCHEMA, "mode": job["mode"], "versions": versions, "machine": static_facts()}
    if job["mode"] in ("empty", "memory"):
        settle_libraries()
        if job["mode"] == "memory":
            models, batches = attempt("load", load_all, here, job)
            for model in models:
                attempt("run", repeat, model, batches, MEMORY_QUERIES)
        reply["memory"] = attempt("run", memory)
    elif job["mode"] == "cold":
        reply.update(cold(here, job), import_ns=imported)
    elif job["mode"] == "operators":
        reply["profile"] = operators(here, job)
    else:
        models, batches = attempt("load", load_all, here, job)
        reply.update(attempt("run", use, models, batches, job, here))
    return reply


def use(models: list[Any], batches: list[list[Any]], job: dict[str, Any], here: str) -> dict[str, Any]:
    """What the mode's loop measures with loaded models, or how many outputs were kept."""
    if job["mode"] == "outputs":
        import outputs

        return {"outputs": outputs.keep(models[0], batches, here)}
    import loops

    if job["mode"] == "throughput":
        return loops.throughput(models, batches, job, dynamic_facts)
    loop = {"latency": loops.warm, "sustained": loops.sustained, "duty": loops.duty}[job["mode"]]
    return loop(models[0], batches, job, dynamic_facts)


def cold(here: str, job: dict[str, Any]) -> dict[str, Any]:
    """Times of loading the model and of its first query, with the model's files in the page cache or thrown out of it.

    The page cache holds the runtime's libraries either way: they were imported before.
    """
    import feeding
    import page_cache

    stem = os.path.splitext(job["model"])[0] + "."
    found = [path for name in os.listdir(here) if name.startswith(stem) for path in files_below(os.path.join(here, name))]
    (page_cache.throw_out if job["page_cache"] == "evicted" else page_cache.bring_in)(found)
    share, before, begin = page_cache.resident(found), dynamic_facts(), time.perf_counter_ns()
    model = attempt("load", load, here, job)
    loaded = time.perf_counter_ns()
    arrays = attempt("load", feeding.make_batches, model.inputs, job, here)[0]
    ready = time.perf_counter_ns()
    attempt("run", model.run, arrays)
    first = time.perf_counter_ns() - ready
    return {"load_ns": loaded - begin, "first_ns": first, "resident": share, "before": before, "after": dynamic_facts()}


def operators(here: str, job: dict[str, Any]) -> dict[str, Any]:
    """Per-operator times. The model is loaded once without its profile, for what it is fed and to see that it loads."""
    import profiling

    batches = attempt("load", load_all, here, job)[1]
    target, runner = importlib.import_module(job["operators"]), importlib.import_module(job["runner"])
    return attempt("run", profiling.operators, target, runner, os.path.join(here, job["model"]), batches, job)


def files_below(path: str) -> list[str]:
    """The file itself, or all files of a folder."""
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]


def attempt(stage: str, call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except Exception as error:  # a runtime may raise anything; all of it is reported, none of it is handled
        raise JobError(stage, error) from error


def import_runtime(name: str) -> dict[str, str]:
    """Import the runner, with its runtime, and numpy's random numbers: what every mode has in memory before its work."""

    def start() -> dict[str, str]:
        import numpy

        runner = importlib.import_module(name)
        numpy.random.default_rng(0).standard_normal(1)
        versions = dict(runner.version())
        versions["numpy"] = numpy.__version__
        return versions

    return attempt("import", start)


def load_all(here: str, job: dict[str, Any]) -> tuple[list[Any], list[list[Any]]]:
    """A model a stream, and the batches that they are fed."""
    import feeding

    models = [load(here, job) for _ in range(job["streams"])]
    return models, feeding.make_batches(models[0].inputs, job, here)


def load(here: str, job: dict[str, Any]) -> Any:
    runner, path = importlib.import_module(job["runner"]), os.path.join(here, job["model"])
    options = job.get("options")
    return runner.load(path, job["threads"], known(options, runner)) if options else runner.load(path, job["threads"])


def known(options: dict[str, str], runner: Any) -> dict[str, str]:
    """The options themselves. Raises ValueError for one that this runner does not have."""
    offered = getattr(runner, "OPTIONS", {})
    for key, value in options.items():
        if key not in offered:
            raise ValueError("there is no option '%s', only %s" % (key, ", ".join(sorted(offered)) or "none"))
        if value not in offered[key]:
            raise ValueError("option '%s' is one of %s, not '%s'" % (key, ", ".join(sorted(offered[key])), value))
    return options


def repeat(model: Any, batches: list[list[Any]], queries: int) -> None:
    for arrays in itertools.islice(itertools.cycle(batches), queries):
        model.run(arrays)


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
    tracer = [line.split()[-1] for line in read(root, "proc/self/status").splitlines() if line.startswith("TracerPid:")]
    if tracer and tracer[0].isdigit() and int(tracer[0]):
        facts["tracer_pid"] = int(tracer[0])
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
