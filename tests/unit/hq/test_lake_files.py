"""The lake's files: rows each once, hours and days, columns of other versions, keys, and kills."""

import datetime
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rigs.lake import DAY_S, PART, event, found, key_file, made, summary, table, tree

from pbal_hq.errors import LakeError
from pbal_hq.lake import EVENT, SUMMARY, Lake, Part
from pbal_hq.lake.files import DAY_FILE
from pbal_hq.lake.keys import Sealing, find_keys
from pbal_hq.lake.place import place
from pbal_sim.childprocess import die_with_parent

FOLDER = "summary/day=2026-11-28/region=kerala"


def test_a_row_comes_back_with_every_value_as_it_was_sent(tmp_path):
    lake = made(tmp_path / "lake")
    told = summary(3, va_mean_v=230.01, vuf_percent=1.25, losses_avoided_wh=-40, hotspot_c=66.5,
                   rs485_percent=99.5, ea_export_kwh=654.99, losses_method=1)  # fmt: skip
    lake.add(SUMMARY, PART, table(told))
    (rows,) = lake.rows(SUMMARY, PART)
    ((node, message),) = SUMMARY.messages(rows)
    assert node == "7"
    assert type(told).from_dict(message.fields) == told
    alarm = event(2**64 - 1, at_s=DAY_S, detail="a word", arg0=-3)
    lake.add(EVENT, PART, table(alarm))
    (rows,) = lake.rows(EVENT, PART)
    assert type(alarm).from_dict(EVENT.messages(rows)[0][1].fields) == alarm


def test_the_same_rows_again_change_no_file(tmp_path):
    lake = made(tmp_path / "lake")
    first = [table(*(summary(n, site) for site in (7, 8))) for n in range(30)]
    for rows in first:
        lake.add(SUMMARY, PART, rows)
    before = tree(tmp_path / "lake")
    assert [name[-11:] for name in before] == ["h00.parquet", "h01.parquet", "h02.parquet"]
    assert [lake.add(SUMMARY, PART, rows) for rows in first] == [0] * 30
    # In other batches and another order, too.
    assert lake.add(SUMMARY, PART, pa.concat_tables(reversed(first))) == 0
    assert tree(tmp_path / "lake") == before
    again = made(tmp_path / "other")
    again.add(SUMMARY, PART, pa.concat_tables(first))
    assert tree(tmp_path / "other") == before


def test_of_two_summaries_of_a_window_the_one_with_more_samples_stays(tmp_path):
    lake = made(tmp_path / "lake")
    said = ((50, 1.0), (100, 2.0), (60, 3.0), (100, 4.0))
    for percent, amps in said:
        lake.add(SUMMARY, PART, table(summary(1, complete_percent=percent, ia_mean_a=amps)))
    (row,) = found(lake)
    assert row["ia_mean_a"] == 4.0
    # Of an event the first, as in the store.
    lake.add(EVENT, PART, table(event(1, detail="first")))
    lake.add(EVENT, PART, table(event(1, detail="second")))
    (row,) = found(lake, EVENT)
    assert row["detail"] == "first"


def test_hours_become_a_day_that_takes_late_rows(tmp_path):
    lake = made(tmp_path / "lake")
    rows = table(*(summary(n, site) for n in range(0, 288, 3) for site in (7, 8)))
    lake.add(SUMMARY, PART, rows)
    assert len(lake.files(SUMMARY, PART)) == 24
    before = found(lake)
    assert lake.compact(SUMMARY, PART)
    assert lake.files(SUMMARY, PART) == [f"{FOLDER}/{DAY_FILE}"]
    assert found(lake) == before
    assert not lake.compact(SUMMARY, PART)
    assert lake.add(SUMMARY, PART, rows) == 0
    assert lake.add(SUMMARY, PART, table(summary(1), summary(100))) == 1
    assert len(found(lake)) == len(before) + 2
    groups = pq.ParquetFile(tmp_path / "lake" / FOLDER / DAY_FILE).metadata.num_row_groups
    assert groups == 24


def test_hours_that_a_killed_compaction_left_count_once(tmp_path):
    lake = made(tmp_path / "lake")
    lake.add(SUMMARY, PART, table(*(summary(n) for n in range(24))))
    left = tree(tmp_path / "lake")
    lake.compact(SUMMARY, PART)
    for name, data in left.items():
        (tmp_path / "lake" / name).write_bytes(data)
    assert len(found(lake)) == 24
    assert lake.compact(SUMMARY, PART)
    assert list(tree(tmp_path / "lake")) == [f"{FOLDER}/{DAY_FILE}"]
    assert len(found(lake)) == 24


def test_what_is_too_old_goes(tmp_path):
    lake = made(tmp_path / "lake")
    for day in range(3):
        part = Part.of(DAY_S + 86_400 * day, "kerala")
        lake.add(SUMMARY, part, table(summary(288 * day)))
    assert lake.drop_before(SUMMARY, PART.day + datetime.timedelta(days=2)) == 2
    assert lake.days(SUMMARY) == [datetime.date(2026, 11, 30)]


