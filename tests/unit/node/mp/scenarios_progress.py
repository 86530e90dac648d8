"""S11: a loop without progress is started anew, and starves the watchdog. Run by mp_wiring.py."""

import asyncio

import machine
import support
from wiring import app_module, house, make

from pbal_node.bearers import rs485
from pbal_node.watchdog import Watchdog
from pbal_protocol import modbus_client
from pbal_protocol import names as wire


def a_bearer_without_progress_starts_anew():
    """S11: progress is a turn of the loop, not an empty port; a loop without one is started anew,
    with its port opened again, and nothing is reset.
    """
    app = make()
    bearer = app.bearers[0]
    assert isinstance(bearer, rs485.Rs485)
    uart, watch = bearer._uart, bearer._watch

    async def scenario():
        task = asyncio.create_task(bearer.run())
        await asyncio.sleep_ms(20)
        assert bearer.alive(20000), "idle, and there is nothing to do"
        loop = watch._task
        uart.rx = b"x"
        watch.turns += 1
        assert bearer.alive(30000), "it made a turn, though bytes wait"
        assert bearer.alive(38000), "not yet"
        assert not bearer.alive(39000), "bytes wait, and no turn for 9 s"
        inits = uart.inits
        uart.rx = b""
        await asyncio.sleep_ms(1500)
        assert uart.inits == inits + 1 and bearer.reopened == 1, "the port is not opened again"
        assert watch._task not in (None, loop), "the loop is not started again"
        assert not task.done()
        # A loop that is stuck in what it does, with nothing to read.
        assert bearer.alive(50000)
        bearer._parked = False
        assert bearer.alive(58000) and not bearer.alive(59000)
        await asyncio.sleep_ms(2500)
        assert bearer.reopened == 2 and watch._task is not None
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass

    asyncio.run(scenario())
    assert house.resets == 0 and (wire.EVENT_DEFECT, 64 << 8 | 2) in [
        (e[1], e[4]) for e in support.newest(app.log)
    ]


def a_port_out_of_order_is_opened_again():
    """S11: it says that bytes are there and gives none, or it fails."""

    def fails(uart, buf):
        raise OSError(5)

    real = machine.UART.readinto
    for broken in (lambda uart, buf: None, fails):
        app = make()
        bearer = app.bearers[0]
        uart = bearer._uart
        uart.rx = b"x"

        async def scenario(bearer=bearer, uart=uart):
            task = asyncio.create_task(bearer.run())
            await asyncio.sleep_ms(1000)
            assert uart.inits == 1 and bearer.reopened == 1
            # Again and again, ever more slowly: bytes keep coming.
            for _ in range(300):
                uart.rx = b"x"
                await asyncio.sleep_ms(1000)
            assert 6 <= bearer.reopened <= 14, bearer.reopened
            assert not task.done()
            machine.UART.readinto = real
            uart.rx = b""
            await asyncio.sleep_ms(61000)
            uart.tx = b""
            uart.rx = modbus_client.adu(5, modbus_client.request_pdu(0))
            await asyncio.sleep_ms(100)
            assert uart.tx, "it does not answer again"
            task.cancel()

        machine.UART.readinto = broken
        try:
            asyncio.run(scenario())
        finally:
            machine.UART.readinto = real
        assert house.resets == 0


def an_error_in_the_bearer_ends_nothing():
    """S11: whatever a frame made of it, the application goes on and the bearer answers again."""
    app = make()
    bearer = app.bearers[0]
    real = bearer._serve

    def broken(buf, n):
        bearer._serve = real
        raise KeyError("a defect")

    bearer._serve = broken

    async def ask():
        bearer._uart.tx = b""
        bearer._uart.rx += modbus_client.adu(5, modbus_client.request_pdu(0))
        await asyncio.sleep_ms(1500)
        return bearer._uart.tx

    async def scenario():
        task = asyncio.create_task(bearer.run())
        await asyncio.sleep_ms(20)
        assert await ask() == b""
        assert await ask(), "the next one gets no answer"
        assert not task.done() and bearer.reopened == 0
        task.cancel()

    asyncio.run(scenario())


def only_progress_feeds_from_the_start_on():
    """boot.py feeds from a timer, for a person at the console: no longer."""
    house.timer = machine.WDT().feed
    app = make()

    async def start():
        task = asyncio.create_task(app.run())
        await asyncio.sleep_ms(50)
        task.cancel()

    asyncio.run(start())
    assert house.timer is None, "a timer feeds the watchdog whatever the loops do"
    fed = house.fed
    assert app.watchdog.poll(app.now_ms()) and house.fed == fed + 1, "it feeds no hardware"


def every_loop_can_starve_the_watchdog():
    fed = []
    for stuck in ("metering", "selector"):
        w = Watchdog(lambda: fed.append(1), app_module._WATCHED, 0)
        for n in app_module._WATCHED:
            if n != stuck:
                w.beat(n, 15000)
        assert not w.poll(15000), stuck
    assert not fed and sorted(app_module._WATCHED) == ["metering", "selector"]
    assert max(app_module._WATCHED.values()) < 15000, "the hardware's own time"
