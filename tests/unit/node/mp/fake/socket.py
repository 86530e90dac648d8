"""A stand-in for `socket` with datagrams alone: what arrives is what a test brings."""

import io

AF_INET, SOCK_DGRAM = 2, 2
made = []
fails = {}  # what -> error number


def connected():
    """The socket towards the controller, None while there is none."""
    for one in reversed(made):
        if one.to and one.open:
            return one
    return None


def getaddrinfo(host, port):
    for part in host.split("."):
        int(part)  # a name would be looked up, and stand still meanwhile
    return [(AF_INET, SOCK_DGRAM, 0, "", (host, port))]


class socket(io.IOBase):
    def __init__(self, family, kind):
        if "socket" in fails:
            raise OSError(fails["socket"])
        made.append(self)
        self.to = None
        self.inbox = []
        self.sent = []  # (datagram, to)
        self.open = True
        self.waits = True
        self.answer = None  # answer(datagram) -> datagrams that come back
        self.broken = 0
        self.flood = b""  # comes for ever

    def setblocking(self, waits):
        self.waits = waits

    def connect(self, to):
        if "connect" in fails:
            raise OSError(fails["connect"])
        self.to = to

    def close(self):
        self.open = False

    def any(self):
        return len(self.inbox) or self.broken or len(self.flood)

    def readinto(self, buf):
        assert not self.waits and self.open
        if self.broken:
            raise OSError(self.broken)
        if not self.inbox and not self.flood:
            return None
        data = self.inbox.pop(0) if self.inbox else self.flood
        n = min(len(data), len(buf))
        buf[:n] = data[:n]
        return n

    def write(self, data):
        return self.sendto(data, self.to)

    def sendto(self, data, to):
        assert self.open
        if "write" in fails:
            raise OSError(fails["write"])
        self.sent.append((bytes(data), to))
        if self.answer:
            self.inbox += self.answer(bytes(data))
        return len(data)

    def ioctl(self, request, arg):
        return 1 if request == 3 and self.any() else 0
