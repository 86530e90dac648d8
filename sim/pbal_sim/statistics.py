"""The household generator compared with published figures of real homes.

Sources:
- Ofgem, typical domestic consumption values from 1 October 2023, electricity on a single rate:
  low 1800, medium 2700, high 4100 kWh a year. They are the lower quartile, the median and the
  upper quartile of households in Great Britain.
- Customer-Led Network Revolution (Northern Powergrid and partners, 2010-2014), domestic general
  load trial: "a new design assumption of 0.9 kW per customer" for regular domestic customers.
- Konstantelos, Sun, Strbac: Quantifying demand diversity of households, Low Carbon London
  Learning Lab, Imperial College London, 2014: diversified peak of household classes from
  0.54 to 1.78 kW.
- Elexon, Load Profiles and their use in Electricity Settlement: the average domestic
  unrestricted customer (profile class 1) peaks in the early evening of a winter weekday.
Homes with electric cars and PV are left out of the comparison, as they were rare in the sources.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pbal_sim.households import MINUTES, GeneratedLoads

_HALF_HOUR = 30


@dataclass
class Row:
    """One statistic: published, generated, and whether it is inside the accepted band."""

    name: str
    unit: str
    published: str
    low: float
    high: float
    generated: float

    @property
    def inside(self) -> bool:
        return self.low <= self.generated <= self.high


def compare(homes: int = 100, days: int = 28, seed: int = 1) -> list[Row]:
    """Statistics of `homes` generated homes over `days` days spread through the year."""
    # 364 / days apart, so that all seasons and all days of the week take part.
    loads = GeneratedLoads(homes, seed=seed, ev_share=0.0, start_day=1)
    step = max(1, 364 // days)
    chosen = [d + (d // step) % 7 for d in range(0, 364, step)][:days]
    use_wh = np.zeros(homes)
    for d in chosen:
        use_wh += loads.day(d).sum(axis=0) / 60.0
    yearly = use_wh / len(chosen) * 365.0 / 1000.0
    # Winter weekdays for the peak.
    winter = [d for d in range(28) if d % 7 < 5]
    halves = [
        loads.day(d).reshape(MINUTES // _HALF_HOUR, _HALF_HOUR, homes).mean(axis=1) for d in winter
    ]
    mean_day = np.mean([h.mean(axis=1) for h in halves], axis=0)
    peak_half = int(np.argmax(mean_day))
    admd = max(float(h.mean(axis=1).max()) for h in halves) / 1000.0
    one_minute = np.max([loads.day(d).max(axis=0) for d in winter], axis=0) / 1000.0
    quartiles = np.percentile(yearly, (25, 50, 75))
    return [
        Row(
            "lower quartile of yearly use",
            "kWh",
            "1800 (Ofgem 2023)",
            1440,
            2160,
            float(quartiles[0]),
        ),
        Row("median of yearly use", "kWh", "2700 (Ofgem 2023)", 2160, 3240, float(quartiles[1])),
        Row(
            "upper quartile of yearly use",
            "kWh",
            "4100 (Ofgem 2023)",
            3280,
            4920,
            float(quartiles[2]),
        ),
        Row(
            f"diversified winter peak, {homes} homes",
            "kW",
            "0.9 (CLNR); 0.54..1.78 by class (LCL)",
            0.72,
            1.78,
            admd,
        ),
        Row(
            "half-hour of the winter weekday peak",
            "h",
            "16:30..19:30 (Elexon PC1)",
            16.5,
            19.5,
            peak_half / 2,
        ),
        Row(
            "night over mean, winter weekday, 02..05 h",
            "ratio",
            "0.3..0.6 (Elexon PC1, shape)",
            0.3,
            0.6,
            float(mean_day[4:10].mean() / mean_day.mean()),
        ),
        Row(
            "median of the homes' one-minute peaks",
            "kW",
            "several times the diversified peak",
            3.0,
            15.0,
            float(np.median(one_minute)),
        ),
    ]


def table(rows: list[Row]) -> str:
    """The comparison as text."""
    head = ("statistic", "unit", "published", "generated", "accepted", "")
    body = [
        (
            r.name,
            r.unit,
            r.published,
            f"{r.generated:.4g}",
            f"{r.low:g}..{r.high:g}",
            "" if r.inside else "OUTSIDE",
        )
        for r in rows
    ]
    widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
        for line in (head, *body)
    ]
    return "\n".join(lines)
