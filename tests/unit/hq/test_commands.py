"""Orders: who may, two persons, what is signed, what is sent, and what the answer does."""

import importlib
import time

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rigs import people

from pbal_hq import commands
from pbal_hq.auth import NotAllowed
from pbal_hq.auth import people as users
from pbal_hq.commands import Wish
from pbal_hq.commands.dispatch import RESEND_S
from pbal_hq.commands.rights import rights_of
from pbal_hq.errors import BadInput, NothingToDo
from pbal_uplink import Command, names, signing

dispatching = importlib.import_module("pbal_hq.commands.dispatch")  # the room's door has a function
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
KEYS = {signing.key_id(PUBLIC): PUBLIC}
SIGNER = people.signer(KEY)


@pytest.fixture
async def fleet(conn):
    made = await people.make(conn)
    await conn.execute("INSERT INTO site_live (site_id, online) SELECT id, true FROM site")
    return made


async def ask(conn, fleet, name, wish, where="T1", why="storm", good_for_s=3600, now_s=None):
    who, _ = await people.who(conn, name)
    at = now_s or time.time()
    return await commands.ask(
        conn, who, fleet.transformers[where], wish, why, good_for_s, SIGNER, at
    )


async def approve(conn, name, command_id, now_s=None):
    who, _ = await people.who(conn, name)
    return await commands.approve(conn, who, command_id, SIGNER, now_s or time.time())


async def sent(conn, now_s=None):
    """What is due now, opened as the site opens it."""
    out = []

    async def send(due):
        out.extend((each.key, signing.open_sealed(each.sealed, KEYS)) for each in due)

    await commands.dispatch(conn, send, now_s or time.time())
    return out


async def test_hold_goes_out_at_once(conn, fleet):
    made = await ask(conn, fleet, "operator-d1", Wish("mode", "hold"))
    assert (made.status, made.needs_second) == ("approved", False)
    [(key, words)] = await sent(conn)
    assert key == "north/7"
    assert (words.site, words.command_id, words.mode) == (7, made.id, names.MODE_HOLD)
    assert words.detail == "operator-d1: storm"
    assert 3590 <= words.expires_s - words.issued_s <= 3600
    assert await sent(conn) == []
    # Said again until the site answers or it expires.
    later = time.time() + RESEND_S + 1
    assert len(await sent(conn, later)) == 1
    assert await sent(conn, time.time() + 3700) == []


async def test_it_is_said_again_to_a_site_that_came_anew(conn, fleet):
    await ask(conn, fleet, "operator-d1", Wish("mode", "hold"))
    now_s = time.time()
    assert len(await sent(conn, now_s)) == 1
    for site, online in ((8, True), (7, False)):
        await conn.execute(
            "INSERT INTO site_session (site_id, at, online, bdseq) VALUES"
            " (%s, to_timestamp(%s), %s, 1)", (site, now_s + 1, online),
        )  # fmt: skip
    assert await sent(conn, now_s + 1) == []
    await conn.execute(
        "INSERT INTO site_session (site_id, at, online, bdseq)"
        " VALUES (7, to_timestamp(%s), true, 2)",
        (now_s + 2,),
    )
    assert len(await sent(conn, now_s + 3)) == 1
    assert await sent(conn, now_s + 4) == []


async def test_it_waits_for_a_site_that_is_away(conn, fleet):
    await conn.execute("UPDATE site_live SET online = false")
    await ask(conn, fleet, "operator-d1", Wish("mode", "hold"))
    assert await sent(conn) == []
    await conn.execute("UPDATE site_live SET online = true")
    assert len(await sent(conn)) == 1


@pytest.mark.parametrize(
    "wish", [Wish("mode", "run"), Wish("limits", phase_limit_a=90.0), Wish("limits")]
)
async def test_two_persons(conn, fleet, wish):
    made = await ask(conn, fleet, "operator-whole", wish)
    assert (made.status, made.needs_second) == ("asked", True)
    assert await sent(conn) == []
    with pytest.raises(NotAllowed, match="somebody else"):
        await approve(conn, "operator-whole", made.id)
    for stranger in ("operator-t2", "engineer-t2"):
        with pytest.raises(NothingToDo):
            await approve(conn, stranger, made.id)
    for powerless in ("official-whole", "auditor-whole", "administrator-whole"):
        with pytest.raises(NotAllowed):
            await approve(conn, powerless, made.id)
    done = await approve(conn, "engineer-d1", made.id)
    assert (done.status, done.approved_by) == ("approved", "engineer-d1")
    [(_, words)] = await sent(conn)
    assert words.phase_limit_a == wish.phase_limit_a
    with pytest.raises(BadInput, match="nothing to release"):
        await approve(conn, "engineer-whole", made.id)


async def test_the_database_too_asks_for_two(conn, fleet):
    made = await ask(conn, fleet, "operator-whole", Wish("mode", "run"))
    with pytest.raises(psycopg.errors.CheckViolation):
        await conn.execute("UPDATE command SET approved_by = asked_by WHERE id = %s", (made.id,))
    with pytest.raises(psycopg.errors.CheckViolation):
        await conn.execute("UPDATE command SET sealed = 'x' WHERE id = %s", (made.id,))


