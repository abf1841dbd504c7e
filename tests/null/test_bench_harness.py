"""The file that is pushed to devices, run as it is there: beside a runner, in a fresh process."""

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.bench import feeding, harness
from edgekd.bench.reply import Reply, RunFailed, parse
from edgekd.bench.runs import DEVICE_FILES
from edgekd.bench.transports.local import Local

RUNNER = """
import numpy as np
def version(): return {"toy": "1.0"}
class Toy:
    inputs = INPUTS
    def __init__(self, path): self.held = np.ones(SIZE)
    def run(self, arrays):
        BODY
        return [arrays[0]]
def load(path, threads): return Toy(path)
"""
JOB = {
    "model": "model.bin",
    "threads": 1,
    "seed": 0,
    "inputs": None,
    "samples": None,
    "runner": "runner",
    "streams": 1,
    "batch": None,
    "warmup_queries": 2,
    "queries": None,
    "min_queries": 5,
    "max_queries": 50,
    "min_seconds": 0.0,
    "max_seconds": 20.0,
}


class Board:
    """A folder with the harness, a toy runner and a model, as on a device."""

    def __init__(self, local: Local, folder: Path) -> None:
        self.local, self.folder = local, folder
        for name in DEVICE_FILES:
            local.push(Path(harness.__file__).with_name(name), name)

    def put(self, name: str, content: str | bytes) -> None:
        file = self.folder / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.local.push(file, name)

    def run(
        self, mode: str, *, body: str = "pass", inputs: Any = None, size: int = 1, queries: int | None = None, **job: Any
    ) -> Reply:
        specs = inputs or [{"name": "x", "shape": [1, 3], "dtype": "float32"}]
        self.put("runner.py", RUNNER.replace("INPUTS", repr(specs)).replace("BODY", body).replace("SIZE", str(size)))
        self.put("job.json", json.dumps({**JOB, "mode": mode, "queries": queries, **job}))
        done = self.local.run([self.local.python, "harness.py", "job.json"], 60)
        return parse(done, mode, where="board", queries=queries)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    local = Local()
    yield Board(local, tmp_path)
    local.close()


@pytest.mark.parametrize("name", DEVICE_FILES)
def test_is_python_3_8_and_imports_only_what_boards_have(name: str) -> None:
    """The syntax is Python 3.8's; what is imported is the standard library, numpy, and the files that lie beside it."""
    tree = ast.parse(Path(harness.__file__).with_name(name).read_text(), feature_version=(3, 8))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names <= {
        "numpy",
        *(file.removesuffix(".py") for file in DEVICE_FILES),
    }


def test_the_harness_can_fail_before_numpy_is_there() -> None:
    """A board without numpy hears so in an answer: at its top the harness imports the standard library only."""
    tree = ast.parse(Path(harness.__file__).read_text())
    assert {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names} <= sys.stdlib_module_names


def test_exact_queries(board: Board) -> None:
    """Exactly so many queries are timed as were asked for, whatever the other limits say."""
    assert len(board.run("latency", queries=7, min_queries=20, max_queries=3).latency_ns) == 7


def test_stops_at_the_minimum_when_there_is_no_least_time(board: Board) -> None:
    """With no least time the least number of queries is what is made."""
    assert len(board.run("latency").latency_ns) == 5


def test_stops_at_the_maximum_before_the_least_time(board: Board) -> None:
    """The greatest number of queries ends the loop even where the least time is not over."""
    assert len(board.run("latency", min_seconds=10.0).latency_ns) == 50


def test_stops_when_time_is_over(board: Board) -> None:
    """A model too slow for the least number of queries is timed at least once, and not much longer than allowed."""
    found = board.run("latency", body="__import__('time').sleep(0.3)", warmup_queries=0, max_seconds=0.5, min_queries=40)
    assert 1 <= len(found.latency_ns) <= 2


def test_a_query_lasts_what_it_lasts(board: Board) -> None:
    """Times are of the whole query, in ns: one that sleeps 20 ms is never shorter."""
    assert min(board.run("latency", body="__import__('time').sleep(0.02)", queries=3).latency_ns) >= 20_000_000


def test_memory_holds_the_model_and_not_the_caller(board: Board) -> None:
    """80 MB held by a model show against the empty run; 300 MB of the process that starts it do not."""
    ours = bytearray(300 << 20)
    empty, loaded = (board.run(mode, size=10_000_000).peak_rss_bytes for mode in ("empty", "memory"))
    assert empty is not None
    assert loaded is not None
    assert empty < 200 << 20 < len(ours)
    assert 76e6 < loaded - empty < 100e6


def test_memory_has_the_proportional_size_too(board: Board) -> None:
    """PSS is at most the resident peak, and above what the model holds."""
    found = board.run("memory", size=10_000_000)
    assert found.pss_bytes is not None
    assert found.peak_rss_bytes is not None
    assert 80e6 < found.pss_bytes <= found.peak_rss_bytes


def test_what_a_runtime_prints_does_not_reach_the_answer(board: Board) -> None:
    """Text on stdout, from Python or from native code, before or after the answer, is no part of it."""
    body = "print('chatter'); __import__('os').write(1, b'native'); __import__('atexit').register(print, 'bye')"
    assert len(board.run("latency", body=body, queries=3).latency_ns) == 3


