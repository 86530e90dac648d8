"""Starts the node. Runs after boot.py, which has put the outputs off and left a way in."""

from pbal_node.app import main

main()
