"""Every operation of the Core ML reference executor against PyTorch, through a real conversion."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
if find_spec("coremltools") is None:
    pytest.skip("needs coremltools", allow_module_level=True)

import coreml_nets as nets  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from edgekd.quiet import quiet  # noqa: E402
from edgekd.target import Program  # noqa: E402
from edgekd.types import Contract, Precision  # noqa: E402
from edgekd_coreml import CoreMl  # noqa: E402
from edgekd_coreml.convert import convert  # noqa: E402
from edgekd_coreml.executor import ReferenceSession  # noqa: E402
from edgekd_coreml.kernels import KERNELS  # noqa: E402
from edgekd_coreml.package import write  # noqa: E402

SHAPE = (4, 8, 9)
CONTRACT = Contract(classes=("a", "b"), mean=(0.0,), std=(1.0,), value_max=1.0, shape=SHAPE)


class Apply(nn.Module):
    def __init__(self, function: Callable[[Any], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def prelu() -> nn.Module:
    module = nn.PReLU(4)
    module.weight.data = torch.tensor([0.1, -0.2, 0.3, 0.0])
    return module


def normalised(module: nn.Module) -> nn.Module:
    """A normalisation with statistics and affine numbers that are not all 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    for tensor in [*module.parameters(), *module.buffers()]:
        if tensor.is_floating_point():
            tensor.data = torch.rand(tensor.shape, generator=generator) + 0.5
    return module


def samples(count: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).normal(size=(count, *SHAPE)).astype(np.float32)


