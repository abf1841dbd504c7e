"""Tensors in files: whole or absent, bit for bit, and never unpickled."""

import pickle
from pathlib import Path

import pytest
import torch
from synthetic_data import CLASSES, SIDE, equal_states, small_net

from edgekd.distill.checkpoint import load_checkpoint, read_tensors, save_checkpoint, write_tensors
from edgekd.errors import InputError, StorageError


def trained(seed: int) -> tuple[torch.nn.Module, torch.nn.Module, torch.optim.SGD]:
    """Student, average and optimizer after a step, so that there is momentum."""
    student, average = small_net(seed), small_net(seed + 1)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    inputs = torch.randn(8, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    torch.nn.functional.cross_entropy(student(inputs), torch.arange(8) % CLASSES).backward()
    optimizer.step()
    return student, average, optimizer


def test_a_checkpoint_brings_everything_back(tmp_path: Path) -> None:
    """Weights, statistics, the average, momentum and the position, to the last bit."""
    position = {"step": 7, "loss_sum": 0.1 + 0.2, "curve": [{"epoch": 1, "accuracy": 1 / 3}]}
    saved, other = trained(0), trained(5)
    save_checkpoint(tmp_path / "c.safetensors", *saved, position)
    assert load_checkpoint(tmp_path / "c.safetensors", *other) == position
    for one, two in zip(saved[:2], other[:2], strict=True):
        assert equal_states(one.state_dict(), two.state_dict())
    slots = [optimizer.state_dict()["state"] for optimizer in (saved[2], other[2])]
    assert slots[0]
    assert all(torch.equal(slots[0][i]["momentum_buffer"], slots[1][i]["momentum_buffer"]) for i in slots[0])


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut while writing leaves what was there before."""
    place = tmp_path / "w.safetensors"
    write_tensors(place, {"a": torch.ones(2)})

    def fails(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(StorageError, match="No space left"):
        write_tensors(place, {"a": torch.zeros(2)})
    assert torch.equal(read_tensors(place)[0]["a"], torch.ones(2))


class Evil:
    """Unpickling this makes a file."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.place), "w")


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    """A pickle under a safetensors name is an input error, and nothing that it says is done."""
    (tmp_path / "w.safetensors").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    with pytest.raises(InputError, match="cannot be read"):
        read_tensors(tmp_path / "w.safetensors")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("length", [0, 7, 8, 60, -1])
def test_a_truncated_file_is_refused(length: int, tmp_path: Path) -> None:
    """Wherever it was cut, it is an input error that names the file."""
    place = tmp_path / "w.safetensors"
    write_tensors(place, {"a": torch.ones(200)})
    place.write_bytes(place.read_bytes()[:length])
    with pytest.raises(InputError, match=r"w\.safetensors"):
        read_tensors(place)


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(InputError, match=r"none\.safetensors"):
        read_tensors(tmp_path / "none.safetensors")
