"""Importing edgekd, finding its targets and asking for help bring in neither torch nor a converter."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import edgekd

HEAVY = {"torch", "tensorflow", "onnx", "onnxruntime", "openvino", "coremltools", "ai_edge_litert", "litert_torch", "nncf"}
HEAVY |= {"optuna", "plotly", "sklearn", "scipy"}
MODULES = sorted(file.stem for file in Path(edgekd.__file__).parent.glob("*.py") if not file.stem.startswith("_"))
LAZY = {"stages", "run_state", "fidelity_report", "document", "testing"}
"""Modules that are imported once torch is needed anyway, or by test suites only."""


def brought_in(code: str) -> set[str]:
    """Heavy modules that a fresh process has after running `code`."""
    script = f"import sys, json\n{code}\nsys.stderr.write('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return HEAVY & set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import edgekd; dir(edgekd)",
        "import edgekd.plugins as p; [p.find_target(n) for n in p.target_names()]",
        "import edgekd.project as p, tomllib, pathlib; p.make_project(tomllib.loads(p.template()), pathlib.Path())",
        "sys.argv = ['edgekd', '--help']; import edgekd.__main__ as m; m.main()",
        "sys.argv = ['edgekd', 'distill', '--help']; import edgekd.__main__ as m; m.main()",
        "sys.argv = ['edgekd', 'targets']; import edgekd.__main__ as m; m.main()",
        "\n".join(f"import edgekd.{name}" for name in MODULES if name not in LAZY),
    ],
    ids=["edgekd", "targets", "project", "help", "help of distill", "edgekd targets", "every module"],
)
def test_nothing_heavy_comes_in(code: str) -> None:
    """A fresh process has none of the heavy modules afterwards."""
    assert brought_in(code) == set()


def test_the_names_of_edgekd_are_those_it_says() -> None:
    """`__all__` is what is documented, sorted, listed by dir(), and every name of it loads."""
    assert edgekd.__all__ == ["Batch", "Outputs", "find_target", "loss", "measure", "run"]
    assert set(edgekd.__all__) <= set(dir(edgekd))
    assert all(getattr(edgekd, name) for name in edgekd.__all__)


def test_no_public_name_is_a_submodules() -> None:
    """A submodule of the same name would take the function's place once it is imported."""
    assert not set(edgekd.__all__) & {path.stem for path in Path(edgekd.__file__).parent.iterdir()}


def test_an_unknown_name_is_an_attribute_error() -> None:
    """hasattr() and from-imports work as with any module."""
    assert not hasattr(edgekd, "no_such_name")
