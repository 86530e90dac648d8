"""The test files of mp/ that wait in real time."""

from collections.abc import Callable

import pytest
from rigs.node_files import IN_REAL_TIME


@pytest.mark.parametrize("name", IN_REAL_TIME)
def test_file(name: str, run_mp: Callable[..., str]) -> None:
    run_mp(name)
