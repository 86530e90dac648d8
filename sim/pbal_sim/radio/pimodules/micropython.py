"""What drivers for CircuitPython import of MicroPython."""


def const(value: int) -> int:
    """The value itself."""
    return value
