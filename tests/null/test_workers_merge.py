"""The store takes over what workers recorded: each unit once, whole or not at all, whatever comes in whatever order."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekd.errors import InputError, StorageError
from edgekd.store import Store, Unrecorded
from edgekd.workers.packet import Packet, Unit

FOLDER = "candidates/net/artifacts/null/fp32"


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Store]:
    store = Store(folder)
    try:
        yield store
    finally:
        store.close()


def training(number: int, content: bytes | None = None) -> tuple[Unit, dict[str, bytes]]:
    """A unit of a training as a worker would send it, and its weights file."""
    path = f"candidates/net-{number}/final/weights.safetensors"
    value = json.dumps({"weights": path, "number": number})
    own = content or f"weights {number}".encode()
    return Unit(kind="distil", key=f"{number:064}", value=value, seconds=1.0, files=(path,)), {path: own}


def built() -> tuple[Unit, dict[str, bytes]]:
    """A unit of a build: a folder of two files, one of them a level deeper."""
    files = {f"{FOLDER}/model": b"model", f"{FOLDER}/data/weights": b"1234"}
    value = json.dumps({"path": f"{FOLDER}/model"})
    return Unit(kind="build", key="b" * 64, value=value, seconds=1.0, files=tuple(files), folder=FOLDER), files


def packet(*parts: tuple[Unit, dict[str, bytes]]) -> Packet:
    return Packet(units=tuple(unit for unit, _ in parts), files={k: v for _, files in parts for k, v in files.items()})


def content(folder: Path) -> tuple[set[tuple[str, ...]], dict[str, bytes]]:
    """All that a run's folder holds: units, and files by path."""
    with opened(folder) as store:
        units = {(unit.kind, unit.key, unit.value) for unit in store.packet(store.since(0)).units}
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in (folder / "candidates").rglob("*") if p.is_file()}
    return units, files


def test_what_a_worker_recorded_is_taken_over(tmp_path: Path) -> None:
    """A packet made of one store, merged into another: the same units and files, which `once` then finds."""
    with opened(tmp_path / "worker") as worker:
        before = worker.last
        worker.merge(packet(training(1), built()))
        sent = worker.packet(worker.since(before))
    with opened(tmp_path / "driver") as driver:
        assert driver.merge(Packet.from_bytes(sent.to_bytes()), {"task": "a"}) == 2
        assert driver.merge(sent, {"task": "b"}) == 0
        assert [(a["task"], a["recorded"], a["repeated"]) for a in driver.attempts()] == [("a", 2, 0), ("b", 0, 2)]
    assert content(tmp_path / "driver") == content(tmp_path / "worker")
    assert (tmp_path / "driver" / FOLDER / "data" / "weights").read_bytes() == b"1234"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers=st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=4), max_size=6), data=st.data())
