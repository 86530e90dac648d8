"""A window's fields against figures computed by hand, and the hot spot against IEC 60076-7."""

import cmath
import math

import pytest

from pbal_controller.config import HomeConfig, TransformerConfig, UplinkConfig
from pbal_controller.homes import Fleet, Home
from pbal_controller.journal import AsyncJournal, Journal
from pbal_controller.meters import TransformerReading
from pbal_controller.uplink import outbox
from pbal_controller.uplink.summaries import Sampler, Summaries
from pbal_controller.uplink.thermal import Heat
from pbal_controller.uplink.window import Sample, Window, pvur_percent, resistance
from pbal_protocol import records as r
from pbal_uplink import Summary

T = 1_800_000_000  # a multiple of 300


def test_means_and_extremes():
    window = Window(T, 300)
    volts = ((228.0, 458.0, 230.0, 2), (231.0, 231.0, 231.0, 1), (0.0, 0.0, 0.0, 0))
    window.add(Sample((10.0, 20.0, 0.0), 5.0, volts, (1.0, 0, 0), (0, 0, 2.0), 100.0, 10, 9))
    window.add(Sample((30.0, 20.0, 0.0), 15.0, volts, (2.0, 0, 0), (0, 0, 3.0), 200.0, 10, 10))
    got = window.fields(100.0)
    assert (got["ia_mean_a"], got["ia_max_a"]) == (20.0, 30.0)
    assert (got["in_mean_a"], got["in_max_a"]) == (10.0, 15.0)
    assert (got["va_min_v"], got["va_mean_v"], got["va_max_v"]) == (228.0, 229.0, 230.0)
    assert "vc_min_v" not in got
    assert "pvur_percent" not in got, "two phases say nothing of three"
    assert (got["ea_import_kwh"], got["ec_export_kwh"]) == (0.003, 0.005)
    # (20 A * 229 V + 20 A * 231 V) / 100 kVA
    assert got["load_mean_percent"] == pytest.approx(9.2)
    assert got["load_max_percent"] == pytest.approx(100 * 30 / (100_000 / 690))
    assert got["losses_avoided_wh"] == round(300 / 3600)
    assert got["rs485_percent"] == 95.0
    assert got["complete_percent"] == 0
    Summary(site=7, **got)


def test_an_empty_window_says_that_nothing_was_seen():
    got = Window(T, 300).fields(100.0)
    made = Summary(site=7, **got)
    assert made.complete_percent == 0
    assert made.va_mean_v is made.load_mean_percent is made.rs485_percent is None
    assert (made.losses_avoided_wh, made.losses_method) == (None, 0)


def test_unbalance_of_voltages():
    assert pvur_percent([230.0, 230.0, 230.0]) == 0
    # IEEE 141's own form: mean 229, largest deviation 9.
    assert pvur_percent([220.0, 232.0, 235.0]) == pytest.approx(100 * 9 / 229)


def test_resistance_of_the_way():
    assert resistance(100.0, None, None) is None
    made = resistance(100.0, 1750.0, None)
    rated = 100_000 / 690
    assert made.loss_w([rated, rated, rated], 0) == pytest.approx(1750.0)
    line = resistance(None, None, 0.05)
    assert line.loss_w([10, 0, 0], 10) == pytest.approx(0.05 * 200)


def test_hot_spot_of_rated_load_is_98_degrees_at_20():
    """IEC 60076-7: the rated hot spot of distribution transformers is 98 degC at 20 degC."""
    heat = Heat.settled(1.0)
    assert heat.hot_spot_c(20.0) == pytest.approx(98.0)
    assert heat.after(1.0, 3600).hot_spot_c(20.0) == pytest.approx(98.0)


def test_hot_spot_follows_the_load_and_not_at_once():
    heat = Heat.settled(0.5)
    cold = heat.hot_spot_c(30.0)
    minute = heat.after(1.2, 60).hot_spot_c(30.0)
    hours = heat.after(1.2, 86_400).hot_spot_c(30.0)
    assert cold < minute < hours - 20
    assert hours == pytest.approx(Heat.settled(1.2).hot_spot_c(30.0), abs=0.1)
    # The same time in many steps is the same time in one.
    stepped = heat
    for _ in range(60):
        stepped = stepped.after(1.2, 60)
    assert stepped.hot_spot_c(30.0) == pytest.approx(heat.after(1.2, 3600).hot_spot_c(30.0))
    # Without load the oil has what the iron losses give: (1/6)^0.8 of 55 K.
    assert Heat.settled(0.0).hot_spot_c(0.0) == pytest.approx(55 * (1 / 6) ** 0.8)


