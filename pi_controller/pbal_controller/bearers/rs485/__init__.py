"""RS-485: one segment of homes behind one serial port, by Modbus RTU."""

from pbal_controller.bearers.rs485.bearer import Request, Rs485Bearer
from pbal_controller.bearers.rs485.line import Answer, is_pty

__all__ = ["Answer", "Request", "Rs485Bearer", "is_pty"]
