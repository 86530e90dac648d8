"""Many transformers, ranked by which should come first. See docs/fleet.md.

from pbal_study.fleet import FleetOptions, run_fleet

fleet = run_fleet(FleetOptions(table=Path("fleet.csv")), Path("out"), lambda done, all, name: None)
"""

from .job import COLUMNS, Row
from .ranking import BY, Totals
from .study import Fleet, FleetOptions, run_fleet

__all__ = ["BY", "COLUMNS", "Fleet", "FleetOptions", "Row", "Totals", "run_fleet"]
