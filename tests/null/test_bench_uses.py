"""Ways of use: cold starts, sustained load, duty cycles and throughput, on the null target in real processes."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.bench import page_cache, uses
from edgekd.bench.jobs import Job, model_files
from edgekd.bench.measure import measure_model
from edgekd.bench.reply import Reply, Window
from edgekd.bench.samples import choose_inputs, samples_file
from edgekd.bench.settings import Settings, Use
from edgekd.bench.steady import judge, settled
from edgekd.errors import InputError

QUICK = Settings(processes=1, warmup_queries=1, min_queries=5, min_seconds=0.0, max_seconds=0.4)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A null model of one megabyte: its files have pages enough to count."""
    file = tmp_path / "m.npz"
    weight, bias = np.ones((2, 130_000), np.float32), np.zeros(2, np.float32)
    np.savez(file, weight=weight, bias=bias, scale=np.float32(1), shape=(1, 130_000), zero_point=0, dtype="float32")
    return file


def test_a_cold_start_is_load_and_first_query_of_fresh_processes(model: Path) -> None:
    """Latency is their sum, one value a start; what the page cache held of the files was measured, and is told."""
    record = measure_model(model, use=Use(mode="cold"), settings=replace(QUICK, processes=2))
    cached, uncached = record["cold"]["cached"], record["cold"]["uncached"]
    assert record["latency_ms"]["n"] == 2
    assert record["conditions"]["mode"] == "cold"
    assert cached["load_ms"]["p50"] + cached["first_ms"]["p50"] == pytest.approx(record["latency_ms"]["p50"])
    assert cached["in_page_cache"] == 1.0
    assert ("unavailable" in uncached) or uncached["in_page_cache"] <= uses.OUT_OF_CACHE
    assert record["cold"]["import_ms"]["n"] == 4


def test_a_file_leaves_the_page_cache_and_comes_back(model: Path) -> None:
    """After throwing out fewer pages are in memory, where the file system is on a disk; after reading all of them."""
    page_cache.bring_in([str(model)])
    assert page_cache.resident([str(model)]) == 1.0
    page_cache.throw_out([str(model)])
    left = page_cache.resident([str(model)])
    if left == 1.0:
        pytest.skip("temporary files lie on a file system in memory here, which keeps all pages")
    assert left is not None
    assert left < 0.1
    page_cache.bring_in([str(model)])
    assert page_cache.resident([str(model)]) == 1.0


def test_files_kept_in_memory_are_no_cold_start() -> None:
    """Where the system kept the pages there is no figure for files outside the page cache, but the reason."""
    machine = {"system": "Linux", "arch": "x86_64", "python": "3"}
    start = Reply(versions={}, machine=machine, cpus=1, import_ns=5, load_ns=2_000_000, first_ns=1_000_000, resident=1.0)
    found = uses.WAYS["cold"].read(None, [start, start])  # type: ignore[arg-type]
    assert "kept the model's files in memory" in found.details["cold"]["uncached"]["unavailable"]
    assert found.series == [[3.0]]


def test_duty_queries_are_spaced(model: Path) -> None:
    """12 queries 20 ms apart take at least 0.24 s, and are compared with as many back to back."""
    use, settings = Use(mode="duty", period_s=0.02), replace(QUICK, queries=12)
    record = measure_model(model, use=use, settings=settings)
    duty = record["duty"]
    assert (record["latency_ms"]["n"], duty["back_to_back_ms"]["n"]) == (12, 12)
    assert duty["ratio"] == pytest.approx(record["latency_ms"]["p50"] / duty["back_to_back_ms"]["p50"])


def test_throughput_counts_all_streams(model: Path) -> None:
    """Two streams with batch 1: the rate is all queries of both over the time that both had."""
    settings = replace(QUICK, processes=2, max_seconds=0.6)
    record = measure_model(model, use=Use(streams=2, batch=1), settings=settings)
    found = record["throughput"]
    assert found["lowest_per_s"] <= found["per_s"] <= found["highest_per_s"]
    assert found["per_s"] == pytest.approx(record["latency_ms"]["n"] / 0.6, rel=0.5)
    assert record["energy_mj"]["value"] is None


def test_more_streams_hold_more_models(model: Path) -> None:
    """Memory is of all streams together."""
    one, four = (measure_model(model, use=Use(streams=n, batch=1), settings=QUICK) for n in (1, 4))
    assert four["peak_memory_bytes"]["value"] - one["peak_memory_bytes"]["value"] > 2_500_000


def test_a_fixed_batch_is_not_stretched(model: Path) -> None:
    """A model of batch 1 cannot be asked for 4; the message says what to do."""
    with pytest.raises(InputError, match="fixed batch of 1; export the model with a free one"):
        measure_model(model, use=Use(batch=4), settings=QUICK)


def test_sustained_load_ends_when_it_is_steady_or_time_is_over(model: Path) -> None:
    """There are windows, in order of time, and a verdict with its rule."""
    record = measure_model(model, use=Use(mode="sustained"), settings=replace(QUICK, max_seconds=0.5))
    found = record["sustained"]
    assert found["window_end_s"] == sorted(found["window_end_s"])
    assert len(found["window_ms"]) == len(found["window_end_s"]) >= 30
    assert found["verdict"].split(":")[0].split(",")[0].split(" after")[0] in ("steady", "throttled", "not steady")
    assert "Pettitt" in found["rule"]


def windows(levels: list[float], temperatures: list[float] | None = None) -> Reply:
    heat = temperatures or [40.0] * len(levels)
    found = tuple(
        Window(end_s=i + 1.0, queries=9, median_ns=round(ms * 1e6), temperature_c=c)
        for i, (ms, c) in enumerate(zip(levels, heat, strict=True))
    )
    machine = {"system": "Linux", "arch": "aarch64", "python": "3"}
    return Reply(versions={}, machine=machine, cpus=4, windows=found, latency_ns=(1, 2))


