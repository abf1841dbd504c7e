"""A real Ray cluster of three nodes on this machine: one dies in mid-run, and the run ends as if nothing had happened."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray")
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from kill_resume import compare
from ray_kill import LocalCluster, attempts, edgekd, local_cluster

from edgekd.errors import DeviceError, InputError
from edgekd.workers.crew import summary
from edgekd.workers.on_ray import connect

PROJECT = """
[data]
source = "users:data"
[teacher]
model = "users:Teacher"
[distill]
epochs = 3
views = 1
threads = 1
batch_size = 64
[students]
family = "users:LINEAR"
[search]
trials = 4
rung_epochs = 1
finalists = 4
[[deploy]]
target = "null"
precisions = ["fp32", "w8"]
"""
USERS = f"""
import sys
import time
from pathlib import Path
import torch
sys.path.insert(0, {str(Path(__file__).parents[1] / "torch")!r})
from synthetic_data import synthetic
HERE = Path(__file__).parent
class Linear(torch.nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        layer = torch.nn.Linear(features, classes)
        self.weight, self.bias = layer.weight, layer.bias
    def forward(self, x):
        return torch.nn.functional.linear(x.flatten(1), self.weight, self.bias)
class Family:
    def space(self, shape):
        return {{"width": (1, 2, 3, 4)}}
    def build(self, params, shape, classes):
        caught()
        network = Linear(shape[0] * shape[1] * shape[2], classes)
        network.weight.data *= params["width"]  # no two are equal
        return network
LINEAR = Family()
def data():
    return synthetic()
class Teacher(torch.nn.Module):
    def forward(self, x):
        return 4 * x.reshape(len(x), 2, 4, 2, 4).mean(dim=(2, 4)).reshape(len(x), 4)
def caught():
    # On the node that is to die nothing ends: its task is under way when it does.
    import ray
    if not ray.is_initialized() or not (HERE / "victim").exists():
        return
    context = ray.get_runtime_context()
    if context.worker.mode == ray.WORKER_MODE and context.get_node_id() == (HERE / "victim").read_text():
        (HERE / "caught").touch()
        time.sleep(600)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "project.toml").write_text(PROJECT)
    (folder / "users.py").write_text(USERS)
    return folder


@pytest.fixture(scope="module")
def cluster(base: Path) -> Iterator[LocalCluster]:
    """Three nodes with a CPU each; the head offers the device. Their teacher caches are not the driver's."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("EDGEKD_CACHE", str(base / "cluster-cache"))
        with local_cluster({"device:local": 1}, {}, {}) as found:
            yield found


def test_a_node_that_dies_changes_nothing(cluster: LocalCluster, base: Path) -> None:
    """The same selection, weights and report as without workers; its task is done by another, and nothing is done twice."""
    project, cut, whole = base / "project.toml", base / "cut", base / "whole"
    victim = cluster.nodes[0].node_id
    (base / "victim").write_text(victim)
    running = edgekd(project, cut, "--ray", cluster.address)
    while running.poll() is None and not (base / "caught").exists():
        time.sleep(0.05)
    cluster.kill(0)
    assert running.wait(300) == 0, (base / "cut.log").read_text()
    assert edgekd(project, whole, "--replay", str(cut)).wait(300) == 0, (base / "whole.log").read_text()
    assert compare(whole, cut) == []
    report = json.loads((cut / "report.json").read_text())
    assert len(report["trials"]) == 4
    account = attempts(cut)
    lost = [attempt for attempt in account if attempt["outcome"] == "lost"]
    assert {attempt["worker"] for attempt in lost} == {victim}
    assert len(lost) >= 1
    for attempt in lost:
        again = [each for each in account if each["task"] == attempt["task"] and each["outcome"] == "done"]
        assert [each["worker"] == victim for each in again] == [False]
    found = summary(account)
    assert (found["done_twice"], found["failed"], found["left"]) == (0, 0, 0)
    # Four trainings, and of each two builds, two verifications, two measurements.
    assert found["units"] == 4 * (1 + 3 * 2)
    assert {attempt["worker"] for attempt in account if attempt["task"].startswith("artifact")} == {head_of(cluster)}
    assert sorted(path.name for path in (base / "cluster-cache").rglob("view-*.logits.npy")) == ["view-000.logits.npy"]


def head_of(cluster: LocalCluster) -> str:
    """The id of the one node that is not among the others."""
    code = f"import ray; ray.init({cluster.address!r}, log_to_driver=False); print([n['NodeID'] for n in ray.nodes()])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    others = {node.node_id for node in cluster.nodes}
    (head,) = set(json.loads(done.stdout.splitlines()[-1].replace("'", '"'))) - others
    return str(head)


def test_a_machine_with_another_version_is_told(cluster: LocalCluster, base: Path, tmp_path: Path) -> None:
    """A worker whose edgekd is not the driver's ends the run with what to do, as an input error."""
    code = f"""
import sys
import edgekd.workers.setting as setting
real = setting.versions
setting.versions = lambda *names: {{**real(*names), "edgekd": "99.0"}}
sys.argv = ["edgekd", "distill", {str(base / "project.toml")!r}, "--out", {str(tmp_path / "run")!r}, "--ray", {cluster.address!r}]
from edgekd.__main__ import main
main()
"""
    environment = {**os.environ, "EDGEKD_CACHE": str(base / "cache")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2, done.stderr
    assert "expected 99.0: install the same on all machines" in done.stderr


@pytest.mark.parametrize("address", ["", "here", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", "local"])
def test_what_is_no_address_is_an_input_error(address: str) -> None:
    """Said before anything is started."""
    with pytest.raises(InputError, match="expected auto, HOST:PORT or ray://HOST:PORT"):
        connect(address)


def test_a_cluster_that_is_not_there_is_a_device_error() -> None:
    """Nothing listens: said at once, with where to look."""
    started = time.monotonic()
    with pytest.raises(DeviceError, match="nothing answers there"):
        connect("127.0.0.1:1")
    assert time.monotonic() - started < 20
