"""Everything goes wrong at random: nothing unsafe, nothing unexplained, all homes come back.

An hour of it:  PBAL_CHAOS_S=3600 ./test.sh tests/faults/test_chaos.py
The same again: PBAL_CHAOS_SEED=<the seed that was printed>
"""

import json

import pytest
from rigs import chaos, needs
from rigs.street import small_street
from rigs.twin import OPTIONS

from bench.site import Site

HOMES = 6
SECONDS = chaos.seconds()


@pytest.mark.twin
@pytest.mark.long
@pytest.mark.timeout(SECONDS + 240)
async def test_chaos(capsys: pytest.CaptureFixture[str]) -> None:
    """Nodes and controller killed, ports pulled, disks full, clock steps, noise."""
    needs.require_tool("socat")
    library = chaos.libfaketime()
    if library is None:
        needs.missing("libfaketime", "Debian package: faketime.")
    seed = chaos.seed()
    async with small_street(HOMES) as street:
        site = Site(street, OPTIONS)
        run = chaos.Chaos(street, site, seed, str(library))
        try:
            await run.play(SECONDS)
        except chaos.ChaosFailed as failed:
            with capsys.disabled():
                print(f"\nchaos failed: {failed}")
            raise
        finally:
            await run.close()
        with capsys.disabled():
            print(f"\nchaos, seed {seed}, {SECONDS:.0f} s: {json.dumps(run.books.report())}")
    assert run.counts["controller-killed"] > 0
