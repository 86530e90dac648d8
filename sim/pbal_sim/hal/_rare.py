"""Parts of `machine` that are loaded when first asked for: heap is for the firmware."""

import time

import _chip


def soft_reset():
    import machine

    machine.reset()


def unique_id():
    import binascii

    return binascii.unhexlify(_chip.config["uid"])


def freq(hz=None):
    return 160000000


def idle():
    time.sleep_us(100)


def disable_irq():
    return 0


def enable_irq(state):
    pass
