"""What engines are made of: only what is listed, and nothing whose hash is another."""

import hashlib
import re
import stat

import pytest

from pbal_engines import BadArtifact, Missing, artifacts, fetch, find_java
from pbal_engines.artifacts import Jar

# In Maven's place: writes each jar that the project asks for, with the content `name`.
MAVEN = """#!/usr/bin/env python3
import re, sys, pathlib
pom = pathlib.Path(sys.argv[sys.argv.index("-f") + 1]).read_text()
out = pathlib.Path(re.search("<outputDirectory>(.*?)</", pom)[1])
for a, v in re.findall("<artifactId>([^<]*)</artifactId><version>([^<]*)</version></art", pom):
    (out / f"{a}-{v}.jar").write_text(a)
print("[ERROR] no network")
sys.exit(%d)
"""


def hashed(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """A folder of lists, a cache, and a Maven that ends with a code."""
    (tmp_path / "lists").mkdir()
    monkeypatch.setattr(artifacts, "FOLDER", tmp_path / "lists")
    monkeypatch.setenv("PBAL_ENGINES", str(tmp_path / "cache"))

    def maven(code=0):
        program = tmp_path / "mvn"
        program.write_text(MAVEN % code)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PBAL_MAVEN", str(program))

    maven()

    def write(name="e", **jars):
        text = 'wanted = ["g:a:1"]\n[sha256]\n'
        text += "".join(f'"g:{jar}:1" = "{digest}"\n' for jar, digest in jars.items())
        (tmp_path / "lists" / f"{name}.toml").write_text(text)

    return write, maven


def test_what_is_listed_is_fetched_once_and_checked_each_time(lists):
    write, maven = lists
    write(a=hashed("a"), b=hashed("b"))
    folder = artifacts.fetched("e")
    assert sorted(p.name for p in folder.iterdir()) == ["a-1.jar", "b-1.jar"]
    maven(code=1)  # not asked again
    assert artifacts.fetched("e") == folder
    assert artifacts.classpath("e") == f"{folder}/*"
    (folder / "a-1.jar").write_text("something else")
    with pytest.raises(BadArtifact, match="do not use it"):
        artifacts.fetched("e")
    (folder / "a-1.jar").unlink()
    with pytest.raises(BadArtifact, match="is missing"):
        artifacts.fetched("e")


def test_what_comes_with_another_hash_is_not_kept(lists, tmp_path):
    write, _ = lists
    write(a=hashed("what was tested"))
    with pytest.raises(BadArtifact, match="SHA-256"):
        artifacts.fetched("e")
    assert [p for p in (tmp_path / "cache").iterdir() if p.is_dir()] == []


def test_no_network_is_said_with_mavens_own_words(lists):
    write, maven = lists
    write(a=hashed("a"))
    maven(code=1)
    with pytest.raises(Missing, match=r"settings\.xml[\s\S]*no network"):
        artifacts.fetched("e")


def test_a_list_that_is_not_there_or_empty_says_what_to_do(lists):
    write, _ = lists
    with pytest.raises(Missing, match="there is no list"):
        artifacts.fetched("none")
    write()
    with pytest.raises(Missing, match="relist e"):
        artifacts.fetched("e")


def test_every_list_of_ours_is_whole_and_names_no_address():
    for name in artifacts.names():
        found = artifacts.listed(name)
        jars = {jar.name for jar in found.jars}
        assert {each.removesuffix(":!") for each in found.wanted} <= jars
        assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in found.jars)
        assert len({jar.file for jar in found.jars}) == len(found.jars), "two in one file"
        assert "//" not in (artifacts.FOLDER / f"{name}.toml").read_text()
    assert Jar("g:a:1:tests", "").file == "a-1-tests.jar"


def test_a_java_of_another_version_is_told_apart(tmp_path, monkeypatch):
    other = tmp_path / "bin" / "java"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    other.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setattr("pbal_engines.java._candidates", lambda: [other])
    with pytest.raises(Missing, match=r"Java 17.*is 11"):
        find_java()


def test_all_that_is_listed_is_fetched_before_it_is_needed(lists, monkeypatch, capsys):
    write, maven = lists
    write(a=hashed("a"))
    write("f", b=hashed("another"))
    write("g", c=hashed("c"))
    monkeypatch.setattr("sys.argv", ["fetch"])
    assert fetch.main() == 1, "one is not what was tested"
    said = capsys.readouterr()
    assert re.search(r"^e: .*/e-\w+\ng: .*/g-\w+$", said.out.strip()), "the others all the same"
    assert said.err.startswith("f: ")
    assert "do not use it" in said.err
    maven(code=1)  # not asked again
    monkeypatch.setattr("sys.argv", ["fetch", "e", "g"])
    assert fetch.main() == 0
    monkeypatch.setattr("sys.argv", ["fetch", "h"])
    assert fetch.main() == 1
    assert "no list of artifacts h" in capsys.readouterr().err


def test_so_is_an_environment_of_python(lists, monkeypatch, capsys):
    (artifacts.FOLDER / "p.txt").write_text("a==1 --hash=sha256:aa\n")
    monkeypatch.setattr(fetch, "environment", lambda name: f"made of {name}")
    monkeypatch.setattr("sys.argv", ["fetch"])
    assert fetch.main() == 0
    assert capsys.readouterr().out == "p: made of p\n"
