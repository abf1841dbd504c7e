"""The measuring procedure, the same for every device: a fresh process a pass, and no pass that measures two things.

A round is three processes: `empty` (the runtime, no model), `memory` (load and a few queries), and the one that times, by
the way of use (uses.py). Rounds repeat, so that latencies come from several processes and several moments: where memory
happens to lie makes a process faster or slower for its whole life, and one process would not show it.
Latencies are pooled in the order taken.

Peak memory of a model = peak RSS of `memory` - peak RSS of `empty`, round by round; the figure is the median. In both,
all code of the loaded libraries is resident first (harness.settle_libraries), so the figure holds weights, arenas and
generated code; the runtime's own footprint is left out, and memory of accelerators and drivers is not seen.
"""

import contextlib
import statistics
from pathlib import Path
from typing import Any

from edgekd.artifact import files_of, size_of
from edgekd.bench.conditions import activity, doubts, instability, texts
from edgekd.bench.doubts import Doubt, FewSamples
from edgekd.bench.energy import energy
from edgekd.bench.files import Files, Here, There
from edgekd.bench.meters import Meter
from edgekd.bench.planned import planned_peak
from edgekd.bench.reply import Reply, RunFailed
from edgekd.bench.runs import Runs
from edgekd.bench.settings import WARM, Settings, Use
from edgekd.bench.statistics import fewest_samples
from edgekd.bench.surroundings import doubts_between, look
from edgekd.bench.transports import Transport, connect
from edgekd.bench.uses import Found, way
from edgekd.device import LOCAL, Device
from edgekd.errors import InputError, StageError
from edgekd.target import Target
from edgekd.types import Artifact, Measurement, Profile, Provenance, Scalar

MEMORY_ROUNDS = 3


def profile(
    artifact: Artifact,
    device: Device,
    *,
    target: Target,
    transport: Transport | None = None,
    threads: int = 1,
    settings: Settings | None = None,
    meter: Meter | None = None,
) -> Profile:
    """Measure a built artifact on a device.

    Args:
        transport: where the device is; None is this machine, which is right for the device `local` only.
        settings: None for the full procedure of a few seconds.
        meter: an energy sensor; None for the device's own (meters/choose.py), read where the device is.

    Raises:
        DeviceError: where the device is lost, or answers nonsense.
        StageError: where the artifact does not load or run there.
        MissingExtraError: where this machine lacks the runtime.
    """
    try:
        return profile_file(
            artifact.path, device, target=target, transport=transport, threads=threads, settings=settings, meter=meter
        )
    except RunFailed as failure:
        raise StageError("profile", str(failure), f"try it alone: edgekd bench {artifact.path.name}") from failure


def profile_file(
    model: Path,
    device: Device,
    *,
    target: Target,
    transport: Transport | None = None,
    threads: int = 1,
    settings: Settings | None = None,
    use: Use = WARM,
    meter: Meter | None = None,
) -> Profile:
    """As `profile`, for any model file that the target's runner can load, used in any way; RunFailed where it cannot."""
    if threads < 1:
        raise InputError(f"{threads} threads were asked for, expected at least 1")
    files_of(model)
    reason = unmeasurable(target, device, connected=transport is not None)
    if reason:
        absent = [Measurement.unavailable(m, reason) for m in ("latency_ms", "peak_memory_bytes", "energy_mj")]
        return Profile(latency_ms=absent[0], peak_memory_bytes=absent[1], energy_mj=absent[2], size_bytes=size_of(model))
    files: Files = Here() if transport is None else There(transport)
    with contextlib.ExitStack() as stack:
        if transport is None:
            transport = connect(LOCAL)
            stack.callback(transport.close)
        runs = Runs(model, device, target, transport, threads, settings or Settings.of(use), use)
        runs.push()
        return _measure(runs, files, meter)


def unmeasurable(target: Target, device: Device, *, connected: bool) -> str | None:
    """Why nothing can be measured, or None where it can."""
    reason = target.unmeasurable(device)
    if reason is None and target.runner is None:
        reason = f"target {target.name} has no runner"
    if reason is None and device.name != LOCAL and not connected:
        reason = f'{device.name} is not connected: give its address as connect = "ssh:HOST" or "adb:SERIAL"'
    return reason


