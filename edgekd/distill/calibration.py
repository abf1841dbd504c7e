"""Batch normalisation of a student that was cut out of a supernet: the statistics there are the largest student's, not its own.

They are taken anew over training pictures, as plain means over all batches. Source: Yu et al. 2020, arXiv:2003.11142 (BigNAS,
section 3.2); users of OFA (issues 15 and 60) got chance where the network was left in evaluation mode meanwhile.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def calibrate(network: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """Set the running statistics of all batch normalisations to those of `batches`, each (B, C, H, W); the network itself.

    It is left in evaluation mode, its weights as they were, and draws of dropout switched off throughout.
    """
    norms = [module for module in network.eval().modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
        norm.train()
    if norms:
        for batch in batches:
            network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()
