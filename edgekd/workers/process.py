"""The process of a worker: `python -m edgekd.workers.process CHANNEL FOLDER DRIVER`, started by `processes.py`.

A job comes in, an answer goes out, until the driver lets go of the channel. It does not outlive the driver: one that was killed
cannot tell it to end.
"""

import os
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from edgekd.errors import EdgekdError
from edgekd.workers.packet import Packet
from edgekd.workers.worker import Worker, refusal

LOOKS_EVERY_S = 0.5


def main(channel: int, folder: Path, driver: int) -> None:
    threading.Thread(target=_end_with, args=(driver,), daemon=True).start()
    connection, worker = Connection(channel), None
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            job = Packet.from_bytes(connection.recv_bytes())
            try:
                worker = worker or Worker(job.note["setup"], folder)
                answer = worker.perform(job, Path(job.note["state"]["cache_root"]))
            except EdgekdError as error:
                answer = refusal(error)
            connection.send_bytes(answer.to_bytes())


def _end_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(LOOKS_EVERY_S)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
