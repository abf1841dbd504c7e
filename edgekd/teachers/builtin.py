"""Teacher `builtin:digits`: a small network, trained on the spot. Imported once torch is needed."""

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.data import Data, normalise
from edgekd.data.views import Augment, permutation, render
from edgekd.distill.kinds import kinds_of
from edgekd.errors import InputError
from edgekd.teachers import FeatureRequest
from edgekd.teachers.loaded import LoadedTeacher
from edgekd.teachers.torch_module import tapped_teacher, torch_teacher

EPOCHS = 20
BATCH = 64
WIDTH = 32
LARGEST_RATE = 0.01
AUGMENT = Augment(shift=1)


class DigitsNet(nn.Module):
    """Three convolutions and a linear layer: (B, 1, 8, 8) to logits (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, WIDTH, WIDTH, 2 * WIDTH)
        layers: list[nn.Module] = []
        for index, stride in enumerate((1, 1, 2)):
            layers.append(nn.Conv2d(widths[index], widths[index + 1], 3, stride, 1, bias=False))
            layers += [nn.BatchNorm2d(widths[index + 1]), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1] * 16, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(inputs).flatten(1))
        return logits


def load_digits_teacher(data: Data, seed: int, features: FeatureRequest | None = None) -> LoadedTeacher:
    """Train on the training split; the same seed and data give the same weights. Raises InputError for other data."""
    if data.name != "digits":
        raise InputError(f"teacher builtin:digits is for data source 'digits', not for '{data.name}'")
    # The layers' own initialisation draws from torch's global generator: it is put back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DigitsNet()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums differ by the number of threads, and with them the weights; one is as fast here
    try:
        _train(network, data, seed)
    finally:
        torch.set_num_threads(threads)
    code = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    teacher = torch_teacher("builtin:digits", tapped_teacher(network, data.contract, features), code)
    return replace(teacher, kinds=kinds_of(network, data.contract.shape))


def _train(network: DigitsNet, data: Data, seed: int) -> None:
    train = data.train
    steps = -(-len(train) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, LARGEST_RATE, EPOCHS * steps)
    for epoch in range(EPOCHS):
        order = permutation(len(train), epoch, seed)
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            inputs = normalise(render(train.inputs[rows], train.ids[rows], epoch, seed, AUGMENT), data.contract)
            loss = F.cross_entropy(network(torch.from_numpy(inputs)), torch.from_numpy(train.labels[rows]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
