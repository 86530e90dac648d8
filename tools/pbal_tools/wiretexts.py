"""The texts of docs/wire.md: what each record is for and what each field means.

The numbers come from pbal_protocol; the texts are here so that a node does not store them. A test
fails when a field has no text, or a text has no field.
"""

RECORDS = {
    "Telemetry": "One reading of a home, in every answer to a poll.",
    "Hello": "Who the node is; sent after each boot until its clock is set, and when asked.",
    "Switch": "Move the home to another phase. Executed once per command_id, and only while "
    "issued_s <= site time <= expires_s.",
    "SwitchResult": "What became of a Switch; repeated until a ResultAck names it.",
    "Event": "Something happened; repeated until an EventAck covers its seq.",
    "EventAck": "All events up to and including seq are stored; the node forgets them.",
    "Config": "Set one setting (see the table of settings).",
    "ConfigGet": "Ask for one setting, or for all with key 255.",
    "ConfigValue": "A setting as it is now, in answer to Config and ConfigGet.",
    "TimeSync": "Site time. The first one after a boot must be for this node alone and echo the "
    "nonce of its latest Hello within 60 s; the clock is set back by more than 2 s only by one "
    "that echoes it within 5 s.",
    "MeasureNow": "Take a reading at once, all nodes together.",
    "Health": "Counters and margins of the node itself.",
    "Ack": "A frame without an answer of its own was acted on.",
    "ResultAck": "The result of this command is stored; the node stops repeating it.",
    "StatusGet": "Ask for a Hello, a Health, the last SwitchResult or all settings.",
    "GroupKey": "With a key: open group frames with it from now on, and forget the one before "
    "with the first group frame it opens, or after 24 h. Without one: prove which key you hold. "
    "Answered by a GroupProof, for a key after it is in flash.",
    "GroupProof": "The newest group key that the node holds, and the proof that it does.",
    "Update": "One step of an application update (docs/ota.md); answered by an UpdateStatus.",
    "UpdateStatus": "How far an application update has come, in answer to an Update.",
    "CompactTelemetry": "A reading of a home over a radio, where each byte costs airtime. What it "
    "leaves out comes in every n-th reading, which is a Telemetry.",
    "Beacon": "Begins a round on a radio channel, or a repair in it: who sends when. Moves a "
    "clock only within the band of other group frames.",
    "SlotAssign": "The slot of a node in the rounds of a radio channel.",
    "TelemetryGet": "Let the next reading be a Telemetry, and with `every` from then on each n-th.",
}

