"""Alarms of the site: told once when they begin, again when they come back after a while."""

from pbal_controller.uplink.alarms import AlarmBook, SiteAlarm
from pbal_uplink import names

T = 1_800_000_000
OVER = SiteAlarm(names.KIND_OVERLOAD, "overload", "overload: phase A carries 260 A, limit 250 A")
DOUBT = SiteAlarm(names.KIND_DOUBT, "257", "its word does not fit", 257)


def test_what_lasts_is_told_once():
    book = AlarmBook(7)
    (told,) = book.begun([OVER], T)
    assert (told.kind, told.severity, told.at_s) == (names.KIND_OVERLOAD, names.ALARM, T)
    assert told.detail == OVER.text
    for second in range(1, 3600):
        other = SiteAlarm(OVER.kind, OVER.key, f"overload: {second} A")
        assert book.begun([other], T + second) == []


def test_each_has_its_own_and_flapping_is_one():
    book = AlarmBook(7)
    book.begun([OVER], T)
    (doubt,) = book.begun([OVER, DOUBT], T + 1)
    assert doubt.address == 257
    assert book.begun([], T + 2) == []
    assert book.begun([OVER], T + 500) == []
    (again,) = book.begun([OVER, DOUBT], T + 1200)[:1]
    assert again.event_id != doubt.event_id
    assert len(book.begun([DOUBT], T + 3000)) == 1


def test_a_clock_set_back_hides_nothing():
    book = AlarmBook(7)
    first = book.begun([OVER], T)
    second = book.begun([OVER], T - 5000)
    assert len(first) == len(second) == 1
    assert first[0].event_id != second[0].event_id
