"""TOML as plain data, with the place of every value in the text."""

from typing import TYPE_CHECKING, Any, Optional

from kit.recipes.model import Span
from kit.recipes.reading.source import DEEPEST, Region, errors, json_string, nodes, parse
from kit.recipes.reading.trees import Path, Tree, number

if TYPE_CHECKING:
    from tree_sitter import Node


def toml_tree(text: str) -> Tree:
    """TOML."""
    tree = Tree(text)
    tree.data = {}
    root = parse("toml", text)
    for node in errors(root):
        tree.skip(node.start_byte, "no TOML")
    for node in root.children:
        if node.type == "pair":
            _toml_pair(tree, node, tree.data, (), 0)
        elif node.type in ("table", "table_array_element"):
            keys = next((_keys(tree, c) for c in node.children if c.type.endswith("key")), [])
            here, path = _table(tree.data, keys, node.type == "table_array_element")
            tree.put(path, node.start_byte, node.end_byte)
            for pair in node.children:
                if pair.type == "pair" and here is not None:
                    _toml_pair(tree, pair, here, path, 0)
    return tree


def _keys(tree: Tree, node: "Node") -> list[str]:
    """The parts of a name: ``a."b.c"``."""
    written = [(c.type, tree.text[c.start_byte : c.end_byte]) for c in nodes(node, "bare_key", "quoted_key")]
    return [text[1:-1] if kind == "quoted_key" else text for kind, text in written]


def _table(data: dict[str, Any], keys: list[str], element: bool) -> tuple[Optional[dict[str, Any]], Path]:
    """The table of these names, made where it is not there; in a list of tables the last one."""
    here: Any = data
    path: Path = ()
    for at, key in enumerate(keys):
        last = element and at == len(keys) - 1
        path = (*path, key)
        value = here.setdefault(key, [] if last else {})
        if last and isinstance(value, list):
            value.append({})
        if isinstance(value, list) and value:
            path = (*path, len(value) - 1)
            value = value[-1]
        if not isinstance(value, dict):
            return None, path
        here = value
    return here, path


def _toml_pair(tree: Tree, pair: "Node", here: dict[str, Any], path: Path, depth: int) -> None:
    named = [c for c in pair.children if c.is_named and c.type != "comment"]
    if len(named) < 2 or not named[0].type.endswith("key"):
        return
    keys = _keys(tree, named[0])
    inner, before = _table(here, keys[:-1], False)
    if inner is not None and keys:
        where = (*path, *before, keys[-1])
        inner[keys[-1]] = _toml(tree, named[1], where, depth)


def _toml(tree: Tree, node: "Node", path: Path, depth: int) -> Any:
    written = tree.text[node.start_byte : node.end_byte]
    if depth > DEEPEST:
        tree.skip(node.start_byte, "nested too deeply")
        return None
    tree.put(path, node.start_byte, node.end_byte)
    if node.type == "array":
        inner = [c for c in node.children if c.is_named and c.type not in ("comment", "ERROR")]
        return [_toml(tree, c, (*path, at), depth + 1) for at, c in enumerate(inner)]
    if node.type == "inline_table":
        found: dict[str, Any] = {}
        for child in node.children:
            if child.type == "pair":
                _toml_pair(tree, child, found, path, depth + 1)
        return found
    if node.type == "string":
        return _toml_text(tree, node, path)
    if node.type == "boolean":
        return written == "true"
    return number(written.replace("_", "")) if node.type in ("integer", "float") else written


def _toml_text(tree: Tree, node: "Node", path: Path) -> Optional[str]:
    written = tree.text[node.start_byte : node.end_byte]
    quotes = next(
        (q for q in ('"""', "'''") if written.startswith(q) and written.endswith(q) and len(written) > 5), ""
    )
    size = len(quotes) or 1
    start, end = node.start_byte + size, node.end_byte - size
    if quotes and tree.text.startswith(
        ("\n", "\r\n"), start
    ):  # a new line right after the quotes is none of the text
        start += 1 + (tree.text[start] == "\r")
    if written[0] == "'":
        region: Optional[Region] = Region.of(tree.text, start, end)
    else:
        region = json_string(tree.text, start - 1, end + 1)
    if region is None:
        tree.skip(node.start_byte, "a text with escapes that are not followed")
        return None
    tree.places[path] = Span(start, end)
    tree.regions[path] = region
    return region.text
