"""`module:name` and `builtin:digits`: weights are loaded to the letter and never unpickled; runtimes agree."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from edgekd.data import Data, normalise
from edgekd.data.settings import DataSettings
from edgekd.data.sources import load_data
from edgekd.errors import InputError
from edgekd.teachers.accelerate import accelerate, through_onnxruntime
from edgekd.teachers.check import check_teacher
from edgekd.teachers.load import load_teacher
from edgekd.teachers.torch_module import load_torch
from edgekd.types import Contract


def contract(classes: int) -> Contract:
    """Digits in so many classes."""
    return Contract(classes=tuple(map(str, range(classes))), mean=(0.3,), std=(0.4,), value_max=16.0, shape=(1, 8, 8))


MODULE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten())
        self.head = nn.Linear(64, 10)
    def forward(self, x):
        return self.head(self.body(x))

def net():
    torch.manual_seed(0)
    return Net()

def softmax():
    return nn.Sequential(net(), nn.Softmax(1))

def convolutional():
    return nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten())

def branching():
    class Branching(Net):
        def forward(self, x):
            return super().forward(x) if float(x.sum()) > 1e9 else super().forward(x) * 2
    return Branching()

def two():
    class Two(Net):
        def forward(self, x):
            return super().forward(x), x
    return Two()

def broken():
    return nn.Linear("four", 2)

def number():
    return 3

INSTANCE = net()
"""


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data(DataSettings(source="digits"), base=Path())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "mine.py").write_text(MODULE)
    return folder


@pytest.fixture
def state(project: Path) -> dict[str, torch.Tensor]:
    """Weights of the network, other than those it is made with."""
    network = load_torch("mine:net", None, project, contract(10))[1].network
    return {name: tensor + 0.5 if tensor.is_floating_point() else tensor for name, tensor in network.state_dict().items()}


def sample(data: Data, count: int = 32) -> np.ndarray:
    return normalise(data.validation.inputs[:count], data.contract)


def test_function_class_and_instance(project: Path, data: Data) -> None:
    """All three make a teacher, in evaluation mode: the same answer twice, dropout or not."""
    for name in ("net", "Net", "INSTANCE"):
        teacher = load_teacher(f"mine:{name}", None, data=data, base=project, seed=0)
        first, second = teacher.outputs(sample(data)), teacher.outputs(sample(data))
        np.testing.assert_array_equal(first.logits, second.logits)
        assert (first.logits.shape, first.logits.dtype, teacher.params) == ((32, 10), np.float32, 698)


def test_embedding_is_what_the_classifier_gets(project: Path, data: Data) -> None:
    """The last linear layer maps it to the logits; without such a layer there is none."""
    teacher, answering = load_torch("mine:net", None, project, contract(10))
    found = teacher.outputs(sample(data))
    assert found.embedding is not None
    head: Any = answering.network.get_submodule("head")
    with torch.inference_mode():
        np.testing.assert_allclose(head(torch.from_numpy(found.embedding)).numpy(), found.logits, atol=1e-5)
    assert load_torch("mine:convolutional", None, project, contract(10))[0].outputs(sample(data)).embedding is None
    assert load_torch("mine:net", None, project, contract(7))[0].outputs(sample(data)).embedding is None


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth"])
def test_weights_are_loaded(project: Path, data: Data, state: dict[str, torch.Tensor], suffix: str) -> None:
    """From each format, also wrapped in `state_dict`; they change the answers and the fingerprint."""
    file = project / f"w.{suffix}"
    if suffix == "safetensors":
        save_file(state, file)
    else:
        torch.save(state if suffix == "pt" else {"state_dict": state, "epoch": 3}, file)
    plain = load_torch("mine:net", None, project, contract(10))[0]
    teacher, answering = load_torch("mine:net", file.name, project, contract(10))
    for name, tensor in answering.network.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)
    assert teacher.fingerprint != plain.fingerprint
    assert teacher.fingerprint == load_torch("mine:net", file.name, project, contract(10))[0].fingerprint


def test_weights_of_another_model_are_refused(project: Path, state: dict[str, torch.Tensor]) -> None:
    """Missing, unknown and misshapen tensors are named."""
    wrong = {"a": ({**state, "tail.weight": torch.ones(1)}, "it alone has tail.weight"), "b": (dict(state), "it lacks head.bias")}
    del wrong["b"][0]["head.bias"]
    wrong["c"] = ({**state, "head.bias": torch.ones(3)}, r"head.bias has shape \(3,\), expected \(10,\)")
    for name, (tensors, message) in wrong.items():
        save_file(tensors, project / f"{name}.safetensors")
        with pytest.raises(InputError, match=rf"{name}\.safetensors are not of this model: {message}"):
            load_torch("mine:net", f"{name}.safetensors", project, contract(10))


def test_damaged_weights_are_refused(project: Path, state: dict[str, torch.Tensor]) -> None:
    """Cut off anywhere, noise, empty, missing, or of another suffix: an InputError of one line."""
    save_file(state, project / "w.safetensors")
    torch.save(state, project / "w.pt")
    for file in (project / "w.safetensors", project / "w.pt"):
        whole = file.read_bytes()
        for content in (whole[:-10], whole[:100], b"", b"\xff" * 100):
            (project / f"cut{file.suffix}").write_bytes(content)
            with pytest.raises(InputError, match=rf"cut{file.suffix}") as caught:
                load_torch("mine:net", f"cut{file.suffix}", project, contract(10))
            assert "\n" not in str(caught.value)
    for name, message in (("none.pt", "do not exist"), ("w.bin", r"must be one of \.safetensors")):
        with pytest.raises(InputError, match=message):
            load_torch("mine:net", name, project, contract(10))


