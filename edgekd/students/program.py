"""A candidate built, counted, and made ready for the converters."""

import hashlib
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from edgekd.students import Family, image_size, resized_shape
from edgekd.target import Program
from edgekd.types import Candidate, Contract


def build_student(family: Family, candidate: Candidate, contract: Contract, seed: int) -> nn.Module:
    """The untrained student, initialised from `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: nn.Module = family.build(candidate.values, resized_shape(candidate, contract.shape), len(contract.classes))
    return module


@torch.no_grad()
def lifelike(module: nn.Module, seed: int) -> nn.Module:
    """An untrained student with no constant tensors, as a trained one has none; the module itself.

    Fresh biases are all 0 and fresh normalisations the identity: converters fold or share those, and the file is smaller and
    faster than that of the trained student will be.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all()):
            noise = torch.rand(tensor.shape, generator=generator)
            tensor.copy_(0.5 + noise if name.endswith(("weight", "running_var")) else 0.2 * (noise - 0.5))
    return module


def count_params(family: Family, candidate: Candidate, contract: Contract) -> int:
    """Learnable parameters of the candidate, without allocating them."""
    with torch.device("meta"):
        module: nn.Module = family.build(candidate.values, resized_shape(candidate, contract.shape), len(contract.classes))
    return sum(p.numel() for p in module.parameters())


def weights_hash(state: dict[str, Any]) -> str:
    """SHA-256 over names, shapes and values of a state dict, in order of name."""
    sha = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        sha.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        sha.update(tensor.numpy().tobytes())
    return sha.hexdigest()


def make_program(module: nn.Module, candidate: Candidate, contract: Contract) -> Program:
    """What the converters are given: the student on the CPU, in evaluation mode, in plain memory layout."""
    module = module.cpu().to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    return Program(
        module=module,
        input_shape=resized_shape(candidate, contract.shape),
        contract=replace(contract, image_size=image_size(candidate, contract.shape)),
        parent=weights_hash(module.state_dict()),
    )
