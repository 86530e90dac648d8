"""What goes wrong with tunnels.

HqError
  TunnelError   12   the tunnel's interface or firewall cannot be changed now
"""

from __future__ import annotations

from pbal_hq.errors import HqError


class TunnelError(HqError):
    """The tunnel's interface or firewall cannot be changed now."""

    exit_code = 12
