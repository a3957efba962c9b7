"""Makes the one Python file that a node needs: the modules of the kit that read a machine, in a file of plain text.

    python3 kit-node.py --python EXE --node NAME -o FILE --limit S [--verify] [--bench]

It runs in any Python from 3.8 on, also from standard input (``python3 - ... < kit-node.py``), and writes nothing but
its answer.  The kit's own files are for Python 3.9: what 3.8 lacks of them are the types in annotations, and those
are taken out or written as 3.8 has them.
"""

import ast
import importlib.util
import os
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from kit.data import table
from kit.errors import KitError

NAME = "kit-node.py"
_MAIN = "kit.nodes.node"
_BESIDE = ("kit.verify_child", "kit.nodes.measure_child")  # are sent on to the interpreter under test as text
_PACKAGES = ("kit", "packaging")
# Packages whose own __init__ ties everything together, and what only shows results.
_EMPTY, _LEFT_OUT = ("kit", "kit.nodes"), ("kit.show",)

_TYPES = {name: name.capitalize() for name in ("dict", "list", "set", "tuple", "type")}
_TYPES["frozenset"] = "FrozenSet"
_ABSTRACT = ("collections.abc", "re", "subprocess", "contextlib")


def make(path: str) -> str:
    """Write the file at ``path``, or as :data:`NAME` into the folder ``path``; its path."""
    file = os.path.join(path, NAME) if os.path.isdir(path) else path
    part = f"{file}.{os.getpid()}"
    try:
        with open(part, "w", encoding="utf-8") as stream:
            stream.write(text())
        os.replace(part, file)
    except OSError as error:
        if os.path.isfile(part):
            os.unlink(part)
        raise KitError(f"{file} cannot be written: {error.strerror or error}") from None
    return file


@cache
def text() -> str:
    """The whole file."""
    sources = modules()
    rows = [f"SOURCES[{name!r}] = {_literal(source)}" for name, source in sorted(sources.items())]
    packages = sorted({name.rpartition(".")[0] for name in sources} - {""})
    return _TEMPLATE.replace("# SOURCES\n", "\n".join(rows) + "\n").replace(
        "PACKAGES = ()", f"PACKAGES = {packages!r}"
    )


@cache
def modules() -> dict[str, str]:
    """The source of every module that is needed, by its name, written for Python 3.8."""
    found: dict[str, str] = {}
    tables: set[str] = set()
    waiting = [_MAIN, *_BESIDE]
    while waiting:
        name = waiting.pop()
        if name in found or name in _LEFT_OUT:
            continue
        parent = name.rpartition(".")[0]
        if parent:
            waiting.append(parent)
        if name in _EMPTY or name == "kit.data":
            found[name] = ""
            continue
        tree = ast.parse(_source(name))
        waiting += _imports(tree, name)
        tables.update(_tables(tree))
        found[name] = _source(name) if name in _BESIDE else ast.unparse(_For38().visit(tree)) + "\n"
    rows = {name: table(name) for name in sorted(tables)}
    found["kit.data"] = f"_TABLES = {rows!r}\n\ndef table(name):\n    return _TABLES[name]\n"
    return found


