"""The lake's files: hours that are merged into, and days that they become.

    summary/day=2026-11-28/region=kerala/h07.parquet    the hour from 07:00 UTC
    summary/day=2026-11-28/region=kerala/day.parquet    all hours, once the day is over

New rows are merged with those of the hour, each once, and a file in which nothing changes is not
written: what is written a second time changes nothing. In a day's file each row group has rows of
one hour, so that no more than an hour is in memory.

Where `day.parquet` is there, it counts alone: hours beside it are what a killed compaction left.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.parquet as pq

from pbal_hq.errors import LakeError
from pbal_hq.lake.columns import Kind
from pbal_hq.lake.keys import Sealing
from pbal_hq.lake.place import Place

DAY_S, HOUR_S = 86_400, 3600
DAY_FILE = "day.parquet"
_HOUR_FILE = re.compile(r"h([01]\d|2[0-3])\.parquet")
_FORMAT = {"pbal.lake": "1"}


def _hour_file(hour: int) -> str:
    return f"h{hour:02d}.parquet"


@dataclass(frozen=True, order=True)
class Part:
    """One day (UTC) of one region."""

    day: datetime.date
    region: str

    @classmethod
    def of(cls, at_s: int, region: str) -> Part:
        """Of a row's time."""
        return cls(datetime.datetime.fromtimestamp(at_s, datetime.UTC).date(), region)

    @property
    def start_s(self) -> int:
        """Where the day begins, unix seconds."""
        begin = datetime.datetime.combine(self.day, datetime.time(), datetime.UTC)
        return int(begin.timestamp())


class Lake:
    """The files of all kinds. Methods raise LakeError; those that write need the lake's lock."""

    def __init__(self, place: Place, sealing: Sealing) -> None:
        self.place = place
        self.sealing = sealing

    def check(self) -> None:
        """Raises LakeError where no lake is there, or one that would be written in the clear."""
        self.place.check()
        if self.place.encrypted and self.sealing.ring is None:
            raise LakeError(
                f"{self.place.url} is encrypted, and no key is given: set lake.key_file"
            )

    # -- what there is --------------------------------------------------------------------------

    def days(self, kind: Kind) -> list[datetime.date]:
        """The days of which there is anything."""
        return [datetime.date.fromisoformat(text) for text in self._values(kind.name, "day")]

    def parts(self, kind: Kind, since: datetime.date, until: datetime.date) -> list[Part]:
        """The parts of these days, `until` not included."""
        return [
            Part(day, unquote(region))
            for day in self.days(kind)
            if since <= day < until
            for region in self._values(f"{kind.name}/day={day}", "region")
        ]

    def _values(self, folder: str, name: str) -> list[str]:
        found = self.place.names(folder)
        for each in found:
            if not each.startswith(f"{name}="):
                raise _foreign(self.place, f"{folder}/{each}")
        return [each.removeprefix(f"{name}=") for each in found]

    def folder(self, kind: Kind, part: Part) -> str:
        """Where a part's files are."""
        return f"{kind.name}/day={part.day}/region={quote(part.region, safe='')}"

    def files(self, kind: Kind, part: Part) -> list[str]:
        """The files that count, in the order of time. Raises LakeError for one that is not ours."""
        folder, names = self._checked(kind, part)
        return [f"{folder}/{name}" for name in ([DAY_FILE] if DAY_FILE in names else names)]

    def _checked(self, kind: Kind, part: Part) -> tuple[str, list[str]]:
        """A part's folder, and the names in it, which are all ours."""
        folder = self.folder(kind, part)
        names = self.place.names(folder)
        for name in names:
            if name != DAY_FILE and not _HOUR_FILE.fullmatch(name):
                raise _foreign(self.place, f"{folder}/{name}")
        return folder, names

    def rows(self, kind: Kind, part: Part) -> Iterator[pa.Table]:
        """A part's rows, an hour at a time."""
        for path in self.files(kind, part):
            with _opened(self, path) as file:
                for _, groups in sorted(_hours(file, kind, part).items()):
                    yield file.read_row_groups(groups)

    # -- writing --------------------------------------------------------------------------------

    def add(self, kind: Kind, part: Part, table: pa.Table) -> int:
        """Merge rows into a part; how many files were written."""
        new = _by_hour(kind, part, table)
        folder = self.folder(kind, part)
        if DAY_FILE in self.place.names(folder):
            return self._add_to_day(kind, part, new)
        written = 0
        for hour, rows in new.items():
            path = f"{folder}/{_hour_file(hour)}"
            old = self._read(path, kind)
            merged = kind.once([rows] if old is None else [old, rows])
            if old is None or not merged.equals(old):
                self._publish(path, merged.schema, [merged])
                written += 1
        return written

    def _add_to_day(self, kind: Kind, part: Part, new: dict[int, pa.Table]) -> int:
        path = f"{self.folder(kind, part)}/{DAY_FILE}"
        with _opened(self, path) as file:
            groups = _hours(file, kind, part)
            merged = {}
            for hour, rows in new.items():
                old = [file.read_row_groups(groups[hour])] if hour in groups else []
                made = kind.once([*old, rows])
                if not old or not made.equals(old[0]):
                    merged[hour] = made
            if not merged:
                return 0
            schema = pa.unify_schemas(
                [file.schema_arrow, *(t.schema for t in merged.values())],
                promote_options="permissive",
            )
            hours = (
                merged[hour] if hour in merged else file.read_row_groups(groups[hour])
                for hour in sorted(groups.keys() | merged.keys())
            )
            self._publish(path, schema.remove_metadata(), hours)
        return 1

    def compact(self, kind: Kind, part: Part) -> bool:
        """Make one file of a day's hours; whether there was anything to do."""
        folder, names = self._checked(kind, part)
        hours = [name for name in names if name != DAY_FILE]
        if not hours:
            return False
        # Hours beside a day are in it already, unless a person brought them back.
        if DAY_FILE in names:
            for name in hours:
                if (rows := self._read(f"{folder}/{name}", kind)) is not None:
                    self._add_to_day(kind, part, _by_hour(kind, part, rows))
        else:
            schemas = []
            for name in hours:
                with _opened(self, f"{folder}/{name}") as file:
                    schemas.append(file.schema_arrow.remove_metadata())
            tables = (self._read(f"{folder}/{name}", kind) for name in hours)
            self._publish(
                f"{folder}/{DAY_FILE}",
                pa.unify_schemas(schemas, promote_options="permissive"),
                (table for table in tables if table is not None),
            )
        for name in hours:
            self.place.remove(f"{folder}/{name}")
        return True

    def reseal(self, kind: Kind, part: Part) -> int:
        """Write a part's files anew with the newest key; how many."""
        paths = self.files(kind, part)
        for path in paths:
            with _opened(self, path) as file:
                groups = _hours(file, kind, part)
                tables = (file.read_row_groups(groups[hour]) for hour in sorted(groups))
                self._publish(path, file.schema_arrow.remove_metadata(), tables)
        return len(paths)

    def drop_before(self, kind: Kind, day: datetime.date) -> int:
        """Delete the days before `day`; how many."""
        old = [each for each in self.days(kind) if each < day]
        for each in old:
            self.place.remove(f"{kind.name}/day={each}")
        return len(old)

    def _read(self, path: str, kind: Kind) -> pa.Table | None:
        try:
            with _opened(self, path) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def _publish(self, path: str, schema: pa.Schema, tables: Any) -> None:
        def write(file: BinaryIO) -> None:
            with pq.ParquetWriter(
                pa.PythonFile(file, "w"), schema, compression="zstd",
                encryption_properties=self.sealing.to_write(), store_schema=False,
            ) as writer:  # fmt: skip
                writer.add_key_value_metadata(_FORMAT)
                for table in tables:
                    whole = pa.concat_tables(
                        [schema.empty_table(), table], promote_options="permissive"
                    )
                    writer.write_table(whole.select(schema.names), row_group_size=len(whole) or 1)

        self.place.publish(path, write)


