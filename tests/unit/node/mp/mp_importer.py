"""Modules are found with one look-up each while the application loads, and as ever afterwards."""

import os
import sys

import support

support.ram_disk()
from pbal_node import importer as importing  # noqa: E402

AT = importing._AT
READS = [0]


class Flash(support.RamBlocks):
    def readblocks(self, block, buf, off=0):
        READS[0] += 1
        super().readblocks(block, buf, off)


def install(root="/lib"):
    """Twenty modules and a package in a fresh flash; forgets what was loaded before."""
    support.vfs.umount("/")
    support.mount(Flash(), True)
    for name in list(sys.modules):
        if name.startswith("pbal_"):
            del sys.modules[name]
    sys.path[:] = ["", ".frozen", root]
    for folder in ("pbal_node", "pbal_protocol", "pbal_node/deep"):
        path = ""
        for part in (root + "/" + folder).split("/")[1:]:
            path += "/" + part
            if part not in os.listdir(path[: path.rfind("/")] or "/"):
                os.mkdir(path)
    support.write_file(root + "/pbal_protocol/__init__.py", "VERSION = 5")
    for n in range(20):
        support.write_file("%s/pbal_node/m%d.py" % (root, n), "import json\nN = %d" % n)
    support.write_file(root + "/pbal_node/deep/x.py", "X = 3")
    support.write_file(root + "/pbal_node/broken.py", "1 / 0")
    support.write_file(root + "/pbal_node/both.py", "WHICH = 'py'")


def load_all():
    """How many reads of flash twenty modules take."""
    READS[0] = 0
    for n in range(20):
        assert getattr(__import__("pbal_node.m%d" % n), "m%d" % n).N == n
    return READS[0]


def found(root="/lib"):
    install(root)
    importer = importing.Importer()
    import pbal_node

    assert pbal_node.__path__ == root + "/pbal_node"
    importer.begin()
    try:
        # By the first the application knows its slot.
        assert sys.path[0] == (root if root.startswith("/app") else ".frozen"), sys.path
        quick = load_all()
        import pbal_node.deep.x
        import pbal_protocol

        assert pbal_node.deep.x.X == 3 and pbal_protocol.VERSION == 5
        for name in ("none", "deep.none", "m1.none"):
            try:
                __import__("pbal_node." + name)
                raise AssertionError(name)
            except ImportError:
                pass
    finally:
        importer.end()
    assert pbal_node.__path__ == root + "/pbal_node"
    assert pbal_node.deep.__path__ == root + "/pbal_node/deep"
    assert pbal_protocol.__path__ == root + "/pbal_protocol"
    assert AT[1:] not in os.listdir("/") and AT not in sys.path
    assert sys.path == ["", ".frozen", root]
    import pbal_node.both

    assert pbal_node.both.WHICH == "py", "nothing is found any more"
    return quick


def with_fewer_reads_of_flash():
    quick = found()
    install()
    slow = load_all()
    print("  %d reads of flash for 20 modules instead of %d" % (quick, slow))
    assert quick < 0.7 * slow


def in_a_slot_of_an_update():
    found("/app/a")


def an_error_while_loading_leaves_all_as_it_was():
    install()
    importer = importing.Importer()
    import pbal_node

    importer.begin()
    try:
        import pbal_node.broken

        raise AssertionError(pbal_node.broken)
    except ZeroDivisionError:
        pass
    finally:
        importer.end()
    importer.end()
    assert AT[1:] not in os.listdir("/") and pbal_node.__path__ == "/lib/pbal_node"
    assert load_all()


def what_is_loaded_in_two_steps_is_found_as_quickly():
    """start.py loads the application so, and the application its parts."""
    counts = []
    for quick in (False, True):
        install()
        for n in range(10):
            support.write_file("/lib/pbal_protocol/p%d.py" % n, "N = %d" % n)
        importer = importing.Importer()
        import pbal_node  # noqa: F401

        if quick:
            for _ in range(2):
                importer.end()
                importer.begin()
        import pbal_protocol

        READS[0] = 0
        for n in range(10):
            assert getattr(__import__("pbal_protocol.p%d" % n), "p%d" % n).N == n
        counts.append(READS[0])
        importer.end()
        assert pbal_protocol.__path__ == "/lib/pbal_protocol"
    assert counts[1] < 0.7 * counts[0], counts


def what_the_chip_compiles_by_itself_is_source():
    install()
    importer = importing.Importer()
    import pbal_node

    importer.begin()
    for name in ("_fast", "plain"):
        support.write_file("/lib/pbal_node/%s.py" % name, "WHICH = 'py'")
        support.write_file("/lib/pbal_node/%s.mpy" % name, "no bytecode")
    try:
        import pbal_node._fast

        assert pbal_node._fast.WHICH == "py"
        try:
            import pbal_node.plain

            raise AssertionError(pbal_node.plain)
        except ValueError:  # incompatible .mpy file
            pass
    finally:
        importer.end()


def frozen_modules_are_left_alone():
    install()
    import pbal_node

    pbal_node.__path__ = ".frozen/pbal_node"
    importer = importing.Importer()
    importer.begin()
    assert pbal_node.__path__ == ".frozen/pbal_node" and AT[1:] not in os.listdir("/")
    importer.end()
    assert pbal_node.__path__ == ".frozen/pbal_node"


def where_it_cannot_work_the_start_is_slow():
    install()
    import pbal_node

    real = importing.vfs

    class Vfs:
        def mount(self, *what):
            raise OSError(1)

        umount = mount

    importing.vfs = Vfs()
    try:
        importer = importing.Importer()
        importer.begin()
        assert sys.path == ["", ".frozen", "/lib"] and pbal_node.__path__ == "/lib/pbal_node"
        assert load_all()
        importer.end()
    finally:
        importing.vfs = real
    load_all()


def compiled_files_count_first():
    install()
    importer = importing.Importer()
    import pbal_node

    importer.begin()
    support.write_file("/lib/pbal_node/both.mpy", "no bytecode")
    try:
        import pbal_node.both

        raise AssertionError(pbal_node.both)
    except ValueError:  # incompatible .mpy file
        pass
    finally:
        importer.end()


support.run(
    [
        with_fewer_reads_of_flash,
        in_a_slot_of_an_update,
        an_error_while_loading_leaves_all_as_it_was,
        what_is_loaded_in_two_steps_is_found_as_quickly,
        what_the_chip_compiles_by_itself_is_source,
        frozen_modules_are_left_alone,
        where_it_cannot_work_the_start_is_slow,
        compiled_files_count_first,
    ]
)
