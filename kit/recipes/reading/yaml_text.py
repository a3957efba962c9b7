"""YAML as plain data, with the place of every value in the text."""

import importlib
import re
from typing import Any

from kit.recipes.model import Span
from kit.recipes.reading.scalars import scalar
from kit.recipes.reading.source import DEEPEST, Region, missing
from kit.recipes.reading.trees import Path, Tree, number

MOST = 50_000


def yaml_tree(text: str) -> Tree:
    """YAML; where a line is no YAML, what stands before it."""
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError as error:
        raise missing("PyYAML") from error
    tree = Tree(text)
    end = len(text)
    for _ in range(4):
        try:
            root = yaml.compose(text[:end], Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            tree.skip(mark.index if mark else 0, f"no YAML: {error.problem or error.context}")
            before = text.rfind("\n", 0, min(mark.index if mark else 0, end)) + 1
            end = before if before < end else text.rfind("\n", 0, max(end - 1, 0)) + 1
        except yaml.YAMLError as error:
            tree.skip(0, "no YAML: " + str(error).partition("\n")[0])
            return tree
        except RecursionError:
            tree.skip(0, "nested too deeply")
            return tree
        else:
            tree.data = _Yaml(tree).value(root, (), 0) if root is not None else None
            return tree
    return tree


class _Yaml:
    def __init__(self, tree: Tree) -> None:
        self.tree, self.left = tree, MOST

    def value(self, node: Any, path: Path, depth: int) -> Any:
        tree = self.tree
        self.left -= 1
        if depth > DEEPEST or self.left < 0:  # also what refers to itself
            if self.left >= -1:
                tree.skip(node.start_mark.index, "nested too deeply, or too much of it")
            return None
        start, end = node.start_mark.index, node.end_mark.index
        tree.put(path, start, end)
        if node.id == "mapping":
            pairs: dict[str, Any] = {}
            merged: list[Any] = []
            for key, value in node.value:
                if key.id != "scalar":
                    continue
                if key.tag == "tag:yaml.org,2002:merge":
                    inner = value.value if value.id == "sequence" else [value]
                    merged += [self.value(one, path, depth + 1) for one in inner]
                    tree.put(path, start, end)
                else:
                    pairs[key.value] = self.value(value, (*path, key.value), depth + 1)
            for one in merged:
                pairs = {**one, **pairs} if isinstance(one, dict) else pairs
            return pairs
        if node.id == "sequence":
            return [self.value(one, (*path, at), depth + 1) for at, one in enumerate(node.value)]
        return self.scalar(node, path)

    def scalar(self, node: Any, path: Path) -> Any:
        tree, value = self.tree, node.value
        start, end = node.start_mark.index, node.end_mark.index
        marked = re.compile(r"(?:[&!]\S*\s+)+").match(tree.text, start, end)  # an anchor, a tag
        start = marked.end() if marked else start
        kind = node.tag.rpartition(":")[2]
        tree.put(path, start, end)
        if node.style in ("'", '"'):
            tree.places[path] = Span(start + 1, end - 1)
        if node.style is None and kind == "null":
            return None
        if node.style is None and kind == "bool":
            return value.lower() in ("true", "yes", "on")
        if node.style is None and kind in ("int", "float"):
            tree.regions[path] = Region.of(tree.text, start, end)
            return number(value.replace("_", ""))
        region = scalar(tree.text, start, end, node.style, value)
        if region is None:
            tree.skip(start, "a text whose quotes or folds are not followed")
        else:
            tree.regions[path] = region
            if node.style == "|" and region.text.strip():
                tree.places[path] = Span(region.starts[0], region.ends[len(region.text.rstrip()) - 1])
        return re.sub(r"\r\n?", "\n", value)
