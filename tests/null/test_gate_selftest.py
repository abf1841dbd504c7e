"""The gate's test of itself: what it says of a bank whose truth is known."""

import math

import numpy as np
import pytest

from edgekd.errors import InputError
from edgekd.gate.selftest import Bank, characteristic
from edgekd.gate.sequential import PROFILES


def bank(changes: dict[int, float], sd: float, blocks: int = 200, seed: int = 0) -> Bank:
    rng = np.random.default_rng(seed)
    return Bank(ratios={p: list(math.log1p(change) + rng.normal(0, sd, blocks)) for p, change in changes.items()})


def test_a_quiet_machine_is_called_so() -> None:
    """The copy passes, what is 5 % slower is found, and the real effects are within their intervals."""
    found = characteristic(bank({0: 0.0, 5: 0.047}, 0.008), PROFILES["default"], 100)
    assert [row["planted_percent"] for row in found] == [0, 5]
    assert found[0]["shares"]["REGRESSED"] == 0
    assert found[0]["shares"]["PASS"] >= 0.98
    assert found[1]["shares"]["REGRESSED"] >= 0.99
    for row, truth in zip(found, (0.0, 0.047), strict=True):
        low, high = row["effect"]["interval"]
        assert low <= truth <= high
        assert sum(row["shares"].values()) == pytest.approx(1)
        assert all(low <= row["shares"][name] <= high for name, (low, high) in row["intervals"].items())


def test_a_loud_machine_is_not_praised() -> None:
    (found,) = characteristic(bank({0: 0.0}, 0.2), PROFILES["default"], 50)
    assert found["shares"]["INCONCLUSIVE"] >= 0.9
    assert found["mean_blocks"] > 40


def test_the_same_seed_draws_the_same_duels() -> None:
    one, other = (characteristic(bank({0: 0.0, 2: 0.02}, 0.02), PROFILES["default"], 30, seed=5) for _ in range(2))
    assert one == other


def test_too_small_a_bank_is_refused() -> None:
    with pytest.raises(InputError, match="looks at up to 100"):
        characteristic(bank({0: 0.0}, 0.01, blocks=60), PROFILES["precise"], 10)
