"""Progressive growth: the student begins shallow and gets its further blocks while it learns, each first as the identity.

Source: Chen, Goodfellow, Shlens 2016, arXiv:1511.05641 (Net2DeeperNet, section 3.2): the grown network computes what the
smaller one did, so nothing learnt is lost. Here a new block's last normalisation begins at zero, which leaves its shortcut.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from edgekd.distill.schemes import Planner
from edgekd.distill.stage import Plan, Stage
from edgekd.errors import InputError, StageError
from edgekd.types import Candidate

LAST_SHARE = 0.5
"""Of the epochs, for the full depth; the depths before share the rest."""


def progressive() -> Planner:
    """Depth 1 → … → the student's own depth; all stages together train for the recipe's epochs.

    A student of depth 1 is trained directly: it has nothing to grow out of.
    """

    def plan(given: Plan) -> tuple[Stage, ...]:
        values = given.candidate.values
        for axis in ("depth", "skip"):
            if axis not in values:
                raise InputError(f"scheme 'progressive' adds blocks by an axis '{axis}', which {given.candidate.family} has not")
        if given.recipe.taps:
            raise InputError("scheme 'progressive' trains several depths, [distill] taps name the layers of one: leave them out")
        depth = int(values["depth"])
        if depth == 1:
            return (given.stage(),)
        if not values["skip"]:
            raise StageError(
                "distil",
                "scheme 'progressive': without shortcuts a new block is no identity",
                "set skip = [true] in [students] axes",
            )
        epochs = split_epochs(given.recipe.epochs, depth)
        stages: list[Stage] = []
        for index, count in enumerate(epochs):
            candidate = Candidate.of(given.candidate.family, {**values, "depth": index + 1})
            stages.append(
                given.stage(
                    name="student" if index + 1 == depth else f"depth-{index + 1}",
                    candidate=candidate,
                    recipe=replace(given.recipe, epochs=count),
                    starts_from=stages[-1].name if stages else None,
                )
            )
        return tuple(stages)

    return plan


def split_epochs(epochs: int, depth: int) -> list[int]:
    """How long each depth trains. Raises StageError where there is not one epoch for each."""
    if epochs < depth:
        raise StageError("distil", f"scheme 'progressive': {epochs} epochs for {depth} depths", "raise [distill] epochs")
    before = max(depth - 1, round((1 - LAST_SHARE) * epochs))
    shares = [before // (depth - 1) + (index < before % (depth - 1)) for index in range(depth - 1)]
    return [*shares, epochs - before]


def grow(small: Mapping[str, Tensor], network: nn.Sequential) -> None:
    """Put a shallower student's weights into `network`; blocks that it has not become the identity.

    Blocks are told by their names, which the built-in families give by stage and place.

    Raises InputError where the weights do not fit.
    """
    own = network.state_dict()
    for name, tensor in small.items():
        if name not in own or own[name].shape != tensor.shape:
            raise InputError("scheme 'progressive' does not know how this family's students grow: use resnet or mbconv")
        own[name].copy_(tensor)
    there = {name.split(".")[0] for name in small}
    for name, block in network.named_children():
        norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
        if norms and name not in there:
            nn.init.zeros_(norms[-1].weight)
