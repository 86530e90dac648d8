"""`pbal-hq` as a person uses it, from nothing."""

import json
import os
import subprocess
import sys

from rigs.hq import execute


def test_init_again_keeps_what_is_there(run, config, tmp_path):
    pki = tmp_path / "data" / "pki"
    before = {path.name: path.read_bytes() for path in pki.iterdir()}
    said = json.loads(run("init", "-c", config, "--json").stdout)
    assert said["steps"] == []
    assert {path.name: path.read_bytes() for path in pki.iterdir()} == before
    for key in pki.glob("*.key"):
        assert key.stat().st_mode & 0o077 == 0, key
    assert config.stat().st_mode & 0o077 == 0


def test_init_says_what_it_would_not_take(run, config, tmp_path, empty_url):
    """What is given for a new configuration changes nothing in one that is there, nor hides it."""
    before = config.read_bytes()
    again = ("init", "-c", config, "--data", tmp_path / "data", "--database", empty_url)
    run(*again)
    wrong = run("init", "-c", config, "--database", "postgresql://u:Secret@h/x", code=2).stderr
    assert "--database is not its database.url" in wrong
    assert "correct it there" in wrong
    assert "Secret" not in wrong
    assert "--data is not its data" in run("init", "-c", config, "--data", "/x", code=2).stderr
    assert config.read_bytes() == before
    other = tmp_path / "other.toml"
    wrong = run("init", "-c", other, "--database", "mysql://u:Secret@h/x", code=2).stderr
    assert "no connection string" in wrong
    assert not other.exists()


def test_a_site_from_nothing_to_gone(run, config):
    where = ("-c", config)
    run("site", "add", 7, "--transformer", "TR-1", *where, code=6)
    run("transformer", "add", "TR-1", "--in", "KL/ERN/ALU/F12", "--kva", 100, *where)
    run("transformer", "add", "TR-1", "--in", "KL/ERN/ALU/F12", *where, code=7)
    run("transformer", "add", "TR-2", "--in", "KL/ERN", *where, code=7)
    first = run("site", "add", 7, "--transformer", "TR-1", *where).stdout.split()[0]
    second = json.loads(run("site", "token", 7, "--json", *where).stdout)["token"]
    assert first.split(".")[0] == "pbal1"
    assert first != second
    for words in (
        (7, "--node", "x"), (8, "--node", "7"), (8,), (9, "--node", "pbal-hq"),
        (9, "--node", "UP"), (9, "--node", "a/b"), (0,), (9, "--group", "a+b"),
    ):  # fmt: skip
        run("site", "add", *words, "--transformer", "TR-1", *where, code=7)
    assert [row["node"] for row in json.loads(run("site", "list", "--json", *where).stdout)] == [
        "7"
    ]
    # Nothing runs there that could be told, and it says so.
    done = run("site", "revoke", 7, "--why", "test", *where, code=5)
    assert "HQ takes nothing of the site any more" in done.stderr
    run("site", "remove", 7, "--why", "test", *where, code=5)
    run("site", "token", 7, *where, code=6)
    assert json.loads(run("site", "list", "--json", *where).stdout) == []
    assert "removed" in run("site", "list", "--removed", *where).stdout
    url = json.loads(run("check-config", "--json", *where).stdout)["database"]["url"]
    done = [action for (action,) in execute(url, "SELECT action FROM audit ORDER BY id")]
    # Of what was refused there is nothing.
    assert done == ["transformer.add", "site.add", "site.token", "site.revoke", "site.remove"]


def test_without_its_authority_it_says_what_to_do(run, config, tmp_path):
    run("transformer", "add", "TR-1", "--in", "KL/ERN/ALU/F12", "-c", config)
    os.unlink(tmp_path / "data" / "pki" / "ca.key")
    done = run("site", "add", 7, "--transformer", "TR-1", "-c", config, code=3)
    assert "ca.key" in done.stderr
    # The site was not added without a token.
    assert json.loads(run("site", "list", "--json", "-c", config).stdout) == []


def test_many_sites_come_from_a_list_all_or_none(run, config, tmp_path):
    where = ("-c", config)
    for n in (1, 2):
        run("transformer", "add", f"TR-{n}", "--in", "KL/ERN/ALU/F12", *where)
    file, tokens = tmp_path / "sites.csv", tmp_path / "tokens.csv"
    how = ("site", "import", file, "--tokens", tokens, *where)
    run(*how, code=7)
    for text, said in (
        ("site;transformer\n7;TR-1\n", "no column site"),
        ("site,transformer,colour\n7,TR-1,red\n", "column 'colour'"),
        ("site,transformer\n", "lists no site"),
        ("site,transformer\n7,TR-1\n8,TR-2,kerala\n", "line 3: more cells"),
        ("site,transformer\n7,TR-1\nx,TR-2\n", "line 3: site 'x'"),
        ("site,transformer\n7,TR-1\n8,\n", "line 3: no transformer"),
        ("site,transformer\n7,TR-1\n8,TR-9\n", "line 3: "),
        ("site,transformer\n7,TR-1\n8,TR-1\n", "line 3: "),
        ("site,transformer\n7,TR-1\n7,TR-2\n", "line 3: "),
    ):
        file.write_text(text)
        done = run(*how, code=6 if "TR-9" in text else 7)
        assert said in done.stderr, text
        assert not tokens.exists()
        assert json.loads(run("site", "list", "--json", *where).stdout) == []
    file.write_text("site,transformer,group,name\n7,TR-1,kerala,Mill\n8,TR-2,,\n")
    assert json.loads(run(*how, "--json").stdout)["sites"] == 2
    assert tokens.stat().st_mode & 0o077 == 0
    rows = [line.split(",") for line in tokens.read_text().splitlines()]
    assert [row[0] for row in rows] == ["site", "7", "8"]
    assert all(row[1].startswith("pbal1.") for row in rows[1:])
    found = json.loads(run("site", "list", "--json", *where).stdout)
    assert [(s["site"], s["group"], s["name"]) for s in found] == [
        (7, "kerala", "Mill"), (8, "pbal", ""),
    ]  # fmt: skip
    run(*how, code=7)  # the tokens are not written over


def test_a_command_loads_no_library_that_only_the_portal_uses():
    """They are half of what a command or a role needs to start."""
    program = (
        "import sys, pbal_hq.cli.main\n"
        "print(*{'authlib', 'babel', 'fastapi', 'jinja2', 'reportlab'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert done.stdout.split() == []
