"""The sites of `bench.hq`, as HQ sees them: certificates, connections, births and summaries."""

from __future__ import annotations

import datetime
import random
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from pbal_hq.ca import Pki
from pbal_hq.config import Config
from pbal_hq.database import connected, migrate
from pbal_hq.registry import NewSite, add_site, add_transformer, note_certificate
from pbal_uplink import Event, State, Summary, metrics, sparkplug
from pbal_uplink.sparkplug import Metric, Payload

FIRST_S = int(time.time()) // 86_400 * 86_400 - 80 * 86_400
GROUP = "bench"


class Client:
    """One MQTT connection with a certificate."""

    def __init__(self, port: int, name: str, context: ssl.SSLContext) -> None:
        self.mqtt = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5)
        self.mqtt.tls_set_context(context)
        self.mqtt.max_inflight_messages_set(200)
        self.mqtt.connect("localhost", port)
        self.mqtt.loop_start()

    def close(self) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()


def context(pki: Pki, folder: Path, name: str, key: bytes, certificate: bytes) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(pki.ca))
    path = folder / f"{name}.pem"
    path.write_bytes(key + certificate)
    made.load_cert_chain(path)
    return made


def summary(site: int, n: int) -> Summary:
    return Summary(
        site=site, start_s=FIRST_S + 300 * n, length_s=300, complete_percent=99,
        ia_mean_a=40 + n % 37, ib_mean_a=30 + n % 23, ic_mean_a=50 + n % 41, in_mean_a=n % 19,
        ia_max_a=80, ib_max_a=70, ic_max_a=90, in_max_a=40, va_min_v=221.5, vb_min_v=223.1,
        vc_min_v=219.4, va_mean_v=228.3, vb_mean_v=229.2, vc_mean_v=226.8, homes=30,
        homes_alive=30, homes_fresh=30, ea_import_kwh=2.1, eb_import_kwh=1.7, ec_import_kwh=2.6,
    )  # fmt: skip


def varied_summary(site: int, n: int) -> Summary:
    """A window as no other is: what is packed or compressed takes as much as in the field."""
    rng = random.Random(f"{site} {n}")

    def amperes(low: float = 0.0, high: float = 120.0) -> float:
        return round(rng.uniform(low, high), 2)

    def volts() -> float:
        return round(rng.gauss(228, 4), 2)

    def kwh() -> float:
        return round(rng.uniform(0.2, 4.0), 3)

    return Summary(
        site=site, start_s=FIRST_S + 300 * n, length_s=300, complete_percent=99,
        ia_mean_a=amperes(), ib_mean_a=amperes(), ic_mean_a=amperes(), in_mean_a=amperes(0, 50),
        ia_max_a=amperes(60, 200), ib_max_a=amperes(60, 200), ic_max_a=amperes(60, 200),
        in_max_a=amperes(20, 90), va_min_v=volts(), vb_min_v=volts(), vc_min_v=volts(),
        va_mean_v=volts(), vb_mean_v=volts(), vc_mean_v=volts(), va_max_v=volts(),
        vb_max_v=volts(), vc_max_v=volts(), ea_import_kwh=kwh(), eb_import_kwh=kwh(),
        ec_import_kwh=kwh(), losses_avoided_wh=rng.randint(0, 60), homes=60,
        homes_alive=60, homes_fresh=rng.randint(55, 60), confirmed=rng.randint(0, 2),
    )  # fmt: skip


def payloads(
    site: int, each: int, first: int = 0, said: Callable[[int, int], Summary] = summary
) -> list[bytes]:
    """A birth and `each` summaries from window `first` on, as a site sends them."""
    state = State(site=site, at_s=FIRST_S, words=1, config_hash=bytes(8), window_s=300)
    bdseq = Metric(sparkplug.BDSEQ, 0, sparkplug.INT64, timestamp=1)
    announced = [m for cls in (Summary, Event) for m in metrics.announced(cls, 1, in_plain=False)]
    out = [sparkplug.encode(Payload((bdseq, *metrics.packed(state, 1), *announced), 1, 0))]
    for n in range(each):
        made = tuple(m.under_alias() for m in metrics.packed(said(site, first + n), 1))
        out.append(sparkplug.encode(Payload(made, 1, (n + 1) % 256), types=False))
    return out


async def make_sites(config: Config, pki: Pki, folder: Path, count: int) -> dict[int, object]:
    now, authority = datetime.datetime.now(datetime.UTC), pki.authority()
    contexts = {}
    async with connected(config.database) as db:
        await migrate(db)
        for site in range(1, count + 1):
            transformer = await add_transformer(db, f"T{site}", "KL/ERN/ALU/F12")
            await add_site(db, NewSite(site, transformer, GROUP))
            issued = authority.client_with_key(str(site), 5, now)
            await note_certificate(db, issued.certificate, site)
            contexts[site] = context(pki, folder, str(site), issued.key, issued.pem)
    return contexts


async def more_sites(config: Config, there: int, count: int) -> None:
    """Registered and no more: sites whose records are put on the bus."""
    async with connected(config.database) as db:
        for site in range(there + 1, count + 1):
            transformer = await add_transformer(db, f"T{site}", "KL/ERN/ALU/F12")
            await add_site(db, NewSite(site, transformer, GROUP))


def send(port: int, contexts: dict, loads: dict[int, list[bytes]]) -> None:
    clients = {site: Client(port, str(site), made) for site, made in contexts.items()}
    for site, client in clients.items():
        client.mqtt.publish(sparkplug.topic(GROUP, "NBIRTH", str(site)), loads[site][0], 1)
    last = []
    for n in range(1, len(next(iter(loads.values())))):
        last = [
            client.mqtt.publish(sparkplug.topic(GROUP, "NDATA", str(site)), loads[site][n], 1)
            for site, client in clients.items()
        ]
    for info in last:
        info.wait_for_publish(300)
    for client in clients.values():
        client.close()


def wait_for_words(file: Path, words: str, ended: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until HQ's log has these words; SystemExit with the log where HQ ended without them."""
    until = time.monotonic() + seconds
    while words not in file.read_text():
        if ended() or time.monotonic() > until:
            raise SystemExit(f"HQ does not start: {file.read_text()}")
        time.sleep(0.1)
