"""Homes that speak UDP, over Wi-Fi, Ethernet or PPP: datagrams of sealed frames."""

from pbal_controller.bearers.kinds import Kind
from pbal_controller.bearers.udp.bearer import UdpBearer
from pbal_controller.bearers.udp.settings import UdpConfig, locate

KIND = Kind("udp", UdpConfig, locate, UdpBearer)

__all__ = ["KIND", "UdpBearer", "UdpConfig"]
