"""What a project says about its data: the `[data]` table."""

import math
from dataclasses import dataclass

from edgekd.errors import InputError


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The `[data]` table. Raises InputError where a value is out of its range."""

    source: str
    """`digits`, `fashion-mnist`, `npz:FILE`, `images:DIR`, or `module:name`."""
    dir: str | None = None
    """Folder of a source's files, relative to the project; None looks in the usual places."""
    validation: float | str = 0.1
    """Share of the training samples, or a file beside the project with the number of one of them a line."""
    test: float = 0.2
    """Share of all samples; for sources that have no test set of their own."""
    seed: int = 0
    """Of the splits."""
    size: tuple[int, int] | None = None
    """(height, width) that images are resized to; None keeps them."""
    limit: int | None = None
    """Take at most so many training samples."""
    shift: int | None = None
    """Augmentation: pixels up to which a picture is moved; None takes the source's own."""
    flip: bool | None = None
    """Augmentation: mirror half of the pictures; None takes the source's own."""
    mean: tuple[float, ...] | None = None
    """Of values divided by the source's largest, by channel; None computes it from the training split."""
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        shares = [("test", self.test)] + ([] if isinstance(self.validation, str) else [("validation", self.validation)])
        for name, share in shares:
            if not 0 < share < 1:
                raise InputError(f"[data] {name} is {share}, expected a share between 0 and 1")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"[data] limit is {self.limit}, expected at least 1 training sample")
        if self.shift is not None and not 0 <= self.shift <= 64:
            raise InputError(f"[data] shift is {self.shift}, expected 0 to 64 pixels")
        if self.size is not None and not (len(self.size) == 2 and all(1 <= side <= 4096 for side in self.size)):
            raise InputError(f"[data] size is {list(self.size)}, expected [height, width], each 1 to 4096 pixels")
        if self.mean is not None and not all(map(math.isfinite, self.mean)):
            raise InputError(f"[data] mean is {list(self.mean)}, expected finite numbers")
        if self.std is not None and not all(0 < value < math.inf for value in self.std):
            raise InputError(f"[data] std is {list(self.std)}, expected finite numbers above 0")