def test_files_of_an_older_and_of_a_later_version_are_read_and_kept(tmp_path):
    lake = made(tmp_path / "lake")
    rows = table(summary(1), summary(2))
    path = tmp_path / "lake" / FOLDER / "h00.parquet"
    path.parent.mkdir(parents=True)
    # Older: it has no `mode` yet. Later: a column that this version does not know, a wider one.
    older = rows.slice(0, 1).drop_columns(["mode"])
    later = older.append_column("frequency_hz", pa.array([50.01]))
    later = later.set_column(
        later.schema.get_field_index("homes"), "homes", pa.array([70_000], pa.uint32())
    )
    for old in (older, later):
        pq.write_table(old, path)
        lake.add(SUMMARY, PART, rows.slice(1))
        first, second = found(lake)
        assert (first["mode"], second["mode"]) == (None, 0)
    assert first["frequency_hz"] == 50.01
    assert second["frequency_hz"] is None
    assert first["homes"] == 70_000
    lake.compact(SUMMARY, PART)
    assert found(lake) == [first, second]
    lake.add(SUMMARY, PART, table(summary(20)))
    assert found(lake)[0]["frequency_hz"] == 50.01


# -- keys -----------------------------------------------------------------------------------------


def test_encrypted_files_show_nothing_and_keys_rotate(tmp_path):
    ring = key_file(tmp_path / "keys")
    lake = made(tmp_path / "lake", ring)
    lake.add(EVENT, PART, table(event(1, detail="plain words")))
    (data,) = tree(tmp_path / "lake").values()
    assert (data[:4], data[-4:]) == (b"PARE", b"PARE")
    assert b"plain words" not in data
    assert b"detail" not in data
    assert ring.newest.encode() in data  # which key it needs
    both = key_file(tmp_path / "keys", (tmp_path / "keys").read_text())
    assert both.newest != ring.newest
    newer = Lake(lake.place, Sealing(both))
    newer.add(EVENT, PART, table(event(100)))
    assert [row["event_id"] for row in found(newer, EVENT)] == [1, 100]
    with pytest.raises(LakeError, match=f"h01.parquet: the key {both.newest!r} is missing"):
        found(lake, EVENT)
    assert newer.reseal(EVENT, PART) == 2
    assert all(both.newest.encode() in data for data in tree(tmp_path / "lake").values())
    (tmp_path / "keys").write_text((tmp_path / "keys").read_text().splitlines()[-1])
    only = Lake(lake.place, Sealing(find_keys(tmp_path / "keys", {})))
    assert len(found(only, EVENT)) == 2


def test_the_wrong_key_and_none_are_said(tmp_path):
    lake = made(tmp_path / "lake", key_file(tmp_path / "keys"))
    lake.add(SUMMARY, PART, table(summary(1)))
    wrong = Lake(lake.place, Sealing(key_file(tmp_path / "others")))
    with pytest.raises(LakeError, match=r"h00.parquet: the key .* is another one than"):
        found(wrong)
    with pytest.raises(LakeError, match=r"is encrypted, and no key is given \(lake.key_file\)"):
        found(Lake(lake.place, Sealing(None)))
    # A byte that was changed.
    (name,) = tree(tmp_path / "lake")
    data = bytearray((tmp_path / "lake" / name).read_bytes())
    data[200] ^= 1
    (tmp_path / "lake" / name).write_bytes(data)
    with pytest.raises(LakeError, match="damaged"):
        found(lake)


def test_files_from_before_a_lake_had_keys_are_read_with_them(tmp_path):
    lake = made(tmp_path / "lake")
    lake.add(SUMMARY, PART, table(summary(1)))
    sealed = Lake(lake.place, Sealing(key_file(tmp_path / "keys")))
    sealed.add(SUMMARY, PART, table(summary(2)))
    assert len(found(sealed)) == 2
    (data,) = tree(tmp_path / "lake").values()
    assert data[:4] == b"PARE"


