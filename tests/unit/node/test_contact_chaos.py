"""Random episodes of the selector and its contacts, judged by a witness of its own.

PBAL_CONTACT_EPISODES and PBAL_CONTACT_SEED ask for more, or for others; a seed makes the same
episodes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest
from rigs import needs

EPISODES = needs.campaign("PBAL_CONTACT_EPISODES", 10_000)
SEED = int(os.environ.get("PBAL_CONTACT_SEED", "0")) or random.randrange(1, 1 << 29)
# What a witness must say when a rule is gone, within so many episodes of a fixed seed.
NOTICED = 2000
REMOVED = {
    "opening_shown": "S1",
    "output_dead": "left dark",  # nothing counts as closed any more
    "dead_time_over": "closed too early",
    "contacts_open": "S1",
    "sensor_proves": "S1",
    "target_reason": "S3",
    "welded": "left dark",  # never proven dead, never locked out
    "was_interrupted": "S12",
}


@pytest.mark.timeout(1200 + EPISODES // 30)
def test_no_episode_breaks_a_rule(
    run_mp: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f" {EPISODES} episodes, PBAL_CONTACT_SEED={SEED}", end=" ", flush=True)
    text = run_mp("contact_chaos.py", str(EPISODES), str(SEED), timeout_s=1100 + EPISODES // 30)
    with capsys.disabled():
        print(text.splitlines()[-2], end=" ")


# Seeds whose first episodes broke a rule once. 73070612: a slow contact lets go of a dead phase,
# which comes back just before it opens; the next one closed 14 ms later.
@pytest.mark.parametrize("seed", [73070612])
def test_what_was_found_stays_mended(seed: int, run_mp: Callable[..., str]) -> None:
    run_mp("contact_chaos.py", "20", str(seed))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("rule", REMOVED)
def test_without_a_rule_it_shows(rule: str, run_mp: Callable[..., str]) -> None:
    with pytest.raises(pytest.fail.Exception, match=REMOVED[rule]):
        run_mp("contact_chaos.py", str(NOTICED), "1", rule)
