"""Data source `fashion-mnist`: 70,000 pictures of clothes, 28 × 28 grey pixels, 10 classes.

Source: Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747; github.com/zalandoresearch/fashion-mnist.
"""

import os
from pathlib import Path

import numpy as np

from edgekd.data import RawArray
from edgekd.data.download import download
from edgekd.data.idx import read_idx
from edgekd.data.splits import Samples
from edgekd.errors import InputError

ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
"""The one that the data set's README links; it has no TLS, which the hashes make up for."""
DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts the files."""
CONTENT_SHA256 = {
    "train-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "train-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    "t10k-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "t10k-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
}
"""Of the unpacked files, as in Debian's package 0.0~git20200523."""
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def load_fashion_mnist(folder: Path | None) -> Samples:
    """Values 0 to 255, shape (1, 28, 28), with its own test set of 10,000.

    The four IDX files, gzipped or not, are looked for in `folder`, if one is given; else in `$EDGEKD_DATA`, in Debian's
    folder and in the user's cache; else they are fetched into that cache.
    """
    files = _find(folder)
    train, test = _part(files, "train"), _part(files, "t10k")
    return Samples(
        name="fashion-mnist",
        inputs=train[0],
        labels=train[1],
        classes=CLASSES,
        value_max=255.0,
        test=test,
        mean=(0.2860,),
        std=(0.3530,),
    )


def _find(folder: Path | None) -> dict[str, Path]:
    if folder is not None:
        found = _files_in(folder)
        missing = [name for name in CONTENT_SHA256 if name not in found]
        if missing:
            raise InputError(f"[data] dir: {folder} has no file {missing[0]} or {missing[0]}.gz")
        return found
    from platformdirs import user_cache_path

    cache = user_cache_path("edgekd") / "fashion-mnist"
    places = [DEBIAN, cache]
    if os.environ.get("EDGEKD_DATA"):
        chosen = Path(os.environ["EDGEKD_DATA"])
        places = [chosen / "fashion-mnist", chosen, *places]
    for place in places:
        found = _files_in(place)
        if len(found) == len(CONTENT_SHA256):
            return found
    for name, sha256 in CONTENT_SHA256.items():
        if name not in found:
            download(f"{ADDRESS}/{name}.gz", cache / f"{name}.gz", sha256)
    return _files_in(cache)


def _files_in(folder: Path) -> dict[str, Path]:
    candidates = [(name, folder / (name + suffix)) for suffix in (".gz", "") for name in CONTENT_SHA256]
    return {name: file for name, file in candidates if file.is_file()}


def _part(files: dict[str, Path], part: str) -> tuple[RawArray, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    images_file, labels_file = files[f"{part}-images-idx3-ubyte"], files[f"{part}-labels-idx1-ubyte"]
    images, labels = read_idx(images_file, 3), read_idx(labels_file, 1).astype(np.int64)
    if images.shape[1:] != (28, 28):
        raise InputError(f"{images_file} has pictures of {images.shape[1:]} pixels, expected (28, 28)")
    if len(images) != len(labels):
        raise InputError(f"{images_file} has {len(images)} pictures, {labels_file.name} has {len(labels)} labels")
    if labels.max() >= len(CLASSES):
        raise InputError(f"{labels_file} has a label {labels.max()}, expected 0 to {len(CLASSES) - 1}")
    return images[:, None], labels