def test_key_files_are_checked(tmp_path):
    path = tmp_path / "keys"
    with pytest.raises(LakeError, match="pbal-hq lake key"):
        find_keys(path, {})
    ring = key_file(path)
    assert "hex" not in repr(ring)
    assert ring.keys[ring.newest].hex() not in repr(ring)
    os.chmod(path, 0o640)
    with pytest.raises(LakeError, match="chmod 600"):
        find_keys(path, {})
    os.chmod(path, 0o600)
    for text, said in (
        ("a 12\n", "line 1: needs NAME and 64 hex digits"), ("# nothing\n", "has no key"),
        (f"a {'0' * 64}\na {'1' * 64}\n", "line 2: there are two keys 'a'"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(LakeError, match=said):
            find_keys(path, {})
    assert find_keys(None, {}) is None
    folder = tmp_path / "credentials"
    folder.mkdir()
    key_file(folder / "pbal-lake-keys")
    found_ = find_keys(None, {"CREDENTIALS_DIRECTORY": str(folder)})
    assert found_ is not None
    assert list(found_.keys) == ["2026-11-28.1"]


# -- the place ------------------------------------------------------------------------------------


def test_a_mount_point_without_its_share_is_not_filled(tmp_path):
    with pytest.raises(LakeError, match="there is no such folder"):
        place(str(tmp_path / "no")).check()
    with pytest.raises(LakeError, match="make it, or mount the share"):
        place(str(tmp_path / "no")).init(encrypted=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(LakeError, match=r"no lake is here .* Is the share mounted\?"):
        place(f"file://{tmp_path}/empty").check()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").touch()
    with pytest.raises(LakeError, match="is not empty"):
        place(str(tmp_path / "full")).init(encrypted=False)


def test_a_marker_that_is_damaged_or_of_a_later_version_is_said(tmp_path):
    lake = made(tmp_path / "lake")
    lake.place.check()
    marker = tmp_path / "lake" / ".pbal-lake"
    marker.write_text('{"format": 2, "lake": "", "encrypted": false}')
    with pytest.raises(LakeError, match="later version"):
        lake.place.check()
    for text in ("", "[]", "{}"):
        marker.write_text(text)
        with pytest.raises(LakeError, match="is damaged"):
            lake.place.check()


def test_foreign_and_damaged_files_are_named(tmp_path):
    lake = made(tmp_path / "lake")
    lake.add(SUMMARY, PART, table(summary(1)))
    path = tmp_path / "lake" / FOLDER
    (path / "copy of h00.parquet").touch()
    with pytest.raises(LakeError, match=r"copy of h00.parquet: is no file of the lake; move it"):
        lake.files(SUMMARY, PART)
    (path / "copy of h00.parquet").unlink()
    (tmp_path / "lake" / "summary" / "notes").mkdir()
    with pytest.raises(LakeError, match="summary/notes: is no file"):
        lake.days(SUMMARY)
    (path / "h00.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(LakeError, match=r"h00.parquet: is no Parquet file, or damaged"):
        lake.add(SUMMARY, PART, table(summary(2)))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_said(tmp_path):
    lake = made(tmp_path / "lake")
    os.chmod(tmp_path / "lake", 0o500)
    with pytest.raises(LakeError, match="writable for the user that runs HQ"):
        lake.add(SUMMARY, PART, table(summary(1)))


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a tmpfs may not be mounted here")
    try:
        lake = made(disk)
        lake.add(SUMMARY, PART, table(summary(1)))
        before = tree(disk)
        with (disk / ".ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, shutil.disk_usage(disk).free - 16_000)
        many = [summary(n, site, ia_mean_a=random.random() * 500) for n in range(24)
                for site in range(300)]  # fmt: skip
        with pytest.raises(LakeError, match="the disk is full; nothing is lost"):
            lake.add(SUMMARY, PART, table(*many))
        (disk / ".ballast").unlink()
        assert tree(disk) == before  # and nothing half beside it
        assert lake.add(SUMMARY, PART, table(*many[:200])) == 1
    finally:
        subprocess.run(["umount", disk], check=True)


# -- kills ----------------------------------------------------------------------------------------

CHILD = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from rigs.lake import *
from pbal_hq.lake import find_keys
lake = Lake(place(sys.argv[1]), Sealing(find_keys(Path(sys.argv[1] + ".keys"), {})))
lake.place.check()
print("up", flush=True)
n = int(sys.argv[2])
while True:
    lake.place.sweep()
    lake.add(SUMMARY, PART, table(*(summary(n % 288, site) for site in range(n // 288 * 40,
                                                                             n // 288 * 40 + 40))))
    print(n, flush=True)
    n += 1
    if n % 30 == 0:
        lake.compact(SUMMARY, PART)
"""


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_kill_loses_nothing_that_was_written_and_leaves_no_half_file(tmp_path):
    seed = int(os.environ.get("PBAL_LAKE_SEED", str(time.time_ns() % 100_000)))
    print(f"seed {seed}")
    dice = random.Random(seed)
    folder = tmp_path / "lake"
    ring = key_file(Path(f"{folder}.keys"))
    lake = made(folder, ring)
    said = 0
    for _ in range(int(os.environ.get("PBAL_LAKE_KILLS", "4"))):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, folder, str(said), Path(__file__).parents[2]],
            stdout=subprocess.PIPE, preexec_fn=die_with_parent,
        )  # fmt: skip
        assert child.stdout.readline() == b"up\n"
        # However slow the computer is, the first one has written something.
        first = [] if said else [child.stdout.readline()]
        time.sleep(dice.random() * 1.5)
        os.kill(child.pid, signal.SIGKILL)
        for line in [*first, *child.stdout.read().split()]:
            said = int(line) + 1
        child.wait()
        rows = {(row["start_s"], row["site"]) for row in found(lake)}
        total = len(found(lake))
        assert total == len(rows)  # nothing double
        expected = {
            (DAY_S + 300 * (n % 288), site)
            for n in range(said) for site in range(n // 288 * 40, n // 288 * 40 + 40)
        }  # fmt: skip
        assert expected <= rows
        # What came beyond is of the one batch that was not said yet.
        assert len(rows - expected) in (0, 40)
    assert said > 0
    lake.place.sweep()
    assert list((folder / ".tmp").iterdir()) == []
    lake.compact(SUMMARY, PART)
    assert len(found(lake)) == total
