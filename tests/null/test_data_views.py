"""Views are functions of (seed, sample, view) alone, and stay what they are: caches depend on them."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.data import RawArray
from edgekd.data.views import GAMMA, MASK, Augment, draws, mix, permutation, render

PICTURES = np.random.default_rng(0).integers(1, 256, (40, 2, 6, 5)).astype(np.uint8)
IDS = np.arange(40, dtype=np.int64) * 7
BOTH = Augment(shift=2, flip=True)


def test_mix_is_splitmix64() -> None:
    """The first outputs for seed 1234567 are those that implementations of splitmix64 agree on."""
    states = np.array([(1234567 + (i + 1) * GAMMA) & MASK for i in range(3)], np.uint64)
    assert mix(states).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_draws_are_golden() -> None:
    """A change of the hash would make every teacher cache wrong without a word: these values must not change."""
    expected = [15036444910693770704, 2027840764165633342, 10809441513133306468]
    assert expected == draws(7, 3, np.array([0, 1, 60_000])).tolist()


def test_pictures_are_golden() -> None:
    """The same for whole pictures: hash, shift, flip and padding together."""
    pictures = render(np.arange(4 * 30, dtype=np.uint8).reshape(4, 1, 6, 5), np.arange(4), 1, 0, BOTH)
    assert hashlib.sha256(pictures.tobytes()).hexdigest()[:16] == "44c345fa59f1f4a0"


def test_permutation_is_golden() -> None:
    """The order of an epoch does not depend on the version of NumPy, nor change between versions of edgekd."""
    assert permutation(8, 0, 0).tolist() == [0, 6, 7, 4, 3, 2, 1, 5]


@given(rows=st.lists(st.integers(0, 39), min_size=1, max_size=60), view=st.integers(0, 500), seed=st.integers(-5, 2**64))
def test_a_picture_does_not_depend_on_its_batch(rows: list[int], view: int, seed: int) -> None:
    """Any selection, in any order, with repeats, gives the pictures that the whole batch gives."""
    whole = render(PICTURES, IDS, view, seed, BOTH)
    np.testing.assert_array_equal(whole[rows], render(PICTURES[rows], IDS[rows], view, seed, BOTH))


@given(shift=st.integers(0, 3), flip=st.booleans(), view=st.integers(0, 20))
def test_a_picture_is_a_shifted_mirrored_original(shift: int, flip: bool, view: int) -> None:
    """Every picture is one of the (2·shift + 1)² moved originals, zeros coming in, mirrored only where that is asked for."""
    rendered = render(PICTURES, IDS, view, 0, Augment(shift=shift, flip=flip))
    padded = np.pad(PICTURES, ((0, 0), (0, 0), (shift, shift), (shift, shift)))
    places = range(2 * shift + 1)
    for row in range(len(PICTURES)):
        moved = [padded[row, :, y : y + 6, x : x + 5] for y in places for x in places]
        allowed = moved + ([picture[..., ::-1] for picture in moved] if flip else [])
        assert any(np.array_equal(rendered[row], picture) for picture in allowed)


def test_all_places_and_both_sides_come_up_equally_often() -> None:
    """Over many samples each shift and each side has its share: a single lit pixel shows where it went."""
    count = 50_000
    dots = np.zeros((count, 1, 5, 6), np.uint8)
    dots[:, :, 2, 2] = 1
    where = np.argwhere(render(dots, np.arange(count), 0, 0, Augment(shift=1, flip=True)))[:, 2:]
    found = np.unique(where, axis=0, return_counts=True)[1]
    # y in 1..3; x in 1..3, or mirrored 2..4: columns 1 and 4 once, 2 and 3 twice, of 18 places.
    expected = np.tile([1, 2, 2, 1], 3) * count / 18
    assert np.abs(found - expected).max() < 5 * np.sqrt(expected.max())


def test_seeds_and_views_differ() -> None:
    """Another seed or another view gives other pictures."""
    first = render(PICTURES, IDS, 0, 0, BOTH)
    assert not np.array_equal(first, render(PICTURES, IDS, 1, 0, BOTH))
    assert not np.array_equal(first, render(PICTURES, IDS, 0, 1, BOTH))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_type_and_original_stay(dtype: type) -> None:
    """The type is kept, and the samples that were given are not written to."""
    given_pictures: RawArray = PICTURES.astype(dtype)
    kept = given_pictures.copy()
    assert render(given_pictures, IDS, 0, 0, BOTH).dtype == dtype
    np.testing.assert_array_equal(kept, given_pictures)


def test_features_pass_unchanged() -> None:
    """Samples of one dimension are no pictures: nothing is moved."""
    features = np.ones((3, 4), np.float32)
    np.testing.assert_array_equal(features, render(features, np.arange(3), 0, 0, BOTH))


@given(n=st.integers(1, 200), epoch=st.integers(0, 50), seed=st.integers(0, 2**63))
def test_permutation_has_every_sample_once(n: int, epoch: int, seed: int) -> None:
    """An epoch's order is a permutation, whatever the seed."""
    assert sorted(permutation(n, epoch, seed).tolist()) == list(range(n))


def test_epochs_are_ordered_differently() -> None:
    """No two epochs or seeds share their order."""
    orders = {tuple(permutation(50, epoch, seed)) for epoch in range(5) for seed in range(5)}
    assert len(orders) == 25
