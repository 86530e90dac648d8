"""Booted machines that Ansible reaches as if by ssh, and Ansible as a command.

A program takes the place of ssh: it enters the namespaces of the machine that it is asked for. So
what runs is Ansible's own way over ssh, with its modules on the machine.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rigs import needs
from rigs.booted import Booted

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


class Ansible:
    """ansible-playbook, for machines of an inventory."""

    def __init__(self, folder: Path, inventory: Path) -> None:
        self._folder, self._inventory = folder, inventory
        folder.mkdir()
        self._ssh = folder / "ssh"
        self._ssh.write_text(_SSH.replace("@FOLDER@", str(folder)))
        self._ssh.chmod(0o755)

    def reach(self, address: str, machine: Booted) -> None:
        """The machine is reached under this address of the inventory."""
        (self._folder / address).write_text(f"{machine.init}\n")

    def play(self, *words: str, **variables: object) -> dict[str, Recap]:
        """Run site.yml; by machine what it did. Fails where it does."""
        import json

        given = {"ansible_ssh_executable": str(self._ssh), "ansible_user": "root",
                 "ansible_ssh_transfer_method": "piped", "ansible_ssh_args": "",
                 "ansible_python_interpreter": "/usr/bin/python3", **variables}  # fmt: skip
        done = subprocess.run(
            [needs.require_tool("ansible-playbook"), "-i", self._inventory, "site.yml",
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
