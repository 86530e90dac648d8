"""What must not be in a log line, of any room."""

import ast
import functools
import json
import logging

import pytest
from rigs.needs import ROOT

from pbal_host.logs import JsonFormatter
from pbal_hq import logstore
from pbal_hq.config import Config
from pbal_hq.errors import LogsError
from pbal_hq.logstore import rsyslog

# --- what must not be in a log ----------------------------------------------------------------

# Values that are a person's, or a secret. `name` of a home says who lives there.
MEASURED = ("_w", "_va", "_v", "_ma", "_wh", "_kwh")
SECRET = ("password", "passphrase", "secret", "token", "private_key", "root_key", "group_key")


@functools.cache
def calls():
    """(place, call, what its module calls by names) of every log call of controller and HQ."""
    methods = {"debug", "info", "warning", "error", "critical", "exception"}
    found = []
    for package in ("pi_controller/pbal_controller", "hq/pbal_hq", "tools/pbal_host"):
        for path in sorted((ROOT / package).rglob("*.py")):
            given = {}
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    given.setdefault(node.targets[0].id, []).append(node.value)
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                if node.func.attr not in methods:
                    continue
                if ast.unparse(node.func.value) in ("log", "self._log", "logger"):
                    found.append((f"{path.relative_to(ROOT)}:{node.lineno}", node, given))
    return found


def extras(call, given=None):
    """The fields of a call: (name, expression). `given`: what its module calls by a name."""
    for keyword in call.keywords:
        if keyword.arg != "extra":
            continue
        value = keyword.value
        tables = (given or {}).get(value.id, []) if isinstance(value, ast.Name) else [value]
        for table in tables:
            if isinstance(table, ast.Dict):
                for key, each in zip(table.keys, table.values, strict=True):
                    if isinstance(key, ast.Constant):
                        yield key.value, each


def offence(name, value):
    """Why a field may not be logged; "" if it may."""
    words = {node.attr for node in ast.walk(value) if isinstance(node, ast.Attribute)}
    words |= {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    if any(word in SECRET for word in (name, *words)):
        return "a secret"
    if "home.name" in ast.unparse(value):
        return "the name of a home"
    if name.endswith(MEASURED) or any(word.endswith(MEASURED) for word in words):
        return "a measured value"
    return ""


def test_no_log_line_has_a_secret_a_name_or_what_somebody_draws():
    found = []
    for place, call, given in calls():
        for name, value in extras(call, given):
            # An event's id, by which HQ says that it has it, is a hash of the event.
            if (name, ast.unparse(value)) != ("trace", "token.hex()"):
                found += [(place, name, why)] if (why := offence(name, value)) else []
    assert found == []
    assert len(calls()) > 100


@pytest.mark.parametrize(
    "text", ['"home": home.name', '"p": reading.power_w', '"x": config.password', '"token": t']
)
def test_the_rule_finds_what_it_is_for(text):
    ((name, value),) = extras(ast.parse(f"log.info('a', extra={{{text}}})").body[0].value)
    assert offence(name, value)


def test_a_message_is_a_fixed_sentence():
    """Values go into fields, where rsyslog can leave them out."""
    strange = []
    for place, call, _ in calls():
        first = call.args[0]
        if isinstance(first, (ast.JoinedStr, ast.BinOp)) or len(call.args) > 1:
            strange.append(place)
    assert strange == []


def test_only_known_fields_leave_a_site():
    conf = logstore.site_conf(Config())
    for name in ("name", "reason", "place", "host", "addresses", "url", "password", "traceback"):
        assert f"$!line!{name} " not in conf
    logged = {name for _, call, given in calls() for name, _ in extras(call, given)}
    assert set(rsyslog.SITE_FIELDS) - logged == {"not_shown"}


def test_a_field_with_the_name_of_a_secret_is_blank():
    record = logging.makeLogRecord({"msg": "x", "pass_key": "word", "home": 5})
    assert json.loads(JsonFormatter().format(record))["pass_key"] == "***"


def test_errors_of_the_place_are_ours():
    assert LogsError.exit_code == 19
