"""A fleet on a Dask cluster: a real scheduler and two workers, each a process of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs import needs

STATIONS = 8


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The scheduler's address, and the processes of its two workers."""
    needs.require_module("distributed", "fleet")
    needs.require_module("dss", "study")
    folder = tmp_path_factory.mktemp("dask")
    where = folder / "scheduler.json"
    with (folder / "log").open("wb") as log:
        common = {"stdout": log, "stderr": log, "cwd": folder}
        scheduler = subprocess.Popen(
            [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
             "--port", "0", "--no-dashboard", "--no-show", "--scheduler-file", str(where)],
            **common,
        )  # fmt: skip
        workers = []
        try:
            until(where.exists)
            workers = [
                subprocess.Popen(
                    [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file",
                     str(where), "--nthreads", "1", "--no-nanny", "--no-dashboard",
                     "--host", "127.0.0.1"],
                    **common,
                )
                for _ in range(2)
            ]  # fmt: skip
            yield json.loads(where.read_text())["address"], workers
        finally:
            for process in (*workers, scheduler):
                process.kill()
                process.wait()


def until(true: object, seconds: float = 100.0) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def write_input(folder: Path) -> None:
    """A feeder, a broken one, and stations of both and of counted homes."""
    from pbal_tools.study.demo import write_demo

    write_demo(folder, 0.05, 1)
    (folder / "broken.dss").write_text("New Circuit.x\n")
    rows = ["station,feeder,homes,kva", "Mill,demo_feeder.dss,,", "Odd,broken.dss,,"]
    rows += [f"S{k},,12,100" for k in range(STATIONS - 2)]
    (folder / "stations.csv").write_text("\n".join(rows) + "\n")


def command(folder: Path, out: str, *more: str) -> list[str]:
    return [
        sys.executable, "-c", "from pbal_tools.cli import main; main()", "study", "fleet",
        str(folder / "stations.csv"), "--profiles", str(folder / "demo_profiles.csv.gz"),
        "--main-ohm", "0.05", "--out", str(folder / out), "--json", *more,
    ]  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_cluster_and_processes_come_to_the_same_also_when_a_worker_dies(
    cluster: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path
) -> None:
    address, workers = cluster
    write_input(tmp_path)
    here = subprocess.run(
        command(tmp_path, "here", "--workers", "1"), capture_output=True, timeout=400, check=False
    )
    assert here.returncode == 0, here.stderr
    there = subprocess.run(
        command(tmp_path, "there", "--scheduler", address),
        capture_output=True,
        timeout=400,
        check=False,
    )
    assert there.returncode == 0, there.stderr

    def figures(text: bytes) -> list[dict[str, object]]:
        stations = json.loads(text)["stations"]
        return [{k: v for k, v in row.items() if k != "seconds"} for row in stations]

    assert figures(there.stdout) == figures(here.stdout)
    said = json.loads(there.stdout)["totals"]
    assert (said["stations"], said["failed"]) == (STATIONS - 1, 1)

    # One of the workers dies in the midst; the other takes over what it held.
    kept = tmp_path / "again" / "rows.jsonl"
    again = subprocess.Popen(
        command(tmp_path, "again", "--scheduler", address),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until(lambda: kept.exists() and kept.stat().st_size > 0)
    workers[0].kill()
    out, errors = again.communicate(timeout=400)
    assert again.returncode == 0, errors
    assert figures(out) == figures(here.stdout)


@pytest.mark.timeout(300)
def test_no_scheduler_is_told_with_its_own_exit_code(tmp_path: Path) -> None:
    needs.require_module("distributed", "fleet")
    write_input(tmp_path)
    done = subprocess.run(
        command(tmp_path, "out", "--scheduler", "tcp://127.0.0.1:9"),
        capture_output=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 5
    assert b"no Dask scheduler at tcp://127.0.0.1:9" in done.stderr
    assert json.loads(done.stdout)["exit_code"] == 5


@pytest.mark.parametrize("address", ["nonsense", "foo://x:1"])
def test_what_is_no_address_is_a_wrong_input(address: str) -> None:
    needs.require_module("distributed", "fleet")
    from rigs.fleet import SHARED

    from pbal_study import InputError
    from pbal_study.fleet.cluster import on_cluster

    with pytest.raises(InputError, match="not the address of a Dask scheduler") as caught:
        next(on_cluster([], SHARED, None, scheduler=address))
    assert "tcp://10.0.0.1:8786" in caught.value.remedy
