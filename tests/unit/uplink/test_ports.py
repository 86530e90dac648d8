"""Ports that programs under test listen on: nobody else gets them meanwhile."""

import socket
import subprocess
import sys

import pytest

from pbal_sim.hq import free_port, ports

ASK = "from pbal_sim.hq import free_port\nprint(*(free_port() for _ in range(50)))\ninput()"


def test_no_port_is_given_out_twice_and_no_connection_that_goes_out_gets_one(monkeypatch):
    # So few that two who do not know of each other would soon choose the same.
    few = 130
    monkeypatch.setattr(ports, "_outgoing_from", lambda: ports._LOWEST + few)
    monkeypatch.setattr(ports, "_LEAST", few)
    monkeypatch.setattr(ports, "_noted", [])
    code = (
        "from pbal_sim.hq import ports\n"
        f"ports._outgoing_from = lambda: ports._LOWEST + {few}\nports._LEAST = {few}\n{ASK}"
    )
    try:
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            theirs = [int(word) for word in other.stdout.readline().split()]
            ours = [free_port() for _ in range(50)]
            other.communicate("\n", timeout=60)
        assert len({*theirs, *ours}) == 100
        assert max(theirs + ours) < ports._LOWEST + few
    finally:
        for mark in ports._noted:
            mark.close()


def test_a_port_that_somebody_listens_on_is_not_given_out(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not ports._free(taken.getsockname()[1])
    assert ports._free(free_port())


@pytest.mark.parametrize("text", ["1024\t65535\n", "words\n", None])
def test_where_the_system_leaves_no_room_there_is_one_all_the_same(tmp_path, monkeypatch, text):
    file = tmp_path / "range"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(ports, "_RANGE", file)
    assert 1024 <= free_port() < 65536
