"""The analogue front ends of all chips at once: mains phasors into register pages."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

from pbal_sim.hal import hwmap
from pbal_sim.mains import Mains

_SQRT2 = 2.0**0.5
_CYCLE = 1024


class FrontEnd:
    """Scales volts and amperes of the mains to microvolts at the converters' pins.

    `sense` is the board file's table: mains volts per volt at the pin (`volts_per_volt`), mains
    amperes per volt (`amps_per_volt`), and the resting level (`bias_v`). `noise_mv` and `curve_mv`
    are peaks: see pbal_sim.hal.hwmap.
    """

    def __init__(
        self,
        pages: mmap.mmap,
        homes: int,
        sense: dict[str, Any],
        noise_mv: float = 0.0,
        curve_mv: float = 0.0,
    ) -> None:
        table = np.frombuffer(pages, dtype="<u4").reshape(homes, hwmap.PAGE_SIZE // 4)
        n = len(hwmap.CHANNELS)
        self._freq = table[:, hwmap.W_FREQ]
        self._peak = table[:, hwmap.W_PEAK : hwmap.W_PEAK + n]
        self._phase = table[:, hwmap.W_PHASE : hwmap.W_PHASE + n]
        per_volt = sense["volts_per_volt"]
        scale = per_volt if isinstance(per_volt, list) else [per_volt] * 4
        self._uv = np.array(
            [*(1e6 / s for s in scale), 1e6 / float(sense.get("amps_per_volt", 100.0))]
        )
        table[:, hwmap.W_MAGIC] = hwmap.MAGIC
        table[:, hwmap.W_NOISE] = int(1000 * noise_mv)
        table[:, hwmap.W_CURVE] = int(1000 * curve_mv)
        table[:, hwmap.W_BIAS : hwmap.W_BIAS + n] = int(1e6 * float(sense.get("bias_v", 1.3)))
        sine = 32767 * np.sin(2 * np.pi * np.arange(hwmap.SINE_LEN) / hwmap.SINE_LEN)
        at = hwmap.SINE // 4
        table[:, at : at + hwmap.SINE_LEN // 2] = sine.astype("<i2").view("<u4")

    def show(self, mains: Mains) -> None:
        """Puts the present phasors on every chip's inputs."""
        phasors = np.empty((len(mains.v_home), len(hwmap.CHANNELS)), dtype=np.complex128)
        phasors[:, 0:3] = mains.v_phase
        phasors[:, 3] = mains.v_home
        phasors[:, 4] = mains.i_home
        self._peak[:] = (np.abs(phasors) * _SQRT2 * self._uv).astype(np.uint32)
        angle: npt.NDArray[np.float64] = np.angle(phasors) / (2 * np.pi) * _CYCLE
        self._phase[:] = angle.astype(np.int64) % _CYCLE
        self._freq[:] = int(mains.supply.hz * 1e-6 * 2**40)
