"""Names of the numbers in records that a node's program does not need: see records.py.

`pbal_protocol.records` has them as well, except on a node, where each name would take room.
"""

# Phases on the wire; 0 is "all contacts open".
OPEN, A, B, C = 0, 1, 2, 3

# Values of `state`: where the selector is (IEC 60947-6-1 words, safety.md).
STATE_BOOT = 0  # nothing proven yet, not even which contact stayed closed
STATE_OPEN = 1  # all contacts open, at rest
STATE_CLOSED = 2  # one contact closed and its output proven live, at rest
STATE_WAITING = 3  # a command is accepted, waiting for a lower current
STATE_OPENING = 4  # open driven, proving the output dead
STATE_DEAD_TIME = 5  # output dead, waiting the dead time
STATE_CLOSING = 6  # close driven, proving the output live
STATE_RETURN = 7  # waiting for good voltage after power came back
STATE_LOCKOUT = 8  # welded contact: needs a person
STATE_SAFE = 9  # safe mode, all open: a contact is in doubt

# Bits of `flags`.
FLAG_FIXED = 0x0001
FLAG_LOCKOUT = 0x0002
FLAG_METER_FAULT = 0x0004
FLAG_SAFE_MODE = 0x0008
FLAG_UNSYNCED = 0x0010
FLAG_EVENTS_PENDING = 0x0020
FLAG_AUTONOMOUS = 0x0040
FLAG_SENSE_FAULT = 0x0080
FLAG_OPTED_OUT = 0x0100

# StatusGet.what
WHAT_HELLO, WHAT_HEALTH, WHAT_RESULT, WHAT_CONFIG = 1, 2, 3, 4

ALL_KEYS = 255  # ConfigGet.key: every key

# SwitchResult.outcome
ACCEPTED, DONE, REFUSED, FAILED, EXPIRED = 1, 2, 3, 4, 5

# SwitchResult.reason
REASON_NONE = 0
REASON_DWELL = 1
REASON_DAILY_CAP = 2
REASON_OVER_CURRENT = 3
REASON_TARGET_OUT_OF_BAND = 4
REASON_LOCKOUT = 5
REASON_FIXED = 6
REASON_WRONG_PHASE = 7
REASON_EXPIRED = 8
REASON_UNSYNCED = 9
REASON_BUSY = 10
REASON_NOT_DEAD = 11
REASON_NOT_LIVE = 12
REASON_SAFE_MODE = 13
REASON_INTERRUPTED = 14
REASON_ALREADY_THERE = 15
REASON_NOT_YET_VALID = 16

# Event.code
EVENT_BOOT = 1
EVENT_WELDED = 2
EVENT_AUTONOMOUS_TRANSFER = 3
EVENT_POWER_RETURN = 4
EVENT_TRANSFER_INTERRUPTED = 5
EVENT_METER_FAULT = 6
EVENT_METER_OK = 7
EVENT_LOCKOUT_CLEARED = 8
EVENT_AUTH_FAILURES = 9
EVENT_CONFIG_CHANGED = 10
EVENT_PHASE_LOST = 11
EVENT_SAFE_MODE = 12
EVENT_CRASH = 13
EVENT_WATCHDOG = 14
EVENT_SENSE_FAULT = 15
EVENT_FLASH_ERROR = 16
EVENT_UPDATE_STARTED = 17
EVENT_UPDATE_DONE = 18
EVENT_UPDATE_FAILED = 19
EVENT_INRUSH = 20
EVENT_DEFECT = 21
EVENT_CLOCK_MOVED = 22
EVENT_COUNTERS_SPENT = 23
EVENT_CONTACT_FAULT = 24
EVENT_WRITES_REFUSED = 25

# Event.severity
INFO, WARNING, ALARM = 0, 1, 2

# Ack.result and ConfigValue.result
RESULT_OK = 0
RESULT_UNKNOWN_KEY = 1
RESULT_OUT_OF_RANGE = 2
RESULT_REFUSED = 3
RESULT_FLASH_ERROR = 4

# Update.op
OP_OFFER, OP_DATA, OP_STATUS, OP_COMMIT, OP_ABORT = 1, 2, 3, 4, 5

# UpdateStatus.stage
STAGE_IDLE = 0  # nothing offered, or the factory application runs undisturbed
STAGE_CHECKING = 1  # busy: verifying a signature, copying or hashing files
STAGE_RECEIVING = 2  # waits for data at `next`
STAGE_READY = 3  # complete and verified in the spare slot
STAGE_RESTARTING = 4  # committed, about to restart
STAGE_TRIAL = 5  # runs on trial
STAGE_GOOD = 6  # runs, and has proven itself
STAGE_FAILED = 7  # given up; `why` says for what

# UpdateStatus.why, and arg0 of EVENT_UPDATE_FAILED
WHY_NONE = 0
WHY_NO_KEY = 1  # this node has no release key: it takes no updates
WHY_SIGNATURE = 2
WHY_MANIFEST = 3  # not what was signed, or not understood
WHY_BOARD = 4  # made for other boards
WHY_VERSION = 5  # not newer than what runs, and not signed as a downgrade
WHY_SPACE = 6
WHY_HASH = 7  # a file was received three times and never matched the manifest
WHY_FLASH = 8
WHY_BUSY = 9  # between two phases: ask again
WHY_INTERNAL = 10
WHY_IMPORT = 11  # the new application could not be loaded
WHY_CRASHED = 12  # it used up its trial boots
WHY_DAMAGED = 13  # its files do not match the signed manifest
WHY_UNPROVEN = 14  # it did not prove itself in time
WHY_ABORTED = 15
