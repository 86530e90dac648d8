"""The foreseeable failures of a command, each with its exit code.

    CliError                    what every command raises for a foreseeable failure
     +-- InputError        3    a file, an option or a value is wrong
     +-- MissingError      4    a program, an optional extra or a permission is missing here
     +-- UnreachableError  5    a board, a port or a controller does not answer
     +-- PeerError         6    it answered, but with something wrong or not authentic
     +-- CheckFailed       7    the work ran, but what came out is not what was asked for
     +-- RefusedError      8    a safety rule forbids it
     +-- PortMissing      10    there is no such serial port
     +-- PortBusy         11    another program holds the serial port
     +-- PortDenied       12    this user may not open the serial port
     +-- WrongChip        13    the board carries another chip than its board file says
     +-- WrongImage       14    the file is no firmware image, or one for another chip
     +-- NoBootloader     15    the chip's boot loader does not answer
     +-- NoRepl           16    MicroPython's prompt does not answer
     +-- SelfTestFailed   17    the node runs, but its self-test found a fault
     +-- ConsoleLocked    18    the node's console is locked, and its secret is not known here
     +-- Ambiguous        20    the measurements do not tell, and pbal does not guess

`describe.describe` maps the errors of libraries onto the same codes.
"""

import enum


class ExitCode(enum.IntEnum):
    """What the `pbal` command returns to the shell. docs/cli.md lists the same table."""

    OK = 0
    DEFECT = 1
    USAGE = 2
    INPUT = 3
    MISSING = 4
    UNREACHABLE = 5
    PEER = 6
    CHECK_FAILED = 7
    REFUSED = 8
    PORT_MISSING = 10
    PORT_BUSY = 11
    PORT_DENIED = 12
    WRONG_CHIP = 13
    WRONG_IMAGE = 14
    NO_BOOTLOADER = 15
    NO_REPL = 16
    SELF_TEST_FAILED = 17
    CONSOLE_LOCKED = 18
    AMBIGUOUS = 20
    INTERRUPTED = 130


class CliError(Exception):
    """A foreseeable failure: what went wrong, and what the reader can do about it."""

    exit_code = ExitCode.DEFECT

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class InputError(CliError):
    """A file, an option or a value the user gave is wrong."""

    exit_code = ExitCode.INPUT


class MissingError(CliError):
    """Something this computer needs for the command is not installed or not permitted."""

    exit_code = ExitCode.MISSING


class UnreachableError(CliError):
    """A board, a serial port or a controller does not answer."""

    exit_code = ExitCode.UNREACHABLE


class PeerError(CliError):
    """The other end answered with something malformed, stale or not authentic."""

    exit_code = ExitCode.PEER


class CheckFailed(CliError):
    """The work ran to its end, but a check of its result failed."""

    exit_code = ExitCode.CHECK_FAILED


class RefusedError(CliError):
    """A safety rule forbids what was asked."""

    exit_code = ExitCode.REFUSED


class PortMissing(CliError):
    """There is no such serial port, or nobody listens at its address."""

    exit_code = ExitCode.PORT_MISSING


class PortBusy(CliError):
    """Another program holds the serial port."""

    exit_code = ExitCode.PORT_BUSY


class PortDenied(CliError):
    """This user may not open the serial port."""

    exit_code = ExitCode.PORT_DENIED


class WrongChip(CliError):
    """The board carries another chip than its board file says."""

    exit_code = ExitCode.WRONG_CHIP


class WrongImage(CliError):
    """The file is no firmware image, or one for another chip."""

    exit_code = ExitCode.WRONG_IMAGE


class NoBootloader(CliError):
    """The chip's boot loader does not answer the flasher."""

    exit_code = ExitCode.NO_BOOTLOADER


class NoRepl(CliError):
    """MicroPython's prompt does not answer."""

    exit_code = ExitCode.NO_REPL


class SelfTestFailed(CliError):
    """The node runs, but its self-test found a fault."""

    exit_code = ExitCode.SELF_TEST_FAILED


class ConsoleLocked(CliError):
    """The node's console is locked, and what opens it is not known here."""

    exit_code = ExitCode.CONSOLE_LOCKED


class Ambiguous(CliError):
    """The measurements do not tell, and pbal does not guess."""

    exit_code = ExitCode.AMBIGUOUS
