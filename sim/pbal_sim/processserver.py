"""The process server: one small process that starts, supervises and ends all processes of a street.

It holds the MicroPython interpreter's library loaded, so that a chip is one `fork` away
(a few milliseconds) rather than the start of a whole CPython. Everything else that a street
needs (the bus, the controller) is its child as well. When the street's own process ends, for
whatever reason, the socket to it closes: it kills all its children, removes
the street's working folder and ends. Nothing is left behind even after SIGKILL.

Wire: a SOCK_SEQPACKET socket, one JSON object per packet, file descriptors beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pbal_sim.childprocess import (
    HAL_FIRST_FD,
    die_with_parent,
    mapped,
    name_process,
)

_MAX_MESSAGE = 60000


def run_interpreter(argv: list[str]) -> int:
    """Runs the MicroPython unix port in this process; returns its exit status."""
    import micropython_run

    status = micropython_run.run_main(argv)
    return int(status or 0) & 0xFF


def _child(send: Callable[[], NoReturn], keep: list[int], log: int, first: int) -> NoReturn:
    """Common start of every child: descriptors at fixed places, nothing else open."""
    try:
        die_with_parent()
        if os.getppid() == 1:
            os._exit(0)
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, signal.SIG_DFL)
        os.setsid()
        # Move out of the way first: a wanted number may still be in use.
        high = [os.dup2(fd, 300 + i) for i, fd in enumerate(keep)]
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.closerange(3, 300)
        for i, fd in enumerate(high):
            os.dup2(fd, first + i)
        os.closerange(300, 300 + len(high))
        send()
    except BaseException as e:
        with contextlib.suppress(OSError):
            os.write(2, f"the street could not start a process: {e!r}\n".encode())
    finally:
        os._exit(70)


class ProcessServer:
    """The loop in the process server; `main` is its entry."""

    def __init__(self, sock: socket.socket, workdir: Path) -> None:
        self._sock = sock
        self._workdir = workdir
        self._children: dict[int, str] = {}
        # A stdin that is open and without input, like an unplugged console.
        self._quiet, self._quiet_end = os.pipe()

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        wake_r, wake_w = os.pipe()
        os.set_blocking(wake_w, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        poll.register(wake_r, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == wake_r:
                    os.read(wake_r, 512)
                    self._reap()
                elif not self._serve():
                    return

    def close(self) -> None:
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in list(self._children):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        shutil.rmtree(self._workdir, ignore_errors=True)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self._children.pop(pid, "")
            self._tell({"exit": pid, "name": name, "status": os.waitstatus_to_exitcode(status)})

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._sock.send(json.dumps(message).encode())

    def _serve(self) -> bool:
        try:
            data, fds, _, _ = socket.recv_fds(self._sock, _MAX_MESSAGE, 200)
        except OSError:
            return False
        if not data:
            return False
        message = json.loads(data)
        try:
            if "kill" in message:
                if message["kill"] in self._children:
                    os.kill(message["kill"], message.get("signal", signal.SIGKILL))
                return True
            pid = self._spawn(message, fds)
            self._children[pid] = message["name"]
            self._tell({"spawned": message["ticket"], "pid": pid})
        except OSError as e:
            self._tell({"spawned": message.get("ticket"), "error": str(e)})
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _spawn(self, message: dict[str, Any], fds: list[int]) -> int:
        kind = message["do"]
        pid = os.fork()
        if pid:
            return pid
        log, rest = fds[0], fds[1:]
        if kind == "chip":
            _child(lambda: _chip(message), [*rest, self._quiet], log, HAL_FIRST_FD)
        if kind == "call":
            _child(lambda: _call(message), rest, log, HAL_FIRST_FD)
        _child(lambda: _exec(message), rest, log, HAL_FIRST_FD)


def _chip(message: dict[str, Any]) -> NoReturn:
    """Becomes a MicroPython interpreter: fds are events, links..., page, flash, quiet."""
    name_process(message["name"])
    if nice := message.get("nice", 0):
        os.nice(nice)
    first = HAL_FIRST_FD
    count = message["fds"]
    page = mapped(first + count - 2, message["page_size"], message["page_offset"])
    flash = mapped(first + count - 1, message["flash_size"])
    os.dup2(first + count, 0)
    os.chdir(message["hal"])
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, limits[1]))
    code = message["code"].format(page=page, flash=flash, size=message["flash_size"])
    argv = ["micropython", "-X", f"heapsize={message['heap']}", "-c", code]
    os._exit(run_interpreter(argv))


def _call(message: dict[str, Any]) -> NoReturn:
    """Runs `module:function` of ours in the child with the message's arguments."""
    import importlib

    name_process(message["name"])
    module, function = message["target"].split(":")
    getattr(importlib.import_module(module), function)(**message["args"])
    os._exit(0)


def _exec(message: dict[str, Any]) -> NoReturn:
    """Becomes another program."""
    if message.get("cwd"):
        os.chdir(message["cwd"])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.execvpe(message["argv"][0], message["argv"], {**os.environ, **message.get("env", {})})


def main(argv: list[str]) -> None:
    """Entry of the process server: `python -m pbal_sim.processserver FD WORKDIR`."""
    name_process("pbal-processes")
    # Ctrl-C is for the street's own process, which ends this one in order.
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, signal.SIG_IGN)
    import micropython_run  # noqa: F401  (loaded once, shared by every chip)

    from pbal_sim import bus  # noqa: F401

    sock = socket.socket(fileno=int(argv[0]))
    server = ProcessServer(sock, Path(argv[1]))
    try:
        server.run()
    finally:
        server.close()


if __name__ == "__main__":
    main(sys.argv[1:])