def test_order_and_repetition_do_not_matter(
    numbers: list[list[int]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any order of the same packets, some of them twice, overlapping, ends in the same content."""
    packets = [packet(*(training(number) for number in some)) for some in numbers] + [packet(built())]
    shuffled = data.draw(st.permutations(packets + data.draw(st.lists(st.sampled_from(packets), max_size=3))))
    folders = [tmp_path_factory.mktemp("run") for _ in range(2)]
    for folder, order in zip(folders, (packets, shuffled), strict=True):
        with opened(folder) as store:
            new = sum(store.merge(each) for each in order)
            assert new == len({number for some in numbers for number in some}) + 1
    assert content(folders[0]) == content(folders[1])


def test_what_is_recorded_stays(tmp_path: Path) -> None:
    """Another result of a recorded unit changes neither its value nor its files."""
    with opened(tmp_path) as store:
        store.merge(packet(training(1)))
        other, files = training(1, b"others")
        assert store.merge(packet((Unit(**{**vars(other), "value": '{"weights": null}'}), files))) == 0
    units, files = content(tmp_path)
    assert {json.loads(value)["number"] for _, _, value in units} == {1}
    assert list(files.values()) == [b"weights 1"]


def test_a_unit_that_comes_twice_in_a_packet_is_one(tmp_path: Path) -> None:
    """The first of equal names counts."""
    with opened(tmp_path) as store:
        assert store.merge(packet(training(1), training(1))) == 1
        assert len(store.since(0)) == 1


def test_a_built_folder_replaces_what_was_left_there(tmp_path: Path) -> None:
    """Leftovers of a build that was cut off are no part of the artifact that arrives."""
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "leftover").touch()
    with opened(tmp_path) as store:
        store.merge(packet(built()))
    assert sorted(content(tmp_path)[1]) == sorted(built()[1])


def test_links_lead_nowhere(tmp_path: Path) -> None:
    """A link in the run's folder does not let a packet write outside of it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "candidates").symlink_to(outside)
    for part in (training(1), built()):
        with opened(tmp_path / "run") as store, pytest.raises(InputError, match="link"):
            store.merge(packet(part))
    assert not list(outside.iterdir())
    with opened(tmp_path / "run") as store:
        assert store.since(0) == []


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import edgekd.store, edgekd.workers.placing
from edgekd.store import Store
from test_workers_merge import built, packet, training

calls = 0
def dying(real):
    def call(*arguments):
        global calls
        calls += 1
        if calls == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    return call

os.replace, os.fsync = dying(os.replace), dying(os.fsync)
edgekd.store.sync_folder = edgekd.workers.placing.sync_folder = dying(edgekd.workers.placing.sync_folder)
store = Store(Path({run!r}))
store.merge(packet(training(1), training(2), built()), {{"task": "a"}})
sys.exit(0)
"""


@pytest.mark.parametrize("at", range(1, 20, 3))
def test_a_merge_that_is_killed_is_done_again(at: int, tmp_path: Path) -> None:
    """SIGKILL between any two steps: nothing is recorded without its files, and the next merge completes it."""
    run = tmp_path / "run"
    code = KILLED.format(tests=str(Path(__file__).parent), at=at, run=str(run))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    assert at > 10 or ended.returncode == -signal.SIGKILL
    whole = packet(training(1), training(2), built())
    with opened(run) as store:
        found = store.since(0)
        assert len(found) in (0, 3)
        assert len(store.attempts()) == len(found) // 3
        assert store.packet(found).files == (whole.files if found else {})
        store.merge(whole)
    units, files = content(run)
    assert units == {(unit.kind, unit.key, unit.value) for unit in whole.units}
    assert {path: content for path, content in files.items() if "/." not in path} == whole.files


def test_a_failing_transaction_records_nothing(tmp_path: Path) -> None:
    """A unit that the database refuses takes the packet's other units and its attempt with it."""
    refused = Unit(kind="distil", key="2", value="2", seconds=[])  # type: ignore[arg-type]
    with opened(tmp_path) as store:
        with pytest.raises(StorageError):
            store.merge(packet(training(1), (refused, {})), {"task": "a"})
        assert (store.since(0), store.attempts()) == ([], [])
        assert store.merge(packet(training(1))) == 1
        assert store.once("other", 1, lambda: 7) == 7


def test_asking_computes_nothing(tmp_path: Path) -> None:
    """Recorded units are read and named; the first that is missing is named by the error. Outside, all is as before."""

    def never() -> object:
        raise AssertionError("computed")

    with opened(tmp_path) as store:
        store.once("distil", 1, lambda: "first")
        with store.asking() as read, pytest.raises(Unrecorded) as found:  # noqa: PT012
            assert store.once("distil", 1, never) == "first"
            store.once("build", 2, never)
        assert [kind for kind, _ in read] == ["distil"]
        assert found.value.name[0] == "build"
        assert store.once("build", 2, lambda: 5) == 5


def test_a_packet_of_units_that_are_not_there_is_empty(tmp_path: Path) -> None:
    """What a task needs may have gone: the worker computes it then."""
    with opened(tmp_path) as store:
        assert store.packet([("distil", "0" * 64)], {"a": 1}) == Packet(note={"a": 1})
