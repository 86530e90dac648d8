"""Pins of a Raspberry Pi's header, by their BCM numbers."""

globals().update({f"D{number}": number for number in range(28)})
SCK, MOSI, MISO, CE0, CE1 = 11, 10, 9, 8, 7
