"""The one place that turns errors into exit codes and into words a person can act on.

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

Foreign errors that a user can cause (a missing file, a port that is busy, a broken TOML file)
are mapped onto the same codes by `describe`. Anything else is a defect of ours: code 1.
"""

import enum
import os
import sys
import tomllib
import traceback
from dataclasses import dataclass


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


@dataclass(frozen=True)
class Described:
    """An error as the shell and the reader see it."""

    code: ExitCode
    message: str
    remedy: str = ""


def describe(exc: BaseException) -> Described:
    """Maps any exception onto an exit code, a message and a remedy."""
    if isinstance(exc, CliError):
        return Described(exc.exit_code, exc.message, exc.remedy)
    if isinstance(exc, KeyboardInterrupt):
        return Described(ExitCode.INTERRUPTED, "Interrupted.")
    if isinstance(exc, ModuleNotFoundError):
        return _describe_missing_module(exc)
    if isinstance(exc, OSError):
        return _describe_os_error(exc)
    if isinstance(exc, tomllib.TOMLDecodeError):
        return Described(ExitCode.INPUT, f"The TOML file is broken: {exc}", "Correct that line.")
    return _describe_library_error(exc)


def _describe_missing_module(exc: ModuleNotFoundError) -> Described:
    from .extras import extra_of, install_remedy

    top = (exc.name or "").partition(".")[0]
    extra = extra_of(top)
    if extra:
        return Described(ExitCode.MISSING, f"This command needs {top!r}.", install_remedy(extra))
    return Described(
        ExitCode.MISSING,
        f"This installation of pbal lacks {exc.name!r}.",
        "Install pbal again:  python3 -m pip install --force-reinstall pbal"
        "  (in a checkout: tools/bootstrap.sh)",
    )


def _describe_os_error(exc: OSError) -> Described:
    where = f": {exc.filename}" if exc.filename else ""
    if isinstance(exc, FileNotFoundError):
        return Described(ExitCode.INPUT, f"No such file{where}", "Check the path.")
    if isinstance(exc, IsADirectoryError | NotADirectoryError):
        return Described(ExitCode.INPUT, f"{exc.strerror}{where}", "Check the path.")
    if isinstance(exc, PermissionError):
        return Described(
            ExitCode.MISSING,
            f"Not permitted{where}",
            "For a serial port: add yourself to the group 'dialout' and log in again.",
        )
    if isinstance(exc, ConnectionError | TimeoutError):
        return Described(
            ExitCode.UNREACHABLE, f"No answer: {exc or type(exc).__name__}", "Is it running?"
        )
    if type(exc).__module__.partition(".")[0] == "serial":
        return Described(
            ExitCode.UNREACHABLE,
            f"The serial port failed: {exc}",
            "Check the cable, and that no other program holds the port.",
        )
    return Described(ExitCode.MISSING, f"The system refused: {exc}")


def _describe_library_error(exc: BaseException) -> Described:
    # Imported here so that `pbal --help` does not pay for it.
    from pbal_build import BuildError
    from pbal_controller.documents import DocumentError
    from pbal_controller.errors import ControllerError
    from pbal_protocol.errors import LocalError, RemoteError
    from pbal_sim.errors import TwinError
    from pbal_study.errors import MissingError as StudyMissing
    from pbal_study.errors import StudyError

    if isinstance(exc, StudyError):
        code = ExitCode.MISSING if isinstance(exc, StudyMissing) else ExitCode.INPUT
        return Described(code, exc.message, exc.remedy)
    if isinstance(exc, DocumentError):
        return Described(ExitCode.INPUT, f"The document is broken: {exc}", "Correct it.")
    if isinstance(exc, TwinError | BuildError | ControllerError):
        return Described(ExitCode.INPUT, str(exc))
    if isinstance(exc, RemoteError):
        return Described(ExitCode.PEER, f"{type(exc).__name__}: {exc}")
    if isinstance(exc, LocalError):
        return Described(ExitCode.INPUT, f"{type(exc).__name__}: {exc}")
    if type(exc).__module__.startswith("pydantic"):
        return Described(ExitCode.INPUT, str(exc), "Correct the values named above.")
    return Described(
        ExitCode.DEFECT,
        f"Defect in pbal: {type(exc).__name__}: {exc}",
        "Run it again with PBAL_DEBUG=1 for the traceback, and report it.",
    )


def report(exc: BaseException) -> int:
    """Prints an error on stderr the way every command does; returns the exit code."""
    told = describe(exc)
    if os.environ.get("PBAL_DEBUG") == "1":
        traceback.print_exception(exc, file=sys.stderr)
    print(f"pbal: {told.message}", file=sys.stderr)
    if told.remedy:
        print(f"      {told.remedy}", file=sys.stderr)
    return int(told.code)
