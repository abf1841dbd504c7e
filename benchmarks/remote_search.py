"""`edgekd distill` on digits for this machine and for an emulated Raspberry Pi 5 over a real ssh, known by devices.toml.

python benchmarks/remote_search.py OUT

Says for each deployment what was selected, by which figures, and where those come from; fails where a figure of the emulated
board is not called emulated, or one of this machine not measured.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from edgekd.emulate.board import Running, start_board

PROJECT = """\
[data]
source = "digits"
[teacher]
model = "builtin:digits"
[distill]
epochs = 8
threads = 1
views = 2
[students]
family = "resnet"
axes = { width = [8, 12], depth = [1] }
[search]
trials = 2
rung_epochs = 2
finalists = 1
[[deploy]]
device = "local"
target = "onnxruntime"
precisions = ["fp32"]
latency_ms = 20.0
max_accuracy_drop = 0.3
[[deploy]]
device = "raspberry-pi-5"
target = "onnxruntime"
precisions = ["fp32"]
latency_ms = 60_000.0
size_bytes = 200_000
max_accuracy_drop = 0.3
"""
EXPECTED = {"local": "measured", "raspberry-pi-5": "emulated"}


def main(out: Path) -> None:
    out.mkdir(parents=True)
    (out / "project.toml").write_text(PROJECT)
    board = start_board("pi5", out / "board", say=lambda text: print(text, flush=True))
    try:
        begin = time.monotonic()
        subprocess.run(
            ["edgekd", "distill", out / "project.toml", "--out", out / "run"], env=surroundings(out, board), check=True
        )
        print(f"{time.monotonic() - begin:.0f} s")
    finally:
        board.stop()
    for entry in json.loads((out / "run" / "report.json").read_text())["selected"]:
        kinds = {name: entry[name]["provenance"] for name in ("latency_ms", "peak_memory_bytes")}
        print(
            f"{entry['device']}: {entry['candidate']} {entry['precision']}, p90 {entry['latency_ms']['p90']:.3f} ms, "
            f"{entry['peak_memory_bytes']['value']:,} bytes of memory, {kinds}; {entry['conditions']['cpu']}"
        )
        if set(kinds.values()) != {EXPECTED[entry["device"]]}:
            raise SystemExit(f"{entry['device']}: {kinds}, expected {EXPECTED[entry['device']]}")


def surroundings(out: Path, board: Running) -> dict[str, str]:
    """A user who has the board in ~/.ssh/config and in devices.toml."""
    config, wrapper = out / "config" / "edgekd" / "devices.toml", out / "bin" / "ssh"
    for file in (config, wrapper):
        file.parent.mkdir(parents=True)
    config.write_text(f'[raspberry-pi-5]\nconnect = "ssh:{board.host}"\n')
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {board.ssh_config} "$@"\n')
    wrapper.chmod(0o755)
    return {**os.environ, "PATH": f"{wrapper.parent}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(out / "config")}


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
