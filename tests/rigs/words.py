"""Any message between a site and HQ, for property tests."""

from hypothesis import strategies as st


def values(field):
    if field.is_text:
        found = st.text(max_size=field.high // 4)
    elif field.is_bytes:
        found = st.binary(min_size=field.high, max_size=field.high)
    elif field.is_float:
        found = st.integers(field.low * field.divisor, field.high * field.divisor).map(
            lambda n, d=field.divisor: n / d
        )
    else:
        found = st.integers(field.low, field.high)
    return st.none() | found if field.optional else found


def messages(*classes):
    return st.one_of(
        [st.builds(cls, **{f.name: values(f) for f in cls.DECLARED}) for cls in classes]
    )
