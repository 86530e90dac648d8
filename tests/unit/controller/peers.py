"""What the second controller of a site says of itself, and a copy without anything in it."""

from __future__ import annotations

from typing import Any

from pbal_controller.standby import Role
from pbal_controller.standby import copy as copying
from pbal_controller.standby import link as linking


def state(member: str, **changes: Any) -> linking.State:
    """What a controller says of itself."""
    said = linking.State(
        site=7, member=member, version="1", role=Role.FOLLOW, serving=False, term=0,
        wall_s=1000.0,
    )  # fmt: skip
    return said.model_copy(update=changes)


EMPTY = copying.Copy(
    term=4, command_id=0, counters=[], quarantine=[], stand_down=[], orders=[], meta={}, blobs={},
    first_phases=[], hq_commands=[], keys="",
)  # fmt: skip
