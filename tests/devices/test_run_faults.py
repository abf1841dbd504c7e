"""Faults put into real runs on a device, and into their answers: each has its name, nothing is left, the next run goes on."""

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fault_lab import LONG, Faced, cause_of, impatient, kill_ssh, running, when
from ssh_server import Lab, needs_sshd

from edgekd.bench import runs as runs_module
from edgekd.bench.runs import Runs
from edgekd.bench.settings import Settings
from edgekd.bench.transports import Transport, base, connect
from edgekd.device import Device
from edgekd.null_target import NullTarget

pytestmark = needs_sshd
Patch = pytest.MonkeyPatch
MACHINE = {"x86_64": "x86_64", "aarch64": "aarch64"}.get(os.uname().machine, "x86_64")
BOARD = Device(name="board", os="linux", arch=MACHINE, targets=("null",))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def faced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faced]:
    folder = tmp_path_factory.mktemp("lab")
    lab = Lab(folder)
    with pytest.MonkeyPatch.context() as patch:
        lab.enter(patch, folder)
        yield Faced(lab)
    lab.stop()


# Runs ------------------------------------------------------------------------------------------------------------------

Act = Callable[[Faced, Transport], object]
SLEEPS = ("sh", "-c", f"touch started; sleep {LONG}")


def quietly(faced: Faced, device: Transport) -> None:
    return


def habit(name: str) -> Act:
    return lambda faced, device: faced.habit(name)


def foreign_program(faced: Faced, device: Transport) -> None:
    """An ELF header of a processor that is not this one."""
    program = faced.job() / "program"
    program.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x2b\x00" + bytes(100))
    program.chmod(0o755)


def closed_program(faced: Faced, device: Transport) -> None:
    (faced.job() / "program").write_text("#!/bin/sh\n")


def stolen(faced: Faced, device: Transport) -> None:
    """Another machine that took the device over."""
    lock = faced.board.home / ".edgekd" / "lock"
    lock.unlink()
    lock.symlink_to("0a1b2c3d.77.1700000000.0123456789abcdef:none:1")


RUNNING: dict[str, tuple[tuple[str, ...], Act, str]] = {
    "the connection is cut": (SLEEPS, lambda faced, device: faced.board.cut(), "lost"),
    "the ssh here is killed": (SLEEPS, lambda faced, device: kill_ssh(device), "lost"),
    "it restarts": (SLEEPS, lambda faced, device: faced.reboot(), "rebooted"),
    "all of it freezes": (SLEEPS, lambda faced, device: faced.freeze(), "timeout"),
    "it hangs and ignores signals": (("sh", "-c", f"trap '' TERM HUP INT; sleep {LONG}"), quietly, "timeout"),
    "its children outlive it": (("sh", "-c", f"setsid sleep {LONG} & setsid sleep {LONG} & wait"), quietly, "timeout"),
    "it prints without end": (("yes",), quietly, "output"),
    "it prints one endless line": (("cat", "/dev/zero"), quietly, "output"),
    "the answer is cut off": (("echo", "hello"), habit("cut-end"), "truncated"),
    "another job is answered for": (("true",), habit("other-token"), "another-job"),
    "there is no such program": (("python9",), quietly, "cannot-start"),
    "the program may not be started": (("./program",), closed_program, "cannot-start"),
    "the program is another processor's": (("./program",), foreign_program, "cannot-start"),
    "its folder is removed": (("true",), lambda faced, device: shutil.rmtree(faced.board.home / ".edgekd"), "taken"),
    "its job's folder is removed": (("true",), lambda faced, device: shutil.rmtree(faced.job()), "taken"),
    "another machine takes it over": (("true",), stolen, "taken"),
}


