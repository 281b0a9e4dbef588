"""The test suite; it mirrors the package."""

from hypothesis import HealthCheck, settings

# A busy machine is no failure: nothing here asserts how long anything takes.
settings.register_profile(
    "asciid", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("asciid")
