"""edgekd: teacher, device and budget in; distilled, built, verified and measured artifacts out.

Names are loaded when they are first used: importing edgekd brings in neither torch nor a converter.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekd.api import measure, run
    from edgekd.distill import Batch, Outputs, loss
    from edgekd.plugins import find_target

__all__ = ["Batch", "Outputs", "find_target", "loss", "measure", "run"]

_HOMES = {
    "Batch": "edgekd.distill",
    "Outputs": "edgekd.distill",
    "find_target": "edgekd.plugins",
    "loss": "edgekd.distill",
    "measure": "edgekd.api",
    "run": "edgekd.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgekd' has no attribute '{name}'")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
