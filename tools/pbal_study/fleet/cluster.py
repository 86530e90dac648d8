"""Stations on a Dask cluster, for a fleet that one computer is too small for.

Needs dask.distributed. Workers need pbal with the extra `study`, and see the feeders' files under
the same paths; the pool of profiles is sent to each of them once. The OpenDSS engine is one to a
process, so stations take turns within a worker: give workers one thread each.
"""

import itertools
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import InputError, MissingError
from ..run import Options
from .drawing import Pool
from .job import Row, failed, study_station
from .stations import Station

_one_at_a_time = threading.Lock()


def _work(options: Options, station: Station, pool: Pool | None) -> Row:
    """On a worker."""
    with _one_at_a_time:
        return study_station(options, station, pool)


def _paths(paths: list[str]) -> list[str]:
    """On a worker: which of these are not there."""
    from pathlib import Path

    return [path for path in paths if not Path(path).exists()]


def on_cluster(
    stations: Iterable[Station],
    options: Options,
    pool: Pool | None,
    *,
    scheduler: str,
    wait_s: float = 30.0,
    ahead: int = 4,
) -> Iterator[tuple[Station, Row]]:
    """Rows as they come. scheduler: its address, such as tcp://10.0.0.1:8786. ahead: stations that
    wait at each thread of a worker.

    Raises InputError for what is no address, ConnectionError where the scheduler cannot be reached
    or is lost, MissingError where it has no workers within `wait_s`, or a worker has no pbal or
    lacks a feeder's file.
    """
    # Its functions have no type annotations.
    import distributed
    from distributed.comm.core import CommClosedError

    dask: Any = distributed

    try:
        client = dask.Client(scheduler, timeout=wait_s)
    except ValueError as exc:
        raise InputError(
            f"{scheduler!r} is not the address of a Dask scheduler: {exc}.",
            "Write it as the scheduler prints it, such as tcp://10.0.0.1:8786.",
        ) from exc
    except (OSError, TimeoutError) as exc:
        raise ConnectionError(f"there is no Dask scheduler at {scheduler} ({exc})") from exc
    try:
        threads = _ready(client, wait_s)
        todo = iter(stations)
        first = next(todo, None)
        if first is None:
            return
        _see(client, first)
        yield from _rows(client, itertools.chain([first], todo), options, pool, ahead * threads)
    except (CommClosedError, OSError) as exc:
        raise ConnectionError(f"the Dask scheduler at {scheduler} was lost ({exc})") from exc
    finally:
        client.close(timeout=5)


def _ready(client: Any, wait_s: float) -> int:
    """Threads of all workers, once there is one that has pbal."""
    try:
        client.wait_for_workers(1, timeout=wait_s)
    except TimeoutError:
        raise MissingError(
            f"The Dask scheduler has no workers after {wait_s:g} s.",
            "Start some:  dask worker ADDRESS --nthreads 1",
        ) from None
    return sum(client.nthreads().values())


def _see(client: Any, station: Station) -> None:
    """Raises MissingError where a worker lacks pbal, or the files of the first station."""
    paths = [
        str(p) for p in (station.feeder, station.homes_list, station.profiles) if p and p.exists()
    ]
    try:
        said = client.run(_paths, paths)
    except ModuleNotFoundError as exc:
        raise MissingError(
            f"A Dask worker lacks {exc.name!r}.",
            "Workers need this version of pbal with the extra 'study'.",
        ) from exc
    for worker, lost in said.items():
        if lost:
            raise MissingError(
                f"The Dask worker {worker} does not see {lost[0]}.",
                "Put the feeders on a file system that all workers have under the same path.",
            )


def _rows(
    client: Any, todo: Iterator[Station], options: Options, pool: Pool | None, most: int
) -> Iterator[tuple[Station, Row]]:
    import distributed

    dask: Any = distributed

    shared = client.scatter((options, pool), broadcast=True)

    def submit(station: Station) -> Any:
        return client.submit(_on_shared, shared, station, pure=False, retries=0)

    under_way = {submit(station): station for station in itertools.islice(todo, most)}
    finished = dask.as_completed(list(under_way))
    for future in finished:
        station = under_way.pop(future)
        exc = future.exception()
        if exc is None:
            yield station, future.result()
        else:
            # The scheduler has tried it on several workers, and each of them ended.
            yield station, failed(station, f"Its workers died: {type(exc).__name__}: {exc}")
        future.release()
        following = next(todo, None)
        if following is not None:
            new = submit(following)
            under_way[new] = following
            finished.add(new)


def _on_shared(shared: tuple[Options, Pool | None], station: Station) -> Row:
    options, pool = shared
    return _work(options, station, pool)
