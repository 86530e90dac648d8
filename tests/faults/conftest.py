"""Streets with the real controller, quick settings, and something to balance at once."""

from collections.abc import Callable

import pytest
from rigs.street import small_street

from pbal_sim.street import Street


@pytest.fixture
def make_street() -> Callable[..., Street]:
    """faults_street.small_street with six homes."""
    return lambda homes=6, **change: small_street(homes, **change)
