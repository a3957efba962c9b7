"""The Python code of a notebook: the cells' sources as one text, and where each character stands in the file."""

import json
import re
from collections.abc import Iterator
from typing import Any, Optional

from kit.recipes.model import Edit, Unread
from kit.recipes.reading.source import joined, json_string, parse

# Magics whose cell is Python, run in the notebook's own names.
_PYTHON_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun", "%%memit", "%%python", "%%python3")
_ASSIGNED = re.compile(r"[\w.,\s*\[\]'\"]+=\s*(?=[!%][A-Za-z(\[{./~])")
_STRING = re.compile(r"\"\"\"|'''|\"|'")


class Cell:
    """The source of one code cell: its literals in the file, and its Python, character for character."""

    def __init__(self, file: str, literals: list[tuple[int, int]]) -> None:
        self.file, self.literals = file, literals
        parts = [json_string(file, start, end) for start, end in literals]
        self.region = joined([part for part in parts if part is not None])
        self.line = file.count("\n", 0, literals[0][0]) + 1 if literals else 1
        self.python = blanked(self.region.text)

    def edit(self, start: int, end: int, new: str) -> Edit:
        """A change of the cell's text as one of the file.  Each line stays a string of its own, where it was one."""
        span = self.region.span(start, end)
        lines = new.replace("\r\n", "\n").split("\n")
        plain = self.file.isascii()
        return Edit(span, self._between().join(json.dumps(line, ensure_ascii=plain)[1:-1] for line in lines))

    def _between(self) -> str:
        """What divides two lines in the file: the end of one string and the start of the next, as others have it."""
        if len(self.literals) > 1:
            return "\\n" + self.file[self.literals[0][1] - 1 : self.literals[1][0] + 1]
        start = self.literals[0][0]
        before = self.file[:start].rstrip()
        if not before.endswith("["):
            return "\\n"  # one string for the whole cell
        space = self.file[len(before) : start]
        return '\\n",' + (space or " ") + '"'


def blanked(text: str) -> str:
    """A cell's text as Python of the same length: a magic or a line for the shell becomes a number and a comment."""
    first = text.lstrip().split("\n", 1)[0].split(" ", 1)[0].rstrip()
    if first.startswith("%%") and first not in _PYTHON_MAGICS:
        return re.sub(r"[^\n]", " ", text)
    lines: list[str] = []
    inside, depth, goes_on = "", 0, False  # in a string, in brackets, in a line that a backslash goes on from
    magic = False
    for line in text.split("\n"):
        begins = not (inside or depth or goes_on)
        if magic and goes_on:
            lines.append(re.sub(r"[^\r]", " ", line))
            goes_on = line.rstrip().endswith("\\")
            continue
        magic = False
        if begins:
            at = _escape(line)
            if at is not None:
                magic = True
                kept = line[at:].rstrip("\r")
                lines.append(line[:at] + ("0" + "#" * (len(kept) - 1)) + line[at + len(kept) :])
                goes_on = line.rstrip().endswith("\\")
                continue
        lines.append(line)
        inside, depth, goes_on = _scanned(line, inside, depth)
    return "\n".join(lines)


def _escape(line: str) -> Optional[int]:
    """Where something that IPython takes for itself begins in a line; None in a line of Python."""
    stripped = line.lstrip()
    at = len(line) - len(stripped)
    if stripped[:1] in ("%", "!", "?") and stripped.rstrip():
        return at
    if re.fullmatch(r"[\w.*]+\?{1,2}", stripped.rstrip()):
        return at
    match = _ASSIGNED.match(line, at)
    return match.end() if match else None


def _scanned(line: str, inside: str, depth: int) -> tuple[str, int, bool]:
    """What is open behind a line: the quotes of a string, the number of brackets, and whether a backslash ends it."""
    at = 0
    while at < len(line):
        if inside:
            if line[at] == "\\":
                at += 2
                continue
            if line.startswith(inside, at):
                at += len(inside)
                inside = ""
                continue
        elif line[at] == "#":
            return "", depth, False
        elif line[at] in "\"'":
            match = _STRING.match(line, at)
            inside = match.group() if match else ""
            at += len(inside)
            continue
        elif line[at] in "([{":
            depth += 1
        elif line[at] in ")]}":
            depth = max(0, depth - 1)
        at += 1
    goes_on = line.rstrip("\r").endswith("\\")
    return (inside if len(inside) == 3 or goes_on else ""), depth, goes_on and not inside


def cells(text: str) -> tuple[tuple[Cell, ...], tuple[Unread, ...]]:
    """The code cells of a notebook, in order; none where it is of another language."""
    try:
        data = json.loads(text)
    except ValueError as error:
        return (), (Unread(getattr(error, "lineno", 1), f"this is no JSON: {error}"),)
    if not isinstance(data, dict) or not isinstance(data.get("cells"), list):
        return (), (Unread(1, "a notebook of a format before 4, or none"),)
    if _language(data) not in ("", "python", "ipython"):
        return (), ()
    return tuple(Cell(text, literals) for literals in _sources(text)), ()


def _language(data: Any) -> str:
    metadata = data.get("metadata")
    for name, key in (("language_info", "name"), ("kernelspec", "language")):
        part = metadata.get(name) if isinstance(metadata, dict) else None
        if isinstance(part, dict) and isinstance(part.get(key), str):
            return str(part[key]).lower()
    return ""


def _sources(text: str) -> Iterator[list[tuple[int, int]]]:
    """Of each code cell the places of the strings of its source."""
    root = parse("json", text)
    top = next((node for node in root.named_children if node.type == "object"), None)
    listed = _members(text, top).get("cells") if top is not None else None
    for cell in listed.named_children if listed is not None else ():
        members = _members(text, cell)
        kind, source = members.get("cell_type"), members.get("source")
        if kind is None or source is None or text[kind.start_byte : kind.end_byte] != '"code"':
            continue
        strings = source.named_children if source.type == "array" else [source]
        literals = [(node.start_byte, node.end_byte) for node in strings if node.type == "string"]
        if literals:
            yield literals


def _members(text: str, node: Any) -> dict[str, Any]:
    """The values of an object by their names."""
    found = {}
    for pair in node.named_children:
        key, value = pair.child_by_field_name("key"), pair.child_by_field_name("value")
        if key is not None and value is not None:
            found[text[key.start_byte + 1 : key.end_byte - 1]] = value
    return found
