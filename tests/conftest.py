"""Timing never decides a test: the machines that run them are shared."""

import signal

from hypothesis import HealthCheck, settings

settings.register_profile("edgekd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edgekd")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts in the background deaf to Ctrl-C, and so would be what tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
