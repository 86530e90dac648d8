"""An engine's environment of Python: what is listed by its hash, and nothing else."""

import re
import stat
import sys

import pytest

from pbal_engines import BadArtifact, Missing, artifacts, environment, environments


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """A folder of lists, a cache, and a Python in whose environments pip is a shell script."""
    (tmp_path / "lists").mkdir()
    monkeypatch.setattr(environments, "FOLDER", tmp_path / "lists")
    monkeypatch.setenv("PBAL_ENGINES", str(tmp_path / "cache"))

    def python(pip, version="3 11"):
        program = tmp_path / "python"
        program.write_text(f"""#!/bin/sh
if [ "$1" = -c ]; then echo {version}; exit; fi
mkdir -p "$3/bin"
cat >"$3/bin/python" <<'END'
#!/bin/sh
for last; do :; done
cat "$last" >>{tmp_path}/installed
echo "$*" >>{tmp_path}/asked
{pip}
END
chmod +x "$3/bin/python"
""")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PBAL_ENGINES_PYTHON", str(program))
        return program

    def write(text, name="e"):
        (tmp_path / "lists" / f"{name}.txt").write_text(text)

    return python, write


LIST = "# made\na==1 \\\n    --hash=sha256:aa\nsetuptools==80 \\\n    --hash=sha256:bb\n"


def test_it_is_made_once_of_what_is_listed(lists, tmp_path):
    python, write = lists
    python("exit 0")
    write(LIST)
    folder = environment("e")
    assert folder.parent == tmp_path / "cache"
    installed = (tmp_path / "installed").read_text()
    # What builds packages comes first.
    assert installed == LIST.removeprefix("# made\n").replace(
        "a==1 \\\n    --hash=sha256:aa\n", "") + "a==1 \\\n    --hash=sha256:aa\n"  # fmt: skip
    for words in (tmp_path / "asked").read_text().splitlines():
        for word in ("--require-hashes", "--no-deps", "--no-build-isolation"):
            assert word in words
    python("exit 1")
    assert environment("e") == folder, "not asked again"
    write(LIST.replace("a==1", "a==2"))
    with pytest.raises(Missing, match="is the network there"):
        environment("e")


def test_what_was_cut_short_is_made_again(lists, tmp_path):
    python, write = lists
    write(LIST)
    python("echo ran out; exit 1")
    with pytest.raises(Missing, match="ran out"):
        environment("e")
    python("exit 0")
    assert (environment("e") / "whole").exists()


def test_another_hash_is_said(lists):
    python, write = lists
    write(LIST)
    python("echo THESE PACKAGES DO NOT MATCH THE HASHES; exit 1")
    with pytest.raises(BadArtifact, match="do not use it"):
        environment("e")


def test_a_python_that_does_not_fit_is_said(lists):
    python, write = lists
    write(LIST)
    program = python("exit 0", version="3 14")
    with pytest.raises(
        Missing, match=re.escape(f"3.11 to 3.12 is needed, and PBAL_ENGINES_PYTHON is {program}")
    ):
        environment("e")
    with pytest.raises(Missing, match="no list of packages none"):
        environment("none")


def test_ours_is_on_path_where_it_fits(monkeypatch):
    monkeypatch.delenv("PBAL_ENGINES_PYTHON", raising=False)
    mine = sys.version_info[:2]
    assert environments.find_python(mine, mine) == sys.executable


def test_every_list_of_ours_is_whole_and_names_no_address():
    for path in artifacts.FOLDER.glob("*.in"):
        text = environments.listing(path.stem)
        assert "://" not in text
        builders, others = environments.split(text)
        for entry in re.split(r"(?<!\\)\n", builders + others):
            assert not entry or re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
        names = set(re.findall(r"(?m)^([\w.-]+)==", text))
        wanted = re.findall(r"(?m)^([\w.-]+)", path.read_text())
        assert set(wanted) <= names
        assert "setuptools==" in builders
        assert "setuptools==" not in others
