"""The twin's parts by themselves: loads, mains, line, rules, meter, contacts, witness."""

import gzip
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbal_build import BuildError, build_files
from pbal_sim.contacts import ContactSet
from pbal_sim.errors import LoadsError
from pbal_sim.households import GeneratedLoads
from pbal_sim.line import CONTROLLER, Line, Transmission, char_us
from pbal_sim.loads import read_csv
from pbal_sim.mains import Mains, MainsConfig
from pbal_sim.pzem import Pzem, Reading
from pbal_sim.rules import Rules, crc16
from pbal_sim.statistics import compare
from pbal_sim.witness import Witness

CHAR = char_us(115200)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_csv_plain_gzip_any_step_and_pv(tmp_path: Path) -> None:
    text = "time,home_01,home_02\n2026-01-01T00:00,10,-200\n2026-01-01T00:10,30.5,40\n"
    loads = read_csv(write(tmp_path / "a.csv", text))
    assert (loads.homes, loads.step_s) == (2, 600.0)
    assert loads.at(599.0).tolist() == [10.0, -200.0]
    assert loads.at(600.0).tolist() == [30.5, 40.0]
    assert loads.at(1200.0).tolist() == [10.0, -200.0]  # starts again
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert np.array_equal(read_csv(packed).watts, loads.watts)
    assert read_csv(packed, 1).homes == 1
    seconds = read_csv(write(tmp_path / "b.csv", "time,x\n0,1\n2,3\n"))
    assert seconds.step_s == 2.0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "first line"),
        ("t,home_01\n", "first line"),
        ("time\n0\n", "no home columns"),
        ("time,a,a\n0,1,2\n", "twice"),
        ("time,a\n", "no rows"),
        ("time,a,b\n0,1\n", "line 2: 2 columns"),
        ("time,a\n0,1\n60,\n", "line 3: a is ''"),
        ("time,a\n0,1\n60,nan\n", "fill gaps"),
        ("time,a\n0,1\n60,2\n240,3\n", "line 4: time jumps"),
        ("time,a\n0,1\n60,2\n30,3\n", "line 4: time goes back"),
        ("time,a\nnoon,1\n", "neither seconds nor ISO"),
        ("time,a\n0,999999999\n", "within"),
    ],
)
def test_csv_complains_clearly(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(LoadsError, match="(?s)" + says.replace("(", r"\(")):
        read_csv(write(tmp_path / "bad.csv", text))


def test_csv_too_few_homes_damaged_gzip_and_no_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "time,a\n0,1\n")
    with pytest.raises(LoadsError, match="--homes 1"):
        read_csv(path, 2)
    broken = tmp_path / "b.gz"
    broken.write_bytes(gzip.compress(b"time,a\n0,1\n" * 50)[:-20])
    with pytest.raises(LoadsError, match="damaged gzip"):
        read_csv(broken)
    with pytest.raises(LoadsError, match="cannot read"):
        read_csv(tmp_path / "none.csv")


def test_generated_homes_match_published_statistics() -> None:
    rows = compare(homes=60, days=12, seed=3)
    assert [r.name for r in rows if not r.inside] == []


def test_generated_homes_depend_on_the_seed_only() -> None:
    a, b = GeneratedLoads(3, seed=5), GeneratedLoads(3, seed=5)
    assert np.array_equal(b.day(2), a.day(2))
    assert not np.array_equal(GeneratedLoads(3, seed=6).day(2), a.day(2))
    assert (GeneratedLoads(3, seed=5, pv_share=1.0, start_day=172).day(0).min(axis=0) < 0).all()


