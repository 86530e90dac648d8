"""The register page that one simulated chip and the simulator share.

Runs unchanged on MicroPython (the chip's side) and CPython (the simulator's side), so
the layout is written down once. All values are little endian. The page is plain shared
memory: a chip reads its analogue inputs, and the simulator its watchdog, with no system
call and no wake-up on either side.
"""

PAGE_SIZE = 16384
MAGIC = 0x57484250

# --- simulator -> chip: analogue front end, 32-bit words -----------------------------
# Channel k gives  bias + peak * sin(2 pi (f t + phase))  at its pin, in microvolts.
CHANNELS = ("va", "vb", "vc", "vout", "ct")
W_MAGIC = 0
W_FREQ = 1  # cycles per microsecond, scaled by 2**40
W_PEAK = 4  # + channel, microvolts
W_PHASE = 12  # + channel, 1024 = one cycle
W_BIAS = 20  # + channel, microvolts
W_NOISE = 28  # peak noise, microvolts
W_CURVE = 29  # peak of what the chip's factory calibration leaves of its curvature, microvolts

# --- byte offsets --------------------------------------------------------------------
# chip -> simulator
WDT_DEADLINE_US = 512  # u64, CLOCK_MONOTONIC; 0 = no watchdog running
WDT_FEEDS = 520
HEAP_PEAK = 524
HEAP_NOW = 528
HEAP_HAL = 532  # bytes of the chip's heap that the simulated hardware itself holds
STAGE = 536
FLASH_WRITES = 540
FLASH_ERASES = 544
FLASH_READS = 548
HEAP_TOTAL = 552
RX_READ = 560  # + 4 * link: bytes the chip took from a UART
RX_SIZE = 568  # + 4 * link: receive buffer the firmware asked for
# simulator -> chip
RX_GIVEN = 576  # + 4 * link: bytes the simulator gave to a UART
CUT_KIND = 592  # fault: freeze at an exact instant, see CUT_*
CUT_AFTER = 596
PIN_IN = 600  # u64, level of each input pin

SINE = 2048  # 1024 entries, i16, full scale 32767
SINE_LEN = 1024

# How the chip is wired, filled in before it starts.
CAUSE = 608  # u8, reset cause
UID = 612  # 6 bytes
WATCH = 640  # + pin: 0, WATCH_DE or WATCH_CONTACT
WATCH_DE = 1
WATCH_CONTACT = 2
WATCH_RADIO = 3
ADC_OF = 704  # + pin: channel, 255 = nothing connected
UART_OF = 768  # + 4 * uart: link (255 = nothing), tx pin, rx pin
CHIP = 784  # u8: which chip this is
CHIPS = ("esp32", "esp32s3")
RADIO = 785  # u8: 1 when the board has one
RADIO_SPI = 786  # sck, mosi, miso
WIFI = 789  # u8: 1 when the node is provisioned for it
WIFI_REACH = 790  # u8: 1 while its network can be heard
WIFI_NAME = 800  # u8 length, then up to 32 bytes
WIFI_KEY = 840  # u8 length, then up to 64 bytes
PINS = 64  # pins a page has room for
FILES = 4096  # u32 length, then JSON {path: text}: written to the flash before boot.py runs
FILES_MAX = PAGE_SIZE - FILES - 4

# Descriptors of a chip's process: events, then one per link, and one without any input.
FD_EVENTS = 10
FD_LINK = 11
FD_SPI = 13  # the radio's bus
FD_SILENT = 16

# --- stages --------------------------------------------------------------------------
STAGE_RESET = 0
STAGE_MOUNTED = 1
STAGE_BOOT = 2
STAGE_MAIN = 3
STAGE_IDLE = 4  # main.py returned; a real chip would be at its prompt
STAGE_CRASHED = 5

# --- events, chip -> simulator: 16 bytes, "<BBHIQ" kind, a, b, c, time_us -------------
EVENT_FORMAT = "<BBHIQ"
EVENT_SIZE = 16
EV_PIN = 1  # a = pin, b = level
EV_TX = 2  # a = link, b = length; the bytes follow
EV_UART = 3  # a = link, b = parity (0 none, 1 odd, 2 even), c = baud
EV_RESET = 4  # machine.reset()
EV_STAGE = 5  # a = stage
EV_CUT = 6  # the chip froze where a fault told it to
EV_WDT = 7  # c = timeout in ms: a watchdog was started

LINK_RS485 = 0
LINK_METER = 1

# On the radio's bus: u8 kind, u16 length, then the bytes. A move is answered with as many.
SPI_MOVE = 1
SPI_PIN = 2  # pin, level

CUT_NONE = 0
CUT_PIN = 1  # just before the n-th change of a watched pin
CUT_FLASH = 2  # in the middle of the n-th flash write or erase
CUT_TX = 3  # just before the n-th answer on the RS-485 line
CUT_PIN_DONE = 4  # just after the n-th change of a watched pin
