"""A step's gradient, term by term: how long each is says what the weights of the losses really are."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def backward_apart(parts: Mapping[str, Tensor], parameters: Sequence[Tensor], reference: str) -> dict[str, float]:
    """Add each term's gradient to the parameters' `grad`, as one backward pass through their sum would.

    Args:
        parts: scalar terms by name.
        parameters: what is trained.
        reference: the term that says which parameters count: how much a loss moves adapters of its own says nothing of what
            it does to the student, which the labels reach.

    Returns:
        The length of each term's gradient in those parameters.
    """
    gradients = {name: _gradients(value, parameters) for name, value in parts.items()}
    counted = [gradient is not None for gradient in gradients[reference]]
    norms = {}
    for name, found in gradients.items():
        lengths = [g.norm() for g, counts in zip(found, counted, strict=True) if counts and g is not None]
        norms[name] = float(torch.stack(lengths).norm()) if lengths else 0.0
        for parameter, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    return norms


def _gradients(value: Tensor, parameters: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Of a term in each parameter, None where it does not reach it; a constant reaches none."""
    if not value.requires_grad:
        return [None] * len(parameters)
    return torch.autograd.grad(value, list(parameters), retain_graph=True, allow_unused=True)
