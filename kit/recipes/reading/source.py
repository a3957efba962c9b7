"""Text that stands in a file, character by character, and the grammars that parse it."""

import importlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Optional

from kit.errors import KitError
from kit.recipes.model import Span

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

# Deeper than any recipe nests; it keeps Python's stack from running out on a file that is no recipe.
DEEPEST = 60
_HALVES = ("d8", "d9", "da", "db")


class Region:
    """Text and where each of its characters stands in the file: character ``i`` at ``starts[i]`` to ``ends[i]``.

    A piece that is written as it is read has ranges there; a JSON string or an indented block has lists.
    """

    __slots__ = ("ends", "starts", "text")

    def __init__(self, text: str, starts: Sequence[int], ends: Sequence[int]) -> None:
        self.text, self.starts, self.ends = text, starts, ends

    @classmethod
    def of(cls, text: str, start: int = 0, end: Optional[int] = None) -> "Region":
        """A piece of a file's text, as it stands there."""
        end = len(text) if end is None else end
        return cls(text[start:end], range(start, end), range(start + 1, end + 1))

    def span(self, start: int, end: int) -> Span:
        """Where the characters ``start`` to ``end`` stand in the file."""
        if start < end:
            return Span(self.starts[start], self.ends[end - 1])
        if start < len(self.text):
            return Span(self.starts[start], self.starts[start])
        last = self.ends[-1] if self.text else 0
        return Span(last, last)

    def part(self, start: int, end: int) -> "Region":
        return Region(self.text[start:end], self.starts[start:end], self.ends[start:end])

    def rewritten(self, text: str) -> "Region":
        """Other characters in the same places."""
        assert len(text) == len(self.text)
        return Region(text, self.starts, self.ends)

    def without(self, dropped: Iterable[int], joining: bool = False) -> "Region":
        """Without these characters.  ``joining``: each stands before one that it belongs to, as in ``\\"``."""
        gone = set(dropped)
        kept = [i for i in range(len(self.text)) if i not in gone]
        starts = [self.starts[i - 1 if joining and i - 1 in gone else i] for i in kept]
        return Region("".join(self.text[i] for i in kept), starts, [self.ends[i] for i in kept])


def joined(regions: Sequence[Region]) -> Region:
    """Regions one after the other, as one."""
    return Region(
        "".join(r.text for r in regions),
        [at for r in regions for at in r.starts],
        [at for r in regions for at in r.ends],
    )


def json_string(file: str, start: int, end: int) -> Optional[Region]:
    """The value of the JSON string that is written, with its quotes, at ``start`` to ``end``; None if it is none."""
    characters: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at, last = start + 1, end - 1
    while at < last:
        folded = re.compile(r"\\[ \t]*\r?\n\s*").match(file, at, last)  # TOML's long texts
        if folded:
            at = folded.end()
            continue
        if file[at] != "\\":
            size, value = 1, file[at]
        else:
            size = 6 if file[at + 1 : at + 2] == "u" else 2
            if size == 6 and file[at + 2 : at + 4].lower() in _HALVES and file[at + 6 : at + 8] == "\\u":
                size = 12  # half of a character, and the other half
            try:
                value = json.loads(f'"{file[at : at + size]}"')
            except ValueError:
                return None
        characters += value
        starts += [at] * len(value)
        ends += [at + size] * len(value)
        at += size
    return Region("".join(characters), starts, ends) if at == last else None


def parse(language: str, text: str) -> "Node":
    """The syntax tree of a text.  Its offsets count characters: every other than ASCII is passed as one letter."""
    plain = text if text.isascii() else "".join(c if c < "\x80" else "_" for c in text)
    return _parser(language).parse(plain.replace("\0", " ").encode("ascii")).root_node


@cache
def _parser(language: str) -> "Parser":
    try:
        from tree_sitter import Language, Parser

        grammar: Any = importlib.import_module(f"tree_sitter_{language}")
    except ImportError as error:
        raise missing(f"tree-sitter-{language}") from error
    return Parser(Language(grammar.language()))


def missing(package: str) -> KitError:
    return KitError(
        f'{package} is not installed, which reads recipes: in the kit\'s folder, pip install -e ".[recipes]"'
    )


def errors(root: "Node") -> Iterator["Node"]:
    """What the grammar could not make sense of, the outermost of each."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.type == "ERROR" or node.is_missing:
            yield node
        elif node.has_error:
            waiting.extend(reversed(node.children))


def nodes(root: "Node", *types: str) -> Iterator["Node"]:
    """The nodes of these types in the order of the text, those within them left out."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if node.type in types:
            yield node
        else:
            waiting.extend(reversed(node.children))