FIELDS = {
    "time_s": "site time in unix seconds; 0 while the clock is not set",
    "va_v": "supply voltage, phase A to neutral",
    "vb_v": "supply voltage, phase B to neutral",
    "vc_v": "supply voltage, phase C to neutral",
    "vout_v": "voltage at the home, behind the selector",
    "current_a": "current of the home, r.m.s.",
    "p_w": "active power, positive when the home consumes",
    "q_var": "reactive power, positive when inductive",
    "e_import_wh": "energy consumed since the meter was made",
    "e_export_wh": "energy fed back",
    "freq_hz": "mains frequency",
    "phase": "the contact that is closed now (0 open, 1 A, 2 B, 3 C)",
    "state": "where the selector is",
    "flags": "see flags",
    "age_ms": "age of the reading when the frame was sealed",
    "dwell_left_s": "how long the node will still refuse to switch",
    "switches_today": "switchings counted against the daily cap",
    "eui": "the node's EUI-64",
    "nonce": "random number of this Hello; TimeSync and Health echo it, 0 to a group",
    "boots": "boots since the node was made",
    "reset_cause": "as the port's machine.reset_cause() reports it",
    "down_floor": "no down frame with a counter up to this one will be opened",
    "fw_version": "major * 65536 + minor * 256 + patch",
    "board": "id of the board file",
    "command_id": "number of the command, never reused",
    "to_phase": "the phase to close (1 A, 2 B, 3 C)",
    "from_phase": "the phase the sender believes closed (0 open)",
    "issued_s": "site time at which the command was made",
    "expires_s": "site time after which it is refused",
    "outcome": "see outcomes",
    "reason": "see reasons",
    "transfer_ms": "time without supply; 0 when nothing moved",
    "lifetime_switches": "switchings since the node was made",
    "seq": "running number",
    "code": "see events",
    "severity": "0 information, 1 warning, 2 alarm",
    "arg0": "depends on the code",
    "arg1": "depends on the code",
    "key": "which setting",
    "value": "its value",
    "result": "see results",
    "time_ms": "milliseconds within time_s",
    "uptime_s": "time since the boot",
    "heap_free": "free heap after a collection",
    "heap_used_max": "most heap ever in use",
    "loop_max_ms": "longest time any one step held the event loop",
    "bad_crc": "Modbus frames with a wrong checksum",
    "auth_failed": "sealed frames whose tag did not match",
    "replayed": "sealed frames refused as seen before",
    "malformed": "frames refused for their form",
    "expired": "commands refused as too old",
    "flash_writes": "writes to flash",
    "meter_errors": "readings that failed",
    "counter": "counter of the down frame that is acknowledged",
    "generation": "number of the group key, counted up with each rotation",
    "challenge": "random number of the GroupKey; the GroupProof echoes it",
    "group_key": "32 bytes, the group frames' own key (not the root it is derived from); 0: ask",
    "proof": "see the proof of a group key, above",
    "op": "see update orders",
    "at": "offer: bytes of the manifest; data: place of `data` in the stream of manifest and files",
    "data": "offer: SHA-256 of the manifest (32), signature (64); data: bytes of the stream; "
    "commit and abort: the digest's first 8 bytes",
    "digest": "first 8 bytes of the SHA-256 of the manifest concerned; zeros for none",
    "stage": "see update stages",
    "why": "see update failures",
    "slot": "UpdateStatus: the slot that runs, 0 factory, 1 a, 2 b; SlotAssign: its number among "
    "those of its spreading factor",
    "next": "place in the stream of the next byte the node wants",
    "want": "how many bytes it wants from there on; 0 while it is busy or done",
    "running": "version that runs, major * 65536 + minor * 256 + patch",
    "time_low_s": "the low 16 bits of the site time in unix seconds",
    "p_kw": "active power, positive when the home consumes",
    "age_s": "age of the reading when the frame was sealed, rounded up",
    "dwell_left_min": "how long the node will still refuse to switch, rounded up",
    "heard_snr_db": "signal to noise ratio of the latest beacon that this node heard",
    "missed": "beacons not heard since the clock of the node was set, up to 255",
    "round": "running number of the round, from 0 again after 65535",
    "map_version": "number of the slot map that these slots are of",
    "repair": "0 begins a round; 1 and more ask those again that were not heard in it",
    "shape": "slots at SF7, SF8, ... SF12, in this order on the air (6 bytes); guard in 0.5 ms; "
    "bytes of a frame in a slot",
    "heard": "bit n of byte m: slot 8 m + n was heard, in the last round or so far in this one",
    "begin_us": "not used, 0: the beacon tells where a slot begins",
    "sf": "spreading factor of the node's frames",
    "every": "readings from one Telemetry to the next; 0 for no change",
    "what": "1 Hello, 2 Health, 3 the last SwitchResult, 4 all settings",
}

INTRO = """\
# The wire

Generated by `python -m pbal_tools.wiredoc` from the declarations in `pbal_protocol`; do not
edit. The same declarations drive the codec, so this page cannot disagree with the bytes.

## Sealed frames

A sealed frame is the same over every bearer.

| part | bytes | contents |
| --- | --- | --- |
| header | 7 | version << 4 \\| kind (1), address (2), counter (4); little endian |
| ciphertext | 1..225 | one or more records |
| tag | 8 | AES-256-CCM, RFC 3610 form |

Version is {version}. Kinds: {kinds}, {explicit} up with a nonce of its own. A frame has at most
{max_frame} bytes. The header is the associated data. The 13-byte nonce is kind (1), site id (4),
address (2), counter (4), two zero bytes; all little endian. A group frame has address 0.

A frame of kind {explicit} has a nonce of {nonce} random bytes between header and ciphertext, and so
at most 213 bytes of records. Header and nonce are its associated data; the 13-byte nonce is kind
(1) and these. Key, counter and window are those of kind 1, of which it is one more frame. A node
sends it while it can not know that a counter alone was never used: before the first proven time of
a start, and as long as its counter is ahead of the time, 6 a second since 2025. Where there is no
room for the nonce, as in a radio's slot, it sends nothing meanwhile.

Keys are 32 bytes, HKDF-SHA256 (RFC 5869) with salt `pbal/1` followed by the site id (4, little
endian):

| key | from | info |
| --- | --- | --- |
| up | the node's root key | `up`, address (2, little endian) |
| down | the node's root key | `down`, address (2, little endian) |
| group | the site's group root | `group` |

Counters only grow. A sender keeps the counter it may use next in durable storage, a block
ahead, so that no reset reuses one. A receiver refuses a counter it has seen, one more than
{window} below the highest, and one at or below its floor; it moves its window only after the
tag matched. A group frame may carry only records marked *group* below; both ends check.

Counter 0 is never sealed and never opened: a poll with it, whatever follows, makes a node answer
with a Hello. So a controller learns the floor before it seals anything.

### The group key

The group key lies in every node, so it is changed over the bus: after a node was revoked, by
schedule, or by hand. Each change is a generation with a group root of its own. A node gets its
key in a frame that only it can open (GroupKey), keeps it in flash, and proves it (GroupProof). The
proof is the 8-byte tag of an empty message without associated data under the group key; its nonce
is 0x80 (1), site id (4), the proving node's address (2), the challenge (4), two zero bytes.

For a while a node opens group frames with the new key and with the one before, each with a replay
floor of its own. The sender's group counter goes on over all generations, so that no counter comes
twice with one key, whichever generation is in use after a crash.

A sender gives a GroupKey a frame of its own: a node that does not know the record refuses the whole
frame, and nothing else is lost with it. A node sends a GroupProof only when it was asked, so a
controller that does not know the record never gets one.

"""


