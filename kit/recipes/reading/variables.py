"""What ``$NAME`` and ``${NAME...}`` stand for: a shell's and a Dockerfile's expansions of variables."""

import fnmatch
import re
from typing import Callable, Optional

# A name -> (whether the recipe mentions it, its value or None where that cannot be known).
Lookup = Callable[[str], "tuple[bool, Optional[str]]"]

_NAME = re.compile(r"[A-Za-z_]\w*")
_OPERATOR = re.compile(r":[-+=?]|[-+=?]|##?|%%?|//?|\^\^?|,,?|:")


def expand(text: str, lookup: Lookup, depth: int = 0) -> tuple[str, bool]:
    """A text with its variables filled in, and whether every one was known.  What is not known stays as written."""
    out: list[str] = []
    known = True
    at = 0
    while at < len(text):
        if text[at] == "\\" and at + 1 < len(text):
            out.append(text[at + 1] if text[at + 1] in '$\\"`' else text[at : at + 2])
            at += 2
            continue
        end = _end(text, at) if text[at] == "$" else at
        if end <= at + 1:
            out.append(text[at])
            known = known and not text.startswith(("$(", "`"), at)
            at += 1
            continue
        value, sure = variable(text[at:end], lookup, depth)
        out.append(value)
        known = known and sure
        at = end
    return "".join(out), known


def _end(text: str, at: int) -> int:
    """Where the variable ends that a ``$`` begins; the place of the ``$`` where it begins none."""
    if text[at + 1 : at + 2] != "{":
        name = _NAME.match(text, at + 1)
        return name.end() if name else at + 2 if text[at + 1 : at + 2] in tuple("@*#?$!-0123456789") else at
    depth = 0
    for end in range(at + 1, len(text)):
        depth += (text[end] == "{") - (text[end] == "}")
        if not depth:
            return end + 1
    return at


def variable(written: str, lookup: Lookup, depth: int = 0) -> tuple[str, bool]:
    """The value of one ``$NAME`` or ``${NAME...}``, and whether it is known; as it is written where it is not."""
    inner = written[2:-1] if written.startswith("${") else written[1:]
    name = _NAME.match(inner)
    if not name or depth > 20:
        return written, False
    mentioned, value = lookup(name.group())
    operator = _OPERATOR.match(inner, name.end())
    if operator is None:
        return (value, True) if value is not None and name.end() == len(inner) else (written, False)
    sign, word = operator.group(), inner[operator.end() :]
    if sign.strip(":") in ("-", "=", "+"):
        if mentioned and value is None:
            return written, False
        there = bool(value) if sign[0] == ":" else mentioned
        if there != (sign[-1] == "+"):
            return value or "", True
        text, known = expand(_unquoted(word), lookup, depth + 1)
        return (text, True) if known else (written, False)
    if value is None:
        return written, False
    if sign.strip(":") == "?":
        return value, True
    changed = _changed(value, sign, word)
    return (changed, True) if changed is not None else (written, False)


def _changed(value: str, sign: str, word: str) -> Optional[str]:
    """``${NAME%word}``, ``${NAME#word}``, ``${NAME/a/b}``, ``${NAME:1:2}``, ``${NAME^^}``; None if it is none."""
    if "$" in word or "`" in word or len(value) > 1000:
        return None
    if sign in ("^^", ",,") and not word:
        return value.upper() if sign == "^^" else value.lower()
    if sign == ":":
        at = re.fullmatch(r"(\d+)(?::(\d+))?", word)
        return value[int(at[1]) :][: int(at[2]) if at[2] else None] if at else None
    pattern, _, new = word.partition("/") if sign[0] == "/" else (word, "", "")
    try:
        matches = re.compile(fnmatch.translate(_unquoted(pattern))).match
    except re.error:
        return None
    size = range(len(value) + 1)
    if sign[0] == "#":
        found = [value[n:] for n in size if matches(value[:n])]
    elif sign[0] == "%":
        found = [value[:n] for n in reversed(size) if matches(value[n:])]
    else:
        return _replaced(value, matches, _unquoted(new), every=sign == "//") if sign[0] == "/" and pattern else None
    return found[-1 if len(sign) == 2 else 0] if found else value


def _replaced(value: str, matches: Callable[[str], object], new: str, every: bool) -> str:
    out, at = "", 0
    while at < len(value):
        end = next((e for e in range(len(value), at, -1) if matches(value[at:e])), None)
        if end is None:
            out, at = out + value[at], at + 1
            continue
        out, at = out + new, end
        if not every:
            break
    return out + value[at:]


def _unquoted(word: str) -> str:
    if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'":
        return word[1:-1]
    return re.sub(r"\\([./+*])", r"\1", word)
