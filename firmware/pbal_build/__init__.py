"""From source and board file to a node's flash: board files read and checked, the image made.

`pbal flash` and the twin take the same bytes from `build_files`.
"""

from .boards import board_names, data_folder, load_board
from .check import Finding, Use, check, uses
from .chips import CHIPS, Chip
from .errors import BuildError
from .image import build_files, compile_file, compiler, module_name, modules, readable
from .schema import Board, FlashPin, Head

__all__ = [
    "CHIPS",
    "Board",
    "BuildError",
    "Chip",
    "Finding",
    "FlashPin",
    "Head",
    "Use",
    "board_names",
    "build_files",
    "check",
    "compile_file",
    "compiler",
    "data_folder",
    "load_board",
    "module_name",
    "modules",
    "readable",
    "uses",
]