UDP = """\
## In UDP

Over Wi-Fi, Ethernet or PPP, port {port} at the controller. A datagram is one byte, its kind, then
one or more items: address of the node (2, little endian), hints, length, and so many bytes of a
sealed frame.

| kind | direction | items |
| --- | --- | --- |
| {poll:#04x} poll | to nodes | each says what it has to say; the frame may be empty |
| {group:#04x} group | to nodes | group frames, address 0; no answer |
| {frames:#04x} frames | to the controller | what nodes say, asked or not; hints as on Modbus |

A datagram has at most {most} bytes; one of several items goes to, or comes from, a bridge. A node
speaks first. Nothing outside a seal is trusted: the source of a frame that opened says where a home
is.

"""

CARRIED = """\
## What a bridge carries over a radio

On a LoRa channel a sealed frame is sent as it is. A bridge is asked for what its wired neighbours
say, and answers with their frames, several in one:

| frame | bytes |
| --- | --- |
| ask, down | {ask:#04x}, bridge (2, little endian), sf, batches, bytes of one, item ... |
| batch, up | {batch:#04x}, bridge (2, little endian), whether another follows, item ... |

An item is a length and so many bytes of a sealed frame. The first one of an ask is for the bridge
itself: without an authentic one it sends nothing. Neither kind is one of a sealed frame.

"""

MODBUS = """\
## Modbus RTU

RS-485, {baud}. Unit 1..247 is the low byte of the node's address; unit 247 is a node that has no
address yet. A frame ends by its length, which the function code tells; 3.5 characters of
silence ({silence} us above 19200 baud) drop what is incomplete.

Function 100 (0x64, user defined) carries sealed frames:

| PDU | byte 0 | byte 1 | byte 2 | then |
| --- | --- | --- | --- | --- |
| request | 0x64 | op: 0 poll, 1 group (unit 0, no answer) | length | nothing, or a sealed frame |
| response | 0x64 | hints: bit 0 more pending, bit 1 urgent event | length | one sealed frame |

The frame in a poll is acted on before the answer is made. Hints only order the polling; nothing
is decided on them.

Stock tools may also read the input registers (function 04), the server id (17) and the device
identification (43/14). Every other function is refused with exception 1: no plain write ever
switches.

Whoever is on the pair can ask that, without a key. So a node that has keys withholds what the home
draws, registers 5 to 7: a read that touches one is refused with exception 2 (illegal data address,
section 7 of the Modbus application protocol: an address that is not allowable for the server), and
tools read 0 to 4 and 8 to 11. The setting `plain_registers` = 1 opens them; a node without keys,
which is in nobody's home yet, shows all.

### Nodes without an address

They all wait at unit 247 and hold no key. They answer plain broadcasts (function 100 to unit 0) of
three more ops, which can neither switch, nor set, nor read anything; nodes with keys ignore them:

| op | body | meaning |
| --- | --- | --- |
| 2 find | flags (bit 0: all placed wait again), bits, prefix (8) | whose EUI begins so? |
| 3 place | EUI (8), unit | answer at this unit until you are reset (247: wait again) |
| 4 blink | EUI (8), seconds | show yourself |

The answer is `00 64 80+op 09`, the EUI, the unit and the CRC. It begins in one of four slots of
3 ms, drawn anew each time; whoever hears another begin stays silent. Any byte at all means at
least one node; what is not one good answer splits the prefix; who was found is placed, and the
same question is asked until nobody answers it (`pbal_tools/commission/search.py`).

"""