# -- from the homes -------------------------------------------------------------------------------


def street(*loads_w, phases=None):
    homes = []
    for number, p_w in enumerate(loads_w):
        home = Home(HomeConfig(address=257 + number, bus="b"), None)
        home.telemetry = r.Telemetry(
            va_v=230.0, vb_v=231.0, vc_v=229.0, vout_v=230.0, current_a=abs(p_w) / 230, p_w=p_w,
            phase=(phases or (1, 2, 3))[number], e_import_wh=1000,
        )  # fmt: skip
        home.sampled_at = 0.0
        home.alive = True
        homes.append(home)
    return Fleet(homes)


def test_the_neutral_is_a_phasor_sum():
    sampler = Sampler(street(2300.0, 2300.0, 2300.0), TransformerConfig(), 10, lambda: None)
    sample = sampler.sample(1.0)
    assert sample.phases_a == pytest.approx((10, 10, 10))
    assert sample.neutral_a == pytest.approx(0, abs=1e-9)
    assert sample.volts[1] == pytest.approx((231.0, 693.0, 231.0, 3))
    lopsided = Sampler(street(2300.0, 0.0, 0.0), TransformerConfig(), 10, lambda: None)
    assert lopsided.sample(1.0).neutral_a == pytest.approx(10)


def test_stale_homes_count_for_nothing():
    sampler = Sampler(street(2300.0), TransformerConfig(), 10, lambda: None)
    assert sampler.sample(11.0) is None


def test_the_transformers_own_meter_goes_before_the_sum():
    reading = TransformerReading((230, 230, 230), (50, 60, 70), (11500, 13800, 16100), (0, 0, 0))
    sampler = Sampler(street(2300.0), TransformerConfig(), 10, lambda: reading)
    sample = sampler.sample(1.0)
    assert sample.phases_a == (50, 60, 70)
    turn = cmath.exp(-2j * math.pi / 3)
    assert sample.neutral_a == pytest.approx(abs(50 + 60 * turn + 70 * turn * turn))


def test_energy_is_what_the_counters_gained_on_the_present_phase():
    fleet = street(2300.0, 100.0)
    sampler = Sampler(fleet, TransformerConfig(), 10, lambda: None)
    assert sampler.sample(1.0).import_wh == (0, 0, 0), "where a counter begins is no energy"
    for home, gained in zip(fleet, (3, 5), strict=True):
        home.sampled_at = 5.0
        home.telemetry.e_import_wh = 1000 + gained
    assert sampler.sample(6.0).import_wh == (3, 5, 0)
    assert sampler.sample(6.0).import_wh == (0, 0, 0), "counted once"
    (first, second) = fleet
    first.telemetry.e_import_wh, second.telemetry.e_import_wh = 10, 4_000_000
    first.sampled_at = second.sampled_at = 7.0
    assert sampler.sample(8.0).import_wh == (0, 0, 0), "set back, and beyond its fuse"


def test_losses_avoided_compare_with_the_phases_at_first():
    fleet = street(2300.0, 2300.0, 2300.0)
    sampler = Sampler(fleet, TransformerConfig(line_ohm=0.1), 10, lambda: None)
    assert sampler.sample(1.0).avoided_w is None, "not before it is known where they began"
    sampler.first_phases = {257: 1, 258: 1, 259: 1}
    # At first 30 A in one phase and the neutral: 0.1 * (900 + 900); now 10 A in each: 0.1 * 300.
    assert sampler.sample(1.0).avoided_w == pytest.approx(150.0)
    sampler.first_phases = {257: 1, 258: 2, 259: 3}
    assert sampler.sample(1.0).avoided_w == pytest.approx(0.0)


# -- the loop, on a clock of its own ---------------------------------------------------------------


class Clock:
    def __init__(self, at):
        self.at = at

    def __call__(self):
        return self.at


