"""Which of the host's QEMUs runs a board, and how the kernel is told which programs are its."""

import functools
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgekd.emulate.boards import Arch
from edgekd.emulate.root import HOST_LIBRARIES
from edgekd.errors import MissingExtraError

GUESTS: dict[Arch, str] = {"arm64": "aarch64", "armhf": "arm"}
_ELF = {
    "arm64": (r"\x7f\x45\x4c\x46\x02\x01\x01" + r"\x00" * 9, r"\x02\x00\xb7\x00"),
    "armhf": (r"\x7f\x45\x4c\x46\x01\x01\x01" + r"\x00" * 9, r"\x02\x00\x28\x00"),
}
"""First 20 bytes of a program (elf.h): class and byte order, then e_type and e_machine (183 AArch64, 40 ARM)."""
_MASK = r"\xff" * 7 + r"\x00" * 9 + r"\xfe\xff\xff\xff"
"""The ABI's version and padding do not matter, nor whether the program is position-independent."""
INSTALL = "apt-get install qemu-user qemu-user-static"


@dataclass(frozen=True, kw_only=True)
class Qemu:
    """One QEMU of the host. Only one that is linked dynamically takes plugins; it needs the host's libraries beside it."""

    path: Path
    plugins: bool

    @property
    def binds(self) -> list[tuple[str, str]]:
        """What of the host must be seen in the root, and where."""
        if not self.plugins:
            return []
        return [("/lib64" if name == "lib64" else "/usr/lib/x86_64-linux-gnu", name) for name in HOST_LIBRARIES]


@functools.cache
def find_qemu(guest: str) -> Qemu:
    """The QEMU for programs of `guest` (aarch64, arm, x86_64), if possible one that takes plugins. Raises MissingExtraError."""
    paths = [Path(found) for name in (f"qemu-{guest}", f"qemu-{guest}-static") if (found := shutil.which(name))]
    for path in paths:
        text = subprocess.run([str(path), "--help"], capture_output=True, text=True, check=False).stdout
        if "QEMU_PLUGIN" in text:
            return Qemu(path=path, plugins=True)
    if not paths:
        raise MissingExtraError(f"programs for {guest} need QEMU, which is not installed: {INSTALL}")
    return Qemu(path=paths[-1], plugins=False)


def binfmt_line(arch: Arch, qemu: Qemu) -> str:
    """What is written to binfmt_misc. F opens QEMU now, so it needs no place in the root; OC keep the program's own rights."""
    head, machine = _ELF[arch]
    return f":edgekd-{arch}:M::{head}{machine}:{_MASK}:{qemu.path.resolve()}:OCF"
