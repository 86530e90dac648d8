"""Two rsyslogs as `pbal-hq logs rsyslog` has them, and what controller and HQ log sent there."""

import contextlib
import datetime
import logging

from pbal_engines import Service
from pbal_host.logs import JsonFormatter
from pbal_hq import logs, logstore
from pbal_hq.ca import Pki, write_private
from rigs.journal import Journal


class _ToJournal(logging.Handler):
    def __init__(self, journal):
        super().__init__()
        self._journal = journal

    def emit(self, record):
        self._journal.say(self.format(record))


class Shipping:
    """Two rsyslogs as `pbal-hq logs rsyslog` has them: the Pi's reads a journal, HQ's a file."""

    def __init__(self, config, folder, road):
        self.file = folder / "hq.log"
        self.file.touch()
        self.journal = Journal(folder)
        pki = folder / "etc"
        pki.mkdir()
        (pki / "hq-ca.crt").write_bytes(Pki(config.data / "pki").ca.read_bytes())
        own = Pki(folder / "own").make("a site", datetime.datetime.now(datetime.UTC))
        issued = own.client_with_key("site", 10, datetime.datetime.now(datetime.UTC))
        (pki / "logs.crt").write_bytes(issued.pem)
        write_private(pki / "logs.key", issued.key)
        self.services = {}
        for name in ("hq", "site"):
            spool = folder / f"{name}-spool"
            spool.mkdir()
            how = {"spool": spool, "retry_s": 1}
            text = (
                logstore.hq_conf(config, file=self.file, **how) if name == "hq"
                else logstore.site_conf(config, pki=pki, **how)
            )  # fmt: skip
            own = folder / f"{name}.conf"
            own.write_text(text)
            whole = folder / f"{name}-rsyslog.conf"
            whole.write_text(f'global(workDirectory="{spool}")\ninclude(file="{own}")\n')
            words = ["/usr/sbin/rsyslogd", "-n", "-f", whole, "-i", spool / "pid"]
            words = (
                road.hq.words(*words) if name == "hq"
                else road.pi.computer.words(*self.journal.read_by(*words))
            )  # fmt: skip
            self.services[name] = Service(f"rsyslog-{name}", words, folder / f"{name}-rsyslog")

    def __enter__(self):
        for service in self.services.values():
            service.start()
        return self

    def __exit__(self, *error):
        for service in self.services.values():
            print(service.name, service.weigh(), service.tail(400))
            service.stop()
        self.journal.close()


@contextlib.contextmanager
def logging_to(shipping):
    """What the controller and HQ's roles log here goes where their processes would."""
    kept = []
    try:
        for name, handler, context in (
            ("pbal_controller", _ToJournal(shipping.journal), dict),
            ("pbal_hq", logging.FileHandler(shipping.file), logs._context),
        ):
            handler.setFormatter(JsonFormatter(context))
            logger = logging.getLogger(name)
            kept.append((logger, handler, logger.level))
            logger.addHandler(handler)
            logger.setLevel("INFO")
        yield
    finally:
        for logger, handler, level in kept:
            logger.removeHandler(handler)
            logger.setLevel(level)
            handler.close()
