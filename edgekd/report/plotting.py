"""What the plots share: colours, layout, and the texts of users made harmless.

A plot is a plain Plotly figure (`{"data": […], "layout": {…}}`); nothing here imports Plotly. Names come from users and
Plotly renders a subset of HTML in its texts, so every name passes through `plain`.
"""

import html
from typing import Any

Figure = dict[str, Any]
BLUE, ORANGE, GREEN, PURPLE, SKY, RED = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
GREY = "#8a8f98"
SYMBOLS = {"measured": "circle", "emulated": "square", "predicted": "diamond-open", "modelled": "triangle-up-open"}
SQUEEZED = 6.0
"""Largest over smallest value from which an axis is logarithmic."""


def plain(text: Any) -> str:
    """A user's text as Plotly shows it literally."""
    return html.escape(str(text), quote=False)


def built(report: Figure, device: str, target: str) -> list[Figure]:
    """Artifacts of all trials for one deployment that have an accuracy, each with its trial's `candidate` and `params`."""
    return [
        {**artifact, "candidate": trial["candidate"], "params": trial["params"]}
        for trial in report["trials"]
        for artifact in trial.get("artifacts", [])
        if (artifact["device"], artifact["target"]) == (device, target)
        and (artifact.get("accuracy") or {}).get("artifact") is not None
    ]


def layout(x: str, y: str, height: int) -> Figure:
    axis = {"zeroline": False, "automargin": True}
    return {
        "height": height,
        "margin": {"l": 60, "r": 16, "t": 28, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "legend": {"orientation": "h", "y": -0.24, "yanchor": "top"},
        "hovermode": "closest",
        "xaxis": {"title": {"text": x}, **axis},
        "yaxis": {"title": {"text": y}, **axis},
        "shapes": [],
        "annotations": [],
    }
