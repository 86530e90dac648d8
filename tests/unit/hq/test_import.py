"""A utility's list of transformers: read with every complaint, shown first, then taken."""

import json

import pytest
from rigs.hq import execute

from pbal_hq.errors import BadInput
from pbal_hq.registry.listing import read_list

HEAD = "code,state,district,division,feeder,name,latitude,longitude,rated_kva,customers\n"


def written(tmp_path, text, name="list.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def rows(tmp_path, text):
    return read_list(written(tmp_path, text))


def test_a_row_is_what_it_says(tmp_path):
    (row,) = rows(tmp_path, HEAD + 'TR-1,KL,ERN,ALU,F12,"Mill,  north",10.1,76.35,100,42\n')
    assert (row.code, row.path, row.line) == ("TR-1", ("KL", "ERN", "ALU", "F12"), 2)
    assert row.values == {
        "name": "Mill, north", "latitude": 10.1, "longitude": 76.35, "rated_kva": 100.0,
        "customers": 42,
    }  # fmt: skip


def test_what_a_spreadsheet_writes_is_read(tmp_path):
    text = (
        "\ufeffDT Code;State;District;Division;Feeder;kVA\r\n007;KL;ERN;ALU;F12;62,5\r\n;;;;;\r\n"
    )
    path = written(tmp_path, text)
    (row,) = read_list(path, {"code": "dt code", "rated_kva": "kVA"})
    assert (row.code, row.values) == ("007", {"rated_kva": 62.5})


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ("TR-1,KL,ERN,ALU,F12,,10,,100,1", "both or neither"),
        ("TR-1,KL,ERN,ALU,F12,,0,0,100,1", "are 0, 0"),
        ("TR-1,KL,ERN,ALU,F12,,91,76,100,1", "latitude: 91 is outside -90..90"),
        ("TR-1,KL,ERN,ALU,F12,,,,nan,1", "rated_kva: nan is outside"),
        ("TR-1,KL,ERN,ALU,F12,,,,ten,1", "rated_kva: 'ten' is no number"),
        ("TR-1,KL,ERN,ALU,F12,,,,100,1.5", "customers: 1.5 is no whole number"),
        ("TR-1,KL,,ALU,F12,,,,100,1", "district: is empty"),
        (",KL,ERN,ALU,F12,,,,100,1", "code: is empty"),
        ("TR-1,KL,ERN,ALU,F1/2,,,,100,1", "a slash separates areas"),
        ("TR\v1,KL,ERN,ALU,F12,,,,100,1", "code: holds a control character"),
        ("TR\a1,KL,ERN,ALU,F12,,,,100,1", "code: holds a control character"),
        ("TR-1,KL,ERN,ALU,F12,,,,100", "has 9 cells, the head 10"),
        (f"{'T' * 65},KL,ERN,ALU,F12,,,,100,1", "more than 64 characters"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, cells, why):
    good = "TR-0,KL,ERN,ALU,F12,,,,100,1\n"
    with pytest.raises(BadInput, match="line 3") as said:
        rows(tmp_path, HEAD + good + cells + "\n")
    assert why in str(said.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (HEAD, "lists no transformer"),
        ("", "has no column 'code'; it has none"),
        ("code,state,district,division\n", "has no column 'feeder'.*--column feeder=NAME"),
        ("code," + HEAD, "two columns are named 'code'"),
        (HEAD + "T,K,E,A,F,,,,1,1\nT,K,E,A,F,,,,1,1\n", "line 3, code: T is on line 2, too"),
        (HEAD + 'T,K,E,A,F,"x,,,1,1\n', "line 2"),
        (b"\xff\xfe" + HEAD.encode(), "no UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_used_is_said(tmp_path, text, why):
    with pytest.raises(BadInput, match=why):
        rows(tmp_path, text)


def test_many_complaints_are_counted(tmp_path):
    with pytest.raises(BadInput, match="and 10 more"):
        rows(tmp_path, HEAD + "".join(f"T{n},K,E,A,F,,,,x,1\n" for n in range(30)))


def test_a_list_is_shown_first_and_then_taken(run, config, tmp_path):
    where = ("-c", config, "--json")
    first = written(
        tmp_path, HEAD + "TR-1,KL,ERN,ALU,F12,Mill,10.1,76.3,100,42\nTR-2,KL,ERN,ALU,F13,,,,,\n"
    )

    def take(file, *more):
        return json.loads(run("transformer", "import", file, *where, *more).stdout)

    said = take(first)
    assert ([row["code"] for row in said["new"]], said["applied"]) == (["TR-1", "TR-2"], False)
    url = json.loads(run("transformer", "import", first, "--apply", *where).stdout)
    assert url["applied"] is True
    again = take(first, "--apply")
    assert (again["new"], again["changed"], again["same"]) == ([], [], 2)
    second = written(
        tmp_path, HEAD + "TR-2,KL,ERN,ALU,F12,Quay,,,63,\nTR-3,KL,TVM,A,F1,,,,,\n", "2.csv"
    )
    said = take(second)
    assert [row["code"] for row in said["new"]] == ["TR-3"]
    assert {(c["code"], c["what"], c["old"], c["new"]) for c in said["changed"]} == {
        ("TR-2", "place", "KL/ERN/ALU/F13", "KL/ERN/ALU/F12"),
        ("TR-2", "name", "", "Quay"),
        ("TR-2", "rated_kva", None, 63.0),
    }
    assert said["absent"] == ["TR-1"]
    take(second, "--apply", "--retire")
    database = json.loads(run("check-config", *where).stdout)["database"]["url"]
    found = execute(database, "SELECT code, in_service, customers FROM transformer ORDER BY code")
    assert found == [("TR-1", False, 42), ("TR-2", True, None), ("TR-3", True, None)]
    # It is back, and what the list does not say is as it was.
    back = written(tmp_path, "code,state,district,division,feeder\nTR-1,KL,ERN,ALU,F12\n", "3.csv")
    assert take(back, "--apply")["changed"][0]["what"] == "in_service"
    found = execute(database, "SELECT in_service, customers FROM transformer WHERE code = 'TR-1'")
    assert found == [(True, 42)]


def test_a_bad_list_is_exit_code_7(run, config, tmp_path):
    done = run("transformer", "import", written(tmp_path, HEAD + "T,K,E,A,F,,x,,,\n"),
               "-c", config, code=7)  # fmt: skip
    assert "line 2, latitude" in done.stderr
