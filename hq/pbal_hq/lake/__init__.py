"""The data lake: all summaries and events as Parquet, in a folder, on an NFS mount or on HDFS.

place    where it is: files that are there whole or not at all
keys     its encryption
columns  its columns, from the declarations of the messages
files    hours and days; merging, compaction
writer   from the bus into the lake
verify   the lake's figures beside the store's;  replay: back onto the bus
scan     its rows as tables for questions (pbal_hq.trends)
"""

from pbal_hq.config import LakeConfig
from pbal_hq.lake.columns import EVENT, KINDS, SUMMARY, Kind
from pbal_hq.lake.files import Lake, Part
from pbal_hq.lake.keys import CREDENTIAL, Sealing, find_keys, with_new_key
from pbal_hq.lake.place import place
from pbal_hq.lake.replay import replay
from pbal_hq.lake.scan import scan
from pbal_hq.lake.verify import Difference, differences
from pbal_hq.lake.writer import LakeWriter, compact, in_thread, locked

__all__ = [
    "CREDENTIAL",
    "EVENT",
    "KINDS",
    "SUMMARY",
    "Difference",
    "Kind",
    "Lake",
    "LakeWriter",
    "Part",
    "compact",
    "differences",
    "find_keys",
    "in_thread",
    "lake_of",
    "locked",
    "replay",
    "scan",
    "with_new_key",
]


def lake_of(config: LakeConfig) -> Lake:
    """The lake that is configured. Its place is not looked at yet. Raises LakeError (keys)."""
    return Lake(place(config.url), Sealing(find_keys(config.key_file)))
