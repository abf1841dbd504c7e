"""What a device is: facts with a source, read from a TOML profile or probed on this machine. Never an address."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Device:
    """Facts about a device that decide what can be built for it and how its figures read."""

    name: str
    os: Literal["linux", "android", "ios", "macos", "windows"]
    arch: Literal["x86_64", "aarch64", "armv7l"]
    isa: tuple[str, ...] = ()
    """Instruction sets that change what a runtime does: avx2, avx512f, avx512_vnni, avx_vnni, neon, dotprod, i8mm, fp16."""
    cores: tuple[int, ...] = ()
    """Cores of each cluster, fastest first."""
    memory_bytes: int | None = None
    accelerators: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    """Runtimes that it takes, the preferred one first."""
    source: str = ""
    """Where the facts come from: a data sheet's address, or `measured YYYY-MM-DD`, or `probed`."""
    notes: tuple[str, ...] = field(default=())
