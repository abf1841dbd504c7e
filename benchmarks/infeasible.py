"""A budget that nobody can meet, by latency on three targets and by size on Core ML: exit code 3, the smallest reachable
figure, nothing trained. Prints the seconds that each took.

    python benchmarks/infeasible.py
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgekd.project import template

CASES = {
    "onnxruntime": ("latency_ms", "0.000001"),
    "tflite": ("latency_ms", "0.000001"),
    "openvino": ("latency_ms", "0.000001"),
    "coreml": ("size_bytes", "1"),
}


def main() -> int:
    bad = 0
    for target, (limit, value) in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder, "project.toml")
            text = re.sub(rf"(?m)^{limit} = .*$", f"{limit} = {value}", template())
            text = text.replace('target = "onnxruntime"', f'target = "{target}"')
            if target == "coreml":
                text = text.replace('device = "local"', 'device = "iphone-15"').replace('"w8a8"', '"w8"')
            project.write_text(text)
            begin = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "edgekd", "distill", str(project), "--out", f"{folder}/run"],
                capture_output=True,
                text=True,
            )
            seconds = time.monotonic() - begin
            message = done.stderr.strip().splitlines()[-1]
            weights = list(Path(folder).rglob("*.safetensors"))
            holds = done.returncode == 3 and seconds <= 30 and "smallest reachable" in message and not weights
            bad += not holds
            print(f"{target}: exit {done.returncode} in {seconds:.1f} s, {len(weights)} weights written: {message}")
    return bad


if __name__ == "__main__":
    sys.exit(main())
