"""The teacher's answers belong to exact pictures: in any batch, any order and any process."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic_data import QuarterTeacher, synthetic

from edgekd.data import normalise
from edgekd.data.views import Augment, render
from edgekd.distill.cache import TeacherCache, open_cache
from edgekd.errors import InputError, StorageError

AUGMENT = Augment(shift=2, flip=True)
DATA = synthetic(train=600)
VIEWS = 3


def silent(title: str, done: int, total: int) -> None:
    pass


def filled(root: Path) -> TeacherCache:
    teacher = QuarterTeacher()
    cache = open_cache(root, teacher, DATA, AUGMENT, 0)
    cache.fill(teacher, VIEWS, silent)
    return cache


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> TeacherCache:
    return filled(tmp_path_factory.mktemp("cache"))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.integers(0, len(DATA.train) - 1), min_size=1, max_size=70), view=st.integers(0, VIEWS - 1))
def test_a_row_is_the_answer_for_its_picture(rows: list[int], view: int, cache: TeacherCache) -> None:
    """Rendered in a batch of any composition, a row's picture gives the row's cached answer."""
    train = DATA.train
    pictures = render(train.inputs[rows], train.ids[rows], view, cache.seed, AUGMENT)
    fresh = QuarterTeacher().outputs(normalise(pictures, DATA.contract))
    np.testing.assert_allclose(cache.logits(view)[rows], fresh.logits, rtol=1e-6, atol=1e-6)
    embedding = cache.embedding(view)
    assert embedding is not None
    np.testing.assert_allclose(embedding[rows], fresh.embedding, rtol=2e-3, atol=2e-3)


def test_views_differ_and_validation_is_as_it_is(cache: TeacherCache) -> None:
    """Each view is another picture; the validation split is not varied."""
    assert not np.array_equal(cache.logits(0), cache.logits(1))
    expected = QuarterTeacher().outputs(normalise(DATA.validation.inputs, DATA.contract)).logits
    np.testing.assert_allclose(cache.validation_logits(), expected, rtol=1e-6, atol=1e-6)
    assert cache.logits(0).dtype == np.float32


def test_the_teacher_is_asked_once(tmp_path: Path) -> None:
    """Filling again asks nothing; more views ask for those only."""
    teacher = QuarterTeacher()
    cache = open_cache(tmp_path, teacher, DATA, AUGMENT, 0)
    assert cache.fill(teacher, 2, silent) == teacher.asked == 2 * len(DATA.train) + len(DATA.validation) + len(DATA.test)
    assert cache.fill(teacher, 2, silent) == 0
    assert cache.fill(teacher, 3, silent) == len(DATA.train)


@pytest.mark.parametrize("after", [0, 300, 900, 1500, 1850])
def test_an_interrupted_fill_goes_on(after: int, tmp_path: Path, cache: TeacherCache) -> None:
    """Wherever it was cut, only whole views were kept, and the end is the same to the last bit."""
    dying = QuarterTeacher(fails_after=after)
    cut = open_cache(tmp_path, dying, DATA, AUGMENT, 0)
    with pytest.raises(KeyboardInterrupt):
        cut.fill(dying, VIEWS, silent)
    assert not list(cut.folder.glob(".*.npy"))
    whole = len(list(cut.folder.glob("view-*.logits.npy")))
    assert whole == after // len(DATA.train)
    cut.fill(QuarterTeacher(), VIEWS, silent)
    for view in range(VIEWS):
        assert np.array_equal(cut.logits(view), cache.logits(view))


def test_whatever_answers_depend_on_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """Another teacher, data, augmentation, seed or normalisation never finds this one's answers; the same does."""
    contract = replace(DATA.contract, mean=(0.4,))
    variants = [
        open_cache(tmp_path, QuarterTeacher(), DATA, AUGMENT, 0),
        open_cache(tmp_path, QuarterTeacher(scale=5.0), DATA, AUGMENT, 0),
        open_cache(tmp_path, QuarterTeacher(), synthetic(seed=1), AUGMENT, 0),
        open_cache(tmp_path, QuarterTeacher(), DATA, Augment(shift=1, flip=True), 0),
        open_cache(tmp_path, QuarterTeacher(), DATA, Augment(shift=2), 0),
        open_cache(tmp_path, QuarterTeacher(), DATA, AUGMENT, 1),
        open_cache(tmp_path, QuarterTeacher(), replace(DATA, contract=contract), AUGMENT, 0),
    ]
    assert len({cache.folder for cache in variants}) == len(variants)
    assert open_cache(tmp_path, QuarterTeacher(), synthetic(train=600), AUGMENT, 0).folder == variants[0].folder


def test_verify_accepts_what_is_whole(cache: TeacherCache) -> None:
    """The difference of a whole cache is that of float32 sums."""
    assert cache.verify(QuarterTeacher(), VIEWS) < 1e-5


def test_verify_detects_another_answer(tmp_path: Path) -> None:
    """A changed row among those recomputed, and another teacher's answers, are input errors."""
    cache = filled(tmp_path)
    with pytest.raises(InputError, match="delete it"):
        cache.verify(QuarterTeacher(scale=4.1), VIEWS)
    place = cache.folder / "view-001.logits.npy"
    answers = np.load(place)
    answers[17, 2] += 0.5
    np.save(place, answers)
    with pytest.raises(InputError, match="delete it"):
        cache.verify(QuarterTeacher(), VIEWS, rows=len(DATA.train))


@pytest.mark.parametrize(
    "content", [b"", b"noise" * 99, b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"]
)
def test_a_damaged_file_is_an_input_error(content: bytes, tmp_path: Path) -> None:
    """An empty file, noise and a pickled array name the file and what to do; nothing is unpickled."""
    cache = filled(tmp_path)
    (cache.folder / "view-000.logits.npy").write_bytes(content)
    with pytest.raises(InputError, match="delete the folder"):
        cache.logits(0)


def test_a_truncated_file_is_an_input_error(tmp_path: Path) -> None:
    """Half a view is not taken for a whole one."""
    cache = filled(tmp_path)
    place = cache.folder / "view-000.logits.npy"
    os.truncate(place, place.stat().st_size // 2)
    with pytest.raises(InputError, match="delete the folder"):
        cache.logits(0)


def test_a_root_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    """A file where the cache's folder should be."""
    (tmp_path / "root").touch()
    with pytest.raises(StorageError, match="teacher cache"):
        open_cache(tmp_path / "root", QuarterTeacher(), DATA, AUGMENT, 0)
