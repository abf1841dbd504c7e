"""report.md and the model card as Markdown: a parser finds what was meant, and users' names stay text."""

import re
from typing import Any

import pytest
from markdown_it import MarkdownIt
from report_document import HOSTILE, hostile, report_document

from edgekd.report import model_card, render_markdown
from edgekd.report.markdown import escape, table
from edgekd.types import Contract, TensorSpec


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return report_document()


def tables(markdown: str) -> list[list[int]]:
    """Cells in each row of each table, as a Markdown parser sees them."""
    found: list[list[int]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append(0)
        elif token.type in ("th_open", "td_open"):
            found[-1][-1] += 1
    return found


@pytest.mark.parametrize("attack", [False, True])
def test_markdown_tables_are_well_formed(report: dict[str, Any], attack: bool) -> None:
    """A parser finds two tables a deployment, one of trials and one of times, all rows as wide as their heads."""
    document = hostile(report) if attack else report
    lines = render_markdown(document).splitlines()
    found = tables("\n".join(lines))
    assert len(found) == 2 * len(report["selected"]) + 2
    assert len(found[-2]) == 1 + len(report["trials"])
    for rows in found:
        assert len(set(rows)) == 1
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")]
    assert set(widths) == {5, 6, 3}


def test_names_stay_text_in_markdown(report: dict[str, Any]) -> None:
    """Rendered with HTML allowed, no tag, link or heading comes from a user's text; nor in the model card."""
    spec = TensorSpec(name=HOSTILE, shape=(1, 1, 2, 2), dtype="float32", layout="NCHW")
    contract = Contract(
        classes=(HOSTILE, "b"), mean=(0.0,), std=(1.0,), value_max=1.0, shape=(1, 2, 2), inputs=(spec,), outputs=(spec,)
    )
    bad = hostile(report)
    entry = bad["selected"][0] | {"target": "onnxruntime"}
    for text in (render_markdown(bad), model_card(entry, contract, bad)):
        html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
        outside = re.sub(r"<pre>.*?</pre>", "", html, flags=re.DOTALL)
        assert not re.search(r"<(script|img|a)\b", outside)
        assert "<h1>" not in outside.split("</h1>", 1)[1]


def test_escape_and_table() -> None:
    """Names common in projects stay readable; what would be markup does not act."""
    assert escape("mbconv_small-w8a8") == "mbconv_small-w8a8"
    assert escape("_x_ a|b\n<i> @me") == "\\_x\\_ a\\|b \\<i\\> &#64;me"
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
