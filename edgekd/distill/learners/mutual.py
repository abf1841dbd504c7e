"""Peers that learn from each other: deep mutual learning.

Source: Zhang et al. 2018, arXiv:1706.00384, eq. 8: L_i = CE_i + 1/(K-1) Σ_{j≠i} KL(p_j ‖ p_i) at temperature 1, peers detached,
summed over classes and averaged over samples.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distill import Batch, Outputs
from edgekd.distill.learners import Told
from edgekd.distill.objective import Objective
from edgekd.distill.taps import Tapped


class Mutual(nn.Module):
    """`peers` of one architecture from different first weights; the first one ships.

    The sum of the peers' losses is minimised: as each sees the others detached, every peer gets its own gradient.
    Losses of the objective that have weights of their own share them between the peers.
    """

    def __init__(self, peers: Sequence[Tapped], objective: Objective, weight: float = 1.0) -> None:
        super().__init__()
        self.peers, self.objective, self.weight = nn.ModuleList(peers), objective, weight

    def learn(self, batch: Batch, teachers: Sequence[Outputs]) -> Told:
        outputs = [peer.outputs(batch.inputs) for peer in self.peers]  # type: ignore[operator]
        parts: dict[str, Tensor] = {}
        for found in outputs:
            for name, value in self.objective.parts(found, teachers, batch).items():
                parts[name] = parts[name] + value if name in parts else value
        parts["mutual"] = self.weight * mutual_divergence([found.logits for found in outputs])
        return Told(logits=outputs[0].logits, parts=parts)

    def student(self) -> nn.Module:
        network: nn.Module = self.peers[0].network  # type: ignore[assignment]
        return network


def mutual_divergence(logits: Sequence[Tensor]) -> Tensor:
    """Σ_i 1/(K-1) Σ_{j≠i} KL(p_j ‖ p_i), p_j detached; logits K times (B, C)."""
    log_p = [F.log_softmax(z.float() if z.dtype == torch.float16 else z, dim=1) for z in logits]
    pairs = [
        F.kl_div(log_p[i], log_p[j].detach(), reduction="batchmean", log_target=True)
        for i in range(len(log_p))
        for j in range(len(log_p))
        if i != j
    ]
    return torch.stack(pairs).sum() / (len(log_p) - 1)
