"""The wire, once: records, sealed frames and Modbus framing.

The same source runs on CPython (controller, tools) and on MicroPython (node). Nothing is
imported here, so that a node pays only for the modules it uses.
"""

VERSION = 1
