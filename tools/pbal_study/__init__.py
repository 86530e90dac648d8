"""A planner's study: what balancing would do for a feeder. See docs/study.md.

    from pbal_study import Options, run_study

    study = run_study(Options(feeder=Path("Master.dss")), lambda name, total: lambda done: None)

The errors are loaded at once; the rest, with NumPy, SciPy and the engine, on first use.
"""

from typing import TYPE_CHECKING, Any

from .errors import InputError, MissingError, StudyError

if TYPE_CHECKING:
    from .run import Loop, MoneyOptions, Options, Quantity, Study, run_study

__all__ = [
    "InputError",
    "Loop",
    "MissingError",
    "MoneyOptions",
    "Options",
    "Quantity",
    "Study",
    "StudyError",
    "run_study",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import run

        return getattr(run, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
