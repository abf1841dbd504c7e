"""The supplied teacher on the real data."""

from pathlib import Path

import numpy as np
import pytest

from edgekd.data import Data, normalise
from edgekd.data.fashion_mnist import DEBIAN
from edgekd.data.settings import DataSettings
from edgekd.data.sources import load_data
from edgekd.teachers.check import check_teacher
from edgekd.teachers.load import load_teacher

PROJECT = Path(__file__).parents[2] / "benchmarks" / "fashion_mnist"


@pytest.fixture(scope="module")
def data() -> Data:
    if not DEBIAN.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist: a test fetches nothing")
    return load_data(DataSettings(source="fashion-mnist", validation="validation_indices.txt"), base=PROJECT)


def test_splits_and_contract(data: Data) -> None:
    """The 5,000 pictures that the teacher never saw are held out; the test set is the data set's own."""
    assert (len(data.train), len(data.validation), len(data.test)) == (55_000, 5_000, 10_000)
    assert (data.contract.mean, data.contract.std, data.contract.value_max) == ((0.2860,), (0.3530,), 255.0)
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    assert not np.isin(data.validation.ids, data.train.ids).any()
    assert data.test.ids.min() == 60_000


def test_the_teacher_scores(data: Data) -> None:
    """Above 0.93 on 1,000 test pictures, with an embedding of 128, in whichever runtime."""
    teacher = load_teacher("teacher:resnet", "teacher.safetensors", data=data, base=PROJECT, seed=0)
    assert teacher.params == 696_042
    assert check_teacher(teacher, data, limit=200).embedding_size == 128
    found = teacher.outputs(normalise(data.test.inputs[:1000], data.contract)).logits
    assert (found.argmax(axis=1) == data.test.labels[:1000]).mean() > 0.93
