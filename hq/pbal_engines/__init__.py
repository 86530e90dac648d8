"""The engines of a large HQ (Kafka and what runs beside it), the real ones, on this computer.

    fetched(NAME) -> folder      the jars of artifacts/NAME.toml, each checked by its SHA-256
    classpath(NAME, ...)         the same for Java; raises Missing, BadArtifact
    command(MAIN, ARGUMENTS, classpath=..., heap_mb=...)
                                 the words that start a Java class in a bounded heap
    Service(NAME, ARGV, FOLDER)  a process and all that it starts: start, wait, weigh, stop, kill
    Services(FOLDER)             what engines derive from: services that belong together
    Kafka(FOLDER, TLS, USERS)    an engine
    Hdfs, Storm, Druid, OpenSearch   others, each with its FOLDER
    Superset(FOLDER, PASSWORD)   one in Python, in an environment of its own: environment(NAME)
    Machine(NAME, FOLDER, PROGRAMS, USER), PipeWatchdog
                                 programs that are lost together, as with their machine
    lab                          engines that go on running: `pbal-hq lab up kafka`

A new engine: write artifacts/NAME.toml with `wanted`, or NAME.in for one in Python, run
`python -m pbal_engines.relist NAME`,
derive a class from `Services` with `start` and `told`, and put it into lab.ENGINES. One process:

    with Service("prometheus", [PROGRAM, f"--web.listen-address=:{port}"], folder) as s:
        s.wait(http_answers(f"http://127.0.0.1:{port}/-/ready"), "readiness")
        print(s.weigh())

A service ends with the process that started it, unless it is `lasting`. Errors are EngineErrors
whose text says what to do, with the end of the engine's log where it did not start.
"""

from pbal_engines.artifacts import classpath, fetched
from pbal_engines.druid import Druid
from pbal_engines.engine import Services, kept_ports, run_once
from pbal_engines.environments import environment
from pbal_engines.errors import BadArtifact, EngineError, Missing, NotStarted
from pbal_engines.hdfs import Hdfs
from pbal_engines.java import command, find_java
from pbal_engines.kafka import Kafka, Tls
from pbal_engines.machine import Machine, PipeWatchdog
from pbal_engines.opensearch import OpenSearch
from pbal_engines.service import Service, Weight, free_port, http_answers, port_open
from pbal_engines.storm import Storm
from pbal_engines.superset import Superset

__all__ = [
    "BadArtifact",
    "Druid",
    "EngineError",
    "Hdfs",
    "Kafka",
    "Machine",
    "Missing",
    "NotStarted",
    "OpenSearch",
    "PipeWatchdog",
    "Service",
    "Services",
    "Storm",
    "Superset",
    "Tls",
    "Weight",
    "classpath",
    "command",
    "environment",
    "fetched",
    "find_java",
    "free_port",
    "http_answers",
    "kept_ports",
    "port_open",
    "run_once",
]
