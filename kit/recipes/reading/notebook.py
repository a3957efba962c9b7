"""Notebooks: the commands of ``!``, ``%pip``, ``%conda`` and ``%%bash`` in the cells, in their order."""

import ast
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Optional

from kit.recipes.model import Recipe, Setting, Unread
from kit.recipes.reading.commands import Commands
from kit.recipes.reading.shell import Script
from kit.recipes.reading.source import Region, errors, joined, json_string, parse

if TYPE_CHECKING:
    from tree_sitter import Node

# IPython fills in {expressions} of Python and $names, of which ours may be variables of the environment too.
_PYTHON = re.compile(r"(?<!\$)\{[^{}\n]+\}")
_SHELL_CELL = re.compile(r"%%(bash|sh|script\s+(?:\S*/)?(?:ba|z|da)?sh)\b[^\n]*\n")
_PASSING = re.compile(r"%%(capture|time|timeit|prun)\b[^\n]*\n")
_LINE = re.compile(
    r"[ \t]*(?:(!!?)|(?:\w+[ \t]*=[ \t]*)(!)(?!=)|%(?=(?:pip|conda|mamba|micromamba|uv)\b)|(%s[xy]s?(?:tem)?\s))"
)
_ENV = re.compile(r"[ \t]*%(?:set_)?env\s+(\w+)\s*[= ]\s*(.*?)\s*$")


def read(path: str, text: str) -> Recipe:
    """A notebook as it lies on disk."""
    commands = Commands(text)
    root = parse("json", text)
    for node in errors(root):
        commands.unread.append(Unread(text.count("\n", 0, node.start_byte) + 1, "no JSON"))
    scope: list[Setting] = []
    for region in _cells(root, text):
        _cell(region, commands, scope)
    return commands.recipe(path, "notebook")


def _cells(root: "Node", text: str) -> Iterator[Region]:
    """The sources of the code cells; also those of notebooks of before 2015, whose cells lie in worksheets."""
    waiting = [(node, 0) for node in reversed(root.children) if node.type == "object"]
    while waiting:
        node, depth = waiting.pop()
        pairs = {_key(p, text): p.child_by_field_name("value") for p in node.children if p.type == "pair"}
        kind, source = pairs.get("cell_type"), pairs.get("source") or pairs.get("input")
        if kind is not None:
            if text[kind.start_byte : kind.end_byte] == '"code"' and source is not None:
                yield _source(source, text)
            continue
        for name in ("cells", "worksheets"):
            value = pairs.get(name)
            if value is not None and value.type == "array" and depth < 3:
                waiting += [(c, depth + 1) for c in reversed(value.children) if c.type == "object"]


def _key(pair: "Node", text: str) -> str:
    key = pair.child_by_field_name("key")
    return text[key.start_byte + 1 : key.end_byte - 1] if key is not None else ""


def _source(node: "Node", text: str) -> Region:
    strings = [node] if node.type == "string" else [c for c in node.children if c.type == "string"]
    found = [json_string(text, one.start_byte, one.end_byte) for one in strings]
    return joined([region for region in found if region is not None])


def _cell(region: Region, commands: Commands, scope: list[Setting]) -> None:
    passing: Optional[re.Match[str]] = _PASSING.match(region.text)
    while passing:
        region = region.part(passing.end(), len(region.text))
        passing = _PASSING.match(region.text)
    shell = _SHELL_CELL.match(region.text)
    if shell:
        _run(region.part(shell.end(), len(region.text)), commands, scope, python=False)
        return
    if region.text.startswith("%%"):
        return
    for line in _lines(region):
        found = _LINE.match(line.text)
        if found:
            _run(line.part(found.end(), len(line.text)), commands, scope, python=True)
            continue
        if "environ[" in line.text:
            one = _assigned(line)
            scope += [one] if one else []
            commands.settings += [one] if one else []
        setting = _ENV.match(line.text)
        if setting:
            known = not re.search(r"[{$]", setting[2])
            span = line.span(setting.start(1), setting.end(2))
            one = Setting(setting[1], setting[2] if known else None, "env", span)
            scope.append(one)
            commands.settings.append(one)


def _assigned(line: Region) -> Optional[Setting]:
    """``os.environ["NAME"] = "value"`` on a line of Python."""
    text = line.text.strip()
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Subscript):
            continue
        name, value = node.targets[0].slice, node.value
        if ast.unparse(node.targets[0].value) in ("os.environ", "environ") and isinstance(name, ast.Constant):
            at = line.text.index(text)
            known = value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else None
            return Setting(str(name.value), known, "env", line.span(at, at + len(text)))
    return None


def _run(region: Region, commands: Commands, scope: list[Setting], python: bool) -> None:
    script = Script(scope, commands.text, commands.group, 0)
    script.run(script.hide(region, _PYTHON) if python else region)
    commands.take(script)


def _lines(region: Region) -> Iterator[Region]:
    """The lines of a cell; one that ends in a backslash goes on."""
    start = 0
    for found in re.finditer(r"(?:[^\n]*\\\n)*[^\n]*(?:\n|$)", region.text):
        if found.end() > start:
            yield region.part(found.start(), found.start() + len(found[0].rstrip("\n")))
        start = found.end()
