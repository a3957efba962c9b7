"""What in Python code an import path stands behind: its imports, what is asked of them with a dot, and strings."""

import ast
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Optional

from kit.recipes.reading.source import missing
from kit.record import Record

if TYPE_CHECKING:
    import libcst as cst

# A branch that asks for the version, or whether a name is there, is for one kind of release alone.
_ASKS = re.compile(r"hasattr\(|version|find_spec|\bparse\(|\bLooseVersion\b", re.I)
_SPACE = frozenset(
    "whitespace leading_lines header footer lpar rpar lbracket rbracket comma semicolon trailing_whitespace "
    "whitespace_before whitespace_after whitespace_before_colon whitespace_after_import whitespace_after_from "
    "whitespace_before_import lines_after_decorators".split()
)
_DEEPEST = 400  # nodes in each other, before libcst's recursion takes minutes to give up
_CATCHES = ("ImportError", "ModuleNotFoundError", "AttributeError", "Exception", "BaseException")


def parsed(text: str) -> Any:
    """The syntax tree of a text.  Raises :class:`Unparsed`, and KitError where the parser is not installed."""
    try:
        import libcst
    except ImportError as error:
        raise missing("libcst") from error
    blamed = _blamed(text)
    try:
        return libcst.parse_module(text)
    except libcst.ParserSyntaxError as error:
        lines = text.split("\n")
        line = min(max(blamed or error.raw_line, 1), len(lines))
        raise Unparsed(line, f"this is no Python 3: {lines[line - 1].strip()[:60]}") from None
    except RecursionError:
        raise Unparsed(1, "its expressions are nested too deeply") from None


def _blamed(text: str) -> int:
    """The line that Python's own parser stops at, which is nearer to the mistake; 0 where it takes the text.  Raises
    Unparsed where expressions are nested so deeply that libcst would take minutes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except SyntaxError as error:
        return error.lineno or 0
    except (RecursionError, MemoryError):
        raise Unparsed(1, "its expressions are nested too deeply") from None
    except ValueError:  # it holds a zero byte
        pass
    return 0


class Unparsed(ValueError):
    """Code that is no Python of today: ``line`` from 1, and why."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line, self.why = line, why


class Import(Record):
    """An import statement.  ``module`` is '' for a plain ``import``, and None for a relative one."""

    node: Any
    module: Optional[str]
    names: tuple[Any, ...]  # libcst's ImportAlias; none for a star

    @property
    def star(self) -> bool:
        return not self.names


class Use(Record):
    """A name that an import has bound, with what is asked of it: ``np.float`` is ``numpy`` and ``("float",)``.

    ``chain`` are the nodes from the name to the last attribute; ``path`` is what the name stands for.
    """

    chain: tuple[Any, ...]
    path: str
    attributes: tuple[str, ...]
    imports: tuple[Any, ...]  # the statements that bind it

    @property
    def full(self) -> str:
        return ".".join((self.path, *self.attributes))


