"""Reports: what the store keeps, for what somebody may see, with definitions."""

import csv
import io
from datetime import UTC, datetime

import pypdfium2
import pytest
from rigs import people

from pbal_hq import reports
from pbal_hq.auth import NotAllowed
from pbal_hq.errors import BadInput, NothingToDo

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


async def day(conn, fleet, where, at, **values):
    row = {
        "transformer_id": fleet.transformers[where], "start_at": at, "sampled_s": 86_400,
        "windows": 288, "in_mean_a": 10, "in_max_a": 40, "ea_import_kwh": 10, "eb_import_kwh": 20,
        "ec_import_kwh": 30, "ea_export_kwh": 0, "eb_export_kwh": 1, "ec_export_kwh": 0,
        "va_min_v": 212, "vb_min_v": 220, "vc_min_v": None, "losses_avoided_wh": 500,
        "confirmed": 2, "refused": 0, "failed": 1, "expired": 0, "disagreed": 0,
    } | values  # fmt: skip
    await conn.execute(
        f"INSERT INTO summary_daily ({', '.join(row)})"
        f" VALUES ({', '.join(f'%({n})s' for n in row)})",
        row,
    )


@pytest.fixture
async def fleet(conn):
    made = await people.make(conn)
    for number in (1, 2):
        await day(conn, made, "T1", datetime(2026, 11, number, tzinfo=UTC), in_mean_a=10 * number,
                  sampled_s=86_400 / number)  # fmt: skip
    await day(conn, made, "T2", datetime(2026, 11, 1, tzinfo=UTC), losses_avoided_wh=None)
    await day(conn, made, "T1", datetime(2026, 10, 31, tzinfo=UTC), ea_import_kwh=1000)
    return made


def named(values):
    return dict(zip((c.name for c in reports.COLUMNS), values, strict=True))


async def make(conn, fleet, name, area, period):
    who, _ = await people.who(conn, name)
    return await reports.make(conn, who, fleet.areas[area], period, NOW)


async def test_the_numbers_of_a_month(conn, fleet):
    report = await make(conn, fleet, "official-whole", "EKM", "2026-11")
    assert report.area == "Kerala / Ernakulam"
    assert [code for code, _, _ in report.rows] == ["T1", "T2"]
    one, two, both = named(report.rows[0][2]), named(report.rows[1][2]), named(report.totals)
    assert one["energy"] == 120
    assert one["neutral"] == pytest.approx((10 * 86_400 + 20 * 43_200) / (1.5 * 86_400))
    assert one["complete"] == pytest.approx(100 * 1.5 / 19.5)
    assert (one["saved"], two["saved"], both["saved"]) == (1.0, None, 1.0)
    assert (one["V min"], one["moved"], one["not moved"]) == (212, 4, 2)
    assert (both["energy"], both["neutral"]) == (180, None)


async def test_a_day_and_a_scope(conn, fleet):
    report = await make(conn, fleet, "official-d1", "KL", "2026-11-01")
    assert [code for code, _, _ in report.rows] == ["T1"]
    assert named(report.totals)["energy"] == 60
    with pytest.raises(NothingToDo):
        await make(conn, fleet, "official-d1", "D2", "2026-11")
    await people.person(conn, fleet, "nobody")
    with pytest.raises(NotAllowed):
        await make(conn, fleet, "nobody", "KL", "2026-11")


@pytest.mark.parametrize("period", ["2026", "2026-13", "2026-11-31", "x", "2026-12", "0000-01"])
async def test_periods_that_are_none(conn, fleet, period):
    with pytest.raises(BadInput):
        await make(conn, fleet, "official-whole", "KL", period)


async def test_the_sheet_and_the_paper(conn, fleet):
    await conn.execute("UPDATE transformer SET name = '=cmd()' WHERE code = 'T1'")
    report = await make(conn, fleet, "official-whole", "KL", "2026-11")
    rows = list(csv.reader(io.StringIO(reports.sheet(report))))
    table = {row[0]: row for row in rows if row}
    assert table["T1"][1] == "'=cmd()"
    assert table["T1"][3] == "120.0"
    assert table["T2"][table["transformer"].index("saved (kWh)")] == ""
    assert any("IEC 60076-7" in row[0] for row in rows if row)
    document = pypdfium2.PdfDocument(reports.paper(report))
    text = "".join(each.get_textpage().get_text_bounded() for each in document)
    for words in ("Kerala", "T1", "T2", "120", "2026-11", "What the columns say", "official-whole"):
        assert words in text
