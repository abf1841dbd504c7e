"""Data source `images:DIR`: a folder for each class, or `train` and `test` folders with such folders in them."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgekd.data.splits import Samples
from edgekd.errors import InputError, first_line
from edgekd.plugins import need

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = {".bmp": "BMP", ".gif": "GIF", ".jpeg": "JPEG", ".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
LARGEST_PIXELS = 50_000_000
"""Of one picture: above any camera's usual output, below what would fill the memory of a small machine when unpacked."""
EXIF_ORIENTATION = 0x0112
EXIF_TRANSPOSED = 5
"""From this orientation on, height and width are swapped."""
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L")


def load_images(folder: Path, size: tuple[int, int] | None) -> Samples:
    """Grey or RGB pictures, uint8, turned as their EXIF says, resized to `size` (height, width), bilinear with antialiasing.

    All are taken as grey if all are grey. Raises InputError for a picture that cannot be read, is too large when unpacked,
    has more than 8 bits, or lies outside of the folder.
    """
    need("PIL", "train", "data source 'images'")
    if not folder.is_dir():
        raise InputError(f"folder of images {folder} does not exist")
    has_test = (folder / "train").is_dir() and (folder / "test").is_dir()
    root = folder / "train" if has_test else folder
    classes = _classes(root)
    files, labels = _list(root, classes, folder)
    _check_every_class(root, classes, labels)
    size, mode = _size_and_mode(files, size)
    test = None
    if has_test:
        test_files, test_labels = _list(folder / "test", classes, folder)
        test = (_read_all(test_files, size, mode), test_labels)
    return Samples(
        name=folder.name,
        inputs=_read_all(files, size, mode),
        labels=labels,
        classes=classes,
        value_max=255.0,
        test=test,
        image_size=size,
    )


def _classes(root: Path) -> tuple[str, ...]:
    classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise InputError(f"{root} has {len(classes)} folders, expected one for each of at least two classes")
    return tuple(classes)


def _list(root: Path, classes: tuple[str, ...], inside: Path) -> tuple[list[Path], NDArray[np.int64]]:
    """The pictures in each class's folder, sorted by name, and their labels."""
    files, labels, limits = [], [], inside.resolve()
    for label, name in enumerate(classes):
        for file in sorted((root / name).rglob("*")):
            if file.suffix.lower() not in FORMATS or file.name.startswith("."):
                continue
            if not file.resolve().is_relative_to(limits):
                raise InputError(f"{file} is a link out of {inside}: copy the picture into the folder")
            files.append(file)
            labels.append(label)
    return files, np.array(labels, np.int64)


def _check_every_class(root: Path, classes: tuple[str, ...], labels: NDArray[np.int64]) -> None:
    for label, name in enumerate(classes):
        if label not in labels:
            raise InputError(f"class folder {root / name} has no picture ({', '.join(sorted(FORMATS))})")


def _size_and_mode(files: list[Path], size: tuple[int, int] | None) -> tuple[tuple[int, int], str]:
    """The size that all have, where none is asked for; 'L' if all are grey, else 'RGB'."""
    shapes, grey = [], True
    for file in files:
        with _opened(file) as image:
            turned = image.getexif().get(EXIF_ORIENTATION, 1) >= EXIF_TRANSPOSED
            shapes.append((image.width, image.height) if turned else (image.height, image.width))
            grey = grey and image.mode in ("1", "L")
    if size is None:
        other = next((row for row, shape in enumerate(shapes) if shape != shapes[0]), None)
        if other is not None:
            found, first = "{}x{}".format(*shapes[other]), "{}x{}".format(*shapes[0])
            raise InputError(f"{files[other]} is {found}, {files[0].name} is {first}: set [data] size = [height, width]")
    return size or shapes[0], "L" if grey else "RGB"


def _read_all(files: list[Path], size: tuple[int, int], mode: str) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    channels = 1 if mode == "L" else 3
    pictures = np.empty((len(files), channels, *size), np.uint8)
    for row, file in enumerate(files):
        with _opened(file) as image:
            picture = ImageOps.exif_transpose(image).convert(mode)
            picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
            pictures[row] = np.moveaxis(np.asarray(picture).reshape(*size, channels), -1, 0)
    return pictures


@contextmanager
def _opened(file: Path) -> Iterator["Image"]:
    """An image whose header is read, of the format that its name says and of bounded size."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's own, higher, limit: ours is checked below
            with Image.open(file, formats=(FORMATS[file.suffix.lower()],)) as image:
                if image.width * image.height > LARGEST_PIXELS:
                    raise InputError(f"{file} has {image.width}x{image.height} pixels, expected {LARGEST_PIXELS:,} at most")
                if image.mode in DEEP_MODES:
                    raise InputError(f"{file} has pixels of mode {image.mode}, expected 8 bits a channel: convert it first")
                yield image
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(f"{file} is not a picture that can be read: {first_line(error)}") from error
