"""Pushed to devices beside the runner: per-operator times of OpenVINO, from its own counters. Python 3.8 syntax.

A request tells after each query what its nodes took, in whole microseconds, and by which primitive (`exec_type`).
Source: docs.openvino.ai, "PERF_COUNT" of the CPU plugin and InferRequest.get_profiling_info.
"""

import datetime
from typing import Any, Dict, Iterable, List, Tuple

import openvino

Row = Tuple[str, str, str, float]
HOW = "OpenVINO's counters (PERF_COUNT, get_profiling_info), whole microseconds; kernel is the primitive"
MICROSECOND = datetime.timedelta(microseconds=1)


def unavailable(runner: Any) -> None:
    """Every version tells."""


def profile(runner: Any, path: str, threads: int, options: Dict[str, str], feed: Iterable[List[Any]]) -> List[List[Row]]:
    """The nodes that ran; what was fused into another, or only names memory, did not run in any query.

    A node that took less than half a microsecond in a query reads as not run there, and counts as 0.
    """
    request = runner.compiled(path, threads, options, PERF_COUNT=True).create_infer_request()
    queries, ran = [], openvino.ProfilingInfo.Status.EXECUTED
    for arrays in feed:
        request.infer(arrays, share_inputs=True)
        queries.append(request.get_profiling_info())
    names = {node.node_name for nodes in queries for node in nodes if node.status == ran}
    return [[row(node) for node in nodes if node.node_name in names] for nodes in queries]


def row(node: Any) -> Row:
    return node.node_name, node.node_type, node.exec_type, node.real_time / MICROSECOND
