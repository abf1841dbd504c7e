"""report.html, its plots and its figures: everything is there, nothing is fetched, and users' names stay text."""

import copy
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from report_document import OFF_A_MAC, hostile, report_document

from edgekd.report import figures, render_html, render_markdown
from edgekd.report.curves import distribution_plot, thinned, training_plot
from edgekd.report.plots import accuracy_floor, accuracy_plot, pareto


class Page(HTMLParser):
    """The tags of a page with their attributes, its visible text, and the JSON of its plots."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.plots, self._open = "", {}, ("", {})
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = (tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        self._open = ("", {})

    def handle_data(self, data: str) -> None:
        tag, attrs = self._open
        if tag == "script" and "data-plot" in attrs:
            self.plots[attrs["data-plot"]] = json.loads(data)
        elif tag not in ("script", "style"):
            self.text += data


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return report_document()


@pytest.fixture(scope="module")
def page(report: dict[str, Any]) -> Page:
    return Page(render_html(report))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_trial_and_failure_is_in_the_page(seed: int) -> None:
    """Each trial's id, each failure's cause and each artifact's path can be read in both renderings."""
    report = report_document(seed)
    page, markdown = Page(render_html(report)), render_markdown(report)
    for trial in report["trials"]:
        assert trial["candidate"] in page.text
        assert trial["candidate"] in markdown
        if trial["failure"]:
            assert trial["failure"]["cause"] in page.text
            assert trial["failure"]["cause"] in markdown
    for entry in report["selected"]:
        assert entry["artifact"] in page.text
        assert entry["sha256"] in markdown


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    """No tag has an address outside the page, and the page forbids itself every request."""
    for tag, attrs in page.tags:
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            assert not attrs.get(name) or attrs[name].startswith("#"), (tag, attrs)
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy


def test_names_stay_text_in_html(report: dict[str, Any], page: Page) -> None:
    """A document whose every text attacks gives the very same tags as a harmless one of its shape."""
    attacked = Page(render_html(hostile(report)))
    harmless = {tag for tag, _ in page.tags}
    assert {tag for tag, _ in attacked.tags} <= harmless
    assert not [attrs for _, attrs in attacked.tags if "onerror" in attrs]
    assert "<script>alert(1)</script>" in attacked.text
    assert "{{ 7*7 }}" in attacked.text


def test_names_stay_text_in_plots(report: dict[str, Any]) -> None:
    """Plotly renders tags in texts, so no text of a plot may hold a user's `<`."""
    attacked = Page(render_html(hostile(report)))
    assert attacked.plots

    def texts(value: Any) -> Iterator[str]:
        if isinstance(value, dict | list):
            for part in value.values() if isinstance(value, dict) else value:
                yield from texts(part)
        elif isinstance(value, str):
            yield value

    for text in texts(list(attacked.plots.values())):
        assert not re.search(r"<(?!br>|extra>|/extra>)", text), text


def test_plots_are_valid_plotly(page: Page) -> None:
    """Plotly's own validation accepts every figure."""
    from plotly.graph_objects import Figure

    assert len(page.plots) == 6 + 6 + 6 + 4 + 1  # costs and training, fidelity of three artifacts, gain
    for figure in page.plots.values():
        Figure(figure)


def test_plotlys_code_cannot_end_its_script() -> None:
    """The library is put into the page unescaped, so it must hold neither a closing tag nor a comment."""
    from plotly.offline import get_plotlyjs

    assert not re.search(r"</script|<!--", get_plotlyjs(), re.IGNORECASE)


def test_every_figure_of_a_card_has_its_provenance(report: dict[str, Any]) -> None:
    """A row is either unavailable with a reason and without a number, or has a number and a kind."""
    for entry in report["selected"]:
        for row in figures.rows(entry, report):
            if row.figure.provenance == "unavailable":
                assert row.figure.detail
                assert not re.search(r"\d", row.figure.text)
            else:
                assert re.search(r"\d", row.figure.text)


def test_unavailable_is_a_word_with_its_reason(report: dict[str, Any], page: Page) -> None:
    """Core ML off a Mac: the page says unavailable, with the reason as tooltip; Markdown gives it in the cell."""
    assert ("span", {"class": "missing", "title": OFF_A_MAC}) in page.tags
    assert f"| latency p90 | unavailable ({OFF_A_MAC}) | ≤ 1.00 ms | ❔ |" in render_markdown(report)


def test_p99_is_shown_only_where_it_is(report: dict[str, Any]) -> None:
    """The percentile that few samples do not allow is not made up."""
    labels = [[row.label for row in figures.rows(entry, report)] for entry in report["selected"]]
    assert ["latency p99" in found for found in labels] == [True, False, False]


def test_verdicts(report: dict[str, Any]) -> None:
    """Within, within as far as measured, over; and the headline counts them."""
    assert [figures.verdict(entry)[0] for entry in report["selected"]] == ["within", "within", "unmeasured"]
    over = copy.deepcopy(report)
    over["selected"][0]["within_budget"] = False
    assert figures.headline(over) == (
        "4 deployments: 1 within budget, 1 within budget as far as measured, 1 over budget, 1 infeasible"
    )
    assert figures.headline(report | {"selected": [], "infeasible": []}) == "3 deployments: 3 without an artifact that passed"


