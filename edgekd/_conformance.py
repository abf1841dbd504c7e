"""The checks of the conformance suite; `edgekd.testing` is its front."""

import ast
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgekd._conformance_case import Case, copy_with, in_child, is_refused
from edgekd.artifact import contract_file, files_of, sha256_of, size_of
from edgekd.device import Device
from edgekd.session import load_runner
from edgekd.types import KNOWN_PRECISIONS, Contract, Precision
from edgekd.verify import MAX_ERROR, MIN_AGREEMENT

DEVICES = (
    Device(name="linux x86_64", os="linux", arch="x86_64"),
    Device(name="linux aarch64", os="linux", arch="aarch64"),
    Device(name="linux armv7l", os="linux", arch="armv7l"),
    Device(name="android aarch64", os="android", arch="aarch64"),
    Device(name="ios aarch64", os="ios", arch="aarch64"),
    Device(name="macos aarch64", os="macos", arch="aarch64"),
    Device(name="windows x86_64", os="windows", arch="x86_64"),
)
_OPEN_WITHOUT = """for name in heavy: sys.modules[name] = None
from edgekd.errors import MissingExtraError
try: target.open(pathlib.Path(sys.argv[4])); print("opened")
except MissingExtraError as error: print(error)
"""


def construction_is_light(case: Case) -> None:
    """Importing and constructing the target imports no framework, converter or runtime."""
    loaded = in_child(case.target, "print(*sorted(heavy & set(sys.modules)))")
    assert not loaded, f"imports {loaded}"


def missing_extra_is_named(case: Case) -> None:
    """Where its packages are missing, opening an artifact says which command installs them."""
    path, extra = case.artifact("fp32").path, case.target.extra
    said = in_child(case.target, _OPEN_WITHOUT, str(path))
    assert said == "opened" or f'pip install "edgekd[{extra}]"' in said, f"says: {said}"


def names_are_sound(case: Case) -> None:
    """It has a name, builds fp32 first, and declares only precisions that there are."""
    target = case.target
    assert target.name.islower(), f"name is '{target.name}'"
    assert target.precisions[0] == "fp32", f"precisions are {target.precisions}"
    assert set(target.precisions) <= set(KNOWN_PRECISIONS), f"precisions are {target.precisions}"


def unsupported_has_reasons(case: Case) -> None:
    """Every known precision is answered for on every kind of device; a declared one can be built for some."""
    for name in KNOWN_PRECISIONS:
        answers = [case.target.unsupported(Precision.parse(name), device) for device in DEVICES]
        assert all(answer is None or answer for answer in answers), f"{name}: a reason is empty"
        assert (None in answers) == (name in case.target.precisions), f"{name}: {answers}"
    for device in DEVICES:
        reason = case.target.unmeasurable(device)
        assert reason if case.target.runner is None else reason != "", f"{device.name}: {reason!r} cannot be right"


def artifact_is_described(case: Case) -> None:
    """Hash, size, parent, target and precision of each artifact are those of its files and its student."""
    for name in case.target.precisions:
        artifact = case.artifact(name)
        assert artifact.sha256 == sha256_of(artifact.path), name
        assert artifact.size_bytes == size_of(artifact.path) > 0, name
        assert (artifact.target, str(artifact.precision), artifact.parent) == (case.target.name, name, case.program.parent)
        assert artifact.tools, f"{name}: no tool versions"


def contract_travels(case: Case) -> None:
    """The contract in the metadata is the one beside the file and the program's own, completed."""
    for name in case.target.precisions:
        artifact = case.artifact(name)
        inside, beside = case.target.contract(artifact.path), Contract.from_json(contract_file(artifact.path).read_text())
        assert inside == beside == artifact.contract, f"{name}: {inside} inside, {beside} beside, {artifact.contract} told"
        assert replace(inside, inputs=(), outputs=()) == case.program.contract, f"{name}: {inside}"


def tensors_are_described(case: Case) -> None:
    """One input and one output, batch 1, in the layout that is told; integers have a scale and floats have none."""
    channels, *rest = case.program.input_shape
    expected = {"NCHW": (1, channels, *rest), "NHWC": (1, *rest, channels), "NC": (1, channels)}
    for name in case.target.precisions:
        contract = case.artifact(name).contract
        (taken,), (given,) = contract.inputs, contract.outputs
        assert taken.shape == expected[taken.layout], f"{name}: {taken}"
        assert given.shape == (1, len(contract.classes)), f"{name}: {given}"
        for spec in (taken, given):
            assert spec.name, f"{name}: {spec}"
            assert (spec.scale is not None) == np.issubdtype(np.dtype(spec.dtype), np.integer), f"{name}: {spec}"


