"""A device over the real adb client, and a daemon that speaks adb's protocol, with and without a phone's newer features."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from adb_daemon import Daemon, Server, needs_adb

from edgekd.bench.measure import measure_model
from edgekd.bench.settings import Settings
from edgekd.bench.transports import DeviceFault, base, connect
from edgekd.bench.transports.remote import Remote
from edgekd.device import Device
from edgekd.null_target import NullTarget

pytestmark = needs_adb
Phones = Callable[..., Daemon]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("adb"))
    yield made
    made.stop()


@pytest.fixture
def phones(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Phones]:
    """A function that starts phones."""
    server.enter(monkeypatch, tmp_path)
    made: list[Daemon] = []

    def start(*, shell_v2: bool = True) -> Daemon:
        made.append(Daemon(tmp_path / f"phone{len(made)}", shell_v2=shell_v2))
        return made[-1]

    yield start
    for phone in made:
        phone.stop()


@pytest.fixture(params=[True, False], ids=["shell_v2", "old"])
def phone(phones: Phones, request: pytest.FixtureRequest) -> Daemon:
    return phones(shell_v2=request.param)


@pytest.fixture
def device(phone: Daemon) -> Iterator[Remote]:
    found = connect("adb:" + phone.serial)
    assert isinstance(found, Remote)
    yield found
    found.close()


def running(mark: str) -> bool:
    return any(process.info["cmdline"] == ["sleep", mark] for process in psutil.process_iter(["cmdline"]))


def is_gone(mark: str) -> bool:
    for _ in range(100):
        if not running(mark):
            return True
        time.sleep(0.05)
    return False


def fault_of(device: Remote, *argv: str, timeout_s: float = 30) -> DeviceFault:
    with pytest.raises(DeviceFault) as caught:
        device.run(list(argv), timeout_s)
    return caught.value


def test_the_daemon_is_a_phone_to_adb(phone: Daemon, device: Remote) -> None:
    """adb itself sees a device whose shell tells exit codes only where it has shell_v2."""
    done = subprocess.run(["adb", "-s", phone.serial, "shell", "exit 7"], capture_output=True, check=False)
    assert done.returncode == (7 if "shell_v2" in phone.features else 0)


def test_exit_codes_and_streams_come_back(device: Remote) -> None:
    """Exit code, stdout and stderr are told apart, whatever adb's shell can."""
    done = device.run(["sh", "-c", "echo out; echo no >&2; exit 9"], 30)
    assert (done.rc, done.stdout, done.stderr) == (9, "out\n", "no\n")


def test_a_signal_is_told_as_one(device: Remote) -> None:
    """A crash has its signal's number."""
    assert device.run(["sh", "-c", "kill -11 $$"], 30).rc == -11


def test_arguments_are_text(device: Remote) -> None:
    """Nothing in an argument means anything to the shells on the way."""
    words = ["$(touch x)", "`id`", "a 'b' \"c\"", "*", "-n", "", "line\nline", "\\", "; exit 3", "~"]
    assert device.run([device.python, "-c", "import sys; print(sys.argv[1:])", *words], 30).stdout == f"{words}\n"


