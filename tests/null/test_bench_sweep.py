"""Sweeps: all combinations, one table, failures as rows."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edgekd.bench.jobs import Job
from edgekd.bench.sweep import points, read_axes, sweep
from edgekd.cli import app
from edgekd.errors import InputError
from edgekd.report.sweep_report import sweep_plots, sweep_text


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "m.npz"
    weight, bias = np.ones((2, 64), np.float32), np.zeros(2, np.float32)
    np.savez(file, weight=weight, bias=bias, scale=np.float32(1), shape=(1, 64), zero_point=0, dtype="float32")
    return file


def record(job: Job) -> dict[str, Any]:
    """As measured: latency falls with the threads."""
    if dict(job.use.options).get("products") == "7":
        raise InputError("option 'products' is one of 1, 50, not '7'\nand more")
    return {
        "artifact": str(job.model),
        "device": job.device,
        "latency_ms": {"p50": 6 / job.threads, "p90": None, "n": 30, "provenance": "emulated"},
        "peak_memory_bytes": {"value": 2_000_000 * job.threads, "provenance": "measured"},
        "energy_mj": {"value": None, "provenance": "unavailable"},
        "size_bytes": 1000,
        "warnings": ["busy"],
    }


def test_all_combinations_in_the_order_of_their_names() -> None:
    """Models times axes; each job has what its point says."""
    found = points([Job(model=Path("a")), Job(model=Path("b"))], read_axes(["threads=1,2", "products=1,50", "device=x"]))
    assert len(found) == 8
    assert [point["model"] for point, _ in found] == ["a"] * 4 + ["b"] * 4
    point, job = found[-1]
    assert point == {"model": "b", "threads": "2", "products": "50", "device": "x"}
    assert (job.threads, job.use.options, job.device) == (2, (("products", "50"),), "x")


def test_points_are_measured_in_a_drawn_order_and_told_in_their_own() -> None:
    """A machine that slows down does not look like an axis."""
    order: list[int] = []
    told: list[int] = []

    def measure(job: Job) -> dict[str, Any]:
        order.append(job.threads)
        return record(job)

    axes = read_axes(["threads=1,2,3,4,5,6,7,8"])
    found = sweep([Job(model=Path("m"))], axes, measure, lambda done, of, _: told.append(done))
    assert sorted(order) == list(range(1, 9)) != order
    assert [row["point"]["threads"] for row in found] == [str(n) for n in range(1, 9)]
    assert told == list(range(1, 9))


def test_a_point_that_fails_is_a_row() -> None:
    """The others are measured; where none could be, the first failure is raised."""
    found = sweep([Job(model=Path("m"))], read_axes(["products=1,7"]), record)
    assert found[1]["failure"] == "option 'products' is one of 1, 50, not '7'"
    assert "products" in sweep_text(found)
    with pytest.raises(InputError, match="not '7'"):
        sweep([Job(model=Path("m"))], read_axes(["products=7"]), record)


def test_one_table_and_two_plots() -> None:
    """A column an axis, a line for what does not lie on it; the warning of all points once; what is emulated says so."""
    found = sweep([Job(model=Path("<i>a")), Job(model=Path("b"))], read_axes(["threads=1,2"]), record)
    lines = sweep_text(found).splitlines()
    assert lines[0].split() == ["model", "threads", "p50", "ms", "p90", "ms", "memory", "MB", "size", "MB", "energy", "mJ"]
    assert lines[2].split() == ["<i>a", "2", "3", "-", "4", "0.001", "-", "emulated"]
    assert lines[5:] == ["warning: busy"]
    threads, memory = sweep_plots(found)
    assert [trace["x"] for trace in threads.plot["data"]] == [[1, 2], [1, 2]]
    assert [trace["y"] for trace in threads.plot["data"]] == [[6, 3], [6, 3]]
    assert len(memory.plot["data"]) == 4
    assert "<i>" not in json.dumps(threads.plot["data"])


@pytest.mark.parametrize("text", ["threads", "threads=", "threads=1,1", "threads=1,", "=1", "Threads=1", "threads=1,2 3"])
def test_axes_that_are_badly_written_are_refused(text: str) -> None:
    """One line that says what was expected."""
    with pytest.raises(InputError):
        read_axes([text])
    with pytest.raises(InputError, match="each key once"):
        read_axes(["threads=1,2", "threads=3"])


def test_too_many_points_are_refused() -> None:
    """Before anything is measured."""
    with pytest.raises(InputError, match="600 points"):
        points([Job(model=Path(str(n))) for n in range(6)], {"a": [str(n) for n in range(100)]})


def test_the_command_sweeps_a_real_model(model: Path, tmp_path: Path) -> None:
    """Options reach the runner; the JSON is a list of records, the page holds its plots and asks nothing of the network."""
    page, out = tmp_path / "p.html", tmp_path / "s.json"
    asked = ["bench", str(model), "--queries", "3", "--sweep", "products=1,50", "--json", str(out), "--plot", str(page)]
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text())
    assert [row["point"] for row in found] == [{"products": "1"}, {"products": "50"}]
    assert [row["conditions"]["options"] for row in found] == ["products=1", "products=50"]
    text = page.read_text()
    assert "default-src 'none'" in text
    assert "against peak memory" in text


def test_an_option_that_a_runtime_does_not_have_is_named(model: Path) -> None:
    """With those that it has; and a plot that is no page is refused before anything runs."""
    job = Job(model=model, queries=3)
    with pytest.raises(InputError, match="no option 'sparkle', only products"):
        sweep([job], read_axes(["sparkle=1"]))
    done = CliRunner().invoke(app, ["bench", str(model), "--plot", "plot.png"])
    assert isinstance(done.exception, InputError)
