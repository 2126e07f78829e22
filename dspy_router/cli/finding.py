"""Finds what a configuration names as `module:attribute`, in the working directory's modules too."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any


def find_function(source: str, key: str) -> Any:
    """What `module:attribute` names, which must be something to call.

    Args:
        source: Such as `my_package.my_module:make`.
        key: What it is for, in messages.

    Raises:
        ImportError: If there is no such module.
        ValueError: If it names nothing, or nothing that can be called.
    """
    found = find_attribute(source, key)
    if not callable(found):
        raise ValueError(f"{key}: '{source}' must name a function; it is {found!r:.60}.")
    return found


def find_attribute(source: str, key: str) -> Any:
    """What `module:attribute` names; the modules of the working directory are seen too.

    Raises:
        ImportError: If there is no such module.
        ValueError: If it names nothing.
    """
    module, colon, attribute = source.partition(":")
    if not colon:
        raise ValueError(f"{key}: expected module:attribute, such as my_package.my_module:name; got '{source}'.")
    if str(Path.cwd()) not in sys.path:  # an installed script does not see the working directory's modules by itself
        sys.path.insert(0, str(Path.cwd()))
    home = import_module(module)
    if not hasattr(home, attribute):
        near = get_close_matches(attribute, dir(home), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        raise ValueError(f"{key}: the module '{module}' has no '{attribute}'{hint}")
    return getattr(home, attribute)
