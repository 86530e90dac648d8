"""`pbal-hq db cluster` and `prove-backup`: a database that outlives a machine, and its backups."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pbal_hq import failover
from pbal_hq.cli.base import ConfigOption, JsonOption, print_json
from pbal_hq.config import load
from pbal_hq.errors import BadInput

_BIN = Path("/usr/lib/postgresql/15/bin")
BinDir = Annotated[Path, typer.Option(help="Where PostgreSQL's programs are on the members.")]


def cluster(
    members: Annotated[
        list[str], typer.Option("--member", help="NAME=ADDRESS of a machine with data.")
    ],
    out: Annotated[Path, typer.Option(help="The folder that the files go into.")],
    witnesses: Annotated[
        list[str] | None, typer.Option("--witness", help="NAME=ADDRESS of one that only votes.")
    ] = None,
    backups: Annotated[
        Path | None,
        typer.Option(help="Where backups go, by this path on every member, e.g. a mount."),
    ] = None,
    watchdog: Annotated[
        str, typer.Option(help="required, automatic or off: docs/hq-reliability.md.")
    ] = "required",
    bin_dir: BinDir = _BIN,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Write each machine's files for PostgreSQL under Patroni and etcd, with encrypted backups.

    Example: pbal-hq db cluster --member db1=10.1.0.11 --member db2=10.1.0.12
    --witness db3=10.1.0.13 --backups /srv/pbal-backups --out cluster
    """
    settings = load(config)
    if watchdog not in ("required", "automatic", "off"):
        raise typer.BadParameter("--watchdog is required, automatic or off")
    all_ = [failover.read_member(text) for text in members]
    all_ += [failover.read_member(text, witness=True) for text in witnesses or ()]
    plan = failover.Cluster(tuple(all_), bin_dir, backups, failover.Watchdog(watchdog))
    done = failover.write(plan, settings.data, out)
    if json_:
        print_json({"files": done.files, "url": done.url, "backup_key": done.secret})
        return
    for member in plan.members:
        print(f"{out / member.name}: to {member.place.etc} on {member.address}, owned by postgres")
    print(f'for hq.toml:\n[database]\nurl = "{done.url}"')
    if done.secret:
        print(f"The backups' passphrase is in {done.secret}: without it they open for nobody.")
        print("Keep a copy where neither HQ nor its database is.")


def prove_backup(
    folder: Annotated[
        Path, typer.Option("--in", help="A folder with room for the database; removed again.")
    ] = Path("/var/lib/pbal-db/proof"),
    conf: Annotated[Path, typer.Option(help="pgBackRest's configuration.")] = Path(
        "/etc/pbal-db/pgbackrest.conf"
    ),
    at: Annotated[
        str, typer.Option(help="To which moment, as 2026-11-30T09:00:00+05:30; default: now.")
    ] = "",
    bin_dir: BinDir = _BIN,
    json_: JsonOption = False,
) -> None:
    """Restore a backup beside the database, open it and say what is in it. As user postgres.

    Example: pbal-hq db prove-backup --at 2026-11-30T09:00:00+05:30
    """
    proof = failover.prove(conf, bin_dir, folder.absolute(), _moment(at))
    if json_:
        print_json(asdict(proof))
        return
    print(f"restored from {proof.backup} to {proof.at or 'the latest'} in {proof.restore_s:.0f} s")
    print(f"schema: step {proof.step:04d}; summaries: {proof.summaries}")
    print(f"newest summary: {proof.newest_summary}; newest event: {proof.newest_event}")


def _moment(text: str) -> datetime.datetime | None:
    if not text:
        return None
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(f"--at {text}: no moment; as 2026-11-30T09:00:00+05:30") from None
    if found.tzinfo is None:
        raise BadInput(f"--at {text}: needs its zone, as in 2026-11-30T09:00:00+05:30")
    return found
