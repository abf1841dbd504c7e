"""Probe, doctor, surroundings and meters through the real OpenSSH client and a real sshd: this machine, as a board."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ssh_server import Lab, needs_sshd

from edgekd.bench.files import Here, There
from edgekd.bench.meters import find_meter
from edgekd.bench.meters.pmic import Pmic
from edgekd.bench.surroundings import look
from edgekd.bench.transports import connect
from edgekd.doctor_device import examine_address
from edgekd.errors import DeviceError
from edgekd.probe import probe_address, save

pytestmark = needs_sshd

VCGENCMD = """#!/bin/sh
case $1 in
pmic_read_adc) echo " VDD_CORE_A current(7)=5.00000000A"; echo " VDD_CORE_V volt(15)=0.80000000V";;
get_throttled) echo throttled=0x50000;;
*) exit 1;;
esac
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A board that has a Raspberry Pi's firmware command, synthetic, with a steady 4 W."""
    made = Lab(tmp_path_factory.mktemp("lab"))
    board = made.board(start=False)
    tools = board.folder / "tools"
    tools.mkdir()
    (tools / "vcgencmd").write_text(VCGENCMD)
    (tools / "vcgencmd").chmod(0o755)
    own = board._lines()[-1].replace("PATH=", f"PATH={tools}:")
    board.extra = [own]
    board.start()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def _ways(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.enter(monkeypatch, tmp_path)
    monkeypatch.setenv("EDGEKD_DEVICES", str(tmp_path / "own"))


def test_probed_over_ssh_it_is_the_same_machine(tmp_path: Path) -> None:
    """Every fact is that of the machine read directly, but for its name; and its profile is written."""
    found, direct = probe_address("ssh:board"), probe_address("local")
    assert replace(found, name="local", meters=(), sources={}) == replace(direct, meters=(), sources={})
    assert save(found, "lab-board").is_file()


def test_the_doctor_sees_the_board() -> None:
    """It answers with the same kind of lines as this machine."""
    found = {line["name"]: line["state"] for line in examine_address("ssh:board")}
    assert (found["system"], found["python"], found["numpy"], found["disk"]) == ("ok", "ok", "ok", "ok")


def test_its_surroundings_are_those_of_this_machine() -> None:
    """What its firmware says, and swap as this machine has it."""
    with contextlib.closing(connect("ssh:board")) as transport:
        found = look(There(transport))
    assert found.throttled_bits == 0x50000
    assert (found.heat, found.battery_percent) == (look(Here()).heat, look(Here()).battery_percent)


def test_energy_over_ssh_is_within_two_percent() -> None:
    """A steady 4 W, read over the link, for as long as was waited."""
    with contextlib.closing(connect("ssh:board")) as transport:
        meter = Pmic(There(transport), interval_s=0.05)
        meter.start()
        begin = time.perf_counter()
        time.sleep(2)
        elapsed = time.perf_counter() - begin
        found = meter.stop().joules
    assert 4 * elapsed * 0.98 <= found <= 4 * (elapsed + 0.5)


def test_a_meter_beside_a_run_does_not_end_it() -> None:
    """What a reading leaves behind is ended on the board; what runs at the same time is not."""
    with contextlib.closing(connect("ssh:board")) as transport:
        meter = Pmic(There(transport), interval_s=0.05)
        meter.start()
        done = transport.run(["sh", "-c", "sleep 2; echo whole"], 60)
        found = meter.stop()
    assert (done.rc, done.stdout) == (0, "whole\n")
    assert found.joules > 0


def test_a_sensor_whose_board_goes_away_is_an_error(lab: Lab) -> None:
    """A connection that breaks while a meter reads is a lost sensor, in time."""
    going = lab.board("going", extra=lab.boards["board"].extra)
    transport = connect("ssh:going")
    meter = Pmic(There(transport), interval_s=0.05)
    meter.start()
    going.stop()
    time.sleep(0.5)
    begin = time.monotonic()
    with pytest.raises(DeviceError):
        meter.stop()
    assert time.monotonic() - begin < 30
    with contextlib.suppress(DeviceError):
        transport.close()


def test_a_meter_is_found_over_ssh() -> None:
    """On a board of ARM the Pi's sensor would be chosen; this one's processor has others."""
    device = replace(probe_address("ssh:board"), arch="aarch64", os="linux")
    with contextlib.closing(connect("ssh:board")) as transport:
        found = find_meter(device, There(transport))
    assert not isinstance(found, str)
    assert found.name in ("pmic", "ina3221")
