"""Corruptions: functions of (seed, sample, corruption, severity) alone, at any size, always stronger with the severity."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.data import RawArray
from edgekd.errors import InputError
from edgekd.fidelity.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from edgekd.fidelity.fields import Draws, apply_matrices, interpolation_matrix

NAMES = st.sampled_from(CORRUPTIONS)
SEVERITY = st.sampled_from(SEVERITIES)
PICTURES = np.random.default_rng(0).integers(0, 256, (30, 2, 9, 7)).astype(np.uint8)
IDS = np.arange(30, dtype=np.int64) * 11


def digits() -> RawArray:
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn's digits")
    values: RawArray = datasets.load_digits().images[:400, None].astype(np.uint8)
    return values


def garments() -> RawArray:
    """As Fashion-MNIST: 28 x 28, grey, 256 levels, shapes with a texture on black; their outlines are real digits'."""
    outlines = digits()[:200].astype(np.float32) / np.float32(16)
    to_28 = interpolation_matrix(28, 8)
    texture = np.random.default_rng(1).uniform(0.5, 1, (200, 1, 28, 28))
    return np.rint(255 * apply_matrices(outlines, to_28, to_28) * texture).astype(np.uint8)


def photographs() -> RawArray:
    """Pieces of 3 x 64 x 64 of two photographs."""
    datasets = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn's photographs")
    pytest.importorskip("PIL", reason="needs Pillow to read photographs")
    photos = datasets.load_sample_images().images
    pieces = [photo[y : y + 64, x : x + 64] for photo in photos for y in range(0, 320, 64) for x in range(0, 576, 96)]
    return np.moveaxis(np.stack(pieces), -1, 1)


def test_there_are_fifteen() -> None:
    """As many as in ImageNet-C, so that a mean over them is one."""
    assert len(CORRUPTIONS) == len(set(CORRUPTIONS)) == 15


@pytest.mark.parametrize(("pictures", "value_max"), [(digits, 16.0), (garments, 255.0), (photographs, 255.0)])
def test_each_severity_changes_more_than_the_last(pictures: Callable[[], RawArray], value_max: float) -> None:
    """In mean square, for every corruption, the first more than nothing: on digits, textured shapes and photographs."""
    inputs = pictures()
    for name in CORRUPTIONS:
        changed = [
            np.mean((corrupt(inputs, np.arange(len(inputs)), name, severity, 0, value_max).astype(float) - inputs) ** 2)
            for severity in SEVERITIES
        ]
        assert [0.0, *changed] == sorted({0.0, *changed}), name


@given(rows=st.lists(st.integers(0, 29), min_size=1, max_size=40), name=NAMES, severity=SEVERITY, seed=st.integers(-5, 2**64))
def test_a_picture_does_not_depend_on_its_batch(rows: list[int], name: str, severity: int, seed: int) -> None:
    """Any selection, in any order, with repeats, gives the pictures that the whole batch gives."""
    whole = corrupt(PICTURES, IDS, name, severity, seed, 255.0)
    np.testing.assert_array_equal(whole[rows], corrupt(PICTURES[rows], IDS[rows], name, severity, seed, 255.0))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_large_batches_are_split_without_a_trace(name: str) -> None:
    """Pictures beyond what is worked on at once are those that they are alone."""
    inputs, ids = np.random.default_rng(2).random((12, 3, 160, 160), np.float32), np.arange(12)
    whole = corrupt(inputs, ids, name, 3, 0, 1.0)
    for row in (0, 2, 3, 11):
        alone = corrupt(inputs[row : row + 1], ids[row : row + 1], name, 3, 0, 1.0)[0]
        np.testing.assert_array_equal(whole[row], alone)


@given(
    shape=st.tuples(st.integers(0, 3), st.sampled_from([1, 3, 5]), st.integers(4, 40), st.integers(4, 40)),
    kind=st.sampled_from([(np.uint8, 255.0), (np.uint8, 16.0), (np.float32, 1.0), (np.float64, 255.0), (np.uint16, 1023.0)]),
    name=NAMES,
    severity=SEVERITY,
)
def test_shape_type_and_range_stay(shape: tuple[int, ...], kind: tuple[type, float], name: str, severity: int) -> None:
    """Any size, number of channels, type and maximum; what was given is not written to."""
    dtype, value_max = kind
    inputs: RawArray = (np.random.default_rng(3).random(shape) * value_max).astype(dtype)
    kept = inputs.copy()
    corrupted = corrupt(inputs, np.arange(shape[0]), name, severity, 0, value_max)
    assert (corrupted.shape, corrupted.dtype) == (inputs.shape, inputs.dtype)
    assert np.isfinite(corrupted).all()
    assert ((corrupted >= 0) & (corrupted <= value_max)).all()
    np.testing.assert_array_equal(kept, inputs)


