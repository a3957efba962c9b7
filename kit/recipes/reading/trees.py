"""Structured files as plain data, with the place of every value in the text; JSON with comments is read here."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Optional

from kit.recipes.model import Span, Unread
from kit.recipes.reading.source import DEEPEST, Region, errors, json_string, parse

if TYPE_CHECKING:
    from tree_sitter import Node

Path = tuple[object, ...]


class Tree:
    """What a structured file says.  The place of a text is without its quotes; ``regions`` has its characters."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.data: Any = None
        self.places: dict[Path, Span] = {}
        self.regions: dict[Path, Region] = {}
        self.unread: list[Unread] = []

    def get(self, *path: object) -> Any:
        """The value at a path; None where there is none."""
        value = self.data
        for key in path:
            if isinstance(value, dict):
                value = value.get(key)
            elif isinstance(value, list) and isinstance(key, int) and key < len(value):
                value = value[key]
            else:
                return None
        return value

    def mapping(self, *path: object) -> dict[str, Any]:
        """The mapping at a path; empty where there is none."""
        value = self.get(*path)
        return value if isinstance(value, dict) else {}

    def sequence(self, *path: object) -> list[Any]:
        """The list at a path; empty where there is none."""
        value = self.get(*path)
        return value if isinstance(value, list) else []

    def texts(self, *path: object) -> Iterator[tuple[Path, Region]]:
        """The texts at a path: of a list each, of a text the one."""
        if isinstance(self.get(*path), list):
            for at in range(len(self.sequence(*path))):
                where: Path = (*path, at)
                if where in self.regions:
                    yield where, self.regions[where]
        elif path in self.regions:
            yield path, self.regions[path]

    def line(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1

    def skip(self, offset: int, why: str) -> None:
        self.unread.append(Unread(self.line(offset), why))

    def put(self, path: Path, start: int, end: int) -> None:
        written = self.text[start:end]
        self.places[path] = Span(start, start + len(written.rstrip()))

    def placed(self) -> tuple[tuple[Path, Span], ...]:
        return tuple(self.places.items())


def json_tree(text: str) -> Tree:
    """JSON, also with comments and with commas after the last."""
    tree = Tree(text)
    root = parse("json", text)
    for node in errors(root):
        if not node.is_missing and text[node.start_byte : node.end_byte].strip() != ",":
            tree.skip(node.start_byte, "no JSON")
    values = [c for c in root.children if c.type in _JSON_VALUES]
    if values:
        tree.data = _json(tree, values[0], (), 0)
    return tree


_JSON_VALUES = ("object", "array", "string", "number", "true", "false", "null")


def _json(tree: Tree, node: "Node", path: Path, depth: int) -> Any:
    written = tree.text[node.start_byte : node.end_byte]
    if depth > DEEPEST:
        tree.skip(node.start_byte, "nested too deeply")
        return None
    if node.type == "string":
        return _json_text(tree, node, path)
    tree.put(path, node.start_byte, node.end_byte)
    if node.type == "object":
        found: dict[str, Any] = {}
        for pair in node.children:
            key, value = pair.child_by_field_name("key"), pair.child_by_field_name("value")
            if pair.type == "pair" and key and value and value.type in _JSON_VALUES and not value.is_missing:
                region = json_string(tree.text, key.start_byte, key.end_byte)
                if region is not None:
                    found[region.text] = _json(tree, value, (*path, region.text), depth + 1)
        return found
    if node.type == "array":
        inner = [c for c in node.children if c.type in _JSON_VALUES and not c.is_missing]
        return [_json(tree, c, (*path, at), depth + 1) for at, c in enumerate(inner)]
    if node.type == "number":
        return number(written)
    return {"true": True, "false": False}.get(written)


def _json_text(tree: Tree, node: "Node", path: Path) -> Optional[str]:
    region = json_string(tree.text, node.start_byte, node.end_byte)
    if region is None:
        tree.skip(node.start_byte, "a text that JSON does not know")
        return None
    tree.places[path] = Span(node.start_byte + 1, node.end_byte - 1)
    tree.regions[path] = region
    return region.text


def number(written: str) -> Any:
    try:
        return int(written, 0)
    except ValueError:
        pass
    try:
        return float(written)
    except ValueError:
        return written
