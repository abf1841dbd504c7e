"""A live device is read through a transport; what it answers is bounded and checked, and its profile reads back."""

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edgekd.bench.files import Here, There
from edgekd.bench.transports import Completed, connect
from edgekd.cli_devices import devices
from edgekd.device import Device, find_device, read_profile
from edgekd.errors import DeviceError, EdgekdError, InputError
from edgekd.probe import probe_address, probe_files, profile_text, save

PI5_CPU = (
    "processor\t: {n}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm aes asimddp asimdhp\n"
    "CPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n"
)
PI5 = "".join(PI5_CPU.format(n=n) for n in range(4)) + "Model\t\t: Raspberry Pi 5 Model B Rev 1.0\n"
MEMORY = "MemTotal:        8245904 kB\nMemFree:         7000000 kB\n"


@pytest.fixture(autouse=True)
def own_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the user's profiles."""
    monkeypatch.setenv("EDGEKD_DEVICES", str(tmp_path / "own"))
    return tmp_path / "own"


class Board:
    """A transport to a device that has some files and answers some commands."""

    def __init__(self, files: dict[str, str], answers: dict[str, str]) -> None:
        self.files, self.answers = files, answers

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        text = self.answers.get(" ".join(argv))
        if text is None and argv[0] == "cat" and all(path in self.files for path in argv[1:]):
            text = "\n".join(self.files[path] for path in argv[1:])
        if text is None and argv[0] == "ls":
            inside = [path[len(argv[2]) + 1 :].split("/")[0] for path in self.files if path.startswith(argv[2] + "/")]
            text = "\n".join(dict.fromkeys(inside)) if inside else None
        return Completed(rc=1, stdout="", stderr="no such file") if text is None else Completed(rc=0, stdout=text, stderr="")


def linux(cpuinfo: str, arch: str = "aarch64", **files: str) -> Board:
    clocks = {f"/sys/devices/system/cpu/{cpu}/cpufreq/cpuinfo_max_freq": khz for cpu, khz in files.items()}
    return Board({"/proc/cpuinfo": cpuinfo, "/proc/meminfo": MEMORY, **clocks}, {"uname -s": "Linux\n", "uname -m": f"{arch}\n"})


def test_a_raspberry_pi_5() -> None:
    """Board, cores, clock, instruction sets, memory and its sensor, each with the day that it was read on."""
    board = linux(PI5, cpu0="2400000", cpu1="2400000", cpu2="2400000", cpu3="2400000")
    board.answers["vcgencmd pmic_read_adc"] = " VDD_CORE_A current(7)=1.00000000A\n VDD_CORE_V volt(15)=0.80000000V\n"
    found = probe_files(There(board), "probed")
    facts = (found.os, found.arch, found.soc, found.cpus, found.cores, found.max_mhz)
    assert facts == ("linux", "aarch64", "Raspberry Pi 5 Model B Rev 1.0", ("Cortex-A76",), (4,), (2400,))
    assert (found.isa, found.memory_bytes, found.meters) == (("neon", "dotprod", "fp16"), 8245904 * 1024, ("pmic",))
    assert (found.targets, found.untested_on_hardware) == (("tflite", "onnxruntime"), False)
    assert set(found.sources) >= {"os", "arch", "soc", "isa", "cores", "max_mhz", "memory_bytes", "meters", "targets"}
    assert all(text.startswith("probed 20") for fact, text in found.sources.items() if fact != "targets")


def test_a_phone_s_clusters_are_told_apart() -> None:
    """A Pixel 6 has three: by kind and clock, fastest first; Android is known by its properties."""
    parts = [("0xd05", 4), ("0xd0b", 2), ("0xd44", 2)]
    numbered = [part for part, count in parts for _ in range(count)]
    text = "".join(
        f"processor\t: {n}\nFeatures\t: asimd asimddp asimdhp\nCPU implementer\t: 0x41\nCPU part\t: {part}\n\n"
        for n, part in enumerate(numbered)
    )
    clocks = {f"cpu{n}": {"0xd05": "1803000", "0xd0b": "2253000", "0xd44": "2802000"}[part] for n, part in enumerate(numbered)}
    board = linux(text, **clocks)
    board.answers |= {"getprop ro.build.version.release": "14\n", "getprop ro.soc.model": "Tensor\n"}
    found = probe_files(There(board), "probed")
    assert (found.os, found.soc, found.cores) == ("android", "Tensor", (2, 2, 4))
    assert (found.cpus, found.max_mhz) == (("Cortex-X1", "Cortex-A76", "Cortex-A55"), (2802, 2253, 1803))


def test_a_hybrid_laptop_s_cores_are_counted_without_their_threads() -> None:
    """Two cores of two threads and four small ones; favoured cores of the same kind have a higher clock."""
    cores = [0, 0, 4, 4, 8, 9, 10, 11]
    text = "".join(
        f"processor\t: {n}\nmodel name\t: A Laptop CPU\nphysical id\t: 0\ncore id\t: {core}\nflags\t: avx2 avx_vnni\n\n"
        for n, core in enumerate(cores)
    )
    clocks = {f"cpu{n}": khz for n, khz in enumerate(["4400000", "4400000", "4200000", "4200000"] + ["3300000"] * 4)}
    board = linux(text, "x86_64", **clocks)
    board.files["/sys/devices/cpu_atom/cpus"] = "4-7"
    found = probe_files(There(board), "probed")
    assert (found.cores, found.max_mhz, found.isa) == ((2, 4), (4400, 3300), ("avx2", "avx_vnni"))