@pytest.mark.parametrize(
    "name", [name for name in CORRUPTIONS if name not in ("brightness", "contrast", "gaussian_blur", "shrink", "pixelate")]
)
def test_seeds_and_samples_differ(name: str) -> None:
    """Whatever is drawn at random differs between two seeds, and between two samples of the same picture."""
    same = np.repeat(PICTURES[:1], 6, axis=0)
    first, second = (corrupt(same, np.arange(6), name, 5, seed, 255.0) for seed in (0, 1))
    assert not np.array_equal(first, second)
    assert len({picture.tobytes() for picture in first}) > 1


def test_draws_are_golden() -> None:
    """The same numbers on every machine and version of NumPy, or figures of two runs could not be compared."""
    bits = Draws(7, 3, np.array([0, 60_000])).uniform(3) * 2**24
    assert bits.tolist() == [[15472113.0, 8808685.0, 15671679.0], [7562792.0, 9645198.0, 10667596.0]]


def test_draws_go_on_where_they_ended() -> None:
    """Two takes are the parts of one: no number comes twice."""
    parts, ids = Draws(0, 0, np.arange(5)), np.arange(5)
    np.testing.assert_array_equal(np.hstack([parts.uniform(2), parts.uniform(3)]), Draws(0, 0, ids).uniform(5))


def test_draws_are_uniform_and_normal() -> None:
    """Within five standard errors of the moments of their distributions, never 0."""
    random, count = Draws(0, 0, np.arange(300)), 300_000
    uniform, normal = random.uniform(1000), random.normal(1000)
    assert 0 < uniform.min() <= uniform.max() <= 1
    assert abs(uniform.mean() - 1 / 2) < 5 * np.sqrt(1 / 12 / count)
    assert abs(normal.mean()) < 5 * np.sqrt(1 / count)
    assert abs(np.mean(normal**2) - 1) < 5 * np.sqrt(2 / count)
    assert abs(np.mean(normal**4) - 3) < 5 * np.sqrt(96 / count)
    assert abs(np.corrcoef(uniform[:, :-1].ravel(), uniform[:, 1:].ravel())[0, 1]) < 5 / np.sqrt(count)


def flat(value: float, count: int = 200, side: int = 32) -> RawArray:
    return np.full((count, 1, side, side), value, np.float32)


def under(inputs: RawArray, name: str, severity: int) -> RawArray:
    return corrupt(inputs, np.arange(len(inputs)), name, severity, 0, 1.0)


def test_noises_have_the_strength_of_their_level() -> None:
    """Of ImageNet-C: sigma 0.08; variance of the light over 60 photons; 3 % lost, half of it white."""
    assert under(flat(0.5), "gaussian_noise", 1).std() == pytest.approx(0.08, rel=0.01)
    assert under(flat(0.5), "shot_noise", 1).var() == pytest.approx(0.5 / 60, rel=0.02)
    assert not under(flat(0), "shot_noise", 5).any()
    impulses = under(flat(0.5), "impulse_noise", 1)
    assert np.mean(impulses != 0.5) == pytest.approx(0.03, rel=0.05)
    assert np.mean(impulses == 1) == pytest.approx(0.015, rel=0.08)


def test_light_changes_by_its_level() -> None:
    """Brightness adds 0.1 and stops at white; contrast keeps 0.7 of the deviations and the mean."""
    np.testing.assert_allclose(under(flat(0.5), "brightness", 1), 0.6, atol=1e-6)
    assert (under(flat(0.95), "brightness", 1) == 1).all()
    inputs = np.random.default_rng(4).random((5, 3, 16, 16), np.float32)
    pale = under(inputs, "contrast", 1)
    np.testing.assert_allclose(pale.mean(axis=(2, 3)), inputs.mean(axis=(2, 3)), atol=1e-6)
    np.testing.assert_allclose(pale.std(axis=(2, 3)), 0.7 * inputs.std(axis=(2, 3)), rtol=1e-4)


def test_integers_are_rounded() -> None:
    """5 of 16 and a tenth of 16 more is 6.6: nearer to 7. Cut off, every corruption would darken a little."""
    assert (corrupt(np.full((1, 1, 8, 8), 5, np.uint8), np.arange(1), "brightness", 1, 0, 16.0) == 7).all()


def test_blurs_keep_the_light_and_spread_it() -> None:
    """A lit square keeps its sum and its place. A lens spreads it to all sides, motion along one line, 0.3 of 64 pixels long."""
    dots = flat(0, side=64)
    dots[:, :, 30:34, 30:34] = 1
    lens, motion = under(dots, "gaussian_blur", 5), under(dots, "motion_blur", 5)
    for blurred in (lens, motion):
        np.testing.assert_allclose(blurred.sum(axis=(1, 2, 3)), 16, rtol=1e-3)
        np.testing.assert_allclose(middles(blurred), 31.5, atol=0.01)
    across, along = (spreads(motion) - spreads(dots)).T
    np.testing.assert_allclose(np.sqrt(12 * along), 0.3 * 64, rtol=0.1)
    assert across.max() < 1
    np.testing.assert_allclose(spreads(lens) - spreads(dots), (0.08 * 64) ** 2 + 1 / 9, rtol=0.01)


