"""What differs between the interpreters and is needed before anything else."""

try:
    from micropython import const  # type: ignore[import-not-found,unused-ignore]
except ImportError:

    def const(value: int) -> int:
        """Return `value`; MicroPython's compiler folds the call away."""
        return value


__all__ = ["const"]