def test_files_go_and_come_back(device: Remote, tmp_path: Path) -> None:
    """A folder is pushed, a file of every byte comes back."""
    inner = tmp_path / "model.mlpackage" / "a b"
    inner.mkdir(parents=True)
    (inner / "w").write_bytes(bytes(range(256)) * 3000)
    device.push(tmp_path / "model.mlpackage", "model.mlpackage")
    device.pull("model.mlpackage/a b/w", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == (inner / "w").read_bytes()


def test_timeout_ends_what_runs_there(device: Remote) -> None:
    """A run that takes too long is a named fault, and nothing of it stays."""
    assert fault_of(device, "sh", "-c", "setsid sleep 614 & sleep 614", timeout_s=1).cause == "timeout"
    assert is_gone("614")


def test_a_flood_of_output_is_refused(device: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    """More output than any answer has is a named fault."""
    monkeypatch.setattr(base, "MAX_OUTPUT_BYTES", 1 << 20)
    assert fault_of(device, "yes").cause == "output"


def test_close_leaves_nothing(phone: Daemon) -> None:
    """Folder and lock are gone."""
    found = connect("adb:" + phone.serial)
    assert phone.left()
    found.close()
    assert phone.left() == []


def test_disconnect_in_mid_push(phone: Daemon, device: Remote, tmp_path: Path) -> None:
    """A connection that breaks while a file goes over is named; the next push, over a new one, succeeds."""
    (tmp_path / "big").write_bytes(bytes(3 << 20))
    phone.cut_push_after = 1 << 20
    with pytest.raises(DeviceFault) as caught:
        device.push(tmp_path / "big", "big")
    assert caught.value.cause == "lost"
    device.close()
    assert phone.left() == []


def test_connection_cut_in_mid_run(phone: Daemon, device: Remote) -> None:
    """A connection that breaks in mid-run is named, and what ran there is ended over a new one."""
    threading.Timer(0.5, phone.cut).start()
    assert fault_of(device, "sleep", "615").cause == "lost"
    assert is_gone("615")
    device.close()
    assert phone.left() == []


def test_reboot_in_mid_run(phone: Daemon, device: Remote) -> None:
    """A phone that is back with another boot id has restarted."""
    phone.reboots, phone.cut_after = True, 2000
    assert fault_of(device, "sh", "-c", "sleep 0.3; head -c 5000 /dev/zero").cause == "rebooted"


def test_truncated_reply(phone: Daemon, device: Remote) -> None:
    """An answer that lacks its end is no answer."""
    phone.change = lambda data: data[:-12] if data.endswith(b"\n") else data
    assert fault_of(device, "echo", "hello").cause == "truncated"
    phone.change = lambda data: data


def test_answer_for_another_job(phone: Daemon, device: Remote) -> None:
    """An answer that carries another job's token is refused."""
    other = b"\nedgekd-0123456789abcdef 0\n"
    phone.change = lambda data: other if b"\nedgekd-" in data else data
    assert fault_of(device, "true").cause == "another-job"
    phone.change = lambda data: data


def test_offline(phones: Phones) -> None:
    """A phone that accepts a connection and says nothing is offline, and nothing waits for it for ever."""
    phone = phones()
    phone.silent = True
    started = time.monotonic()
    with pytest.raises(DeviceFault) as caught:
        connect("adb:" + phone.serial)
    assert caught.value.cause == "offline"
    assert time.monotonic() - started < 60


def test_unauthorized(phones: Phones) -> None:
    """A phone that does not know this computer's key is named, with what to do."""
    phone = phones()
    phone.refuses_key = True
    with pytest.raises(DeviceFault, match="accept the question on its screen") as caught:
        connect("adb:" + phone.serial)
    assert caught.value.cause == "unauthorized"


def test_nothing_listens(phones: Phones) -> None:
    """An address where nothing listens is named."""
    phone = phones()
    phone.stop()
    with pytest.raises(DeviceFault) as caught:
        connect("adb:" + phone.serial)
    assert caught.value.cause == "connection-refused"


def test_a_serial_that_adb_does_not_see(phones: Phones) -> None:
    """A phone that is not plugged in is named."""
    phones()
    with pytest.raises(DeviceFault, match="adb devices -l") as caught:
        connect("adb:0123456789ABCDEF")
    assert caught.value.cause == "not-found"


def test_several_phones_at_once(phones: Phones) -> None:
    """Phones do not wait for each other."""
    both = [connect("adb:" + phones().serial) for _ in range(2)]
    folders = {device.run(["pwd"], 30).stdout for device in both}
    for device in both:
        device.close()
    assert len(folders) == 2


def test_measures_a_model(phone: Daemon, tmp_path: Path) -> None:
    """A model file goes there, is run by its runner, and comes back as a record; nothing stays."""
    model = tmp_path / "model.npz"
    weight = np.ones((2, 16), np.float32)
    arrays = {"weight": weight, "bias": np.zeros(2, np.float32), "scale": np.float32(1), "zero_point": 0}
    np.savez(model, **arrays, shape=(1, 1, 16), dtype="float32")
    here = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}[os.uname().machine]
    device = Device(name="phone", os="linux", arch=here, targets=("null",))  # type: ignore[arg-type]
    address, settings = "adb:" + phone.serial, Settings.quick().exactly(70)
    record = measure_model(model, device=device, connect=address, settings=settings, target=NullTarget())
    assert (record["latency_ms"]["n"], phone.left()) == (70, [])
