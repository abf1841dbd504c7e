"""The page that `edgekd bench --plot FILE.html` writes: plots above the text of the terminal, in one file that works offline."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekd.errors import InputError, storage_errors
from edgekd.report.plotting import Figure
from edgekd.report.templating import environment


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A Plotly figure and what it shows."""

    caption: str
    plot: Figure


def check_page(file: Path) -> None:
    """Raises InputError for any kind of file but HTML."""
    if file.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{file}: plots are written as HTML, name a file that ends in .html")


def write_page(file: Path, title: str, figures: Sequence[Shown], text: str) -> None:
    """Raises StorageError where the file cannot be written."""
    from plotly.offline import get_plotlyjs

    page = environment(autoescape=True).get_template("bench.html.j2")
    with storage_errors(str(file)):
        file.write_text(page.render(title=title, figures=figures, text=text, plotlyjs=get_plotlyjs()), encoding="utf-8")
