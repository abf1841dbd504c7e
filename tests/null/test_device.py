"""Device profiles are data with a source, strictly read; this machine is probed."""

from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd import device
from edgekd.device import device_names, find_device, probe, read_profile
from edgekd.errors import InputError

SOURCES = '[sources]\nos = "a page"\narch = "a page"\ncores = "a data sheet"\n'
FACTS = 'os = "linux"\narch = "aarch64"\ncores = [4]\n'
PROFILE = FACTS + SOURCES
KNOWN_ISA = set(device.CPU_FLAGS.values())
METERS = {"rapl", "ina3221", "pmic", "odpm", "battery", "powermetrics"}
GENERIC = ["generic-aarch64", "generic-armv7l", "generic-x86-64", "x86-64-avx2", "x86-64-avx512-vnni"]
REAL = [
    "galaxy-s23",
    "galaxy-s25",
    "intel-n100",
    "iphone-14",
    "iphone-15",
    "jetson-orin-nano",
    "laptop-i5-1240p",
    "macbook-air-m2",
]
REAL += ["pixel-6", "pixel-8", "raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-5", "raspberry-pi-zero-2", "server-xeon-e-2314"]


@pytest.fixture(autouse=True)
def own_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's profiles that is empty at first."""
    monkeypatch.setenv("EDGEKD_DEVICES", str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.mark.parametrize("name", GENERIC + REAL)
def test_each_profile_is_complete(name: str) -> None:
    """Every shipped profile reads, has a source for each fact, a target that exists, and only known words."""
    found = find_device(name)
    assert found.name == name
    assert found.targets
    assert set(found.targets) <= set(device.RUNTIMES)
    assert set(found.isa) <= KNOWN_ISA
    assert set(found.meters) <= METERS
    assert found.untested_on_hardware
    assert all(len(text) > 10 for text in found.sources.values())


@pytest.mark.parametrize("name", REAL)
def test_a_real_device_has_its_chip_and_cores(name: str) -> None:
    """A device that can be bought says what it is made of."""
    found = find_device(name)
    assert found.soc
    assert found.cores


def test_the_expected_profiles_are_there() -> None:
    """`local` comes first, then the shipped names in order: 15 real devices and 5 kinds of machine."""
    assert device_names() == ["local", *sorted(GENERIC + REAL)]
    assert len(REAL) == 15


def test_facts_that_decide_what_int8_does() -> None:
    """Dot products and VNNI are where the chips have them: not on a Pi 4, not on plain AVX2."""
    has = {name: set(find_device(name).isa) for name in device_names()[1:]}
    assert "dotprod" in has["raspberry-pi-5"]
    assert "dotprod" not in has["raspberry-pi-4"] | has["raspberry-pi-3"] | has["raspberry-pi-zero-2"] | has["generic-aarch64"]
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
        ("memry_bytes = 1\n" + PROFILE, "did you mean 'memory_bytes'"),
        ('memory_bytes = "8 GB"\n' + PROFILE, "memory_bytes: .*integer"),
        (PROFILE.replace("[4]", '["4"]'), r"cores\.0: .*integer"),
        (PROFILE.replace("[4]", "4"), "cores: "),
        (PROFILE.replace("linux", "lynux"), "os: "),
        (PROFILE.replace("[4]", "[4"), "not a TOML file"),
        ('name = "other"\n' + PROFILE, "a device has no 'name'"),
        ('arch = "aarch64"\n', "os"),
        ("address = '10.0.0.1'\n" + PROFILE, "a device has no 'address'"),
        ("memory_bytes = 2024-01-01\n" + PROFILE, "memory_bytes"),
        (FACTS, "arch has no source: add a line arch = … to"),
        ("memory_bytes = 1073741824\n" + PROFILE, "memory_bytes has no source"),
        (PROFILE + 'isa = "a manual"\n', "names 'isa', which is no fact of this profile"),
        (PROFILE + "cpus = 3\n", r"sources\.cpus: .*string"),
        (PROFILE.replace("[4]", "[0]"), "cores: numbers above 0"),
        (PROFILE.replace("[4]", "[999999]"), "cores: numbers above 0 and up to 1024"),
        ("max_mhz = [1500, 1000]\n" + PROFILE, "max_mhz: 2 clusters, but cores has 1"),
        ("memory_bytes = 12\n" + PROFILE, "12 is no size of a memory"),
        ("power_w = [inf]\n" + PROFILE, "power_w"),
        ('notes = ["\\u001b[31mred"]\n' + PROFILE, "printable characters"),
        (f'soc = "{"x" * 301}"\n' + PROFILE, "300 at most"),
        ("# " + "x" * 70_000 + "\n" + PROFILE, "expected at most 65536"),
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
    assert (found.name, found.memory_bytes) == ("local", psutil.virtual_memory().total)
    assert set(found.sources.values()) == {"probed"}
    assert not found.untested_on_hardware
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


def test_a_user_s_own_profile_is_found(own_profiles: Path) -> None:
    """A profile in the user's folder is known by its name; one that edgekd comes with is not replaced by it."""
    own_profiles.mkdir()
    (own_profiles / "bench-3.toml").write_text(PROFILE)
    (own_profiles / "pixel-8.toml").write_text(PROFILE)
    assert "bench-3" in device_names()
    assert find_device("bench-3").cores == (4,)
    assert find_device("pixel-8").soc == "Google Tensor G3"


@given(st.text(max_size=120))
def test_any_profile_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever a profile holds, the worst is an input error."""
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text(text + "\n" + PROFILE, encoding="utf-8", errors="replace")
    try:
        read_profile(file)
    except InputError:
        return