def outputs_match_the_student(case: Case) -> None:
    """fp32 answers with the student's logits, the others with its decisions."""
    for name in case.target.precisions:
        session = case.target.open(case.artifact(name).path)
        outputs = session.run(case.samples)
        session.close()
        assert (outputs.shape, outputs.dtype) == (case.reference.shape, np.float32), f"{name}: {outputs.shape} {outputs.dtype}"
        if name == "fp32":
            error = float(np.abs(outputs - case.reference).max() / np.abs(case.reference).max())
            assert error <= MAX_ERROR, f"fp32: off by {error:.1e} of the largest logit"
        else:
            agreement = float((outputs.argmax(1) == case.reference.argmax(1)).mean())
            assert agreement >= MIN_AGREEMENT[name], f"{name}: agrees on {agreement:.2%}, expected {MIN_AGREEMENT[name]:.1%}"


def batches_and_threads_change_nothing(case: Case) -> None:
    """A sample's answer does not depend on those beside it, nor on the number of threads."""
    path = case.artifact(case.target.precisions[-1]).path
    one, two = (case.target.open(path, threads) for threads in (1, 2))
    whole, apart = one.run(case.samples[:3]), [one.run(case.samples[i : i + 1]) for i in range(3)]
    bound = 1e-4 * float(np.abs(whole).max())
    assert np.abs(whole - np.concatenate(apart)).max() <= bound, "depends on the batch"
    assert np.abs(whole - two.run(case.samples[:3])).max() <= bound, "depends on threads"


def smaller_precisions_are_smaller(case: Case) -> None:
    """Fewer bits of weights make a smaller artifact. Not with `w8a8`: ranges of all activations outweigh a small student."""
    full = case.artifact("fp32").size_bytes
    sizes = {name: case.artifact(name).size_bytes for name in case.target.precisions if name in ("fp16", "w8", "w4")}
    assert all(size < full for size in sizes.values()), f"fp32 has {full} bytes, {sizes}"


def builds_are_reproducible(case: Case) -> None:
    """Building the same student again gives the same bytes."""
    for name in case.target.precisions:
        first, second = case.artifact(name).sha256, case.artifact(name, "second").sha256
        assert first == second, f"{name}: {first[:12]}, then {second[:12]}"


def operators_are_counted(case: Case) -> None:
    """Every artifact has operators, each at least once."""
    for name in case.target.precisions:
        counts = case.target.operators(case.artifact(name).path)
        assert counts, f"{name}: none"
        assert min(counts.values()) > 0, f"{name}: {counts}"


def runner_stands_alone(case: Case) -> None:
    """The file that is pushed to devices is Python 3.8 and needs nothing of edgekd."""
    tree = ast.parse(case.runner.read_text(), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    wrong = sorted(name for name in imported if name.split(".")[0] in ("", "edgekd", f"edgekd_{case.target.name}"))
    assert not wrong, f"imports {wrong}"


def runner_speaks_the_protocol(case: Case) -> None:
    """`version()` names the runtime; the loaded model's inputs are those of the contract."""
    runner = load_runner(case.runner)
    versions = runner.version()
    assert versions, "version() is empty"
    assert all(isinstance(value, str) and value for value in versions.values()), versions
    for name in case.target.precisions:
        artifact = case.artifact(name)
        told = [(spec.name, list(spec.shape), spec.dtype) for spec in artifact.contract.inputs]
        found = [(i["name"], [int(n) for n in i["shape"]], i["dtype"]) for i in runner.load(str(artifact.path), 1).inputs]
        assert found == told, f"{name}: the model takes {found}, the contract says {told}"


def broken_files_are_refused(case: Case) -> None:
    """A missing, empty or cut file is an InputError, of nothing but noise at most that."""
    path = case.artifact(case.target.precisions[-1]).path
    for name, file in files_of(path):
        content = file.read_bytes()
        noise = np.random.default_rng(0).bytes(len(content))
        for what, bytes_left in {"missing": None, "empty": b"", "cut": content[: len(content) // 2], "noise": noise}.items():
            copy = copy_with(case.folder / case.target.name / "broken", path, name, bytes_left)
            for call in (case.target.contract, case.target.operators, case.target.open):
                refused = is_refused(call, copy)
                must = call == case.target.open and what != "noise"
                assert refused or not must, f"{name} {what}: opened all the same"


CHECKS: dict[str, Callable[[Case], None]] = {
    check.__name__: check
    for check in (
        names_are_sound,
        construction_is_light,
        unsupported_has_reasons,
        artifact_is_described,
        contract_travels,
        tensors_are_described,
        outputs_match_the_student,
        batches_and_threads_change_nothing,
        smaller_precisions_are_smaller,
        operators_are_counted,
        runner_stands_alone,
        runner_speaks_the_protocol,
        broken_files_are_refused,
        missing_extra_is_named,
        builds_are_reproducible,
    )
}
