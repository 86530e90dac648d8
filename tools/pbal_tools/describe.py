"""The one place that turns any error into an exit code and into words a person can act on.

Foreign errors that a user can cause (a missing file, a port that is busy, a broken TOML file) get
the codes of `errors`. Anything else is a defect of ours: code 1.
"""

import os
import sys
import tomllib
import traceback
from dataclasses import dataclass

from .errors import CliError, ExitCode
from .extras import extra_of, install_remedy


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
