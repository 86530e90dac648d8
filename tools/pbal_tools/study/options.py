"""The options of `pbal study` as one object: each one's name, type, limits, help and panel."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from ..output import JsonFlag
from .common import CommonOptions, control, files, number, report

if TYPE_CHECKING:
    from pbal_study import Options


@dataclass(frozen=True)
class StudyFiles:
    """What `pbal study` reads."""

    feeder: Annotated[
        Path | None,
        files("--feeder", help="OpenDSS master file."),
    ] = None
    profiles: Annotated[
        Path | None,
        files(
            "--profiles",
            help="CSV or CSV.gz: time,home_01,home_02,... in watts, negative feeds in; "
            "else the feeder's load shapes.",
        ),
    ] = None
    homes: Annotated[
        Path | None,
        files(
            "--homes",
            help="CSV: home,phase[,profile,pf,relay,ev,pv]; with a feeder, home is the load name.",
        ),
    ] = None
    demo: Annotated[
        bool,
        files("--demo", help="Study a built-in street."),
    ] = False
    transformer: Annotated[
        str,
        files("--transformer", help="Which transformer, if several."),
    ] = ""


@dataclass(frozen=True)
class StudyOptions(CommonOptions, StudyFiles):
    """All options of `pbal study`. Units and limits are in the help texts."""

    repeat_profiles: Annotated[
        bool,
        files(
            "--repeat-profiles", help="Use columns again if there are more homes, shifted by days."
        ),
    ] = False
    controllers: Annotated[
        str,
        control(
            "--controllers",
            help="Comma-separated: best_static,pbal,hindsight (as_built is always there).",
        ),
    ] = "best_static,pbal,hindsight"
    hosting: Annotated[
        str,
        report("--hosting", help="Sweep the share of homes with cars or roofs: ev, pv or ev,pv."),
    ] = ""
    rank_days: Annotated[
        float,
        report(
            "--rank-days",
            callback=number,
            min=0,
            help="Days on which 'which homes first' is measured; 0 skips it.",
        ),
    ] = 3.0
    out: Annotated[
        Path | None,
        report("--out", help="Folder for report.html, JSON and CSV."),
    ] = None
    json_output: JsonFlag = False

    def study(self) -> "Options":
        """The options of the study itself."""
        return replace(
            self.shared(),
            feeder=self.feeder,
            profiles=self.profiles,
            homes=self.homes,
            transformer=self.transformer,
            repeat_profiles=self.repeat_profiles,
            controllers=_names(self.controllers),
            rank_days=self.rank_days,
            hosting=tuple(word.strip() for word in self.hosting.split(",") if word.strip()),
        )


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().replace("-", "_") for name in text.split(",") if name.strip())
    return ("as_built", *(n for n in names if n != "as_built"))
