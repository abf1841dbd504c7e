"""A packet comes back as it was sent, or is refused: damage and paths that lead elsewhere write nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.errors import InputError
from edgekd.workers.packet import Packet, Unit

NAMES = st.from_regex(r"[a-z0-9._-]{0,8}[a-z0-9]", fullmatch=True)
PATHS = st.lists(NAMES, min_size=2, max_size=4).map(lambda parts: "/".join(["candidates", *parts]))


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    files = draw(st.dictionaries(PATHS, st.binary(max_size=40), max_size=4))
    units = []
    for index, path in enumerate(files):
        value = json.dumps(draw(st.text(max_size=8) | st.integers(0, 9)))
        units.append(Unit(kind="distil", key=f"{index}", value=value, seconds=draw(st.floats(0, 9)), files=(path,)))
    return Packet(units=tuple(units), files=files, note={"text": draw(st.text(max_size=8))})


@given(packet=packets())
def test_a_packet_comes_back_as_it_was(packet: Packet) -> None:
    """Units, files and note survive the way over the wire."""
    assert Packet.from_bytes(packet.to_bytes()) == packet


@given(packet=packets(), data=st.data())
def test_a_damaged_packet_is_refused(packet: Packet, data: st.DataObject) -> None:
    """Cut short, or with bytes behind it, a packet is no packet."""
    content = packet.to_bytes()
    end = data.draw(st.integers(0, len(content) - 1))
    for damaged in (content[:end], content + b"\0"):
        with pytest.raises(InputError, match="no packet"):
            Packet.from_bytes(damaged)


def test_a_changed_file_is_refused() -> None:
    """One flipped bit of a file is found by its hash."""
    unit = Unit(kind="distil", key="1", value="1", seconds=0.0, files=("candidates/a/w",))
    content = bytearray(Packet(units=(unit,), files={"candidates/a/w": b"weights"}).to_bytes())
    content[-1] ^= 1
    with pytest.raises(InputError, match="damaged"):
        Packet.from_bytes(bytes(content))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../run.sqlite",
        "candidates/../../x/y",
        "candidates/a/../../run.sqlite",
        "run.sqlite",
        "report.json",
        "candidates",
        "candidates/a",
        "candidates//a/b",
        "candidates/a/./b",
        "candidates/a/b/",
        "candidates\\a\\b",
        "candidates/a/b\0c",
    ],
)
def test_a_path_out_of_the_candidates_is_refused(path: str) -> None:
    """No packet names the record, a report, a folder of candidates, or anything outside the run."""
    for unit in (
        Unit(kind="distil", key="1", value="1", seconds=0.0, files=(path,)),
        Unit(kind="build", key="1", value="1", seconds=0.0, folder=path or "."),
    ):
        packet = Packet(units=(unit,), files=dict.fromkeys(unit.files, b""))
        with pytest.raises(InputError, match="no packet"):
            Packet.from_bytes(packet.to_bytes())


def test_a_folder_holds_its_units_files() -> None:
    """A unit that is placed as a folder brings no file from beside it, nor one that the packet has not."""
    inside, beside = "candidates/a/fp32/model", "candidates/a/w8/model"
    for files, sent in (((beside,), {beside: b""}), ((inside, beside), {inside: b"", beside: b""}), ((inside,), {})):
        unit = Unit(kind="build", key="1", value="1", seconds=0.0, files=files, folder="candidates/a/fp32")
        with pytest.raises(InputError, match="has no file"):
            Packet.from_bytes(Packet(units=(unit,), files=sent).to_bytes())


@pytest.mark.parametrize("content", [b"", b"EDGEKD1\n", b"\x80\x04K\x01.", b"EDGEKD1\n" + bytes(8) + b"{}"])
def test_something_else_is_no_packet(content: bytes) -> None:
    """A pickle, a beginning and an empty header are refused without being interpreted."""
    with pytest.raises(InputError, match="no packet"):
        Packet.from_bytes(content)
