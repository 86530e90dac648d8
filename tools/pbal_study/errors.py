"""What a study raises for input that is wrong or for a computer that lacks something.

StudyError        what went wrong, and what the reader can do about it
 +-- InputError    a file, an option or a value is wrong
 +-- MissingError  the computer lacks something the study needs
"""


class StudyError(Exception):
    """A foreseeable failure: what went wrong, and what the reader can do about it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __reduce__(self) -> tuple[type["StudyError"], tuple[str, str]]:
        # Errors cross from one process to another with their remedy.
        return type(self), (self.message, self.remedy)


class InputError(StudyError):
    """A file, an option or a value that the user gave is wrong."""


class MissingError(StudyError):
    """Memory, a program or a permission that the study needs is not there."""
