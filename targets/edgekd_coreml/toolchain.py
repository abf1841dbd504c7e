"""The one place where coremltools is imported and where its errors become ours."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgekd.plugins import need, vendor_errors, versions

UNUSED = ("sklearn", "tensorflow", "torchao", "transformers", "xgboost")
"""What coremltools imports only to see whether it is there: 4 of the 5.5 s that its import takes beside tensorflow."""

HINTS = {
    "convert": "the student uses something that coremltools cannot convert: choose another family, or another target",
    "quantize": "try precision fp16, or another target",
}


def tools() -> dict[str, str]:
    """Versions of what builds a package."""
    return versions("coremltools", "torch")


@contextmanager
def toolchain(stage: str) -> Iterator[Any]:
    """coremltools, silenced; what it raises leaves as StageError(stage, its first line and versions, hint).

    Raises MissingExtraError where coremltools or torch is not installed.
    """
    with vendor_errors(stage, tools(), HINTS[stage]):
        need("torch", "train", "converting a student")
        yield _coremltools()


def _coremltools() -> Any:
    hidden = [name for name in UNUSED if name not in sys.modules] if "coremltools" not in sys.modules else []
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        return need("coremltools", "coreml", "target 'coreml'")
    finally:
        for name in hidden:
            del sys.modules[name]
