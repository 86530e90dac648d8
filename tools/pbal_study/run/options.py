"""What a study is asked: every option, as one object."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..input.additions import EvOptions, PvOptions
from ..input.quantity import Quantity
from .controllers import Loop
from .money import MoneyOptions

CONTROLLERS = ("as_built", "best_static", "pbal", "hindsight")

_COMMON = ("master", "main", "run", "feeder", "circuit", "model", "homes")


@dataclass(frozen=True)
class Options:
    """Everything a study depends on; written into its JSON, so that it can be repeated."""

    profiles: Path | None = None
    """None: the load shapes of the feeder file."""
    feeder: Path | None = None
    homes: Path | None = None
    transformer: str = ""
    kva: float = 0.0
    main_ohm: float = 0.0
    neutral_ohm: float | None = None
    days: float | None = None
    skip_days: float = 0.0
    fill_gaps: bool = False
    repeat_profiles: bool = False
    quantity: Quantity = field(default_factory=Quantity)
    """What the values of the profile file are."""
    power_factor: float | None = None
    load_model: str = "feeder"
    participation: float = 1.0
    relay_choice: str = "random"
    controllers: Sequence[str] = CONTROLLERS
    loop: Loop = field(default_factory=Loop)
    ev: EvOptions = field(default_factory=EvOptions)
    pv: PvOptions = field(default_factory=PvOptions)
    ambient_c: float = 20.0
    money: MoneyOptions = field(default_factory=MoneyOptions)
    phase_limit_a: float | None = None
    """What a phase may carry at the transformer; None: the transformer's rated current."""
    rank_days: float = 3.0
    hosting: Sequence[str] = ()
    """What to sweep for hosting capacity: `ev`, `pv`."""
    seed: int = 1
    brief: bool = False
    """One of many: in this process alone, without the order of the homes, what either objective
    would do, and the OpenDSS engine's second opinion."""

    @property
    def title(self) -> str:
        """The name of the study: the feeder's file, or the list of homes. A file with a generic
        name is named with its folder."""
        path = self.feeder or self.homes
        if path is None:
            return "a street"
        folder = path.resolve().parent.name
        return f"{folder}/{path.name}" if path.stem.lower() in _COMMON else path.name

    def as_dict(self) -> dict[str, Any]:
        """For the JSON: plain types only."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}
