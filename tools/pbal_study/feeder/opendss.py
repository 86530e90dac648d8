"""Reads an OpenDSS feeder with the OpenDSS engine itself.

The engine compiles the file, so every element has the same meaning as in the planner's own tool.
`reduce` then makes a `feeder.Feeder` of its admittance matrix.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..errors import InputError
from .customers import join_customers
from .dssfiles import check_files, spelled_otherwise
from .dssmirror import mirror
from .loadscale import LoadScale, read_scale
from .model import Feeder, LoadPoint
from .network import RawLoad
from .reduce import reduce_feeder

_UNSUPPORTED = frozenset(
    """generator generic5 pvsystem pvsystem2 storage storage2 windgen indmach012 isource gicsource
    gicline vccs upfc vsconverter""".split()  # noqa: SIM905
)
_POWER, _IMPEDANCE, _CURRENT = (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
# Load models of the engine as shares of P and Q. 3 is a motor: Q rises with the square of the
# voltage; 4 has exponents (CVRwatts, CVRvars); 6 holds Q, 7 makes it an impedance.
_ZIP = {
    1: (_POWER, _POWER),
    2: (_IMPEDANCE, _IMPEDANCE),
    3: (_POWER, _IMPEDANCE),
    4: (_POWER, _POWER),
    5: (_CURRENT, _CURRENT),
    6: (_POWER, _POWER),
    7: (_POWER, _IMPEDANCE),
}


def _engine() -> Any:
    """A private instance of the engine: it opens no window and keeps the working folder."""
    from dss import DSS

    engine = DSS.NewContext()
    engine.AllowForms = False
    engine.AllowEditor = False
    engine.AllowChangeDir = False
    engine.AllowDOScmd = False
    return engine


@contextmanager
def _scratch_folder(engine: Any) -> Iterator[Path]:
    """A temporary folder, removed afterwards, for what the engine writes."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="pbal-study-") as folder:
        os.chdir(folder)
        engine.DataPath = folder
        try:
            yield Path(folder).resolve()
        finally:
            os.chdir(before)


def compile_feeder(path: Path, notes: list[str] | None = None) -> Any:
    """An engine with the feeder compiled; InputError in words where it cannot be.

    `notes` gets what was left out of the feeder's files and may be missed.
    """
    if not path.exists():
        raise InputError(
            f"No such feeder file: {path}", "Give the .dss file that holds 'New circuit'."
        )
    if path.is_dir():
        raise InputError(
            f"{path} is a folder.",
            "Give the .dss file in it that holds 'New circuit', often Master.dss.",
        )
    check_files(path)
    engine = _engine()
    full = path.resolve()  # before the working folder changes
    with _scratch_folder(engine) as scratch, _in_words(full, scratch):
        copy = mirror(full, scratch, [] if notes is None else notes)
        engine.Text.Command = "clear"
        engine.Text.Command = f'redirect "{copy}"'
        if engine.NumCircuits:
            # Nodes have numbers only after a solution, and not every file ends with Solve.
            engine.Text.Command = "set controlmode=off"
            engine.Text.Command = "solve mode=direct"
    if engine.NumCircuits == 0:
        raise InputError(
            f"{path} defines no circuit.",
            "Give the .dss file that holds the line 'New circuit.NAME'.",
        )
    return engine


@contextmanager
def _in_words(path: Path, scratch: Path | None = None) -> Iterator[None]:
    """Turns what the engine and the matrix solver say into an InputError that names the feeder's
    own files, not the copies in `scratch`."""
    try:
        yield
    except UnicodeDecodeError as exc:
        raise InputError(
            f"{path} holds names with letters that are not UTF-8.", "Save the file as UTF-8."
        ) from exc
    except Exception as exc:
        if isinstance(exc, RuntimeError):  # SciPy's, for a singular matrix
            raise InputError(
                f"{path}: the network's equations have no solution ({_one_line(exc)}).",
                "Look for a transformer rated 0 kVA, and for a part that nothing connects to the "
                "source.",
            ) from exc
        if type(exc).__name__ != "DSSException":
            raise
        raise InputError(
            f"OpenDSS cannot read {path}: "
            + _one_line(exc).replace(str(scratch) if scratch else "\0", ""),
            spelled_otherwise(path)
            or "Correct the feeder file until OpenDSS itself compiles and solves it.",
        ) from exc


def _one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())


def load_feeder(path: Path, transformer: str = "") -> Feeder:
    """Reads an OpenDSS master file into a `Feeder`.

    `transformer` names the transformer to study where the file has several. Raises InputError
    with what to do about it where the file is not a feeder this study can treat.
    """
    notes: list[str] = []
    engine = compile_feeder(path, notes)
    with _in_words(path):
        circuit = engine.ActiveCircuit
        loads = _read_loads(circuit, read_scale(circuit, notes), notes)
        loads = join_customers(loads, notes)
        _refuse_unsupported(circuit, path)
        kinds = {str(name).partition(".")[0].lower() for name in circuit.AllElementNames}
        if kinds & {"regcontrol", "capcontrol", "swtcontrol"}:
            notes.append(
                "Regulator, capacitor and switch controls are held where the file leaves them."
            )
        engine.Text.Command = "batchedit load..* enabled=no"
        engine.Text.Command = "set mode=snap controlmode=off"
        engine.Text.Command = "solve mode=direct"
        y = sp.csc_matrix(tuple(engine.YMatrix.getYSparse()))
        return _checked(reduce_feeder(circuit, y, loads, transformer, notes))


