"""Two hours of two sites' summaries in which every detector finds something, and it ends."""

from pbal_uplink import Summary
from rigs.lakeroad import said

WELL = {
    "length_s": 300, "complete_percent": 100, "homes": 50, "homes_alive": 50, "homes_fresh": 49,
    "ia_mean_a": 40.0, "ib_mean_a": 35.0, "ic_mean_a": 30.0, "in_mean_a": 9.0, "ia_max_a": 50.0,
    "ib_max_a": 45.0, "ic_max_a": 40.0, "in_max_a": 12.0, "load_max_percent": 50.0,
    "hotspot_c": 80.0, "va_min_v": 221.5, "vb_min_v": 222.0, "vc_min_v": 223.0, "va_mean_v": 228.1,
    "vb_mean_v": 229.0, "vc_mean_v": 230.0, "va_max_v": 233.0, "vb_max_v": 234.0, "vc_max_v": 235.0,
}  # fmt: skip
# site -> (from window, to window, what is otherwise then)
FAULTS = {
    7: (
        (2, 5, {"hotspot_c": 125.3}),
        (4, 5, {"hotspot_c": 141.0}),
        (5, 13, {"load_max_percent": 140.6}),
        (8, 12, {"va_min_v": 205.2}),
        (14, 17, {"homes_fresh": 47, "complete_percent": 40}),
    ),
    8: (
        (1, 4, {"va_mean_v": 205.7, "vc_mean_v": 244.4}),
        (3, 11, {"homes_fresh": 31}),
        (12, 15, {"vb_max_v": 254.2}),
        (16, 18, {"hotspot_c": 121.0}),
        (18, 19, {"hotspot_c": 112.0}),  # neither raises nor ends
    ),
}  # fmt: skip


def hours(start_s, windows=24, sites=(7, 8)):
    """The summaries in the order in which HQ gets them."""
    for n in range(windows):
        for site in sites:
            given = dict(WELL)
            for first, last, other in FAULTS[8 if site % 2 == 0 else 7]:
                if first <= n < last:
                    given |= other
            yield Summary(site=site, start_s=start_s + 300 * n, **given)


def records(start_s, **more):
    """The same as records of the bus."""
    return [said(summary) for summary in hours(start_s, **more)]