@pytest.mark.parametrize("what", RUNNING)
def test_in_a_run(what: str, faced: Faced, monkeypatch: Patch) -> None:
    """Named within its limit and what connecting anew takes; whatever was started is ended."""
    argv, act, cause = RUNNING[what]
    monkeypatch.setattr(base, "MAX_OUTPUT_BYTES", 1 << 20)
    limit_s = 2.0 if cause == "timeout" else 60.0
    with contextlib.closing(connect("ssh:board")) as device, monkeypatch.context() as patch:
        impatient(patch)
        if argv is SLEEPS:
            with when(lambda: faced.job() / "started", lambda: act(faced, device)):
                assert cause_of(lambda: device.run(argv, limit_s), 60) == cause
        else:
            act(faced, device)
            assert cause_of(lambda: device.run(argv, limit_s), 60) == cause
        faced.habit("")
        for pid in faced.board.sessions() if what == "all of it freezes" else []:
            os.kill(pid, 9)  # a board that hangs is switched off in the end
    faced.check_clean()


def test_a_device_that_is_gone_for_good(faced: Faced) -> None:
    """Named in time; closing does not wait for it either, and what it was left with is cleared by the next run there."""
    device = connect("ssh:board")
    with when(lambda: faced.job() / "started", faced.board.stop):
        assert cause_of(lambda: device.run(SLEEPS, 60), 60) == "lost"
    device.close()
    faced.board.start()
    assert running()
    with contextlib.closing(connect("ssh:board")):
        assert not running()
    faced.check_clean()


# Answers ---------------------------------------------------------------------------------------------------------------

GOOD = {
    "schema": "edgekd.reply/1", "mode": "latency", "versions": {"numpy": "2"}, "latency_ns": [5] * 20,
    "machine": {"system": "Linux", "arch": MACHINE, "python": "3.11", "cpus": 1},
    "before": {"clock_s": 1.0, "process_s": 0.1}, "after": {"clock_s": 2.0, "process_s": 0.2},
}  # fmt: skip
PYTHON = f"exec {sys.executable} -c"


def answers(**changes: object) -> str:
    """A shell script that prints a good answer but for the changes; a script is what stands for the device's Python."""
    return f"printf '%s\\n' '{json.dumps({**GOOD, **changes})}'"


ANSWERS: dict[str, tuple[str, str]] = {
    "a wild pointer": ("kill -SEGV $$", "crashed"),
    "an abort": ("kill -ABRT $$", "crashed"),
    "an instruction that the processor has not": ("kill -ILL $$", "crashed"),
    "a bus error": ("kill -BUS $$", "crashed"),
    "an exit code and no word": ("exit 3", "crashed"),
    "a traceback": (f"{PYTHON} 'raise KeyError(5)'", "crashed"),
    "a good answer, then a crash": (f"{answers()}; kill -SEGV $$", "crashed"),
    "memory beyond a limit": (f"ulimit -v 400000; {PYTHON} 'bytearray(1 << 30)'", "out-of-memory"),
    "the kernel's out-of-memory killer": ("kill -KILL $$", "out-of-memory"),
    "a disk that is full": (f'{PYTHON} \'open("/dev/full", "w").write("x" * 99999)\'', "disk-full"),
    "no word": ("true", "garbage"),
    "random bytes": ("head -c 3000 /dev/urandom", "garbage"),
    "zeros": ("head -c 3000 /dev/zero", "garbage"),
    "a web page": ("echo '<html>'", "garbage"),
    "a list": ("echo '[]'", "garbage"),
    "half a document": (f"{answers()} | head -c 200", "garbage"),
    "a thousand brackets": ("head -c 100000 /dev/zero | tr '\\0' '['", "garbage"),
    "another schema": (answers(schema="edgekd.reply/9"), "garbage"),
    "no number": (answers(latency_ns=["5"] * 20), "garbage"),
    "time below zero": (answers(latency_ns=[-5] * 20), "garbage"),
    "endless time": (answers(latency_ns=[10**40] * 20), "garbage"),
    "a number that is none": ("echo '{\"schema\": NaN}'", "garbage"),
    "a field that nobody knows": (answers(run="touch pwned"), "garbage"),
    "letters that a terminal obeys": (answers(versions={"\u001b[2J": "x"}), "garbage"),
    "too few queries": (answers(latency_ns=[5] * 19), "another-job"),
    "another mode": (answers(mode="memory"), "another-job"),
    "a clock that goes back": (answers(after={"clock_s": -3600.0, "process_s": 0.2}), "clock-jump"),
    "a clock that leaps ahead": (answers(after={"clock_s": 90_000.0, "process_s": 0.2}), "clock-jump"),
    "no end": (f"sleep {LONG}", "timeout"),
    "a flood": ("yes", "output"),
}


