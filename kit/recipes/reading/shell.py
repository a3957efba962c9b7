"""Shell: the simple commands of a script in order, with the variables that each of them finds.

A :class:`Setting`'s span is of the whole assignment, ``NAME=value``.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Optional

from kit.recipes.model import Command, Setting, Span, Unread, Word
from kit.recipes.reading.scope import given_by_env, mentioned, merged
from kit.recipes.reading.source import DEEPEST, Region, errors, nodes, parse
from kit.recipes.reading.words import ANY_HIDDEN, Words, end_of, flat, hiding, quoted
from kit.recipes.reading.wrappers import script_of

if TYPE_CHECKING:
    from tree_sitter import Node

EXPORTED = ("env", "arg", "export")
SUBSTITUTIONS = ("command_substitution", "process_substitution")
_SEPARATORS = {";", "\n", "&", ";;", ";&", ";;&"}
_ARRAY = {"array", "subscript"}


class Script:
    """What a shell's text comes to.  ``scope`` are the variables after it, ``settings`` all that are written."""

    def __init__(self, scope: Iterable[Setting], file: str, group: int, stage: int) -> None:
        self.file, self.group, self.stage = file, group, stage
        self.scope: dict[str, Setting] = {}
        for one in scope:
            self._set(one)
        self.commands: list[Command] = []
        self.settings: list[Setting] = []
        self.unread: list[Unread] = []
        self.after = ""
        self.hidden: list[str] = []

    def run(self, region: Region, depth: int = 0) -> "Script":
        """Read a text that this shell runs."""
        _Reader(self, region).read(depth)
        return self

    def hide(self, region: Region, pattern: "re.Pattern[str]") -> Region:
        """A text in which another language's expressions, ``${{ ... }}``, count as letters that nobody knows."""

        def letters(found: "re.Match[str]") -> str:
            self.hidden.append(found[0])
            return hiding(len(self.hidden) - 1, len(found[0]))

        plain = ANY_HIDDEN.sub(lambda found: "_" * len(found[0]), region.text)
        return region.rewritten(pattern.sub(letters, plain))

    def _set(self, setting: Setting) -> None:
        self.scope.pop(setting.name, None)
        self.scope[setting.name] = setting


def read(region: Region, file: str, scope: Iterable[Setting] = (), group: int = 0, stage: int = 0) -> Script:
    """Read a shell's text that stands in ``file`` (the whole text of it)."""
    return Script(scope, file, group, stage).run(region)


