"""One board from the box to a running node, step by step, and several of them at once."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from ..consolelock import Unlock, nobody
from ..describe import describe
from ..errors import CheckFailed, CliError, ConsoleLocked, NoBootloader, RefusedError
from . import esp, ports, repl, state
from .image import Image
from .install import Installed, NodeInfo, contact, install, probe
from .mp import Mpremote
from .run import end_all


class Show(Protocol):
    """Receives the progress of a job. Called from several threads."""

    def step(self, port: str, words: str, share: float) -> None:
        """A step and how much of it is done, 0..1."""

    def note(self, port: str, words: str) -> None:
        """Something a person may want to act on."""


@dataclass(frozen=True)
class Order:
    """What to do with each board."""

    board: str
    version: str
    chip: str
    image: Image | None
    files: dict[str, bytes]
    baud: int = 460800
    before: str = "default-reset"
    after: str = "hard-reset"
    stub: bool = True
    erase: bool | None = None
    forget: bool = False
    again: bool = False
    repl_timeout_s: float = 90.0
    folder: Path = field(default_factory=state.state_folder)
    unlock: Unlock = nobody


@dataclass
class Report:
    """The result for one board."""

    port: str
    ok: bool = False
    mac: str = ""
    eui: str = ""
    image: str = ""
    micropython: str = ""
    application: str = ""
    provisioned: bool = False
    installed: Installed = field(default_factory=Installed)
    seconds: float = 0.0
    exit_code: int = 0
    error: str = ""
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        out = asdict(self)
        inner = out.pop("installed")
        out["files"] = {
            "verified": inner["files"] if self.ok else 0,
            "copied": inner["copied"],
            "removed": inner["removed"],
            "bytes_copied": inner["bytes_copied"],
        }
        out["self_test"] = [
            {"name": name, "ok": ok, "result": text} for name, ok, text in inner["tests"]
        ]
        return out


def flash_all(targets: list[str], order: Order, show: Show) -> list[Report]:
    """Works on every port at once; one board's failure leaves the others alone."""
    pool = ThreadPoolExecutor(max_workers=len(targets), thread_name_prefix="flash")
    try:
        jobs = {pool.submit(flash_one, port, order, show): port for port in targets}
        done = {jobs[job]: job.result() for job in as_completed(jobs)}
    except KeyboardInterrupt:
        # The threads first, or this one would wait for all of their remaining work.
        end_all()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return [done[port] for port in targets]


def flash_one(port: str, order: Order, show: Show) -> Report:
    """Works on one board. Every failure ends in the report, none is raised."""
    report = Report(port)
    start = time.monotonic()
    try:
        _flash(port, order, show, report)
        report.ok = True
    except Exception as exc:
        told = describe(exc)
        report.exit_code = int(told.code)
        report.error, report.remedy = told.message, told.remedy
        show.step(port, "failed", 1.0)
    report.seconds = round(time.monotonic() - start, 1)
    return report


_board_lock = threading.Lock()


def _flash(port: str, order: Order, show: Show, report: Report) -> None:
    def step(words: str, share: float) -> None:
        show.step(port, words, share)

    def note(words: str) -> None:
        show.note(port, words.removeprefix(f"{port}: "))

    step("port", 0.0)
    ports.check(port, opening=order.image is None or not order.before.startswith("no-reset"))
    if order.image is not None:
        report.image = order.image.sha256
        _write_image(port, order, order.image, step, note, report)
    step("prompt", 0.0)
    info = contact(port, order.repl_timeout_s, note, order.unlock)
    _describe(info, report)
    if order.image is not None:
        _remember(order, info.mac, port)
    if order.erase and not order.stub and order.image is not None:
        note("without the stub only the image's area was erased; the files are replaced one by one")
    report.installed = install(
        port, order.board, order.version, order.files, step, note, order.repl_timeout_s,
        order.unlock, info,
    )  # fmt: skip
    report.application = order.version
    step("done", 1.0)


