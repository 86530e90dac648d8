"""The client of the process server: start, kill and await processes from asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pbal_sim.errors import TwinError


class ProcessClient:
    """Starts the process server and speaks to it.

    `on_exit(pid, name, status)` is called for every process that ends.
    """

    def __init__(self, on_exit: Callable[[int, str, int], None]) -> None:
        self.workdir = Path(tempfile.mkdtemp(prefix="pbal-street-"))
        self._on_exit = on_exit
        self._tickets: dict[int, asyncio.Future[int]] = {}
        self._next = 0
        self._waiting_exit: dict[int, list[asyncio.Future[int]]] = {}
        self._gone: dict[int, int] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None

    async def start(self) -> None:
        """Starts the process server. Raises TwinError when the interpreter is not installed."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            self._process = subprocess.Popen(  # noqa: ASYNC220  (returns at once)
                [
                    sys.executable,
                    "-m",
                    "pbal_sim.processserver",
                    str(theirs.fileno()),
                    str(self.workdir),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            theirs.close()
        self._sock = ours
        asyncio.get_running_loop().add_reader(ours.fileno(), self._read)

    async def stop(self) -> None:
        """Ends every process and removes the working folder."""
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None
        if self._process is not None:
            process = self._process
            self._process = None
            try:
                await asyncio.to_thread(process.wait, 20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.workdir, ignore_errors=True)

    async def spawn(self, message: dict[str, Any], fds: Sequence[int]) -> int:
        """Starts one process and returns its pid; `fds[0]` is its log."""
        if self._sock is None:
            raise TwinError("the street is not running: start it before its processes")
        self._next += 1
        ticket = self._next
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._tickets[ticket] = future
        data = json.dumps({**message, "ticket": ticket}).encode()
        while True:
            try:
                socket.send_fds(self._sock, [data], list(fds))
                break
            except BlockingIOError:
                await asyncio.sleep(0.002)
            except OSError as e:
                raise TwinError(f"the street's process server has ended ({e})") from e
        return await future

    def kill(self, pid: int, sig: int = signal.SIGKILL) -> None:
        """Sends a signal to a process that this street started; no error when it is gone."""
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.send(json.dumps({"kill": pid, "signal": int(sig)}).encode())

    async def wait(self, pid: int) -> int:
        """Awaits the end of a process; its exit status, negative = signal."""
        if pid in self._gone:
            return self._gone[pid]
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting_exit.setdefault(pid, []).append(future)
        return await future

    def _read(self) -> None:
        assert self._sock is not None
        while True:
            try:
                data = self._sock.recv(65536)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data = b""
            if not data:
                self._lost()
                return
            message = json.loads(data)
            if "spawned" in message:
                future = self._tickets.pop(message["spawned"], None)
                if future is not None and not future.done():
                    if "error" in message:
                        future.set_exception(TwinError(message["error"]))
                    else:
                        future.set_result(message["pid"])
            elif "exit" in message:
                pid, status = message["exit"], message["status"]
                self._gone[pid] = status
                for future in self._waiting_exit.pop(pid, []):
                    if not future.done():
                        future.set_result(status)
                self._on_exit(pid, message["name"], status)

    def _lost(self) -> None:
        if self._sock is not None:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
        error = TwinError(
            "the street's process server ended; is the extra `sim` of pbal installed?"
        )
        pending = list(self._tickets.values())
        for futures in self._waiting_exit.values():
            pending.extend(futures)
        for future in pending:
            if not future.done():
                future.set_exception(error)
        self._tickets.clear()
        self._waiting_exit.clear()


def memory_file(name: str, size: int) -> int:
    """An anonymous file in memory: gone with the last process that holds it."""
    fd = os.memfd_create(name)
    os.ftruncate(fd, size)
    return fd
