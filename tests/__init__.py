"""The test suite; it mirrors the package."""

from hypothesis import HealthCheck, settings

from tests._thoroughness import THOROUGH

# Nothing here asserts how long anything takes; contracts are inherited by the tests of
# each implementation.
settings.register_profile(
    "asciid",
    max_examples=100 if THOROUGH else 40,
    deadline=None,
    # An ordinary run shows what a change breaks; a thorough one looks for more.
    derandomize=not THOROUGH,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)
settings.load_profile("asciid")
