"""Records that no role can use, and as what dead letters they end."""

from pbal_hq.bus import New, topics


def poison(key):
    """(records, how many dead letters of each kind)."""
    records = [
        New(topics.RAW, key, b"no kind"),
        New(topics.RAW, "nobody", b"\xff\xfe"),
        New(topics.SUMMARY, key, b"{"),
        New(topics.SUMMARY, key,
            b'{"token":"1","received_ms":1,"historical":false,"fields":{"site":7}}'),
        New(topics.STATE, key, b'{"online":true}'),
        New(topics.EVENT, key, b"[]"),
        New(topics.OUT, key, b'{"stored":["not hex"]}'),
        New(topics.DEAD, key, b"not even a dead letter"),
    ]  # fmt: skip
    return records, {"raw": 2, "summary": 2, "state": 1, "event": 1, "out": 1, "dead": 1}
