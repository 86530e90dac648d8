"""Puts the application on a board that shows its prompt: only what differs, main.py last.

main.py is removed first and written last, so that a pulled cable never leaves a part of an
application that starts by itself, and no watchdog runs while files are copied.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..consolelock import Unlock, nobody
from ..errors import CheckFailed, PeerError, SelfTestFailed
from . import device, repl
from .mp import Lost, Mpremote

KEPT_FOLDERS = ("/cfg", "/log")
# /app holds the slots of updates over the bearer: one left there would start in place of /lib.
OUR_FOLDERS = ("/lib", "/app")
START_FILES = ("/boot.py", "/main.py")
TRIES = 4
PROMPT_S = 60.0
OLDEST = (1, 24)  # the firmware needs what this version added
# A node that fails in one of these is not started; a missing sensor it reports by itself.
MUST_PASS = {"flash", "version", "board", "crypto", "contacts", "modules"}
BATCH_BYTES = 24_000

Step = Callable[[str, float], None]


class Damaged(CheckFailed):
    """Files arrived damaged; sending them again may help."""


@dataclass(frozen=True)
class NodeInfo:
    """What MicroPython on the board reports about itself."""

    micropython: str
    machine: str
    mac: str
    mpy: int
    free: int
    total: int
    provisioned: bool
    has_main: bool

    @property
    def eui(self) -> str:
        """EUI-64 of the chip: its MAC with ff:fe in the middle (IEEE's mapping of an EUI-48)."""
        raw = self.mac
        return raw[:6] + "fffe" + raw[6:] if len(raw) == 12 else raw.rjust(16, "0")


@dataclass
class Installed:
    """What an installation did."""

    files: int = 0
    copied: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    bytes_copied: int = 0
    missing: int = 1 << 30  # files that were not on the board when it was last listed
    tests: list[tuple[str, bool, str]] = field(default_factory=list)


def probe(mp: Mpremote) -> NodeInfo:
    """Asks the board what it is. Raises PeerError if that is no supported MicroPython."""
    answers = device.marked(mp.script(device.PROBE), "@I")
    if not answers:
        raise PeerError(
            f"{mp.port}: the prompt did not answer as MicroPython does.",
            "Write the MicroPython image first.",
        )
    data: dict[str, Any] = device.answer(answers[0])
    return NodeInfo(
        data["version"],
        data["machine"],
        data["id"],
        data["mpy"],
        data["free"],
        data["total"],
        data["identity"],
        data["main"],
    )


def contact(
    port: str, prompt_s: float, note: Callable[[str], None], unlock: Unlock = nobody
) -> NodeInfo:
    """Waits for the prompt and asks the board what it is; again where it restarts meanwhile.

    Raises NoRepl, ConsoleLocked, port errors, PeerError, or Lost for a connection that keeps
    breaking.
    """
    for attempt in range(TRIES):
        repl.reach_prompt(port, prompt_s, note, unlock=unlock)
        try:
            return probe(Mpremote(port))
        except Lost as exc:
            if attempt == TRIES - 1:
                raise
            note(f"{exc.message} Asking again.")
    raise AssertionError("unreachable")


def listing(
    mp: Mpremote, script: str = device.LIST
) -> tuple[dict[str, tuple[int, str]], list[str]]:
    """Files on the board (path -> size, SHA-256) and folders, without what it keeps itself.

    Raises Lost if the answer is cut short.
    """
    text = mp.script(script, total_s=300)
    if not device.marked(text, "@E") and "@E" not in text:
        raise Lost(f"{mp.port}: the list of files was cut short.", "Run the command again.")
    files = {}
    for line in device.marked(text, "@F"):
        size, digest, path = line.split(" ", 2)
        files[path] = (int(size), digest)
    return files, device.marked(text, "@D")


def differences(
    want: dict[str, bytes], have: dict[str, tuple[int, str]]
) -> tuple[list[str], list[str]]:
    """What to copy and what to remove: files of ours that are not wanted would shadow new ones."""
    copy = [
        path
        for path, content in want.items()
        if have.get(path, (-1, ""))[1] != hashlib.sha256(content).hexdigest()
    ]
    stale = [
        path
        for path in have
        if path not in want
        and (
            path.startswith(tuple(f + "/" for f in OUR_FOLDERS))
            or path in START_FILES
            or (path.endswith(".py") and path.count("/") == 1)
        )
    ]
    return sorted(copy, key=lambda path: (path in START_FILES, path == "/main.py", path)), stale


def install(
    port: str,
    board: str,
    version: str,
    want: dict[str, bytes],
    step: Step,
    note: Callable[[str], None],
    prompt_s: float = PROMPT_S,
    unlock: Unlock = nobody,
    info: NodeInfo | None = None,
) -> Installed:
    """Brings a board's files to `want`, verifies each hash on the board, runs the self-test and
    starts the node. `info` is what a board has said that is at its prompt.

    Repeats by itself after a break of the connection, or files that a poor line damaged, until
    three tries in a row found no fewer files to copy than before. Raises SelfTestFailed,
    CheckFailed, or what the last break was.
    """
    result = Installed(files=len(want))
    fewest = len(want) + 1
    attempt = tries = 0
    while True:
        attempt, tries = attempt + 1, tries + 1
        try:
            step("prompt" if attempt == 1 else f"prompt, try {attempt}", 0.0)
            again = partial(repl.reach_prompt, port, prompt_s, note, unlock=unlock)
            mp = Mpremote(port)
            if info is None or attempt > 1:
                again()
                info = probe(mp)
            _bring(mp, info, board, version, want, result, step, again)
            return result
        except (Lost, Damaged) as exc:
            if result.missing < fewest:
                fewest, tries = result.missing, 1  # a poor line, but with progress
            if tries == TRIES:
                raise
            note(f"{exc.message} Going on ({tries} of {TRIES - 1}).")


def _bring(
    mp: Mpremote,
    info: NodeInfo,
    board: str,
    version: str,
    want: dict[str, bytes],
    result: Installed,
    step: Step,
    reach_prompt: Callable[[], object],
) -> None:
    _check_micropython(mp.port, info, want)
    step("comparing", 0.0)
    have, folders = listing(mp)
    copy, stale = differences(want, have)
    result.missing = len(copy)
    early = [path for path in copy if path != "/main.py"]
    if (early or stale) and info.has_main:
        # From here until the end the board starts without its program, and without its watchdog.
        mp.script(device.REMOVE.format(paths=["/main.py"], folders=[]))
        have.pop("/main.py", None)
        if "/main.py" not in copy:
            copy.append("/main.py")
        mp.reset()
        reach_prompt()
    if stale:
        mp.script(device.REMOVE.format(paths=stale, folders=[]))
        result.removed += stale
    _make_folders(mp, want, folders)
    _copy(mp, want, early, result, step)
    if early or stale:
        # Without a change the list from above has said it.
        _verify(mp, {path: want[path] for path in want if path != "/main.py"})
    step("self-test", 0.0)
    result.tests = self_test(mp, board, version)
    failed = {name: text for name, ok, text in result.tests if not ok}
    if failed.keys() & MUST_PASS:
        raise _failed(mp.port, failed, "The node is not started: correct the board file or the ")
    if "/main.py" in copy:
        _copy(mp, want, ["/main.py"], result, step)
        _verify(mp, {"/main.py": want["/main.py"]}, device.LIST_MAIN)
    step("starting", 1.0)
    mp.reset()
    _watch_start(mp.port)
    if failed:
        raise _failed(mp.port, failed, "The node runs, but check its sensors and the ")


def _failed(port: str, failed: dict[str, str], remedy: str) -> SelfTestFailed:
    told = "; ".join(f"{name}: {text}" for name, text in failed.items())
    return SelfTestFailed(
        f"{port}: the self-test failed: {told}",
        f"{remedy}wiring, then test again with `pbal flash --app-only`.",
    )


def _check_micropython(port: str, info: NodeInfo, want: dict[str, bytes]) -> None:
    """Before a file is touched: would this MicroPython run the application? Raises PeerError."""
    told = tuple(int(part) for part in info.micropython.split(".")[:2] if part.isdigit())
    if len(told) == 2 and told < OLDEST:
        raise PeerError(
            f"{port}: MicroPython {info.micropython} is older than {OLDEST[0]}.{OLDEST[1]}.",
            "Write a newer image: `pbal flash` without --app-only.",
        )
    ours = {content[1] for path, content in want.items() if path.endswith(".mpy")}
    if ours and info.mpy and ours != {info.mpy}:
        raise PeerError(
            f"{port}: MicroPython {info.micropython} loads .mpy version {info.mpy}, the "
            f"application is compiled as {ours.pop()}.",
            "Use an image of MicroPython 1.24 or newer, or the mpy-cross of that release.",
        )


def _make_folders(mp: Mpremote, want: dict[str, bytes], have: list[str]) -> None:
    needed: list[str] = []
    for path in want:
        parts = path.split("/")[1:-1]
        for depth in range(len(parts)):
            folder = "/" + "/".join(parts[: depth + 1])
            if folder not in needed and folder not in have:
                needed.append(folder)
    if needed:
        mp.script(device.MKDIR.format(paths=needed))


def _copy(
    mp: Mpremote, want: dict[str, bytes], paths: list[str], result: Installed, step: Step
) -> None:
    total = sum(len(want[path]) for path in paths) or 1
    done = 0
    batch: list[str] = []

    def send() -> None:
        nonlocal done
        started: list[str] = []

        def follow(path: str) -> None:
            so_far = done + sum(len(want[item]) for item in started)
            started.append(path)
            step(f"copying {path}", so_far / total)

        size = sum(len(want[path]) for path in batch)
        mp.copy([(path, want[path]) for path in batch], follow, total_s=120 + size / 200)
        done += size
        result.copied += batch
        result.bytes_copied += size
        batch.clear()

    for path in paths:
        batch.append(path)
        if sum(len(want[item]) for item in batch) >= BATCH_BYTES:
            send()
    if batch:
        send()


def _verify(mp: Mpremote, want: dict[str, bytes], script: str = device.LIST) -> None:
    have, _ = listing(mp, script)
    wrong = [
        path
        for path, content in want.items()
        if have.get(path) != (len(content), hashlib.sha256(content).hexdigest())
    ]
    if wrong:
        raise Damaged(
            f"{mp.port}: {len(wrong)} files are not on the board as they were sent: "
            f"{', '.join(wrong[:3])}.",
            "Run the command again; if it repeats, the flash is worn out: repeat with --erase.",
        )


def self_test(mp: Mpremote, board: str, version: str) -> list[tuple[str, bool, str]]:
    """Runs the node's self-test; one (name, passed, words) for each check. Raises PeerError."""
    answers = device.marked(mp.script(device.self_test(board, version), fresh=False), "@T")
    if not answers:
        raise PeerError(f"{mp.port}: the self-test gave no result.", "Run the command again.")
    return [(name, ok, str(text)) for name, ok, text in device.answer(answers[0])]


def _watch_start(port: str, for_s: float = 4.0) -> None:
    """Listens while the node starts: a traceback or a prompt means that it does not run."""
    said = repl.listen(port, for_s)
    if "Traceback" in said or ">>> " in said:
        lines = [line.strip() for line in said.splitlines() if line.strip() and ">>>" not in line]
        last = next((line for line in reversed(lines) if "Error" in line), "it ended by itself")
        raise SelfTestFailed(
            f"{port}: the node does not stay up: {last}",
            "`pbal node status` shows its log; report this with the output of -v.",
        )
