"""A `[[deploy]]` table resolved: the device's facts, its target, the precisions that can be built for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekd.bench.transports.book import find_address
from edgekd.device import Device, find_device
from edgekd.errors import InputError
from edgekd.plugins import find_target
from edgekd.project import Deploy
from edgekd.target import Target
from edgekd.types import Budget, Precision

if TYPE_CHECKING:
    from edgekd.bench.transports import Transport


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """Where artifacts go, what they may be, and what they must meet there."""

    device: Device
    target: Target
    precisions: tuple[Precision, ...]
    """Floating point first: where it fits the budget, screening need not quantize."""
    budget: Budget
    threads: int
    connect: str | None

    @property
    def label(self) -> str:
        return f"{self.device.name} / {self.target.name}"

    @property
    def key(self) -> dict[str, object]:
        """What its measurements depend on."""
        return {"device": self.device.name, "connect": self.connect, "target": self.target.name, "threads": self.threads}

    def transport(self) -> "Transport | None":
        """Where the device is; None is this machine."""
        from edgekd.bench.transports import connect

        return None if self.connect is None else connect(self.connect)


def resolve_all(deploys: Iterable[Deploy]) -> tuple[Deployment, ...]:
    """Every `[[deploy]]` table. Raises InputError where two are for the same device and target: reports tell them by those."""
    found = tuple(resolve(deploy) for deploy in deploys)
    labels = [deployment.label for deployment in found]
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"[[deploy]] {label} is there twice: one budget for a device and target; run the other on its own")
    return found


def resolve(deploy: Deploy) -> Deployment:
    """Find the device and the target, and drop nothing silently: a precision asked for that cannot be built is an error."""
    device = find_device(deploy.device)
    name = deploy.target or next(iter(device.targets), None)
    if name is None:
        raise InputError(f"[[deploy]] device '{deploy.device}' names no target: add a line target = …")
    target = find_target(name)
    asked = [Precision.parse(text) for text in deploy.precisions or target.precisions]
    reasons = {str(precision): target.unsupported(precision, device) for precision in asked}
    refused = [f"{text}: {reason}" for text, reason in reasons.items() if reason]
    if refused and (deploy.precisions or len(refused) == len(asked)):
        raise InputError(f"[[deploy]] {device.name} / {target.name}: {refused[0]}")
    return Deployment(
        device=device,
        target=target,
        precisions=tuple(sorted((p for p in asked if not reasons[str(p)]), key=lambda p: (-p.weights, -p.activations))),
        budget=deploy.budget,
        threads=deploy.threads,
        connect=find_address(device.name, deploy.connect),
    )
