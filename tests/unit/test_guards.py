"""The guards of conftest.py must themselves be able to fail."""

import sys
import textwrap
from pathlib import Path

import pytest
from rigs import needs

pytest_plugins = ["pytester"]

LEAKS = {
    "task": """
        import asyncio
        async def test_it():
            global task
            task = asyncio.create_task(asyncio.sleep(60))
        """,
    "process": """
        import subprocess
        def test_it():
            global child
            child = subprocess.Popen(["sleep", "60"])
        """,
    "orphan": """
        import subprocess
        def test_it():
            subprocess.run(["sh", "-c", "sleep 60 & exit 0"], check=True)
        """,
    "log": """
        import logging
        def test_it():
            logging.getLogger("pbal_controller.x").debug("%d homes", "many")
        """,
}
WORDS = {
    "task": "tasks left running",
    "process": "processes left running",
    "orphan": "processes left running",
    "log": "malformed log calls",
}


def run_inner(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, source: str, *words: str
) -> pytest.RunResult:
    conftest = (needs.ROOT / "tests" / "conftest.py").read_text()
    folder = pytester.mkdir("tests")  # not the root: pytest's hooks of a conftest.py differ there
    (folder / "conftest.py").write_text(
        conftest.replace("LEAVE_GRACE_S = needs.PATIENCE_S", "LEAVE_GRACE_S = 0.2")
    )
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    # Not as the option `pythonpath`, which pytest splits at spaces.
    monkeypatch.setenv("PYTHONPATH", str(Path(needs.__file__).parents[1]))
    (folder / "test_it.py").write_text(textwrap.dedent(source))
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *words)


@pytest.mark.parametrize("kind", LEAKS)
def test_guard_reports(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    result = run_inner(pytester, monkeypatch, LEAKS[kind])
    # pytest's own handler raises at a malformed log call already, unless the code swallows it.
    result.assert_outcomes(**{"failed" if kind == "log" else "passed": 1}, errors=1)
    assert WORDS[kind] in result.stdout.str()


def test_guard_is_silent_when_nothing_leaks(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_inner(
        pytester,
        monkeypatch,
        """
        import asyncio, subprocess, logging
        async def test_it():
            await asyncio.create_task(asyncio.sleep(0))
            subprocess.run(["true"], check=True)
            logging.getLogger("pbal_controller").warning("%d homes", 3)
        """,
    )
    result.assert_outcomes(passed=1)


def test_a_shared_process_outlives_the_test_that_asked_first(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_inner(
        pytester,
        monkeypatch,
        """
        import subprocess, pytest
        @pytest.fixture(scope="session")
        def server():
            child = subprocess.Popen(["sleep", "60"])
            yield child
            child.kill()
            child.wait()
        def test_first(request):
            assert request.getfixturevalue("server").poll() is None
        def test_second(server):
            assert server.poll() is None
        """,
    )
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("workers", [0, 1])
def test_who_needed_a_second_try_is_told_once(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workers: int
) -> None:
    told = tmp_path / "told"
    monkeypatch.setenv("PBAL_SECOND_TRIES", str(told))
    result = run_inner(
        pytester,
        monkeypatch,
        """
        tries = []
        def test_at_once():
            pass
        def test_later():
            tries.append(1)
            assert len(tries) == 2
        def test_never():
            assert False
        """,
        *("-n", str(workers), "--reruns", "1"),
    )
    result.assert_outcomes(passed=2, failed=1)
    names = ["tests/test_it.py::test_later", "tests/test_it.py::test_never"]
    assert sorted(told.read_text().split()) == names


def test_missing_tool_skips_here_and_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-tool"):
        needs.require_tool("no-such-tool")
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match="no-such-tool"):
        needs.require_tool("no-such-tool")
    assert Path(needs.require_tool(Path(sys.executable).name)).exists()
