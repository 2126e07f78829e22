"""Tells a larger program's save from its optimization, for both of which DSPy asks whether a sub-module is compiled."""

from __future__ import annotations

import sys

# `named_parameters` calls itself through sub-modules, and reads attributes through `Module.__getattribute__`.
_WALK = frozenset({"named_parameters", "add_parameter", "__getattribute__"})
_SAVE_OR_LOAD = frozenset({"dump_state", "load_state", "_apply"})


def is_being_saved() -> bool:
    """Whether the attribute that is being read right now is read for a save or a load of DSPy.

    DSPy has one question, `_compiled`, and one answer for two purposes: an optimizer shall not touch a compiled
    sub-module, and a save leaves it out. Who asks can only be seen from the calls under way. Should DSPy rename them, a
    larger program's file is back to what DSPy itself would save.
    """
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_name in _WALK:
        frame = frame.f_back
    return frame.f_code.co_name in _SAVE_OR_LOAD and frame.f_globals.get("__name__") == "dspy.primitives.base_module"
