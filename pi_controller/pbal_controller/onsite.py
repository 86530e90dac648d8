"""Commands for the Pi itself: a site's files in place, its certificate, the controller's health."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import secrets
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pbal_controller.config import Config, load, source_of
from pbal_controller.documents import dump_json, load_json, toml_value
from pbal_controller.errors import BearerError, ConfigError, JournalUnavailable, KeyStoreError
from pbal_controller.keys import (
    KEY_BYTES,
    atomic_write,
    check_keys,
    open_keys,
    passphrase,
    tls_secret,
)
from pbal_host import counted

if TYPE_CHECKING:
    from pbal_controller.journal import Journal

DEFAULT_CONFIG = Path("/etc/pbal/pbal.toml")
_ANSWER_S = 10.0
_LINK = "pbal-link"  # the first word of a link key's file
_MOST = 16 << 20  # bytes of an answer

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="PBAL_CONFIG", help="Default /etc/pbal/pbal.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For scripts.")]


def _ask(settings: Config) -> dict[str, Any]:
    """The status of the controller of this configuration. Raises BearerError: none answers."""
    http = settings.http
    port = http.port
    if http.port_file is not None:
        with contextlib.suppress(OSError, ValueError):
            port = int(http.port_file.read_text("ascii"))
    host = "127.0.0.1" if http.host in ("0.0.0.0", "::", "") else http.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/api/status"
    request = urllib.request.Request(url)
    if http.token_file is not None:
        from pbal_controller.view import read_token  # it takes much of a command's start

        token = read_token(http.token_file)
        request.add_header("Authorization", f"Bearer {token}")
    # This computer's own server: whatever proxy the environment names is not asked.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_ANSWER_S) as answer:
            data = load_json(answer.read(_MOST).decode())
    except (OSError, ValueError) as error:
        raise BearerError(
            f"no controller answers at {url} ({error}); does it run? systemctl status "
            "pbal-controller"
        ) from None
    if not isinstance(data, dict) or "homes_alive" not in data:
        raise BearerError(f"what answers at {url} is not a pbal controller; see http.port")
    return data


def health(
    config: ConfigOption = None,
    json_: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """How well the running controller does. Example: pbal-controller health

    Exit code 0: all loops and ports work and moves may be ordered; 5: none answers; 6: it runs, and
    says what is not well.
    """
    settings = load(config)
    data: dict[str, Any]
    if settings.http.enabled:
        try:
            status = _ask(settings)
        except BearerError as error:
            if json_:
                print(dump_json({"answers": False, "why": str(error)}))
                raise typer.Exit(5) from None
            raise
        standby_ = status.get("standby")
        why_not, follows = status["why_no_commands"], False
        if standby_ and not standby_["serving"]:
            why_not = standby_["why_not_ready"]  # one that follows orders nothing, and is well
            follows = True
        data = {
            "answers": True, "version": status["version"], "late": status["late_loops"],
            "nothing_ordered": why_not, "homes": status["homes_configured"],
            "homes_alive": status["homes_alive"], "follows": follows,
            "bearers_down": {
                bus["name"]: bus["last_error"] for bus in status["buses"]
                if bus.get("state") != "open" and bus.get("last_error")
            },
        }  # fmt: skip
    else:
        # Without the status server only systemd knows readiness and watchdog; no more is known
        # here.
        data = {"answers": True, "version": "", "late": [], "nothing_ordered": "", "homes": 0,
                "homes_alive": 0, "follows": False, "bearers_down": {}}  # fmt: skip
    wrong = [f"late: {', '.join(data['late'])}"] if data["late"] else []
    wrong += [f"nothing is ordered: {data['nothing_ordered']}"] if data["nothing_ordered"] else []
    wrong += [f"{name} cannot be used: {why}" for name, why in data["bearers_down"].items()]
    if json_:
        print(dump_json(data))
    else:
        print("\n".join(wrong or ["ok"]))
        if data["follows"]:
            print("the other controller of this site is at work (pbal-controller standby)")
        else:
            print(f"{data['homes_alive']} of {data['homes']} homes answer")
    if wrong:
        raise typer.Exit(6)


def standby(
    take: Annotated[
        bool,
        typer.Option(
            "--take",
            help="The other controller is off: this one may take over without knowing what it did.",
        ),
    ] = False,
    config: ConfigOption = None,
    json_: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """How this controller and the second one of the site stand. Example: pbal-controller standby

    Exit code 0: this one is at work or could take over; 5: it does not answer; 6: it could not.
    """
    settings = load(config)
    if settings.standby is None:
        raise ConfigError(
            "this controller has no second one: there is no table [standby] (docs/standby.md)"
        )
    if take:
        _take(settings)
    status = _ask(settings)
    data = status.get("standby")
    if not data:
        raise BearerError("the running controller has not read [standby] yet; restart it")
    if json_:
        print(dump_json(data))
    else:
        print("\n".join(_standby_lines(data)))
    if not (data["well"] or take):
        raise typer.Exit(6)


def site_journal(settings: Config, vault_key: bytes = b"") -> Journal:
    """The journal of a site that has one. Raises JournalError: there is none, or it is damaged.

    What is sealed in it is opened with the key store's `vault_key`. A command creates none: on the
    wrong site it would then seem to succeed.
    """
    from pbal_controller.journal import Journal, Vault

    path = settings.journal.path
    if not path.exists():
        raise JournalUnavailable(
            f"{path}: no journal here; the controller makes it when it first runs. "
            "Is journal.path right, and its disk mounted?"
        )
    return Journal(path, vault=Vault(vault_key) if vault_key else None)


def _take(settings: Config) -> None:
    from pbal_controller.standby import ask_to_take

    journal = site_journal(settings)
    try:
        ask_to_take(journal)
    finally:
        journal.close()
    print("noted: it takes over as soon as the buses have been silent for long enough")


def _standby_lines(data: dict[str, Any]) -> list[str]:
    peer = data["peer"]
    lines = [f"this is {data['member']}: {'at work' if data['serving'] else 'follows'}"]
    if not data["serving"]:
        why = data["why_not_ready"]
        ready = "could take over" if data["well"] else f"could NOT take over: {why}"
        age = data["copy_age_s"]
        copy = "no copy yet" if age is None else f"copy {age:.0f} s old"
        lines.append(f"{ready}; {copy}; buses silent for {data['silent_s']:.1f} s")
    if peer is not None:
        does = "at work" if peer["serving"] else "follows"
        lines.append(f"the other, {peer['member']}: {does}, heard {data['peer_age_s']:.0f} s ago")
    if data["trouble"]:
        lines.append(f"no word of the other: {data['trouble']}")
    if data["clocks_differ"]:
        lines.append(f"the clocks differ by {data['clock_off_s']:.1f} s: set them (timedatectl)")
    return lines


def _read(folder: Path, name: str) -> bytes:
    path = folder / name
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); the folder holds keys.json (pbal "
            "provision) and pbal.toml (pbal site controller)"
        ) from None


def _place(path: Path, data: bytes, mode: int, like: Path | None = None) -> None:
    """Put a file in place, of the owner of a folder. Raises ConfigError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, data, mode)
        owner = (like or path.parent).stat()
        if os.geteuid() == 0:
            os.chown(path, owner.st_uid, owner.st_gid)
    except (OSError, KeyStoreError) as error:
        raise ConfigError(f"{path}: cannot be written ({error}); is this root?") from None


