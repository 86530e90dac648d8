"""Words that programs of ours print alike."""


def counted(number: int, one: str) -> str:
    """A number of things in words: 1 home, 2 homes."""
    return f"{number} {one}" + ("" if number == 1 else "s")
