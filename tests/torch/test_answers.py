"""A training is told the rows that belong to its pictures, and no more than its losses look at."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import AUGMENT, DATA, cache_of

from edgekd.distill.answers import Answers, mean_logits_of
from edgekd.distill.cache import open_cache
from edgekd.errors import InputError
from edgekd.teachers import FeatureRequest, TeacherOutputs
from edgekd.teachers.loaded import LoadedTeacher


def test_rows_are_those_that_were_asked_for(tmp_path: Path) -> None:
    """In their order, of the view, of each teacher; half-precision answers come as float32."""
    request = FeatureRequest(energy=True)
    caches = cache_of(tmp_path, 0, request), cache_of(tmp_path, 1, request)
    answers = Answers(caches=caches, embedding=True, request=request, keys=("stride2",))
    rows = np.array([5, 200, 5])
    for view in (0, 1):
        told = answers.view(view)(rows, lambda values: torch.from_numpy(np.ascontiguousarray(values)))
        for found, cache in zip(told, caches, strict=True):
            assert np.array_equal(found.logits, cache.logits(view)[rows])
            assert found.embedding.dtype == torch.float32
            assert list(found.features) == ["stride2"]
            assert np.array_equal(found.features["stride2"], cache.features(view, request)["stride2"][rows])
    assert not np.array_equal(caches[0].logits(0)[rows], caches[0].logits(1)[rows])


def test_nothing_is_read_that_no_loss_looks_at(tmp_path: Path) -> None:
    """Logits alone where nothing else is asked for, though the cache has more."""
    (found,) = Answers(caches=(cache_of(tmp_path, 0, FeatureRequest()),)).view(0)(np.arange(3), torch.from_numpy)
    assert (found.embedding, found.features) == (None, {})


def test_maps_that_were_not_cached_are_named(tmp_path: Path) -> None:
    """A request that nobody filled is no silent training without maps."""
    answers = Answers(caches=(cache_of(tmp_path),), request=FeatureRequest(paths=("1",)), keys=("1",))
    with pytest.raises(InputError, match="view-000"):
        answers.view(0)


def test_several_teachers_answer_with_their_mean_probability() -> None:
    """Whatever constant a teacher adds to its logits; a single one's logits are its own."""
    one, other = np.array([[2.0, 0.0]], np.float32), np.array([[-101.0, -100.0]], np.float32)
    p = np.exp(one) / np.exp(one).sum(), np.exp(other + 100) / np.exp(other + 100).sum()
    assert np.allclose(np.exp(mean_logits_of([one, other])), (p[0] + p[1]) / 2, rtol=1e-5)
    assert mean_logits_of([one]) is one


def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    """Infinite targets would make the loss no number, and blame the learning rate; a recipe that does not look goes on."""

    def answer(inputs: np.ndarray) -> TeacherOutputs:
        big = np.full((len(inputs), 2), 1e5, np.float32)
        return TeacherOutputs(logits=np.zeros((len(inputs), 4), np.float32), embedding=big)

    teacher = LoadedTeacher(name="t", params=None, fingerprint="f", runtime="numpy", answer=answer)
    cache = open_cache(tmp_path, teacher, DATA, AUGMENT, 0)
    cache.fill(teacher, 1, lambda title, done, total: None)
    rows = np.arange(4)
    with pytest.raises(InputError, match="embedding goes beyond 65504"):
        Answers(caches=(cache,), embedding=True).view(0)(rows, torch.from_numpy)
    assert Answers(caches=(cache,)).view(0)(rows, torch.from_numpy)[0].logits.shape == (4, 4)
