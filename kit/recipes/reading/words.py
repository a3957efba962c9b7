"""The words of a shell: quotes taken off, variables filled in, and whether all of it is known."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Optional

from kit.recipes.model import Word
from kit.recipes.reading.source import Region
from kit.recipes.reading.variables import Lookup, variable

if TYPE_CHECKING:
    from tree_sitter import Node

# An expression of another language is written as one private character and fillers, to the shell's grammar a word.
ANY_HIDDEN = re.compile("[\ue000-\uf8fe]\uf8ff*")
_FIRST = 0xE000
_MOST = 0xF8FF - _FIRST
_PLAIN = ("word", "number", "variable_name", "test_operator", "special_character", "regex", "extglob_pattern")
_VARIABLES = ("expansion", "simple_expansion")


def hiding(number: int, size: int) -> str:
    """The letters that stand for the hidden expression of this number."""
    return chr(_FIRST + number % _MOST) + "\uf8ff" * (size - 1)


class Words:
    """The words of one text.  ``hidden`` are the expressions that stand behind private characters in it."""

    def __init__(self, region: Region, file: str, lookup: Lookup, hidden: list[str]) -> None:
        self.region, self.text, self.file = region, region.text, file
        self.lookup, self.hidden = lookup, hidden

    def of(self, node: "Node") -> Iterator[Word]:
        """The words of an argument: more than one where an unquoted variable has spaces in its value."""
        text, known = self.value(node)
        span = self.region.span(node.start_byte, node.end_byte)
        raw = self.file[span.start : span.end]
        expanded = node.type in _VARIABLES or (
            node.type == "concatenation" and any(c.type in _VARIABLES for c in node.children)
        )
        if self.hidden and ANY_HIDDEN.search(text):
            text, known = ANY_HIDDEN.sub(lambda found: self.hidden[ord(found[0][0]) - _FIRST], text), False
        if known and expanded:
            for piece in text.split():
                yield Word(piece, raw, span)
        else:
            yield Word(text, raw, span, known)

    def value(self, node: "Node") -> tuple[str, bool]:
        """The text of a word or a value, and whether all of it is known."""
        kind, written = node.type, self.at(node)
        if kind == "raw_string":
            return written[1:-1], True
        if kind in ("string", "concatenation", "command_name", "translated_string"):
            return self.pieces(node, quoted=kind == "string")
        if kind in _VARIABLES:
            return variable(written, self.lookup)
        if kind == "ansi_c_string":
            return _ansi(written[2:-1]), True
        if kind == "string_content":
            return unescaped(written, quoted=True), True
        if kind == "variable_assignment":
            given = node.child_by_field_name("value")
            text, known = self.value(given) if given is not None else ("", True)
            return self.text[node.start_byte : given.start_byte if given is not None else node.end_byte] + text, known
        if kind in _PLAIN:
            return unescaped(written, quoted=False), True
        return written, False

    def pieces(self, node: "Node", quoted: bool) -> tuple[str, bool]:
        out, known, at = [], True, node.start_byte + quoted
        end = node.end_byte - quoted
        for child in node.children:
            if child.type == '"' or (child.type == "$" and node.type == "translated_string"):
                continue
            start = child.start_byte
            if child.type == "simple_expansion":  # the grammar counts the spaces before it as its own
                start += len(self.at(child)) - len(self.at(child).lstrip())
            out.append(unescaped(self.text[at:start], quoted))
            if child.type == "simple_expansion":
                text, sure = variable(self.text[start : child.end_byte], self.lookup)
            elif not child.is_named:
                text, sure = unescaped(self.at(child), quoted), True
            else:
                text, sure = self.value(child)
            out.append(text)
            known = known and sure
            at = child.end_byte
        out.append(unescaped(self.text[at:end], quoted) if at < end else "")
        return "".join(out), known and not any(c.type == "brace_expression" for c in node.children)

    def at(self, node: "Node") -> str:
        return self.text[node.start_byte : node.end_byte]


def unescaped(text: str, quoted: bool) -> str:
    """Without backslashes, of which a quoted text has few."""
    if "\\" not in text:
        return text
    text = text.replace("\\\n", "")
    return re.sub(r'\\([$`"\\])' if quoted else r"\\(.)", r"\1", text)


_ANSI = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}


def _ansi(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ANSI.get(found[1], found[0]), text)


def flat(node: "Node") -> "list[Node]":
    """``a && b || c``, which the grammar nests to the left, side by side."""
    parts: list[Node] = []
    first: Optional[Node] = node
    while first is not None and first.type == "list":
        parts[:0] = first.children[1:]
        first = first.children[0] if first.children else None
    return [first, *parts] if first is not None else parts


def end_of(redirect: "Node") -> int:
    """The end of a redirection on its own line: the body of a here-document is no part of the command."""
    if redirect.type != "heredoc_redirect":
        return redirect.end_byte
    inner = [c for c in redirect.children if c.type in ("heredoc_start", "file_redirect", "word", "string")]
    return max((c.end_byte for c in inner), default=redirect.start_byte)


def quoted(region: Region) -> Region:
    """What a quoted word gives to a program, its variables left to the shell that is started."""
    text = region.text
    if len(text) < 2 or text[0] not in "\"'" or text[-1] != text[0]:
        return region
    inner = region.part(1, len(text) - 1)
    if text[0] == "'":
        return inner
    return inner.without([found.start() for found in re.finditer(r'\\[$`"\\]', inner.text)], joining=True)
