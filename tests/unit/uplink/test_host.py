"""The twin's HQ ends when it is told to, also when its broker ends in the same moment."""

import asyncio

import aiomqtt
import pytest

from pbal_sim.hq.host import Host
from pbal_sim.hq.pki import Pki


class Gone:
    """A client whose broker is not there any more when it says good-bye."""

    def __init__(self, *_, **__):
        self.messages = self._none()

    async def _none(self):
        await asyncio.Event().wait()
        yield

    async def subscribe(self, *_, **__):
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        raise aiomqtt.MqttError("disconnected")


@pytest.mark.timeout(30)
async def test_it_ends_although_the_broker_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(aiomqtt, "Client", Gone)
    async with Host.of(Pki(tmp_path), 1):
        pass
