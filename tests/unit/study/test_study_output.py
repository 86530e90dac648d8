"""What is written, where, and what happens to what was there."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from pbal_study import Options
from pbal_study.errors import InputError
from pbal_study.report import files as output


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    output.check_folder(tmp_path / "a" / "b", [])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "report.html").write_text("older")
    output.check_folder(tmp_path / "old", [None, tmp_path / "profiles.csv"])
    assert [p.name for p in (tmp_path / "old").iterdir()] == ["report.html"]


def test_an_input_is_never_written_over(tmp_path: Path) -> None:
    homes = tmp_path / "homes.csv"
    homes.write_text("home,phase\n")
    with pytest.raises(InputError, match="would be written over it"):
        output.check_folder(tmp_path, [None, tmp_path / "x" / ".." / "homes.csv"])


@pytest.mark.parametrize("place", ["/proc/x/y", "FILE/x"])
def test_a_place_that_cannot_be_written_is_named_at_once(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written") as caught:
        output.check_folder(Path(place.replace("FILE", str(tmp_path / "file"))), [])
    assert "serial" not in caught.value.remedy


def test_a_folder_in_the_place_of_a_result_is_named(tmp_path: Path) -> None:
    (tmp_path / "study.json").mkdir()
    with pytest.raises(InputError, match=r"study.json is a folder"):
        output.check_folder(tmp_path, [])


def test_older_results_stay_whole_if_the_new_ones_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in output.FILES:
        (tmp_path / name).write_text("older")
    monkeypatch.setattr(output, "as_dict", lambda study: {})
    monkeypatch.setattr(output, "_summary", lambda study, folder: None)

    def full(study: object, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output, "_durations", full)
    with pytest.raises(OSError, match="No space"):
        output.write_all(SimpleNamespace(), tmp_path, "new")  # type: ignore[arg-type]
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == dict.fromkeys(
        output.FILES, "older"
    )


@pytest.mark.parametrize(
    ("path", "title"), [("oak/Master.dss", "oak/Master.dss"), ("oak/lane_7.dss", "lane_7.dss")]
)
def test_a_study_is_called_by_the_feeders_file(tmp_path: Path, path: str, title: str) -> None:
    assert Options(feeder=tmp_path / path).title == title