def test_weights_are_never_unpickled(project: Path, tmp_path: Path) -> None:
    """A checkpoint that would run code is refused before it does."""
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (ran,))

    torch.save({"head.bias": Bomb()}, project / "bomb.pt")
    with pytest.raises(InputError, match="hold more than tensors"):
        load_torch("mine:net", "bomb.pt", project, contract(10))
    torch.save([1, 2], project / "list.pt")
    with pytest.raises(InputError, match="hold more than named tensors"):
        load_torch("mine:net", "list.pt", project, contract(10))
    assert not ran.exists()


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("nosuchmodule:net", None, "no module 'nosuchmodule'"),
        ("mine:nett", None, "has no 'nett'"),
        ("mine:number", None, "made a int, expected an nn.Module"),
        ("mine:broken", None, "cannot be made: TypeError"),
        ("mine:two", None, "answers with a tuple"),
        ("resnet", None, "is not known"),
        ("builtin:digit", None, "did you mean 'builtin:digits'"),
        ("builtin:digits", "w.pt", "weights is for a model 'module:name'"),
    ],
)
def test_wrong_teachers_are_refused(project: Path, data: Data, model: str, weights: str | None, message: str) -> None:
    """In one line, with the cause."""
    with pytest.raises(InputError, match=message) as caught:
        load_teacher(model, weights, data=data, base=project, seed=0)
    assert "\n" not in str(caught.value)


def test_a_teacher_of_another_shape_is_refused(project: Path, data: Data) -> None:
    """A network for other pictures is found out when it is loaded, with both shapes in the message."""
    (project / "big.py").write_text("from torch import nn\nnet = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n")
    with pytest.raises(InputError, match=r"does not take samples of shape \(1, 8, 8\): mat1 and mat2"):
        load_teacher("big:net", None, data=data, base=project, seed=0)


def test_probabilities_are_taken_for_logits(project: Path, data: Data) -> None:
    """A network that ends in a softmax gives the logits of the one without, up to a constant a sample."""
    plain = load_teacher("mine:net", None, data=data, base=project, seed=0).outputs(sample(data)).logits
    soft = load_teacher("mine:softmax", None, data=data, base=project, seed=0).outputs(sample(data)).logits
    np.testing.assert_allclose(soft - soft[:, :1], plain - plain[:, :1], atol=1e-4)


def test_another_runtime_gives_the_same_answers(project: Path, data: Data) -> None:
    """ONNX Runtime's logits and embedding are PyTorch's, at any batch size, whether or not the network shows an embedding."""
    teacher, answering = load_torch("mine:net", None, project, contract(10))
    through = through_onnxruntime(answering, sample(data))
    for count in (1, 5, 32):
        expected, found = teacher.outputs(sample(data, count)), through(sample(data, count))
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)
        assert expected.embedding is not None
        assert found.embedding is not None
        np.testing.assert_allclose(found.embedding, expected.embedding, atol=1e-4)
    plain = load_torch("mine:convolutional", None, project, contract(10))[1]
    assert through_onnxruntime(plain, sample(data))(sample(data)).embedding is None


def test_the_runtime_is_no_part_of_the_fingerprint(project: Path, data: Data) -> None:
    """Whichever runtime is chosen where speed matters, caches of the teacher's answers stay valid."""
    teacher, answering = load_torch("mine:net", None, project, contract(10))
    fast = accelerate(teacher, answering, sample(data), 10**9)
    assert (fast.name, fast.params, fast.fingerprint) == (teacher.name, teacher.params, teacher.fingerprint)


def test_what_cannot_be_exported_stays_in_torch(project: Path, data: Data) -> None:
    """A network whose path depends on its values runs as it is, without a word."""
    teacher, answering = load_torch("mine:branching", None, project, contract(10))
    assert accelerate(teacher, answering, sample(data), 10**9).runtime.startswith("torch")


def test_short_work_is_not_accelerated(project: Path, data: Data) -> None:
    """Where PyTorch is done sooner than an export would be, nothing is exported."""
    teacher, answering = load_torch("mine:net", None, project, contract(10))
    assert accelerate(teacher, answering, sample(data), 100) is teacher


def test_builtin_digits(data: Data) -> None:
    """Trained on the spot to 0.985 on unseen samples, the same for the same seed; torch's own generator is left alone."""
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (load_teacher("builtin:digits", None, data=data, base=Path(), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.fingerprint == again.fingerprint != other.fingerprint
    found = first.outputs(normalise(data.test.inputs, data.contract))
    assert (found.logits.argmax(axis=1) == data.test.labels).mean() >= 0.985
    assert check_teacher(first, data).embedding_size == 1024


def test_builtin_digits_is_for_digits(project: Path) -> None:
    """Another data source is refused by name."""
    np.savez(project / "a.npz", x=np.zeros((50, 1, 8, 8), np.uint8), y=np.arange(50) % 2)
    other = load_data(DataSettings(source="npz:a.npz"), base=project)
    with pytest.raises(InputError, match=r"is for data source 'digits', not for 'a\.npz'"):
        load_teacher("builtin:digits", None, data=other, base=project, seed=0)