class _opened:
    """A Parquet file to read. Raises FileNotFoundError, and LakeError where it cannot be read."""

    def __init__(self, lake: Lake, path: str) -> None:
        self._lake, self._path = lake, path

    def __enter__(self) -> pq.ParquetFile:
        self._file = self._lake.place.open(self._path)
        try:
            return self._parquet()
        except BaseException:
            self._file.close()
            raise

    def _parquet(self) -> pq.ParquetFile:
        where = f"{self._lake.place.url}/{self._path}"
        sealing = self._lake.sealing
        try:
            return pq.ParquetFile(self._file, decryption_properties=sealing.to_read())
        except LakeError as error:
            raise LakeError(f"{where}: {error}") from None
        except (pa.ArrowInvalid, OSError) as error:
            self._file.seek(0)
            if self._file.read(4) == b"PARE" and sealing.ring is None:
                raise LakeError(
                    f"{where}: is encrypted, and no key is given (lake.key_file)"
                ) from None
            raise self._damaged(error) from None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._file.close()
        if isinstance(error, pa.ArrowInvalid | OSError) and not isinstance(
            error, FileNotFoundError
        ):
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> LakeError:
        return LakeError(
            f"{self._lake.place.url}/{self._path}: is no Parquet file, or damaged ({error}); "
            "restore it from a backup, or move it away"
        )


def _hours(file: pq.ParquetFile, kind: Kind, part: Part) -> dict[int, list[int]]:
    """The row groups of each hour that a file has."""
    metadata = file.metadata
    column = file.schema_arrow.get_field_index(kind.at)
    found: dict[int, list[int]] = {}
    for group in range(metadata.num_row_groups):
        least = metadata.row_group(group).column(column).statistics.min
        found.setdefault((least - part.start_s) // HOUR_S, []).append(group)
    return found


def _by_hour(kind: Kind, part: Part, table: pa.Table) -> dict[int, pa.Table]:
    at = table.column(kind.at).to_numpy().astype("int64")
    hours = (at - part.start_s) // HOUR_S
    return {int(hour): table.filter(pa.array(hours == hour)) for hour in sorted(set(hours))}


def _foreign(place: Place, path: str) -> LakeError:
    return LakeError(f"{place.url}/{path}: is no file of the lake; move it away")
