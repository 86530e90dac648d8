"""The utility's list: compared, taken over whole, refused with its line."""

import pytest
from rigs import browser, people
from rigs.people import PASSWORD

from pbal_hq.auth import NotAllowed
from pbal_hq.errors import BadInput
from pbal_hq.fleet import utility_list

HEAD = "code,name,state,district,division,feeder,latitude,longitude,rated_kva,customers\n"
LIST = HEAD + (
    "T1,Transformer T1,KL,EKM,D1,F1,10.07,76.07,100,60\n"
    "T2,Harbour west,KL,EKM,D2,F3,,,160,\n"
    "T3,New one,KL,TVM,D9,F1,8.5,76.9,250,120\n"
)


@pytest.fixture
async def conn(peopled):
    return peopled


async def rows(conn, sql):
    return await (await conn.execute(sql)).fetchall()


async def test_compared_and_then_taken(conn):
    who, _ = await people.who(conn, "engineer-whole")
    before = await rows(conn, "SELECT * FROM transformer ORDER BY id")
    found = await utility_list.compare(conn, who, LIST)
    assert (found.new, found.changed, found.same, found.absent) == (1, 1, 1, 0)
    assert [c.code for c in found.changes] == ["T2", "T3"]
    assert "place KL/EKM/D2/F2 becomes KL/EKM/D2/F3" in found.changes[0].what
    assert "rated_kva 100.0 becomes 160.0" in found.changes[0].what
    assert "customers" not in found.changes[0].what, "what the list leaves empty is kept"
    assert await rows(conn, "SELECT * FROM transformer ORDER BY id") == before
    assert await utility_list.take(conn, who, LIST) == found
    again = await utility_list.compare(conn, who, LIST)
    assert (again.new, again.changed, again.same) == (0, 0, 3)
    [(customers, latitude)] = await rows(
        conn, "SELECT customers, latitude FROM transformer WHERE code = 'T2'"
    )
    assert (customers, latitude) == (60, 10.08)
    shorter = HEAD + "T1,,KL,EKM,D1,F1,,,,\n"
    assert (await utility_list.compare(conn, who, shorter)).absent == 2
    [(actor, detail)] = await rows(
        conn, "SELECT actor, detail FROM audit WHERE action = 'transformer.import'"
    )
    assert (actor, detail["new"], detail["changes"]) == ("engineer-whole", 1, ["T2", "T3"])


async def test_for_those_with_the_whole_tree(conn):
    for name in ("engineer-d1", "operator-whole", "administrator-whole"):
        who, _ = await people.who(conn, name)
        for do in (utility_list.compare, utility_list.take):
            with pytest.raises(NotAllowed):
                await do(conn, who, LIST)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column 'code'"),
        ("code,state\n", "no column 'district'"),
        (HEAD, "no transformer"),
        (HEAD.replace("name", "owner"), "'owner'"),
        (HEAD.replace("name", "code"), "two columns are named"),
        (HEAD + "T1,x,KL,EKM,D1,F1,,,100\n", "line 2, the row: has 9 cells"),
        (HEAD + "T1,x,KL,EKM,D1,F1,91,,,\n", "line 2, latitude: 91 is outside"),
        (HEAD + "T1,x,KL,EKM,D1,F1,nan,,,\n", "latitude"),
        (HEAD + 'T1,x,KL,EKM,D1,F1,,,"1,5",\n', "'1,5' is no number"),
        (HEAD + "T1,x,KL,,D1,F1,,,,\n", "line 2, district"),
        (HEAD + "T1,x,KL,E/K,D1,F1,,,,\n", "slash"),
        (HEAD + "T1,a,KL,EKM,D1,F1,,,,\n" * 2, "line 3, code: T1 is on line 2, too"),
        (HEAD + "T\x001,a,KL,EKM,D1,F1,,,,\n", "control character"),
        (HEAD + '"T1,a', "line 2"),
    ],
)
def test_lists_that_are_none(text, words):
    with pytest.raises(BadInput, match=words):
        utility_list.read(text)


@pytest.mark.timeout(600)
async def test_the_page(conn, database_url, tmp_path):
    file = tmp_path / "list.csv"
    quoted = 'T4,"<b>""quoted""</b>",KL,EKM,D1,F1,,,,\n'
    file.write_text(LIST + quoted, "utf-8-sig")
    async with (
        people.served(database_url, tmp_path) as address,
        browser.opened(f"{address}/login?next=/import", within=address) as page,
    ):
        page.set_default_timeout(120_000)
        await page.fill("#name", "engineer-whole")
        await page.fill("#password", PASSWORD)
        await page.fill("#code", people.code())
        await page.click("main button")
        await page.set_input_files("#file", str(file))
        await page.click("text=Compare it")
        await page.click("text=Take it over")
        await page.wait_for_selector("text=Taken over: 2 new, 1 changed.")
    [(name,)] = await rows(conn, "SELECT name FROM transformer WHERE code = 'T4'")
    assert name == '<b>"quoted"</b>'