def noisy(levels: list[float], seed: int = 0, noise: float = 0.01) -> list[float]:
    scattered: list[float] = (np.asarray(levels) * np.random.default_rng(seed).lognormal(0, noise, len(levels))).tolist()
    return scattered


def verdict(levels: list[float]) -> dict[str, Any]:
    found = uses.WAYS["sustained"].read(None, [windows(levels)])  # type: ignore[arg-type]
    details: dict[str, Any] = found.details["sustained"]
    return details


def test_a_device_that_throttles_is_told_when_and_by_how_much() -> None:
    """20 % slower from the 60th second on: throttled, then; and it is steady there."""
    found = verdict(noisy([1.0] * 60 + [1.2] * 60))
    assert found["verdict"].startswith("throttled: 2")
    assert abs(found["throttled_at_s"] - 61) <= 2
    assert found["steady"]


def test_a_gradual_fall_of_the_clock_is_throttling_too() -> None:
    """A level that climbs by 30 % and then stays is no steady device."""
    assert verdict(noisy([1 + 0.3 * min(i, 60) / 60 for i in range(120)]))["verdict"].startswith("throttled")


def test_a_device_still_slowing_is_not_steady() -> None:
    """A slope to the end asks for more seconds."""
    found = verdict(noisy([1 + i / 200 for i in range(80)]))
    assert found["verdict"].startswith("not steady")
    assert not found["steady"]


@pytest.mark.parametrize("seed", range(20))
def test_a_steady_device_is_steady(seed: int) -> None:
    """Noise of 2 % around one level settles and does not throttle."""
    levels = noisy([1.0] * 90, seed, 0.02)
    assert verdict(levels)["verdict"] == "steady"
    assert settled(levels)


def test_a_step_is_told_from_a_slope() -> None:
    """The same rise at once and little by little have different shapes, of the same size."""
    step, line = judge(noisy([1.0] * 30 + [1.3] * 30)), judge(noisy([1 + 0.3 * i / 59 for i in range(60)]))
    assert (step["shape"], line["shape"]) == ("step", "slope")
    assert (step["change"], line["change"]) == (pytest.approx(0.3, abs=0.03), pytest.approx(0.3, abs=0.03))
    assert abs(step["at"] - 30) <= 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"mode": "hot"}, "mode 'hot' is not known"),
        ({"mode": "cold", "streams": 2}, "no mode 'cold'"),
        ({"streams": 0}, "streams go from 1"),
        ({"period_s": 0.0}, "a query every 0 s"),
    ],
)
def test_uses_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    """Unknown modes, no streams, no period and streams of cold starts are input errors."""
    with pytest.raises(InputError, match=message):
        Use(**wrong)


def test_cost_is_price_over_rate() -> None:
    """At 1,000 a second and 3.60 an hour a million takes 1,000 s: 1.00."""
    assert uses.cost_per_million(1000, 3.6) == pytest.approx(1.0)


def test_a_job_answers_what_was_asked(model: Path) -> None:
    """Cost, the percentile's evidence and the limit are in the record."""
    record = Job(model=model, queries=70, price_per_hour=3.6, percentile=99, limit_ms=1e6).measure()
    assert record["evidence"]["p99"] == {"answer": "insufficient evidence", "queries": 70, "needed": 662}
    assert record["evidence"]["p90"]["answer"] == record["latency_ms"]["p90"]
    assert record["limit"]["answer"] == "insufficient evidence"
    assert record["cost_per_million"]["value"] == pytest.approx(record["latency_ms"]["mean"])


@pytest.mark.parametrize("use", [Use(mode="sustained"), Use(streams=2)])
def test_queries_do_not_end_what_goes_by_time(model: Path, use: Use) -> None:
    """Sustained load and throughput take seconds."""
    with pytest.raises(InputError, match="give --seconds"):
        Job(model=model, queries=5, use=use).measure()


def test_samples_beside_a_model_are_its_inputs(model: Path) -> None:
    """Where there are samples they are taken, and told; random inputs are taken when asked for; each differs in turn."""
    np.save(samples_file(model), np.random.default_rng(0).standard_normal((3, 130_000)).astype(np.float32))
    assert choose_inputs(model, None) == ((samples_file(model),), 3)
    assert choose_inputs(model, "random") == ((), None)
    record = Job(model=model, queries=4).measure()
    assert record["conditions"]["inputs"] == "3 samples of m.npz.samples.npy, in turn"


def test_inputs_that_are_not_there_are_input_errors(model: Path, tmp_path: Path) -> None:
    """No samples, no array, Python objects and a lone number are each refused unread."""
    with pytest.raises(InputError, match="has no samples beside it"):
        choose_inputs(model, "samples")
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "scalar.npy", np.float32(1))
    for name in ("absent.npy", "text.npy", "objects.npy", "scalar.npy"):
        with pytest.raises(InputError, match=name):
            choose_inputs(model, str(tmp_path / name))


def test_a_folder_gives_its_models_in_order(tmp_path: Path) -> None:
    """Model files are found below; a package is one model, whatever is in it; an empty folder is an input error."""
    for name in ("b/x.onnx", "a.tflite", "p.mlpackage/Data/model.onnx", "notes.txt", "arrays.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = [os.path.relpath(path, tmp_path) for path in model_files([tmp_path])]
    assert found == ["a.tflite", os.path.join("b", "x.onnx"), "p.mlpackage"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no model file in this folder"):
        model_files([tmp_path / "empty"])