def _source(name: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        hint = "; pip install packaging" if name.partition(".")[0] == "packaging" else ""
        raise KitError(f"the file for the nodes cannot be made: the module {name} is not here{hint}")
    with open(spec.origin, encoding="utf-8") as stream:
        return stream.read()


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is no package
        return False


def _imports(tree: ast.AST, name: str) -> Iterator[str]:
    """The modules of ours, and of packaging, that this one imports anywhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                package = name if _is_package(name) else name.rpartition(".")[0]
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                source = ".".join([*above, *filter(None, [node.module])])
            below = [f"{source}.{alias.name}" for alias in node.names] if source.startswith(_PACKAGES) else []
            names = [source, *(n for n in below if _is_module(n))]
        else:
            continue
        yield from (n for n in names if n.partition(".")[0] in _PACKAGES)


def _is_package(name: str) -> bool:
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.submodule_search_locations is not None


def _tables(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "table" and node.args:
            if isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)


class _For38(ast.NodeTransformer):
    """A module of Python 3.9 and later as 3.8 reads it: the annotations of functions go, those of fields stay."""

    def __init__(self) -> None:
        self.abstract: dict[str, str] = {}  # names that stand for types without [] in 3.8
        self.in_class = False

    def visit_Module(self, node: ast.Module) -> ast.Module:
        for statement in ast.walk(node):
            if isinstance(statement, ast.ImportFrom) and statement.module == "collections.abc":
                self.abstract.update({alias.asname or alias.name: alias.name for alias in statement.names})
        self.generic_visit(node)
        at = next((i for i, s in enumerate(node.body) if not _before_imports(s)), len(node.body))
        node.body.insert(at, ast.parse("import typing as _typing").body[0])
        return ast.fix_missing_locations(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        before, self.in_class = self.in_class, True
        self.generic_visit(node)
        self.in_class = before
        return node

    def visit_FunctionDef(self, node: Any) -> Any:
        before, self.in_class = self.in_class, False
        node.returns = None
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        for argument in filter(None, every):
            argument.annotation = None
        self.generic_visit(node)
        self.in_class = before
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if self.in_class:
            self.generic_visit(node)
            return node
        if node.value is None:
            return ast.Pass()
        return self.visit(ast.Assign([node.target], node.value, lineno=node.lineno))

    def visit_If(self, node: ast.If) -> Any:
        """What stands there for type checkers alone goes."""
        self.generic_visit(node)
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return node.orelse or ast.Pass()
        return node

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        self.generic_visit(node)
        name = node.value.id if isinstance(node.value, ast.Name) else None
        typed = _TYPES.get(name or "") or self.abstract.get(name or "")
        if typed is None and isinstance(node.value, ast.Attribute) and ast.unparse(node.value) == "re.Match":
            typed = "Match"
        if typed is not None:
            node.value = ast.Attribute(ast.Name("_typing", ast.Load()), typed, ast.Load())
        return node

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        self.generic_visit(node)
        if ast.unparse(node) == "functools.cache":
            return ast.parse("functools.lru_cache(maxsize=None)", mode="eval").body
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        if node.module != "functools" or "cache" not in [alias.name for alias in node.names]:
            return node
        rest = [alias for alias in node.names if alias.name != "cache"]
        instead = ast.parse("from functools import lru_cache as _lru_cache\ncache = _lru_cache(maxsize=None)").body
        return [*([ast.ImportFrom("functools", rest, 0)] if rest else []), *instead]


def _before_imports(statement: ast.stmt) -> bool:
    """A docstring, or an import from the future."""
    if isinstance(statement, ast.ImportFrom):
        return statement.module == "__future__"
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _literal(source: str) -> str:
    """``source`` as a literal that people can read."""
    if "'''" in source or "\\" in source[-1:] or "\r" in source or "\0" in source or re.search(r"\\$", source):
        return "(\n" + "\n".join(f"    {line!r}" for line in source.splitlines(keepends=True)) + "\n)"
    return f"r'''{source}'''" if source else "''"


_TEMPLATE = '''#!/usr/bin/env python3
"""Reads one node of a cluster: Python, torch, its extensions, the driver and the GPUs, as one JSON object.

    python3 kit-node.py --python EXE --node NAME -o FILE --limit S [--verify] [--bench]

The Jupyter troubleshooting kit made this file of its own modules (`kit nodes`).  It reads, and writes its answer;
user and host names, tokens and credentials are taken out before.  Any Python from 3.8 on, and nothing else.
"""

import sys

SOURCES = {}
PACKAGES = ()

if sys.version_info < (3, 8):
    import json

    said = "Python %d.%d runs here, and 3.8 or newer is needed" % sys.version_info[:2]
    given = sys.argv[sys.argv.index("--node") + 1 :][:1] if "--node" in sys.argv else []
    print(json.dumps({"schema": 1, "node": (given or ["this machine"])[0], "state": "refused", "why": said}))
    sys.exit(1)

# SOURCES

import importlib.machinery


class Inside:
    """Finds the modules that this file holds, before those that are installed."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in SOURCES:
            return None
        file = "kit-node/" + name.replace(".", "/") + ("/__init__.py" if name in PACKAGES else ".py")
        spec = importlib.machinery.ModuleSpec(name, Inside, origin=file, is_package=name in PACKAGES)
        spec.has_location = True
        return spec

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        spec = module.__spec__
        exec(compile(SOURCES[spec.name], spec.origin, "exec"), module.__dict__)

    @staticmethod
    def get_source(name):
        return SOURCES[name]


if __name__ == "__main__":
    if not sys.flags.isolated:
        del sys.path[0]  # a json.py that lies beside this file, or in the working directory, is not meant
    sys.meta_path.insert(0, Inside)
    from kit.nodes.node import main

    sys.exit(main())
'''