def middles(pictures: RawArray) -> RawArray:
    """Centres of light, (N, 2)."""
    light, places = pictures.sum(axis=(1, 2, 3)), np.arange(pictures.shape[-1])
    y, x = (pictures.sum(axis=(1, axis)) @ places / light for axis in (3, 2))
    return np.stack([y, x], axis=1)


def spreads(pictures: RawArray) -> RawArray:
    """Variances of the light's place along its two main axes, the smaller first, (N, 2)."""
    places = np.arange(pictures.shape[-1])
    found = []
    for picture, (y, x) in zip(pictures.sum(axis=1), middles(pictures), strict=True):
        dy, dx = places - y, places - x
        cross = dy @ picture @ dx
        moments = np.array([[dy**2 @ picture.sum(axis=1), cross], [cross, picture.sum(axis=0) @ dx**2]]) / picture.sum()
        found.append(np.linalg.eigvalsh(moments))
    return np.array(found)


def test_moves_go_as_far_as_their_level() -> None:
    """A dot moves by a fifth of the side, in all directions; by 30 degrees, to both sides; to 0.6 of its distance."""
    dots = flat(0, side=41)
    dots[:, :, 20, 20] = 1
    moved = middles(under(dots, "translate", 4)) - 20
    np.testing.assert_allclose(np.hypot(*moved.T), 0.2 * 41, atol=1e-3)
    assert {tuple(signs) for signs in np.sign(moved).tolist()} == {(-1, -1), (-1, 1), (1, -1), (1, 1)}
    dots = flat(0, side=41)
    dots[:, :, 19:22, 29:32] = 1  # ten pixels to the right of the middle
    turned = middles(under(dots, "rotate", 3)) - 20
    angles = np.degrees(np.arctan2(turned[:, 0], turned[:, 1]))
    assert set(np.rint(angles)) == {-30, 30}
    np.testing.assert_allclose(middles(under(dots, "shrink", 4)) - 20, [[0, 6]] * 200, atol=0.1)


def test_what_covers_covers_its_share() -> None:
    """Drops, a twentieth of the picture; a black square, three tenths of the side; fog leaves 0.7 of black to white."""
    assert np.mean(under(flat(1), "spatter", 1) == 0.5) == pytest.approx(0.05, abs=0.005)
    covered = 1 - under(flat(1), "occlusion", 2)
    np.testing.assert_allclose(covered.sum(axis=(1, 2, 3)), (0.3 * 32) ** 2, rtol=1e-3)
    black, white = under(flat(0), "fog", 1), under(flat(1), "fog", 1)
    np.testing.assert_allclose(white - black, 0.7, atol=1e-5)
    assert 0.3 * 0.5 <= black.min() < black.max() <= 0.3


def test_pixels_become_cells() -> None:
    """Of 32 x 32 pixels 8 x 8 cells are left, each of its own mean."""
    inputs = np.random.default_rng(5).random((4, 3, 32, 32), np.float32)
    cells = inputs.reshape(4, 3, 8, 4, 8, 4).mean(axis=(3, 5))
    np.testing.assert_allclose(under(inputs, "pixelate", 5), cells.repeat(4, axis=2).repeat(4, axis=3), atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "name", "severity", "value_max", "message"),
    [
        ((2, 1, 8, 8), "gausian_noise", 1, 1.0, "'gausian_noise' is not known (did you mean 'gaussian_noise'?)"),
        ((2, 1, 8, 8), "fog", 0, 1.0, "severity 0 of 'fog': expected 1 to 5"),
        ((2, 1, 8, 8), "fog", 6, 1.0, "severity 6 of 'fog'"),
        ((2, 30), "fog", 1, 1.0, "pictures (N, C, H, W) of 4 x 4 pixels or more, found (2, 30)"),
        ((2, 1, 3, 8), "fog", 1, 1.0, "found (2, 1, 3, 8)"),
        ((2, 1, 8, 8), "fog", 1, 0.5, "raw values from 0 to 0.5, found 1 to 1"),
        ((3, 1, 8, 8), "fog", 1, 1.0, "3 pictures have ids of shape (2,)"),
    ],
)
def test_what_cannot_be_corrupted_is_refused(
    shape: tuple[int, ...], name: str, severity: int, value_max: float, message: str
) -> None:
    """The message says what was found and what was expected."""
    with pytest.raises(InputError) as caught:
        corrupt(np.ones(shape, np.float32), np.arange(2), name, severity, 0, value_max)
    assert message in str(caught.value)


@pytest.mark.parametrize("value", [-0.1, np.nan])
def test_normalised_or_undefined_values_are_refused(value: float) -> None:
    """Cut off at 0 they would silently be other pictures."""
    with pytest.raises(InputError, match="raw values from 0 to 1"):
        corrupt(np.full((1, 1, 8, 8), value, np.float32), np.arange(1), "fog", 1, 0, 1.0)
