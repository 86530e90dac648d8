"""A lake in a folder, and rows for it."""

import os
from pathlib import Path

from pbal_hq.ingest.wording import Message
from pbal_hq.lake import EVENT, SUMMARY, Lake, Part, find_keys, with_new_key
from pbal_hq.lake.keys import KeyRing, Sealing
from pbal_hq.lake.place import place
from pbal_uplink import Event, Summary

DAY_S = 1_795_824_000  # 2026-11-28 00:00 UTC
PART = Part.of(DAY_S, "kerala")


def key_file(path: Path, text: str = "") -> KeyRing:
    """A key more in a key file."""
    import datetime

    path.write_text(with_new_key(text, datetime.date(2026, 11, 28))[0])
    os.chmod(path, 0o600)
    ring = find_keys(path, {})
    assert ring is not None
    return ring


def made(folder: Path, ring: KeyRing | None = None) -> Lake:
    """A new lake in a folder."""
    folder.mkdir(exist_ok=True)
    where = place(str(folder))
    where.init(encrypted=ring is not None)
    return Lake(where, Sealing(ring))


def summary(window: int, site: int = 7, **more: object) -> Summary:
    """Of the window that begins so many times five minutes after DAY_S."""
    given = {"site": site, "start_s": DAY_S + 300 * window, "length_s": 300,
             "complete_percent": 100, "ia_mean_a": 12.3, "ea_import_kwh": 1.23}  # fmt: skip
    return Summary(**(given | more))


def event(number: int, site: int = 7, **more: object) -> Event:
    given = {"site": site, "event_id": number, "at_s": DAY_S + 60 * number, "kind": 8}
    return Event(**(given | more))


def table(*messages: Summary | Event, received_ms: int = 5):
    """Rows of messages of one kind; transformers have their site's number."""
    kind = SUMMARY if isinstance(messages[0], Summary) else EVENT
    return kind.table(
        [
            kind.row(m.site, str(m.site), Message("ab", received_ms, False, m.as_dict()))
            for m in messages
        ]
    )


def found(lake: Lake, kind=SUMMARY, part: Part = PART) -> list[dict]:
    """All rows of a part."""
    return [row for rows in lake.rows(kind, part) for row in rows.to_pylist()]


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder but the marker."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".pbal-lake"
    }