def test_a_loaded_phase_sags_and_the_neutral_is_the_phasor_sum() -> None:
    mains = Mains(3)
    p = np.array([6000.0, 3000.0, 3000.0])
    mains.solve(p, np.zeros(3), np.array([0, 1, 2]), rounds=60)
    v = np.abs(mains.v_phase)
    assert v[0] < v[1] - 0.5
    assert abs(mains.i_phase.sum() - mains.i_neutral) < 1e-9
    s = (mains.v_home * np.conj(mains.i_home)).real
    assert np.allclose(s, p, rtol=1e-3)
    # Kirchhoff round the loop of phase A, at the solution.
    c = MainsConfig()
    drop = c.z_phase * mains.i_phase[0] + c.z_neutral * mains.i_neutral
    assert abs(c.source_v - drop - mains.v_phase[0]) < 0.01
    mains.solve(np.full(3, 3000.0), np.zeros(3), np.array([0, 1, 2]), rounds=60)
    assert abs(mains.i_neutral) < 0.01
    mains.supply.scale[1] = 0.0
    mains.solve(p, np.zeros(3), np.array([0, 1, 2]), rounds=60)
    assert mains.i_home[1] == 0
    assert abs(mains.v_phase[1]) == 0


def send(line: Line, source: int, start: float, data: bytes) -> bytes:
    tx = Transmission(source, start, bytearray(data), CHAR)
    line.begin(tx)
    return bytes(line.heard(tx))


def test_the_driver_decides_what_leaves() -> None:
    line = Line(2, random.Random(1))
    data = bytes(range(10))
    line.drivers[0].enable(100.0)
    line.drivers[0].disable(100.0 + 10 * CHAR + 5)
    assert send(line, 0, 100.0, data) == data
    line = Line(2, random.Random(1))
    line.drivers[0].enable(0.0)
    line.drivers[0].disable(7.5 * CHAR)  # released early: the rest is never sent
    assert send(line, 0, 0.0, data) == data[:7]
    assert line.counts.unsent_bytes == 3
    line = Line(2, random.Random(1))
    line.drivers[0].enable(2.5 * CHAR)  # enabled late
    line.drivers[0].disable(11 * CHAR)
    assert send(line, 0, 0.0, data) == data[3:]
    assert send(Line(1, random.Random(1)), 0, 0.0, data) == b""


def test_collisions_and_noise_damage_bytes() -> None:
    line = Line(2, random.Random(1))
    first = Transmission(CONTROLLER, 0.0, bytearray(20), CHAR)
    line.begin(first)
    line.drivers[1].enable(15 * CHAR)
    second = Transmission(1, 15 * CHAR, bytearray(10), CHAR)
    line.begin(second)
    heard = line.heard(first)
    assert heard[:15] == bytes(15)
    assert all(heard[15:])
    assert line.counts.collided_frames == 1
    line = Line(1, random.Random(2))
    line.ber = 1e-3
    damaged = sum(send(line, CONTROLLER, 1e6 * k, bytes(50)) != bytes(50) for k in range(1000))
    # 550 bits at 1e-3: 42 % of frames; three standard deviations are 5 %.
    assert 370 < damaged < 480


@given(st.binary(min_size=6, max_size=60), st.integers(0, 5))
def test_rules_keep_the_crc_good_when_asked(data: bytes, bit: int) -> None:
    rules = Rules(random.Random(1))
    rules.add({"way": "down", "do": "flip", "bit": bit, "crc": True})
    frame = data + crc16(data)
    [(out, _)] = rules.apply("down", frame)
    assert crc16(out[:-2]) == out[-2:]
    assert out != frame
    assert rules.apply("down", frame) == [(frame, 0.0)]  # once only


def test_rules_choose_by_way_unit_skip_and_length() -> None:
    rules = Rules(random.Random(1))
    rules.add({"way": "up", "unit": 3, "do": "drop", "skip": 1, "min_len": 5})
    assert rules.apply("down", b"\x03aaaa")
    assert rules.apply("up", b"\x02aaaa")
    assert rules.apply("up", b"\x03aaa")
    assert rules.apply("up", b"\x03aaaa")
    assert rules.apply("up", b"\x03aaaa") == []


