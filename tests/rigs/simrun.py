"""`pbal sim run` as a process of its own."""

import os
import subprocess

from rigs import needs


def start(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [needs.require_tool("pbal"), "sim", "run", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TERM": "dumb", "PYTHONUNBUFFERED": "1"},
    )
