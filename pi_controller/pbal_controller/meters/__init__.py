"""The transformer's own meter."""

from pbal_controller.meters.transformer import (
    SDM630_BLOCKS,
    FileMeter,
    TransformerReading,
    make_meter,
    sdm630_decode,
)

__all__ = ["SDM630_BLOCKS", "FileMeter", "TransformerReading", "make_meter", "sdm630_decode"]
