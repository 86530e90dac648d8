"""The node's application; docs/node.md describes its modules."""

import sys


def unload(package: str, name: str) -> None:
    """Free the code of a module that is needed once per boot."""
    module = sys.modules.pop(package + "." + name, None)
    if module is not None:
        # A stale pointer somewhere keeps an empty module at most, not all that was in it.
        module.__dict__.clear()
    parent = sys.modules.get(package)
    if parent is not None and hasattr(parent, name):
        delattr(parent, name)
