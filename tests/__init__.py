"""The test suite; it mirrors the package."""

from hypothesis import HealthCheck, settings

# Nothing here asserts how long anything takes; contracts are inherited by the tests of
# each implementation.
settings.register_profile(
    "asciid",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)
settings.load_profile("asciid")
