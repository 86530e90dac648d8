"""Formats a flash image and fills it with files: run once, the result is copied per chip."""

import struct
import sys

import vfs
from _flash import Flash


def run(flash, size, fd):
    pack = open(fd, "rb")
    device = Flash(flash, size)
    vfs.VfsLfs2.mkfs(device, progsize=32, readsize=32, lookahead=32)
    root = vfs.VfsLfs2(device, progsize=32, readsize=32, lookahead=32)
    made = set()
    while True:
        head = pack.read(6)
        if len(head) < 6:
            break
        name_len, size_ = struct.unpack("<HI", head)
        path = pack.read(name_len).decode()
        data = pack.read(size_)
        parts = path.strip("/").split("/")[:-1]
        for i in range(len(parts)):
            folder = "/" + "/".join(parts[: i + 1])
            if folder not in made:
                made.add(folder)
                try:
                    root.mkdir(folder)
                except OSError:
                    pass
        f = root.open(path, "wb")
        f.write(data)
        f.close()
    # sys.implementation cannot be walked by name here; its text says it all.
    print(sys.implementation)
    print(sys.version)
