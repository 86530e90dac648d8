"""Random legal records for the property tests."""

from hypothesis import strategies as st

from pbal_protocol import records
from pbal_protocol.codec import BLOB, Record


def field_values(code: str, divisor: int, low: int, high: int) -> st.SearchStrategy:
    """Legal values of one field that survive a round trip exactly."""
    if code == "8s":
        return st.binary(min_size=8, max_size=8)
    if code == BLOB:
        return st.binary(min_size=low, max_size=high)
    raw = st.integers(low * divisor, high * divisor)
    return raw if divisor == 1 else raw.map(lambda n: n / divisor)


def one(cls: type[Record]) -> st.SearchStrategy:
    """Any legal record of a class."""
    fields = {f[0]: field_values(f[1], f[2], f[4], f[5]) for f in cls.FIELDS}
    return st.fixed_dictionaries(fields).map(lambda values: cls(**values))


any_record = st.one_of([one(cls) for cls in records.RECORDS.values()])


def for_direction(direction: str) -> st.SearchStrategy:
    """Any legal record that may travel in a direction."""
    return st.one_of([one(cls) for cls in records.RECORDS.values() if direction in cls.DIRECTION])
