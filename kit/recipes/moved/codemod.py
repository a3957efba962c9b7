"""Imports that moved, in Python code: where they stand, and the edits that write the new paths."""

import ast
import dataclasses
import re
import warnings
from typing import Any, Optional

from kit.recipes.moved.finder import Use
from kit.recipes.moved.statements import Found, Statements, undecided
from kit.recipes.moved.table import Match, Row, find, packages, parts


def moved(text: str, guarded: bool = False) -> tuple[Found, ...]:
    """The moved paths in Python code, from the first on.  ``guarded``: the code is to run with old and new releases.

    Raises :class:`kit.recipes.moved.finder.Unparsed`.
    """
    if not mentions(text) or not _may_hold(text):
        return ()
    return tuple(sorted(_Codemod(text, guarded).all(), key=lambda found: (found.start, found.end)))


def mentions(text: str) -> bool:
    """Whether any package of the table is named in a text."""
    return not packages().isdisjoint(re.findall(r"\w+", text))


def _may_hold(text: str) -> bool:
    """Whether a text may name a moved path: what Python's own parser finds in a tenth of the time."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes in its strings
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    paths: set[str] = set()
    asked: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            paths.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            paths.add(node.module)
            paths.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute):
            asked.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and find(node.value) is not None:
            return True
    paths |= {path[:at] for path in paths for at, sign in enumerate(path) if sign == "."}
    return any(find(path) is not None or not asked.isdisjoint(parts(path)) for path in paths)


class _Codemod(Statements):
    """One run over one text."""

    def all(self) -> list[Found]:
        uses = list(self.uses())
        self.handled = {id(use.chain[0]) for use in uses if self._portion(use) is not None}
        for one in self.imports():
            self._import_statement(one)
        patched = {use.full for use in uses if self._is_target(use)}
        for use in uses:
            if not any(use.full == path or use.full.startswith(path + ".") for path in patched):
                self._use(use)
        for call in self.nodes(self.cst.Call):
            self._string(call)
        return self.found

    # -- uses

    def _portion(self, use: Use) -> Optional[Match]:
        """The row that the attributes of a use name; what the import alone names is the import's affair."""
        match = find(use.full) if use.attributes and parts(use.path) else None
        if match is None or len(match.row.path) <= len(use.path):
            return None
        return match

    def _is_target(self, use: Use) -> bool:
        parent = self.parents.get(use.chain[-1])
        targets = (self.cst.AssignTarget, self.cst.AnnAssign, self.cst.AugAssign, self.cst.Del)
        return isinstance(parent, targets) and getattr(parent, "target", use.chain[-1]) is use.chain[-1]

    def _use(self, use: Use) -> None:
        match = self._portion(use)
        if match is None or self.guarded(use.chain[-1], set(), set()):
            return
        node = use.chain[match.row.path.count(".") - use.path.count(".")]
        start, end = self.span(node)
        row = match.row
        edits: tuple[tuple[int, int, str], ...] = ()
        why = undecided(match) if not match.now else ""
        if not why and self.both and not row.always:
            why = "Code that runs with old and new releases has to ask which of the two is there"
        if not why:
            written = self._written(use, row)
            if written is None:
                why = (
                    "A name of this code stands for something else there, so the new path has to be imported by hand"
                )
            elif written[0] == self.text[start:end]:
                return  # its import was rewritten, which is enough
            else:
                edits = ((start, end, written[0]), *written[1])
        self.found.append(Found(start, end, row, match.rest, edits, why, not row.back or self._as_type(node)))

    def _as_type(self, node: Any) -> bool:
        """Whether a node is handed to a function that takes it for a type of numbers: ``dtype=np.bool``."""
        parent = self.parents[node]
        if not isinstance(parent, self.cst.Arg):
            return False
        called = self.parents[parent]
        return isinstance(called, self.cst.Call) and self.dotted(called.func) not in ("isinstance", "issubclass")

    def _base(self, use: Use) -> str:
        """What the name of a use stands for once its imports are rewritten."""
        match = find(use.path)
        if match is None or match.row.write != "modules" or match.rest:
            return use.path
        return match.now if all(id(node) in self.rewritten for node in use.imports) else use.path

    def _written(self, use: Use, row: Row) -> "Optional[tuple[str, tuple[tuple[int, int, str], ...]]]":
        """What to write for the path of a row, and the edits that add an import for it; None where that cannot be."""
        root, base, module = use.chain[0], self._base(use), row.module
        if not module:  # Python's own
            names = re.findall(r"\b[a-z_]\w*", row.now)
            return (row.now, ()) if all(self.free(name, root) for name in names) else None
        inside = row.now.startswith(base + ".")
        text = root.value + row.now[len(base) :] if inside else row.now
        top = module.partition(".")[0]
        if inside and (module == base or row.loaded):
            return text, ()
        if self.is_import_of(top, root) and (row.loaded or module == top):
            return text, ()
        if module in self.provided or f"import {module}" in self.added or self._imported(module):
            return text, ()
        if self.assigned(top) and not self.is_import_of(top, root):
            return None
        return text, self._adding(use, f"import {module}")

    def _adding(self, use: Use, statement: str) -> tuple[tuple[int, int, str], ...]:
        """The edit that adds an import behind the one that a use comes from."""
        node = use.imports[0]
        alone, indent = self._alone(self._import(node))
        at = self.span(node)[1]
        if alone:
            at = (self.text + "\n").find("\n", at)
            at -= self.text[at - 1 : at] == "\r"
        edit = (at, at, f"\n{indent}{statement}" if alone else f"; {statement}")
        self.added.add(statement)
        place = self.rewritten.get(id(node))
        if place is None:
            return (edit,)
        found = self.found[place]  # the edits of one place belong together
        self.found[place] = dataclasses.replace(found, edits=(*found.edits, edit))
        return ()

    def _imported(self, module: str) -> bool:
        """Whether a plain import of this module stands at the first level of the text."""
        return any(
            one.module == "" and any(self.dotted(a.name) == module and a.asname is None for a in one.names)
            for one in self.imports()
            if isinstance(self.scopes.get(one.node), self.metadata.GlobalScope)
        )

    # -- strings

    def _string(self, call: Any) -> None:
        """``importlib.import_module("a.b")`` and ``__import__("a.b")``."""
        func = call.func
        if (
            not call.args
            or call.args[0].keyword is not None
            or not isinstance(call.args[0].value, self.cst.SimpleString)
        ):
            return
        literal = call.args[0].value
        path = literal.evaluated_value
        if not isinstance(path, str) or literal.prefix:
            return
        match = find(path)
        if match is None or not self._imports(func):
            return
        start, end = self.span(literal)
        if self.guarded(call, set(), set()):
            return
        new = match.now if match.row.write == "modules" and not match.rest else ""
        why = "" if new else undecided(match)
        if new and self.both and not match.row.always:
            new, why = "", "Code that runs with old and new releases has to try both names here"
        simple = isinstance(func, self.cst.Name) and func.value == "__import__"
        if new and simple and len(call.args) < 4 and not any(a.keyword for a in call.args):
            if not isinstance(self.parents[call], self.cst.Expr):  # it answers the first package
                new, why = "", "What __import__ answers is the first package, whose parts are asked for afterwards"
        edits = ((start, end, literal.quote + new + literal.quote),) if new else ()
        self.found.append(Found(start, end, match.row, match.rest, edits, why))

    def _imports(self, func: Any) -> bool:
        """Whether a function is the one that imports a module by its name."""
        if isinstance(func, self.cst.Name) and func.value == "__import__":
            return self.free("__import__", func)
        scope = self.scopes.get(func)
        names = {one.name for one in scope.get_qualified_names_for(func)} if scope is not None else set()
        return names == {"importlib.import_module"}
