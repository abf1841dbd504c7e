"""How files and commands reach a device.

base.py        what every transport offers
address.py     `local`, `ssh:HOST`, `adb:SERIAL`, read strictly
local.py       this machine
remote.py      a device with a POSIX shell: folder, lock, runs with limits, cleaning up; over a channel:
ssh.py         the system's OpenSSH client, one multiplexed connection
adb.py         the system's adb
scripts.py     what runs in the device's shell
faults.py      what can go wrong, by name
locks.py       one job at a time for each device
process.py     one process on this machine, with limits
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from edgekd.bench.transports.address import read_address
from edgekd.bench.transports.base import Completed, Transport
from edgekd.bench.transports.faults import DeviceFault

__all__ = ["Completed", "DeviceFault", "Transport", "connect", "connected"]


def connect(address: str) -> Transport:
    """The transport of an address, connected; the device is the caller's alone until `close`.

    Raises InputError where it is no address, DeviceFault where the device cannot be had.
    """
    where = read_address(address)
    if where.kind == "local":
        from edgekd.bench.transports.local import Local

        return Local()
    from edgekd.bench.transports.adb import Adb
    from edgekd.bench.transports.remote import Remote
    from edgekd.bench.transports.ssh import Ssh

    return Remote(Ssh(where) if where.kind == "ssh" else Adb(where))


@contextmanager
def connected(address: str | None) -> Iterator[Transport | None]:
    """The transport of an address, closed afterwards; None for None."""
    if address is None:
        yield None
        return
    with closing(connect(address)) as transport:
        yield transport
