"""Commands of HQ: who may order what, how far, until when, and that each is carried out once."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pbal_controller.config import PlannerConfig, UplinkConfig
from pbal_controller.journal import AsyncJournal
from pbal_controller.standing import Mode, Restraint
from pbal_controller.updates import store as rollout_store
from pbal_controller.uplink import Commands, outbox
from pbal_uplink import Command, names, signing

T = 1_800_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw().hex()
ALL = ("mode", "limits", "rebirth", "rollout", "reading")


@pytest.fixture
async def journal(tmp_path):
    made = AsyncJournal(tmp_path / "j.db")
    await made.open()
    yield made
    await made.close()


def site(journal, *, allow=ALL, keys=(PUBLIC,), planner=None, wall=lambda: T, release=None):
    restraint = Restraint()
    made = Commands(
        journal, UplinkConfig(hq_keys=keys, allow=allow),
        planner or PlannerConfig(phase_limit_a=200.0, max_moving_share=0.1), 7, restraint, wall,
        release or rollout_store.order,
    )  # fmt: skip
    return made, restraint


def sealed(key=KEY, **fields):
    given = {"site": 7, "command_id": 1, "issued_s": T - 5, "expires_s": T + 60,
             "kind": names.COMMAND_MODE, "mode": names.MODE_HOLD, "detail": "flood"}  # fmt: skip
    return signing.seal(Command(**(given | fields)), key)


async def answers(journal):
    return [(row.message().command_id, names.OUTCOMES[row.message().outcome],
             row.message().detail)
            for row in await journal.call(outbox.rows, 0, None, 100)]  # fmt: skip


async def test_hold_holds_is_journalled_answered_and_survives_a_restart(journal):
    commands, restraint = site(journal)
    await commands.take(sealed())
    assert restraint.mode is Mode.HOLD
    assert restraint.why_not() == "held by HQ"
    assert await answers(journal) == [(1, "done", "mode hold")]
    rows = await journal.call(lambda j: j.db.execute("SELECT id, kind, outcome, body FROM "
                                                     "hq_commands").fetchall())  # fmt: skip
    assert rows[0][:3] == ("1", "mode", "done")
    assert Command.decode(rows[0][3]).detail == "flood"
    again, restored = site(journal)
    await again.restore()
    assert restored.mode is Mode.HOLD
    await again.take(sealed(command_id=2, mode=names.MODE_RUN))
    assert restored.mode is Mode.RUN


async def test_the_same_command_is_carried_out_once_and_answered_alike(journal):
    commands, restraint = site(journal)
    await commands.take(sealed())
    await commands.take(sealed(command_id=2, mode=names.MODE_RUN))
    first = await answers(journal)
    for token in [row.body for row in await journal.call(outbox.rows, 0, None, 9)]:
        await journal.call(outbox.stored, [outbox.metrics.token_of(token)])
    await commands.take(sealed())
    assert restraint.mode is Mode.RUN, "the old order does not come back"
    assert await answers(journal) == first[:1]
    await commands.take(sealed())
    assert len(await answers(journal)) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hold!",
        sealed(Ed25519PrivateKey.from_private_bytes(bytes(32))),
        sealed(site=8),
        sealed()[:-1],
        sealed()[:-1] + b"X",
        KEY.sign(b"hold"),
    ],
    ids=["nothing", "text", "another key", "another site", "cut", "changed", "no command"],
)
async def test_what_hq_did_not_sign_for_this_site_changes_and_says_nothing(journal, data):
    commands, restraint = site(journal)
    await commands.take(data)
    assert restraint == Restraint()
    assert commands.refused_total == 1
    assert await answers(journal) == []
    assert await journal.call(lambda j: j.db.execute("SELECT * FROM hq_commands").fetchall()) == []


async def test_without_a_key_no_command_counts(journal):
    commands, restraint = site(journal, keys=())
    await commands.take(sealed())
    assert restraint == Restraint()


@pytest.mark.parametrize(
    ("fields", "outcome", "words"),
    [
        ({"expires_s": T}, "expired", "expired before it came"),
        ({"issued_s": T + 100, "expires_s": T + 200}, "refused", "clocks differ"),
        ({"expires_s": T + 90_000}, "refused", "more than 24 hours"),
        ({"mode": None}, "refused", "names no mode"),
        ({"kind": names.COMMAND_LIMITS, "phase_limit_a": 201.0}, "refused", "own 200 A"),
        ({"kind": names.COMMAND_LIMITS, "max_moving_percent": 11}, "refused", "own 10%"),
        ({"kind": names.COMMAND_ROLLOUT}, "refused", "names no release"),
        ({"kind": names.COMMAND_ROLLOUT, "release": bytes(8)}, "refused", "no release 00000000"),
    ],
)
async def test_what_is_out_of_bounds_is_refused_with_its_reason(journal, fields, outcome, words):
    commands, restraint = site(journal)
    await commands.take(sealed(**fields))
    assert restraint == Restraint()
    ((_, got, why),) = await answers(journal)
    assert got == outcome
    assert words in why


async def test_a_clock_that_is_not_set_takes_no_orders(journal):
    commands, restraint = site(journal, wall=lambda: 1000.0)
    await commands.take(sealed(issued_s=0, expires_s=2000))
    assert restraint == Restraint()
    assert (await answers(journal))[0][1] == "refused"


@pytest.mark.parametrize("kind", ALL)
async def test_the_sites_own_list_decides(journal, kind):
    number = next(n for n, word in names.COMMANDS.items() if word == kind)
    commands, restraint = site(journal, allow=tuple(word for word in ALL if word != kind))
    effect = await commands.take(sealed(kind=number, phase_limit_a=100.0, release=bytes(8)))
    assert restraint == Restraint()
    assert not effect.rebirth
    assert not effect.reading
    assert f"does not name {kind}" in (await answers(journal))[0][2]


async def test_limits_only_tighten_and_are_lifted_by_none(journal):
    commands, restraint = site(journal)
    await commands.take(
        sealed(kind=names.COMMAND_LIMITS, phase_limit_a=150.0, max_moving_percent=5)
    )
    assert restraint.limit_a(200.0) == 150.0
    assert restraint.moving_share(0.1) == 0.05
    assert restraint.limit_a(None) == 150.0
    await commands.take(sealed(command_id=2, kind=names.COMMAND_LIMITS))
    assert restraint.limit_a(200.0) == 200.0
    assert restraint.moving_share(0.1) == 0.1


async def test_rebirth_and_reading_are_effects(journal):
    commands, _ = site(journal)
    assert (await commands.take(sealed(kind=names.COMMAND_REBIRTH))).rebirth
    assert (await commands.take(sealed(command_id=2, kind=names.COMMAND_READING))).reading
    assert not (await commands.take(sealed(command_id=2, kind=names.COMMAND_READING))).reading


RELEASE = "ab" * 32


async def ordered_in(journal, state, command_id=1):
    """A release that is in this state at the site, ordered by HQ; what is wished, and answered."""
    await journal.call(outbox.switch, True)
    await journal.call(rollout_store.add, RELEASE, "1.2.3", "f", state)
    commands, _ = site(journal)
    await commands.take(
        sealed(command_id=command_id, kind=names.COMMAND_ROLLOUT, release=bytes.fromhex("ab" * 8))
    )
    (row,) = await journal.call(rollout_store.rollouts)
    return row.wish, (await answers(journal))[-1][1:3]


@pytest.mark.parametrize(
    ("state", "wish", "outcome", "words"),
    [
        ("waiting", "resume", "none", "1.2.3 is brought to the homes"),
        ("running", "", "none", "1.2.3 is brought to the homes"),
        ("paused", "resume", "none", "1.2.3 is brought to the homes"),
        ("stopped", "retry", "none", "1.2.3 is brought to the homes"),
        ("done", "", "done", "1.2.3 is on every home already"),
        ("cancelled", "", "refused", "1.2.3 is cancelled at this site"),
        ("superseded", "", "refused", "1.2.3 is superseded at this site"),
    ],
)
async def test_an_order_for_a_release_by_its_state(journal, state, wish, outcome, words):
    assert await ordered_in(journal, state) == (wish, (outcome, words))


@pytest.mark.parametrize(
    ("end", "detail", "outcome", "words"),
    [
        ("done", "", names.OUTCOME_DONE, "1.2.3 runs on 1 of 2 homes"),
        ("stopped", "home 258: import", names.OUTCOME_FAILED,
         "stopped home 258: import; 1.2.3 runs on 1 of 2 homes"),
        ("superseded", "by 2.0.0", names.OUTCOME_FAILED,
         "superseded by 2.0.0; 1.2.3 runs on 1 of 2 homes"),
    ],
)  # fmt: skip
async def test_the_end_of_an_ordered_rollout_is_a_second_answer(
    journal, end, detail, outcome, words
):
    await ordered_in(journal, "waiting", 77)
    # Twice the same order, and another one meanwhile: nothing is begun twice.
    assert (await ordered_in(journal, "waiting", 77))[1][0] == "none"
    assert (await ordered_in(journal, "waiting", 78))[1] == (
        "refused", "1.2.3 is under way by an earlier order",
    )  # fmt: skip
    await journal.call(rollout_store.set_home, RELEASE, 257, "done", "")
    await journal.call(rollout_store.set_home, RELEASE, 258, "failed", "")
    await journal.call(rollout_store.set_state, RELEASE, "running", "")
    await journal.call(rollout_store.set_state, RELEASE, end, detail)
    # What becomes of it later, a person at the site did.
    await journal.call(rollout_store.set_state, RELEASE, "running", "")
    await journal.call(rollout_store.set_state, RELEASE, "done", "")
    assert await journal.call(outbox.take_facts, 7) == 1
    last = (await journal.call(outbox.rows, 0, None, 100))[-1].message()
    assert (last.kind, last.command_id, last.outcome, last.detail) == (
        names.KIND_ANSWER, 77, outcome, words,
    )  # fmt: skip


async def test_a_crash_leaves_order_and_effect_or_neither(journal, monkeypatch):
    commands, restraint = site(journal)

    def fails(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "insert", fails)
        with pytest.raises(OSError, match="space"):
            await commands.take(sealed())
    assert restraint == Restraint()
    again, restored = site(journal)
    await again.restore()
    assert restored == Restraint()
    await again.take(sealed())
    assert restored.mode is Mode.HOLD
