"""Two controllers of a site: what each hears of the other over their link."""

import asyncio
import ssl
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pbal_controller.config import StandbyConfig
from pbal_controller.standby import Role
from pbal_controller.standby import copy as copying
from pbal_controller.standby import link as linking
from pbal_sim.hq import free_port

from .peers import EMPTY, state


def link(config: StandbyConfig, key: Ed25519PrivateKey, said: linking.State) -> linking.Link:
    """One end."""

    async def give() -> copying.Copy:
        return EMPTY

    return linking.Link(config, key, lambda: said, give, wants_copy=lambda: True)


async def asked(
    theirs: linking.State, mine: linking.State, *, other_key: bool = False
) -> linking.Link:
    """What one end knows after it asked the other once."""
    port = free_port()
    key = Ed25519PrivateKey.generate()
    serves = link(StandbyConfig(member="a", peer="x:1", host="127.0.0.1", port=port), key, theirs)
    listening = asyncio.Event()
    task = asyncio.create_task(serves.serve(listening.set))
    await listening.wait()
    mine_key = Ed25519PrivateKey.generate() if other_key else key
    asks = link(StandbyConfig(member="b", peer=f"127.0.0.1:{port}"), mine_key, mine)
    try:
        connector = aiohttp.TCPConnector(ssl=asks._client_tls)
        async with aiohttp.ClientSession(connector=connector) as http:
            await asks.once(http)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return asks


async def test_two_ends_with_one_key_store_understand_each_other() -> None:
    found = await asked(state("a", serving=True, role=Role.HOLD, wall_s=1010.0), state("b"))
    assert found.trouble == ""
    assert found.peer is not None
    assert found.peer.serving
    assert found.copy == EMPTY
    assert 9 < found.clock_off_s < 12


async def test_another_key_store_is_refused() -> None:
    found = await asked(state("a"), state("b"), other_key=True)
    assert found.peer is None
    assert "not this site's: copy keys.json" in found.trouble


@pytest.mark.parametrize(
    ("theirs", "text"), [({"site": 8}, "is of site 8"), ({"member": "b"}, 'one must be "a"')]
)
async def test_a_wrong_peer_is_named(theirs: dict[str, Any], text: str) -> None:
    found = await asked(state("a", serving=True, **theirs) if "site" in theirs
                        else state(theirs["member"], serving=True), state("b"))  # fmt: skip
    assert text in found.trouble
    assert found.copy is None


async def test_who_has_no_key_hears_nothing() -> None:
    port = free_port()
    key = Ed25519PrivateKey.generate()
    config = StandbyConfig(member="a", peer="x:1", host="127.0.0.1", port=port)
    listening = asyncio.Event()
    task = asyncio.create_task(link(config, key, state("a")).serve(listening.set))
    await listening.wait()
    careless = ssl.create_default_context()
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    try:
        async with aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.ClientError):
                async with http.get(f"https://127.0.0.1:{port}/copy", ssl=careless) as answer:
                    await answer.read()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
