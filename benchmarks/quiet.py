"""By hand, on a quiet machine: how often a measurement of nothing wrong is flagged.

    python benchmarks/quiet.py MODEL [--runs 50] [--full]

Measures one model again and again by the bench's procedure, quick (one process, 200 queries) or full, and counts what is doubted.
Doubts about the machine (steal time, other programs, the governor) are counted apart from those about latencies: the former say
that the machine was not quiet. Exit code 1 where a latency was doubted.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from edgekd.bench.measure import measure_model
from edgekd.bench.settings import Settings

OF_LATENCY = ("latency drifts", "queries slowed down", "processes disagree", "two kinds of query")


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("model", type=Path)
    asked.add_argument("--runs", type=int, default=50)
    asked.add_argument("--full", action="store_true")
    given = asked.parse_args()
    settings = Settings() if given.full else Settings.quick()
    latency, machine, doubted = Counter[str](), Counter[str](), 0
    for number in range(given.runs):
        record = measure_model(given.model, settings=settings)
        texts = [warning.partition(":")[0] for warning in record["warnings"]]
        own = [text for text in texts if text.startswith(OF_LATENCY)]
        doubted += bool(own)
        latency.update(own)
        machine.update(" ".join(text.split()[:2]) for text in texts if text not in own)
        print(
            f"{number + 1:3} p50 {record['latency_ms']['p50']:.4f}, n {record['latency_ms']['n']}: {', '.join(texts) or 'quiet'}"
        )
    print(f"{doubted} of {given.runs} runs had a latency doubted: {dict(latency)}; about the machine: {dict(machine)}")
    return 1 if doubted else 0


if __name__ == "__main__":
    sys.exit(main())