async def test_an_order_of_somebody_who_was_let_go_goes_nowhere(conn, fleet):
    admin, _ = await people.who(conn, "administrator-whole")
    run = await ask(conn, fleet, "operator-whole", Wish("mode", "run"))
    await ask(conn, fleet, "operator-whole", Wish("mode", "hold"))
    await users.set_active(conn, admin, fleet.people["operator-whole"], False)
    with pytest.raises(NotAllowed, match="may no longer"):
        await approve(conn, "engineer-whole", run.id)
    assert await sent(conn) == []


async def test_an_order_of_somebody_who_lost_the_right_is_not_released(conn, fleet):
    admin, _ = await people.who(conn, "administrator-whole")
    run = await ask(conn, fleet, "operator-whole", Wish("mode", "run"))
    elsewhere = people.Grant(people.Role.OPERATOR, area_id=fleet.areas["D2"])
    await users.set_grants(conn, admin, fleet.people["operator-whole"], [elsewhere])
    with pytest.raises(NotAllowed, match="may no longer"):
        await approve(conn, "engineer-whole", run.id)


@pytest.mark.parametrize("loses", ["operator-whole", "engineer-whole"])
async def test_an_order_whose_people_lost_the_right_is_not_sent(conn, fleet, loses):
    admin, _ = await people.who(conn, "administrator-whole")
    run = await ask(conn, fleet, "operator-whole", Wish("mode", "run"))
    await approve(conn, "engineer-whole", run.id)
    hold = await ask(conn, fleet, "operator-d1", Wish("mode", "hold"))
    await users.set_grants(conn, admin, fleet.people[loses], [])
    assert [words.command_id for _, words in await sent(conn)] == [hold.id], "the others go"
    row = await (
        await conn.execute("SELECT status, answer FROM command WHERE id = %s", (run.id,))
    ).fetchone()
    assert row == ("withdrawn", "who ordered it may no longer")


async def test_orders_that_may_not_go_keep_no_other_back(conn, fleet, monkeypatch):
    """Sent ones of somebody who lost the right are due again and again; three fill a batch here."""
    monkeypatch.setattr(dispatching, "_BATCH", 3)
    now_s = time.time()
    admin, _ = await people.who(conn, "administrator-whole")
    for _ in range(7):
        await ask(conn, fleet, "operator-whole", Wish("mode", "hold"))
        await sent(conn, now_s)
    await users.set_grants(conn, admin, fleet.people["operator-whole"], [])
    asked = [await ask(conn, fleet, "operator-d1", Wish("mode", "hold")) for _ in range(4)]
    mine = sorted(order.id for order in asked)
    later_s = now_s + RESEND_S + 1
    assert [words.command_id for _, words in await sent(conn, later_s)] == mine[:3]
    assert [words.command_id for _, words in await sent(conn, later_s)] == mine[3:]
    assert await sent(conn, later_s) == []


async def test_rights_are_asked_for_once_however_many_orders(conn, fleet, monkeypatch):
    for _ in range(5):
        await ask(conn, fleet, "operator-d1", Wish("mode", "hold"))
    asked = []

    async def counted(*what):
        asked.append(what)
        return await rights_of(*what)

    monkeypatch.setattr(dispatching, "rights_of", counted)
    assert len(await sent(conn)) == 5
    assert len(asked) == 1


async def test_what_waits_too_long_expires(conn, fleet):
    now_s = time.time()
    run = await ask(conn, fleet, "operator-whole", Wish("mode", "run"), good_for_s=60)
    with pytest.raises(BadInput, match="has expired"):
        await approve(conn, "engineer-whole", run.id, now_s + 61)
    assert await commands.lapse(conn, now_s + 61) == 1
    who, _ = await people.who(conn, "auditor-whole")
    assert [c.status for c in await commands.listed(conn, who)] == ["expired"]


async def test_taken_back(conn, fleet):
    who, _ = await people.who(conn, "operator-d1")
    made = await ask(conn, fleet, "operator-d1", Wish("mode", "hold"))
    assert (await commands.withdraw(conn, who, made.id)).status == "withdrawn"
    assert await sent(conn) == []
    other = await ask(conn, fleet, "operator-d1", Wish("mode", "hold"))
    await sent(conn)
    with pytest.raises(BadInput, match="is sent"):
        await commands.withdraw(conn, who, other.id)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "fire"}, "one of"),
        ({"kind": "mode"}, "mode is one of"),
        ({"kind": "mode", "mode": "stands-down"}, "mode is one of"),
        ({"kind": "mode", "mode": "run", "phase_limit_a": 3.0}, "nothing of limits"),
        ({"kind": "limits", "phase_limit_a": 0.5}, "phase_limit_a"),
        ({"kind": "limits", "phase_limit_a": float("nan")}, "phase_limit_a"),
        ({"kind": "limits", "max_moving_percent": 101}, "max_moving_percent"),
        ({"kind": "rollout"}, "16 hex"),
        ({"kind": "rollout", "release": "zz"}, "hex"),
        ({"kind": "reading", "release": "00" * 8}, "nothing of rollout"),
    ],
)
def test_wishes_that_are_none(fields, words):
    with pytest.raises(BadInput, match=words):
        Wish(**fields)


