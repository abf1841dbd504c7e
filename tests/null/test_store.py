"""The run folder: a unit of work is recorded once and whole, or not at all; a folder belongs to one run at a time."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekd.errors import InputError, StorageError
from edgekd.store import MEASUREMENTS, Store

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@contextlib.contextmanager
def opened(folder: Path, replay: Path | None = None) -> Iterator[Store]:
    store = Store(folder, replay)
    try:
        yield store
    finally:
        store.close()


def never() -> object:
    raise AssertionError("computed again")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 64 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> None:
    with contextlib.suppress(OSError), (folder / "filling").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_a_unit_is_computed_once(tmp_path: Path) -> None:
    """The second asking takes the record, in this process and in the next one."""
    with opened(tmp_path) as store:
        assert store.once("distil", {"b": 1, "a": 2}, lambda: [1, 2]) == [1, 2]
        assert store.once("distil", {"a": 2, "b": 1}, never) == [1, 2]
    with opened(tmp_path) as store:
        assert store.once("distil", {"a": 2, "b": 1}, never) == [1, 2]
        assert store.units("distil") == [[1, 2]]
        assert list(store.seconds()) == ["distil"]


def test_times_are_of_what_was_asked_for(tmp_path: Path) -> None:
    """A folder may hold work that this run never needed, another search's say: its time is not this run's."""
    with opened(tmp_path) as store:
        store.once("distil", 1, lambda: 1)
        store.once("rate", 1, lambda: 1)
    with opened(tmp_path) as store:
        assert store.seconds() == {}
        store.once("rate", 1, never)
        assert list(store.seconds()) == ["rate"]


def test_kinds_and_keys_tell_units_apart(tmp_path: Path) -> None:
    """Another kind or another key is another unit."""
    with opened(tmp_path) as store:
        results = [store.once(kind, key, lambda n=number: n) for number, (kind, key) in enumerate([("a", 1), ("b", 1), ("a", 2)])]
    assert results == [0, 1, 2]


def test_the_first_answer_is_the_recorded_one(tmp_path: Path) -> None:
    """What JSON makes of a result (a tuple becomes a list) is what the first caller gets too."""
    with opened(tmp_path) as store:
        assert store.once("build", 1, lambda: {"shape": (1, 2)}) == {"shape": [1, 2]}


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failing_computation_records_nothing(failure: type[BaseException], tmp_path: Path) -> None:
    """A unit that raised, or was interrupted, is computed again."""

    def fails() -> object:
        raise failure

    with opened(tmp_path) as store:
        with pytest.raises(failure):
            store.once("distil", 1, fails)
        assert store.units("distil") == []
        assert store.once("distil", 1, lambda: 7) == 7


def test_a_result_that_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    """NaN is no result: it would not come back as it was."""
    with opened(tmp_path) as store, pytest.raises(ValueError, match="JSON"):
        store.once("profile", 1, lambda: float("nan"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=JSON, value=JSON)
def test_any_json_comes_back_as_it_was(key: object, value: object, tmp_path: Path) -> None:
    """Any key names a unit, and any JSON value comes back equal."""
    with opened(tmp_path) as store:
        kind = f"any {json.dumps(value)}"
        assert store.once(kind, key, lambda: value) == value
        assert store.once(kind, key, never) == value


def test_a_changed_project_is_refused_by_name(tmp_path: Path) -> None:
    """The folder goes on with the same project only; the table and key that changed are named."""
    raw = {"data": {"source": "digits"}, "distill": {"epochs": 3}}
    with opened(tmp_path / "run") as store:
        store.bind(raw, tmp_path)
        store.bind(dict(reversed(raw.items())), tmp_path)
        with pytest.raises(InputError, match=r"\[distill\] epochs changed"):
            store.bind({**raw, "distill": {"epochs": 4}}, tmp_path)
        with pytest.raises(InputError, match=r"\[search\] changed"):
            store.bind({**raw, "search": {"seed": 1}}, tmp_path)
        assert store.project() == (raw, tmp_path)


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    """The project of an empty folder, and a replay of one, are input errors."""
    with opened(tmp_path / "run") as store, pytest.raises(InputError, match="holds no run"):
        store.project()
    with pytest.raises(InputError, match="holds no run"):
        Store(tmp_path / "other", tmp_path)


def test_a_folder_is_used_by_one_process(tmp_path: Path) -> None:
    """A second opener is refused while the first lives, and welcome after."""
    with opened(tmp_path), pytest.raises(InputError, match="in use by another edgekd"):
        Store(tmp_path)
    with opened(tmp_path) as store:
        assert store.units("distil") == []


def test_a_replay_gives_measurements_only(tmp_path: Path) -> None:
    """Figures of a machine are taken from the other run, and recorded; everything else is computed here."""
    with opened(tmp_path / "first") as first:
        for kind in (*MEASUREMENTS, "distil", "build"):
            first.once(kind, 1, lambda k=kind: f"{k} of the first")
    with opened(tmp_path / "second", replay=tmp_path / "first") as second:
        for kind in MEASUREMENTS:
            assert second.once(kind, 1, never) == f"{kind} of the first"
        assert second.once("distil", 1, lambda: "new") == "new"
        assert second.once("profile", 2, lambda: "not there") == "not there"
    with opened(tmp_path / "second") as second:
        assert second.once("profile", 1, never) == "profile of the first"


@pytest.mark.parametrize("content", [b"", b"noise" * 999])
def test_a_replay_of_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    """A replay whose file is empty or no database is an input error, not a crash."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "run.sqlite").write_bytes(content)
    with pytest.raises(InputError), opened(tmp_path / "run", replay=tmp_path / "other") as store:
        store.once("profile", 1, never)


