"""The wire protocol, defined once: records, sealed frames and Modbus framing.

The same source runs on CPython (controller, tools) and on MicroPython (node). Nothing is
imported here, so that a node loads only the modules it uses.
"""

VERSION = 1
