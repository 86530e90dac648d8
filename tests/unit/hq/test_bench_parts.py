"""The parts of the large bench: kept as they end, not measured again, and printed as tables."""

import contextlib
import json
from types import SimpleNamespace

import pytest
from rigs.needs import require_module

from bench._hq_parts import Parts
from pbal_hq.sizing import Costs

PAGES = {"/": {"median_ms": 9.0, "p95_ms": 12.0, "largest_ms": 13.0, "cpu_ms": 4321.4}}


def fleet(transformers):
    return {
        "transformers": transformers, "feeders": 100, "days": 7, "times": 3, "store_us": 30.0,
        "store_postgres_us": 20.0, "sums_us": 90.0, "present_ms": 11.0, "feeders_us": 9.0,
        "gb": 0.5, "filled_s": 3.0, "page_ms": 5.0 + transformers / 100,
        "summary_daily_bytes": 170.0, "pages": {"whole tree": PAGES, "one division": PAGES},
    }  # fmt: skip


def roles():
    way = {
        "us": 100.0, "kafka_us": 10.0, "postgres_us": 5.0, "per_core_s": 10_000.0, "per_s": 900.0,
        "busy": 0.4, "others": 1.5, "share": 0.5,
    }  # fmt: skip
    grew = {"growth": 1.5, "most_growth": 2.0, "own_cost": 1.1, "whole_cost": 1.2,
            "free_growth": 1.8}  # fmt: skip
    names = ("bridge", "decode", "store", "detect", "lake", "sums")
    found = {name: {"one": dict(way)} for name in names}
    for name in names[1:5]:
        found[name] |= {"two": dict(way)} | grew
    found["bridge"]["one"]["mosquitto_us"] = 80.0
    return {"sites": 40, "backlog_sites": 200, "raw_bytes": 70.0, "summary_bytes": 200.0,
            "lake_bytes": 100.0, "row_bytes": 260.0, "row_hourly_bytes": 300.0,
            "roles": found}  # fmt: skip


def test_what_is_kept_is_not_measured_again(tmp_path):
    file, asked = tmp_path / "large.json", []

    def measure(transformers):
        asked.append(transformers)
        return fleet(transformers)

    for _ in range(2):
        parts = Parts(file)
        for size in (500, 100):
            parts.fleet(size, lambda size=size: measure(size))
    assert asked == [500, 100]
    # Another process measures another part meanwhile; both are there in the end.
    late = Parts(file)
    Parts(file).roles(roles)
    late.fleet(900, lambda: measure(900))
    found = json.loads(file.read_text())
    assert late.figures == found
    assert [each["transformers"] for each in found["fleets"]] == [100, 500, 900]
    assert found["roles"]["store"]["two"]["us"] == 100
    assert 0 <= found["others"] <= found["processors"]
    # What `--only` names is measured anew, and nothing else.
    again = Parts(file, ("fleets",))
    again.roles(lambda: pytest.fail("not asked for"))
    again.fleet(100, lambda: measure(100))
    assert asked == [500, 100, 900, 100]
    file.write_text("{")
    with pytest.raises(SystemExit, match="name another file"):
        Parts(file)


def test_its_tables_have_every_part_and_size_a_fleet(tmp_path, capsys):
    from bench import _hq_tables

    parts = Parts(None)
    parts.fleet(100, lambda: fleet(100))
    _hq_tables.printed(parts.figures)
    said = capsys.readouterr().out
    assert "| overview | 4,321 (12) | 4,321 (12) |" in said
    assert "machines of" not in said, "without the roles nothing is sized"
    parts.roles(roles)
    parts.fleet(1100, lambda: fleet(1100))
    _hq_tables.printed(parts.figures)
    said = capsys.readouterr().out
    assert "| overview | 4,321 (12) | 4,321 (12) | 4,321 (12) | 4,321 (12) |" in said
    assert said.count("machines of 16 cores") == 2
    assert "| detect | 900 | 900 | 1.50 | 2.00 | 100, 100 | 1.10 | 1.20 | 50 % | 1.80 |" in said
    # 10 ms more with 1000 more: 10 us each.
    assert Costs.of(parts.figures).page_transformer_us == pytest.approx(10)


def test_what_others_took_is_held_against_the_time_in_which_they_took_it(monkeypatch):
    """Two processors are busy all the time, and Kafka is slow to answer before the first record."""
    require_module("confluent_kafka", "kafka")
    from bench import _hq_growth as growth

    now_s = 100.0

    def slow(answer):
        nonlocal now_s
        now_s += 1.5
        return answer

    done = [0, 0, 40]  # before, once while it drains, at its end

    @contextlib.contextmanager
    def held(records):
        yield lambda: slow(None)

    place = SimpleNamespace(
        at_end=lambda *_: None, drained=lambda *_: None, held=held,
        position=lambda *_: slow(done.pop(0)),
        cpu_s=lambda: {"kafka": 0.3 * now_s, "postgres": 0.1 * now_s},
    )  # fmt: skip
    role = SimpleNamespace(
        name="decode", group="decode", start=lambda: None, stop=lambda: None,
        each_cpu_s=lambda: [0.2 * now_s],
    )  # fmt: skip
    monkeypatch.setattr(growth, "time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr(growth, "busy_s", lambda: 2 * now_s)
    monkeypatch.setattr(growth, "until", lambda is_so, *_: [None for _ in iter(is_so, True)])
    one = growth._joined([growth._drained(place, role, 1, "summary", [None] * 40)], 40)
    assert one["busy"] == pytest.approx(0.6)
    assert one["busy"] + one["others"] == pytest.approx(2)
    assert one["took_s"] == pytest.approx(3), "from the commit to the last record done"