def _refuse_unsupported(circuit: Any, path: Path) -> None:
    """Elements that carry energy but are neither network nor load: leaving them out would change
    the result without notice, so the user has to decide."""
    found: dict[str, int] = {}
    sources = 0
    for name in circuit.AllElementNames:
        circuit.SetActiveElement(name)
        if not circuit.ActiveCktElement.Enabled:
            continue
        kind = name.partition(".")[0].lower()
        sources += kind == "vsource"
        if kind in _UNSUPPORTED:
            found[kind] = found.get(kind, 0) + 1
    if found:
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
        raise InputError(
            f"{path} holds elements the study does not simulate: {listed}.",
            "Remove or disable them; give solar as negative watts in the profiles or with --pv.",
        )
    if sources != 1:
        raise InputError(
            f"{path} has {sources} voltage sources; the study needs exactly one.",
            "Keep the source that feeds the transformer you study.",
        )


def _read_loads(circuit: Any, scale: LoadScale, notes: list[str]) -> list[RawLoad]:
    loads = circuit.Loads
    found: list[RawLoad] = []
    odd_models: set[int] = set()
    k = loads.First
    while k:
        element = circuit.ActiveCktElement
        if element.Enabled:
            model = int(loads.Model)
            if model == 8:
                shares = [float(x) for x in loads.ZIPV]
                zip_p, zip_q = (shares[0], shares[1], shares[2]), (shares[3], shares[4], shares[5])
            else:
                zip_p, zip_q = _ZIP.get(model, _ZIP[1])
                if model not in _ZIP:
                    odd_models.add(model)
            phases = int(loads.Phases)
            base = float(loads.kV) * 1000
            if phases > 1 and not loads.IsDelta:
                base /= np.sqrt(3)
            factor = float(loads.PF)
            point = LoadPoint(
                name=str(loads.Name),
                bus=str(element.BusNames[0]).partition(".")[0],
                phase=-1,
                v_base=float(base),
                power_factor=abs(factor),
                leading=factor < 0,
                zip_p=zip_p,
                zip_q=zip_q,
                model=model,
                exponent_p=float(loads.CVRwatts) if model == 4 else 0.0,
                exponent_q=float(loads.CVRvars) if model == 4 else 0.0,
                v_min=float(loads.Vminpu),
                v_max=float(loads.Vmaxpu),
                v_low=float(element.Properties("VLowpu").Val),
                parts=phases,
                place=len(found),
                base_kw=float(loads.kW),
                kw=float(loads.kW) * scale.of(int(loads.Status), shape=str(loads.Growth)),
            )
            nodes = [int(n) for n in element.NodeOrder]
            shape = (str(loads.Yearly).lower(), str(loads.daily).lower(), int(loads.Status))
            found.append(RawLoad(point, nodes, bool(loads.IsDelta), shape=shape))
        k = loads.Next
    if not found:
        raise InputError(
            "The feeder has no loads.",
            "Add one 'New Load.NAME Phases=1 Bus1=BUS.PHASE ...' per home.",
        )
    held = sum(raw.point.held_var not in (None, 0.0) for raw in found)
    if held:
        notes.append(
            f"{held} load{'s are' if held > 1 else ' is'} of model 6 or 7: their vars are those of "
            "the file all the time, as in OpenDSS, and do not follow the profile."
        )
    if odd_models:
        notes.append(
            f"Load models {sorted(odd_models)} are treated as constant power; 1 to 8 as OpenDSS "
            "does."
        )
    return found


def _checked(feeder: Feeder) -> Feeder:
    """Refuses loads whose rated voltage does not fit their bus: a mistake in the file."""
    for k, home in enumerate(feeder.homes):
        volts = float(abs(feeder.v0[3 * k + home.phase]))
        if not 0.7 < volts / home.v_base < 1.4:
            raise InputError(
                f"Home {home.name} is rated {home.v_base:g} V, but gets {volts:.0f} V without "
                f"load at bus {home.bus}.",
                "Check its kV (0.23 between phase and neutral), the kVs of the transformer, and "
                "that the lines to it are connected and closed.",
            )
        own = 3 * k + home.phase
        if 1000 / home.v_base * abs(feeder.z[own, own]) > home.v_base / 2:
            raise InputError(
                f"Home {home.name} at bus {home.bus} has {abs(feeder.z[own, own]):.3g} ohm before "
                "it: a kettle would take half of its voltage.",
                "Check that its neutral, or earth, leads back to the transformer's star point "
                "(Bus.1.2.3.0, or a Reactor from node 4 to earth), and the units of the lines.",
            )
    port = 3 * feeder.n_homes
    for load in feeder.fixed:
        volts = float(np.abs(feeder.v0[port : port + load.parts]).min())
        port += load.parts
        # Wider than for a home: its rating is less often stated exactly.
        if not 0.5 < volts / load.v_base < 2:
            raise InputError(
                f"Load {load.name} is rated {load.v_base:.0f} V between its terminals, but gets "
                f"{volts:.0f} V without load at bus {load.bus}.",
                "Check its kV, and that the lines to it are connected and closed; or disable it.",
            )
    return feeder
