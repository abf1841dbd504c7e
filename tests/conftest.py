"""Timing never decides a test: the machines that run them are shared."""

from hypothesis import HealthCheck, settings

settings.register_profile("edgekd", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edgekd")
