"""Kill one of three machines of a Ray cluster in mid-run; the run must end as if nothing had happened.

    python benchmarks/ray_kill.py --after 3 --seed 0          # after three tasks were finished

Starts a real cluster on this machine (a head and two more nodes, each with processes of its own), runs a small digits project on
it by `edgekd distill --ray`, and kills (SIGKILL) all processes of one node. Then the same project runs without workers, its
measurements replayed, since no two are equal. Holds where the weights of every training are the same bit by bit, report.json is
equal but for times, every unit was recorded once, and what the dead node lost was done by another.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from kill_resume import compare, report, weights

from edgekd.workers.crew import summary

PROJECT = """
[data]
source = "digits"
[teacher]
model = "builtin:digits"
[distill]
losses = [{{ name = "soft_targets", weight = 0.9, temperature = 4.0 }}]
epochs = {epochs}
views = 4
threads = 1
[students]
family = "resnet"
axes = {{ width = [8, 12, 16], growth = [1.5, 2.0], depth = [1], kernel = [3], bottleneck = [0.0] }}
[search]
trials = {trials}
rung_epochs = 2
finalists = {trials}
[[deploy]]
target = "onnxruntime"
precisions = ["fp32", "w8a8"]
latency_ms = 5.0
size_bytes = 2_000_000
max_accuracy_drop = 0.5
"""
PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
"""Given, since a raylet that must find out waits 15 s for each, and dies on a busy machine (ray-project/ray#65983)."""
HEALTH = {"health_check_period_ms": 500, "health_check_timeout_ms": 2000, "health_check_failure_threshold": 4}
LOOKS_EVERY_S = 0.05


class LocalCluster:
    """Nodes as processes of this machine: the first is the head. `resources` of each beside one CPU."""

    def __init__(self, *resources: dict[str, float]) -> None:
        from ray.cluster_utils import Cluster

        os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_agent_register_timeout_ms": "300000"}
        head, *others = ({"num_cpus": 1, "object_store_memory": 100_000_000, "resources": each} for each in resources)
        head_only = {"include_dashboard": False, "_system_config": HEALTH}
        self._cluster = Cluster(initialize_head=True, head_node_args={**head, **head_only, **free_ports()})
        self.nodes = [self._cluster.add_node(**other, **free_ports()) for other in others]
        self.address: str = self._cluster.address

    def kill(self, index: int) -> str:
        """SIGKILL to all processes of a node that is not the head; its id."""
        node = self.nodes[index]
        own = [psutil.Process(info.process.pid) for each in node.all_processes.values() for info in each]
        family = [*own, *(child for process in own for child in process.children(recursive=True))]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(family, timeout=10)
        return str(node.node_id)

    def close(self) -> None:
        self._cluster.shutdown()


@contextlib.contextmanager
def local_cluster(*resources: dict[str, float]) -> Iterator[LocalCluster]:
    cluster = LocalCluster(*resources)
    try:
        yield cluster
    finally:
        cluster.close()


def free_ports() -> dict[str, int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in PORTS]
        for each in sockets:
            each.bind(("", 0))
        return {name: each.getsockname()[1] for name, each in zip(PORTS, sockets, strict=True)}


def attempts(run: Path) -> list[dict[str, Any]]:
    """What workers have done so far, read while the run goes on; those of a run that has not begun are none."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"file:{run}/run.sqlite?mode=ro", uri=True)) as db,
    ):
        return [json.loads(row[0]) for row in db.execute("SELECT value FROM attempt ORDER BY rowid")]
    return []


def edgekd(project: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    log = (project.parent / f"{out.name}.log").open("ab")
    command = [sys.executable, "-m", "edgekd", "distill", str(project), "--out", str(out), *options]
    return subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "EDGEKD_CACHE": str(out.with_name("cache"))})


def disturbed(project: Path, out: Path, after: int, victim: int) -> str:
    """Run on a cluster and kill a node once `after` tasks are finished; the dead node's id."""
    os.environ["EDGEKD_CACHE"] = str(out.with_name("cluster-cache"))  # of the nodes: they fetch what the driver has
    with local_cluster({"device:local": 1}, {}, {}) as cluster:
        running, dead = edgekd(project, out, "--ray", cluster.address), ""
        while running.poll() is None:
            if not dead and len(attempts(out)) >= after:
                dead = cluster.kill(victim)
            time.sleep(LOOKS_EVERY_S)
    if running.returncode or not dead:
        raise SystemExit(f"exit code {running.returncode}, killed {dead or 'nothing'}: see {out}.log")
    return dead


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--after", type=int, default=3, help="finished tasks before the kill")
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of which node dies")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="edgekd-ray-"))
    project = folder / "project.toml"
    project.write_text(PROJECT.format(epochs=chosen.epochs, trials=chosen.trials))
    cut, whole = folder / "cut", folder / "whole"
    dead = disturbed(project, cut, chosen.after, random.Random(chosen.seed).randrange(2))
    if edgekd(project, whole, "--replay", str(cut)).wait():
        raise SystemExit(f"the undisturbed run failed: see {whole}.log")
    account, differences = summary(attempts(cut)), compare(whole, cut)
    by = account.pop("by_worker")
    same = "; ".join(differences) or "the same selection, weights and report"
    print(f"three nodes, one killed after {chosen.after} tasks: {same}")
    print(f"selected: {', '.join(entry['candidate'] for entry in report(cut)['selected'])}")
    print(f"trials: {len(report(cut)['trials'])} of {len(report(whole)['trials'])}; weight files: {len(weights(cut))}")
    print(", ".join(f"{name.replace('_', ' ')} {count}" for name, count in account.items()))
    print("; ".join(f"node {node[:8]}{' (killed)' if node == dead else ''}: {count} tasks" for node, count in by.items()))
    return 1 if differences or account["done_twice"] else 0


if __name__ == "__main__":
    sys.exit(main())
