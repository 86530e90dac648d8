"""What a node answers to stock Modbus tools, spelt out by hand; make.py writes it to stock.json."""

import struct

IDENTITY = ["pbal", "esp32-devkitc", "0.1.0", "", "pbal node", "street", "phase selector"]


def identification(code: int, first: int, last: int) -> str:
    objects = [(i, IDENTITY[i].encode()) for i in range(first, last + 1) if IDENTITY[i]]
    body = b"".join(bytes((i, len(text))) + text for i, text in objects)
    return (bytes((0x2B, 0x0E, code, 0x82, 0, 0, len(objects))) + body).hex()


# Registers by hand: volts in tenths, amperes in hundredths, watts in tenths over two words.
IMAGE = struct.pack(
    ">HHHHHHiHHHH", 1, 2301, 2299, 2310, 2301, 432, 9876, 4998, 2, 2, 0x21
)  # 229.87 V and 231.05 V round to 229.9 and (half to even, 2310.5) 231.0


def stock(name: str, request: str, response: str, **more: bool) -> dict:
    """`withheld`: as a node with keys answers."""
    return {"id": name, "request": request, "response": response, **more}


SERVER = b"\x70\xffpbal esp32-devkitc 0.1.0"
STOCK = [
    stock("all registers", "040000000c", "0418" + IMAGE.hex()),
    stock("the power", "0400060002", "0404" + IMAGE[12:16].hex()),
    stock("voltages, withheld", "0400000005", "040a" + IMAGE[:10].hex(), withheld=True),
    stock("frequency to flags, withheld", "0400080004", "0408" + IMAGE[16:].hex(), withheld=True),
    stock("all registers, withheld", "040000000c", "8402", withheld=True),
    stock("the current, withheld", "0400050001", "8402", withheld=True),
    stock("half of the power, withheld", "0400070002", "8402", withheld=True),
    stock("one register too many", "040000000d", "8402"),
    stock("no register", "0400000000", "8403"),
    stock("126 registers", "040000007e", "8403"),
    stock("beyond the last", "04000c0001", "8402"),
    stock("server id", "11", "11" + bytes((len(SERVER),)).hex() + SERVER.hex()),
    stock("basic identification", "2b0e0100", identification(1, 0, 2)),
    stock("regular identification", "2b0e0200", identification(2, 0, 6)),
    stock("extended, answered with regular", "2b0e0300", identification(3, 0, 6)),
    stock("regular from the product name", "2b0e0204", identification(2, 4, 6)),
    stock("a stream from an unknown object", "2b0e0109", identification(1, 0, 2)),
    stock("the revision alone", "2b0e0402", identification(4, 2, 2)),
    stock("an object that is not there", "2b0e0403", "ab02"),
    stock("read code 5", "2b0e0500", "ab03"),
    stock("another MEI type", "2b0d0100", "ab01"),
    stock("a coil written", "050000ff00", "8501"),
    stock("a register written", "0600000001", "8601"),
    stock("registers written", "100000000102" + "0001", "9001"),
    stock("holding registers read", "0300000001", "8301"),
]
