"""`pbal-hq init`: authority, HQ's certificates, the broker's configuration. Done again, it keeps
what is there.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field

from pbal_hq.broker import BrokerFiles
from pbal_hq.ca import BROKER, HQ, Pki
from pbal_hq.config import Config
from pbal_hq.errors import ConfigError

_RENEW_DAYS = 60


@dataclass
class Made:
    """What was made and what was kept, for a person."""

    lines: list[str] = field(default_factory=list)


def set_up(config: Config, name: str, hosts: Sequence[str], address: str = "") -> Made:
    """Make what is missing below `data`. `hosts`: under which the broker is reached.

    `hosts` empty: the broker's certificate is kept. Raises CertificateError and ConfigError.
    """
    made = Made()
    now = datetime.datetime.now(datetime.UTC)
    try:
        config.data.mkdir(parents=True, exist_ok=True)
        for folder in ("pki", "broker", "bus"):
            (config.data / folder).mkdir(mode=0o700, exist_ok=True)
        pki = Pki(config.data / "pki")
        if pki.exists():
            authority = pki.authority()
            made.lines.append(f"authority: {pki.ca} (kept)")
        else:
            authority = pki.make(name, now)
            made.lines.append(f"authority: {pki.ca}")
        old = all(pki.certificate(each).exists() for each in (BROKER, HQ))
        if not old or hosts or min(pki.days_left(each, now) for each in (BROKER, HQ)) < _RENEW_DAYS:
            pki.make_own(authority, hosts or ("localhost", "127.0.0.1"), now)
            made.lines.append(f"certificates of broker and HQ: {pki.folder}")
        if not pki.crl.exists():
            pki.write_crl(authority, (), now)
        files = BrokerFiles(config.data / "broker")
        files.write(config, pki, address)
        made.lines.append(f"broker: mosquitto -c {files.conf}")
    except OSError as error:
        raise ConfigError(
            f"data: {error.filename or config.data}: {error.strerror}; "
            "make the folder for the user that HQ runs as"
        ) from None
    return made