CASES: dict[str, dict[str, tuple[str, Callable[[], Any]]]] = {
    "convolution": {
        "conv": ("conv", lambda: nn.Conv2d(4, 6, 3)),
        "conv-padded": ("conv", lambda: nn.Conv2d(4, 6, 3, padding=1, bias=False)),
        "conv-same": ("conv", lambda: nn.Conv2d(4, 6, 3, padding="same")),
        "conv-same-even": ("conv", lambda: nn.Conv2d(4, 6, 4, padding="same")),
        "conv-stride": ("conv", lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1)),
        "conv-uneven": ("conv", lambda: nn.Conv2d(4, 6, (3, 5), (2, 1), (1, 2), dilation=(2, 1))),
        "conv-depthwise": ("conv", lambda: nn.Conv2d(4, 4, 5, 2, 2, groups=4)),
        "conv-multiplier": ("conv", lambda: nn.Conv2d(4, 8, 3, groups=4)),
        "conv-groups": ("conv", lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2)),
        "conv-dilated-depthwise": ("conv", lambda: nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=4)),
        "conv-1x1": ("conv", lambda: nn.Conv2d(4, 7, 1)),
        "conv-1x1-stride": ("conv", lambda: nn.Conv2d(4, 7, 1, 2)),
        "conv-one-channel": ("conv", lambda: nn.Sequential(Apply(lambda x: x[:, :1]), nn.Conv2d(1, 5, 3))),
        "conv-1d": ("conv", lambda: nn.Sequential(nn.Flatten(2), nn.Conv1d(4, 6, 3, 2))),
        "conv-batch-norm": ("conv", lambda: nn.Sequential(nn.Conv2d(4, 6, 3), normalised(nn.BatchNorm2d(6)), nn.ReLU())),
        "conv-reflect": ("pad", lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")),
    },
    "activation": {
        "relu": ("relu", nn.ReLU),
        "relu6": ("clip", nn.ReLU6),
        "clamp": ("clip", lambda: Apply(lambda x: x.clamp(min=0.1))),
        "hard-swish": ("thresholded_relu", nn.Hardswish),
        "hard-sigmoid": ("sigmoid_hard", nn.Hardsigmoid),
        "sigmoid": ("sigmoid", nn.Sigmoid),
        "silu": ("silu", nn.SiLU),
        "tanh": ("tanh", nn.Tanh),
        "mish": ("softplus", nn.Mish),
        "gelu": ("gelu", nn.GELU),
        "gelu-tanh": ("gelu", lambda: nn.GELU(approximate="tanh")),
        "leaky-relu": ("leaky_relu", lambda: nn.LeakyReLU(0.1)),
        "elu": ("elu", lambda: nn.ELU(0.7)),
        "selu": ("elu", nn.SELU),
        "prelu": ("prelu", prelu),
        "squeeze-excite": (
            "mul",
            lambda: Apply(lambda x: x * F.hardsigmoid(x.mean((2, 3), keepdim=True))),
        ),
    },
    "pooling": {
        "max-pool": ("max_pool", lambda: nn.MaxPool2d(2)),
        "max-pool-padded": ("max_pool", lambda: nn.MaxPool2d(3, 2, 1)),
        "max-pool-ceil": ("max_pool", lambda: nn.MaxPool2d(3, 2, ceil_mode=True)),
        "avg-pool": ("avg_pool", lambda: nn.AvgPool2d(2)),
        "avg-pool-padded": ("avg_pool", lambda: nn.AvgPool2d(3, 2, 1)),
        "avg-pool-real-only": ("avg_pool", lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
        "avg-pool-ceil": ("avg_pool", lambda: nn.AvgPool2d(3, 2, ceil_mode=True)),
        "avg-pool-ceil-padded": ("avg_pool", lambda: nn.AvgPool2d((3, 4), 3, 1, ceil_mode=True)),
        "adaptive": ("reduce_mean", lambda: nn.AdaptiveAvgPool2d(1)),
        "adaptive-max": ("reduce_max", lambda: nn.AdaptiveMaxPool2d(1)),
    },
    "reduction": {
        "mean": ("reduce_mean", lambda: Apply(lambda x: x.mean((2, 3)))),
        "sum": ("reduce_sum", lambda: Apply(lambda x: x.sum(1))),
        "amin": ("reduce_min", lambda: Apply(lambda x: x.amin(-1, keepdim=True))),
        "variance": ("square", lambda: Apply(lambda x: x.var((2, 3)))),
        "normalize": ("reduce_l2_norm", lambda: Apply(lambda x: F.normalize(x.flatten(1)))),
    },
    "shape": {
        "pad": ("pad", lambda: Apply(lambda x: F.pad(x, (1, 2, 0, 3), value=1.5))),
        "pad-channels": ("pad", lambda: Apply(lambda x: F.pad(x, (0, 0, 0, 0, 1, 2)))),
        "pad-reflect": ("pad", lambda: Apply(lambda x: F.pad(x, (1, 2, 0, 3), mode="reflect"))),
        "pad-replicate": ("pad", lambda: Apply(lambda x: F.pad(x, (1, 2, 0, 3), mode="replicate"))),
        "flatten": ("reshape", nn.Flatten),
        "reshape": ("reshape", lambda: Apply(lambda x: x.reshape(x.shape[0], 2, -1))),
        "transpose": ("transpose", lambda: Apply(lambda x: x.permute(0, 2, 3, 1))),
        "concat": ("concat", lambda: Apply(lambda x: torch.cat([x, x * 2], 1))),
        "chunk": ("split", lambda: Apply(lambda x: x.chunk(2, 1)[1] * x.chunk(2, 1)[0])),
        "glu": ("split", lambda: nn.GLU(1)),
        "slice": ("slice_by_index", lambda: Apply(lambda x: x[:, 1:3, ::2, -3:])),
        "stack": ("stack", lambda: Apply(lambda x: torch.stack([x, -x], 1))),
        "squeeze": ("squeeze", lambda: Apply(lambda x: x[:, :1].squeeze(1))),
        "unsqueeze": ("expand_dims", lambda: Apply(lambda x: x.unsqueeze(2))),
        "embedding": ("gather", lambda: nn.Sequential(Apply(lambda x: (x.abs() * 2).to(torch.int32)), nn.Embedding(12, 3))),
        "embedding-bounds": (
            "greater_equal",
            lambda: nn.Sequential(Apply(lambda x: x.sign().to(torch.int32) + 1), nn.Embedding(3, 2)),
        ),
        "index-select": ("gather", lambda: Apply(lambda x: x.index_select(2, torch.tensor([3, 0, 3])))),
        "expand": ("tile", lambda: Apply(lambda x: x[:, :1].expand(-1, 4, -1, -1) + x)),
    },
    "matrix and normalisation": {
        "linear": ("linear", lambda: nn.Sequential(nn.Flatten(), nn.Linear(288, 5))),
        "linear-by-position": ("linear", lambda: nn.Linear(9, 3, bias=False)),
        "matmul": ("matmul", lambda: Apply(lambda x: x @ x.transpose(2, 3))),
        "attention": ("matmul", lambda: Apply(lambda x: F.scaled_dot_product_attention(x, x, x))),
        "softmax": ("softmax", lambda: nn.Softmax(1)),
        "log-softmax": ("log", lambda: nn.LogSoftmax(1)),
        "batch-norm": ("batch_norm", lambda: normalised(nn.BatchNorm2d(4))),
        "layer-norm": ("layer_norm", lambda: normalised(nn.LayerNorm(9))),
        "layer-norm-all": ("layer_norm", lambda: normalised(nn.LayerNorm(SHAPE))),
        "group-norm": ("sqrt", lambda: normalised(nn.GroupNorm(2, 4))),
        "instance-norm": ("instance_norm", lambda: normalised(nn.InstanceNorm2d(4, affine=True))),
    },
    "arithmetic": {
        "add": ("add", lambda: Apply(lambda x: x + x.mean((2, 3), keepdim=True))),
        "subtract": ("sub", lambda: Apply(lambda x: 1 - x)),
        "divide": ("real_div", lambda: Apply(lambda x: x / (x.abs() + 1))),
        "absolute": ("abs", lambda: Apply(lambda x: x.abs())),
        "maximum": ("maximum", lambda: Apply(lambda x: torch.maximum(x, x * x))),
        "minimum": ("minimum", lambda: Apply(lambda x: torch.minimum(x, x * x))),
        "power": ("pow", lambda: Apply(lambda x: x.abs() ** 1.5)),
        "rsqrt": ("rsqrt", lambda: Apply(lambda x: (x.abs() + 1).rsqrt())),
        "exp": ("exp", lambda: Apply(lambda x: x.exp())),
        "erf": ("erf", lambda: Apply(lambda x: x.erf())),
        "sign": ("sign", lambda: Apply(lambda x: x.sign())),
        "greater": ("greater", lambda: Apply(lambda x: (x > 0.1).float())),
        "less": ("less", lambda: Apply(lambda x: (x < x.mean(1, keepdim=True)).float())),
        "where": ("select", lambda: Apply(lambda x: torch.where(x > 0, x, x * x))),
        "cast": ("cast", lambda: Apply(lambda x: (x * 3).to(torch.int32).float())),
    },
}


