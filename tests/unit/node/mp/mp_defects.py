"""A defect that one message brings to light is reported, and the next message is handled.

Every place where a message or a job is handled is made to fail, with every kind of error; the
application must live, answer, say DEFECT with the place, and have its driver off the line.
"""

import asyncio
import json

import machine
import support
from pbal_protocol import frames, modbus, modbus_client, names, records, stock

kdf = support.own("pbal_protocol", "kdf")
config = support.own("pbal_protocol", "config")

ROOT = bytes(range(32))
SITE, ADDRESS = 7, 0x0105

support.ram_disk()
support.install_board("esp32-devkitc", return_spread_ms=0)


def identity(there=True):
    known = {
        "eui": "010203fffe040506",
        "site": SITE,
        "address": ADDRESS,
        "root": ROOT.hex(),
        "group": ROOT.hex(),
        "phase": 2,
    }
    support.write_file("/cfg/identity.json", json.dumps(known if there else {}))


identity()
from pbal_node import app as app_module  # noqa: E402
from pbal_node.bearers import rs485  # noqa: E402

house = machine.house
ERRORS = (MemoryError("no room"), OSError(28), OverflowError("too big"), KeyError("what"))
KINDS = (1, 2, 3, 4)


def raising(error):
    def fail(*_args, **_names):
        raise error

    return fail


class Line:
    """A controller's end."""

    def __init__(self, app):
        up, down = kdf.node_keys(ROOT, SITE, ADDRESS)
        self.app = app
        self.uart = machine.UART.made[2]
        self.opener = frames.Opener(up, frames.UP, SITE, ADDRESS)
        self.sealer = frames.Sealer(down, frames.DOWN, SITE, ADDRESS, app.counters.down_floor)
        self.group = frames.Sealer(kdf.group_key(ROOT, SITE), frames.GROUP, SITE, 0)
        self.group.last = app.floors.group
        self.events = []
        self.seq = 0

    async def raw(self, adu):
        self.uart.tx = b""
        self.uart.rx += adu
        for _ in range(30):
            await asyncio.sleep_ms(5)
            if self.uart.tx:
                break
        assert not house.level.get(4), "the driver stayed on the line"
        return self.uart.tx

    async def poll(self, *items):
        body = b""
        if items:
            payload = b"".join([r.encode() for r in items])
            body = self.sealer.seal(self.sealer.last + 1, payload)
        answer = await self.raw(modbus_client.adu(5, modbus_client.request_pdu(0, body)))
        if not answer:
            return []
        sealed = modbus_client.parse_pdu(modbus_client.split_adu(answer)[1])[1]
        if not sealed:
            return []
        got = records.decode_all(self.opener.open(sealed), "up")
        for r in got:
            if r.NAME == "Event":
                self.events.append((r.code, r.arg0))
                self.seq = r.seq
        return got

    async def shout(self, record):
        body = self.group.seal(self.group.last + 1, record.encode())
        await self.raw(modbus_client.adu(0, modbus_client.request_pdu(1, body)))

    async def plain(self):
        return await self.raw(modbus_client.adu(5, b"\x04\x00\x00\x00\x0c"))

    async def told(self, place, kind):
        """The report arrives, and everything works again."""
        for _ in range(8):
            await asyncio.sleep_ms(600)
            await self.poll(records.EventAck(seq=self.seq))
        assert (names.EVENT_DEFECT, place << 8 | kind) in self.events, (place, kind, self.events)
        got = await self.poll(records.ConfigGet(key=1))
        assert [r.NAME for r in got][0] == "Telemetry"


def run(scenario):
    async def both():
        app = app_module.App()
        task = asyncio.create_task(app.run())
        await asyncio.sleep_ms(300)
        await scenario(app)
        assert not task.done(), "the application ended"
        task.cancel()

    asyncio.new_event_loop()
    asyncio.run(both())


def breaks(owner, name, error, act, place, kind):
    """`owner.name` raises once while act() runs; then it works again."""

    async def scenario(app):
        line = Line(app)
        await line.poll()
        target = owner(app)
        kept = getattr(target, name)
        setattr(target, name, raising(error))
        try:
            await act(line)
            await asyncio.sleep_ms(700)
        finally:
            setattr(target, name, kept)
        before = app.faults.count
        assert before > 0, "%s was never called" % name
        await line.told(place, kind)
        assert app.faults.count == before

    run(scenario)


def acting_on_a_record():
    order = records.Switch(command_id=5, to_phase=1, from_phase=2)
    for error, kind in zip(ERRORS, KINDS):  # noqa: B905

        async def act(line):
            got = await line.poll(order, records.ConfigGet(key=1))
            assert [r.result for r in got if r.NAME == "Ack"] == [names.RESULT_REFUSED]
            assert [r.key for r in got if r.NAME == "ConfigValue"] == [1], "the others count"

        breaks(lambda app: app.selector, "command", error, act, records.Switch.ID, kind)


def opening_and_decoding():
    async def act(line):
        got = await line.poll(records.StatusGet(what=2))
        assert got and got[0].NAME == "Telemetry", "an answer all the same"

    breaks(lambda app: app.counters, "accept_down", MemoryError(), act, 69, 1)

    async def shout(line):
        await line.shout(records.TimeSync(time_s=1800000000))

    breaks(lambda app: app.clock, "set", OverflowError(), shout, 70, 3)
    breaks(lambda app: app.floors, "accept_group", OSError(5), shout, 70, 2)


