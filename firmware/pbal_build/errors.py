"""The build's one error."""


class BuildError(Exception):
    """A board file or source that is missing or cannot be built; the message says what to do."""
