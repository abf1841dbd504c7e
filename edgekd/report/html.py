"""`report.html`: one file that works offline, with everything in it, and that asks nothing of the network.

Names come from users: Jinja2 escapes all of them (autoescape), and a Content-Security-Policy forbids the page any request,
so that a hole in the escaping could not send anything anywhere.
"""

import json
from functools import partial
from typing import Any

from edgekd.report import curves, fidelity_plots, figures, plots, teaching
from edgekd.report.search_section import search_section
from edgekd.report.templating import environment

STATUS_ORDER = ("selected", "trained", "rated", "pruned", "screened-out", "failed")


def render_html(report: dict[str, Any]) -> str:
    """The whole page for a checked report (`edgekd.report.document.check_report`)."""
    from plotly.offline import get_plotlyjs

    page = environment(autoescape=True).get_template("report.html.j2")
    deployments = [_deployment(report, entry, number) for number, entry in enumerate(report["selected"])]
    return page.render(
        figures=figures,
        rows=partial(figures.rows, report=report),
        verdict=figures.verdict,
        report=report,
        project=json.dumps(report["project"], indent=2, ensure_ascii=False, allow_nan=False),
        deployments=deployments,
        teaching=teaching,
        taught=[deployment for deployment in deployments if deployment["fidelity_lines"]],
        gains=[(entry, fidelity_plots.gain_plot(entry)) for entry in report.get("honest") or []],
        teachers=teaching.checked_teachers(report),
        searched=search_section(report),
        training=curves.training_plot(report),
        trials=_trials(report),
        statuses=_statuses(report),
        headline=figures.headline(report),
        plotlyjs=get_plotlyjs(),
    )


def _deployment(report: dict[str, Any], entry: dict[str, Any], number: int) -> dict[str, Any]:
    return {
        "id": f"deployment-{number}",
        "entry": entry,
        "accuracy_plot": plots.accuracy_plot(report, entry),
        "distribution_plot": curves.distribution_plot(report, entry),
        "fidelity_lines": teaching.fidelity_lines(entry, report),
        "fidelity_plots": fidelity_plots.fidelity_plots(report, entry),
    }


def _trials(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Trials as the table shows them: by status, then by accuracy; each with its artifacts, else with its screening."""

    def order(trial: dict[str, Any]) -> tuple[int, float]:
        rungs = trial.get("rungs") or [{"accuracy": 0.0}]
        return STATUS_ORDER.index(trial["status"]), -rungs[-1]["accuracy"]

    return [
        {**trial, "lines": trial.get("artifacts") or trial.get("screening") or []}
        for trial in sorted(report["trials"], key=order)
    ]


def _statuses(report: dict[str, Any]) -> list[tuple[str, int]]:
    """How many trials ended how, in the order of the table."""
    found = [trial["status"] for trial in report["trials"]]
    return [(status, found.count(status)) for status in STATUS_ORDER if status in found]