def telling():
    async def old(line):
        got = await line.poll()
        assert got[0].NAME == "Telemetry" and got[0].age_ms == 65535, "a reading that is none"

    breaks(lambda app: app.report, "fill_telemetry", ValueError(), old, 65, 3)

    async def hello(line):
        got = await line.poll(records.StatusGet(what=1))
        assert [r.NAME for r in got][:2] == ["Telemetry", "Ack"], got

    breaks(lambda app: app.report, "hello", MemoryError(), hello, 65, 1)

    async def silent(line):
        assert await line.poll() == []

    breaks(lambda app: app.counters, "next_up", OSError(5), silent, 65, 2)

    async def poison(app):
        """What no record can hold, in every queue: the node must not fall silent for ever."""
        line = Line(app)
        app.log.pending.append((1 << 40, 3, 9, -5, 1 << 40, 0))
        app.selector.outbox.append(app_module_result(command_id=-1, vout_dv=-7))
        app.sense.v[1] = float("nan")
        app.sense.v[2] = -3.0
        app.meter.reading.e_import_wh = float("inf")
        app.log.emit(9, 1, 1 << 50, -(1 << 50))
        got = await line.poll()
        assert got[0].va_v == 0 and got[0].vb_v == 0, got
        found = [r for r in got if r.NAME == "Event" and r.code == 9]
        assert found and found[0].arg0 == 0x7FFFFFFF and found[0].arg1 == -0x7FFFFFFF
        assert app.faults.count == 2, "the two that no record can hold"

    run(poison)


def slow_work():
    async def settings(line):
        await line.poll(records.Config(key=config.DWELL_S, value=1234))

    for error, kind in zip(ERRORS, KINDS):  # noqa: B905
        breaks(lambda app: app.settings.config, "set", error, settings, records.Config.ID, kind)
    breaks(lambda app: app.settings, "take", ZeroDivisionError(), settings, records.Config.ID, 3)

    async def ack(line):
        await line.poll(records.EventAck(seq=line.app.log.newest))

    breaks(lambda app: app.log, "ack", OSError(30), ack, 66, 2)
    breaks(lambda app: app.meter, "slow_work", OSError(28), lambda line: line.poll(), 66, 2)


def the_meter():
    async def act(line):
        for _ in range(3):
            await line.poll()
            await asyncio.sleep_ms(500)
        assert line.app.measuring.current() < 0, "a reading that did not come"

    for error, kind in zip(ERRORS, KINDS):  # noqa: B905
        breaks(lambda app: app.meter, "read", error, act, 72, kind)


def updates():
    async def offer(line):
        await line.poll(records.Update(op=5))

    breaks(lambda app: app, "load_slots", ImportError(), offer, 67, 4)
    # The updater itself fails: order() while a record is acted on, the worker on its own.

    async def scenario(app):
        line = Line(app)
        for _ in range(3):
            await line.poll(records.Update(op=5))
            await asyncio.sleep_ms(700)
        updater = app.link.updater
        assert updater is not None
        updater._take = raising(IndexError())
        got = await line.poll(records.Update(op=2, at=0, data=b"x"))
        assert [r.result for r in got if r.NAME == "Ack"] == [names.RESULT_REFUSED]
        updater._restart = raising(OSError(28))
        updater.stage = 3
        updater.digest = bytes(32)
        await line.poll(records.Update(op=4, data=bytes(8)))
        await line.told(71, 2)
        assert (names.EVENT_DEFECT, records.Update.ID << 8 | 4) in line.events
        assert updater.status().why == names.WHY_INTERNAL

    run(scenario)


def the_bearer():
    for error, kind in zip(ERRORS, KINDS):  # noqa: B905
        breaks(lambda app: app.bearers[0], "_serve", error, lambda line: line.poll(), 64, kind)
        breaks(lambda app: app.bearers[0].rx, "feed", error, lambda line: line.poll(), 64, kind)
    breaks(lambda app: app.bearers[0]._uart, "write", OSError(5), lambda line: line.poll(), 64, 2)
    breaks(lambda app: app.bearers[0]._uart, "txdone", OSError(5), lambda line: line.poll(), 64, 2)
    breaks(
        lambda app: app.bearers[0]._uart, "readinto", OSError(5), lambda line: line.poll(), 64, 2
    )

    async def plain(line):
        answer = await line.plain()
        assert answer[1:3] == bytes((0x84, modbus.SERVER_FAILURE)), answer

    breaks(lambda app: stock.Stock, "respond", IndexError(), plain, 68, 4)
    breaks(lambda app: app.bearers[0], "_load_stock", MemoryError(), plain, 68, 1)
    assert rs485


def a_node_without_keys():
    identity(False)

    async def scenario(app):
        app.bearers[0].finder.take = raising(IndexError())
        uart = machine.UART.made[2]
        uart.rx += modbus_client.adu(0, bytes((100, 2, 10)) + bytes(10))
        await asyncio.sleep_ms(50)
        assert app.faults.count == 1
        uart.tx = b""
        uart.rx += modbus_client.adu(247, b"\x04\x00\x00\x00\x0c")
        await asyncio.sleep_ms(100)
        assert uart.tx[:2] == b"\xf7\x04", uart.tx

    run(scenario)
    identity()


def app_module_result(**fields):
    from pbal_node.journal import Result

    return Result(**fields)


def a_report_that_fails_is_counted():
    async def scenario(app):
        app.faults._emit = raising(MemoryError())
        app.faults.note(64, ValueError())
        assert app.faults.count == 1

    run(scenario)


support.run(
    (
        acting_on_a_record,
        opening_and_decoding,
        telling,
        slow_work,
        the_meter,
        updates,
        the_bearer,
        a_node_without_keys,
        a_report_that_fails_is_counted,
    )
)
