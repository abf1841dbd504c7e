"""The record of one model file on one device: the core of `edgekd bench` and of `edgekd.measure`."""

import os
import statistics
from pathlib import Path
from typing import Any

from edgekd.artifact import files_of, sha256_of, size_of
from edgekd.bench.meters import Meter
from edgekd.bench.procedure import profile_file, unmeasurable
from edgekd.bench.reply import RunFailed
from edgekd.bench.settings import WARM, Settings, Use
from edgekd.bench.statistics import latency_summary
from edgekd.bench.transports import Transport, connected
from edgekd.bench.transports.address import read_address
from edgekd.device import Device, find_device
from edgekd.errors import DeviceError, InputError, did_you_mean
from edgekd.lab.results import keep
from edgekd.plugins import find_target
from edgekd.target import Target
from edgekd.types import Measurement, Profile, Provenance

SCHEMA = "edgekd.bench/1"
TARGET_OF_SUFFIX = {".onnx": "onnxruntime", ".tflite": "tflite", ".xml": "openvino", ".mlpackage": "coreml", ".npz": "null"}


def measure_model(
    model: Path,
    *,
    device: str | Device = "local",
    target: str | Target | None = None,
    threads: int = 1,
    queries: int | None = None,
    settings: Settings | None = None,
    use: Use = WARM,
    connect: str | None = None,
    transport: Transport | None = None,
    meter: Meter | None = None,
) -> dict[str, Any]:
    """Measure any model file that a target's runtime loads; a contract of edgekd is not needed.

    Args:
        device: a profile's name, or a Device.
        target: a target or its name; None goes by the file's suffix.
        queries: exactly so many timed queries in all, over the processes of `settings`.
        use: how the model is used while it is measured, and on what inputs.
        connect: where the device is, `ssh:HOST` or `adb:SERIAL`; None is this machine, or `transport`, already connected.

    Returns:
        The record, which JSON can hold: the fields of a `selected` entry of a report, its raw values and conditions.

    Raises:
        InputError: where the file is not there, of no known kind, or not a model that the runtime loads and runs.
        DeviceError: where the device is not connected, cannot be measured, is lost, or answers nonsense.
        MissingExtraError: where this machine lacks the runtime.
    """
    path, where, chosen = resolved(model, device, target, connected=connect is not None or transport is not None)
    settings = settings or Settings.of(use)
    if queries is not None:
        settings = settings.exactly(queries)
    if connect is not None:
        read_address(connect)
    try:
        with connected(connect) as opened:
            found = profile_file(
                path,
                where,
                target=chosen,
                transport=opened or transport,
                threads=threads,
                settings=settings,
                use=use,
                meter=meter,
            )
    except RunFailed as failure:
        raise InputError(f"{model}: {chosen.name} cannot {failure.stage} this model: {failure.cause}") from failure
    record = {
        "schema": SCHEMA,
        "device": where.name,
        "target": chosen.name,
        "artifact": str(model),
        "sha256": sha256_of(path),
        **profile_record(found),
    }
    keep(record, device=where.name, target=chosen.name, sha256=record["sha256"], address=connect)
    return record


def resolved(model: Path, device: str | Device, target: str | Target | None, *, connected: bool) -> tuple[Path, Device, Target]:
    """The model file, the device and the target that were named. Raises InputError, DeviceError as `measure_model` does."""
    path = _model_file(model)
    where = find_device(device) if isinstance(device, str) else device
    chosen = _target(path, target)
    reason = unmeasurable(chosen, where, connected=connected)
    if reason:
        raise DeviceError(f"{path.name}: cannot be measured: {reason}")
    return path, where, chosen


def profile_record(profile: Profile) -> dict[str, Any]:
    """A profile's figures with their provenance, its conditions, warnings and raw values, as JSON can hold them."""
    parts = (profile.latency_ms, profile.peak_memory_bytes, profile.energy_mj)
    return {
        "latency_ms": _latency(profile.latency_ms),
        "peak_memory_bytes": figure(profile.peak_memory_bytes),
        **profile.memory,
        "size_bytes": profile.size_bytes,
        "energy_mj": figure(profile.energy_mj),
        **profile.use,
        "conditions": {**profile.energy_mj.conditions, **profile.peak_memory_bytes.conditions, **profile.latency_ms.conditions},
        "warnings": [warning for part in parts for warning in part.warnings],
        "values": {part.metric: list(part.values) for part in parts},
    }


def figure(measurement: Measurement) -> dict[str, Any]:
    """Median, count and provenance of a metric other than latency, or its mean with a 95 % interval (energy).

    The reason where it is unavailable. Bytes are whole.
    """
    if measurement.provenance is Provenance.UNAVAILABLE:
        return {"value": None, "provenance": str(measurement.provenance), "reason": measurement.reason}
    told = {"n": len(measurement.values), "provenance": str(measurement.provenance)}
    if measurement.interval is not None:
        return {"value": statistics.fmean(measurement.values), "interval": list(measurement.interval), **told}
    value = statistics.median(measurement.values)
    return {"value": round(value) if measurement.metric.endswith("_bytes") else value, **told}


def _latency(measurement: Measurement) -> dict[str, Any]:
    summary = latency_summary(measurement.values, measurement.provenance)
    return {**summary, "reason": measurement.reason} if measurement.reason else summary


def _model_file(model: Path) -> Path:
    path = model.absolute()
    if not os.path.exists(path):  # False, not an error, for a name that is too long
        raise InputError(f"{model}: there is no such file")
    for name, file in files_of(path):
        if not file.is_file():
            raise InputError(f"{model}: its part {name} is missing beside it")
    if not size_of(path):
        raise InputError(f"{model}: is empty")
    return path


def _target(path: Path, target: str | Target | None) -> Target:
    if target is not None:
        return find_target(target) if isinstance(target, str) else target
    name = TARGET_OF_SUFFIX.get(path.suffix.lower())
    if name is None:
        raise InputError(f"{path.name}: not a model file by its suffix" + did_you_mean(path.suffix, TARGET_OF_SUFFIX))
    return find_target(name)
