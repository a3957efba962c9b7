"""Where the characters of a YAML text stand in the file: blocks without their indent, folded lines, quotes."""

import re
from typing import Optional

from kit.recipes.reading.source import Region

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "a": "\a", "b": "\b", "e": "\x1b", "f": "\f", "v": "\v"}
_ESCAPES.update({"_": "\xa0", "N": "\x85", "L": "\u2028", "P": "\u2029"})


def scalar(file: str, start: int, end: int, style: Optional[str], value: str) -> Optional[Region]:
    """The characters of ``value``, which is written at ``start`` to ``end``; None where they cannot be placed."""
    if style in ("'", '"'):
        start, end = start + 1, end - 1
    if file[start:end] == value:
        return Region.of(file, start, end)
    if style == "|":
        return _block(file, start, end, value)
    if style == ">":
        start = _after_line(file, start, end)
        start += len(file[start:end]) - len(file[start:end].lstrip())
    return _aligned(file, start, end, style, value)


def _after_line(file: str, start: int, end: int) -> int:
    found = file.find("\n", start, end)
    return end if found < 0 else found + 1


def _block(file: str, start: int, end: int, value: str) -> Optional[Region]:
    """``|``: the lines below it without their indent."""
    first = _after_line(file, start, end)
    lines = file[first:end].splitlines(keepends=True)
    widest = next((len(one) - len(one.lstrip(" ")) for one in lines if one.strip()), 0)
    for indent in range(widest, 0, -1):
        region = _indented(file, first, lines, indent)
        text = region.text[: len(value)]
        if text == value:
            return region.part(0, len(value))
        if text + "\n" == value:  # the file ends without a new line
            return Region(value, [*region.starts, end], [*region.ends, end])
    return None


def _indented(file: str, first: int, lines: list[str], indent: int) -> Region:
    characters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = first
    for line in lines:
        bare = line.rstrip("\r\n")
        kept = bare[indent:] if bare[:indent].strip() == "" else bare
        begin = at + len(bare) - len(kept)
        characters += kept
        starts += range(begin, begin + len(kept))
        ends += range(begin + 1, begin + len(kept) + 1)
        if bare != line:
            characters.append("\n")
            starts.append(at + len(bare))
            ends.append(at + len(line))
        at += len(line)
    return Region("".join(characters), starts, ends)


def _aligned(file: str, start: int, end: int, style: Optional[str], value: str) -> Optional[Region]:
    """Folded lines and escapes: value and text side by side."""
    starts: list[int] = []
    ends: list[int] = []
    at = start
    while len(starts) < len(value):
        done = len(starts)
        space = re.compile(r"[ \t]*[\r\n]\s*").match(file, at, end)
        if style == '"' and file.startswith("\\", at):
            step = _escape(file, at, value[done])
            if step is None:
                return None
            size, given = step
            if given:
                starts.append(at)
                ends.append(at + size)
            at += size
        elif style == "'" and file.startswith("''", at) and value[done] == "'":
            starts.append(at)
            ends.append(at + 2)
            at += 2
        elif space or at >= end:
            after = space.end() if space else end
            run = re.compile(r"\s*").match(value, done)
            size = run.end() - done if run else 0
            if not size:
                return None
            starts += [at] * size
            ends += [after] * size
            at = after
        elif file[at] == value[done]:
            starts.append(at)
            ends.append(at + 1)
            at += 1
        else:
            return None
    return Region(value, starts, ends)


def _escape(file: str, at: int, wanted: str) -> Optional[tuple[int, bool]]:
    """How long an escape is, and whether it gives a character: a line that goes on gives none."""
    letter = file[at + 1 : at + 2]
    if letter in ("\n", "\r"):
        found = re.compile(r"\\\r?\n[ \t]*").match(file, at)
        return (found.end() - at, False) if found else None
    size = {"x": 4, "u": 6, "U": 10}.get(letter, 2)
    if size > 2:
        digits = file[at + 2 : at + size]
        return (size, True) if re.fullmatch("[0-9a-fA-F]+", digits) and chr(int(digits, 16)) == wanted else None
    return (2, True) if _ESCAPES.get(letter, letter) == wanted else None
