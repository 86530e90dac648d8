"""Sites and their one-time tokens; a certificate for each through HQ's enrolment."""

from __future__ import annotations

import asyncio
import csv
import datetime
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pbal_controller.documents import dump_json, read_json
from pbal_controller.errors import BearerError, ConfigError
from pbal_controller.uplink import KeyFile, certificate, enrolment

from ..errors import InputError, UnreachableError

_AT_ONCE = 4


@dataclass(frozen=True)
class Enrolled:
    """A site that may connect. Its files: <site>.pem, <site>.key and ca.pem in one folder."""

    site: int
    group: str
    node: str
    host: str
    port: int
    host_id: str


def read_tokens(file: Path) -> dict[int, str]:
    """Site -> token. Raises InputError."""
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
        return {int(row["site"]): row["token"] for row in rows}
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}.", "pbal-hq site import writes it.") from None
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{file}: no list of tokens (CSV with the columns site and token).",
            "pbal-hq site import writes it.",
        ) from None


async def enrol_all(tokens: dict[int, str], url: str, folder: Path) -> AsyncIterator[Enrolled]:
    """Each site as soon as it has its certificate; who has one in `folder` keeps it.

    Raises InputError, UnreachableError.
    """
    try:
        trusted = _kept_authority(folder)
        if not trusted:
            trusted = await enrolment.authority(url, next(iter(tokens.values())))
            _keep_authority(folder, trusted)
        waiting = list(tokens.items())
        while waiting:
            part, waiting = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            for done in await asyncio.gather(
                *(_enrol(url, site, token, folder, trusted) for site, token in part)
            ):
                yield done
    except BearerError as error:
        raise UnreachableError(str(error), "Does pbal-hq run, with the role enrol?") from None
    except (ConfigError, OSError) as error:
        raise InputError(str(error), f"A new token and an empty {folder} help.") from None


def _kept_authority(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    ca = folder / "ca.pem"
    return ca.read_text() if ca.exists() else ""


def _keep_authority(folder: Path, pem: str) -> None:
    (folder / "ca.pem").write_text(pem)


async def _enrol(url: str, site: int, token: str, folder: Path, trusted: str) -> Enrolled:
    about, pem, key = (folder / f"{site}.{end}" for end in ("json", "pem", "key"))
    if about.exists() and pem.exists():
        return Enrolled(**read_json(about))
    given = await enrolment.enrol(url, token, certificate.request(KeyFile(key), str(site)), trusted)
    now = datetime.datetime.now(datetime.UTC)
    certificate.install(pem, KeyFile(key), given.certificate, given.authority, now)
    made = Enrolled(given.site, given.group, given.node, given.host, given.port, given.host_id)
    about.write_text(dump_json(asdict(made)))
    return made
