"""Device profiles are data with a source, strictly read; this machine is probed."""

from pathlib import Path

import psutil
import pytest

from edgekd import device
from edgekd.device import device_names, find_device, probe, read_profile
from edgekd.errors import InputError

PROFILE = 'os = "linux"\narch = "aarch64"\ncores = [4]\nsource = "a data sheet"\n'
KNOWN_ISA = set(device.CPU_FLAGS.values())


@pytest.mark.parametrize("name", device_names()[1:])
def test_each_profile_is_complete(name: str) -> None:
    """Every shipped profile reads, has a source and a target that exists, and only known instruction sets."""
    found = find_device(name)
    assert found.name == name
    assert found.source
    assert found.targets
    assert set(found.targets) <= set(device.RUNTIMES)
    assert set(found.isa) <= KNOWN_ISA


def test_the_expected_profiles_are_there() -> None:
    """`local` comes first, then the shipped names in order."""
    shipped = ["generic-aarch64", "iphone-15", "pixel-8", "raspberry-pi-4", "raspberry-pi-5", "x86-64-avx2", "x86-64-avx512-vnni"]
    assert device_names() == ["local", *shipped]


def test_facts_that_decide_what_int8_does() -> None:
    """Dot products and VNNI are where the chips have them: not on a Pi 4, not on plain AVX2."""
    has = {name: set(find_device(name).isa) for name in device_names()[1:]}
    assert "dotprod" in has["raspberry-pi-5"]
    assert "dotprod" not in has["raspberry-pi-4"] | has["generic-aarch64"]
    assert "avx512_vnni" in has["x86-64-avx512-vnni"]
    assert has["x86-64-avx2"] == {"avx2"}


@pytest.mark.parametrize("name", ["../secrets", "/etc/passwd", "Pixel-8", "", "pixel-8.toml", "a/b", "pixel-8\n"])
def test_a_name_is_never_a_path(name: str) -> None:
    """Only names of shipped profiles are found; nothing is opened by any other text."""
    with pytest.raises(InputError, match="is not known"):
        find_device(name)


def test_a_typing_error_suggests() -> None:
    """An unknown name suggests the nearest one."""
    with pytest.raises(InputError, match="did you mean 'pixel-8'"):
        find_device("pixel8")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PROFILE + "memry_bytes = 1\n", "did you mean 'memory_bytes'"),
        (PROFILE + 'memory_bytes = "8 GB"\n', "memory_bytes: .*integer"),
        (PROFILE.replace("[4]", '["4"]'), r"cores\.0: .*integer"),
        (PROFILE.replace("[4]", "4"), "cores: "),
        (PROFILE.replace("linux", "lynux"), "os: "),
        (PROFILE.replace("[4]", "[4"), "not a TOML file"),
        (PROFILE + 'name = "other"\n', "a device has no 'name'"),
        ('arch = "aarch64"\n', "os"),
        (PROFILE + "address = '10.0.0.1'\n", "a device has no 'address'"),
        (PROFILE + "memory_bytes = 2024-01-01\n", "memory_bytes"),
    ],
)
def test_a_wrong_profile_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Unknown keys, wrong types and broken TOML name the file and the key."""
    file = tmp_path / "board.toml"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        read_profile(file)
    assert str(raised.value).startswith(str(file))


def test_a_right_profile_takes_its_file_s_name(tmp_path: Path) -> None:
    """The name is that of the file, and lists become tuples."""
    file = tmp_path / "board.toml"
    file.write_text(PROFILE)
    found = read_profile(file)
    assert (found.name, found.cores, found.memory_bytes) == ("board", (4,), None)


def test_binary_and_absent_profiles_are_refused(tmp_path: Path) -> None:
    """A file that is no text, or is not there, is an input error."""
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    for name, message in (("b.toml", "not a TOML file"), ("absent.toml", "cannot be read")):
        with pytest.raises(InputError, match=message):
            read_profile(tmp_path / name)


def test_local_is_this_machine() -> None:
    """The probe tells this machine's memory and cores, and the runtimes in the order that they are preferred."""
    found = find_device("local")
    assert (found.name, found.source, found.memory_bytes) == ("local", "probed", psutil.virtual_memory().total)
    assert sum(found.cores) >= 1
    assert found.targets == ("onnxruntime", "openvino", "tflite", "coreml")


@pytest.mark.parametrize(
    ("line", "isa"),
    [
        ("flags\t\t: fpu sse2 avx2 avx512f avx512_vnni", ("avx2", "avx512f", "avx512_vnni")),
        ("flags\t\t: fpu avx avx2 avx_vnni", ("avx2", "avx_vnni")),
        ("Features\t: fp asimd evtstrm asimddp asimdhp i8mm", ("neon", "dotprod", "i8mm", "fp16")),
        ("Features\t: half thumb neon vfpv4", ("neon",)),
        ("model name\t: avx2 avx512f", ()),
    ],
)
def test_instruction_sets_are_those_of_cpuinfo(tmp_path: Path, line: str, isa: tuple[str, ...]) -> None:
    """Flags of x86 and features of ARM are read under their own names, and from no other line."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"processor\t: 0\n{line}\n")
    assert probe(tmp_path).isa == isa
