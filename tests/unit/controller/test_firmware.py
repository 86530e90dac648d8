"""Mixed firmware is told once: homes that differ, homes that lack a record."""

from __future__ import annotations

import logging

import pytest

from pbal_controller.config import HomeConfig
from pbal_controller.homes import Fleet, Home
from pbal_controller.updates import Firmware
from pbal_controller.updates.firmware import released_since
from pbal_protocol import records as r

OLD, NEW = 0x000100, 0x000200
SINCE = {"Telemetry": OLD, "GroupKey": NEW}
DIFFER = "homes with another firmware than the others"
LACKING = "homes with firmware older than records of this controller"
OVER = "all homes run one firmware again"


class Street:
    """Homes that say what they run."""

    def __init__(self, *versions: int) -> None:
        self.homes = [
            Home(HomeConfig(address=0x0101 + i, bus="b"), None, alive=True)
            for i in range(len(versions))
        ]
        self.updating = False
        self.firmware = Firmware(Fleet(self.homes), lambda: self.updating, SINCE)
        self.run(*versions)

    def run(self, *versions: int) -> None:
        """Every home runs this; 0 for one that has not said."""
        for home, version in zip(self.homes, versions, strict=True):
            home.hello = r.Hello(fw_version=version) if version else None


def said(street: Street, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What two looks log."""
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="pbal_controller.updates.firmware"):
        street.firmware.look()
        street.firmware.look()
    return [record.getMessage() for record in caplog.records]


def test_one_version_is_nothing_to_say(caplog: pytest.LogCaptureFixture) -> None:
    street = Street(NEW, NEW, NEW)
    assert said(street, caplog) == []
    assert street.firmware.as_dict() == {
        "versions": {"0.2.0": 3}, "differing": [], "lacking": {},
    }  # fmt: skip


def test_the_odd_one_is_told_once_and_when_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    street = Street(NEW, 0x000300, NEW)
    assert said(street, caplog) == [DIFFER]
    assert caplog.records[0].__dict__["homes"] == [0x0102]
    assert said(street, caplog) == []
    street.run(NEW, NEW, NEW)
    assert said(street, caplog) == [OVER]


def test_of_two_halves_the_older_differs() -> None:
    assert Street(OLD, NEW).firmware.differing() == [0x0101]


def test_a_home_that_lacks_a_record_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    street = Street(OLD, NEW, NEW)
    assert said(street, caplog) == [LACKING, DIFFER]
    assert caplog.records[0].__dict__["homes"] == [0x0101]
    assert caplog.records[0].__dict__["records"] == ["GroupKey"]
    assert street.firmware.as_dict()["lacking"] == {"257": ["GroupKey"]}
    assert said(street, caplog) == []
    street.run(OLD, OLD, OLD)
    assert said(street, caplog) == [LACKING, OVER], "two more homes"
    assert said(street, caplog) == []


def test_a_rollout_differs_on_purpose(caplog: pytest.LogCaptureFixture) -> None:
    street = Street(NEW, 0x000300)
    street.updating = True
    assert said(street, caplog) == []
    street.updating = False
    assert said(street, caplog) == [DIFFER]


def test_it_waits_until_every_living_home_has_said(caplog: pytest.LogCaptureFixture) -> None:
    street = Street(OLD, NEW, 0)
    assert said(street, caplog) == []
    street.homes[2].alive = False
    assert said(street, caplog) == [LACKING, DIFFER]


def test_the_records_of_the_wire_have_a_version() -> None:
    assert set(released_since()) == {cls.NAME for cls in r.RECORDS.values()}