def _describe(info: NodeInfo, report: Report) -> None:
    report.mac = ":".join(info.mac[i : i + 2] for i in range(0, len(info.mac), 2))
    report.eui = info.eui
    report.micropython = info.micropython
    report.provisioned = info.provisioned


def _remember(order: Order, mac: str, port: str) -> None:
    assert order.image is not None
    with _board_lock:
        state.save(order.folder, state.Progress(mac.lower(), order.board, order.image.sha256, port))


def _write_image(
    port: str,
    order: Order,
    image: Image,
    step: Callable[[str, float], None],
    note: Callable[[str], None],
    report: Report,
) -> None:
    """Writes the image unless this very board is known to hold it already."""
    remembered = state.last_on_port(order.folder, port)
    # A board that no control line can reset must be in its boot loader already: it is not asked.
    may_ask = order.before == "default-reset" and ports.has_control_lines(port)
    known = remembered is not None and remembered.image_sha256 == image.sha256
    info: NodeInfo | None = None
    if (known and not order.again) or (order.erase is not False and may_ask and not order.forget):
        # An interrupted board is continued where it was; one that holds keys is not erased by
        # accident.
        info = _peek(port, step, 10.0 if known else 6.0, order)
    if info is not None and known and not order.again and order.erase is None:
        done = state.load(order.folder, info.mac)
        if done.image_sha256 == image.sha256 and done.board == order.board:
            note("the image is on this board already: only the application is looked at")
            return
    erase = order.erase
    if info is not None and info.provisioned and not order.forget:
        if erase:
            raise RefusedError(
                f"{port}: it is provisioned; erasing it would forget its keys and counters.",
                "Add --forget if that is meant, and provision it anew with a new key afterwards.",
            )
        note("this board is provisioned: its keys and settings are kept, only the program changes")
        erase = False
    if erase is None:
        erase = True
    link = esp.Link(port, order.chip, order.baud, order.before, order.after, order.stub)
    report.mac = _write(link, image, erase, step, note)


def _peek(
    port: str, step: Callable[[str, float], None], within_s: float, order: Order
) -> NodeInfo | None:
    """What runs on the board now, or None if nothing answers in time.

    A locked console belongs to a provisioned node: without its secret nothing is erased unless
    that was asked for. Raises ConsoleLocked.
    """
    step("looking", 0.0)
    try:
        repl.reach_prompt(port, within_s, may_reset=False, unlock=order.unlock)
        return probe(Mpremote(port, silent_s=15))
    except ConsoleLocked as exc:
        if order.forget:
            return None
        raise ConsoleLocked(
            exc.message, f"{exc.remedy} --forget erases it, with its keys and counters."
        ) from None
    except CliError:
        return None


def _write(
    link: esp.Link,
    image: Image,
    erase: bool,
    step: Callable[[str, float], None],
    note: Callable[[str], None],
) -> str:
    """Writes the image; with a slower rate, or without the stub, where the line or the chip cannot
    do better. Returns the MAC.
    """
    resets = link.before == "default-reset" and ports.has_control_lines(link.port)
    without_stub: esp.StubFailed | None = None
    while True:
        slow = not link.fast or link.baud <= 115200
        try:
            return esp.write(link, image, erase, step).mac
        except esp.RateFailed as exc:
            # The chip listens at the new rate now: without a reset it cannot be reached.
            if slow or not resets:
                raise
            note(f"{exc.message} Going on at 115200 baud; --baud 115200 does so from the start.")
            link = replace(link, baud=115200)
        except esp.StubFailed as exc:
            note("the chip does not run the flasher stub: going on without it, which is slower")
            # Nothing can reset it: a boot loader that only refused the stub still listens, one
            # that jumped into it does not.
            without_stub = exc
            link = replace(link, stub=False, attempts=link.attempts if resets else 2)
        except NoBootloader:
            if without_stub is None or resets:
                raise
            raise CheckFailed(without_stub.message, without_stub.remedy) from None
        except CheckFailed as exc:
            if slow:
                raise
            note(f"{exc.message} Trying once more at 115200 baud.")
            link = replace(link, baud=115200)
