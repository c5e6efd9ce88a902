"""How long the fuzz tests run: seconds in every test run, minutes with `MISS_FUZZ=long`."""

import os

from hypothesis import HealthCheck, settings

LONG = os.environ.get("MISS_FUZZ") == "long"


def effort(examples: int, *, long: int = 100, steps: int = 30) -> settings:
    """Settings for a test that tries `examples`, or `long` times as many."""
    return settings(
        max_examples=examples * long if LONG else examples,
        stateful_step_count=steps * 3 if LONG else steps,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