def test_a_mac() -> None:
    """A Mac answers by sysctl."""
    values = {"hw.perflevel0.physicalcpu": "4", "hw.perflevel1.physicalcpu": "4", "hw.memsize": "17179869184"}
    values |= {"machdep.cpu.brand_string": "Apple M2", "hw.optional.arm.FEAT_DotProd": "1", "hw.optional.arm.FEAT_I8MM": "1"}
    board = Board({}, {f"sysctl -n {key}": value for key, value in values.items()} | {"uname -s": "Darwin", "uname -m": "arm64"})
    found = probe_files(There(board), "probed")
    assert (found.os, found.soc, found.cores, found.memory_bytes) == ("macos", "Apple M2", (4, 4), 16 * 2**30)
    assert found.isa == ("neon", "dotprod", "i8mm")


def test_a_device_that_tells_little_has_few_facts() -> None:
    """What is not told is left out, and needs no source."""
    found = probe_files(There(Board({}, {"uname -s": "Linux", "uname -m": "armv7l"})), "probed")
    assert set(found.sources) == {"os", "arch", "targets"}
    assert found.targets == ("tflite",)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({"uname -s": "SunOS", "uname -m": "sun4u"}, "a system 'SunOS' was found"),
        ({"uname -s": "Linux", "uname -m": "riscv64"}, "expected Linux, Android or macOS"),
        ({}, "a system ''"),
        ({"uname -s": "\x1b[31m" + "x" * 500, "uname -m": "arm64"}, r"a system '\[31mx+'"),
    ],
)
def test_an_unknown_system_is_refused(answers: dict[str, str], message: str) -> None:
    """A machine that edgekd has no runtimes for is an error with what was found, without its control characters."""
    with pytest.raises(DeviceError, match=message) as raised:
        probe_files(There(Board({}, answers)), "probed")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 300


def test_impossible_answers_are_refused_or_left_out() -> None:
    """A thousand terabytes of memory are refused; a clock of a terahertz and a part that is none are left out."""
    board = linux(PI5, cpu0="2400000000000")
    board.files["/proc/cpuinfo"] = PI5.replace("0xd0b", "0xzz")
    found = probe_files(There(board), "probed")
    assert (found.cores, found.max_mhz, found.cpus) == ((4,), (), ())
    board.files["/proc/meminfo"] = "MemTotal: 99999999999999 kB\n"
    with pytest.raises(DeviceError, match="answers cannot be true: memory_bytes"):
        probe_files(There(board), "probed")


@given(st.text(max_size=200), st.text(max_size=60), st.text(max_size=60))
def test_any_answer_gives_a_profile_that_reads_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, cpuinfo: str, soc: str, clock: str
) -> None:
    """Whatever a device says, its profile reads back as it was, or the probe says that it cannot be."""
    board = linux(f"processor : 0\nModel : {soc}\n{cpuinfo}", cpu0=clock)
    board.files["/sys/firmware/devicetree/base/model"] = soc
    try:
        found = probe_files(There(board), "any")
    except EdgekdError:
        return
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text(profile_text(found), encoding="utf-8")
    assert read_profile(file) == found


def test_a_processor_of_a_million_lines_is_cut_off() -> None:
    """A flood is not a processor: it is cut to a text's limit, and read in time."""
    found = probe_files(There(linux("processor : 0\n" * 200_000)), "probed")
    assert found.cores == (1024,)


def test_a_written_profile_is_found_by_its_name(own_profiles: Path) -> None:
    """It reads back with every fact, and no unfinished file stays."""
    found = probe_files(There(linux(PI5)), "probed")
    file = save(found, "kitchen-pi")
    assert find_device("kitchen-pi") == replace(found, name="kitchen-pi")
    assert list(own_profiles.iterdir()) == [file]


@pytest.mark.parametrize("name", ["local", "../x", "A", "", "a" * 61, "pixel-8", "a/b", "a b", "a\n"])
def test_a_name_that_is_none_or_taken_is_refused(own_profiles: Path, name: str) -> None:
    """Nothing is written outside the folder, nor over a profile that edgekd comes with."""
    with pytest.raises(InputError):
        save(find_device("pixel-8"), name)
    assert not own_profiles.exists()


def test_a_profile_is_not_written_over() -> None:
    """A name that the user has given already is refused, with the file to remove."""
    found = probe_files(There(linux(PI5)), "probed")
    save(found, "mine")
    with pytest.raises(InputError, match=r"there is a device 'mine' already: .*remove .*mine\.toml"):
        save(found, "mine")


def test_a_wrong_profile_is_not_kept(own_profiles: Path) -> None:
    """What would not be read again is not left behind."""
    with pytest.raises(InputError, match="Field required"):
        save(Device(name="x", os="linux", arch="aarch64"), "broken")
    assert list(own_profiles.iterdir()) == []


def test_this_machine_through_a_transport_is_this_machine() -> None:
    """Read directly and through the local transport's commands, this machine has the same facts."""
    direct = probe_address("local")
    with contextlib.closing(connect("local")) as transport:
        through = probe_files(There(transport), "local")
    assert through == direct
    assert direct == replace(probe_files(Here(), "local"), sources=direct.sources)


@pytest.mark.parametrize("extra", [[], ["--write", "this-one"]])
def test_the_command(extra: list[str], own_profiles: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`edgekd devices probe` prints JSON, and with a name writes the profile."""
    run: Callable[..., object] = CliRunner().invoke
    result = run(devices, ["probe", "local", "--json", "-", *extra])
    assert json.loads(result.stdout)["name"] == "local"  # type: ignore[attr-defined]
    assert (own_profiles / "this-one.toml").exists() == bool(extra)
