"""The part of a report on the search, as sentences and lines of tables: the space, the supernet, why each was selected."""

from dataclasses import dataclass
from typing import Any

from edgekd.report import search_plots
from edgekd.report.figures import LABELS, NOTHING, count, digits, percent, seconds

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reason:
    """A sentence on a selection; `candidate` is the other student that it is about."""

    label: str
    text: str
    candidate: str = ""


@dataclass(frozen=True, kw_only=True)
class DeploymentSearch:
    """One deployment: its name, the student selected for it, the reasons, and its plots."""

    name: str
    selected: str | None
    reasons: list[Reason]
    cost_plot: Record | None
    hypervolume_plot: Record | None


@dataclass(frozen=True, kw_only=True)
class SearchSection:
    """All that the page shows of a search."""

    summary: str
    axes: list[tuple[str, str]]
    rollbacks: list[str]
    supernet_plot: Record | None
    rated_plot: Record | None
    rated: list[tuple[str, str, str, str, str]]
    deployments: list[DeploymentSearch]
    ranking: str
    ranking_plot: Record | None


def search_section(report: Record) -> SearchSection | None:
    """The section of a checked report; None where its candidates were trained alone, or it is older than supernets."""
    search = report.get("search")
    if not search:
        return None
    ranking = search["ranking"]
    return SearchSection(
        summary=summary(search),
        axes=[(axis, ", ".join(map(str, values))) for axis, values in search["space"]["axes"].items()],
        rollbacks=rollback_texts(search),
        supernet_plot=search_plots.supernet_plot(report),
        rated_plot=search_plots.rated_plot(search),
        rated=[_rated_line(row) for row in sorted(search["rated"], key=lambda row: -row["accuracy"])],
        deployments=[_deployment(report, found) for found in search["deployments"]],
        ranking=ranking_words(ranking),
        ranking_plot=None if ranking is None else search_plots.ranking_plot(ranking),
    )


def summary(search: Record) -> str:
    """The supernet and its space in a sentence."""
    space, supernet = search["space"], search["supernet"]
    kind = "coupled" if space["coupled"] else "free"
    return (
        f"One training serves every device: a {plain_method(search)} of {count(supernet['params'])} parameters, "
        f"{supernet['epochs']} epochs in {seconds(supernet['seconds'])}, holds the {count(space['candidates'])} students of a "
        f"{kind} space; {count(len(search['rated']))} of them were cut out and rated."
    )


def plain_method(search: Record) -> str:
    return str(search["method"])


def rollback_texts(search: Record) -> list[str]:
    """Where the supernet's training went wrong and was taken back."""
    return [f"rolled back at step {event['step']:,}: {event['cause']}" for event in search["supernet"]["rollbacks"]]


def ranking_words(ranking: Record | None) -> str:
    """How far the supernet ranks students as training each alone does, in a sentence."""
    if ranking is None:
        return "How well the supernet ranks students was not checked: no eight students were trained alone too."
    if ranking["kendall_tau"] is None:
        return f"Over {ranking['n']} students the ranking of the supernet cannot be told: one side has only equal accuracies."
    text = (
        f"Over {ranking['n']} students trained alone too, Kendall's τ of the supernet's ranking is {ranking['kendall_tau']:.2f}"
    )
    if ranking["low"] is None or ranking["high"] is None:
        return text + " (measured)."
    share = 100 * float(ranking.get("confidence", 0.95))
    return f"{text} (measured; {share:.3g} %: {ranking['low']:.2f} to {ranking['high']:.2f})."


def deployment_name(found: Record) -> str:
    return f"{found['device']} · {found['target']} · {found['precision']}"


def reasons(report: Record, found: Record) -> list[Reason]:
    """Why one student was selected, sentence by sentence; each says where its figures come from."""
    why = found["why"]
    lines = [] if why is None else [Reason(label="why this one", text=why.get("text") or _binding_text(why["binding"]))]
    if why is not None:
        runner_up = why["runner_up"]
        lines.append(
            Reason(label="runner-up", text="no other student is within budget")
            if runner_up is None
            else Reason(label="runner-up", text=runner_up["text"], candidate=runner_up["candidate"])
        )
        for label, steps in (("a little more budget", why["more"]), ("a little less accuracy", why.get("less") or [])):
            lines += [Reason(label=label, text=step["text"], candidate=step["candidate"]) for step in steps]
        lines += [Reason(label="note", text=note) for note in why.get("notes") or []]
        if why.get("noise") is not None:
            lines.append(Reason(label="chance", text=f"accuracies are told apart from {100 * why['noise']:.2f} point"))
    return [*lines, Reason(label="costs", text=_cost_words(found, budget_of(report, found)))]


def _binding_text(binding: Record | None) -> str:
    if binding is None:
        return "nothing binds"
    used = f"{digits(binding['value'])} of {digits(binding['allowed'])}"
    return f"{binding['limit']} binds: {used} ({100 * binding['share']:.0f} %)"


def _cost_words(found: Record, budget: Record) -> str:
    """How the costs that the plot shows were got."""
    text, axis = f"{len(found['front'])} students", search_plots.cost_axis(found, budget)
    if axis is not None:
        kinds = [point["figures"][axis]["provenance"] for point in found["front"] if axis in point["figures"]]
        text += f"; {LABELS[axis]}: " + ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(sorted(kinds)))
    predictor = found["predictor"]
    if predictor is None:
        return text
    error = predictor.get("interval_error")
    off = "" if error is None else f", off by {percent(error)} in the median by its own estimate"
    return f"{text}; the predictor was fitted to {predictor['measured']} measured ones{off}"


def _rated_line(row: Record) -> tuple[str, str, str, str, str]:
    loss = row.get("loss")
    shown = NOTHING if loss is None else digits(loss)
    return row["candidate"], search_plots.values_text(row["values"]), count(row["params"]), percent(row["accuracy"]), shown


def _deployment(report: Record, found: Record) -> DeploymentSearch:
    selected = found.get("selected") or _shipped(report, found).get("candidate")
    budget = budget_of(report, found)
    return DeploymentSearch(
        name=deployment_name(found),
        selected=selected,
        reasons=reasons(report, found),
        cost_plot=search_plots.cost_plot(found, budget, selected),
        hypervolume_plot=search_plots.hypervolume_plot(found),
    )


def budget_of(report: Record, found: Record) -> Record:
    """The limits of the deployment; empty where neither the search nor a selection says them."""
    return found.get("budget") or _shipped(report, found).get("budget") or {}


def _shipped(report: Record, found: Record) -> Record:
    """What was selected for the deployment, where the search does not name it itself."""
    keys = ("device", "target", "precision")
    return next((entry for entry in report["selected"] if all(entry[key] == found[key] for key in keys)), {})
