"""`report.md`: the answer as GitHub-flavoured Markdown, short enough for a comment on a pull request."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from edgekd.report import figures, search_section, teaching

MARKS = {"within": "✅", "over": "❌", "unmeasured": "❔", "free": ""}


def escape(text: Any) -> str:
    """A user's text as Markdown shows it literally, on one line: no markup, no table cell, no HTML, no mention."""
    line = " ".join(str(text).split())
    line = re.sub(r"([\\`*\[\]<>|~#!])", r"\\\1", line)
    line = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", line)
    return line.replace("&", "&amp;").replace("@", "&#64;")


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table whose cells are Markdown already."""
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines))


def figure(shown: figures.Figure) -> str:
    """A figure and where it comes from; an unavailable one gives its reason."""
    if shown.provenance == "unavailable":
        return f"{shown.text} ({escape(shown.detail)})" if shown.text != figures.NOTHING else shown.text
    return f"{shown.text} ({shown.provenance})"


def budget_table(entry: dict[str, Any], report: dict[str, Any]) -> str:
    """Every figure of a selected artifact, its provenance and its limit."""
    lines = [[row.label, figure(row.figure), row.limit, MARKS[row.verdict]] for row in figures.rows(entry, report)]
    return table(["", "figure", "budget", ""], lines)


def fidelity_table(entry: dict[str, Any], report: dict[str, Any]) -> str:
    """What of the teacher is in a selected artifact and its student; empty where its report does not say."""
    lines = [
        [line.label, *(_cell(cell) for cell in (line.teacher, line.student, line.artifact))]
        for line in teaching.fidelity_lines(entry, report)
    ]
    return table(["fidelity to the teacher", "teacher", "student", "artifact"], lines) if lines else ""


def _cell(cell: teaching.Cell) -> str:
    return f"{cell.text} ({escape(cell.reason)})" if cell.reason else cell.text


def render_markdown(report: dict[str, Any]) -> str:
    """The whole page for a checked report (`edgekd.report.document.check_report`)."""
    teacher, data = report["teacher"], report["data"]
    accuracy = "accuracy unknown" if teacher["accuracy"] is None else f"{figures.percent(teacher['accuracy'])} on the test split"
    parts = [
        f"# edgekd: {escape(data['name'])}",
        f"**{figures.headline(report)}**",
        f"Teacher {escape(teacher['name'])}: {figures.count(teacher['params'])} parameters, {accuracy}.",
        f"Made {escape(report['created'])}.",
        *[escape(f"⚠ {text}") for text in teaching.advice_texts(report)],
        *[_selected(entry, report) for entry in report["selected"]],
        *[_infeasible(entry) for entry in report["infeasible"]],
        *[_lost(entry) for entry in report.get("lost", [])],
        *[
            f"## Does the teacher help {escape(h['candidate'])}?\n\n{escape(teaching.honest_words(h))}"
            for h in report.get("honest") or []
        ],
        *filter(None, [_search(report)]),
        "## Trials\n\n" + _trials(report),
        "## Time\n\n" + table(["stage", "time"], [[escape(k), figures.seconds(v)] for k, v in report["timings_s"].items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _selected(entry: dict[str, Any], report: dict[str, Any]) -> str:
    kind, words = figures.verdict(entry)
    what = f"{escape(entry['precision'])}, {escape(entry['candidate'])}, {figures.count(entry['params'])} parameters"
    parts = [
        f"## {MARKS[kind]} {escape(entry['device'])} · {escape(entry['target'])}: {words}",
        f"{what}  \n{escape(entry['artifact'])}  \nsha256 {escape(entry['sha256'])}",
        budget_table(entry, report),
        *filter(None, [fidelity_table(entry, report)]),
        *[f"⚠ {escape(warning)}" for warning in entry.get("warnings", [])],
    ]
    return "\n\n".join(parts)


def _infeasible(entry: dict[str, Any]) -> str:
    head = f"## {MARKS['over']} {escape(entry['device'])} · {escape(entry['target'])}: infeasible"
    return f"{head}\n\n{escape(entry['text'])} (binding limit: {escape(entry['limit'])})"


def _lost(entry: dict[str, Any]) -> str:
    head = f"## {MARKS['unmeasured']} {escape(entry['device'])} · {escape(entry['target'])}: device lost"
    return f"{head}\n\n{escape(entry['text'])}. The same command goes on when it is back."


def _search(report: dict[str, Any]) -> str:
    """What the search says of each selection, as a list; empty where candidates were trained alone."""
    search = report.get("search")
    if not search:
        return ""
    warnings = [f"⚠ {escape(text)}" for text in search_section.rollback_texts(search)]
    parts = ["## Search", escape(search_section.summary(search)), *warnings]
    for found in search["deployments"]:
        lines = [
            f"* {escape(r.label)}: {escape(r.text)}" + (f" ({escape(r.candidate)})" if r.candidate else "")
            for r in search_section.reasons(report, found)
        ]
        parts.append("\n".join([f"**{escape(search_section.deployment_name(found))}**", "", *lines]))
    return "\n\n".join([*parts, escape(search_section.ranking_words(search["ranking"]))])


def _trials(report: dict[str, Any]) -> str:
    lines = []
    for trial in report["trials"]:
        rung = (trial.get("rungs") or [None])[-1]
        accuracy = figures.NOTHING if rung is None else f"{figures.percent(rung['accuracy'])} after {rung['epochs']} epochs"
        failures = [
            trial.get("failure"),
            *(line.get("failure") for line in trial.get("artifacts", []) + trial.get("screening", [])),
        ]
        said = "; ".join(escape(f"{f['stage']}: {f['cause']}") for f in failures if f)
        lines.append([escape(trial["candidate"]), figures.count(trial["params"]), trial["status"], accuracy, said])
    return table(["candidate", "parameters", "status", "student accuracy (validation)", "failure"], lines)
