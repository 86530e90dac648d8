"""A radio without registers, for benches of many homes and hours; the medium is the same."""

from __future__ import annotations

import random
from collections.abc import Callable

from pbal_protocol.radio.airtime import low_data_rate, time_on_air_us
from pbal_sim.radio.air import Air, Heard, Transmission, Tuning

_PREAMBLE = 8


class Ear:
    """One station at 125 kHz or wider; it listens whenever it does not send.

    `on_frame(payload, heard, end_us)` gets each good frame. `loss` is the share of frames that is
    lost in addition, for reasons outside the model of the medium. With `only_from` it never follows
    a frame of another station, which saves much work where there are many.
    """

    def __init__(
        self,
        air: Air,
        name: str,
        at: tuple[float, float],
        hz: int,
        *,
        sf: int = 7,
        bw_hz: int = 125_000,
        power_dbm: float = 14.0,
        ppm: float = 0.0,
        loss: float = 0.0,
        rng: random.Random | None = None,
        on_frame: Callable[[bytes, Heard, int], None] | None = None,
        only_from: str = "",
    ) -> None:
        self.air = air
        self.name = name
        self.at = at
        self.ppm = ppm
        self.loss = loss
        self.power_dbm = power_dbm
        self.on_frame = on_frame
        self.only_from = only_from
        self.airtime_us = 0
        self._rng = rng or random.Random(name)
        self._hz = hz
        self._bw_hz = bw_hz
        self._tuning = Tuning(hz, bw_hz, sf, slow=low_data_rate(sf, bw_hz))
        self._since_us = 0
        self._following: Transmission | None = None
        self._sends_until_us = 0
        air.stations.append(self)

    @property
    def loss_db(self) -> float:
        """Only the path has a loss."""
        return 0.0

    @property
    def leaks(self) -> bool:
        """It suppresses its neighbour channels."""
        return False

    def tune(self, sf: int, hz: int = 0) -> None:
        """Another spreading factor, and with `hz` another frequency."""
        if sf != self._tuning.sf or hz not in (0, self._hz):
            self._hz = hz or self._hz
            self._tuning = Tuning(self._hz, self._bw_hz, sf, slow=low_data_rate(sf, self._bw_hz))
            self._following = None
            self._since_us = self.air.now_us

    def send(self, payload: bytes, sf: int | None = None) -> int:
        """Send now; the time on air."""
        tuning = self._tuning
        if sf is not None and sf != tuning.sf:
            tuning = Tuning(self._hz, self._bw_hz, sf, slow=low_data_rate(sf, self._bw_hz))
        us = time_on_air_us(len(payload), tuning.sf, self._bw_hz)
        start_us = self.air.now_us
        self._following = None
        self._sends_until_us = self._since_us = start_us + us
        self.airtime_us += us
        self.air.send(
            Transmission(
                source=self.name,
                at=self.at,
                tuning=tuning,
                payload=payload,
                power_dbm=self.power_dbm,
                start_us=start_us,
                us=us,
                preamble=_PREAMBLE,
                header_us=round((_PREAMBLE + 4.25 + 8) * tuning.symbol_us),
            )
        )
        return us

    def listening(self) -> Tuning | None:
        """Its tuning, while it neither sends nor follows a frame."""
        if self._following is not None or self.air.now_us < self._sends_until_us:
            return None
        return self._tuning

    def listening_since_us(self) -> int:
        """Since when, without a break."""
        return self._since_us

    def lock(self, sent: Transmission) -> None:
        """Follow a frame."""
        self._following = sent

    def header(self, sent: Transmission) -> None:
        """A bad header: look for the next preamble."""
        if sent is self._following:
            end_us = sent.start_us + sent.header_us
            if not self.air.heard(self, sent, sent.critical_us, end_us).good:
                self._following = None
                self._since_us = self.air.now_us

    def finished(self, sent: Transmission) -> None:
        """The frame is over."""
        if sent is not self._following:
            return
        self._following = None
        self._since_us = self.air.now_us
        heard = self.air.heard(self, sent, sent.critical_us, sent.end_us)
        if heard.good and self._rng.random() >= self.loss and self.on_frame is not None:
            self.on_frame(sent.payload, heard, sent.end_us)
