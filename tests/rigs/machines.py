"""Booted machines that Ansible reaches as if by ssh, and Ansible as a command.

A program takes the place of ssh: it enters the namespaces of the machine that it is asked for. So
what runs is Ansible's own way over ssh, with its modules on the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rigs import needs
from rigs.booted import Booted, booted
from rigs.netns import Network

DEPLOY = needs.ROOT / "hq" / "deploy"
_SSH = """\
#!/bin/sh
# ssh OPTION... HOST COMMAND: the process that is HOST's init is in a file of its name.
for word; do before=$command; command=$word; host=$before; done
exec nsenter -t "$(cat "@FOLDER@/$host")" -m -p -n -u -i -C /bin/sh -c "cd; $command"
"""


@dataclass(frozen=True)
class Recap:
    """What a run did on one machine, and all that it said."""

    ok: int
    changed: int
    failed: int
    said: str


@dataclass(frozen=True)
class Machines:
    """The machines of an inventory, booted and on one network. `at`: by name."""

    ansible: Ansible
    network: Network
    addresses: dict[str, str]
    at: dict[str, Booted]

    def all(self, *words: str) -> dict[str, str]:
        """A program on each; what it says, by name."""
        return {name: machine.run(*words, code=None) for name, machine in self.at.items()}

    def same(self, file: str) -> set[str]:
        """The names of those that have this file, which is the same on all of them."""
        found = {name: said.split()[0] for name, said in self.all("sha256sum", file).items()
                 if "No such file" not in said}  # fmt: skip
        assert len(set(found.values())) == 1, f"{file}: {found}"
        return set(found)


@contextlib.contextmanager
def machines(folder: Path, over: Sequence[Path], *inventories: Path) -> Iterator[Machines]:
    """Every machine of these inventories, booted from the same folders (rigs.booted)."""
    ansible = Ansible(folder / "ansible", *inventories)
    addresses = ansible.addresses()
    at = {}
    with contextlib.ExitStack() as open_:
        network = open_.enter_context(Network())
        for name, address in addresses.items():
            root = folder / name
            root.mkdir()
            at[name] = open_.enter_context(booted(root, over))
            network.join(at[name].init, name, address)
            ansible.reach(address, at[name])
        yield Machines(ansible, network, addresses, at)


class Ansible:
    """ansible-playbook, for machines of an inventory. `more`: inventories read after it."""

    def __init__(self, folder: Path, inventory: Path, *more: Path) -> None:
        self._folder = folder
        self._inventories = [word for each in (inventory, *more) for word in ("-i", each)]
        folder.mkdir()
        self._ssh = folder / "ssh"
        self._ssh.write_text(_SSH.replace("@FOLDER@", str(folder)))
        self._ssh.chmod(0o755)

    def reach(self, address: str, machine: Booted) -> None:
        """The machine is reached under this address of the inventory."""
        (self._folder / address).write_text(f"{machine.init}\n")

    def addresses(self) -> dict[str, str]:
        """Where each machine of the inventory is reached, by its name."""
        said = subprocess.run(
            [needs.require_tool("ansible-inventory"), *self._inventories, "--list"],
            capture_output=True, text=True, check=True, timeout=120, cwd=DEPLOY,
        ).stdout  # fmt: skip
        known = json.loads(said)["_meta"]["hostvars"]
        return {name: each["ansible_host"] for name, each in known.items()}

    def play(self, *words: str, **variables: object) -> dict[str, Recap]:
        """Run site.yml; by machine what it did. Fails where it does."""
        given = {"ansible_ssh_executable": str(self._ssh), "ansible_user": "root",
                 "ansible_ssh_transfer_method": "piped", "ansible_ssh_args": "",
                 "ansible_python_interpreter": "/usr/bin/python3", **variables}  # fmt: skip
        done = subprocess.run(
            [needs.require_tool("ansible-playbook"), *self._inventories, "site.yml",
             "-e", json.dumps(given), *words],
            capture_output=True, text=True, check=False, timeout=1500, cwd=DEPLOY,
            env={**os.environ, "ANSIBLE_LOCAL_TEMP": str(self._folder / "tmp"),
                 "ANSIBLE_HOME": str(self._folder / "home"), "ANSIBLE_NOCOLOR": "1",
                 "ANSIBLE_CONFIG": str(DEPLOY / "ansible.cfg")},
        )  # fmt: skip
        said = done.stdout + done.stderr
        found = re.findall(
            r"^(\S+)\s*: ok=(\d+)\s+changed=(\d+)\s+unreachable=0\s+failed=(\d+)", said, re.M
        )
        assert done.returncode == 0, said[-6000:]
        return {host: Recap(int(ok), int(new), int(bad), said) for host, ok, new, bad in found}
