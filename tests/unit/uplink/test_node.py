"""The edge node's numbers, by themselves: no broker, no clock but ours."""

from pbal_controller.uplink.node import EdgeNode, Stage
from pbal_uplink import State, Summary, metrics, sparkplug

STATE = State(site=7, words=1, config_hash=bytes(8), window_s=300)
DATA = Summary(site=7, length_s=300)


def node(**how):
    return EdgeNode("g", "7", "packed", lambda: 1_800_000_000.25, **how)


def seq(packet, types=None):
    return sparkplug.decode(packet.payload, types).seq


def test_seq_goes_round_after_255_and_begins_anew_with_each_birth():
    made = node()
    made.connecting(3)
    birth = made.birth(STATE)
    types = sparkplug.aliases(sparkplug.decode(birth.payload))
    assert (birth.topic, seq(birth)) == ("spBv1.0/g/NBIRTH/7", 0)
    got = [seq(made.data(DATA, 1.0, False), types) for _ in range(600)]
    assert got == [(n + 1) % 256 for n in range(600)]
    assert seq(made.birth(STATE)) == 0
    assert seq(made.data(DATA, 1.0, False), types) == 1


def test_will_birth_and_death_have_the_connections_number_and_no_seq():
    made = node()
    will = made.connecting(255)
    birth = made.birth(STATE)
    death = made.death()
    numbers = [sparkplug.decode(p.payload).get(sparkplug.BDSEQ) for p in (will, birth, death)]
    assert numbers == [255, 255, 255]
    assert seq(will) is seq(death) is None
    assert will.topic == death.topic == "spBv1.0/g/NDEATH/7"
    assert made.stage is Stage.OFFLINE


def test_every_metric_has_a_time_and_data_only_an_alias():
    made = node()
    made.connecting(0)
    birth = sparkplug.decode(made.birth(STATE).payload)
    data = sparkplug.decode(made.data(DATA, 17.5, True).payload, sparkplug.aliases(birth))
    assert all(m.timestamp == 1_800_000_000_250 for m in birth.metrics)
    (metric,) = data.metrics
    assert (metric.timestamp, metric.alias, metric.historical) == (17_500, 1, True)
    assert data.timestamp == 1_800_000_000_250
    raw = sparkplug.decode(made.data(DATA, 1.0, False).payload, {1: ("", sparkplug.BYTES)})
    assert raw.metrics[0].name == "", "a name costs bytes, and the alias says it"


def test_the_primary_host_is_believed_in_order():
    made = node(primary_host="hq")
    assert made.subscriptions == ("spBv1.0/g/NCMD/7", "spBv1.0/STATE/hq")
    made.connecting(0)
    topic = sparkplug.state_topic("hq")

    def said(online, at):
        return made.received(topic, sparkplug.write_state(online, at)).host

    assert [said(True, 10), said(False, 9), said(False, 10), said(True, 11)] == [
        True, None, False, True,
    ]  # fmt: skip
    made.connecting(1)
    assert said(True, 5) is True, "a new connection begins anew"
    assert made.received(topic, b"ONLINE").trouble
    assert made.received("spBv1.0/STATE/other", sparkplug.write_state(True, 1)).host is None


def test_commands_are_taken_apart():
    made = node()
    made.connecting(0)

    def sent(*items):
        data = sparkplug.encode(sparkplug.Payload(items, 1))
        return made.received("spBv1.0/g/NCMD/7", data)

    rebirth = sparkplug.Metric(sparkplug.REBIRTH, True, sparkplug.BOOLEAN)
    stored = sparkplug.Metric(sparkplug.STORED, (1, 2**64 - 1), sparkplug.UINT64_ARRAY)
    order = sparkplug.Metric(sparkplug.COMMAND, b"x", sparkplug.BYTES)
    got = sent(rebirth, stored, order)
    assert (got.rebirth, got.stored, got.commands) == (True, [1, 2**64 - 1], [b"x"])
    no = sparkplug.Metric(sparkplug.REBIRTH, False, sparkplug.BOOLEAN)
    assert not sent(no).rebirth
    assert "cannot be written" not in sent(no).trouble
    assert "is no metric" in sent(sparkplug.Metric("Summary", b"x", sparkplug.BYTES)).trouble
    assert made.received("spBv1.0/g/NCMD/7", b"\xff").trouble
    assert made.received("spBv1.0/g/NCMD/8", b"").trouble


def test_the_birth_announces_what_comes():
    for form, count in (("packed", 5), ("plain", 2 + sum(len(c.DECLARED) for c in metrics.SENT))):
        made = EdgeNode("g", "7", form, lambda: 1.0)
        made.connecting(0)
        birth = sparkplug.decode(made.birth(STATE).payload)
        assert len(birth.metrics) == count
        assert len(sparkplug.aliases(birth)) == count - 2