class Branches(nn.Module):
    """All modules on the same input, their answers in a row: one conversion for many cases."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(modules)

    def forward(self, x: Any) -> Any:
        return torch.cat([branch(x).flatten(1) for branch in self.branches], 1)


@pytest.mark.parametrize("group", CASES)
def test_operations_give_what_pytorch_gives(group: str, tmp_path: Path) -> None:
    """Five samples at once through the converted modules equal PyTorch's answers, and the operations are really there."""
    torch.manual_seed(0)
    modules = {name: make().eval() for name, (_, make) in CASES[group].items()}
    module = Branches(list(modules.values())).eval()
    program = Program(module=module, input_shape=SHAPE, contract=CONTRACT, parent="")
    artifact = convert(program, Precision.parse("fp32"), tmp_path)
    assert {operation for operation, _ in CASES[group].values()} <= set(CoreMl().operators(artifact.path))
    inputs = samples(5)
    found = CoreMl().open(artifact.path).run(inputs)
    for name, each in modules.items():
        with torch.no_grad():
            expected = each(torch.from_numpy(inputs)).reshape(5, -1).numpy()
        part, found = np.split(found, [expected.shape[1]], axis=1)
        np.testing.assert_allclose(part, expected, rtol=1e-4, atol=1e-5, err_msg=name)
    assert found.shape[1] == 0


def test_every_operation_of_the_executor_has_a_case() -> None:
    """An operation cannot be added to the executor without a comparison with PyTorch."""
    assert {operation for group in CASES.values() for operation, _ in group.values()} == set(KERNELS)


def built(tmp_path: Path, body: Callable[[Any, Any], Any]) -> ReferenceSession:
    """A package of a program written in MIL itself: forms that PyTorch's converter does not choose."""
    ct = nets.coremltools()
    with quiet():
        from coremltools.converters.mil import Builder

        @Builder.program(input_specs=[Builder.TensorSpec(shape=(1, *SHAPE))], opset_version=ct.target.iOS17)
        def program(x: Any) -> Any:
            return body(Builder, x)

        model = ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32,
        )
    weights = Path(model.weights_dir) / "weight.bin"
    write(tmp_path / "model.mlpackage", model.get_spec(), weights.read_bytes() if weights.is_file() else b"")
    return ReferenceSession(tmp_path / "model.mlpackage")


PADS = {"same": (1, 2, 0, 1), "same_lower": (2, 1, 1, 0)}
"""Left, right, top, bottom for a kernel of (3, 4) with stride (2, 1) on 8×9: 1 and 3 elements to share out."""


