"""`fashion-mnist`: where the files are looked for, how strictly they are read, what a download may bring."""

import functools
import gzip
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgekd.data import fashion_mnist
from edgekd.data.download import download
from edgekd.data.fashion_mnist import load_fashion_mnist
from edgekd.data.idx import read_idx
from edgekd.errors import InputError

COUNT = 20


def idx(values: np.ndarray) -> bytes:
    """The bytes of an IDX file."""
    dims = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes((0, 0, 8, values.ndim)) + dims + values.astype(np.uint8).tobytes()


def write_four(folder: Path, *, packed: bool = True) -> dict[str, str]:
    """Four small files of the data set's form; their hashes by name."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures, labels = np.arange(COUNT * 784).reshape(COUNT, 28, 28), np.arange(COUNT) % 10
    hashes = {}
    for part in ("train", "t10k"):
        for name, values in ((f"{part}-images-idx3-ubyte", pictures), (f"{part}-labels-idx1-ubyte", labels)):
            content = idx(values)
            hashes[name] = hashlib.sha256(content).hexdigest()
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return hashes


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No Debian package and an empty cache, which is returned."""
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "nothing")
    monkeypatch.delenv("EDGEKD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgekd" / "fashion-mnist"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Address of a server of `tmp_path/web`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    (tmp_path / "web").mkdir()
    handler = functools.partial(Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


@pytest.mark.parametrize("packed", [True, False])
def test_files_of_a_folder(tmp_path: Path, packed: bool) -> None:
    """Gzipped or not, the four files are read as they were written."""
    write_four(tmp_path / "d", packed=packed)
    found = load_fashion_mnist(tmp_path / "d")
    assert (found.inputs.shape, found.labels.tolist()) == ((COUNT, 1, 28, 28), [i % 10 for i in range(COUNT)])
    assert found.test is not None
    np.testing.assert_array_equal(found.test[0].ravel(), np.arange(COUNT * 784).astype(np.uint8))


@pytest.mark.parametrize("below", ["", "fashion-mnist"])
def test_folder_of_the_environment(elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    """EDGEKD_DATA names the folder of the files, or the one above it."""
    write_four(tmp_path / "env" / below)
    monkeypatch.setenv("EDGEKD_DATA", str(tmp_path / "env"))
    assert len(load_fashion_mnist(None).labels) == COUNT


def test_a_folder_without_a_file(tmp_path: Path) -> None:
    """A folder that the project names must have all four; the missing one is named, nothing is fetched."""
    write_four(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match="has no file t10k-labels-idx1-ubyte"):
        load_fashion_mnist(tmp_path)


def test_fetched_once(elsewhere: Path, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is nowhere is fetched into the cache, checked, and found there the next time."""
    monkeypatch.setattr(fashion_mnist, "CONTENT_SHA256", write_four(tmp_path / "web"))
    monkeypatch.setattr(fashion_mnist, "ADDRESS", server)
    assert len(load_fashion_mnist(None).labels) == COUNT
    monkeypatch.setattr(fashion_mnist, "ADDRESS", "http://127.0.0.1:1")
    assert len(load_fashion_mnist(None).labels) == COUNT
    assert len(list(elsewhere.iterdir())) == 4


def test_another_file_is_not_kept(tmp_path: Path, server: str) -> None:
    """What has another hash, or is no gzip file, or is not there, is refused; nothing is left in the cache."""
    web, kept = tmp_path / "web", tmp_path / "kept" / "a.gz"
    (web / "a.gz").write_bytes(gzip.compress(b"another"))
    (web / "b.gz").write_bytes(b"<html>")
    (web / "c.gz").write_bytes(gzip.compress(bytes(1000))[:-9])
    for name, message in (("a", "not the original file"), ("b", "not a whole gzip"), ("c", "not a whole gzip"), ("d", "404")):
        with pytest.raises(InputError, match=message):
            download(f"{server}/{name}.gz", kept, hashlib.sha256(b"original").hexdigest())
    assert not kept.parent.exists()


def test_no_network_is_said(tmp_path: Path) -> None:
    """The message names the address and the way around."""
    with pytest.raises(InputError, match=r"127\.0\.0\.1:1/a\.gz cannot be fetched: .*set \[data\] dir"):
        download("http://127.0.0.1:1/a.gz", tmp_path / "a.gz", "0")


LABELS = idx(np.arange(5))
PACKED = gzip.compress(LABELS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (LABELS[:6], "not an IDX file"),
        (b"\0\0\x0d\x01" + LABELS[4:], "not an IDX file of unsigned bytes"),
        (idx(np.zeros((2, 2))), "has 2 dimensions, expected 1"),
        (LABELS[:-1], "holds 4 bytes after its header, expected 5"),
        (LABELS + b"x", "holds more bytes after its header, expected 5"),
        (bytes((0, 0, 8, 1, 255, 255, 255, 255)) + b"x", "says that it holds"),
        (bytes((0, 0, 8, 1, 0, 0, 0, 0)), "says that it holds"),
        (PACKED[:-9], "cut off or damaged"),
        (PACKED[:-8] + bytes(8), "cut off or damaged"),
    ],
)
def test_idx_is_read_strictly(tmp_path: Path, content: bytes, message: str) -> None:
    """A wrong magic number, dimension or length, a cut or damaged gzip: each is refused in one line."""
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_idx(tmp_path / "f", 1)
    assert "\n" not in str(caught.value)


def test_labels_must_fit(tmp_path: Path) -> None:
    """More pictures than labels, and a label past the tenth class, are refused."""
    write_four(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(COUNT - 1) % 10)))
    with pytest.raises(InputError, match=r"has 20 pictures, train-labels-idx1-ubyte[.]gz has 19 labels"):
        load_fashion_mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(COUNT))))
    with pytest.raises(InputError, match="label 19, expected 0 to 9"):
        load_fashion_mnist(tmp_path)
