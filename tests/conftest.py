"""Timing never decides a test: the machines that run them are shared."""

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile("edgekd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edgekd")

if "PYTEST_XDIST_WORKER" in os.environ:
    # One worker a processor: libraries that start a thread a processor in each would only wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts in the background deaf to Ctrl-C, and so would be what tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
