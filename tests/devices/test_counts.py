"""Instructions per inference: counted on this machine by QEMU, read strictly, refused clearly where something is missing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edgekd.bench.jobs import Job
from edgekd.bench.transports.local import Local
from edgekd.emulate.bench_count import check_counting, doubts, figure
from edgekd.emulate.count import SPREAD, Counted, NotCounted, count_model, read_counts
from edgekd.emulate.count import on_this_machine as counting
from edgekd.emulate.qemu import find_qemu
from edgekd.errors import DeviceError, MissingExtraError
from edgekd.null_target import NullTarget


def lacking() -> str | None:
    """Why nothing can be counted here."""
    try:
        counting("counts")
    except MissingExtraError as error:
        return str(error)
    return None


REASON = lacking()
needs_counting = pytest.mark.skipif(REASON is not None, reason=REASON or "")


def write_null(file: Path, features: int) -> Path:
    """A model of the null target: one matrix product."""
    arrays = {"weight": np.ones((100, features), np.float32), "bias": np.zeros(100, np.float32), "scale": np.float32(1)}
    np.savez(file, **arrays, zero_point=0, shape=(1, 1, features), dtype="float32")
    return file


@needs_counting
def test_bench_counts_instructions(tmp_path: Path) -> None:
    """Two runs of this machine's programs under QEMU agree, or a warning says how far they do not; the figure is emulated."""
    from edgekd.cli import app

    argv = ["bench", str(write_null(tmp_path / "m.npz", 20_000)), "--queries", "1", "--count-instructions", "--json", "-"]
    done = CliRunner().invoke(app, argv, catch_exceptions=False)
    record = json.loads(done.stdout)
    found = record["instructions_per_inference"]
    assert (found["machine"], found["cpu"], found["threads"], found["provenance"]) == ("x86_64", "max", 1, "emulated")
    assert (len(found["values"]), [len(pair) for pair in found["halves"]]) == (2, [2, 2])
    # Two million multiply-adds, eight or four at once, with a load each at least.
    assert 400_000 < found["value"] < 8_000_000
    assert found["spread"] < 0.01
    assert ("instructions per inference differ" in " ".join(record["warnings"])) == (found["spread"] > SPREAD)
    assert f"instructions {found['value']:,.0f} an inference (emulated" in done.stderr


def test_runs_that_differ_are_doubted() -> None:
    """A spread above 0.02 % is a warning with its size; below it there is none."""
    common = {"queries": 10, "cpu": "max", "machine": "x86_64", "versions": {}}
    far = Counted(halves=((1000.0, 1000.0), (1001.0, 1003.0)), **common)  # type: ignore[arg-type]
    near = Counted(halves=((1e6, 1e6), (1e6, 1e6 + 200)), **common)  # type: ignore[arg-type]
    assert (far.values, far.per_inference) == ((1000.0, 1002.0), 1001.0)
    assert "0.20%" in doubts(far)[0]
    assert doubts(near) == []
    assert figure(near)["spread"] == pytest.approx(1e-4, rel=1e-3)


def test_a_device_that_counts_nothing_is_told(tmp_path: Path) -> None:
    """A device that is no emulated board runs the model, and is then no source of a count."""
    runner = NullTarget().runner
    assert runner is not None
    transport = Local()
    with pytest.raises(NotCounted, match="counted here and on emulated boards"):
        count_model(transport, runner, write_null(tmp_path / "m.npz", 8), here=False, runs=1)
    transport.close()


@pytest.mark.parametrize(
    "text",
    [
        "mark 1 5\nmark 1 6\n",
        "mark 1 5\nmark 2 4\n",
        "mark 1 -5\n",
        "mark 1 5 6\n",
        "\x00" * 9,
        "mark 1000 5",
        "mark 1 " + "9" * 21,
    ],
)
def test_counts_are_read_strictly(text: str) -> None:
    """Lines that the plugin does not write, and counts that run backwards, are named."""
    with pytest.raises(DeviceError, match=r"did not write|twice or counts backwards"):
        read_counts(text)


def test_what_other_processes_end_with_is_left_out() -> None:
    """Children that the marked process starts leave a line each."""
    assert read_counts("end 0 99\nmark 1 100\nend 0 5\nmark 2 160\nend 0 170\n") == {1: 100, 2: 160}


@pytest.mark.parametrize("there", [(), ("qemu-x86_64",)], ids=["no qemu", "no gcc"])
@needs_counting
def test_what_is_missing_is_told_before_anything_is_measured(
    there: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without QEMU, or a compiler for its plugin, the error is the command that installs it."""
    for name in there:
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "cache"))
    find_qemu.cache_clear()
    with pytest.raises(MissingExtraError, match=r"apt-get install (gcc|qemu-user)") as raised:
        check_counting(Job(model=Path("m.onnx")))
    assert "\n" not in str(raised.value)
    find_qemu.cache_clear()
