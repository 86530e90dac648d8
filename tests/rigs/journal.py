"""A systemd journal where no systemd runs: written here, read by programs as the computer's own."""

import subprocess
import time
import uuid
from pathlib import Path

from rigs.needs import require_file

# Writes journal files as journald does; takes entries in the journal's export format.
_WRITER = "/lib/systemd/systemd-journal-remote"


def require_journal_writer():
    """Goes on only where it is installed."""
    require_file(_WRITER, "systemd-journal-remote")


class Journal:
    """Its files are in a folder of their own within `folder`, also while more is written."""

    def __init__(self, folder):
        self.folder = folder / "journal"
        self._machine = Path("/etc/machine-id").read_text().strip()
        self._boot = uuid.uuid4().hex
        (self.folder / self._machine).mkdir(parents=True)
        to = self.folder / self._machine / "system.journal"
        self._writer = subprocess.Popen([_WRITER, "-o", to, "-"], stdin=subprocess.PIPE)

    def say(self, text, unit="pbal-controller.service"):
        """A line of a unit, now."""
        self._writer.stdin.write(
            f"__REALTIME_TIMESTAMP={time.time_ns() // 1000}\n"
            f"__MONOTONIC_TIMESTAMP={time.monotonic_ns() // 1000}\n_BOOT_ID={self._boot}\n"
            f"_MACHINE_ID={self._machine}\n_HOSTNAME=pi\nPRIORITY=6\n"
            f"_SYSTEMD_UNIT={unit}\nMESSAGE={text}\n\n".encode()
        )
        self._writer.stdin.flush()

    def read_by(self, *words):
        """The command line of a program that finds it where journals are. Needs root."""
        script = (
            "mount -t tmpfs tmpfs /var/log && mkdir /var/log/journal && "
            'mount --bind "$0" /var/log/journal && exec "$@"'
        )
        inside = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
        return [*inside, str(self.folder), *map(str, words)]

    def close(self):
        """What was said is in its files then."""
        self._writer.stdin.close()
        self._writer.wait(60)