@pytest.mark.parametrize("pad_type", PADS)
def test_same_padding_puts_the_odd_element_where_mil_says(pad_type: str, tmp_path: Path) -> None:
    """Convolution and both poolings agree with PyTorch on explicitly padded input."""
    weight = np.random.default_rng(1).normal(size=(6, 4, 3, 4)).astype(np.float32)

    def body(mb: Any, x: Any) -> Any:
        pool = {"x": x, "kernel_sizes": [3, 4], "strides": [2, 1], "pad_type": pad_type}
        conv = mb.conv(x=x, weight=weight, strides=[2, 1], pad_type=pad_type)
        return mb.concat(values=[conv, mb.max_pool(**pool), mb.avg_pool(**pool, exclude_padding_from_average=False)], axis=1)

    inputs = samples(3)
    x = torch.from_numpy(inputs)
    zeros, lowest = F.pad(x, PADS[pad_type]), F.pad(x, PADS[pad_type], value=-torch.inf)
    expected = [
        F.conv2d(zeros, torch.from_numpy(weight), stride=(2, 1)),
        F.max_pool2d(lowest, (3, 4), (2, 1)),
        F.avg_pool2d(zeros, (3, 4), (2, 1)),
    ]
    np.testing.assert_allclose(
        built(tmp_path, body).run(inputs), torch.cat(expected, 1).reshape(3, -1).numpy(), rtol=1e-4, atol=1e-5
    )


def test_interleaved_concat_takes_slices_in_turn(tmp_path: Path) -> None:
    """Channel 0 of each value comes first, then channel 1 of each."""
    inputs = samples(2)
    found = built(tmp_path, lambda mb, x: mb.concat(values=[x, mb.square(x=x)], axis=1, interleave=True)).run(inputs)
    expected = np.stack([inputs, inputs**2], axis=2)
    np.testing.assert_allclose(found, expected.reshape(2, -1), rtol=1e-6)


MIXING: dict[str, Callable[[Any, Any], Any]] = {
    "softmax over samples": lambda mb, x: mb.softmax(x=x, axis=0),
    "mean over samples": lambda mb, x: mb.reduce_mean(x=x, axes=[0], keep_dims=True),
    "norm over everything": lambda mb, x: mb.layer_norm(x=x, axes=[0, 1, 2, 3]),
    "samples moved back": lambda mb, x: mb.transpose(
        x=mb.softmax(x=mb.transpose(x=x, perm=[1, 0, 2, 3]), axis=1), perm=[1, 0, 2, 3]
    ),
    "samples joined": lambda mb, x: mb.reduce_max(x=mb.concat(values=[x, mb.square(x=x)], axis=0), axes=[0], keep_dims=True),
    "samples stacked": lambda mb, x: mb.reduce_sum(x=mb.stack(values=[x, x], axis=0), axes=[0]),
    "samples that pick their own elements": lambda mb, x: mb.gather(
        x=mb.reshape(x=x, shape=[1, -1]),
        indices=mb.cast(x=mb.less(x=mb.reduce_sum(x=x, axes=[1, 2, 3]), y=0.0), dtype="int32"),
        axis=1,
    ),
    "elements of samples": lambda mb, x: mb.gather(x=mb.expand_dims(x=x, axes=[1]), indices=[0], axis=0),
    "samples as a matrix": lambda mb, x: mb.matmul(
        x=mb.reshape(x=x, shape=[1, -1]), y=mb.reshape(x=x, shape=[1, -1]), transpose_y=True
    ),
}


@pytest.mark.parametrize("name", MIXING)
def test_samples_that_would_meet_run_one_by_one(name: str, tmp_path: Path) -> None:
    """A batch gives row by row what each sample gives alone."""
    session = built(tmp_path, MIXING[name])
    inputs = samples(3)
    alone = np.concatenate([session.run(inputs[i : i + 1]) for i in range(3)])
    np.testing.assert_array_equal(session.run(inputs), alone)


def test_a_slice_that_starts_behind_the_sample_axis_keeps_all_samples(tmp_path: Path) -> None:
    """Bounds 0 to 1 on the first axis mean the one sample that the program was written for, so all that are given."""
    session = built(tmp_path, lambda mb, x: mb.slice_by_index(x=x, begin=[0, 1, 2, 8], end=[1, 3, 7, 2], stride=[1, 1, 2, -3]))
    inputs = samples(3)
    np.testing.assert_array_equal(session.run(inputs), inputs[:, 1:3, 2:7:2, 8:2:-3].reshape(3, -1))
