"""HQ on one computer with nothing prepared: `pbal sim hq`.

Real PostgreSQL and Mosquitto in a folder of their own, `pbal-hq all`, a fleet of made-up
transformers and streets of the twin with their real controllers. HQ is only ever told what a person
could tell it: its command line, a list of transformers, one-time tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import random
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pbal_controller.documents import dump_json, load_json
from pbal_sim import hq as engines
from pbal_sim.childprocess import die_with_parent
from pbal_sim.errors import DatabaseError

from .errors import CheckFailed, InputError, MissingError
from .extras import require
from .fleetload import Enrolled, Fleet, Plan, Street, enrol_all, read_tokens
from .streetuplink import TRANSFORMER

FIRST_SITE, FIRST_STREET = 1001, 901
# Districts of Kerala with the coordinates of their towns, rounded to 0.01 degree.
_DISTRICTS = {
    "Thiruvananthapuram": (8.52, 76.94), "Kollam": (8.89, 76.61), "Ernakulam": (9.98, 76.28),
    "Thrissur": (10.53, 76.21), "Kozhikode": (11.26, 75.78),
}  # fmt: skip
_WINDOW_S = 60
_STREET_WINDOW_S = 15
_START_S = 120.0
_MAIN = ("-c", "from pbal_hq.cli import main; main()")
_PBAL = ("-c", "from pbal_tools.cli import main; main()")


@dataclass(frozen=True)
class DemoOptions:
    """What to show."""

    folder: Path
    sites: int = 500
    streets: int = 3
    homes: int = 4
    port: int = 8443
    seconds: float | None = None


def check(options: DemoOptions) -> None:
    """Raises MissingError, InputError before anything is started."""
    require("sim")
    require("hq")
    for what, found, package in (
        ("the broker Mosquitto", engines.program(), "mosquitto"),
        ("PostgreSQL", engines.postgres_program("initdb"), "postgresql"),
    ):
        if found is None:
            raise MissingError(
                f"HQ needs {what}.", f"Debian and Ubuntu: sudo apt install {package}"
            )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", options.port))
        except OSError as error:
            raise InputError(
                f"Port {options.port} cannot be used for the portal ({error.strerror}).",
                "Choose another one with --port; 0 takes any.",
            ) from None


class Demo:
    """All of it, while it runs. `say` gets lines for a person."""

    def __init__(self, options: DemoOptions, say: Callable[[str], None]) -> None:
        self._o = options
        self._say = say
        self._file = options.folder / "hq.toml"
        self._stack = contextlib.AsyncExitStack()
        self._enrol = f"https://localhost:{engines.free_port()}"
        self.address = ""
        self.passwords: dict[str, str] = {}  # first ones, by user
        self.fleet: Fleet | None = None

    # -- programs ---------------------------------------------------------------------------

    async def _hq(self, *words: str) -> str:
        """A command of pbal-hq to its end; what it printed. Raises CheckFailed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, *_MAIN, *words, "-c", str(self._file),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        if process.returncode:
            raise CheckFailed(
                f"pbal-hq {' '.join(words)} failed (code {process.returncode}): "
                f"{err.decode(errors='replace').strip()}",
                f"Its files: {self._o.folder}",
            )
        return out.decode()

    async def _start(self, name: str, *command: str) -> asyncio.subprocess.Process:
        """A program that is ended with the demonstration; its output goes to NAME.log."""
        with (self._o.folder / f"{name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL,
                preexec_fn=die_with_parent,
            )  # fmt: skip
        self._stack.push_async_callback(_end, process)
        return process

    # -- the way up -------------------------------------------------------------------------

    async def run(self) -> None:
        """Until the time is over or it is cancelled. Raises CliErrors."""
        async with self._stack:
            await self._engines()
            self._say("The utility's list of transformers, and a site at each.")
            await self._sites()
            self._say("HQ starts.")
            await self._portal()
            await self._work()

    async def _engines(self) -> None:
        o = self._o
        self._say("PostgreSQL and Mosquitto start, with a certificate authority of their own.")
        o.folder.mkdir(parents=True, exist_ok=True, mode=0o711)
        o.folder.chmod(0o711)  # PostgreSQL runs as its own user where root starts this
        database = o.folder / "postgres"
        database.mkdir(mode=0o700)
        try:
            server = engines.Postgres(database)
        except DatabaseError as error:
            raise MissingError(f"No database: {error}.", f"Its log: {database}/log") from None
        self._stack.callback(server.stop)
        broker = engines.free_port()
        self._file.touch(mode=0o600)
        self._file.write_text(
            f'data = "{o.folder / "hq"}"\n'
            f'[database]\nurl = "{server.url}"\n'
            f'[broker]\nhost = "localhost"\nport = {broker}\n'
            f'[enrol]\nlisten = "127.0.0.1"\nport = {self._enrol.rpartition(":")[2]}\n'
            "attempts_per_minute = 10000\n"
            "[ingest]\nstored_batch = 5\nstored_within_s = 60\n"
            f"[portal]\nport = {o.port}\nplain_http = true\n"
        )
        await self._hq("init", "--host", "localhost")
        await self._start(
            "broker", str(engines.program()), "-c", str(o.folder / "hq/broker/mosquitto.conf")
        )
        first = await self._hq("user", "first", "admin", "--json")
        self.passwords["admin"] = load_json(first)["password"]
        guest = await self._hq("user", "add", "guest", "--whole", "--json")
        self.passwords["guest"] = load_json(guest)["password"]

    async def _sites(self) -> None:
        o = self._o
        listed, sites = o.folder / "transformers.csv", o.folder / "sites.csv"
        with listed.open("w", newline="") as file:
            csv.writer(file).writerows(transformers(o.streets, o.sites, o.homes))
        with sites.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(("site", "transformer", "group", "name"))
            out.writerows(
                (site, f"TR-{site}", "kerala", f"Street {site}")
                for site in numbers(o.streets, o.sites)
            )
        await self._hq("transformer", "import", str(listed), "--apply")
        await self._hq("site", "import", str(sites), "--tokens", str(o.folder / "tokens.csv"))

    async def _portal(self) -> None:
        process = await self._start("hq", sys.executable, *_MAIN, "all", "-c", str(self._file))
        log = self._o.folder / "hq.log"
        for _ in range(int(_START_S / 0.1)):
            text = log.read_text(errors="replace")
            if "the portal listens" in text and "enrolment is open" in text:
                line = next(row for row in text.splitlines() if "the portal listens" in row)
                self.address = f"http://localhost:{line.rpartition('port=')[2].split()[0]}/"
                return
            if process.returncode is not None:
                break
            await asyncio.sleep(0.1)
        raise CheckFailed("HQ did not start.", f"Its log: {log}")

    # -- the work ---------------------------------------------------------------------------

    async def _work(self) -> None:
        o = self._o
        self._say(
            f"\n  HQ is here:  {self.address}\n"
            f"    to look:   user guest, password {self.passwords['guest']}\n"
            f"    to manage: user admin, password {self.passwords['admin']}, and an app for codes\n"
            "  Each chooses a password of their own at the first login.\n"
        )
        tokens = read_tokens(o.folder / "tokens.csv")
        streets = {site: tokens.pop(site) for site in list(tokens) if site < FIRST_SITE}
        folder = o.folder / "sites"
        if streets:
            async for given in enrol_all(streets, self._enrol, folder):
                await self._street(given, folder)
            self._say(f"{len(streets)} streets start, {o.homes} homes each (a minute or two).")
        if not tokens:
            await asyncio.sleep(o.seconds if o.seconds is not None else float("inf"))
            return
        self.fleet = Fleet(
            Plan(tokens, self._enrol, folder, len(tokens) / _WINDOW_S, past=30, seconds=o.seconds),
            self._say,
        )
        await self.fleet.run()

    async def _street(self, given: Enrolled, folder: Path) -> None:
        link = self._o.folder / f"street-{given.site}.json"
        link.write_text(
            dump_json(
                {
                    "site": given.site,
                    "uplink": {
                        "kind": "sparkplug", "host": given.host, "port": given.port,
                        "group": given.group, "node": given.node, "primary_host": given.host_id,
                        "ca": str(folder / "ca.pem"),
                        "certificate": str(folder / f"{given.site}.pem"),
                        "key": str(folder / f"{given.site}.key"),
                        "window_s": _STREET_WINDOW_S, "spread_s": 0.0,
                    },
                    "transformer": TRANSFORMER,
                }
            )
        )  # fmt: skip
        words = ("sim", "run", "--homes", str(self._o.homes), "--headless", "--port", "0",
                 "--seed", str(given.site), "--link", str(link),
                 "--seconds", "1000000")  # fmt: skip
        await self._start(f"street-{given.site}", sys.executable, *_PBAL, *words)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), 20)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def numbers(streets: int, sites: int) -> list[int]:
    """The sites: the streets of the twin first."""
    return [*range(FIRST_STREET, FIRST_STREET + streets), *range(FIRST_SITE, FIRST_SITE + sites)]


def transformers(streets: int, sites: int, homes: int) -> Iterator[tuple[object, ...]]:
    """The utility's list, with its head; `homes`: of a street of the twin."""
    yield ("code", "state", "district", "division", "feeder", "name", "latitude", "longitude",
           "rated_kva", "customers")  # fmt: skip
    for site in numbers(streets, sites):
        rng = random.Random(site)
        town, (latitude, longitude) = rng.choice(list(_DISTRICTS.items()))
        street = Street.of(site)
        real = site < FIRST_SITE
        yield (
            f"TR-{site}", "Kerala", town, f"{town} {rng.choice(('North', 'South'))}",
            f"F{rng.randint(1, 6)}", f"Street {site}",
            f"{latitude + rng.uniform(-0.1, 0.1):.4f}",
            f"{longitude + rng.uniform(-0.05, 0.1):.4f}",
            TRANSFORMER["rated_kva"] if real else street.rated_kva, homes if real else street.homes,
        )  # fmt: skip
