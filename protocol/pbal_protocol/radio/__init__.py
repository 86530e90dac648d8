"""LoRa calculations and data: time on air, regional plans, airtime budget, slot maps, records.

Sans-IO and the same on both interpreters. Nothing is imported here: a node without a radio loads
none of it, and the image of a board without `[radio]` does not carry it.
"""
