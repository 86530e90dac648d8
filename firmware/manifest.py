# ruff: noqa: F821
# Freezes the node into a firmware image: make BOARD=... FROZEN_MANIFEST=.../firmware/manifest.py
# boot.py and main.py stay on the file system, so that a person can always replace them.
include("$(PORT_DIR)/boards/manifest.py")
package("pbal_protocol", base_path="../protocol", opt=0)
package("pbal_node", base_path=".", opt=0)
