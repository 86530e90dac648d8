"""Stations in processes of this computer.

A worker that ends early (out of memory, a fault within the engine, longer than the limit) ends its
pool. The stations that were under way are then studied again, each alone in a process of its own;
the one that ends its process once more is a row with its reason.
"""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import connection
from pathlib import Path

import numpy as np

from ..run import Options
from .drawing import Pool
from .job import Row, failed, study_station
from .stations import Station

POOL = "pool.npy"
_shared: tuple[Options, Pool | None, float] | None = None


def save_pool(pool: Pool, folder: Path) -> Path:
    """Writes the pool's watts, for workers to map: one copy in memory serves all."""
    path = folder / POOL
    np.save(path, pool.profiles.watts)
    return path


def _begin(options: Options, pool: Pool | None, watts: Path | None, limit_s: float) -> None:
    """Once in each worker."""
    global _shared
    # Ctrl-C is handled by the first process, which ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    if pool is not None and watts is not None:
        mapped = np.load(watts, mmap_mode="r")
        pool = replace(pool, profiles=replace(pool.profiles, watts=mapped))
    _shared = options, pool, limit_s


def _work(station: Station) -> Row:
    assert _shared is not None
    options, pool, limit_s = _shared
    # From a thread of C, because the engine may never return to Python.
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(limit_s, exit=True, file=nowhere)
        try:
            return study_station(options, station, pool)
        finally:
            faulthandler.cancel_dump_traceback_later()


def in_processes(
    stations: Iterable[Station],
    options: Options,
    pool: Pool | None,
    folder: Path,
    *,
    workers: int,
    limit_s: float,
) -> Iterator[tuple[Station, Row]]:
    """Rows as they come. folder: for what the workers share; limit_s: the longest a station may
    take."""
    watts = None if pool is None else save_pool(pool, folder)
    small = pool
    if pool is not None:
        small = replace(pool, profiles=replace(pool.profiles, watts=pool.profiles.watts[:0]))

    def start(count: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(options, small, watts, limit_s),
        )

    try:
        todo = iter(stations)
        left = True
        while left:
            suspects: list[Station] = []
            with _ended(start(workers)) as executor:
                under_way: dict[Future[Row], Station] = {}
                while True:
                    while len(under_way) < 2 * workers and not suspects and left:
                        station = next(todo, None)
                        if station is None:
                            left = False
                            break
                        try:
                            under_way[executor.submit(_work, station)] = station
                        except BrokenProcessPool:
                            suspects.append(station)
                    if not under_way:
                        break
                    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                    for future in done:
                        station = under_way.pop(future)
                        try:
                            yield station, future.result()
                        except BrokenProcessPool:
                            suspects.append(station)
            for station in suspects:
                yield station, _alone(station, lambda: start(1), limit_s)
    finally:
        if watts is not None:
            watts.unlink(missing_ok=True)


def _alone(station: Station, start: Callable[[], ProcessPoolExecutor], limit_s: float) -> Row:
    """One station in a process of its own."""
    began = time.monotonic()
    with _ended(start()) as executor:
        try:
            return executor.submit(_work, station).result()
        except BrokenProcessPool:
            if time.monotonic() - began >= limit_s:
                return failed(station, f"It took longer than {limit_s:g} s (--limit).")
            return failed(station, "It ended its process, twice. Is there memory enough?")


@contextlib.contextmanager
def _ended(executor: ProcessPoolExecutor) -> Iterator[ProcessPoolExecutor]:
    """Ends all workers, however the block ends."""
    try:
        yield executor
    except BaseException:
        processes = list((executor._processes or {}).values())
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        raise
    else:
        executor.shutdown()


def processors() -> int:
    """How many processors this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
