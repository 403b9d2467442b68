"""What all tests have in common."""

from hypothesis import HealthCheck, settings

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # time proves nothing
settings.load_profile("tests")
