"""The fidelity report: student and artifact against the teacher's cached answers, to corrupted pictures too."""

import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_data import CLASSES, CONTRACT, LINEAR, SIDE, QuarterTeacher, linear_program, small_net, synthetic
from test_pipeline_null import PROJECT, USERS

from edgekd.bench.settings import Settings
from edgekd.build import FLOAT, build
from edgekd.console import Console
from edgekd.data import Data, normalise
from edgekd.data.views import Augment
from edgekd.distill.answers import mean_logits_of
from edgekd.distill.cache import open_cache
from edgekd.distill.training import Training
from edgekd.errors import InputError
from edgekd.fidelity.corruptions import CORRUPTIONS, corrupt
from edgekd.fidelity.robustness import CONDITIONS, spaced
from edgekd.fidelity_report import artifact_fidelity, student_fidelity
from edgekd.null_target import LinearModule, NullTarget
from edgekd.pipeline import distill
from edgekd.project import make_project
from edgekd.store import Store
from edgekd.target import Program
from edgekd.types import Artifact

SEED = 5


def silent(title: str, done: int, total: int) -> None:
    pass


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., Training]:
    """A run's training with the filled caches of some teachers."""

    def make(*teachers: Any, data: Data | None = None) -> Training:
        data = data or synthetic()
        caches = [open_cache(tmp_path / "cache", teacher, data, Augment(), SEED) for teacher in teachers]
        for cache, teacher in zip(caches, teachers, strict=True):
            cache.fill(teacher, 1, silent)
            cache.fill_corrupted(teacher, silent)
        return Training(
            data=data,
            augment=Augment(),
            family=LINEAR,
            store=Store(tmp_path / "run"),
            console=Console(),
            view_seed=SEED,
            cache_root=tmp_path / "cache",
            caches=tuple(caches),
        )

    return make


def quarters() -> Program:
    """The linear student that answers as `QuarterTeacher` does."""
    weight = np.zeros((CLASSES, SIDE, SIDE), np.float32)
    half = SIDE // 2
    for label in range(CLASSES):
        y, x = divmod(label, 2)
        weight[label, y * half : (y + 1) * half, x * half : (x + 1) * half] = 4 / half**2
    program = linear_program()
    program.module.weight.data[:] = program.module.weight.new_tensor(weight.reshape(CLASSES, -1))
    program.module.bias.data[:] = 0
    return program


def built(program: Program, folder: Path) -> Artifact:
    folder.mkdir()
    return build(NullTarget(), program, FLOAT, np.zeros((1, *CONTRACT.shape), np.float32), folder)


class Emulated(NullTarget):
    """No runtime here: what answers is a stand-in."""

    runner = None

    def open(self, artifact: Path, threads: int = 1) -> Any:
        return NullTarget().open(artifact, threads)


def test_a_student_that_is_its_teacher_is_wholly_faithful(trained: Callable[..., Training], tmp_path: Path) -> None:
    """Agreement 1, no divergence, mCE 1, on corrupted pictures too: they are those that the teacher was asked about."""
    training, program = trained(QuarterTeacher()), quarters()
    found = artifact_fidelity(
        training, student_fidelity(training, program), program, built(program, tmp_path / "made"), NullTarget()
    )
    for who in ("student", "artifact"):
        assert found[who]["agreement"] == 1
        assert found[who]["kl"] < 1e-6
        assert found["robustness"]["networks"][who]["mean_agreement"] > 0.999
        assert found["robustness"]["networks"][who]["relative_corruption_error"] == pytest.approx(1, abs=1e-3)
    assert len(found["robustness"]["conditions"]) == 75
    assert found["robustness"]["networks"]["teacher"]["mean_corruption_error"] > 0.05
    assert found["provenance"] == "measured"
    assert found["student"]["samples"] == len(training.data.test)


def test_student_and_artifact_are_told_apart(trained: Callable[..., Training], tmp_path: Path) -> None:
    """An artifact that lost something in its build has figures of its own; those of the student stay."""
    training, program = trained(QuarterTeacher()), quarters()
    student = student_fidelity(training, program)
    found = artifact_fidelity(training, student, program, built(linear_program(3), tmp_path / "other"), NullTarget())
    assert found["student"]["agreement"] == 1
    assert found["artifact"]["agreement"] < 0.9
    networks = found["robustness"]["networks"]
    assert networks["artifact"]["mean_corruption_error"] > networks["student"]["mean_corruption_error"] + 0.1


def test_embeddings_are_likened_to_the_teachers(trained: Callable[..., Training]) -> None:
    """CKA with its null where both show an embedding, on the test split; of a shuffled teacher it is chance."""
    training = trained(QuarterTeacher())
    program = replace(linear_program(), module=small_net().eval())
    found = student_fidelity(training, program)["cka"]
    assert found["value"] > found["null_p95"]
    assert found["samples"] == len(training.data.test)
    place = training.caches[0].folder / "test.embedding.npy"
    np.save(place, np.random.default_rng(0).normal(size=np.load(place).shape).astype(np.float16))
    assert student_fidelity(training, program)["cka"]["p_value"] > 0.05


def test_without_an_embedding_there_is_a_reason(trained: Callable[..., Training]) -> None:
    """The student's last layer is no linear module; several teachers have no one embedding."""
    one = student_fidelity(trained(QuarterTeacher()), linear_program())
    assert (one["cka"], "student shows no embedding" in one["reasons"]["cka"]) == (None, True)