def setup(
    folder: Annotated[Path, typer.Argument(help="Holds pbal.toml and keys.json of the site.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="Where to.")] = DEFAULT_CONFIG,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Of the key store. Default: asked for.")
    ] = None,
) -> None:
    """Put a site's configuration, keys and passphrase in place. Example: pbal-controller setup .

    Everything is checked first; nothing is written where a check fails. A key store that is there
    already is never replaced by another one.
    """
    text, keys = _read(folder, "pbal.toml"), _read(folder, "keys.json")
    settings = load(folder / "pbal.toml")
    there = settings.keys.file
    if there.exists() and there.read_bytes() != keys:
        raise KeyStoreError(
            f"{there}: a key store is there already, and it is the original from the first "
            "start on. To add nodes bring that one to the laptop; to begin anew move it away"
        )
    secret = _secret(settings, passphrase_file)
    here = settings.model_copy(
        update={"keys": settings.keys.model_copy(update={"file": folder / "keys.json"})}
    )
    with tempfile.TemporaryDirectory() as private:
        trial = Path(private) / "keys.pass"
        trial.touch(0o600)
        trial.write_bytes(secret + b"\n")
        nodes = check_keys(here, trial)
    _place(config.parent / "keys.pass", secret + b"\n", 0o600)
    _place(config, text, 0o644)
    _place(there, keys, 0o600, there.parent)
    print(f"{config}: site {settings.site.id}, {counted(len(settings.home), 'home')}")
    print(f"{there}: {nodes}")
    print(f"{config.parent / 'keys.pass'}: the passphrase")
    print("Start it:  sudo systemctl enable --now pbal-controller")


def _secret(settings: Config, file: Path | None) -> bytes:
    if file is not None:
        try:
            return file.read_bytes().removesuffix(b"\n")
        except OSError as error:
            raise KeyStoreError(f"{file}: cannot be read ({error.strerror})") from None
    if not sys.stdin.isatty():
        raise KeyStoreError("no terminal to ask for the passphrase; name --passphrase-file")
    blank = settings.keys.model_copy(update={"passphrase_file": None, "credential": "none"})
    return passphrase(settings.model_copy(update={"keys": blank}), "once")


