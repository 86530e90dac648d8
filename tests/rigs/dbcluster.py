"""A database cluster on this computer, by the files that `pbal-hq db cluster` writes.

Each machine has an address of its own in 127.0.0.0/8 and a PID namespace (pbal_engines.Machine):
killed, it loses etcd, Patroni and PostgreSQL in one moment. Its watchdog is a pipe: the kernel's is
not to be had in a container.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from pbal_engines import Machine, PipeWatchdog
from pbal_hq.failover import APPLICATION, Cluster, Member, Place, Watchdog, cluster_pki, write
from rigs.needs import missing, require_file, require_tool


def bin_dir() -> Path:
    """PostgreSQL's programs, the newest."""
    require_file("/usr/lib/postgresql", "postgresql")
    found = sorted(Path("/usr/lib/postgresql").glob("[0-9]*/bin"), key=lambda p: int(p.parent.name))
    return found[-1]


class DatabaseCluster:
    """Two machines with data and a witness."""

    def __init__(self, hq_data: Path) -> None:
        for program, package in (("patroni", "patroni"), ("etcd", "etcd-server"),
                                 ("pgbackrest", "pgbackrest")):  # fmt: skip
            require_tool(program, package)
        if os.geteuid():
            missing("the right to make PID namespaces", "Run the tests as root.")
        # A test's own folder lies where the user postgres does not come.
        self.folder = folder = Path(tempfile.mkdtemp(prefix="pbal-db-"))
        shutil.chown(folder, "postgres", "postgres")
        block = f"127.{random.randint(16, 250)}.{random.randint(1, 250)}"
        self.backups = folder / "backups"
        self.backups.mkdir()
        shutil.chown(self.backups, "postgres", "postgres")
        self.machines: dict[str, Machine] = {}
        self.watchdogs: dict[str, PipeWatchdog] = {}
        self.pki = cluster_pki(hq_data)
        members = []
        for number, name in enumerate(("db1", "db2", "db3"), 1):
            home = folder / name
            place = Place(home / "etc", home / "data", home / "run")
            members.append(Member(name, f"{block}.{number}", name == "db3", place))
        # A plan has one device for all, a machine here a pipe of its own: so a plan for each.
        self.members = {member.name: member for member in members}
        for member in members:
            plan = Cluster(
                tuple(members), bin_dir(), self.backups,
                Watchdog("required", folder / member.name / "watchdog", "testing"),
            )  # fmt: skip
            written = write(plan, hq_data, folder / f"files-{member.name}")
            self._place(member, folder / f"files-{member.name}" / member.name)
        self.url = written.url

    def _place(self, member: Member, files: Path) -> None:
        home = self.folder / member.name
        home.mkdir()
        shutil.copytree(files, member.place.etc)
        for path in (home, member.place.etc, member.place.data, member.place.run):
            path.mkdir(exist_ok=True)
        for path in (home, *home.rglob("*")):
            shutil.chown(path, "postgres", "postgres")
        programs = {"etcd": ["etcd", "--config-file", member.place.etc / "etcd.yml"]}
        if not member.witness:
            programs["patroni"] = ["patroni", member.place.etc / "patroni.yml"]
        self.machines[member.name] = Machine(member.name, home, programs, "postgres")
        if not member.witness:
            self.watchdogs[member.name] = PipeWatchdog(
                self.machines[member.name], home / "watchdog"
            )

    # -- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Start all machines; returns when there is a primary with a synchronous standby."""
        for watchdog in self.watchdogs.values():
            watchdog.__enter__()
        for machine in self.machines.values():
            machine.start()
        self.wait(lambda: self.role("sync") is not None, 90, "a primary with its standby")

    def stop(self) -> None:
        """End everything."""
        for machine in self.machines.values():
            machine.kill()
        for watchdog in self.watchdogs.values():
            watchdog.__exit__()
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait(self, ready, seconds: float, what: str) -> float:
        """Until it is so; how long it took. Fails with the logs."""
        begun = time.monotonic()
        while not ready():
            if time.monotonic() - begun > seconds:
                logs = "\n".join(
                    f"--- {name} {program}\n{machine.log(program)}"
                    for program in ("etcd", "patroni") for name, machine in self.machines.items()
                )  # fmt: skip
                raise AssertionError(f"no {what} in {seconds:.0f} s\n{logs}")
            time.sleep(0.1)
        return time.monotonic() - begun

    def lead(self, name: str) -> None:
        """Make this machine etcd's leader, too."""
        member = self.members[name]
        own = self._etcd(member, "maintenance/status")["header"]["member_id"]
        for each in self.members.values():
            status = self._etcd(each, "maintenance/status")
            if status["header"]["member_id"] == status["leader"] != own:
                self._etcd(each, "maintenance/transfer-leadership", {"targetID": own})
        self.wait(lambda: self._etcd(member, "maintenance/status")["leader"] == own, 10, "leader")

    def _etcd(self, member: Member, what: str, body: dict | None = None) -> dict:
        context = ssl.create_default_context(cafile=str(self.pki.ca))
        context.load_cert_chain(self.pki.certificate(APPLICATION), self.pki.key(APPLICATION))
        asked = urllib.request.Request(
            f"https://{member.address}:2379/v3/{what}", json.dumps(body or {}).encode()
        )
        with urllib.request.urlopen(asked, timeout=5, context=context) as answer:
            return json.loads(answer.read())

    # -- looking at it ----------------------------------------------------------------------

    def role(self, role: str) -> str | None:
        """The member that says it is `primary`, `sync` or `replica`."""
        context = ssl.create_default_context(cafile=str(self.pki.ca))
        for member in self.members.values():
            if member.witness or not self.machines[member.name].service.is_running():
                continue
            url = f"https://{member.address}:8008/{role}"
            try:
                with urllib.request.urlopen(url, timeout=1, context=context) as answer:
                    if answer.status == 200:
                        return member.name
            except (urllib.error.URLError, OSError):
                continue
        return None

    def writers(self) -> list[str]:
        """The members whose PostgreSQL takes writes: each is asked itself, not Patroni."""
        return [
            name for name, member in self.members.items()
            if not member.witness and self.sql(name, "SELECT pg_is_in_recovery()") == "f"
        ]  # fmt: skip

    def sql(self, name: str, text: str, database: str = "postgres") -> str:
        """As the superuser on a member, through its socket; "" where it does not answer."""
        words = [bin_dir() / "psql", "-h", self.members[name].place.run, "-d", database,
                 "-Atqc", text]  # fmt: skip
        return self.as_postgres(*words, check=False).strip()

    def as_postgres(self, *words: object, check: bool = True) -> str:
        """A program as the user postgres; its output."""
        done = subprocess.run(
            list(map(str, words)), user="postgres", group="postgres", extra_groups=[], cwd="/",
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def pgbackrest(self, name: str, *words: str) -> str:
        """pgBackRest by a member's configuration."""
        conf = self.members[name].place.etc / "pgbackrest.conf"
        return self.as_postgres("pgbackrest", f"--config={conf}", "--stanza=pbal", *words)
