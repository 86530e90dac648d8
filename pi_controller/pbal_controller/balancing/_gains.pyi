"""_gains is compiled; its callers check shapes and values themselves."""

from typing import Any

def __getattr__(name: str) -> Any: ...
