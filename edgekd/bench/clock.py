"""Whether a device's clock ran true while a model was timed: its times are differences of that clock."""

from edgekd.bench.reply import Reply
from edgekd.bench.transports.faults import DeviceFault

SLACK = 2.0
"""Times what passed here; clocks differ by parts in a million, so this finds jumps and nothing else."""
SLACK_S = 60.0


def check_clock(reply: Reply, where: str, elapsed_s: float) -> None:
    """Compare what passed there between the two states of a reply with what passed here. Raises DeviceFault `clock-jump`."""
    if len(reply.states) != 2:
        return
    before, after = (state.values["clock_s"] for state in reply.states)
    if not 0 <= after - before <= SLACK * elapsed_s + SLACK_S:
        text = f"its clock moved by {after - before:,.0f} s in {elapsed_s:,.0f} s: its times are not to be trusted"
        raise DeviceFault(where, "clock-jump", text)