@pytest.fixture(scope="module")
def device(faced: Faced) -> Iterator[Transport]:
    """One connection for all answers: after each fault the next run goes on over it. Nothing is left in the end."""
    with contextlib.closing(connect("ssh:board")) as found:
        yield found
    shutil.rmtree(faced.board.home / ".edgekd" / "site", ignore_errors=True)
    faced.check_clean()


@pytest.fixture
def runs(faced: Faced, device: Transport, tmp_path: Path, monkeypatch: Patch) -> Iterator[Runs]:
    """A model on the board, ready to be run by whatever `python` there is made to be."""
    monkeypatch.setattr(device, "python", device.python)
    monkeypatch.setattr(runs_module, "LOAD_TIMEOUT_S", 20.0)
    monkeypatch.setattr(base, "MAX_OUTPUT_BYTES", 1 << 20)
    model = tmp_path / "model.npz"
    arrays = {"weight": np.ones((2, 16), np.float32), "bias": np.zeros(2, np.float32), "scale": np.float32(1), "zero_point": 0}
    np.savez(model, **arrays, shape=(1, 1, 16), dtype="float32")
    settings = replace(Settings.quick(), queries=20, max_seconds=1.0, min_seconds=0.0)
    yield Runs(model, BOARD, NullTarget(), device, 1, settings)
    shutil.rmtree(faced.board.home / ".edgekd" / "site", ignore_errors=True)
    assert not running()


@pytest.mark.parametrize("what", ANSWERS)
def test_in_an_answer(what: str, faced: Faced, runs: Runs, monkeypatch: Patch) -> None:
    """The device's Python ends in this way instead of an answer: named, and not taken for a figure."""
    script, cause = ANSWERS[what]
    if cause == "timeout":
        monkeypatch.setattr(runs_module, "LOAD_TIMEOUT_S", -20.0)
    python = faced.job() / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    runs.transport.python = "./python"
    assert cause_of(lambda: runs.run("latency", {"queries": 20}), 60) == cause
    assert not (faced.board.home / "pwned").exists()


def test_a_clock_that_jumps_under_the_harness(faced: Faced, runs: Runs) -> None:
    """The real harness, whose clock goes back between its two looks at the machine."""
    site = faced.board.home / ".edgekd" / "site"
    site.mkdir()
    jump = "time.perf_counter = lambda real=time.perf_counter, looks=itertools.count(): real() - 3600 * next(looks)\n"
    (site / "sitecustomize.py").write_text(f"import itertools, time\n{jump}")
    runs.push()
    assert cause_of(lambda: runs.run("latency", {"queries": 20, "min_seconds": 0, "max_seconds": 1}), 60) == "clock-jump"


def test_the_wall_clock_may_jump(faced: Faced, runs: Runs) -> None:
    """A board that finds the time of day in the network in mid-run measures on: nothing goes by that clock."""
    site = faced.board.home / ".edgekd" / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import time\ntime.time = iter(range(0, 10**9, 10**6)).__next__\n")
    runs.push()
    share = {"queries": 20, "min_queries": 20, "max_queries": 20, "min_seconds": 0, "max_seconds": 1}
    assert len(runs.run("latency", share).latency_ns) == 20
