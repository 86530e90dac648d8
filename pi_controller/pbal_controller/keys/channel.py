"""The site's radio channel as nodes are provisioned with it. Nothing in it is secret."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pbal_controller.errors import KeyStoreError
from pbal_protocol.errors import FieldError, ForbiddenError
from pbal_protocol.radio.plans import Plan

_ERP_CDB = 215  # of an antenna without gain, against an isotropic one


@dataclass(frozen=True)
class Channel:
    """`region` is a plan of docs/radio-plans.md; `sf`: where a node begins to listen."""

    region: str
    channel: int = 0
    sf: int = 9
    power_dbm: int = 14

    def as_dict(self) -> dict[str, Any]:
        """As nodes and the key store have it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Channel:
        """The opposite. Raises ValueError, KeyError, TypeError where it is not valid."""
        numbers = {key: int(found[key]) for key in ("channel", "sf", "power_dbm") if key in found}
        return cls(str(found["region"]), **numbers)

    def checked(self) -> Channel:
        """Itself. Raises KeyStoreError for what the plan or a node does not allow."""
        try:
            plan = Plan(self.region)
            if not 0 <= self.channel < len(plan.up):
                raise KeyStoreError(
                    f"channel {self.channel}: {plan.name} has 0 to {len(plan.up) - 1}"
                )
            if not 7 <= self.sf <= 11:
                raise KeyStoreError(f"spreading factor {self.sf}: give 7 to 11")
            if not 2 <= self.power_dbm <= 20:
                raise KeyStoreError(f"{self.power_dbm} dBm: a node's radio makes 2 to 20")
            hz, bw_hz = plan.up[self.channel]
            plan.check_power(hz, bw_hz, 100 * self.power_dbm + _ERP_CDB)
        except (FieldError, ForbiddenError) as error:
            raise KeyStoreError(str(error)) from None
        return self
