"""Means over streets, and their standard errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spread(values: Sequence[float], digits: int = 4) -> dict[str, float | int | None]:
    """mean, its standard error `se` (None for fewer than two), `most` and count `n` of values."""
    v = np.asarray(values, np.float64)
    if not v.size:
        raise ValueError("a mean of no values")
    se = round(float(v.std(ddof=1) / np.sqrt(v.size)), digits) if v.size > 1 else None
    return {
        "mean": round(float(v.mean()), digits),
        "se": se,
        "most": round(float(v.max()), digits),
        "n": int(v.size),
    }
