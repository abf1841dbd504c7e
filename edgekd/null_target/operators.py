"""Pushed to devices beside the runner: the null target's one operator, by this file's own clock. Python 3.8 syntax."""

import time
from typing import Any, Dict, Iterable, List, Tuple

Row = Tuple[str, str, str, float]
HOW = "a clock around the product"


def unavailable(runner: Any) -> None:
    """There is nothing that it needs."""


def profile(runner: Any, path: str, threads: int, options: Dict[str, str], feed: Iterable[List[Any]]) -> List[List[Row]]:
    """One row a query."""
    model = runner.load(path, threads, options)
    found = []
    for arrays in feed:
        begin = time.perf_counter_ns()
        model.run(arrays)
        found.append([("linear", "Linear", "numpy", (time.perf_counter_ns() - begin) / 1000)])
    return found
