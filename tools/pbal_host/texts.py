"""Text of files that people write. Apart from their tables: `pbal --help` loads no pydantic."""


def plain_text(data: bytes) -> str:
    """The text of a file that a person wrote: UTF-8, with or without a byte order mark.

    Raises ValueError that says in which line it is none, and what to do.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is UTF-16 text; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"it is no UTF-8 text (line {line}); save it as UTF-8") from None
