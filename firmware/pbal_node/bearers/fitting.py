"""Builds the LoRa bearer from the board file and the identity.

Needed once per boot, so the application unloads it afterwards.
"""

import machine

from pbal_node.bearers.lora import Lora
from pbal_node.clock import randrange
from pbal_node.radio.sx127x import SX127x
from pbal_protocol import records
from pbal_protocol.errors import ForbiddenError
from pbal_protocol.radio import records as radio_records
from pbal_protocol.radio.plans import Plan

_ERP_CDB = 215  # of an antenna without gain, against an isotropic one


def limits_of(plan, hz, bw_hz):
    """(longest frame in us or 0, limits on the airtime) of a channel. Raises ForbiddenError for one
    that must hop.

    What was sent before this start is not known: half of it counts as used.
    """
    band = plan.band(hz, bw_hz)
    if band.hops > 1:
        raise ForbiddenError(
            "%s: at %d Hz, %d channels must take turns" % (plan.name, bw_hz, band.hops)
        )
    limits = []
    if band.duty_permille:
        limits.append((1000 * band.duty_permille * band.duty_s, band.duty_s))
    if band.occupancy_us:
        limits.append((band.occupancy_us, band.occupancy_s))
    if not limits:
        return band.dwell_us, ()
    from pbal_protocol.radio.window import Spent

    return band.dwell_us, tuple([Spent(us, seconds, us // 2) for us, seconds in limits])


def fit(app, about) -> list:
    """The board's radio on the channel that the identity names, with a port of the line also the
    bridge of its neighbours. `about`: the board file's [radio], the identity, and (UART, driver
    pin, baud) or None. No function of this module outlives the fitting: its names are gone then.

    Raises OSError, ValueError, KeyError, PbalError for what is missing or not allowed.
    """
    table, identity, port = about
    told = identity["radio"]
    radio_records.add(records.RECORDS)
    plan = Plan(told["region"])
    channel = told.get("channel", 0)
    up = plan.up[channel]
    down = plan.down[channel % len(plan.down)]
    dbm = told.get("power_dbm", 14)
    plan.check_power(up[0], up[1], 100 * dbm + _ERP_CDB)
    pin = machine.Pin
    spi = machine.SPI(
        table.get("spi", 1),
        baudrate=5000000,
        sck=pin(table["sck"]),
        mosi=pin(table["mosi"]),
        miso=pin(table["miso"]),
    )
    radio = SX127x(spi, pin(table["cs"], pin.OUT, value=1), pin(table["reset"], pin.OUT, value=1))
    parts = (
        radio,
        pin(table["dio0"], pin.IN) if "dio0" in table else None,
        (up[0], down[0], up[1], dbm, limits_of(plan, *up), told.get("sf", 9)),
        (identity["address"], randrange),
        app.link,
        app.report,
        app.selector,
        app.faults,
        app.measuring.rhythm,
    )
    if not port:
        return [Lora(*parts)]
    from pbal_node.bearers.carrier import with_bridge

    return with_bridge(parts, port, identity["neighbours"], app.now_ms, app.faults)
