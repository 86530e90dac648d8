"""ChirpStack's broker, its events, and HQ's two roles on the road of a site over LoRaWAN.

An event's form: ChirpStack 4, api/proto/integration/integration.proto (UplinkEvent) in protobuf's
JSON; all that HQ does not read is in it, too.
"""

import asyncio
import base64
import contextlib
import json
import time

import aiomqtt

from pbal_host import check_cancelled
from pbal_hq.bus import FileBus
from pbal_hq.config import ChirpstackConfig, StoreConfig
from pbal_hq.database import pool
from pbal_hq.ingest import Chirpstack
from pbal_hq.store import Writer
from rigs.hq import Headquarters
from rigs.uplink import Broker, Pki

EUI, STRANGER = "70b3d57ed0051f2a", "70b3d57ed0000001"
APPLICATION = "17c82e96-be03-4f38-aef3-f83d48582d97"


def topic(eui=EUI):
    return f"application/{APPLICATION}/device/{eui}/event/up"


def event(data, eui=EUI, port=10):
    """An uplink as ChirpStack says it."""
    return {
        "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
        "time": "2026-11-28T09:34:15.775023242+00:00",
        "deviceInfo": {
            "tenantId": "52f14cd4-c6f1-4fbd-8f87-4025e1d49242", "tenantName": "ChirpStack",
            "applicationId": APPLICATION, "applicationName": "transformers",
            "deviceProfileId": "14855bf7-d10d-4aee-b618-ebfcb64dc7ad", "deviceProfileName": "pbal",
            "deviceName": "mill lane", "devEui": eui, "deviceClassEnabled": "CLASS_A",
            "tags": {"line": "F12"},
        },
        "devAddr": "00189440", "adr": True, "dr": 1, "fCnt": 4, "fPort": port, "confirmed": True,
        "data": base64.b64encode(data).decode(),
        # What a codec in ChirpStack says is not looked at.
        "object": {"kind": "Summary", "fields": {"ia_mean_a": 999.0}},
        "rxInfo": [{
            "gatewayId": "0016c001f153a14c", "uplinkId": 4217106255, "rssi": -36, "snr": 10.5,
            "channel": 2, "location": {}, "context": "E3OWOQ==", "crcStatus": "CRC_OK",
        }],
        "txInfo": {"frequency": 867100000, "modulation": {"lora": {
            "bandwidth": 125000, "spreadingFactor": 11, "codeRate": "CR_4_5"}}},
    }  # fmt: skip


async def registered(tmp_path, database_url):
    """A headquarters that knows the site."""
    made = Headquarters(tmp_path, database_url)
    await made.add_site(1009, group="lorawan", node=EUI, device=True)
    return made


class Network:
    """ChirpStack's broker, and ChirpStack before it."""

    def __init__(self, folder):
        self.pki = Pki(folder / "chirpstack-pki")
        folder = folder / "chirpstack"
        folder.mkdir()
        self.broker = Broker(folder, self.pki)
        self._own = self.pki.issue("chirpstack")
        certificate, key = self.pki.issue("hq")
        self.config = ChirpstackConfig(
            host="localhost", port=self.broker.port, application=APPLICATION, ca=self.pki.ca,
            certificate=certificate, key=key,
        )  # fmt: skip

    def client(self):
        """A connection as ChirpStack's own."""
        tls = aiomqtt.TLSParameters(str(self.pki.ca), *(str(path) for path in self._own))
        return aiomqtt.Client("localhost", self.broker.port, tls_params=tls)

    async def say(self, *events):
        """(topic, event or bytes) each."""
        async with self.client() as client:
            for where, each in events:
                body = each if isinstance(each, bytes) else json.dumps(each).encode()
                await client.publish(where, body, qos=1)


@contextlib.asynccontextmanager
async def at_work(hq, network, wall=time.time, **more):
    """HQ's two roles on this road: their tasks, and the bus between them."""
    config = network.config.model_copy(update=more)
    async with (
        FileBus(hq.config.data / "bus" / "b.db") as bus,
        pool(hq.config.database) as database,
    ):
        chirpstack = Chirpstack(bus, database, config, wall)
        tasks = [
            asyncio.create_task(loop(check_cancelled))
            for loop in (chirpstack.run, Writer(bus, database, StoreConfig()).run)
        ]
        try:
            yield tasks, bus
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            for task in tasks:
                if not task.cancelled() and (error := task.exception()):
                    raise error
