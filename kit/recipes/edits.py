"""Edits of a text: whether they fit together, what comes of them, and the lines that they touch."""

import difflib
import json
from collections.abc import Iterable, Sequence

from kit.recipes.model import Edit, Span


def checked(edits: Iterable[Edit], text: str) -> tuple[Edit, ...]:
    """The edits of one problem, from the first place on.  ValueError where they do not fit the text or overlap."""
    ordered = tuple(sorted(edits, key=lambda edit: (edit.span.start, edit.span.end)))
    end = 0
    for edit in ordered:
        if not end <= edit.span.start <= edit.span.end <= len(text):
            raise ValueError(f"an edit of {edit.span} lies outside of the text, or overlaps another")
        end = edit.span.end
    return ordered


def put(text: str, edits: Iterable[Edit]) -> str:
    """The text with these edits, which must not overlap; one that is there twice is made once.  New lines end as the
    text's own do."""
    return between(text, Span(0, len(text)), checked(dict.fromkeys(edits), text))


def between(text: str, span: Span, edits: Sequence[Edit]) -> str:
    """What stands between two places of a text once the edits, which lie between them in order, are made."""
    ends = "\r\n" if "\r\n" in text else "\n"
    parts, at = [], span.start
    for edit in edits:
        parts += [text[at : edit.span.start], edit.new.replace("\r\n", "\n").replace("\n", ends)]
        at = edit.span.end
    return "".join([*parts, text[at : span.end]])


def in_strings(edits: Iterable[Edit], text: str) -> tuple[Edit, ...]:
    """Edits of JSON: what is put into a string is written as strings are."""
    edits = tuple(edits)
    if all(_plain(edit.new) for edit in edits):
        return edits
    from kit.recipes.reading.source import nodes, parse

    strings = [(node.start_byte, node.end_byte) for node in nodes(parse("json", text), "string")]
    return tuple(
        Edit(edit.span, json.dumps(edit.new, ensure_ascii=False)[1:-1])
        if not _plain(edit.new) and any(start < edit.span.start and edit.span.end < end for start, end in strings)
        else edit
        for edit in edits
    )


def _plain(text: str) -> bool:
    return text.isprintable() and '"' not in text and "\\" not in text


def line_span(text: str, span: Span) -> Span:
    """The whole lines that a span touches, with the end of the last.  A span that ends where a line begins does not
    touch that line."""
    start = text.rfind("\n", 0, span.start) + 1
    last = span.end - 1 if span.end > span.start and text[span.end - 1] == "\n" else span.end
    end = text.find("\n", last)
    return Span(start, len(text) if end < 0 else end + 1)


def overlap(one: Edit, other: Edit) -> bool:
    """Whether two edits replace the same characters, or one lies within what the other replaces."""
    return one != other and one.span.start < other.span.end and other.span.start < one.span.end


def touch(one: Edit, other: Edit) -> bool:
    """Whether two edits meet: what comes of both would depend on their order."""
    return one != other and one.span.start <= other.span.end and other.span.start <= one.span.end


def unified(name: str, before: str, after: str, context: int = 2) -> str:
    """A unified diff, '' where nothing differs."""
    lines = difflib.unified_diff(_lines(before), _lines(after), name, name, n=context)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _lines(text: str) -> list[str]:
    """Lines as ``diff`` has them: those of str.splitlines end in more ways than a file's do."""
    lines = text.split("\n")
    return [f"{line}\n" for line in lines[:-1]] + ([lines[-1]] if lines[-1] else [])
