"""Recorded machines: facts files by name, the default input of the notebooks and of the tests."""

import os
from functools import cache, lru_cache

from kit.facts import Facts

_FOLDER = os.path.join(os.path.dirname(__file__), "machines")


@cache
def recorded(name: str) -> Facts:
    """The recorded machine ``name``; KeyError where there is none of that name."""
    if name not in names():
        raise KeyError(name)
    with open(os.path.join(_FOLDER, name + ".json"), encoding="utf-8") as stream:
        return Facts.from_json(stream.read(), name)


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """The names of the recorded machines, sorted."""
    return tuple(sorted(n[: -len(".json")] for n in os.listdir(_FOLDER) if n.endswith(".json")))