def test_a_model_that_fails_in_a_query_is_told(board: Board) -> None:
    """An exception of the runtime comes back as its text, with the stage, and not as a traceback."""
    with pytest.raises(RunFailed) as raised:
        board.run("latency", body="raise RuntimeError('no kernel for Foo')")
    assert (raised.value.stage, raised.value.cause) == ("run", "no kernel for Foo")


def test_a_missing_runtime_is_told(board: Board) -> None:
    """A runner whose runtime is not installed fails in the stage import."""
    board.put("runner.py", "import no_such_runtime")
    board.put("job.json", json.dumps({**JOB, "mode": "empty"}))
    done = board.local.run([board.local.python, "harness.py", "job.json"], 60)
    assert done.rc == 1
    assert done.stderr == ""
    with pytest.raises(RunFailed, match="import failed: No module named 'no_such_runtime'"):
        parse(done, "empty", where="board")


def test_given_inputs_are_used(board: Board, tmp_path: Path) -> None:
    """An input from a .npy file is what the model gets."""
    np.save(tmp_path / "given.npy", np.array([[3, 1, 4]], np.float32))
    board.put("given.npy", (tmp_path / "given.npy").read_bytes())
    found = _with_files(board, ["given.npy"], "assert arrays[0].tolist() == [[3, 1, 4]]")
    assert len(found.latency_ns) == 5


def _with_files(board: Board, names: list[str], body: str) -> Reply:
    board.put("runner.py", RUNNER.replace("INPUTS", "[]").replace("BODY", body).replace("SIZE", "1"))
    board.put("job.json", json.dumps({**JOB, "mode": "latency", "inputs": names}))
    return parse(board.local.run([board.local.python, "harness.py", "job.json"], 60), "latency", where="board")


def test_a_pickle_is_not_opened(board: Board, tmp_path: Path) -> None:
    """An input file that holds Python objects is refused unopened."""
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    board.put("objects.npy", (tmp_path / "objects.npy").read_bytes())
    with pytest.raises(RunFailed, match="load failed: Object arrays cannot be loaded"):
        _with_files(board, ["objects.npy"], "pass")


def test_random_inputs_have_the_model_s_types() -> None:
    """8-bit integers take their whole range, wider integers are valid indices, floats are normal; a free batch is 1."""
    rng = np.random.default_rng(0)
    specs = [{"name": "x", "shape": [None, 4000], "dtype": kind} for kind in ("int8", "uint8", "int64", "bool", "float16")]
    made = {s["dtype"]: feeding.random_input(rng, np.dtype(str(s["dtype"])), feeding.fixed_shape(s)) for s in specs}
    assert {kind: (a.shape, str(a.dtype)) for kind, a in made.items()} == {kind: ((1, 4000), kind) for kind in made}
    ranges = [(int(made[kind].min()), int(made[kind].max())) for kind in ("int8", "uint8", "int64")]
    assert ranges == [(-128, 127), (0, 255), (0, 1)]
    assert abs(float(made["float16"].astype(float).std()) - 1) < 0.1


def test_seeded_inputs_repeat() -> None:
    """The same seed gives the same inputs, another seed others."""
    spec = [{"name": "x", "shape": (1, 8), "dtype": "float32"}]
    first, again, other = (
        feeding.make_batches(spec, {"inputs": None, "seed": seed, "batch": None}, "")[0][0] for seed in (1, 1, 2)
    )
    assert first.tolist() == again.tolist() != other.tolist()


@pytest.mark.parametrize("shape", [[1, "width"], [1, -1, 3], [1, None]])
def test_a_free_dimension_is_refused(shape: list[Any]) -> None:
    """A model whose size is open has no latency of its own: only the batch may be free."""
    with pytest.raises(ValueError, match="'x' has a free dimension"):
        feeding.fixed_shape({"name": "x", "shape": shape})


def test_facts_of_a_board_are_read_where_they_are(tmp_path: Path) -> None:
    """Processor line, governor, clock, the hottest plausible zone and stolen ticks are read; what is absent stays absent."""
    for name, text in {
        "proc/cpuinfo": "processor\t: 0\nFeatures\t: asimd\n\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0\n",
        "proc/stat": "cpu  10 1 5 100 4 0 2 3 0 0\ncpu0 1 1\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
        "sys/class/thermal/thermal_zone0/temp": "48300\n",
        "sys/class/thermal/thermal_zone1/temp": "-273000\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert harness.static_facts(str(tmp_path))["cpu"] == "Raspberry Pi 5 Model B Rev 1.0"
    facts = harness.dynamic_facts(str(tmp_path))
    assert (facts["governor"], facts["frequency_mhz"], facts["temperature_c"]) == ("ondemand", 2400.0, 48.3)
    assert (facts["ticks_total"], facts["ticks_idle"], facts["ticks_steal"]) == (125, 104, 3)
    assert set(harness.dynamic_facts(str(tmp_path / "nothing"))) <= {"clock_s", "process_s", "load_1m"}
