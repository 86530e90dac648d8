"""Starts the node. Runs after boot.py, which has put the outputs off and left a way in."""

import gc

# Loading leaves garbage between what stays; collected late, it leaves a heap full of holes.
gc.threshold(4096)

from pbal_node.app import main  # noqa: E402

gc.collect()
gc.threshold(-1)
main()