class Code:
    """Python code with its scopes.  Raises :class:`Unparsed`."""

    def __init__(self, text: str) -> None:
        module = parsed(text)
        import libcst
        from libcst import metadata

        self.cst: Any = libcst
        self.text, self.module = text, module
        self.parents: dict[Any, Any] = {}
        self._walk()
        try:
            self.wrapper = metadata.MetadataWrapper(module, unsafe_skip_copy=True)
            self.scopes = self.wrapper.resolve(metadata.ScopeProvider)
            self._spans = self.wrapper.resolve(metadata.ByteSpanPositionProvider)
        except RecursionError:
            raise Unparsed(1, "its expressions are nested too deeply") from None
        self.metadata: Any = metadata
        self._wide = None if text.isascii() else [0]
        if self._wide is not None:
            for character in text:
                self._wide.append(self._wide[-1] + len(character.encode("utf-8", "surrogatepass")))

    def span(self, node: "cst.CSTNode") -> tuple[int, int]:
        """Where a node stands, in characters."""
        place = self._spans[node]
        start, end = place.start, place.start + place.length
        if self._wide is None:
            return start, end
        from bisect import bisect_left

        return bisect_left(self._wide, start), bisect_left(self._wide, end)

    def dotted(self, node: Any) -> str:
        """The name of a module; '' where the node is none."""
        parts = []
        while isinstance(node, self.cst.Attribute):
            parts.append(node.attr.value)
            node = node.value
        return ".".join([node.value, *reversed(parts)]) if isinstance(node, self.cst.Name) else ""

    def _walk(self) -> None:
        """Note each node's parent, and the nodes asked for by their type.  libcst's own ways take seconds."""
        kinds = ("Import", "ImportFrom", "Name", "Call")
        self._kinds: dict[type, list[Any]] = {getattr(self.cst, kind): [] for kind in kinds}
        waiting = [(self.module, 0)]
        while waiting:
            node, depth = waiting.pop()
            if depth > _DEEPEST:
                raise Unparsed(1, "its expressions are nested too deeply")
            if type(node) in self._kinds:
                self._kinds[type(node)].append(node)
            for part in self.parts(node):
                self.parents[part] = node
                waiting.append((part, depth + 1))

    def parts(self, node: Any) -> Iterator[Any]:
        """The nodes within a node, white space and comments left out."""
        for name in node.__dataclass_fields__:
            if name not in _SPACE:
                value = getattr(node, name)
                for part in value if isinstance(value, (list, tuple)) else (value,):
                    if isinstance(part, self.cst.CSTNode):
                        yield part

    def nodes(self, *types: Any) -> Iterator[Any]:
        """All nodes of these types, in the order of the text."""
        found = [node for kind in types for node in self._kinds[kind]]
        return iter(sorted(found, key=lambda node: self._spans[node].start))

    def above(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Each (node, its parent) on the way from a node to the module."""
        while node in self.parents:
            yield node, self.parents[node]
            node = self.parents[node]

    # -- imports

    def imports(self) -> Iterator[Import]:
        for node in self.nodes(self.cst.Import, self.cst.ImportFrom):
            yield self._import(node)

    def _import(self, node: Any) -> Import:
        if isinstance(node, self.cst.Import):
            return Import(node, "", tuple(node.names))
        module = None if node.relative or node.module is None else self.dotted(node.module)
        names = () if isinstance(node.names, self.cst.ImportStar) else tuple(node.names)
        return Import(node, module, names)

    def bound(self, alias: Any) -> str:
        """The name that ``import a.b``, ``import a as b`` or ``from a import b`` binds."""
        if alias.asname is not None:
            return self.dotted(alias.asname.name)
        return self.dotted(alias.name).partition(".")[0]

    def stands_for(self, one: Import, alias: Any) -> Optional[str]:
        """The path of what an alias of an import binds; None for a relative one."""
        if one.module is None:
            return None
        name = self.dotted(alias.name)
        if one.module:
            return f"{one.module}.{name}"
        return name if alias.asname is not None else name.partition(".")[0]

    # -- names

    def uses(self) -> Iterator[Use]:
        """Every name that only imports bind, and what is asked of it."""
        known = self._referents()
        for node in self.nodes(self.cst.Name):
            if id(node) not in known:
                continue
            bound = known[id(node)]
            path = self._path(node.value, bound)
            if path is None:
                continue
            chain: list[Any] = [node]
            for child, parent in self.above(node):
                if not isinstance(parent, self.cst.Attribute) or parent.value is not child:
                    break
                chain.append(parent)
            asked = tuple(part.attr.value for part in chain[1:])
            yield Use(tuple(chain), path, asked, tuple({id(one.node): one.node for one in bound}.values()))

    def _referents(self) -> dict[int, list[Any]]:
        """The assignments behind a name that is read, by the node's id."""
        found: dict[int, list[Any]] = {}
        for scope in self._every_scope():
            for access in scope.accesses:
                node = self.root(access.node)
                if isinstance(node, self.cst.Name):  # what is asked of a name says nothing of where that is bound
                    found.setdefault(id(node), []).extend(access.scope[node.value])
        return found

    def _every_scope(self) -> Iterable[Any]:
        return {id(scope): scope for scope in self.scopes.values() if scope is not None}.values()

    def _path(self, name: str, bound: Sequence[Any]) -> Optional[str]:
        paths = set()
        for one in bound:
            node = getattr(one, "node", None)
            if not isinstance(node, (self.cst.Import, self.cst.ImportFrom)):
                return None
            statement = self._import(node)
            paths |= {self.stands_for(statement, a) for a in statement.names if self.bound(a) == name}
        return paths.pop() if len(paths) == 1 else None

    def reached(self, one: Import) -> list[Any]:
        """What is read of the names that an import binds, strings that are annotations included."""
        scope = self.scopes.get(one.node)
        found = {}
        for assignment in scope.assignments if scope is not None else ():
            if getattr(assignment, "node", None) is one.node:
                for access in assignment.references:
                    name = self.root(access.node)
                    there = access.scope[name.value] if isinstance(name, self.cst.Name) else [assignment]
                    if any(getattr(other, "node", None) is one.node for other in there):
                        found[id(access.node)] = access.node
        return list(found.values())

    def root(self, node: Any) -> Any:
        """The name before the first dot."""
        while isinstance(node, self.cst.Attribute):
            node = node.value
        return node

    def free(self, name: str, node: Any) -> bool:
        """Whether a name stands for what Python has under it by itself, where ``node`` stands."""
        scope = self.scopes.get(node)
        there = scope[name] if scope is not None else ()
        return bool(there) and all(isinstance(one, self.metadata.BuiltinAssignment) for one in there)

    def assigned(self, name: str) -> bool:
        """Whether anything in the whole text binds this name."""
        return any(name in {one.name.partition(".")[0] for one in scope.assignments} for scope in self._every_scope())

    def is_import_of(self, name: str, node: Any) -> bool:
        """Whether a name stands for the package of that name, where ``node`` stands."""
        scope = self.scopes.get(node)
        there = list(scope[name]) if scope is not None else []
        return bool(there) and self._path(name, there) == name

    # -- what must stay

    def guarded(self, node: Any, binds: "set[str]", news: "set[str]") -> bool:
        """Whether the code around an import or a use already chooses between old and new releases."""
        for child, parent in self.above(node):
            if isinstance(parent, (self.cst.If, self.cst.IfExp)) and child is not parent.test:
                if _ASKS.search(self.module.code_for_node(parent.test)):
                    return True
            if isinstance(parent, (self.cst.If, self.cst.Try)) and self._elsewhere(parent, child, binds, news):
                return True
        return False

    def _elsewhere(self, parent: Any, child: Any, binds: "set[str]", news: "set[str]") -> bool:
        """Whether another branch imports the same names, or the new place; or asks for what is missing here."""
        if isinstance(parent, self.cst.Try):
            caught = " ".join(self.module.code_for_node(h.type) if h.type else "Exception" for h in parent.handlers)
            if not any(re.search(rf"\b{name}\b", caught) for name in _CATCHES):
                return False
            if not binds:  # a use: whoever catches AttributeError expects it
                return bool(re.search(r"\bAttributeError\b", caught)) and child is not parent.finalbody
        waiting = [one for one in self.parts(parent) if one is not child]
        while waiting:
            one = waiting.pop()
            if isinstance(one, (self.cst.Import, self.cst.ImportFrom)):
                there = self._import(one)
                if binds & {self.bound(alias) for alias in there.names}:
                    return True
                paths = {there.module or ""} | {self.stands_for(there, alias) or "" for alias in there.names}
                if news & paths or (there.star and "*" in binds):
                    return True
            waiting.extend(self.parts(one))
        return False
