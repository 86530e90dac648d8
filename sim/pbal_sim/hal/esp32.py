"""The few documented names of the ESP32 port's `esp32` module that make sense off the chip."""

HEAP_DATA = 4
HEAP_EXEC = 1


def raw_temperature():
    return 104


def mcu_temperature():
    return 40


def idf_heap_info(capabilities):
    return [(163840, 98304, 65536, 90112)]
