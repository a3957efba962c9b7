"""Import statements that name moved paths, and the edits that write the new ones."""

from collections.abc import Sequence
from typing import Any, Optional

from kit.recipes.moved.finder import Code, Import
from kit.recipes.moved.table import Match, Row, find
from kit.record import Record

_WIDE = 110  # an import that grows longer is put into brackets


class Found(Record):
    """A place that names a moved path.  ``edits`` are (start, end, new text) in the code; none where it is for a
    person to decide, and then ``why`` says so."""

    start: int
    end: int
    row: Row
    rest: str = ""
    edits: tuple[tuple[int, int, str], ...] = ()
    why: str = ""
    safe: bool = True
    also: tuple[str, ...] = ()  # further paths of the same statement, and what they are now

    @property
    def old(self) -> str:
        return self.row.path + self.rest

    @property
    def now(self) -> str:
        return self.row.now + self.rest if self.row.now else ""


class Statements(Code):
    """The import statements of one text, and what was found so far."""

    def __init__(self, text: str, guarded: bool) -> None:
        super().__init__(text)
        self.both = guarded
        self.found: list[Found] = []
        self.handled: set[int] = set()  # ids of names whose use is rewritten by itself
        self.provided: set[str] = set()  # modules that rewritten imports bring in under their own name
        self.rewritten: dict[int, int] = {}  # id of an import statement -> its place in ``found``
        self.added: set[str] = set()  # imports that edits add

    def _import_statement(self, one: Import) -> None:
        if one.module == "":
            self._plain_import(one)
        elif one.module is not None and one.star:
            match = find(one.module)
            if match is not None:
                self._module_alone(one, match)
        elif one.module is not None:
            self._from_import(one)

    def _plain_import(self, one: Import) -> None:
        """``import a.b``, ``import a.b as c``."""
        for alias in one.names:
            path = self.dotted(alias.name)
            match = find(path)
            if match is None or self.guarded(one.node, {self.bound(alias)}, {match.now}):
                continue
            start, end = self.span(alias.name)
            new = match.now if match.row.write == "modules" and not match.rest else ""
            why = "" if new else undecided(match)
            edits: tuple[tuple[int, int, str], ...] = ()
            if new and self.both and not match.row.always:
                if alias.asname is None or len(one.names) > 1:
                    new, why = (
                        "",
                        "Code that runs with old and new releases needs an import with a name of its own here",
                    )
                else:
                    edits, why = self._tried(one, f"import {new} as {self.bound(alias)}")
            elif new and alias.asname is None:
                edits = ((start, end, self._with_parent(one, path, new)),)
                self.provided.add(new)
            elif new:
                edits = ((start, end, new),)
            if edits:
                self.rewritten[id(one.node)] = len(self.found)
            self.found.append(Found(start, end, match.row, match.rest, edits, why))

    def _with_parent(self, one: Import, path: str, new: str) -> str:
        """The new module, and the folder of the old one where it is still asked for."""
        others = [node for node in self.reached(one) if id(self.root(node)) not in self.handled]
        parent = path.rpartition(".")[0]
        while parent and find(parent) is not None:
            parent = parent.rpartition(".")[0]
        needless = not parent or (parent == new.partition(".")[0])
        return new if needless or not others else f"{parent}, {new}"

    def _module_alone(self, one: Import, match: Match) -> None:
        """``from a.b import *``."""
        start, end = self.span(one.node.module)
        if self.guarded(one.node, {"*"}, {match.now}):
            return
        if match.row.write != "modules" or match.rest:
            self.found.append(Found(start, end, match.row, match.rest, (), undecided(match)))
            return
        edits: tuple[tuple[int, int, str], ...] = ((start, end, match.now),)
        why = ""
        if self.both and not match.row.always:
            edits, why = self._tried(one, f"from {match.now} import *")
        self.found.append(Found(start, end, match.row, "", edits, why))

    def _from_import(self, one: Import) -> None:
        """``from a.b import x, y as z``, whose names may have gone to different places."""
        assert one.module is not None
        matches: list[Optional[Match]] = []
        news: list[str] = []
        for alias in one.names:
            match = find(f"{one.module}.{self.dotted(alias.name)}")
            bound, now = self.bound(alias), match.now if match else ""
            if match is not None and self.guarded(one.node, {bound}, {now, now.rpartition(".")[0]} - {""}):
                match = None
            unknown = (
                match is not None and match.rest.count(".") > 1
            )  # a part of a folder that the table does not list
            matches.append(match)
            news.append("" if match is None or unknown else now)
        start, end = self.span(one.node)
        for alias, match, new in zip(one.names, matches, news):
            if match is not None and not new:
                self.found.append(Found(*self.span(alias.name), match.row, match.rest, (), undecided(match)))
        sure = [match for match, new in zip(matches, news) if match is not None and new]
        if not sure:
            return
        lines = self._lines(one, matches, news)
        why = ""
        if self.both and not all(match.row.always for match in sure):
            edits, why = self._tried(one, *lines)
        else:
            edits = self._in_place(one, matches, news) or ((start, end, self._joined(one, lines)),)
            self.rewritten[id(one.node)] = len(self.found)
        others = tuple(dict.fromkeys(f"{m.row.path}{m.rest} is {m.now}" for m in sure[1:]))
        self.found.append(Found(start, end, sure[0].row, sure[0].rest, edits, why, True, others))

    def _place(self, match: Match, new: str) -> tuple[str, str]:
        """What a name is imported from and as: (module, name); ('', name) where no module is above it."""
        if match.row.write == "values":
            return "", new
        module, _, name = new.rpartition(".")
        return module, name

    def _in_place(
        self, one: Import, matches: Sequence[Optional[Match]], news: Sequence[str]
    ) -> tuple[tuple[int, int, str], ...]:
        """Edits of the statement where all its names went to one module; none where it has to be divided."""
        places = [
            self._place(match, new) if match and new else None for alias, match, new in zip(one.names, matches, news)
        ]
        modules = {place[0] for place in places if place is not None}
        if None in places or len(modules) != 1 or modules == {""}:
            return ()
        edits = [] if modules == {one.module} else [(*self.span(one.node.module), modules.pop())]
        for alias, place in zip(one.names, places):
            if place is not None and self.dotted(alias.name) != place[1]:
                as_name = "" if alias.asname is not None else f" as {self.bound(alias)}"
                edits.append((*self.span(alias.name), place[1] + as_name))
        return tuple(edits)

    def _lines(self, one: Import, matches: Sequence[Optional[Match]], news: Sequence[str]) -> list[str]:
        """The statements that take the place of one whose names went to different modules."""
        stay: list[Any] = []
        groups: dict[str, list[Any]] = {}
        values: list[str] = []
        for alias, match, new in zip(one.names, matches, news):
            if match is None or not new:
                stay.append(alias)
                continue
            module, name = self._place(match, new)
            if module:
                groups.setdefault(module, []).append(self._renamed(alias, name))
            elif match.row.write == "modules":
                asked = "" if name == self.bound(alias) else f" as {self.bound(alias)}"
                values.append(f"import {name}{asked}")
            elif name != self.bound(alias):
                values.append(f"{self.bound(alias)} = {name}")
        written = [self._only(one, one.node.module, stay)] if stay else []
        written += [self._only(one, self._dotted_node(module), names) for module, names in groups.items()]
        return written + values or ["pass"]

    def _renamed(self, alias: Any, name: str) -> Any:
        if self.dotted(alias.name) == name:
            return alias
        node = alias.with_changes(name=self.cst.Name(name))
        if alias.asname is None:
            node = node.with_changes(asname=self.cst.AsName(self.cst.Name(self.bound(alias))))
        return node

    def _dotted_node(self, module: str) -> Any:
        return self.cst.parse_expression(module)

    def _only(self, one: Import, module: Any, names: list[Any]) -> str:
        """The statement with this module and these of its names, brackets and comments kept."""
        last = names[-1]
        comment = isinstance(last.comma, self.cst.Comma) and isinstance(
            last.comma.whitespace_after, self.cst.ParenthesizedWhitespace
        )
        if not comment:
            names = [*names[:-1], last.with_changes(comma=self.cst.MaybeSentinel.DEFAULT)]
        text = str(self.module.code_for_node(one.node.with_changes(module=module, names=names)))
        indent = self._alone(one)[1]
        text = text.replace("\r\n", "\n").replace("\n", "\n" + indent)  # it is written as if it stood at the margin
        if "\n" in text or len(indent) + len(text) <= _WIDE:
            return text
        head, _, after = text.partition(" import ")
        parts = [part.strip() for part in after.strip("() ").split(",")]
        lines = "".join(f"\n{indent}{self.module.default_indent}{part}," for part in parts if part)
        return f"{head} import ({lines}\n{indent})"

    def _joined(self, one: Import, lines: Sequence[str]) -> str:
        """Statements in the place of one: on lines of their own, where it has one."""
        alone, indent = self._alone(one)
        return ("\n" + indent).join(lines) if alone else "; ".join(lines)

    def _alone(self, one: Import) -> tuple[bool, str]:
        """Whether a statement has a line of its own, and what that begins with."""
        line = self.parents[one.node]
        start = self.span(one.node)[0]
        indent = self.text[self.text.rfind("\n", 0, start) + 1 : start]
        return isinstance(line, self.cst.SimpleStatementLine) and len(line.body) == 1 and not indent.strip(), indent

    def _tried(self, one: Import, *new: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
        """The edits that write the new import, and the old one where that fails; or why not."""
        alone, indent = self._alone(one)
        if not alone:
            return (), "It shares its line with other code, so that it cannot be tried both ways there"
        start, end = self.span(one.node)
        step = self.module.default_indent
        inner = "\n" + indent + step

        body, old = (
            [part.replace("\r\n", "\n").replace("\n", "\n" + step) for part in parts]
            for parts in (new, [self.text[start:end]])
        )
        text = f"try:{inner}{inner.join(body)}\n{indent}except ImportError:{inner}{old[0]}"
        return ((start, end, text),), ""


def undecided(match: Match) -> str:
    """Why a path is for a person to rewrite."""
    if not match.row.now:
        return "Nothing takes its place"
    if not match.row.write:
        return f"{match.row.now} is its successor, and does not do quite the same"
    return "What was below it is in no table"
