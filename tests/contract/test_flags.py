"""Every flag has its words in one table, and nobody keeps another one."""

import ast

import pytest
from rigs.needs import ROOT

from pbal_protocol import flags, names

BITS = {name: value for name, value in vars(names).items() if name.startswith("FLAG_")}
ROOMS = ("pi_controller", "tools", "sim")
REMEDY = "use pbal_protocol.flags instead of its word"


def test_every_flag_is_in_the_table_once() -> None:
    assert sorted(flag.bit for flag in flags.FLAGS) == sorted(BITS.values()), (
        "a flag of names.py has no row in protocol/pbal_protocol/flags.py"
    )


@pytest.mark.parametrize("flag", flags.FLAGS, ids=lambda flag: flag.word)
def test_a_row_says_what_it_must(flag: flags.Flag) -> None:
    assert BITS["FLAG_" + flag.word.upper().replace("-", "_")] == flag.bit
    assert flag.severity in (flags.NORMAL, flags.NOTE, flags.FAULT)
    assert flag.moving in (flags.FREE, flags.HELD_BACK, flags.REFUSED)
    assert flag.says
    assert bool(flag.reason) == (flag.moving != flags.FREE)
    assert bool(flag.remedy) == (flag.severity == flags.FAULT)


def test_what_becomes_of_bits() -> None:
    bits = names.FLAG_FIXED | names.FLAG_METER_FAULT | names.FLAG_EVENTS_PENDING
    assert flags.words(bits) == ["fixed", "meter-fault", "events-pending"]
    assert flags.not_moved(bits) == "fixed at the node"
    assert flags.not_moved(names.FLAG_EVENTS_PENDING | names.FLAG_AUTONOMOUS) == ""
    assert [flag.word for flag in flags.faults(bits)] == ["meter-fault"]
    assert flags.faults_of(["fixed", "lockout", "of-a-later-version"]) == flags.faults(
        names.FLAG_LOCKOUT
    )


def test_there_is_no_other_table() -> None:
    """The word of a flag stands nowhere else."""
    words = {flag.word for flag in flags.FLAGS} - {"fixed", "lockout"}  # a setting, a state
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    where = f"{path.relative_to(ROOT)}:{node.lineno}"
                    assert node.value not in words, f"{where}: {node.value!r}: {REMEDY}"
