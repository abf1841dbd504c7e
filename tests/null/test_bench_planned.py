"""A planned peak from lifetimes: what lives at once at the worst operator."""

import pytest

from edgekd.bench.planned import Lifetimes, Step, peak_bytes, planned_peak
from edgekd.errors import InputError
from edgekd.null_target import NullTarget


def chain(*steps: Step, **sizes: int) -> Lifetimes:
    return Lifetimes(sizes=sizes, inputs=("x",), outputs=("y",), steps=steps)


def test_the_worst_operator_has_its_inputs_and_outputs_at_once() -> None:
    """100 in, 400 between, 10 out: 500 while the 400 are made."""
    steps = Step(reads=("x", "w"), writes=("a",)), Step(reads=("a",), writes=("y",))
    assert peak_bytes(chain(*steps, x=100, a=400, y=10, w=9999)) == 500


def test_a_branch_keeps_its_tensor_alive() -> None:
    """What is added at the end lives beside all between."""
    steps = (
        Step(reads=("x",), writes=("a",)),
        Step(reads=("a",), writes=("b",)),
        Step(reads=("b",), writes=("c",)),
        Step(reads=("a", "c"), writes=("y",), over=True),
    )
    assert peak_bytes(chain(*steps, x=1, a=100, b=50, c=100, y=100)) == 250


def test_an_element_wise_operator_takes_no_memory_of_its_own() -> None:
    """But where its input is read later, or is the network's."""
    steps = Step(reads=("x",), writes=("a",)), Step(reads=("a",), writes=("y",), over=True)
    assert peak_bytes(chain(*steps, x=10, a=100, y=100)) == 110
    later = Step(reads=("x",), writes=("a",)), Step(reads=("a",), writes=("b",), over=True), Step(reads=("a", "b"), writes=("y",))
    assert peak_bytes(chain(*later, x=10, a=100, b=100, y=1)) == 201
    assert peak_bytes(chain(Step(reads=("x",), writes=("y",), over=True), x=10, y=10)) == 20


def test_what_is_quantized_at_once_is_never_written_in_full() -> None:
    """A convolution whose floats only feed a quantizer, through an activation, gives bytes."""
    steps = (
        Step(reads=("x",), writes=("a",)),
        Step(reads=("a",), writes=("b",), over=True),
        Step(reads=("b",), writes=("y",), over=True),
    )
    assert peak_bytes(chain(*steps, x=10, a=400, b=400, y=100)) == 110


def test_what_depends_on_weights_alone_is_no_activation() -> None:
    """A weight that is expanded as it is loaded lives in none of this."""
    steps = Step(reads=("w",), writes=("v",)), Step(reads=("x", "v"), writes=("y",))
    assert peak_bytes(chain(*steps, x=1, y=1)) == 2


def test_an_unknown_size_is_no_figure() -> None:
    """Neither a guess nor 0: the tensor is named; a target that tells nothing has a reason too."""
    with pytest.raises(InputError, match="size of tensor 'a'"):
        peak_bytes(chain(Step(reads=("x",), writes=("a",)), Step(reads=("a",), writes=("y",)), x=1, y=1))
    found = planned_peak(NullTarget(), __file__)  # type: ignore[arg-type]
    assert (found["value"], found["provenance"]) == (None, "unavailable")
