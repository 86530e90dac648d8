"""Feeder files that a planner gets wrong: what is said, and that the rest still works."""

from pathlib import Path

import pytest

from pbal_study.errors import InputError
from pbal_study.feeder.opendss import load_feeder

SMALL = (Path(__file__).parent / "data" / "small.dss").read_text()
pytestmark = pytest.mark.usefixtures("engine")


def feeder(tmp_path: Path, text: str):  # type: ignore[no-untyped-def]
    path = tmp_path / "feeder.dss"
    path.write_text(text)
    return load_feeder(path)


def test_what_is_read_from_a_good_file(tmp_path: Path) -> None:
    found = feeder(tmp_path, SMALL)
    assert found.transformer.name == "t1"
    assert found.transformer.rated_kva == 50
    assert found.transformer.rated_current_a == pytest.approx(50e3 / 400 / 3**0.5)
    assert list(found.phases) == [0, 1, 2, 0, 0, 1]
    assert any("3 of 9 loads stay" in note for note in found.notes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("New Circuit.small", "! New Circuit.small"), "(?i)circuit"),
        (("LineCode=four", "LineCode=absent"), "OpenDSS cannot read"),
        (
            ("Set VoltageBases", "New PVSystem.p Phases=1 Bus1=b1.1.4 kV=0.23\nSet VoltageBases"),
            "1 pvsystem",
        ),
        (
            (
                "Set VoltageBases",
                "New Vsource.second Bus1=b2.1.2.3 basekV=0.4\nSet VoltageBases",
            ),
            "2 voltage sources",
        ),
        (("lv.1.2.3.4", "lv.1.3.2.4"), "Phase B"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        feeder(tmp_path, SMALL.replace(*change))
    assert caught.value.remedy


def test_a_feeder_without_loads(tmp_path: Path) -> None:
    lines = [x for x in SMALL.splitlines() if "Load." not in x and "zipv" not in x]
    with pytest.raises(InputError, match="has no loads"):
        feeder(tmp_path, "\n".join(lines))


def test_a_transformer_can_be_chosen(tmp_path: Path) -> None:
    text = SMALL.replace(
        "Set VoltageBases",
        "New Transformer.t2 Phases=3 Windings=2 Buses=[SourceBus o] kVs=[11 0.4] kVAs=[9 9]\n"
        "Set VoltageBases",
    )
    path = tmp_path / "two.dss"
    path.write_text(text)
    assert load_feeder(path, "T1").transformer.rated_kva == 50
    # The other one feeds nobody, so the choice is clear without a word.
    assert load_feeder(path).transformer.rated_kva == 50
    with pytest.raises(InputError, match="t2 feeds none of the single-phase"):
        load_feeder(path, "t2")
    with pytest.raises(InputError, match="no three-phase transformer 'x'"):
        load_feeder(path, "x")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such feeder file"):
        load_feeder(tmp_path / "none.dss")
    with pytest.raises(InputError, match="is a folder"):
        load_feeder(tmp_path)
