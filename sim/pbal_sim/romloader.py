"""The boot loader in an ESP32's ROM, emulated at the level of its bytes.

Sans-IO: `RomLoader.feed` takes what arrives on the UART and returns what the chip sends back.
It keeps a flash chip (norflash.py), so a flasher which forgets to erase leaves wrong data here as
on real hardware.

The packets follow Espressif's "Serial Protocol" page of the esptool documentation: SLIP frames
with a direction byte, an opcode, a 16-bit size and a 32-bit value; ROM answers end in four
status bytes, those of the flasher stub in two. The stub itself is Xtensa code: an uploaded one
cannot run here, so `stub` chooses whether the chip then behaves as the stub would or stays
silent, as boards do whose RAM, clock or emulator cannot run it.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from .norflash import Flash

# Opcodes, by the names of the protocol page.
_FLASH_BEGIN, _FLASH_DATA, _FLASH_END = 0x02, 0x03, 0x04
_MEM_BEGIN, _MEM_END, _MEM_DATA = 0x05, 0x06, 0x07
_SYNC, _WRITE_REG, _READ_REG = 0x08, 0x09, 0x0A
_SPI_SET_PARAMS, _SPI_ATTACH, _READ_FLASH_SLOW, _CHANGE_BAUDRATE = 0x0B, 0x0D, 0x0E, 0x0F
_FLASH_DEFL_BEGIN, _FLASH_DEFL_DATA, _FLASH_DEFL_END = 0x10, 0x11, 0x12
_SPI_FLASH_MD5, _GET_SECURITY_INFO = 0x13, 0x14
_ERASE_FLASH, _ERASE_REGION, _READ_FLASH, _RUN_USER_CODE = 0xD0, 0xD1, 0xD2, 0xD3

_STATUS_OK = 0x00
_ERR_INVALID, _ERR_FAILED, _ERR_CRC = 0x05, 0x06, 0x07

_CHECKSUM_SEED = 0xEF
_MAGIC_REGISTER = 0x40001000
_SPI_CMD_USR = 1 << 18
_RDID = 0x9F


@dataclass(frozen=True)
class Chip:
    """What tells one chip from another on the wire; addresses from its technical reference."""

    name: str
    magic: int
    image_id: int
    efuse_base: int
    spi_base: int
    spi_usr_offset: int
    spi_usr2_offset: int
    spi_w0_offset: int
    boot_offset: int
    security_info: bool
    mac_word: int  # index of the eFuse word with the low half of the MAC
    registers: dict[int, int] = field(default_factory=dict)


CHIPS = {
    "esp32": Chip(
        "esp32",
        0x00F01D83,
        0,
        0x3FF5A000,
        0x3FF42000,
        0x1C,
        0x24,
        0x80,
        0x1000,
        False,
        1,
        # UART clock divider of a 40 MHz crystal at 115200 baud; revision bits of a v3 part.
        {0x3FF40014: 0x15B, 0x3FF5A00C: 0x8000, 0x3FF5A014: 0x100000, 0x3FF6607C: 0x96042000},
    ),
    "esp32s3": Chip(
        "esp32s3",
        0x9,
        9,
        0x60007000,
        0x60002000,
        0x18,
        0x20,
        0x58,
        0x0,
        True,
        0x11,
    ),
}


class _Slip:
    """Splits a byte stream into SLIP packets and packs them; what is outside a frame is noise."""

    limit = 0x8000 + 64

    def __init__(self) -> None:
        self._packet: bytearray | None = None
        self._escape = False

    @property
    def outside(self) -> bool:
        """No packet has begun that is not complete."""
        return self._packet is None

    def feed(self, data: bytes) -> list[bytes]:
        """Returns the packets completed by `data`."""
        out: list[bytes] = []
        for byte in data:
            packet = self._packet
            if byte == 0xC0:
                if packet:
                    out.append(bytes(packet))
                    self._packet = None
                else:
                    self._packet = bytearray()
                self._escape = False
            elif packet is None:
                continue
            elif self._escape:
                packet.append({0xDC: 0xC0, 0xDD: 0xDB}.get(byte, byte))
                self._escape = False
            elif byte == 0xDB:
                self._escape = True
            else:
                packet.append(byte)
                if len(packet) > self.limit:
                    self._packet = None
        return out

    @staticmethod
    def pack(packet: bytes) -> bytes:
        """One packet as it travels."""
        return (
            b"\xc0" + packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"
        )


class RomLoader:
    """The chip in download mode.

    `flash_id` is the JEDEC id its flash reports (low byte maker, high byte log2 of the size).
    `stub` "runs" answers an uploaded stub as the real one would, "silent" never greets, "refuses"
    answers that there is no RAM for it, and goes on.
    `fastest` is the highest rate that the adapter in between carries, 0 for any: above it the chip
    says that it changes its rate and is not heard again.
    `reboot` becomes true once the flasher asked to leave download mode for the application.
    """

    def __init__(
        self,
        chip: str = "esp32",
        mac: bytes = bytes.fromhex("24a160000001"),
        flash: Flash | None = None,
        stub: str = "silent",
        flash_id: int = 0x164020,
        fastest: int = 0,
    ) -> None:
        self.chip = CHIPS[chip]
        self.mac = mac
        self.flash = flash or Flash()
        self.stub = stub
        self.flash_id = flash_id
        self.fastest = fastest
        self.is_stub = False
        self._dead = False
        self.reboot = False
        self.bytes_programmed = 0
        self._slip = _Slip()
        self._at = self._end = 0
        self._inflate = zlib.decompressobj()
        self._registers = dict(self.chip.registers)
        low, high = mac[2:], mac[:2]
        base = self.chip.efuse_base + 4 * self.chip.mac_word
        self._registers[base] = int.from_bytes(low, "big")
        self._registers[base + 4] = int.from_bytes(high, "big") | self._mac_crc() << 16
        self._registers[_MAGIC_REGISTER] = self.chip.magic
        self._commands: dict[int, Callable[[bytes, int], tuple[int, bytes] | int]] = {
            _SYNC: self._sync,
            _READ_REG: self._read_reg,
            _WRITE_REG: self._write_reg,
            _SPI_ATTACH: self._accept,
            _SPI_SET_PARAMS: self._accept,
            _CHANGE_BAUDRATE: self._change_rate,
            _MEM_BEGIN: self._mem_begin,
            _MEM_DATA: self._mem_data,
            _MEM_END: self._accept,
            _FLASH_BEGIN: self._flash_begin,
            _FLASH_DATA: self._flash_data,
            _FLASH_END: self._flash_end,
            _FLASH_DEFL_BEGIN: self._defl_begin,
            _FLASH_DEFL_DATA: self._defl_data,
            _FLASH_DEFL_END: self._flash_end,
            _SPI_FLASH_MD5: self._md5,
        }
        if self.chip.security_info:
            self._commands[_GET_SECURITY_INFO] = self._security_info
        self._stub_commands: dict[int, Callable[[bytes, int], tuple[int, bytes] | int]] = {
            _ERASE_FLASH: self._erase_flash,
            _ERASE_REGION: self._erase_region,
        }

    def foreign(self, data: bytes) -> bool:
        """True when `data` is not from a flasher: it begins outside a packet and begins none."""
        return self._slip.outside and data[:1] != b"\xc0"

    def feed(self, data: bytes) -> bytes:
        """Takes bytes from the UART; returns the bytes the chip answers with."""
        return b"".join(self._handle(packet) for packet in self._slip.feed(data))

    def _handle(self, packet: bytes) -> bytes:
        if len(packet) < 8 or packet[0] != 0 or self._dead:
            return b""
        op, size, checksum = struct.unpack_from("<BHI", packet, 1)
        body = packet[8:]
        if len(body) != size:
            return self._answer(op, 0, b"", _ERR_INVALID)
        if op == _RUN_USER_CODE and self.is_stub:
            self.reboot, self.is_stub = False, False
            return b""
        command = self._commands.get(op) or (self._stub_commands.get(op) if self.is_stub else None)
        if command is None:
            return self._answer(op, 0, b"", _ERR_INVALID)
        outcome = command(body, checksum)
        value, extra, error = 0, b"", _STATUS_OK
        if isinstance(outcome, tuple):
            value, extra = outcome
        else:
            error = outcome
        answer = self._answer(op, value, extra, error)
        if op == _SYNC and not self.is_stub:
            answer *= 8
        if op == _MEM_END and struct.unpack_from("<I", body)[0] == 0:
            if self.stub == "runs":
                self.is_stub = True
                answer += _Slip.pack(b"OHAI")
            else:
                # The chip jumped into code that it cannot run: it hangs until a reset.
                self._commands, self._stub_commands = {}, {}
                self._handle = lambda packet: b""  # type: ignore[method-assign]
        return answer

    def _answer(self, op: int, value: int, extra: bytes, error: int) -> bytes:
        status = bytes((1 if error else 0, error)) + (b"" if self.is_stub else b"\0\0")
        head = struct.pack("<BBHI", 1, op, len(extra) + len(status), value)
        return _Slip.pack(head + extra + status)

    def _sync(self, body: bytes, _: int) -> tuple[int, bytes] | int:
        # The ROM leaves a non-zero value here, the stub zero: flashers tell them apart by it.
        return (0 if self.is_stub else 0x20120707), b""

    def _accept(self, body: bytes, _: int) -> int:
        return _STATUS_OK

    def _change_rate(self, body: bytes, _: int) -> int:
        # The ESP32's ROM is told a rate scaled by its measure of its crystal, which this one lacks:
        # what it is told here is no rate, but is meant to be more than the first one.
        rate = struct.unpack_from("<I", body)[0] if self.is_stub else 1 << 32
        self._dead = 0 < self.fastest < rate
        return _STATUS_OK

    def _mem_begin(self, body: bytes, _: int) -> int:
        return _ERR_INVALID if self.stub == "refuses" else _STATUS_OK

    def _mem_data(self, body: bytes, checksum: int) -> int:
        return _STATUS_OK if _xor(body[16:]) == checksum else _ERR_CRC

    def _read_reg(self, body: bytes, _: int) -> tuple[int, bytes]:
        return self._registers.get(struct.unpack_from("<I", body)[0], 0), b""

    def _write_reg(self, body: bytes, _: int) -> int:
        address, value, mask = struct.unpack_from("<III", body)
        chip = self.chip
        if address == chip.spi_base and value & _SPI_CMD_USR:
            command = self._registers.get(chip.spi_base + chip.spi_usr2_offset, 0) & 0xFF
            if command == _RDID:
                self._registers[chip.spi_base + chip.spi_w0_offset] = self.flash_id
            return _STATUS_OK  # the command bit clears itself
        self._registers[address] = self._registers.get(address, 0) & ~mask | value & mask
        return _STATUS_OK

    def _flash_begin(self, body: bytes, _: int) -> int:
        size, _blocks, _block_size, offset = struct.unpack_from("<IIII", body)
        if offset + size > len(self.flash.data):
            return _ERR_FAILED
        # The ROM erases up front, the stub while it writes; both end erased.
        self.flash.erase(offset, size)
        self._at, self._end = offset, offset + size
        return _STATUS_OK

    def _flash_data(self, body: bytes, checksum: int) -> int:
        size = struct.unpack_from("<I", body)[0]
        chunk = body[16 : 16 + size]
        if len(chunk) != size or _xor(chunk) != checksum:
            return _ERR_CRC
        self._program(chunk)
        return _STATUS_OK

    def _defl_begin(self, body: bytes, _: int) -> int:
        self._inflate = zlib.decompressobj()
        return self._flash_begin(body, 0)

    def _defl_data(self, body: bytes, checksum: int) -> int:
        size = struct.unpack_from("<I", body)[0]
        chunk = body[16 : 16 + size]
        if _xor(chunk) != checksum:
            return _ERR_CRC
        try:
            self._program(self._inflate.decompress(chunk))
        except zlib.error:
            return _ERR_FAILED
        return _STATUS_OK

    def _program(self, chunk: bytes) -> None:
        room = len(self.flash.data) - self._at
        self.flash.program(self._at, chunk[:room])
        self._at += len(chunk)
        self.bytes_programmed += len(chunk)

    def _flash_end(self, body: bytes, _: int) -> int:
        self.reboot = struct.unpack_from("<I", body)[0] == 0
        return _STATUS_OK

    def _md5(self, body: bytes, _: int) -> tuple[int, bytes]:
        offset, size = struct.unpack_from("<II", body)
        digest = hashlib.md5(self.flash.data[offset : offset + size])
        return 0, digest.digest() if self.is_stub else digest.hexdigest().encode()

    def _erase_flash(self, body: bytes, _: int) -> int:
        self.flash.erase(0, len(self.flash.data))
        return _STATUS_OK

    def _erase_region(self, body: bytes, _: int) -> int:
        self.flash.erase(*struct.unpack_from("<II", body))
        return _STATUS_OK

    def _security_info(self, body: bytes, _: int) -> tuple[int, bytes]:
        return 0, struct.pack("<IB7BII", 0, 0, *([0] * 7), self.chip.image_id, 0)

    def _mac_crc(self) -> int:
        # eFuse carries a CRC-8 (polynomial 0x07, seed 0xFF, reflected) over the MAC.
        crc = 0xFF
        for byte in self.mac:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x8C if crc & 1 else 0)
        return crc ^ 0xFF


def _xor(data: bytes) -> int:
    """The ROM's checksum: exclusive or of all bytes, seeded."""
    state = _CHECKSUM_SEED
    for byte in data:
        state ^= byte
    return state


def stand_in_image(chip: str = "esp32", size: int = 60_000) -> bytes:
    """A well-formed image for a chip that carries no program: header, one segment, checksum.

    `ReplBoard` takes any image with the right header for MicroPython, which runs beside it.
    """
    body = (b"MicroPython stand-in " * (size // 21 + 1))[: size - size % 4]
    header = struct.pack(
        "<BBBBIB3sHBHHIB", 0xE9, 1, 2, 0x20, 0x40080000, 0xEE, b"\0\0\0", CHIPS[chip].image_id,
        0, 0, 0, 0, 0,
    )  # fmt: skip
    image = header.ljust(24, b"\0") + struct.pack("<II", 0x3FFB0000, len(body)) + body
    return image + bytes(15 - len(image) % 16) + bytes([_xor(body)])
