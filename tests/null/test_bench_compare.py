"""Side by side: blocks in random order, what their ratios can show, and the words for it."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekd.bench import compare as module
from edgekd.bench.compare import blocks, compare, difference, fewest_blocks
from edgekd.bench.jobs import Job
from edgekd.bench.points import read_side
from edgekd.bench.settings import Use
from edgekd.errors import InputError
from edgekd.report.compare_text import compare_plot, compare_text, verdict


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "m.npz"
    weight, bias = np.ones((2, 64), np.float32), np.zeros(2, np.float32)
    np.savez(file, weight=weight, bias=bias, scale=np.float32(1), shape=(1, 64), zero_point=0, dtype="float32")
    return file


def ratios(factor: float, seed: int, count: int = 12, noise: float = 0.03) -> list[float]:
    """Of two sides that drift together by tens of per cent, the second slower by `factor`."""
    rng = np.random.default_rng(seed)

    def measure(side: int, block: int) -> Sequence[float]:
        level = (1 + 0.3 * math.sin(block)) * (factor if side else 1.0)
        return list(level * np.exp(noise * rng.standard_normal(50) + noise / 5 * rng.standard_normal()))

    return [block.log_ratio(1) for block in blocks(measure, 2, count, seed)]


def test_every_block_runs_every_side_once_in_a_drawn_order() -> None:
    """Orders differ from block to block, and are the same for the same seed."""
    asked: list[tuple[int, int]] = []

    def measure(side: int, block: int) -> Sequence[float]:
        asked.append((block, side))
        return [1.0 + side]

    found = list(blocks(measure, 3, 20, seed=1))
    assert sorted(asked) == [(block, side) for block in range(20) for side in range(3)]
    assert [block.order for block in found] == [block.order for block in blocks(lambda *_: [1.0], 3, 20, seed=1)]
    assert len({block.order for block in found}) > 3
    assert found[0].log_ratio(2) == pytest.approx(math.log(3))


def test_blocks_are_run_one_at_a_time() -> None:
    """Who has seen enough stops: nothing is measured ahead."""
    asked: list[int] = []
    found = blocks(lambda side, block: asked.append(block) or [1.0], 2, 100)
    next(found)
    assert asked == [0, 0]


def test_a_difference_is_shown_and_none_is_not_invented() -> None:
    """A true 5 % is called slower and lies in 95 % of intervals; alike sides are called different 5 times of 100."""
    slower = [difference(ratios(1.05, seed=seed)) for seed in range(100)]
    assert all(one["verdict"] == "slower" for one in slower)
    assert sum(one["interval"][0] < 1.05 < one["interval"][1] for one in slower) >= 88
    assert difference([-value for value in ratios(1.05, seed=3)])["verdict"] == "faster"
    alike = [difference(ratios(1.0, seed=seed)) for seed in range(100)]
    assert sum(one["verdict"] != "no difference shown" for one in alike) <= 12  # 5 expected; P(more than 12) is 0.002


def test_the_smallest_that_could_be_shown_is_shown() -> None:
    """A true difference of that size is called so nearly always."""
    smallest = float(np.median([difference(ratios(1.0, seed=seed))["smallest"] for seed in range(40)]))
    shown = [difference(ratios(1 + smallest, seed=1000 + seed))["verdict"] == "slower" for seed in range(40)]
    assert sum(shown) >= 34
    assert 0.001 < smallest < 0.03


def test_few_blocks_give_no_interval() -> None:
    """Six are the fewest for one pair at 95 %; more sides share the error and need more."""
    assert (fewest_blocks(0.95), fewest_blocks(0.975)) == (6, 7)
    assert math.isfinite(difference([0.1, 0.2, 0.15, 0.12, 0.11, 0.3])["interval"][1])


def test_models_are_compared_in_fresh_processes(model: Path, tmp_path: Path) -> None:
    """Real runs of the null target: every block has both sides, the record says what each was, JSON can hold it."""
    base = Job(model=Path(), queries=30)
    sides = [str(model), f"{model}@products=50"]
    record = compare(sides, [read_side(side, base) for side in sides], count=6, seed=5)
    assert [len(block["latency_ms"][0]) for block in record["blocks"]] == [5] * 6
    assert [side["options"] for side in record["sides"]] == [{}, {"products": "50"}]
    assert [side["latency_ms"]["n"] for side in record["sides"]] == [30, 30]
    assert {side["latency_ms"]["provenance"] for side in record["sides"]} == {"measured"}
    assert len(record["comparisons"][0]["log_ratios"]) == 6
    text = compare_text(record)
    assert text.startswith(f"A  {model} on local / null: p50")
    assert "95 % interval" in text
    assert compare_plot(record).plot["data"]


def found(ratio: float, low: float, high: float, smallest: float = 0.01) -> dict[str, Any]:
    told = "faster" if high < 1 else "slower" if low > 1 else "no difference shown"
    return {"side": 1, "to": 0, "ratio": ratio, "interval": [low, high], "verdict": told, "smallest": smallest}


def test_words() -> None:
    """What was shown, or how small a difference could have been."""
    assert verdict(found(0.969, 0.95, 0.98), 12, 0.95) == "B is 3.1 % faster than A (95 % interval -5 % to -2 %, 12 blocks)"
    assert verdict(found(2.4, 2.3, 2.5), 12, 0.95).startswith("B takes 2.4 times as long as A (")
    assert verdict(found(0.4, 0.3, 0.5), 12, 0.95).startswith("B is 2.5 times as fast as A (")
    told = verdict(found(1.0, 0.99, 1.01, 0.018), 12, 0.95)
    assert (
        told
        == "no difference between B and A can be shown; the smallest that could: 1.8 % (95 % interval -1 % to +1 %, 12 blocks)"
    )


@pytest.mark.parametrize(
    ("sides", "count", "asked", "cause"),
    [
        (1, 12, {}, "takes 2 to 20 models, 1"),
        (2, 5, {}, "expected 6 to 1000"),
        (2, 12, {"queries": 11}, "at least one for each"),
        (2, 12, {"use": Use(mode="cold")}, "leave out --mode"),
        (2, 12, {"use": Use(streams=2)}, "leave out --mode"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    model: Path, monkeypatch: pytest.MonkeyPatch, sides: int, count: int, asked: dict[str, Any], cause: str
) -> None:
    """Before anything runs."""
    monkeypatch.setattr(module, "opened", lambda jobs: pytest.fail("something was run"))
    with pytest.raises(InputError, match=cause):
        compare(["x"] * sides, [Job(model=model, **asked)] * sides, count)


@pytest.mark.parametrize("text", ["{}@threads", "{}@threads=0", "{}@threads=two", "{}@=2", "{}@threads=1e3", "{}@a b=c"])
def test_a_side_that_is_badly_written_is_refused(model: Path, text: str) -> None:
    """One line that says what was expected."""
    with pytest.raises(InputError, match=r"expected a whole number|not of the form key=value"):
        read_side(text.format(model), Job(model=Path()))


def test_a_file_whose_name_has_an_at_sign_is_a_file(tmp_path: Path) -> None:
    """What exists is not taken apart."""
    file = tmp_path / "net@threads=2"
    file.touch()
    job = read_side(str(file), Job(model=Path()))
    assert (job.model, job.threads) == (file, 1)
    assert read_side("net@threads=2,device=pi4", Job(model=Path())).threads == 2
    assert read_side("n" * 5000 + "@threads=2", Job(model=Path())).threads == 2
