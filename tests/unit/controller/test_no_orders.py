"""While nothing can be ordered, everything that a person or a monitor looks at says so and why."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from pbal_controller.app import Controller
from pbal_controller.journal import Journal
from pbal_tools.picture import Picture, sentence
from pbal_tools.statusclient import Feed

from .conftest import Site, until
from .fake import FakeNode

MakeSite = Callable[..., Site]

# As much of a browser as the page needs: it prints what a person would read.
BROWSER = r"""
const fs=require("fs"),[page,status]=[2,3].map(i=>fs.readFileSync(process.argv[i],"utf8"));
const made={};
function element(){const e={style:{},children:[],cells:[],rows:[],text:"",set textContent(t){
 e.text=String(t)},get textContent(){return e.text},append(...x){e.children.push(...x)},
 replaceChildren(){e.children=[];e.rows=[]},insertRow(){const r=element();e.rows.push(r);return r},
 insertCell(){const c=element();e.cells.push(c);return c}};return e}
global.document={getElementById:id=>made[id]??=element(),createElement:element,title:""};
global.setTimeout=()=>0;
global.fetch=async()=>({json:async()=>JSON.parse(status)});
const script=page.match(/<script>([\s\S]*)<\/script>/)[1];
new Function(script)();
setImmediate(()=>setImmediate(()=>{
 const flat=e=>typeof e==="string"?e:[e.text,...e.children.map(flat)].join(" ");
 const table=id=>made[id].rows.map(r=>r.cells.map(c=>c.text));
 console.log(JSON.stringify({problem:made.problem.text,shown:made.problem.style.display,
  cards:made.cards.children.map(flat),moves:table("moves"),homes:table("homes"),
  axes:["top","half","from","to"].map(id=>made[id]?.text||""),sub:made.sub.text}))}));
"""


def drawn(page: str, status: dict[str, object], folder: Path) -> dict[str, object]:
    """What the page shows of a status."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: what the page draws is not looked at")
    for name, text in (("browser.js", BROWSER), ("p.html", page), ("s.json", json.dumps(status))):
        (folder / name).write_text(text)
    done = subprocess.run(
        [node, "browser.js", "p.html", "s.json"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


async def looked_at(c: Controller) -> tuple[int, str, dict[str, object], str]:
    """Code and text of /healthz, the status, the metrics."""
    await until(lambda: c.server.port)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{c.server.port}") as http:
        c.server._kept.clear()
        health = await http.get("/healthz")
        status = await (await http.get("/api/status")).json()
        metrics = await (await http.get("/metrics")).text()
        return health.status, await health.text(), status, metrics


async def refuse_writes(c: Controller, refuse: bool) -> None:
    """As on a disk that is full or was mounted read-only."""
    await c.journal.call(lambda j: j.db.execute(f"PRAGMA query_only = {int(refuse)}"))


def assert_says(told: tuple[int, str, dict[str, object], str], words: str) -> None:
    code, health, status, metrics = told
    assert code == 503
    assert words in health
    assert "nothing is ordered" in health
    assert (status["healthy"], status["commands"]) == (False, False)
    assert words in str(status["why_no_commands"])
    assert "pbal_healthy 0" in metrics
    assert "pbal_commands_allowed 0" in metrics
    picture = Picture("x")
    Feed(picture).apply(status)
    assert words in sentence(picture)


async def test_a_full_disk_is_said_and_ends_by_itself(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        await until(lambda: site.nodes[1].synced and c.fleet.get(1).readings > 2)
        assert (await looked_at(c))[0] == 200
        await refuse_writes(c, True)
        with pytest.raises(Exception, match="the journal failed"):
            await c.journal.call(Journal.put_blob, "x", b"y")
        await c.journal.call(Journal.get_blob, "x")  # reading goes on, and changes nothing
        told = await looked_at(c)
        assert_says(told, "the journal failed")
        assert "the journal failed" in c.planner.blocked(c.now())
        page = (Path(c.server._page.__globals__["__file__"]).parent / "page.html").read_text()
        seen = drawn(page, told[2], tmp_path)
        assert seen["shown"] == "block"
        assert "nothing is ordered" in str(seen["problem"])
        await refuse_writes(c, False)
        await until(lambda: c.dispatcher.why_not(c.now()) == "")
        assert (await looked_at(c))[0] == 200


async def test_a_clock_that_is_not_set_is_said(
    make_site: MakeSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(FakeNode(1))
    async with site.running() as c:
        assert (await looked_at(c))[0] == 200
        monkeypatch.setattr(c.dispatcher, "_wall", lambda: 86400.0 * 3)
        assert_says(await looked_at(c), "clock is not set, it says 1970-01-04")
        assert "clock" in c.planner.blocked(c.now())


async def test_the_page_has_axes_times_and_whole_remarks(
    make_site: MakeSite, tmp_path: Path
) -> None:
    site = make_site(FakeNode(1), FakeNode(2, phase=2))
    site.fixed = {2}
    async with site.running() as c:
        home = c.fleet.get(1)
        await until(lambda: site.nodes[1].synced and home.readings > 2 and c.fleet.get(2).readings)
        assert await c.dispatcher.order(home, 3, "a test", 1.0)
        await until(lambda: c.dispatcher.finished_total["confirmed"])
        await until(lambda: len(c.neutral_history) > 1)
        status = (await looked_at(c))[2]
        page = (Path(c.server._page.__globals__["__file__"]).parent / "page.html").read_text()
    seen = drawn(page, status, tmp_path)
    assert seen["shown"] == "none"
    (move,) = seen["moves"]  # type: ignore[misc]
    assert len(move[0].split(":")) == 3, "the time of day"
    assert move[1:4] == ["1", "A", "C"]
    top, half, begin, end = seen["axes"]  # type: ignore[misc]
    assert float(top.split()[0]) == pytest.approx(2 * float(half.split()[0]), abs=0.2)
    assert all(len(text.split(":")) == 3 for text in (begin, end))
    assert any(len(row) == 1 and "fixed" in row[0] for row in seen["homes"])  # type: ignore[attr-defined]
    cards = " ".join(" ".join(text.split()) for text in seen["cards"])  # type: ignore[attr-defined]
    assert "phase B, 1 home " in cards
    assert "1 homes" not in cards