def enrol(
    url: Annotated[str, typer.Argument(help="HQ's enrolment, such as https://hq.example:8884.")],
    token: Annotated[str, typer.Argument(help="As pbal-hq site token prints it; good once.")],
    config: ConfigOption = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="Of the key store: the new key is sealed at once.")
    ] = None,
) -> None:
    """Get this site's certificate from HQ. Example: pbal-controller enrol https://hq:8884 pbal1...

    The key is drawn here and stays here. Certificate, key and HQ's authority are put beside the key
    store, and the uplink's settings into conf.d/60-uplink.toml. The controller renews the
    certificate by itself from then on.
    """
    from pbal_controller.uplink import KeyFile, certificate, enrolment

    main = config or DEFAULT_CONFIG
    settings = load(main)
    folder = settings.keys.file.parent / "uplink"
    pem, ca = folder / "site.pem", folder / "hq-ca.pem"
    key = KeyFile(folder / "site.key", tls_secret(settings, passphrase_file))
    made = main.parent / "conf.d" / "60-uplink.toml"
    where = source_of(("uplink", "host"), main) if settings.uplink.kind != "null" else str(made)
    if where != str(made):
        raise ConfigError(
            f"{where} configures the uplink already; take its [uplink] table out, and enrol again"
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            owner = folder.parent.stat()
            os.chown(folder, owner.st_uid, owner.st_gid)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made ({error.strerror}); is this root?") from None

    async def ask() -> enrolment.Given:
        trusted = await enrolment.authority(url, token)
        csr = await asyncio.to_thread(certificate.request, key, str(settings.site.id))
        return await enrolment.enrol(url, token, csr, trusted)

    given = asyncio.run(ask())
    if given.site != settings.site.id:
        raise ConfigError(
            f"the token is for site {given.site}, this is site {settings.site.id} (site.id)"
        )
    _place(ca, given.authority.encode(), 0o644)
    now = datetime.datetime.now(datetime.UTC)
    certificate.install(pem, key, given.certificate, given.authority, now)
    kept = {
        "kind": "sparkplug", "host": given.host, "port": given.port, "group": given.group,
        "node": given.node, "primary_host": given.host_id, "ca": str(ca),
        "certificate": str(pem), "key": str(key.path), "renew_url": url,
    }  # fmt: skip
    lines = [f"{name} = {toml_value(value)}" for name, value in kept.items()]
    head = "# Written by pbal-controller enrol."
    _place(made, "\n".join([head, "[uplink]", *lines, ""]).encode(), 0o644)
    until = certificate.read(pem).not_valid_after_utc
    print(f"site {given.site}: certificate until {until:%Y-%m-%d}, renewed by itself")
    print(f"{made}: broker {given.host}:{given.port}")
    print("The unit lets the controller speak to this computer alone; for HQ:")
    print("  sudo systemctl edit pbal-controller    ->  [Service]  IPAddressAllow=HQ's address")
    print("Then:  sudo systemctl restart pbal-controller")


def link(
    site: Annotated[int, typer.Argument(help="The number of the site behind the gateway.")],
    new: Annotated[
        Path | None, typer.Option(help="At the gateway: draw a key, and put it here, too.")
    ] = None,
    take: Annotated[Path | None, typer.Option(help="At the site: the file from there.")] = None,
    config: ConfigOption = None,
) -> None:
    """The key that a site shares with its gateway for their link over LoRa.

    At the gateway: pbal-controller keys link 1008 --new /media/usb/1008.link

    At the site: pbal-controller keys link 1008 --take /media/usb/1008.link

    Destroy the file when both have it. A new key takes the place of an older one; it is used after
    the next start of both controllers.
    """
    if (new is None) == (take is None):
        raise ConfigError("give one of --new FILE (at the gateway) and --take FILE (at the site)")
    settings = load(config)
    if site not in settings.link_sites:
        known = ", ".join(map(str, settings.link_sites)) or "none"
        raise ConfigError(
            f"site {site} has no link here (links: {known}); write it into [[gateway.site]] at the "
            'gateway, or uplink.kind = "lora" at the site, first'
        )
    keys = open_keys(settings, ask=True)
    if new is not None:
        if new.exists():
            raise ConfigError(f"{new}: exists already; name another file")
        root = secrets.token_bytes(KEY_BYTES)
        atomic_write(new, f"{_LINK} {site} {root.hex()}\n".encode())
        keys.set_link(site, root)
        print(f"The key is in {new}; bring it to site {site}, and destroy the file there.")
        return
    assert take is not None
    keys.set_link(site, _link_key(take, site))
    print(f"site {site} has the key; it is used after the next start of the controller.")


def _link_key(path: Path, site: int) -> bytes:
    try:
        with path.open(encoding="ascii") as file:
            word, number, digits = file.read(200).split()
        root = bytes.fromhex(digits)
    except (OSError, ValueError):
        word, number, root = "", "", b""
    if word != _LINK or len(root) != KEY_BYTES:
        raise KeyStoreError(f"{path}: is no file that `pbal-controller keys link --new` made")
    if number != str(site):
        raise KeyStoreError(f"{path}: is for site {number}, not for site {site}")
    return root
