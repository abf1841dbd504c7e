"""The record of a bare model file."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekd.artifact import sha256_of
from edgekd.bench.measure import measure_model
from edgekd.bench.settings import Settings
from edgekd.errors import DeviceError, InputError, MissingExtraError
from edgekd.null_target import NullTarget

FIELDS = ["schema", "device", "target", "artifact", "sha256", "latency_ms", "peak_memory_bytes"]
FIELDS += ["pss_bytes", "planned_peak_bytes", "size_bytes", "energy_mj"]
FEW = Settings(processes=2, warmup_queries=1)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A null model without a contract."""
    file = tmp_path / "m.npz"
    weight, bias = np.ones((2, 3), np.float32), np.zeros(2, np.float32)
    np.savez(file, weight=weight, bias=bias, scale=np.float32(1), shape=(1, 3), zero_point=0, dtype="float32")
    return file


@dataclass
class Uninstalled(NullTarget):
    """A target whose runtime is not there."""

    runner: Path | None = None
    name = "hailo"
    extra = "hailo"


def test_a_record_has_the_fields_of_a_report(model: Path) -> None:
    """200 queries give exactly 200 values, a p50 and a p90 and no p99; the record goes through JSON unchanged."""
    record = measure_model(model, queries=200, settings=FEW)
    assert list(record) == [*FIELDS, "conditions", "warnings", "values"]
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert set(record["latency_ms"]) == {"p50", "p90", "mean", "n", "provenance"}
    assert (record["latency_ms"]["n"], len(record["values"]["latency_ms"])) == (200, 200)
    assert record["latency_ms"]["provenance"] == record["peak_memory_bytes"]["provenance"] == "measured"
    assert isinstance(record["peak_memory_bytes"]["value"], int)
    assert (record["sha256"], record["size_bytes"]) == (sha256_of(model), model.stat().st_size)
    assert record["energy_mj"]["value"] is None or record["energy_mj"]["provenance"] == "measured"
    assert record["conditions"]["threads"] == 1


def test_p50_is_the_sample_median(model: Path) -> None:
    """The median is that of the raw values in the record."""
    record = measure_model(model, queries=31, settings=FEW)
    assert record["latency_ms"]["p50"] == float(np.median(record["values"]["latency_ms"]))
    assert record["latency_ms"]["p90"] is None


def test_a_relative_path_is_kept_as_it_was_given(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record names the file as the user did."""
    monkeypatch.chdir(model.parent)
    assert measure_model(Path("m.npz"), queries=1, settings=FEW)["artifact"] == "m.npz"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.onnx", None, "there is no such file"),
        ("m.onx", b"x", "did you mean '.onnx'"),
        ("m.npz", b"garbage", "null cannot load this model"),
        ("m.npz", b"", "is empty"),
        ("m.xml", b"<net/>", "part m.bin is missing beside it"),
    ],
)
def test_wrong_files_are_input_errors(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    """Absent, unknown, broken, empty and incomplete models each say so in one line."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as raised:
        measure_model(tmp_path / name, queries=1, settings=FEW)
    assert "\n" not in str(raised.value)


def test_a_missing_runtime_says_what_to_install(model: Path, tmp_path: Path) -> None:
    """Where the runtime is not here the message is the pip command."""
    runner = tmp_path / "runner.py"
    runner.write_text("import no_such_runtime\n")
    with pytest.raises(MissingExtraError, match=r"no_such_runtime.*pip install \"edgekd\[hailo\]\""):
        measure_model(model, target=Uninstalled(runner=runner), queries=1, settings=FEW)


@pytest.mark.parametrize(("device", "message"), [("pixel-8", "pixel-8 is not connected"), ("iphone-15", "cannot be measured")])
def test_a_device_that_is_not_here_is_an_error(model: Path, device: str, message: str) -> None:
    """Asked for one device, another is not measured instead."""
    with pytest.raises(DeviceError, match=message):
        measure_model(model, device=device, queries=1)


@pytest.mark.parametrize("queries", [0, -1])
def test_no_queries_are_refused(model: Path, queries: int) -> None:
    """Nothing to time is an input error."""
    with pytest.raises(InputError):
        measure_model(model, queries=queries)
