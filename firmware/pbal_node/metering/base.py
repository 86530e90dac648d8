"""What every meter gives: one `Reading`, refreshed by `await meter.read()`."""


class Reading:
    """The output's electrical quantities. RMS values; import positive, export negative.

    `at_ms` is the monotonic time of the sample, -1 while there is none. `ok` is False when the
    last attempt failed; the values are then the last good ones.
    """

    def __init__(self) -> None:
        self.v = 0.0
        self.current_a = 0.0
        self.p_w = 0.0
        self.q_var = 0.0
        self.freq_hz = 0.0
        self.e_import_wh = 0.0
        self.e_export_wh = 0.0
        self.at_ms = -1
        self.ok = False

    def plausible(self) -> bool:
        """Every value is one that a home can have, and a Telemetry record can tell."""
        return (
            0 <= self.current_a <= 1000
            and -200000 <= self.p_w <= 200000
            and -200000 <= self.q_var <= 200000
            and 0 <= self.freq_hz <= 100
            and 0 <= self.e_import_wh <= 0xFFFFFFFF
            and 0 <= self.e_export_wh <= 0xFFFFFFFF
        )


class Meter:
    """Base of the meter drivers. `errors` counts failed attempts for the Health record."""

    independent = False  # measures the output's voltage with a sensor of its own

    def __init__(self) -> None:
        self.reading = Reading()
        self.errors = 0
        self.trim_v = self.trim_i = 1.0  # calibration on site: see `trim`
        self.bend_i = 0.0

    def trim(self, v_ppm: int, i_ppm: int, bend_ppb: int) -> None:
        """What the channels of this meter are multiplied by; current: 1 + trim + bend I^2.

        A meter that comes calibrated ignores the voltage's.
        """
        self.trim_v = 1 + v_ppm / 1000000
        self.trim_i = 1 + i_ppm / 1000000
        self.bend_i = bend_ppb / 1000000000

    def slow_work(self) -> None:
        """What may take long (flash): called between answers."""

    async def read(self) -> bool:
        """Refresh `reading`; True when it is new and good. Never raises for a silent meter."""
        raise NotImplementedError
