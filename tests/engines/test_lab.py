"""`pbal-hq lab`: an engine that goes on running between commands."""

import json
import socket
import ssl

import pytest
from rigs.hq import config, empty_url, postgres, run  # noqa: F401
from rigs.needs import missing

from pbal_engines import Missing, fetched, find_java

pytestmark = [pytest.mark.engine, pytest.mark.keeps_processes, pytest.mark.timeout(300)]


def test_kafka_comes_up_is_weighed_and_goes_down(config, run, tmp_path):  # noqa: F811
    try:
        find_java()
        fetched("kafka")
    except Missing as error:
        missing("what Kafka needs", str(error))
    assert "nothing runs" in run("lab", "status", "-c", config).stdout
    try:
        told = json.loads(run("lab", "up", "kafka", "-c", config, "--json").stdout)["kafka"]
        host, port = told["servers"].split(":")
        again = run("lab", "up", "kafka", "-c", config, code=10).stderr
        assert "is up already" in again
        (seen,) = json.loads(run("lab", "status", "-c", config, "--json").stdout)
        assert seen["running"]
        assert 50 < seen["memory_mb"] < 1500
        # HQ's authority is trusted, and who has no certificate is sent away.
        context = ssl.create_default_context(cafile=str(tmp_path / "data" / "pki" / "ca.crt"))
        with (
            socket.create_connection((host, int(port)), 10) as raw,
            context.wrap_socket(raw, server_hostname="localhost") as tls,
        ):
            assert tls.version() == "TLSv1.3"
            with pytest.raises(OSError, match=r"(?i)certificate"):
                tls.recv(1)
    finally:
        run("lab", "down", "-c", config)
    assert "nothing runs" in run("lab", "status", "-c", config).stdout
    assert "nothing of that runs" in run("lab", "down", "-c", config, code=6).stderr
