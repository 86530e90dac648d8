"""A board file (`boards/NAME.toml`) as data."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Table(BaseModel):
    # A board file also carries tables and keys for the node that are not interpreted here.
    model_config = ConfigDict(extra="allow", frozen=True)


class Head(_Table):
    """What the board is."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    id: int = Field(ge=1, le=0xFFFF)
    chip: str
    description: str = ""
    flash_mb: int = Field(default=4, ge=2, le=32)


class FlashPin(BaseModel):
    """The MicroPython image this board is known to work with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_url: str = Field(default="", pattern=r"^($|https?://.+)")
    image_sha256: str = Field(default="", pattern=r"^($|[0-9a-f]{64}$)")
    image_offset: int | None = Field(default=None, ge=0)
    baud: int = Field(default=460800, ge=9600, le=4_000_000)
    stub: bool = True

    @model_validator(mode="after")
    def _pinned(self) -> "FlashPin":
        if self.image_sha256 and not self.image_url:
            raise ValueError("image_sha256 needs image_url")
        return self


class Board(_Table):
    """A whole board file. `tables` is what the file says, for everything else."""

    board: Head
    flash: FlashPin | None = None

    @property
    def tables(self) -> dict[str, Any]:
        """The file's tables as plain data."""
        return self.model_dump(exclude_none=True)
