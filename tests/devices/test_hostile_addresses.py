"""Addresses, device names and paths that somebody crafted: refused in one line, before any program is started with them."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from edgekd.bench.transports import scripts
from edgekd.bench.transports.address import read_address
from edgekd.bench.transports.base import relative_name
from edgekd.bench.transports.book import find_address
from edgekd.cli import app
from edgekd.errors import EdgekdError, InputError

PLACES = [
    "-oProxyCommand=touch pwned", "-oProxyCommand=touch${IFS}pwned", "--", "-", "-l", "-F/dev/null", "-i/etc/passwd",
    "-E/tmp/x", "$(touch pwned)", "`touch pwned`", "pi;touch pwned", "pi&touch pwned", "pi|touch pwned",
    "pi\ntouch pwned", "pi\rtouch", "pi\0", "pi touch", "pi\ttouch", "'pi'", '"pi"', "pi'", 'pi"', "pi$IFS", "${IFS}pi",
    "pi>pwned", "pi<x", "(pi)", "{pi,x}", "pi*", "pi?", "[pi]", "~pi", "~", "!pi", "pi!", "#pi", "%h", "pi%h", "%%",
    "%n%p", "pi\\", "\\\\pi\\share", "../pi", "/dev/null", "pi/..", "a/b", "user@-pi", "-user@pi", "user@", "@pi", "@",
    "a@b@c", "user:pw@pi", "us er@pi", "$(id)@pi", "user@$(id)", "user@pi;id", "user%h@pi", ":22", "pi:", "pi:-1", "pi:0",
    "pi:65536", "pi:99999", "pi:022222", "pi:22:22", "pi:ssh", "pi:22;id", "pi:22 -oX", "pi:²²", "pi:٢٢", "[::1", "::1]",
    "[::1]x", "[fe80::1%eth0]", "[fe80::1%25$(id)]", "[;id]", "[]", "[:]", "[g::1]", "pï", "рi", "пи", "pi\u202e",
    "pi\ufeff", "\u200bpi", "pi。local", "pi.", ".pi", "pi-", "", " ", "\n", "\t", "\x1b[31mpi", "pi\x7f", "\x07",
    "a" * 256, "a" * 100_000, "..", ".", "ssh://pi", "//pi", "pi?x=1", "pi#x", "pi=x", "pi,x", "pi+x", "CON|x", "pi^x",
    "-p22", "-w", "-R0:x:0", "-D1", "pi -tt id", "😀",
]  # fmt: skip
KINDS = [
    "", "-ssh:pi", "ssh", "ssh;", "SSH:pi", "ssh :pi", "adb", "adb ;", "ftp:x", "file:///etc/passwd", "local:",
    "local;id", " local", "local\n", "LOCAL", "ssh\n:pi", "telnet:x", "ssh:", "adb:", "://", ":", ":pi", "$(id)",
    "../local", "lo\0cal",
]  # fmt: skip
GOOD = [
    "local", "ssh:pi", "ssh:pi@pi4.lan:2222", "ssh:[::1]:22", "ssh:192.168.1.20", "ssh:my_board", "adb:emulator-5554",
    "adb:R58M12ABCDE", "adb:127.0.0.1:5655", "adb:adb-1A2B._adb-tls-connect._tcp",
]  # fmt: skip
HOSTILE = [f"{kind}:{place}" for place in PLACES for kind in ("ssh", "adb")] + KINDS
ALLOWED = {"adb:pi:022222", "adb:pi:0", "adb:pi:65536", "adb:pi:99999"}  # ports that adb refuses itself; nothing else is in them


def test_there_are_enough() -> None:
    """The list is as long as it claims to be, and holds nothing twice."""
    assert len(set(HOSTILE) - ALLOWED) >= 200


@pytest.mark.parametrize("address", sorted(set(HOSTILE) - ALLOWED), ids=lambda a: ascii(a)[:40])
def test_is_refused_in_one_printable_line(address: str) -> None:
    """Each is an input error whose message is short and safe for a terminal."""
    with pytest.raises(InputError) as caught:
        read_address(address)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("address", GOOD)
def test_what_people_use_is_taken(address: str) -> None:
    """Ordinary addresses are read, and print as they were written."""
    assert str(read_address(address)) == address


@given(st.text())
@settings(max_examples=300)
def test_whatever_is_taken_is_harmless(text: str) -> None:
    """What is let through is no option, has no sign that a shell or ssh's own % would take, and prints back as itself."""
    for kind in ("ssh", "adb"):
        try:
            found = read_address(f"{kind}:{text}")
        except InputError:
            continue
        assert not found.host.startswith("-")
        assert set(found.host) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:[]")
        assert read_address(str(found)) == found


@pytest.mark.parametrize(
    "words", [["--device", "pi; id"], ["--device", "../../etc/passwd"], ["--device", "-x"], ["--device", "$(id)"]]
)
def test_device_names_are_no_paths(words: list[str], tmp_path: Path) -> None:
    """A device's name that is a path or a command is an input error of one line."""
    _refused(["bench", str(_model(tmp_path)), *words])


@pytest.mark.parametrize(
    "address", ["ssh:-oProxyCommand=touch pwned", "ssh:$(touch pwned)", "adb:;touch pwned", "local;touch pwned"]
)
def test_the_command_line_starts_nothing(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile --connect ends in an input error, and what it would do is not done."""
    monkeypatch.chdir(tmp_path)
    _refused(["bench", str(_model(tmp_path)), "--device", "raspberry-pi-5", "--connect", address])
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "book",
    [
        '[pi]\nconnect = "ssh:-oX"',
        "[pi]\nconnect = 5",
        "[pi]",
        "pi = 1",
        "[[pi]]",
        "\x00",
        "[pi",
        '[pi]\nconnect="ssh:a"\nrun="x"',
    ],
)
def test_a_hostile_devices_file(book: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A devices.toml that is broken or says too much is an input error that names the file or the address."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "edgekd").mkdir()
    (tmp_path / "edgekd" / "devices.toml").write_text(book)
    with pytest.raises(InputError):
        find_address("pi", None)


@given(st.text())
@settings(max_examples=300)
def test_remote_names_stay_inside(name: str) -> None:
    """Whatever name is taken for a file on the device lies inside its folder."""
    try:
        found = relative_name(name, "board")
    except EdgekdError:
        return
    inside = os.path.normpath(os.path.join("/job", found))
    assert inside.startswith("/job/")


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=30), min_size=1, max_size=4))
@settings(max_examples=40)
def test_arguments_reach_a_program_unchanged(words: list[str]) -> None:
    """The script that runs on a device, given to a real shell, hands over each argument as it is."""
    argv = ["printf", "%s\\n[%s]\\n", "start", *words]
    script = f"{scripts.COMMON}tell() {{ printf '\\n%s' \"$*\"; }}\nbase=/nowhere\n" + scripts.running(
        argv, owner="o", token="t", seconds=20, grace="", limit=100_000
    )
    done = subprocess.run(["sh", "-c", shlex.join(["exec", "sh", "-c", script])[5:]], capture_output=True, check=False)
    expected = subprocess.run(argv, capture_output=True, check=True).stdout
    assert done.stdout == expected + b"\n0"


def _model(folder: Path) -> Path:
    file = folder / "model.npz"
    file.write_bytes(b"PK")
    return file


def _refused(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, InputError | SystemExit)
    if isinstance(done.exception, InputError):
        assert str(done.exception).isprintable()
