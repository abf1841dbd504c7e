"""`images:DIR` and `digits`: the sources that need packages of the extra `train`."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekd.data.images import load_images
from edgekd.data.settings import DataSettings
from edgekd.data.sources import load_data
from edgekd.errors import InputError


def write(file: Path, value: int = 0, size: tuple[int, int] = (8, 6), mode: str = "L", **options: Any) -> None:
    """A picture of one value; size is (width, height)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 9)).save(file, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten grey pictures of each of two classes; the value is ten times the label plus the number."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(10):
            write(tmp_path / "d" / name / f"{number}.png", 10 * label + number)
    (tmp_path / "d" / "cat" / "Thumbs.db").write_bytes(b"no picture")
    return tmp_path / "d"


def test_a_folder_is_a_class(folder: Path) -> None:
    """Grey stays grey; classes and pictures are sorted by name; other files are passed over."""
    found = load_images(folder, None)
    assert (found.inputs.shape, found.classes, found.image_size) == ((20, 1, 6, 8), ("cat", "dog"), (6, 8))
    np.testing.assert_array_equal(found.inputs[:, 0, 0, 0], np.arange(20))
    np.testing.assert_array_equal(found.labels, np.arange(20) // 10)


def test_one_coloured_picture_makes_all_rgb(folder: Path) -> None:
    """Channels come first; a grey picture has its value in each."""
    write(folder / "dog" / "a.png", 200, mode="RGB")
    found = load_images(folder, None)
    assert found.inputs.shape == (21, 3, 6, 8)
    assert found.inputs[-1, :, 0, 0].tolist() == [200, 0, 9]
    assert found.inputs[3, :, 0, 0].tolist() == [3, 3, 3]


def test_resized_to_height_and_width(folder: Path) -> None:
    """`size` is (height, width); pictures of other sizes are then welcome."""
    write(folder / "cat" / "big.jpg", 77, size=(50, 40))
    with pytest.raises(InputError, match=r"big.jpg is 40x50, 0.png is 6x8: set \[data\] size"):
        load_images(folder, None)
    found = load_images(folder, (4, 5))
    assert found.inputs.shape == (21, 1, 4, 5)
    assert abs(int(found.inputs[10, 0, 2, 2]) - 77) <= 1


def test_turned_as_exif_says(tmp_path: Path) -> None:
    """A photograph that is stored lying is stood up before anything else, also where no size is asked for."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        write(tmp_path / name / "1.jpg", 5, size=(8, 6), exif=exif)
    assert load_images(tmp_path, None).inputs.shape == (2, 1, 8, 6)


def test_train_and_test_folders(folder: Path, tmp_path: Path) -> None:
    """With `train` and `test` in it, the folder has a test set of its own."""
    root = tmp_path / "both"
    root.mkdir()
    folder.rename(root / "train")
    write(root / "test" / "dog" / "x.png", 99)
    data = load_data(DataSettings(source="images:both"), base=tmp_path)
    assert (data.test.labels.tolist(), data.test.ids.tolist(), len(data.train)) == ([1], [20], 18)
    assert data.contract.shape == (1, 6, 8)


def bomb(side: int) -> bytes:
    """A PNG of few bytes whose header speaks of `side` × `side` pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def test_broken_pictures_are_named(folder: Path) -> None:
    """Noise, a cut file, another format than the name says, a bomb and 16 bits a pixel: the file is named."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 80)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "cat" / "0.png")
    whole = (folder / "cat" / "0.png").read_bytes()
    deep, wrong = folder / "deep.png", folder / "cat" / "bad.png"
    Image.new("I;16", (8, 6)).save(deep)
    write(folder / "cat" / "t.gif")
    gif = (folder / "cat" / "t.gif").read_bytes()
    small = [(b"noise", "not a picture"), (whole[:-1000], "not a picture"), (gif, "not a picture"), (b"", "not a picture")]
    large = [(bomb(8_000), "pixels, expected 50,000,000 at most"), (bomb(20_000), "decompression bomb")]
    for content, message in [*small, *large, (deep.read_bytes(), "8 bits a channel")]:
        wrong.write_bytes(content)
        with pytest.raises(InputError, match=rf"bad\.png .*{message}") as caught:
            load_images(folder, (4, 4))
        assert "\n" not in str(caught.value)


def test_links_out_of_the_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    """A link inside the folder is followed; one that leads out, as a file or as a folder, is refused."""
    (folder / "cat" / "again.png").symlink_to(folder / "cat" / "0.png")
    assert len(load_images(folder, None).labels) == 21
    write(tmp_path / "secret" / "s.png")
    (folder / "dog" / "s.png").symlink_to(tmp_path / "secret" / "s.png")
    with pytest.raises(InputError, match=r"s\.png is a link out of"):
        load_images(folder, None)
    (folder / "dog" / "s.png").unlink()
    (folder / "eel").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=r"s\.png is a link out of"):
        load_images(folder, None)


def test_folders_without_pictures(folder: Path, tmp_path: Path) -> None:
    """An empty class, one class only, and no folder at all."""
    (folder / "eel").mkdir()
    with pytest.raises(InputError, match=r"eel has no picture"):
        load_images(folder, None)
    with pytest.raises(InputError, match="expected one for each of at least two classes"):
        load_images(tmp_path, None)
    with pytest.raises(InputError, match="does not exist"):
        load_images(tmp_path / "none", None)


def test_digits() -> None:
    """1,797 pictures with values 0 to 16, in balanced splits."""
    data = load_data(DataSettings(source="digits"), base=Path())
    assert (len(data.train), len(data.validation), len(data.test)) == (1294, 144, 359)
    assert (data.contract.shape, data.contract.value_max, data.train.inputs.dtype) == ((1, 8, 8), 16.0, np.uint8)
    assert data.train.inputs.max() == 16
    assert np.bincount(data.validation.labels).min() >= 13