def test_pzem_speaks_as_its_manual_says() -> None:
    meter = Pzem()
    request = bytes((0xF8, 4, 0, 0, 0, 10))
    request += crc16(request)
    assert meter.answer(request) == b""  # no output, no answer
    meter.reading = Reading(230.04, 4.321, 993.9, 49.98, 0.98)
    meter.advance(3600)
    answer = meter.answer(request)
    assert len(answer) == 25
    assert crc16(answer[:-2]) == answer[-2:]
    words = struct.unpack(">10H", answer[3:23])
    assert words == (2300, 4321, 0, 9939, 0, 993, 0, 500, 98, 0)
    bad = bytes((1, 4, 0, 8, 0, 5))
    assert meter.answer(bad + crc16(bad))[1:3] == bytes((0x84, 2))
    other = bytes((2, 4, 0, 0, 0, 10))
    assert meter.answer(other + crc16(other)) == b""


def test_contacts_follow_their_coils_late_and_fail_as_relays_do() -> None:
    queue: list[tuple[float, object]] = []
    moved: list[tuple[int, bool]] = []
    selector = {"a": 1, "b": 2, "c": 3, "on_level": 1, "operate_ms": 15, "release_ms": 10}

    def run() -> None:
        while queue:
            queue.sort(key=lambda q: q[0])
            queue.pop(0)[1]()  # type: ignore[operator]

    contacts = ContactSet(
        selector,
        random.Random(1),
        lambda t, action: queue.append((t, action)),
        lambda phase, closed, t: moved.append((phase, closed)),
        lambda phase, on, t: None,
    )
    contacts.pin_event(1, 1, 0.0)
    assert not contacts.closed
    run()
    assert contacts.closed == [0]
    contacts.set_fault(0, "welded", 0.0)
    contacts.pin_event(1, 0, 1e5)
    run()
    assert contacts.closed == [0]
    contacts.set_fault(0, "", 2e5)
    run()
    assert contacts.closed == []
    contacts.set_fault(1, "stuck", 0.0)
    contacts.pin_event(2, 1, 3e5)
    run()
    assert contacts.closed == []
    assert moved == [(0, True), (0, False)]


def test_the_witness_sees_what_must_not_be() -> None:
    v = [230.0, 230.0, 180.0]
    witness = Witness(1, rated_a=20, dwell_s=10, band_v=(207, 253))
    witness.driven(0, 0, True, 0)
    witness.driven(0, 1, True, 1)
    witness.moved(0, 0, True, 0, 0.0, v)
    witness.moved(0, 1, True, 1e6, 0.0, v)
    witness.moved(0, 0, False, 2e6, 25.0, v)
    witness.moved(0, 1, False, 3e6, 5.0, v)
    witness.moved(0, 2, True, 4e6, 0.0, v)
    assert set(witness.report()["incidents"]) == {
        "two-driven",
        "short-circuit",
        "hot-switching",
        "closed-out-of-band",
        "dwell",
    }


def test_image_holds_what_a_board_needs() -> None:
    files = build_files("esp32-devkitc")
    assert {"/boot.py", "/main.py", "/board.json", "/lib/pbal_node/app.mpy"} <= set(files)
    assert build_files("esp32-devkitc") == files
    with pytest.raises(BuildError, match="known boards"):
        build_files("no-such-board")


def test_only_a_board_with_a_radio_carries_what_it_needs() -> None:
    radio = {path for path in build_files("lilygo-t3") if "/radio/" in path}
    assert "/lib/pbal_protocol/radio/airtime.mpy" in radio
    for board in ("esp32-devkitc", "esp32-s3", "arduino-nano-esp32"):
        assert set(build_files("lilygo-t3")) - set(build_files(board)) == radio, board


def test_a_falsified_meter_tells_and_counts_what_it_is_told() -> None:
    meter = Pzem()
    meter.reading = Reading(230.0, 5.0, 1150.0, 50.0, 1.0)
    meter.falsify = lambda true: Reading(true.v, 174.0, 40_000.0, true.hz, 1.0)
    meter.advance(3600)
    answer = meter.answer(bytes([1, 4, 0, 0, 0, 10]) + crc16(bytes([1, 4, 0, 0, 0, 10])))
    words = [int.from_bytes(answer[k : k + 2], "big") for k in range(3, 23, 2)]
    assert words[1] | words[2] << 16 == 174_000
    assert words[3] | words[4] << 16 == 400_000
    assert words[5] | words[6] << 16 == 40_000
    meter.falsify = None
    assert meter.told.p_w == 1150.0
