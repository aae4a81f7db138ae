"""Memory management for functions that live for milliseconds, for Python.

``python -m memento run script.py`` runs a script with memento preloaded. In a process that has it loaded,
`stats` says what it serves, and `invocation_end` gives free memory back; elsewhere the first is ``None`` and
the second does nothing, so that a program may call them always.
"""

import ctypes
import json
import os

__all__ = ["environment", "invocation_end", "library", "stats"]
__version__ = "0.1.0"


def library():
    """Path of the shared object that is to be preloaded."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib", "libmemento_all.so")


def environment(base=None):
    """A copy of `base`, or of this process's environment, in which programs load memento."""
    changed = dict(os.environ if base is None else base)
    others = [name for name in changed.get("LD_PRELOAD", "").replace(" ", ":").split(":") if name]
    if library() not in others:
        changed["LD_PRELOAD"] = ":".join([library(), *others])
    return changed


def _function(name):
    """A function of the preloaded object; None in a process without."""
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError):
        return None


def _document(name):
    function = _function(name)
    if function is None:
        return None
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    size = function(None, 0) + 4096
    text = ctypes.create_string_buffer(size)
    # It may have grown in between, by what was just allocated.
    return json.loads(text.value) if function(text, size) < size else _document(name)


def stats():
    """What memento holds and serves in this process: a dict, or None if it is not loaded.

    The allocator's numbers are as in ``memento_stats_json``; under ``"python"`` is who serves the
    interpreter's memory domains.
    """
    found = _document("memento_stats_json")
    if found is not None:
        found["python"] = _document("memento_python_stats_json")
    return found


def invocation_end():
    """Gives free memory back to the system; for the moment after an invocation's response."""
    function = _function("memento_invocation_end")
    if function is not None:
        function.restype = None
        function()
