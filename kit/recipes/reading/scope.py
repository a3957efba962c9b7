"""Variables of a shell: which are set at all, and what is known of them after several ways could be taken."""

import re
from collections.abc import Iterator
from typing import Optional

from kit.recipes.model import Setting, Word


def mentioned(setting: Optional[Setting], file: str) -> "tuple[bool, Optional[str]]":
    """Whether a variable is set at all, and its value: ``ARG NAME`` alone does not set it."""
    if setting is None or (
        setting.how == "arg" and setting.value is None and "=" not in file[setting.span.start : setting.span.end]
    ):
        return False, None
    return True, setting.value


def merged(outcomes: "list[dict[str, Setting]]") -> "dict[str, Setting]":
    """The variables after one of several ways was taken: known where all agree."""
    merged: dict[str, Setting] = {}
    for scope in outcomes:
        for name, setting in scope.items():
            others = [other.get(name) for other in outcomes]
            same = all(o is not None and o.value == setting.value for o in others)
            merged.setdefault(name, setting if same else Setting(name, None, setting.how, setting.span))
    return merged


def given_by_env(words: list[Word]) -> Iterator[Setting]:
    """``env A=1 pip`` and ``sudo A=1 pip``."""
    if words and words[0].text.rpartition("/")[2] in ("env", "sudo"):
        for word in words[1:]:
            name, sign, value = word.text.partition("=")
            if sign and re.fullmatch(r"[A-Za-z_]\w*", name):
                yield Setting(name, value if word.known else None, "prefix", word.span)
            elif not word.text.startswith("-") and word.text != "env":
                return
