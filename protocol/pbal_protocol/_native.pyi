from pbal_protocol._plain import copy as copy
from pbal_protocol._plain import crc as crc
from pbal_protocol._plain import xor as xor
