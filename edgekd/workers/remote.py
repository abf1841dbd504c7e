"""What runs on a machine of a Ray cluster: one task of a job, with a worker that stays for the next one."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgekd.errors import EdgekdError, storage_errors
from edgekd.types import digest
from edgekd.workers.packet import Packet
from edgekd.workers.worker import Worker, refusal, scratch_folder

_workers: dict[str, Worker] = {}
"""Of this process, by what they were set up with: data are read once."""


def perform(job: bytes, caches: dict[str, dict[str, Any]]) -> bytes:
    """A packet in, a packet out. `caches` has references to teachers' answers, by folder and file."""
    from edgekd.prepare_run import cache_root

    try:
        packet, root = Packet.from_bytes(job), cache_root()
        for folder, files in caches.items():
            take_cache(root / Path(folder).name, files)
        name = digest(packet.note["setup"])
        if name not in _workers:
            _workers[name] = Worker(packet.note["setup"], scratch_folder())
        answer = _workers[name].perform(packet, root)
    except EdgekdError as error:
        answer = refusal(error)
    return answer.to_bytes()


def take_cache(folder: Path, files: dict[str, Any]) -> None:
    """Fetch what is missing of a teacher's answers: a folder's name says what is in it, so what is there is right.

    Logits come last: where they are, a view counts as whole.
    """
    import ray

    with storage_errors(f"the teacher cache in {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(map(os.path.basename, files), key=lambda name: (name.endswith(".logits.npy"), name)):
            if (folder / name).exists():
                continue
            temporary = folder / f".{os.getpid()}.{name}"
            try:
                temporary.write_bytes(ray.get(files[name]))
                os.replace(temporary, folder / name)
            finally:
                with suppress(FileNotFoundError):
                    temporary.unlink()
