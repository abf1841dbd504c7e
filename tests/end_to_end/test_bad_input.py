"""Whatever is wrong with what a user gives, the real command says so in one or two lines and with the documented exit code."""

import contextlib
import fcntl
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

PROJECT = """
[data]
source = "digits"
[teacher]
model = "users:Teacher"
[distill]
epochs = 1
views = 1
threads = 1
losses = [{ name = "soft_targets", weight = 0.9, temperature = 4.0 }]
[students]
family = "users:LINEAR"
[search]
trials = 1
[[deploy]]
target = "null"
precisions = ["fp32"]
"""
USERS = """
import torch
class Linear(torch.nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        layer = torch.nn.Linear(features, classes)
        self.weight, self.bias = layer.weight, layer.bias
    def forward(self, x):
        return torch.nn.functional.linear(x.flatten(1), self.weight, self.bias)
class Family:
    def space(self, shape):
        return {"width": (1,)}
    def build(self, params, shape, classes):
        return Linear(shape[0] * shape[1] * shape[2], classes)
LINEAR = Family()
class Teacher(Linear):
    def __init__(self):
        torch.manual_seed(0)
        super().__init__(64, 10)
class Eleven(Linear):
    def __init__(self):
        super().__init__(64, 11)
"""
BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {module!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""

Make = Callable[[Path], list[str]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """`make` prepares a folder and gives the arguments; `says` is in the message; `works` where work has begun by then."""

    name: str
    make: Make
    says: str
    code: int = 2
    works: bool = False
    environment: dict[str, str] = field(default_factory=dict)


def project(*changes: tuple[str, str], files: Callable[[Path], object] | None = None, more: tuple[str, ...] = ()) -> Make:
    """A case of `edgekd distill` with lines of the project replaced and files put beside it."""

    def make(folder: Path) -> list[str]:
        text = PROJECT
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (folder / "project.toml").write_text(text)
        if files is not None:
            files(folder)
        return ["distill", "project.toml", "--out", "run", *more]

    return make


def raw_project(content: bytes) -> Make:
    def make(folder: Path) -> list[str]:
        (folder / "project.toml").write_bytes(content)
        return ["distill", "project.toml", "--out", "run"]

    return make


def command(*arguments: str, name: str = "", content: bytes = b"") -> Make:
    """A case of another command, with one file."""

    def make(folder: Path) -> list[str]:
        if name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return list(arguments)

    return make


def npz(**arrays: object) -> Make:
    rng = np.random.default_rng(0)
    good: dict[str, object] = {"x": rng.integers(0, 255, (60, 1, 8, 8)).astype(np.uint8), "y": np.arange(60) % 3}
    return project(('"digits"', '"npz:data.npz"'), files=lambda folder: np.savez(folder / "data.npz", **{**good, **arrays}))  # type: ignore[arg-type]


def weights(content: bytes, name: str = "w.safetensors") -> Make:
    changes = ('"users:Teacher"', f'"users:Teacher"\nweights = "{name}"')
    return project(changes, files=lambda folder: (folder / name).write_bytes(content))


def tensors(*shape: int) -> bytes:
    from safetensors.numpy import save

    return save({"weight": np.zeros(shape, np.float32), "bias": np.zeros(10, np.float32)})


def pictures(content: bytes) -> Make:
    def files(folder: Path) -> None:
        for label in ("cat", "dog"):
            (folder / "pictures" / "train" / label).mkdir(parents=True)
            (folder / "pictures" / "train" / label / "1.png").write_bytes(content)

    return project(('"digits"', '"images:pictures/train"'), files=files)


def onnx_bytes() -> bytes:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    return content


class Evil:
    """Unpickling this makes a file."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("ran", "w")


def begun(folder: Path) -> list[str]:
    """A folder that holds the run of another project."""
    from edgekd.project import read_project
    from edgekd.store import Store

    arguments = project()(folder)
    store = Store(folder / "run")
    store.bind({**read_project(folder / "project.toml").raw, "search": {"trials": 2}}, folder)
    store.close()
    return arguments


NAN = np.full((60, 1, 8, 8), np.nan, np.float32)
CASES = [
    Case(name="unknown key", make=project(("epochs", "epcohs")), says="did you mean 'epochs'"),
    Case(name="missing project", make=command("distill", "none.toml"), says="none.toml"),
    Case(name="project is a folder", make=command("distill", "."), says="distill --init"),
    Case(name="project is noise", make=raw_project(np.random.default_rng(0).bytes(4096)), says="not TOML"),
    Case(name="project is empty", make=raw_project(b""), says="is empty"),
    Case(name="unknown target", make=project(('"null"', '"nul"')), says="did you mean 'null'"),
    Case(name="unknown device", make=project(("[[deploy]]", '[[deploy]]\ndevice = "pixel-9"')), says="did you mean 'pixel-8'"),
    Case(name="precision that the target lacks", make=project(('"fp32"', '"fp16"')), says="no precision fp16"),
    Case(name="unknown data", make=project(('"digits"', '"digit"')), says="did you mean 'digits'"),
    Case(name="unknown loss", make=project(("soft_targets", "soft_target")), says="did you mean 'soft_targets'"),
    Case(name="temperature zero", make=project(("temperature = 4.0", "temperature = 0")), says="temperature"),
    Case(name="unknown family", make=project(('"users:LINEAR"', '"resnt"')), says="did you mean 'resnet'"),
    Case(name="unknown axis", make=project(("[search]", "axes = { depht = [1] }\n[search]")), says="depht"),
    Case(name="no teacher module", make=project(('"users:Teacher"', '"nobody:Teacher"')), says="nobody"),
    Case(name="no such class in the module", make=project(("users:Teacher", "users:Taecher")), says="did you mean 'Teacher'"),
    Case(name="no weights file", make=project(('"users:Teacher"', '"users:Teacher"\nweights = "w.pt"')), says="w.pt"),
    Case(name="truncated weights", make=weights(tensors(10, 64)[:-100]), says="w.safetensors", works=True),
    Case(name="weights of other shapes", make=weights(tensors(10, 63)), says="weight has shape (10, 63)", works=True),
    Case(name="pickled weights", make=weights(pickle.dumps(Evil()), "w.pt"), says="more than tensors", works=True),
    Case(name="teacher of other classes", make=project(("users:Teacher", "users:Eleven")), says="expected", works=True),
    Case(name="untrained teacher", make=project(), says="knows nothing of data 'digits'", works=True),
    Case(
        name="truncated ONNX teacher",
        make=project(('"users:Teacher"', '"onnx:t.onnx"'), files=lambda f: (f / "t.onnx").write_bytes(onnx_bytes()[:-9])),
        says="t.onnx",
        works=True,
    ),
    Case(name="negative label", make=npz(y=np.arange(60) % 3 - 1), says="label -1"),
    Case(name="labels with a gap", make=npz(y=np.arange(60) % 3 * 7), says="no training sample of class"),
    Case(name="fractions for labels", make=npz(y=np.zeros(60, np.float32)), says="expected integers"),
    Case(name="NaN inputs", make=npz(x=NAN), says="NaN"),
    Case(name="features for pictures", make=npz(x=np.zeros((60, 5), np.float32)), says="students take pictures"),
    Case(name="pickled array", make=npz(x=np.array([Evil()] * 60, object)), says="data.npz"),
    Case(
        name="truncated npz",
        make=project(('"digits"', '"npz:data.npz"'), files=lambda f: (f / "data.npz").write_bytes(b"PK\x03\x04" * 9)),
        says="data.npz",
    ),
    Case(name="truncated picture", make=pictures(b"\x89PNG\r\n\x1a\n" + bytes(20)), says="1.png"),
    Case(name="no pictures folder", make=project(('"digits"', '"images:nowhere"')), says="nowhere"),
    Case(name="missing torch", make=project(), says='pip install "edgekd[train]"', code=4, environment={"BLOCK": "torch"}),
    Case(name="out below a file", make=project(more=("--out", "users.py/run")), says="choose another --out", code=7),
    Case(name="out is a file", make=project(more=("--out", "users.py")), says="choose another --out", code=7),
    Case(name="another project's run", make=begun, says="[search] trials changed"),
    Case(name="replay of no run", make=project(more=("--replay", "nowhere")), says="nowhere holds no run"),
    Case(name="infeasible", make=project(('["fp32"]', '["fp32"]\nsize_bytes = 9')), says="smallest reach", code=3, works=True),
    Case(name="report of no run", make=command("report", "."), says="report.json"),
    Case(name="report that is noise", make=command("report", ".", name="report.json", content=b"\xff{"), says="report.json"),
    Case(name="verify of no run", make=command("verify", "."), says="report.json"),
    Case(name="export of no run", make=command("export", ".", "--target", "null"), says="holds no run"),
    Case(name="bench of nothing", make=command("bench", "m.onnx"), says="m.onnx"),
    Case(name="bench of text", make=command("bench", "m.onnx", name="m.onnx", content=b"not a model\n" * 9), says="m.onnx"),
    Case(name="bench of half a model", make=command("bench", "m.onnx", name="m.onnx", content=onnx_bytes()[:-9]), says="m.onnx"),
    Case(name="bench of an empty file", make=command("bench", "m.onnx", name="m.onnx"), says="is empty"),
    Case(name="bench of another suffix", make=command("bench", "m.bin", name="m.bin", content=b"x"), says="suffix"),
    Case(name="bench of a null model that is none", make=command("bench", "m.npz", name="m.npz", content=b"x"), says="m.npz"),
    Case(
        name="bench without its runtime",
        make=command("bench", "m.onnx", name="m.onnx", content=onnx_bytes()),
        says='pip install "edgekd[onnxruntime]"',
        code=4,
        environment={"BLOCK": "onnxruntime"},
    ),
]  # fmt: skip


def run(case: Case, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "users.py").write_text(USERS)
    environment = {**os.environ, "EDGEKD_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    if "BLOCK" in case.environment:
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(BLOCKER.format(module=case.environment["BLOCK"]))
        environment["PYTHONPATH"] = str(folder / "site")
    arguments = [sys.executable, "-m", "edgekd", *case.make(folder)]
    return subprocess.run(arguments, capture_output=True, text=True, cwd=folder, env=environment, timeout=120, check=False)


def check(case: Case, done: subprocess.CompletedProcess[str]) -> None:
    """Exit code, the message last, no traceback; before any work begins one or two lines in all."""
    assert done.returncode == case.code, done.stderr[-2000:]
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("edgekd: "), done.stderr[-2000:]
    assert case.says in lines[-1]
    assert not re.search(r"internal error|\bNone\b", lines[-1])
    if not case.works:
        assert len(lines) <= 2, done.stderr[-2000:]
    assert done.stdout == ""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(case: Case, tmp_path: Path) -> None:
    """The cause is named, the exit code is the documented one, and no report claims anything."""
    check(case, run(case, tmp_path))
    assert not (tmp_path / "ran").exists()
    if case.code != 3:
        assert not list(tmp_path.rglob("report.html"))
        assert case.name == "report that is noise" or not list(tmp_path.rglob("report.json"))


def test_two_runs_in_one_folder(tmp_path: Path) -> None:
    """The second to come is refused while the first holds the folder."""
    (tmp_path / "run").mkdir()
    with (tmp_path / "run" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        case = Case(name="locked", make=project(), says="in use by another edgekd")
        check(case, run(case, tmp_path))


@contextlib.contextmanager
def tiny_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(("place", "size"), [("run", "4k"), ("run", "32k"), ("cache", "16k")])
def test_a_full_disk(place: str, size: str, tmp_path: Path) -> None:
    """No room for the record, for what is built, or for the teacher's answers: exit 7, and what to do."""
    changes = [('"users:Teacher"', '"builtin:digits"')]
    case = Case(name="full", make=project(*changes), says="free some space", code=7, works=True)
    with tiny_disk(tmp_path / place, size):
        check(case, run(case, tmp_path))


def test_ctrl_c_while_working(tmp_path: Path) -> None:
    """Interrupted in the middle of its work the command ends with 130 and one line; the same command then goes on."""
    (tmp_path / "users.py").write_text(USERS)
    arguments = [sys.executable, "-m", "edgekd", *project(('"users:Teacher"', '"builtin:digits"'))(tmp_path)]
    environment = {**os.environ, "EDGEKD_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment)
    assert process.stderr is not None
    line = process.stderr.readline()
    assert line.startswith("screening")
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait() == 130
    assert "Traceback" not in rest
    assert rest.splitlines()[-1] == "edgekd: interrupted; the same command goes on from here"
    again = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert again.returncode == 0, again.stderr[-2000:]
