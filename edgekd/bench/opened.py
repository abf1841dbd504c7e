"""Points to measure whose passes are interleaved, or go beyond one record: their files lie on their devices until the end."""

import contextlib
from collections.abc import Iterator, Sequence

from edgekd.bench.jobs import Job
from edgekd.bench.measure import resolved
from edgekd.bench.runs import Runs
from edgekd.bench.transports import Transport, connect


@contextlib.contextmanager
def opened(jobs: Sequence[Job]) -> Iterator[list[Runs]]:
    """The jobs' models pushed, a `Runs` each in their order; a device is connected to once, however many models it gets.

    Raises InputError, DeviceError as `measure_model` does.
    """
    places = [(job, *resolved(job.model, job.device, job.target, connected=job.address is not None)) for job in jobs]
    with contextlib.ExitStack() as stack:
        transports: dict[str, Transport] = {}
        found = []
        for number, (job, path, device, target) in enumerate(places):
            address = job.address or "local"
            if address not in transports:
                transports[address] = stack.enter_context(contextlib.closing(connect(address)))
            tag = str(number) if len(jobs) > 1 else ""
            runs = Runs(path, device, target, transports[address], job.threads, job.settings(), job.used(), tag)
            runs.push()
            found.append(runs)
        yield found
