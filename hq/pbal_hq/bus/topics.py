"""The topics. Values are JSON but for RAW; keys are `group/node` of a site."""

RAW = "hq.spb.raw"  # "KIND qos\n" and the payload, as it came from the broker
SUMMARY = "hq.summary"
EVENT = "hq.event"
STATE = "hq.state"  # births, deaths, states
ALARM = "hq.alarm"  # what Storm's detectors say of a site's windows
OUT = "hq.out"  # for the bridge: rebirths to ask for, what is stored
DEAD = "hq.dead"  # what could not be used, with the reason
# Compacted: of each key the latest value only.
NODE = "hq.spb.node"  # the decoder's state of a node: aliases, seq, bdSeq

COMPACTED = (NODE,)
ALL = (RAW, SUMMARY, EVENT, STATE, ALARM, OUT, DEAD)
