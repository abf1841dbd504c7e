"""The doctor says of this machine and of each device what works, what is missing, and the command that mends it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from edgekd import doctor
from edgekd.bench.transports import Completed
from edgekd.doctor_device import examine_address, examine_devices, examine_transport, noted_addresses
from edgekd.errors import DeviceError

FRESH = {
    "uname -s": "Linux",
    "uname -m": "aarch64",
    "python version": "3.11",
    "python numpy": "numpy 1.26.4",
    "python onnxruntime": "onnxruntime 1.20.0",
    "python ai_edge_litert": "ai_edge_litert 2.0.0",
    "df -Pk .": "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/root 30000000 1 20000000 1% /",
    "cat /proc/meminfo": "MemTotal: 4000000 kB\nMemAvailable: 3000000 kB\n",
    "cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance",
}


class Board:
    """A transport to a device that answers some commands, and has no other programs or files."""

    python = "python3"

    def __init__(self, answers: dict[str, str | None]) -> None:
        self.answers = answers

    def push(self, local: Path, remote: str) -> None:
        raise DeviceError("nothing is pushed by a doctor")

    pull = push

    def close(self) -> None:
        pass

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        asked = " ".join(argv)
        if argv[0] == "python3":
            asked = "python version" if "version_info" in asked else f"python {asked.split()[3]}"
        text = self.answers.get(asked)
        return Completed(rc=1, stdout="", stderr="not found") if text is None else Completed(rc=0, stdout=f"{text}\n", stderr="")


def lines_of(**changes: str | None) -> dict[str, tuple[str, str]]:
    """Name → state and text, of a board at ssh:pi that is fresh but for the changes (`_` for a blank)."""
    answers = FRESH | {key.replace("_", " ", 1): text for key, text in changes.items()}
    return {line["name"]: (line["state"], line["text"]) for line in examine_transport(Board(answers), "ssh:pi")}


def test_a_board_that_is_ready() -> None:
    """All is well but the energy, which such a board has no sensor for."""
    found = lines_of()
    assert {name for name, (state, _) in found.items() if state != "ok"} == {"energy"}
    assert found["system"] == ("ok", "linux on aarch64, unknown cores, chip unknown")
    assert found["tflite"] == ("ok", "ai_edge_litert 2.0.0")
    assert "a Raspberry Pi 5 is needed" in found["energy"][1]


@pytest.mark.parametrize(
    ("changes", "name", "state", "text"),
    [
        ({"python_version": None}, "python", "missing", "no Python answers: edgekd devices setup ssh:pi"),
        ({"python_version": "2.7"}, "python", "missing", "Python 2.7 is older than 3.8: edgekd devices setup ssh:pi"),
        ({"python_numpy": None}, "numpy", "missing", "numpy is not installed: edgekd devices setup ssh:pi"),
        (
            {"python_ai_edge_litert": None},
            "tflite",
            "missing",
            "ai_edge_litert or tflite_runtime is not installed: edgekd devices setup ssh:pi",
        ),
        ({"df_-Pk .": "x\n/dev/root 9 9 100000 99% /"}, "disk", "missing", "98 MiB free, 500 MiB are needed: free some space"),
        (
            {"cat_/proc/meminfo": "MemAvailable: 51200 kB"},
            "memory",
            "missing",
            "50 MiB free, 150 MiB are needed: end other programs",
        ),
        (
            {"cat_/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand"},
            "clock",
            "doubtful",
            "the governor is ondemand: echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        ),
        ({"vcgencmd_get_throttled": "throttled=0x1"}, "condition", "doubtful", "the supply's voltage is too low"),
        ({"uname_-m": "mips"}, "system", "unavailable", "a system 'Linux' was found"),
    ],
)
def test_what_is_missing_has_its_mend(changes: dict[str, str | None], name: str, state: str, text: str) -> None:
    """Each fault is one line with its state and the command, or step, that mends it."""
    found = lines_of(**changes)
    assert found[name][0] == state
    assert found[name][1].startswith(text)


def test_an_old_board_s_runtime_counts_too() -> None:
    """tflite-runtime stands in where LiteRT has no wheel."""
    assert lines_of(python_ai_edge_litert=None, python_tflite_runtime="tflite_runtime 2.14.0")["tflite"][0] == "ok"


def test_a_device_s_words_cannot_reach_the_terminal() -> None:
    """Control characters of a reply are not printed, and a flood is one short line."""
    found = lines_of(**{"python_numpy": "numpy \x1b[31m" + "x" * 5000, "df_-Pk .": "\x1b[2J"})
    assert all(text.isprintable() and len(text) < 400 for _, text in found.values())


def test_a_device_that_cannot_be_reached_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ssh that is refused, and an address that is none, are named with their causes, and neither hides the other."""
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho 'ssh: connect to host pi port 22: Connection refused' >&2\nexit 255\n")
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = examine_devices(["ssh:pi", "telnet:pi"])
    assert [(line["device"], line["name"], line["state"]) for line in found] == [
        ("ssh:pi", "connection", "missing"),
        ("telnet:pi", "connection", "missing"),
    ]
    assert found[0]["text"] == "no ssh server listens there: is the device up, and sshd enabled?"
    assert "did you mean" in found[1]["text"] or "ssh:" in found[1]["text"]


def test_this_machine_as_a_device() -> None:
    """The local transport is looked at like any other: its Python and numpy answer."""
    found = {line["name"]: line["state"] for line in examine_address("local")}
    assert (found["system"], found["python"], found["numpy"]) == ("ok", "ok", "ok")


def test_devices_of_the_user_s_book_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address the devices are those that devices.toml has an address for."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert noted_addresses() == []
    (tmp_path / "edgekd").mkdir()
    (tmp_path / "edgekd" / "devices.toml").write_text('[raspberry-pi-5]\nconnect = "ssh:pi5"\n[pixel-8]\nconnect = "adb:0A1B"\n')
    assert sorted(noted_addresses()) == ["adb:0A1B", "ssh:pi5"]


def test_the_host_s_own_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ssh and adb on the path their lines are missing, with what to install; every line has a text."""
    monkeypatch.setenv("PATH", "/nonexistent")
    found = {line["name"]: line for line in doctor.examine()}
    assert found["devices by ssh"]["text"] == "ssh is not installed: apt install openssh-client"
    assert found["devices by adb"]["state"] == "missing"
    assert all(line["text"] for line in found.values())
    assert {line["state"] for line in found.values()} <= {"ok", "missing", "unavailable"}
