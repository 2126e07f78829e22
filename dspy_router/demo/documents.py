"""Values out of a JSON document, by path."""

import difflib
import json
import re
from typing import Annotated, Any

from pydantic import Field

_PATH = r"^\$?(?:\.?\w+)?(?:\.[A-Za-z_]\w*|\[-?\d+\])+$"
_PART = re.compile(r"\[(-?\d+)\]|\.?(\w+)")


def query_json(
    path: Annotated[str, Field(pattern=_PATH, description="where the value is: user.name, items[0].price or $.total")],
    document: Annotated[str, Field(pattern=r"^\{[\s\S]*\}$", description="the JSON object itself")],
) -> Any:
    """Read the value at a path out of a JSON document, such as user.name or items[0].price."""
    try:
        value = json.loads(document)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"The document is not valid JSON: {error}.") from error
    if not re.fullmatch(_PATH, path):
        raise ValueError(f"Expected a path such as user.name or items[0].price; got {path!r:.80}.")
    walked = "$"
    for index, key in _PART.findall(path.removeprefix("$")):
        value = _item(value, int(index), walked) if index else _member(value, key, walked)
        walked += f"[{index}]" if index else f".{key}"
    return value


def _item(value: Any, index: int, walked: str) -> Any:
    if not isinstance(value, list):
        raise ValueError(f"{walked} is no list but {type(value).__name__}, so it has no item [{index}].")
    if not -len(value) <= index < len(value):
        raise ValueError(f"{walked} has {len(value)} items, so none at [{index}].")
    return value[index]


def _member(value: Any, key: str, walked: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{walked} is no object but {type(value).__name__}, so it has no member '{key}'.")
    if key not in value:
        near = difflib.get_close_matches(key, value, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise ValueError(f"{walked} has no member '{key}'; it has {', '.join(map(repr, value)) or 'none'}.{hint}")
    return value[key]