def test_a_damaged_record_is_refused(tmp_path: Path) -> None:
    """A folder whose record is noise is not written to."""
    (tmp_path / "run.sqlite").write_bytes(b"noise" * 999)
    with pytest.raises(InputError, match="damaged"):
        Store(tmp_path)
    assert (tmp_path / "run.sqlite").read_bytes() == b"noise" * 999


def test_a_fresh_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    """What was there before, and leftovers of a crash, are gone; nothing but the finished folder remains."""
    place = tmp_path / "artifacts" / "fp32"
    with opened(tmp_path) as store:
        for name in ("old", "new"):
            (place.parent / ".fp32.building").mkdir(parents=True, exist_ok=True)
            (place.parent / ".fp32.building" / "leftover").touch()
            with store.fresh_folder(place) as folder:
                assert list(folder.iterdir()) == []
                (folder / name).write_text(name)
        assert [file.name for file in place.iterdir()] == ["new"]
        assert [file.name for file in place.parent.iterdir()] == ["fp32"]


def test_a_failed_fresh_folder_leaves_the_old_one(tmp_path: Path) -> None:
    """A block that raises changes nothing and leaves nothing."""
    place = tmp_path / "fp32"
    with opened(tmp_path) as store:
        with store.fresh_folder(place) as folder:
            (folder / "model").write_text("good")
        with pytest.raises(ZeroDivisionError), store.fresh_folder(place) as folder:  # noqa: PT012
            (folder / "model").write_text("half")
            raise ZeroDivisionError
        assert (place / "model").read_text() == "good"
        assert not list(tmp_path.glob(".fp32*"))


@pytest.mark.parametrize("place", ["file/run", "file", "/proc/edgekd"])
def test_a_place_that_cannot_be_written_is_a_storage_error(place: str, tmp_path: Path) -> None:
    """A file where a folder should be, and a file system that takes nothing, are named with what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="choose another --out"):
        Store(tmp_path / place)


def test_a_full_disk_is_a_storage_error(tiny_disk: Path) -> None:
    """A record that the disk has no room for says so; what was recorded before can still be read."""
    with opened(tiny_disk) as store:
        store.once("build", 1, lambda: "small")
        fill(tiny_disk)
        with pytest.raises(StorageError, match="free some space"):
            store.once("build", 2, lambda: "x" * 100_000)
        (tiny_disk / "filling").unlink()
    with opened(tiny_disk) as store:
        assert store.once("build", 1, never) == "small"
        assert store.once("build", 2, lambda: "again") == "again"


def test_a_full_disk_at_the_beginning_is_a_storage_error(tiny_disk: Path) -> None:
    """No room for an empty record is found out at once."""
    fill(tiny_disk)
    with pytest.raises(StorageError):
        Store(tiny_disk / "run")
