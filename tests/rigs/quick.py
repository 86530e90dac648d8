"""`pbal` without its start: a process that has loaded the command forks for each call.

Each call is a process of its own, with its arguments, surroundings, folder, output and exit code;
what it does not do again is to import what the call before imported, and to compile the node's
program. Where the start itself, the process's command line or a signal is what is tested,
`subprocess` is right.
"""

import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

_LIMIT = 1 << 20
BARE = {"PATH": "/usr/bin:/bin", "COLUMNS": "120", "TERM": "dumb"}


class Quick:
    """One such process. `close` ends it."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=BARE,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def run(
        self, args: Sequence[str], env: Mapping[str, str], cwd: Path, timeout: float
    ) -> tuple[int, str, str]:
        """(exit code, standard output, standard error) of `pbal` with these arguments.

        Raises subprocess.TimeoutExpired.
        """
        asked = json.dumps([list(args), dict(env), str(cwd)]).encode()
        with self._lock, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            socket.send_fds(self._ours, [asked], [out.fileno(), err.fileno()])
            pid = json.loads(self._ours.recv(_LIMIT))
            late = not select.select([self._ours], [], [], timeout)[0]
            if late:
                os.kill(pid, signal.SIGKILL)
            code = json.loads(self._ours.recv(_LIMIT))
            if late:
                raise subprocess.TimeoutExpired(["pbal", *args], timeout)
            told = []
            for file in (out, err):
                file.seek(0)
                told.append(file.read().decode())
            return code, told[0], told[1]

    def close(self) -> None:
        self._ours.close()
        self._process.wait()


# For all the tests of a folder whose conftest.py starts it.
shared: Quick | None = None


def _prepare(args: Sequence[str]) -> None:
    """Loads what the call needs, once for all that come after it."""
    from pbal_build import modules
    from pbal_tools import cli

    noun = next((word for word in args if not word.startswith("-")), "")
    with contextlib.suppress(Exception):  # the call itself will say it
        if noun in cli.NOUNS:
            cli.load(noun)
        if noun == "flash" or args[:2] == ["release", "build"]:
            modules()


def _serve(asked: socket.socket) -> None:
    """Answers calls until nobody asks any more; returns in the process of a call, to make it."""
    while True:
        data, fds, _, _ = socket.recv_fds(asked, _LIMIT, 2)
        if not data:
            sys.exit()
        args, env, cwd = json.loads(data)
        _prepare(args)
        gc.freeze()  # or the collector touches, and so copies, every page of the process below
        pid = os.fork()
        if pid == 0:
            asked.close()
            for number, fd in enumerate(fds, 1):
                os.dup2(fd, number)
                os.close(fd)
            os.environ.clear()
            os.environ.update(env)
            os.chdir(cwd)
            sys.argv = ["pbal", *args]
            return
        for fd in fds:
            os.close(fd)
        asked.send(json.dumps(pid).encode())
        _, status = os.waitpid(pid, 0)
        asked.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    import pbal_tools.cli

    _serve(socket.socket(fileno=int(sys.argv[1])))
    pbal_tools.cli.main()
