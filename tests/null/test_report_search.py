"""The report's part on the search: drawn, said in sentences, strict, and left out where there is none."""

import copy
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_document import hostile, report_document
from test_report_render import Page

from edgekd.errors import InputError
from edgekd.report import render_html, render_markdown
from edgekd.report.document import check_report
from edgekd.report.search_plots import cost_axis, cost_plot, hypervolume_plot
from edgekd.report.search_section import ranking_words, reasons

REPORT = report_document(shared=True)
LOCAL, PHONE, APPLE = REPORT["search"]["deployments"]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_html(check_report(json.loads(json.dumps(REPORT)))))


def changed(*path: str | int, value: Any) -> dict[str, Any]:
    """The report with the value at `path` of its search replaced."""
    report = copy.deepcopy(REPORT)
    place: Any = report["search"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return report


def test_the_sample_says_what_the_issue_asks_for() -> None:
    """What binds, the runner-up, and what more budget buys, in both directions."""
    why = LOCAL["why"]
    assert why["binding"]["limit"] == "latency_ms"
    assert re.fullmatch(r"\+0\.\d+ ms → \+0\.\d point \((predicted|measured)\)", why["more"][0]["text"])
    assert why["less"]
    assert why["runner_up"]


def test_every_sentence_is_in_both_renderings(page: Page) -> None:
    """Each reason of each deployment, the supernet, its roll-back and the ranking."""
    markdown = render_markdown(REPORT)
    for found in REPORT["search"]["deployments"]:
        for reason in reasons(REPORT, found):
            assert reason.text in page.text
            assert reason.text.replace("~", "\\~") in markdown
            assert reason.candidate in page.text
    for text in ("162 students of a coupled space", "rolled back at step 1,240", "Kendall's τ of the supernet's ranking is 0.82"):
        assert text in page.text
        assert text in markdown


def test_every_figure_of_a_reason_has_its_provenance() -> None:
    """A sentence that gives a cost says how it was got."""
    for found in REPORT["search"]["deployments"]:
        for reason in reasons(REPORT, found):
            if re.search(r"\d (ms|mJ|k?B|MB)\b", reason.text):
                assert re.search(r"measured|emulated|predicted|modelled", reason.text), reason


def test_the_axes_and_all_rated_students_are_listed(page: Page) -> None:
    """The space's axes with their values, and each of the 162."""
    assert "relu, hard-swish, relu6" in page.text
    for row in REPORT["search"]["rated"]:
        assert row["candidate"] in page.text


def test_a_report_without_a_search_is_as_before() -> None:
    """Of an older edgekd, or of candidates trained alone: no section, in neither rendering."""
    old = report_document()
    for report in (old, old | {"search": None}):
        check_report(report)
        assert "search" not in [attrs.get("id") for _, attrs in Page(render_html(report)).tags]
        assert "## Search" not in render_markdown(report)


def test_plots_are_valid_plotly(page: Page) -> None:
    """Two plots a deployment, the ranking, the ratings and the training: Plotly accepts each."""
    from plotly.graph_objects import Figure

    drawn = {name: figure for name, figure in page.plots.items() if name.startswith("search-")}
    assert len(drawn) == 2 * 3 + 3
    for figure in drawn.values():
        Figure(figure)


def test_measured_are_filled_and_predicted_hollow_with_their_intervals() -> None:
    """The two kinds are traces of their own; the bars reach from low to high; the front of the measured is theirs alone."""
    plot = cost_plot(LOCAL, LOCAL["budget"], LOCAL["selected"])
    assert plot is not None
    traces = {trace["name"]: trace for trace in plot["data"]}
    measured, predicted = traces["fp32, measured"], traces["fp32, predicted"]
    assert (len(measured["x"]), len(predicted["x"])) == (40, 122)
    assert (measured["marker"]["symbol"], predicted["marker"]["symbol"]) == ("circle", "diamond-open")
    assert "error_x" not in measured
    figure = next(p for p in LOCAL["front"] if p["figures"]["latency_ms"]["provenance"] == "predicted")["figures"]["latency_ms"]
    assert predicted["x"][0] + predicted["error_x"]["array"][0] == pytest.approx(figure["high"])
    assert predicted["x"][0] - predicted["error_x"]["arrayminus"][0] == pytest.approx(figure["low"])
    assert set(traces["front, measured"]["x"]) <= set(measured["x"])


def test_the_selected_the_runner_up_and_the_budget_are_marked() -> None:
    """A ring at each, a line at the limit, and what more of it buys at the student that it admits."""
    plot = cost_plot(LOCAL, LOCAL["budget"], LOCAL["selected"])
    assert plot is not None
    place = {p["candidate"]: (p["figures"]["latency_ms"]["value"], p["accuracy"]) for p in LOCAL["front"]}
    rings = {t["name"]: (t["x"][0], t["y"][0]) for t in plot["data"] if t["name"] in ("selected", "runner-up")}
    assert rings == {"selected": place[LOCAL["selected"]], "runner-up": place[LOCAL["why"]["runner_up"]["candidate"]]}
    assert [shape["x0"] for shape in plot["layout"]["shapes"]] == [0.14]
    texts = [note["text"] for note in plot["layout"]["annotations"]]
    assert texts == ["budget", *(step["text"] for step in LOCAL["why"]["more"])]


def test_what_binds_is_the_axis() -> None:
    """Latency on this machine, size on the phone; without a reason, the first limit that has figures."""
    assert cost_axis(LOCAL, LOCAL["budget"]) == "latency_ms"
    assert cost_axis(PHONE, PHONE["budget"]) == "size_bytes"
    assert cost_axis(APPLE | {"why": None}, APPLE["budget"]) == "size_bytes"
    assert cost_axis(LOCAL | {"front": []}, LOCAL["budget"]) is None
    assert cost_plot(LOCAL | {"front": []}, LOCAL["budget"], None) is None
    assert hypervolume_plot(LOCAL | {"hypervolume": []}) is None


def test_the_hypervolume_is_drawn_as_it_was() -> None:
    """One point a measured student, over the cost that it says."""
    plot = hypervolume_plot(LOCAL)
    assert plot is not None
    assert plot["data"][0]["y"] == [row["value"] for row in LOCAL["hypervolume"]]
    assert plot["layout"]["yaxis"]["title"]["text"] == "hypervolume, accuracy × ms"


def test_what_the_search_does_not_name_comes_from_the_selection() -> None:
    """Budget and selected candidate of a deployment are found in `selected` where the search leaves them out."""
    report, entry = copy.deepcopy(REPORT), REPORT["selected"][0]
    report["search"]["deployments"][0] |= {"budget": None, "selected": None}
    text = Page(render_html(report)).text
    name = " · ".join(entry[key] for key in ("device", "target", "precision"))
    assert f"{name}: {entry['candidate']}" in " ".join(text.split())


def test_a_ranking_that_is_not_there_is_said() -> None:
    """No students trained alone, and students that nothing ranks."""
    assert "not checked" in ranking_words(None)
    ranking = REPORT["search"]["ranking"] | {"kendall_tau": None, "low": None, "high": None}
    assert "cannot be told" in ranking_words(ranking)
    check_report(changed("ranking", value=ranking))
    assert render_html(changed("ranking", value=None))


def test_names_stay_text() -> None:
    """A search whose every text attacks brings no tag into the page, and no markup into a plot or into Markdown."""
    attacked = hostile(REPORT)
    page = Page(render_html(attacked))
    assert not [attrs for _, attrs in page.tags if "onerror" in attrs]
    for name, figure in page.plots.items():
        if name.startswith("search-"):
            assert not re.search(r"<(?!br>|extra>|/extra>)", json.dumps(figure)), name
    assert not re.search(r"(?<!\\)<(script|img)", render_markdown(attacked))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("method",), "guess", "search.method"),
        (("space", "candidates"), 1.5, "search.space.candidates"),
        (("deployments", 0, "front", 0, "figures", "latency_ms", "provenance"), "felt", "provenance"),
        (("deployments", 0, "why", "more", 0, "gain"), "much", "search.deployments.0.why.more.0.gain"),
        (("ranking", "n"), None, "search.ranking.n"),
        (("deployments", 0, "hypervolume", 0, "value"), float("nan"), "search.deployments.0.hypervolume.0.value"),
    ],
)
def test_a_wrong_value_is_named(path: tuple[str | int, ...], value: Any, named: str) -> None:
    """The message says where in the search the first bad value is."""
    with pytest.raises(InputError, match=re.escape(named)):
        check_report(changed(*path, value=value))


PARTS: list[tuple[str | int, ...]] = [
    *[(), ("space",), ("supernet",), ("supernet", "rollbacks", 0), ("rated", 0), ("ranking",), ("ranking", "pairs", 0)],
    *[("deployments", 0, *rest) for rest in ((), ("predictor",), ("front", 0), ("hypervolume", 0), ("budget",), ("why",))],
    *[("deployments", 0, "front", 0, "figures", *rest) for rest in ((), ("latency_ms",))],
    *[("deployments", 0, "why", *rest) for rest in (("binding",), ("runner_up",), ("more", 0), ("less", 0))],
]
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.integers(), max_size=2))


@settings(max_examples=60, deadline=None)
@given(part=st.sampled_from(PARTS), data=st.data())
def test_a_damaged_search_is_refused_or_rendered(part: tuple[str | int, ...], data: st.DataObject) -> None:
    """Whatever one value is replaced by, the report is refused as an input error or rendered: nothing else is raised."""
    place: Any = REPORT["search"]
    for key in part:
        place = place[key]
    key = data.draw(st.sampled_from(sorted(place)))
    try:
        report = check_report(changed(*part, key, value=data.draw(VALUES)))
    except InputError:
        return
    assert render_html(report)
    assert render_markdown(report)
