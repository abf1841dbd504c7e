"""Pushed to devices beside the runner: per-operator times of ONNX Runtime, from its own profile. Python 3.8 syntax.

Its JSON has an event a node and query, `dur` in whole microseconds, and a `model_run` event around each query.
Source: onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html.
"""

import json
import os
from typing import Any, Dict, Iterable, List, Tuple

import onnxruntime

Row = Tuple[str, str, str, float]
HOW = "ONNX Runtime's profile (SessionOptions.enable_profiling), whole microseconds; kernel is the execution provider"
SUFFIX = "_kernel_time"


def unavailable(runner: Any) -> None:
    """Every version tells."""


def profile(runner: Any, path: str, threads: int, options: Dict[str, str], feed: Iterable[List[Any]]) -> List[List[Row]]:
    """The nodes of each query, after the graph was optimized: fused ones count as one."""
    made = runner.session_options(threads, options)
    made.enable_profiling = True
    made.profile_file_prefix = os.path.join(os.path.dirname(path), "profile")
    session = onnxruntime.InferenceSession(path, made, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    for arrays in feed:
        session.run(None, dict(zip(names, arrays)))
    file = session.end_profiling()
    with open(file) as stream:
        events = json.load(stream)
    os.remove(file)
    return by_query(events)


def by_query(events: List[Dict[str, Any]]) -> List[List[Row]]:
    """Node events sorted into the queries that they lie in."""
    runs = sorted((e["ts"], e["ts"] + e["dur"]) for e in events if e["name"] == "model_run")
    nodes = sorted((e for e in events if e["cat"] == "Node" and e["name"].endswith(SUFFIX)), key=lambda e: e["ts"])
    found = [[] for _ in runs]  # type: List[List[Row]]
    query = 0
    for node in nodes:
        while query + 1 < len(runs) and node["ts"] >= runs[query + 1][0]:
            query += 1
        facts = node["args"]
        found[query].append((node["name"][: -len(SUFFIX)], facts["op_name"], facts["provider"], float(node["dur"])))
    return found