def test_several_teachers_are_one(trained: Callable[..., Training], tmp_path: Path) -> None:
    """The teacher is the mean of their probabilities, on corrupted pictures too."""
    training = trained(QuarterTeacher(), QuarterTeacher(scale=-1.0))
    program = quarters()
    found = artifact_fidelity(
        training, student_fidelity(training, program), program, built(program, tmp_path / "made"), NullTarget()
    )
    assert "several teachers" in found["reasons"]["cka"]
    test, first = training.data.test, CONDITIONS[1]
    pictures = normalise(corrupt(test.inputs, test.ids, *first, SEED, CONTRACT.value_max), CONTRACT)
    both = [QuarterTeacher(scale).outputs(pictures).logits for scale in (4.0, -1.0)]
    right = float((mean_logits_of(both).argmax(1) == test.labels).mean())
    assert found["robustness"]["conditions"][0]["accuracy"]["teacher"] == pytest.approx(right)


def test_a_stand_in_answers_fewer_samples(
    trained: Callable[..., Training], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only a reference executor runs is compared on a part of the samples, all three networks on the same."""
    monkeypatch.setattr("edgekd.fidelity_report.EMULATED", 40)
    monkeypatch.setattr("edgekd.fidelity_report.EMULATED_CORRUPTED", 20)
    training, program = trained(QuarterTeacher()), quarters()
    found = artifact_fidelity(
        training, student_fidelity(training, program), program, built(program, tmp_path / "made"), Emulated()
    )
    assert (found["student"]["samples"], found["artifact"]["samples"], found["robustness"]["samples"]) == (40, 40, 20)
    assert found["provenance"] == "emulated"
    assert found["robustness"]["networks"]["artifact"]["mean_agreement"] > 0.999


def test_what_cannot_be_judged_costs_no_report(trained: Callable[..., Training], tmp_path: Path) -> None:
    """An artifact that answers NaN and pictures that cannot be corrupted are None with their reasons."""
    data = synthetic()
    parts = {name: getattr(data, name) for name in ("train", "validation", "test")}
    signed = {name: replace(part, inputs=part.inputs.astype(np.float32) - 300) for name, part in parts.items()}
    training = trained(QuarterTeacher(), data=replace(data, fingerprint="signed", **signed))
    assert not list(training.caches[0].folder.glob("corrupted-*"))
    weights = np.full((CLASSES, SIDE * SIDE), np.nan, np.float32), np.zeros(CLASSES, np.float32)
    broken = built(replace(linear_program(), module=LinearModule(*weights)), tmp_path / "broken")
    found = artifact_fidelity(training, student_fidelity(training, linear_program()), linear_program(), broken, NullTarget())
    assert found["student"] is not None
    assert found["artifact"] is found["robustness"] is None
    assert "not finite" in found["reasons"]["artifact"]
    assert "raw values" in found["reasons"]["robustness"]


def test_the_teacher_is_asked_once_for_all_runs(tmp_path: Path) -> None:
    """Its answers to each corruption are kept beside the others; a fill that was cut off starts again, and leaves nothing."""
    data, teacher = synthetic(), QuarterTeacher()
    with pytest.raises(KeyboardInterrupt):
        open_cache(tmp_path, teacher, data, Augment(), SEED).fill_corrupted(QuarterTeacher(fails_after=3000), silent)
    cache = open_cache(tmp_path, teacher, data, Augment(), SEED)
    assert not list(cache.folder.glob("*.npy"))
    with pytest.raises(InputError, match="run again"):
        cache.corrupted_logits()
    assert cache.fill_corrupted(teacher, silent) == 76 * len(data.test) == teacher.asked
    assert open_cache(tmp_path, teacher, data, Augment(), SEED).fill_corrupted(teacher, silent) == 0
    assert teacher.asked == 76 * len(data.test)
    number = 1 + 5 * CORRUPTIONS.index("fog") + 2
    pictures = corrupt(data.test.inputs, data.test.ids, "fog", 3, SEED, CONTRACT.value_max)
    expected = teacher.outputs(normalise(pictures, CONTRACT)).logits
    np.testing.assert_allclose(cache.corrupted_logits()[number], expected, rtol=1e-6)
    assert not np.array_equal(cache.corrupted_logits()[number], cache.corrupted_logits()[0])


def test_a_large_split_is_thinned_alike(trained: Callable[..., Training], tmp_path: Path) -> None:
    """Of more than 300 test samples, teacher, student and artifact answer the same evenly spaced ones."""
    data = synthetic(held=400)
    training, program = trained(QuarterTeacher(), data=data), quarters()
    found = artifact_fidelity(
        training, student_fidelity(training, program), program, built(program, tmp_path / "made"), NullTarget()
    )
    assert found["robustness"]["samples"] == len(spaced(400)) == 300
    assert found["robustness"]["networks"]["student"]["mean_agreement"] > 0.999


def test_a_run_reports_it_and_measures_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every selected artifact has it in report.json and in the pages; the same command again takes it from the record."""
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("edgekd.prepare_run.Settings", lambda seed: Settings.quick(seed))
    (tmp_path / "users.py").write_text(USERS)
    project = make_project(tomllib.loads(PROJECT), tmp_path)
    first = distill(project, tmp_path / "run")
    (entry,) = first["selected"]
    assert entry["teacher_fidelity"]["artifact"]["student"]["accuracy"] == pytest.approx(entry["accuracy"]["artifact"])
    assert entry["teacher_fidelity"]["robustness"]["samples"] == first["data"]["test"]
    for name in ("report.html", "report.md", entry["artifact"] + ".card.md"):
        assert "agreement under corruption" in (tmp_path / "run" / name).read_text()

    def never(*arguments: object) -> object:
        raise AssertionError("measured again")

    monkeypatch.setattr("edgekd.stages.student_fidelity", never)
    monkeypatch.setattr("edgekd.stages.artifact_fidelity", never)
    (again,) = distill(project, tmp_path / "run")["selected"]
    assert again["teacher_fidelity"] == entry["teacher_fidelity"]