def _measure(runs: Runs, files: Files, meter: Meter | None) -> Profile:
    """All rounds, with a look around the device before and after them; then energy, where a meter can see this device."""
    android = runs.device.os == "android"
    before = look(files, android)
    used, replies, memories = way(runs), list[Reply](), list[tuple[Reply, Reply]]()
    for share in runs.settings.shares():
        if len(memories) < MEMORY_ROUNDS:
            memories.append((runs.run("empty"), runs.run("memory")))
        replies += used.passes(runs, share)
    runs.check_alike([reply for pair in memories for reply in pair] + replies)
    found = used.read(runs, replies)
    latency = _latency(runs, replies, found, doubts_between(before, look(files, android)))
    return Profile(
        latency_ms=latency,
        peak_memory_bytes=_memory(runs, memories),
        energy_mj=energy(runs, files, meter, latency),
        size_bytes=size_of(runs.model),
        memory={"pss_bytes": _proportional(memories), "planned_peak_bytes": planned_peak(runs.target, runs.model)},
        use=found.details,
    )


def _conditions(runs: Runs, reply: Reply) -> dict[str, Scalar]:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(reply.versions.items()))
    return {
        "device": runs.device.name,
        "target": runs.target.name,
        "threads": runs.threads,
        "runtime": versions,
        **reply.machine,
        "cpus": reply.cpus,
        "inputs": described(runs.use, runs.settings.seed),
        **({"options": ", ".join(f"{key}={value}" for key, value in runs.use.options)} if runs.use.options else {}),
    }


def provenance_of(reply: Reply) -> Provenance:
    """An emulator's time is not the device's: emulated boards say so in the line that names their processor."""
    return Provenance.EMULATED if "emulated" in reply.machine.get("cpu", "").lower() else Provenance.MEASURED


def described(use: Use, seed: int) -> str:
    """What the model is fed, in words."""
    if use.inputs:
        return f"{use.samples or 1} samples of {', '.join(file.name for file in use.inputs)}, in turn"
    return f"random, seed {seed}: standard normal, or integers"


def _latency(runs: Runs, replies: list[Reply], found: Found, around: list[Doubt]) -> Measurement:
    """Milliseconds of every query, process by process, in the order taken; `around` is what was doubtful about the device."""
    settings = runs.settings
    values = tuple(value for run in found.series for value in run)
    conditions = {
        **_conditions(runs, replies[0]),
        **activity(replies),
        "mode": "throughput" if runs.use.throughput else runs.use.mode,
        "processes": len(replies),
        "warmup_queries": settings.warmup_queries,
        "percentiles": "p50: sample median; others: LoadGen early stopping, confidence 0.99",
    }
    warnings = texts([*doubts(conditions, runs.threads, replies[0].cpus), *around, *instability(found.series)]) + found.warnings
    fewest = fewest_samples(90)
    if len(values) < fewest:
        warnings.append(str(FewSamples(len(values), fewest)))
    elif runs.use == WARM and settings.queries is None and len(values) < settings.min_queries:
        warnings.append(
            f"{len(values)} queries fitted into {settings.max_seconds:g} s, not {settings.min_queries}: allow more seconds"
        )
    return Measurement(
        metric="latency_ms", values=values, provenance=provenance_of(replies[0]), conditions=conditions, warnings=tuple(warnings)
    )


def _memory(runs: Runs, pairs: list[tuple[Reply, Reply]]) -> Measurement:
    """Differences of peak RSS in bytes, one a round, in the order taken."""
    peaks = [(_peak(empty), _peak(loaded)) for empty, loaded in pairs]
    values = tuple(float(loaded - empty) for empty, loaded in peaks)
    conditions: dict[str, Scalar] = {
        **_conditions(runs, pairs[0][1]),
        "processes": len(pairs),
        "empty_peak_bytes": statistics.median(empty for empty, _ in peaks),
    }
    lost = "the model's memory is lost in the runtime's: the peak without a model is as high"
    return Measurement(
        metric="peak_memory_bytes",
        values=values,
        provenance=provenance_of(pairs[0][1]),
        conditions=conditions,
        warnings=(lost,) if statistics.median(values) <= 0 else (),
    )


def _proportional(pairs: list[tuple[Reply, Reply]]) -> dict[str, Any]:
    """The model's proportional set size after its queries, over the empty runtime's: the median of the rounds."""
    values = [loaded.pss_bytes - empty.pss_bytes for empty, loaded in pairs if empty.pss_bytes and loaded.pss_bytes]
    if not values:
        return {"value": None, "provenance": str(Provenance.UNAVAILABLE), "reason": "the system does not tell it"}
    return {"value": round(statistics.median(values)), "n": len(values), "provenance": str(provenance_of(pairs[0][1]))}


def _peak(reply: Reply) -> int:
    assert reply.peak_rss_bytes is not None  # parse() demands it of these modes
    return reply.peak_rss_bytes