@pytest.fixture
async def journal(tmp_path):
    made = AsyncJournal(tmp_path / "j.db")
    await made.open()
    await made.call(outbox.switch, True)
    yield made
    await made.close()


def maker(journal, fleet, wall, **transformer):
    return Summaries(
        journal, fleet, 7, UplinkConfig(), TransformerConfig(**transformer), 1e10, lambda: None,
        lambda: 0, wall,
    )  # fmt: skip


async def play(summaries, wall, seconds, step=1):
    for _ in range(0, seconds, step):
        wall.at += step
        await summaries.round(wall.at)


async def queued(journal):
    return [row.message() for row in await journal.call(outbox.rows, 0, None, 1000)]


async def test_a_window_ends_on_the_clock(journal):
    wall = Clock(T + 200)
    fleet = street(2300.0, 4600.0, 0.0)
    made = maker(journal, fleet, wall, rated_kva=100.0, line_ohm=0.1)
    await play(made, wall, 405)
    first, second = await queued(journal)
    assert (first.start_s, first.length_s, first.complete_percent) == (T, 300, 33)
    assert (second.start_s, second.complete_percent) == (T + 300, 100)
    assert (second.ia_mean_a, second.ib_max_a) == (10.0, 20.0)
    assert (second.homes, second.homes_alive, second.homes_fresh) == (3, 3, 3)
    assert second.losses_avoided_wh == 0
    assert second.hotspot_c == pytest.approx(Heat.settled(0.138).hot_spot_c(30), abs=0.1)
    assert await journal.call(lambda j: dict(j.db.execute("SELECT address, phase FROM "
                                                          "first_phases"))) == {
        257: 1, 258: 2, 259: 3,
    }  # fmt: skip


async def test_the_first_phases_and_the_heat_survive_a_restart(journal):
    wall = Clock(T)
    fleet = street(23_000.0, 0.0, 0.0)
    one = maker(journal, fleet, wall, rated_kva=23.0, line_ohm=0.1)
    await play(one, wall, 302)
    hot = (await queued(journal))[-1].hotspot_c
    moved = street(0.0, 0.0, 0.0, phases=(2, 2, 3))
    two = maker(journal, moved, wall, rated_kva=23.0, line_ohm=0.1)
    await play(two, wall, 300)
    after = (await queued(journal))[-1].hotspot_c
    assert two._sampler.first_phases == {257: 1, 258: 2, 259: 3}
    assert 40 < after < hot, "it cools over hours"


async def test_switchings_are_counted_in_their_window(journal):
    wall = Clock(T)
    made = maker(journal, street(0.0), wall)
    await play(made, wall, 10)

    def moves(j: Journal) -> None:
        for state in ("confirmed", "confirmed", "refused"):
            row = j.new_command(257, 1, 2, 1, 2, "why", 1.0)
            j.update_command(row.id, state, 1)
        j.db.execute("UPDATE commands SET updated_s = ?", (T + 299.0,))

    await journal.call(moves)
    await play(made, wall, 601)
    first, second = [m for m in await queued(journal) if isinstance(m, Summary)]
    assert (first.confirmed, first.refused, first.expired) == (2, 1, 0)
    assert (second.confirmed, second.refused) == (0, 0)


async def test_a_clock_that_is_not_set_or_set_back_makes_no_nonsense(journal):
    wall = Clock(1000.0)
    made = maker(journal, street(0.0), wall)
    await play(made, wall, 900, 10)
    assert await queued(journal) == []
    wall.at = T
    await play(made, wall, 310)
    wall.at = T - 1000
    await play(made, wall, 310)
    starts = [m.start_s for m in await queued(journal)]
    assert starts[0] == T
    assert all(start % 300 == 0 for start in starts)


async def test_while_the_journal_fails_summaries_are_kept(journal, monkeypatch):
    wall = Clock(T)
    made = maker(journal, street(0.0), wall)
    await play(made, wall, 5)
    whole = outbox.put

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outbox, "put", full)
    for _ in range(700):
        wall.at += 1
        try:
            await made.round(wall.at)
        except OSError:
            continue
    assert await queued(journal) == []
    monkeypatch.setattr(outbox, "put", whole)
    await play(made, wall, 1)
    assert [m.start_s for m in await queued(journal)] == [T, T + 300]
