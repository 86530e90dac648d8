"""Guards around every test: no task, no process and no malformed log call stays behind."""

import asyncio
import contextlib
import ctypes
import inspect
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path

# As `pbal study` does, before NumPy is loaded: on small matrices a second BLAS thread only spins.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
import pytest_asyncio
from hypothesis import settings
from rigs import needs

from pbal_host import TextFormatter

# A busy computer is not a defect: no example has a deadline.
settings.register_profile("pbal", deadline=None)
settings.load_profile("pbal")

PR_SET_CHILD_SUBREAPER = 36
OUR_LOGGERS = ("pbal_controller", "pbal_hq", "pbal_sim", "pbal_tools", "pbal_protocol")
LEAVE_GRACE_S = needs.PATIENCE_S


def pytest_configure(config: pytest.Config) -> None:
    """Makes orphans of killed children our children, so that the process guard sees them."""
    config.addinivalue_line(
        "markers", "keeps_processes: uses a fixture whose processes outlive the single test"
    )
    config.pluginmanager.register(_shared)
    told = os.environ.get("PBAL_SECOND_TRIES")
    # A worker's reports are told where it was started, too.
    if told and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SecondTries(Path(told)))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    # A shell that starts us in the background has us ignore Ctrl-C, and all our children with us.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_sessionstart(session: pytest.Session) -> None:
    """What a failed test shows of the log has its fields, too: they say why."""
    shown = session.config.pluginmanager.get_plugin("logging-plugin")
    if shown is not None:
        shown.report_handler.setFormatter(TextFormatter())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves long tests out where nobody asked for them; puts the task guard around every
    coroutine test, outside its other fixtures.
    """
    for item in items:
        if item.get_closest_marker("long") and not needs.long_tests():
            item.add_marker(pytest.mark.skip(reason="takes long: PBAL_LONG=1 or CI=true"))
        function = getattr(item, "obj", None)
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(function):
            item.fixturenames.insert(0, "no_leaked_tasks")


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """022 in every test: a command that runs within this process makes its own files private."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest_asyncio.fixture
async def no_leaked_tasks() -> AsyncIterator[None]:
    """Fails a coroutine test that ends with a task of its own still running."""
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0)
    ours = asyncio.current_task()
    left = [task for task in asyncio.all_tasks() - before if task is not ours and not task.done()]
    for task in left:
        task.cancel()
    if left:
        pytest.fail("tasks left running: " + ", ".join(str(task.get_coro()) for task in left))


def children() -> dict[int, str]:
    """Living child processes of this one: pid -> command line. Zombies do not count."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            for pid in (task / "children").read_text().split():
                with contextlib.suppress(OSError):
                    stat = Path("/proc", pid, "stat").read_text()
                    if stat.rpartition(")")[2].split()[0] != "Z":
                        line = Path("/proc", pid, "cmdline").read_bytes()
                        found[int(pid)] = line.replace(b"\0", b" ").decode(errors="replace")
    # The standard library's own helper lives as long as the interpreter.
    return {pid: line for pid, line in found.items() if "multiprocessing" not in line}


class Shared:
    """Remembers what fixtures for more than one test start: it is no leak of the test that happens
    to ask first. A plugin of its own: of a conftest.py in a folder pytest asks nothing about
    fixtures of the whole session.
    """

    def __init__(self) -> None:
        self.processes: set[int] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[object]
    ) -> Generator[None, object, object]:
        if fixturedef.scope == "function":
            return (yield)
        before = children()
        try:
            return (yield)
        finally:
            self.processes.update(children().keys() - before.keys())


_shared = Shared()


class SecondTries:
    """Writes the name of each test that gets a second try into a file: test.sh ends with them."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome == "rerun":  # of pytest-rerunfailures
            with self.file.open("a", encoding="utf-8") as file:
                file.write(report.nodeid + "\n")


@pytest.fixture(autouse=True)
def no_leaked_processes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a child process, or an orphan of one, behind; ends it."""
    if request.node.get_closest_marker("keeps_processes"):
        yield
        return
    before = children()
    yield
    before.update(dict.fromkeys(_shared.processes, ""))
    deadline = time.monotonic() + LEAVE_GRACE_S
    while left := {pid: line for pid, line in children().items() if pid not in before}:
        if time.monotonic() > deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            pytest.fail(f"processes left running: {left}")
        time.sleep(0.05)


class LogCheck(logging.Handler):
    """Formats every record at once and remembers the ones that cannot be formatted."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.malformed: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            record.getMessage()
        except (TypeError, ValueError, KeyError) as exc:
            where = f"{record.pathname}:{record.lineno}"
            self.malformed.append(f"{where}: {record.msg!r} with {record.args!r}: {exc}")


@pytest.fixture(autouse=True)
def no_malformed_logs() -> Iterator[None]:
    """Fails a test during which a log call's arguments did not fit its format."""
    check = LogCheck()
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in OUR_LOGGERS}
    root.addHandler(check)
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(logging.DEBUG)
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    root.removeHandler(check)
    if check.malformed:
        pytest.fail("malformed log calls:\n" + "\n".join(check.malformed))


@pytest.fixture
def require_tool() -> Callable[..., str]:
    """needs.require_tool: a program, or a skip (a failure in CI)."""
    return needs.require_tool


@pytest.fixture
def require_shared() -> Callable[..., Path]:
    """needs.require_shared: a path of the reference data, or a skip."""
    return needs.require_shared