class _Reader:
    """Walks the tree of one text."""

    def __init__(self, script: Script, region: Region) -> None:
        self.script, self.region, self.text = script, region, region.text
        self.depth = 0
        self.words = Words(region, script.file, self.lookup, script.hidden)

    def read(self, depth: int) -> None:
        self.depth = depth
        root = parse("bash", self.text)
        for node in errors(root):
            self.unread(node, "the shell's grammar does not know this")
        self.sequence(root.children)

    def unread(self, node: "Node", why: str) -> None:
        start = self.region.span(node.start_byte, node.start_byte).start
        self.script.unread.append(Unread(self.script.file.count("\n", 0, start) + 1, why))

    # -- statements ---------------------------------------------------------------------------------------------

    def sequence(self, children: Iterable["Node"]) -> None:
        for child in children:
            if child.type in _SEPARATORS:
                self.script.after = ";"
            elif child.is_named and child.type != "comment":
                self.statement(child)
                self.script.after = ";"

    def statement(self, node: "Node") -> None:
        if self.depth > DEEPEST:
            self.unread(node, "nested too deeply")
            return
        self.depth += 1
        kind = node.type
        if kind == "command":
            self.command(node, node)
        elif kind == "list":
            self.alternatives(flat(node))
        elif kind == "redirected_statement":
            self.redirected(node)
        elif kind in ("variable_assignment", "variable_assignments", "declaration_command"):
            self.assignments(node)
        elif kind == "unset_command":
            for name in nodes(node, "variable_name", "word"):
                self.script.scope.pop(self.at(name), None)
        elif kind in ("test_command", "declaration_command"):
            self.test(node)
        elif kind == "pipeline":
            self.pipeline(node)
        elif kind == "if_statement":
            self.branches(node)
        elif kind == "case_statement":
            self.cases(node)
        elif kind in ("for_statement", "c_style_for_statement", "while_statement"):
            self.loop(node)
        elif kind in ("subshell", *SUBSTITUTIONS):
            kept = dict(self.script.scope)
            self.sequence(node.children)
            self.script.scope = kept
        elif kind == "function_definition":
            kept = dict(self.script.scope)
            body = node.child_by_field_name("body")
            self.sequence([body] if body else [])
            self.script.scope = kept
        else:  # a compound statement, a negated command, what the grammar could not place
            self.sequence(node.children)
        self.depth -= 1

    def alternatives(self, children: Iterable["Node"]) -> None:
        """``a && b || c``: what is set after ``||`` may be set or not."""
        operator = ""
        for child in children:
            if not child.is_named:
                operator = child.type if child.type in ("&&", "||") else operator
                continue
            if child.type == "comment":
                continue
            before = dict(self.script.scope)
            if operator:
                self.script.after = operator
            self.statement(child)
            if operator == "||":
                self.script.scope = merged([before, self.script.scope])

    def pipeline(self, node: "Node") -> None:
        kept = dict(self.script.scope)
        for child in node.children:
            if child.type in ("|", "|&"):
                self.script.after = "|"
            elif child.is_named and child.type != "comment":
                self.statement(child)
                self.script.scope = dict(kept)
        self.script.scope = kept

    def branches(self, node: "Node") -> None:
        """``if``: a variable that is set in one branch and not in the other is not known afterwards."""
        own = [c for c in node.children if c.type not in ("elif_clause", "else_clause", "fi", "if")]
        clauses = [c for c in node.children if c.type in ("elif_clause", "else_clause")]
        branches = [own, *([c for c in clause.children if c.type not in ("elif", "else")] for clause in clauses)]
        outcomes: list[dict[str, Setting]] = []
        for parts in branches:
            then = next((i for i, part in enumerate(parts) if part.type == "then"), -1)
            self.sequence(parts[: max(then, 0)])
            condition = dict(self.script.scope)
            self.script.after = ";"
            self.sequence(parts[then + 1 :])
            outcomes.append(self.script.scope)
            self.script.scope, self.script.after = condition, ";"
        if not any(clause.type == "else_clause" for clause in clauses):
            outcomes.append(dict(self.script.scope))
        self.script.scope = merged(outcomes)

    def cases(self, node: "Node") -> None:
        before = dict(self.script.scope)
        outcomes = [before]
        for item in node.children:
            if item.type == "case_item":
                self.script.scope, self.script.after = dict(before), ";"
                values = {v.id for v in item.children_by_field_name("value")}
                self.sequence(c for c in item.children if c.id not in values)
                outcomes.append(self.script.scope)
        self.script.scope = merged(outcomes)

    def loop(self, node: "Node") -> None:
        before = dict(self.script.scope)
        name = node.child_by_field_name("variable")
        if name is not None:
            self.inner_commands(node.children_by_field_name("value"))
            here = self.region.span(name.start_byte, name.end_byte)
            self.script._set(Setting(self.at(name), None, "shell", here))
        if node.type != "while_statement":
            body = node.child_by_field_name("body")
            self.sequence([body] if body else [])
        else:
            self.sequence(node.children)
        self.script.scope = merged([before, self.script.scope])

    def redirected(self, node: "Node") -> None:
        body = node.child_by_field_name("body")
        redirects = [c for c in node.children if c.is_named and (body is None or c.id != body.id)]
        if body is not None:
            if body.type == "command":
                self.command(body, node, redirects)
            else:
                self.inner_commands(redirects)
                self.statement(body)
        for heredoc in redirects:
            if heredoc.type == "heredoc_redirect":
                self.script.after = ";"
                self.alternatives(
                    c
                    for c in heredoc.children
                    if c.type in ("&&", "||") or c in heredoc.children_by_field_name("right")
                )
                self.script.after = "|"
                self.sequence(c for c in heredoc.children if c.type == "pipeline")

    # -- commands -----------------------------------------------------------------------------------------------

    def command(self, node: "Node", whole: "Node", redirects: Iterable["Node"] = ()) -> None:
        redirects = list(redirects)
        prefixes = [c for c in node.children if c.type == "variable_assignment"]
        arguments = [c for c in node.children if c.is_named and c.type not in ("variable_assignment", "comment")]
        arguments = [c for c in arguments if not c.type.endswith("_redirect")]
        for redirect in redirects:  # `pip install a > log b`: b is an argument
            if redirect.type == "file_redirect":
                arguments += redirect.children_by_field_name("destination")[1:]
            elif redirect.type == "heredoc_redirect":
                arguments += redirect.children_by_field_name("argument")
        self.inner_commands([*node.children, *redirects])
        words = [word for argument in arguments for word in self.words.of(argument)]
        prefixed = [self.setting(p, "prefix") for p in prefixes]
        end = max([whole.end_byte if not redirects else node.end_byte, *(end_of(r) for r in redirects)])
        self.add(words, self.region.span(node.start_byte, end), prefixed)
        self.scripts(words, arguments, prefixed, redirects)

    def add(self, words: list[Word], span: Span, prefixed: "Iterable[Setting]" = ()) -> None:
        script = self.script
        prefixed = [*prefixed, *given_by_env(words)]
        settings = (*script.scope.values(), *prefixed)
        after = script.after if script.commands and script.commands[-1].group == script.group else ""
        script.commands.append(Command(tuple(words), span, after, script.group, script.stage, settings))

    def scripts(
        self, words: list[Word], arguments: "list[Node]", prefixed: list[Setting], redirects: "list[Node]"
    ) -> None:
        """``bash -c "..."``, ``eval "..."`` and ``bash <<EOF``: what runs in them."""
        at = script_of([word.text for word in words])
        if at is None or not words:
            return
        kept = dict(self.script.scope)
        for setting in prefixed:
            self.script._set(setting)
        self.script.after = ";"
        if at == len(words):
            for heredoc in nodes(redirects[-1], "heredoc_body") if redirects else ():
                part = self.region.part(heredoc.start_byte, heredoc.end_byte)
                _Reader(self.script, part).read(self.depth + 1)
        else:
            written = next(
                (a for a in arguments if self.region.span(a.start_byte, a.end_byte) == words[at].span), None
            )
            if written is not None and self.depth < DEEPEST:
                _Reader(self.script, quoted(self.region.part(written.start_byte, written.end_byte))).read(
                    self.depth + 1
                )
        self.script.scope = kept

    def test(self, node: "Node") -> None:
        self.inner_commands(node.children)
        pieces = re.finditer(r"\S+", self.at(node))
        spans = [self.region.span(node.start_byte + p.start(), node.start_byte + p.end()) for p in pieces]
        raws = [self.written(span) for span in spans]
        words = [Word(raw, raw, span, "$" not in raw) for raw, span in zip(raws, spans)]
        self.add(words, self.region.span(node.start_byte, node.end_byte))

    def inner_commands(self, places: Iterable["Node"]) -> None:
        """What ``$(...)`` and backticks run, which is before the command that they stand in."""
        for place in places:
            if place.type in ("heredoc_redirect",):
                continue
            for node in nodes(place, *SUBSTITUTIONS):
                after = self.script.after
                self.statement(node)
                self.script.after = after

    # -- variables ----------------------------------------------------------------------------------------------

    def assignments(self, node: "Node") -> None:
        keyword = self.at(node.children[0]) if node.type == "declaration_command" else ""
        words = [self.at(c) for c in node.children if c.type == "word"]
        exported = keyword == "export" or any(w.startswith("-") and "x" in w for w in words)
        self.inner_commands(node.children)
        if keyword:
            named = [c for c in node.children if c.is_named and c.type != "comment"]
            first = node.children[0]
            word = Word(keyword, keyword, self.region.span(first.start_byte, first.end_byte))
            rest = [w for c in named for w in self.words.of(c)]
            self.add([word, *rest], self.region.span(node.start_byte, node.end_byte))
        for child in [node] if node.type == "variable_assignment" else node.children:
            if child.type == "variable_assignment":
                setting = self.setting(child, "export" if exported else "shell")
                before = self.script.scope.get(setting.name)
                if before and before.how in EXPORTED:
                    setting = Setting(setting.name, setting.value, "export", setting.span)
                if setting.name:
                    self.script._set(setting)
            elif child.type == "variable_name" and exported and self.at(child) in self.script.scope:
                before = self.script.scope[self.at(child)]
                self.script._set(Setting(before.name, before.value, "export", before.span))

    def setting(self, node: "Node", how: str) -> Setting:
        name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
        text: Optional[str] = ""
        if value is not None:
            text, known = self.words.value(value)
            text = text if known and value.type not in _ARRAY and not ANY_HIDDEN.search(text) else None
        if any(c.type == "+=" for c in node.children) and text is not None:
            before = self.script.scope.get(self.at(name) if name else "")
            text = before.value + text if before and before.value is not None else None
        if name is None or name.type in _ARRAY:
            text = None
        setting = Setting(
            self.at(name).partition("[")[0] if name else "",
            text,
            how,
            self.region.span(node.start_byte, node.end_byte),
        )
        self.script.settings.append(setting)
        return setting

    def lookup(self, name: str) -> "tuple[bool, Optional[str]]":
        setting = self.script.scope.get(name)
        return mentioned(setting, self.script.file)

    def at(self, node: "Node") -> str:
        return self.text[node.start_byte : node.end_byte]

    def written(self, span: Span) -> str:
        return self.script.file[span.start : span.end]
