"""The large profile of the bench, small: every role carries its load over real engines."""

import json
import os
import subprocess
import sys

import pytest
from rigs.needs import ROOT, missing, require_file, require_module

from pbal_engines import Missing, fetched, find_java
from pbal_hq.sizing import Costs, size

pytestmark = [pytest.mark.engine, pytest.mark.keeps_processes, pytest.mark.timeout(600)]


def test_every_role_has_a_figure_and_a_fleet_is_sized_by_them():
    require_module("confluent_kafka", "kafka")
    require_file("/usr/sbin/mosquitto", "mosquitto")
    try:
        find_java()
        fetched("kafka")
    except Missing as error:
        missing("what Kafka needs", str(error))
    words = [sys.executable, "-m", "bench.hq", "--profile", "large", "--quick", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env={**os.environ})
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout)
    roles = figures["roles"]
    assert list(roles) == ["bridge", "decode", "store", "detect", "lake", "sums"]
    for name, found in roles.items():
        assert found["one"]["us"] > 0, name
        assert found["one"]["kafka_us"] > 0, name
        assert ("growth" in found) == (name in ("decode", "store", "detect", "lake")), name
        if "growth" in found:
            one, two = found["one"], found["two"]
            assert found["growth"] == pytest.approx(two["per_s"] / one["per_s"])
            # All of a role's work is its one process's; two take each a part of it.
            assert one["share"] == pytest.approx(1)
            assert 0.5 <= two["share"] < 1, name
            assert 0 < one["busy"] + one["others"] < 1.1 * figures["processors"]
    # A packed summary has some hundred bytes: what is kept of it cannot be less than a tenth.
    assert min(figures[name] for name in ("raw_bytes", "summary_bytes", "lake_bytes")) > 20
    (fleet,) = figures["fleets"]
    assert fleet["pages"]["whole tree"]["/"]["median_ms"] > 0
    assert 10_000 < fleet["bytes_transformer_day"] < 200_000
    assert size(100_000, costs=Costs.of(figures)).cores_for_headroom > 0
