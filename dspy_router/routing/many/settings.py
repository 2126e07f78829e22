"""When a router looks its tools up in an index, and how carefully."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self

DEFAULT_ABOVE = 2_000


@dataclass(frozen=True)
class IndexConfig:
    """When a router looks its tools up in an index, and how carefully.

    The defaults were chosen on 300 of toole's training queries among 30,000 and 100,000 tools.

    Attributes:
        above: With more tools than this there is an index; with as many or fewer every tool is looked at.
        nearest: How many of the nearest tools the index is asked for.
        sharing: How many of the tools that share the most telling words with the text are looked at beside them.
        listed: How many tools a decision lists with their probabilities; the others are its `tail_probability`.
        sample: How many tools, drawn at random once, stand for those that are not looked at.
        connectivity: Edges of a node of the index's graph.
        build_effort: How many candidates are weighed when a node's edges are chosen.
        search_effort: How many candidates a search holds; at least `nearest`. As high as there are tools it is
            exhaustive.
        precision: How the index keeps vectors: as bytes, or in half precision. It only finds with them; what is found
            is weighed in single precision.
    """

    above: int = DEFAULT_ABOVE
    nearest: int = 128
    sharing: int = 128
    listed: int = 100
    sample: int = 1_024
    connectivity: int = 32
    build_effort: int = 200
    search_effort: int = 256
    precision: Literal["i8", "f16"] = "i8"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "precision":
                if value not in ("i8", "f16"):
                    raise ValueError(f"The precision of an index is 'i8' or 'f16', got {value!r}.")
                continue
            least = 0 if field.name in ("above", "sharing") else 1
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"IndexConfig.{field.name} must be a whole number of at least {least}, got {value!r}.")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The settings that `to_dict` described."""
        return cls(**data)
