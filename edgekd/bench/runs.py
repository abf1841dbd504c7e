"""One model file on one device: the files that go there, the passes that run there, and answers that belong together."""

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgekd.artifact import files_of
from edgekd.bench import harness
from edgekd.bench.clock import check_clock
from edgekd.bench.reply import Reply, RunFailed, parse
from edgekd.bench.settings import WARM, Settings, Use
from edgekd.bench.transports import Transport
from edgekd.bench.transports.faults import bad_answer
from edgekd.device import LOCAL, Device
from edgekd.errors import DeviceError, MissingExtraError
from edgekd.target import Target

DEVICE_FILES = ("harness.py", "loops.py", "steady.py", "feeding.py", "outputs.py", "page_cache.py", "profiling.py")
"""What edgekd itself puts beside a runner; they import nothing of edgekd."""
LOAD_TIMEOUT_S = 120.0  # compiling a model for a phone's accelerator takes up to a minute


class Runs:
    """One model file on one device, at a transport: each pass is a fresh process there."""

    def __init__(
        self,
        model: Path,
        device: Device,
        target: Target,
        transport: Transport,
        threads: int,
        settings: Settings,
        use: Use = WARM,
        tag: str = "",
    ) -> None:
        """`tag` keeps the names of several models apart on one transport."""
        self.model, self.device, self.target, self.transport = model, device, target, transport
        self.threads, self.settings, self.use = threads, settings, use
        self.name, self.runner, self.operators = f"model{tag}{model.suffix}", f"runner{tag}", f"operators{tag}"
        self.input_names = [f"input{tag}-{i}.npy" for i in range(len(use.inputs))]

    def push(self) -> None:
        """Put the harness, the runner and the model into the device's folder, under fixed names."""
        assert self.target.runner is not None  # unmeasurable() has said so otherwise
        for name in DEVICE_FILES:
            self.transport.push(Path(harness.__file__).with_name(name), name)
        self.transport.push(self.target.runner, f"{self.runner}.py")
        for name, file in zip(self.input_names, self.use.inputs, strict=True):
            self.transport.push(file, name)
        if self.model.is_dir():
            self.transport.push(self.model, self.name)
            return
        for _, file in files_of(self.model):
            self.transport.push(file, Path(self.name).stem + file.suffix)

    def run(self, mode: str, share: dict[str, Any] | None = None) -> Reply:
        """One pass, of `Settings.shares` where the mode is `latency`.

        Raises RunFailed where the model does not load or run, MissingExtraError where this machine lacks the runtime,
        DeviceError for everything else.
        """
        settings, queries = self.settings, (share or {}).get("queries")
        job = {
            "mode": mode,
            "model": self.name,
            "runner": self.runner,
            "operators": self.operators,
            "options": dict(self.use.options),
            "threads": self.threads,
            "streams": self.use.streams,
            "batch": self.use.batch,
            "seed": settings.seed,
            "inputs": self.input_names or None,
            "samples": self.use.samples,
            "warmup_queries": settings.warmup_queries,
            **(share or {}),
        }
        with _job_file(job) as file:
            self.transport.push(file, "job.json")
        each_s = 1 + (self.use.period_s if mode == "duty" else 0)  # for each query that must be made
        timeout_s = LOAD_TIMEOUT_S + 2 * settings.max_seconds + each_s * (queries or 0)
        started = time.monotonic()
        done = self.transport.run([self.transport.python, "harness.py", "job.json"], timeout_s)
        try:
            reply = parse(done, mode, where=self.device.name, queries=queries)
        except RunFailed as failure:
            if failure.stage != "import":
                raise
            if self.device.name == LOCAL:
                hint = f'pip install "edgekd[{self.target.extra}]"'
                raise MissingExtraError(f"target '{self.target.name}' cannot run here: {failure.cause}: {hint}") from failure
            raise DeviceError(f"{self.device.name} cannot import the {self.target.name} runtime: {failure.cause}") from failure
        except DeviceError as error:
            raise bad_answer(self.device.name, error) from error
        check_clock(reply, self.device.name, time.monotonic() - started)
        return reply

    def check_alike(self, replies: Sequence[Reply]) -> None:
        """All passes must have run on one machine with one runtime, and that of the device's architecture."""
        first = replies[0]
        for reply in replies:
            if (reply.versions, reply.machine) != (first.versions, first.machine):
                raise DeviceError(f"{self.device.name}: the passes ran under different versions or on different machines")
        arch = {"arm64": "aarch64", "amd64": "x86_64"}.get(first.machine["arch"].lower(), first.machine["arch"].lower())
        if arch != self.device.arch:
            raise DeviceError(f"{self.device.name} has {self.device.arch} processors, the connected machine has {arch}")


@contextlib.contextmanager
def _job_file(job: dict[str, Any]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="edgekd-job-") as folder:
        file = Path(folder) / "job.json"
        file.write_text(json.dumps(job))
        yield file
