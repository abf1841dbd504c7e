"""Which boards can be emulated: the processor that QEMU takes the part of, and how the board describes itself."""

from dataclasses import dataclass
from typing import Literal

from edgekd.errors import InputError, did_you_mean

Arch = Literal["arm64", "armhf"]
ARCHS: tuple[Arch, ...] = ("arm64", "armhf")


@dataclass(frozen=True, kw_only=True)
class Processor:
    """One core as QEMU emulates it and as /proc/cpuinfo shows it. The two must agree: runtimes believe the part number, and
    code for a newer core ends in an illegal instruction."""

    qemu: str
    """Value of QEMU_CPU. Never QEMU's default: its `max` announces SME, whose emulation in QEMU 7.2 gives wrong int8 outputs."""
    architecture: int
    variant: str
    part: str
    revision: int
    features: str


@dataclass(frozen=True, kw_only=True)
class Board:
    """A board by its public facts."""

    name: str
    model: str
    processors: dict[Arch, Processor]
    cores: int
    min_khz: int
    max_khz: int


# Identification: MIDR_EL1 of the cores' technical reference manuals; features: the kernel's elf_hwcaps.rst names of what these
# cores have (no AES on the Pi 4, whose maker left the cryptographic extension out).
CORTEX_A72 = Processor(
    qemu="cortex-a72", architecture=8, variant="0x0", part="0xd08", revision=3, features="fp asimd evtstrm crc32 cpuid"
)
CORTEX_A76 = Processor(
    qemu="cortex-a76",
    architecture=8,
    variant="0x4",
    part="0xd0b",
    revision=1,
    features="fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
)
# QEMU has no 32-bit core newer than this one.
CORTEX_A15 = Processor(
    qemu="cortex-a15",
    architecture=7,
    variant="0x2",
    part="0xc0f",
    revision=1,
    features="half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm",
)

BOARDS = {
    "pi4": Board(
        name="pi4",
        model="Raspberry Pi 4 Model B",
        processors={"arm64": CORTEX_A72, "armhf": CORTEX_A15},
        cores=4,
        min_khz=600_000,
        max_khz=1_800_000,
    ),
    "pi5": Board(
        name="pi5",
        model="Raspberry Pi 5 Model B",
        processors={"arm64": CORTEX_A76, "armhf": CORTEX_A15},
        cores=4,
        min_khz=1_500_000,
        max_khz=2_400_000,
    ),
}
"""Clocks: the defaults of arm_freq_min and arm_freq in the Raspberry Pi documentation, config.txt, overclocking options."""


def find_board(name: str) -> Board:
    """Raises InputError where there is none of that name."""
    if name not in BOARDS:
        raise InputError(f"board '{name}' cannot be emulated" + did_you_mean(name, BOARDS))
    return BOARDS[name]


def find_arch(name: str) -> Arch:
    """Raises InputError where boards of that architecture are not emulated."""
    for arch in ARCHS:
        if arch == name:
            return arch
    raise InputError(f"architecture '{name}' cannot be emulated" + did_you_mean(name, ARCHS))
