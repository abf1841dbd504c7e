"""What a board says of itself: /proc/cpuinfo, the processor's part of /sys, the model's name.

ONNX Runtime and LiteRT look there through pytorch/cpuinfo, which crashes where it finds the x86 host's cache topology.
"""

from pathlib import Path

from edgekd.emulate.boards import Board, Processor

MARK = "(emulated, qemu-user)"
"""At the end of the model's name, so that no figure of such a board can pass for one of the real board."""


def model_line(board: Board) -> str:
    return f"{board.model} {MARK}"


def cpuinfo(board: Board, processor: Processor) -> str:
    """The text of /proc/cpuinfo, in the kernel's format of 64-bit and of 32-bit ARM."""
    block = "".join(
        f"{key:16}: {value}\n" if key == "CPU architecture" else f"{key}\t: {value}\n"
        for key, value in (
            ("Features", processor.features),
            ("CPU implementer", "0x41"),
            ("CPU architecture", processor.architecture),
            ("CPU variant", processor.variant),
            ("CPU part", processor.part),
            ("CPU revision", processor.revision),
        )
    )
    cores = "".join(f"processor\t: {core}\n{block}\n" for core in range(board.cores))
    return f"{cores}Model\t\t: {model_line(board)}\n"


def sysfs(board: Board) -> dict[str, str]:
    """Files below /sys and their text. No temperature and no current clock: nothing here has one."""
    every = f"0-{board.cores - 1}"
    cpu = "devices/system/cpu"
    files = {f"{cpu}/{name}": every for name in ("possible", "present", "online")}
    for core in range(board.cores):
        topology = {
            "core_id": core,
            "physical_package_id": 0,
            "core_siblings_list": every,
            "package_cpus_list": every,
            "cluster_cpus_list": every,
            "thread_siblings_list": core,
        }
        clock = {"cpuinfo_min_freq": board.min_khz, "cpuinfo_max_freq": board.max_khz}
        files |= {f"{cpu}/cpu{core}/topology/{name}": str(value) for name, value in topology.items()}
        files |= {f"{cpu}/cpu{core}/cpufreq/{name}": str(value) for name, value in clock.items()}
    return files


def write_faces(root: Path, board: Board) -> None:
    """Write what is below /sys into a root."""
    files = {f"sys/{name}": f"{text}\n" for name, text in sysfs(board).items()}
    files["sys/firmware/devicetree/base/model"] = f"{model_line(board)}\0"
    for name, text in files.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="ascii")
