"""What all tests share: how hypothesis searches. No test fails because the machine was slow, or on one run in ten."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "arriero",
    deadline=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("arriero")
