"""Keeps the planner's memory over restarts: nested dicts of arrays and numbers as one blob.

The blob is a compressed NumPy `.npz` without pickles, so reading a damaged or
foreign one raises an error and runs no code.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from pbal_controller.archives import ARCHIVE_DAMAGE

KEY = "planner"
# What NumPy raises beyond that for an archive that is damaged.
_DAMAGED = (*ARCHIVE_DAMAGE, MemoryError, OSError, TypeError)
# The order of homes is part of the meaning: a memory of another list is of no use.
_HOMES = "homes"


def pack(state: dict[str, Any], addresses: list[int]) -> bytes:
    """One blob of a planner's state and the homes it is about."""
    flat: dict[str, Any] = {_HOMES: np.asarray(addresses, np.int64)}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                walk(f"{prefix}/{name}", item)
        else:
            flat[prefix] = np.asarray(value)

    walk("", state)
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **flat)
    return file.getvalue()


def unpack(blob: bytes, addresses: list[int]) -> dict[str, Any]:
    """The state again. Raises ValueError when it is damaged or about other homes."""
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as file:
            flat = {name: file[name] for name in file.files}
    except _DAMAGED as error:
        # Of what is no archive NumPy says that one might load it all the same.
        why = "no archive of arrays" if isinstance(error, ValueError) else str(error)
        raise ValueError(f"damaged: {why}") from error
    if flat.pop(_HOMES, np.empty(0)).tolist() != addresses:
        raise ValueError("about another list of homes")
    state: dict[str, Any] = {}
    for path, value in flat.items():
        here = state
        *parents, last = path.strip("/").split("/")
        for name in parents:
            here = here.setdefault(name, {})
        here[last] = value.item() if value.ndim == 0 else value
    return state
