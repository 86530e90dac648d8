"""Corrections: days of Druid's are replaced by the lake's, which has each window once."""

from __future__ import annotations

import datetime
import gzip
import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from pbal_hq.errors import TrendsError
from pbal_hq.lake import SUMMARY, Lake
from pbal_hq.trends.druid import FIELDS, Druid, correction

_TASK_S = 3600.0
_DAY = datetime.timedelta(days=1)


def correct(
    lake: Lake, druid: Druid, source: str, day: datetime.date, folder: Path,
    wait: Callable[[], None] = lambda: time.sleep(1.0),
) -> int:  # fmt: skip
    """Put the lake's rows of a day in the place of Druid's; how many rows.

    `folder`: HQ writes it, and Druid's indexers read it. Raises LakeError, TrendsError.
    """
    name = f"pbal-{day}-{uuid.uuid4().hex}"
    rows = 0
    try:
        with gzip.open(folder / f"{name}.json.gz", "wt", compresslevel=1) as out:
            for part in lake.parts(SUMMARY, day, day + _DAY):
                for table in lake.rows(SUMMARY, part):
                    for row in table.select(list(FIELDS)).to_pylist():
                        out.write(json.dumps(row) + "\n")
                        rows += 1
        if not rows:
            raise TrendsError(f"the lake has nothing of {day}: Druid's rows are left as they are")
        task = druid.submit(correction(source, day, str(folder), f"{name}.json.gz"))
        until = time.monotonic() + _TASK_S
        while (said := druid.status(task))[0] == "RUNNING":
            if time.monotonic() > until:
                raise TrendsError(f"Druid's task {task} takes more than {_TASK_S / 60:.0f} min")
            wait()
        if said[0] != "SUCCESS":
            raise TrendsError(f"Druid's task {task}: {said[0]} {said[1]}")
    except OSError as error:
        raise TrendsError(f"druid.folder: {folder}: {error.strerror or error}") from None
    finally:
        (folder / f"{name}.json.gz").unlink(missing_ok=True)
    return rows
