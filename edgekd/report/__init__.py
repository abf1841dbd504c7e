"""What a run found, for people and for machines: report.json, report.html, report.md, and a model card per artifact.

`report.json` (schema `edgekd.run/1`) is the record; everything else is rendered from it and can be rendered again.
"""

from edgekd.report.card import model_card
from edgekd.report.document import read_report, write_report
from edgekd.report.html import render_html
from edgekd.report.markdown import render_markdown

__all__ = ["model_card", "read_report", "render_html", "render_markdown", "write_report"]