async def test_who_may_order_what(conn, fleet):
    rollout = Wish("rollout", release="0123456789abcdef")
    with pytest.raises(NotAllowed, match="release"):
        await ask(conn, fleet, "operator-whole", rollout)
    assert (await ask(conn, fleet, "engineer-whole", rollout)).needs_second
    with pytest.raises(NothingToDo):
        await ask(conn, fleet, "operator-d1", Wish("mode", "hold"), where="T2")
    with pytest.raises(BadInput, match="Say why"):
        await ask(conn, fleet, "operator-d1", Wish("mode", "hold"), why="  ")
    await people.summaries(conn, fleet, "T1", windows=1)
    await conn.execute("UPDATE site_live SET state = state || '{\"capabilities\": 3}'")
    with pytest.raises(BadInput, match="takes no commands"):
        await ask(conn, fleet, "operator-d1", Wish("mode", "hold"))


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(names.OUTCOME_DONE, "done"), (names.OUTCOME_REFUSED, "refused"),
     (names.OUTCOME_EXPIRED, "expired"), (names.OUTCOME_FAILED, "failed")],
)  # fmt: skip
async def test_an_answer_ends_its_order_and_no_other(conn, fleet, outcome, status):
    made = await ask(conn, fleet, "operator-d1", Wish("mode", "hold"))
    answer = {"kind": names.KIND_ANSWER, "severity": 0, "command_id": made.id,
              "outcome": outcome, "detail": "mode hold"}  # fmt: skip
    await people.event(conn, fleet, "T1", **answer)
    assert await commands.take_answers(conn) == 0, "answered before it was sent"
    await sent(conn)
    await conn.execute("DELETE FROM event")
    await people.event(conn, fleet, "T2", **answer)
    assert await commands.take_answers(conn) == 0, "another site's answer"
    await people.event(conn, fleet, "T1", **answer)
    assert await commands.take_answers(conn) == 1
    who, _ = await people.who(conn, "operator-d1")
    [found] = await commands.listed(conn, who)
    assert (found.status, found.answer) == (status, "mode hold")
    assert await sent(conn, time.time() + 120) == []


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    ("outcome", "status"), [(names.OUTCOME_DONE, "done"), (names.OUTCOME_FAILED, "failed")]
)
async def test_a_rollout_is_under_way_until_its_second_answer(
    conn, fleet, outcome, status, at_once
):
    """`at_once`: HQ was away meanwhile, and hears both answers in one batch."""
    made = await ask(conn, fleet, "engineer-d1", Wish("rollout", release="ab" * 8))
    await approve(conn, "engineer-whole", made.id)
    await sent(conn)
    who, _ = await people.who(conn, "engineer-whole")
    answer = {"kind": names.KIND_ANSWER, "severity": 0, "command_id": made.id}
    begun = answer | {"outcome": names.OUTCOME_NONE, "detail": "0.2.0 is brought to the homes"}
    ended = answer | {"outcome": outcome, "detail": "0.2.0 runs on 3 of 4 homes"}
    await people.event(conn, fleet, "T1", **begun)
    if not at_once:
        assert await commands.take_answers(conn) == 1
        [found] = await commands.listed(conn, who)
        assert (found.status, found.answer) == ("started", "0.2.0 is brought to the homes")
        assert await commands.take_answers(conn) == 0
        # It is neither sent again, nor does its time run out.
        assert await sent(conn, time.time() + 7200) == []
    await people.event(conn, fleet, "T1", **ended)
    assert await commands.take_answers(conn) == 1
    [found] = await commands.listed(conn, who)
    assert (found.status, found.answer) == (status, "0.2.0 runs on 3 of 4 homes")
    await people.event(conn, fleet, "T1", **begun)
    assert await commands.take_answers(conn) == 0


async def test_the_key_is_for_us_alone(tmp_path):
    from pbal_hq.errors import CertificateError

    path = tmp_path / "command.key"
    public = commands.make_key(path)
    assert commands.Signer.read(path).public_hex == public
    with pytest.raises(CertificateError, match="there already"):
        commands.make_key(path)
    path.chmod(0o640)
    with pytest.raises(CertificateError, match="others may read"):
        commands.Signer.read(path)
    path.chmod(0o600)
    path.write_text("no key")
    with pytest.raises(CertificateError, match="PEM"):
        commands.Signer.read(path)
    with pytest.raises(CertificateError, match="No such file"):
        commands.Signer.read(tmp_path / "absent")
    sealed = SIGNER.seal(Command(site=7, command_id=1, kind=3))
    assert signing.open_sealed(sealed, KEYS).site == 7