def test_each_limit_is_held_against_its_own_figure(report: dict[str, Any]) -> None:
    """A figure above its limit is over; the percentile that the budget names is the one that counts."""
    entry = copy.deepcopy(report["selected"][0])
    entry["budget"] |= {"latency_percentile": 50, "latency_ms": entry["latency_ms"]["p50"], "size_bytes": entry["size_bytes"] - 1}
    found = {row.label: row.verdict for row in figures.rows(entry, report)}
    assert found["latency p50"] == "within"
    assert found["latency p90"] == "free"
    assert found["size"] == "over"
    entry["budget"] |= {"latency_percentile": 95}
    assert {row.label: row.verdict for row in figures.rows(entry, report)}["latency p95"] == "unmeasured"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (figures.milliseconds(0.31234), "0.312 ms"),
        (figures.milliseconds(1234.5), "1,234 ms"),
        (figures.milliseconds(0), "0 ms"),
        (figures.digits(3.14e-6), "3.14e-06"),
        (figures.size(185_432), "185 kB"),
        (figures.size(999), "999 B"),
        (figures.size(20_000_000), "20.0 MB"),
        (figures.percent(0.91234), "91.23 %"),
        (figures.points(-0.0131), "−1.31 pp"),
        (figures.seconds(0.82), "0.82 s"),
        (figures.seconds(725), "12 min 5 s"),
        (figures.seconds(12_000), "3 h 20 min"),
        (figures.count(701_466), "701,466"),
        (figures.count(None), "–"),
    ],
)
def test_numbers_have_units_and_sensible_digits(text: str, shown: str) -> None:
    """Three digits, decimal units, thousands apart."""
    assert text == shown


def test_pareto_front() -> None:
    """Only points that nothing beats; of equal costs the better; a tie in accuracy goes to the cheaper."""
    assert pareto([(2, 0.9), (1, 0.8), (3, 0.9), (1, 0.7), (4, 0.95), (2.5, 0.85)]) == [(1, 0.8), (2, 0.9), (4, 0.95)]
    assert pareto([]) == []


def test_front_joins_one_provenance_only(report: dict[str, Any]) -> None:
    """A predicted point, however good, is drawn apart and does not enter the front of the measured ones."""
    mixed = copy.deepcopy(report)
    other = next(t for t in mixed["trials"] if t["status"] == "trained")["artifacts"][0]
    other["latency_ms"] |= {"p50": 0.001, "p90": 0.001, "provenance": "predicted"}
    other["accuracy"]["artifact"] = 0.999
    plot = accuracy_plot(mixed, mixed["selected"][0])
    assert plot is not None
    traces = {trace["name"]: trace for trace in plot["data"]}
    assert 0.001 not in traces["Pareto front"]["x"]
    assert traces["fp32, latency predicted"]["x"] == [0.001]
    assert 0.001 not in traces["fp32, latency measured"]["x"]


def test_without_latency_size_is_the_cost(report: dict[str, Any]) -> None:
    """Core ML off a Mac is drawn against size, with the size's budget."""
    plot = accuracy_plot(report, report["selected"][2])
    assert plot is not None
    assert plot["layout"]["xaxis"]["title"]["text"] == "size, kB"
    area = next(trace for trace in plot["data"] if trace["name"] == "within budget")
    assert max(area["x"]) == 140.0
    assert accuracy_floor(report, report["selected"][2]["budget"]) == pytest.approx(0.9448 - 0.03)


def test_a_far_budget_does_not_squeeze_the_points(report: dict[str, Any]) -> None:
    """Costs that span more than a few times are drawn on a logarithmic axis."""
    entry = copy.deepcopy(report["selected"][0])
    entry["budget"]["latency_ms"] = 50.0
    plot = accuracy_plot(report, entry)
    assert plot is not None
    assert plot["layout"]["xaxis"]["type"] == "log"


def test_nothing_built_no_plot(report: dict[str, Any]) -> None:
    """A run without artifacts, curves or raw values has no empty plots."""
    empty = report | {"trials": []}
    assert accuracy_plot(empty, report["selected"][0]) is None
    assert training_plot(empty) is None
    assert distribution_plot(empty, report["selected"][2]) is None


def test_thinning_keeps_stragglers() -> None:
    """However many values, at most that many points are drawn, and the slowest and the fastest are among them."""
    values = [1.0] * 30_000
    values[12_345], values[20_001] = 9.0, 0.5
    kept = thinned(values, 1_000)
    assert len(kept) <= 1_000
    assert {12_345, 20_001} <= set(kept)
    assert thinned([3.0, 1.0], 1_000) == [0, 1]
    assert thinned([], 1_000) == []


def test_screening_that_failed_is_shown(report: dict[str, Any]) -> None:
    """A candidate that could not even be built says why, without figures."""
    failed = copy.deepcopy(report)
    trial = next(t for t in failed["trials"] if t["status"] == "screened-out")
    cause = {"stage": "convert", "cause": "operator Foo is unknown", "hint": "use another family"}
    trial["screening"] = [{"device": "local", "target": "onnxruntime", "precision": "fp32", "fits": False, "failure": cause}]
    assert "convert: operator Foo is unknown (use another family)" in Page(render_html(failed)).text
    assert "operator Foo is unknown" in render_markdown(failed)
