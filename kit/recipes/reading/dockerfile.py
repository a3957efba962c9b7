"""Dockerfiles: stages, variables, and the commands of every RUN.

A :class:`Stage`'s span is of its FROM instruction; the place ``("stages", n, "image")`` is of the image in it.  A
:class:`Setting`'s span is of ``NAME=value``.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Optional

from kit.recipes.model import Command, Install, Recipe, Setting, Span, Stage, Unread, Word
from kit.recipes.reading import wrappers
from kit.recipes.reading.beside import Beside
from kit.recipes.reading.commands import installs
from kit.recipes.reading.scope import mentioned
from kit.recipes.reading.shell import Script
from kit.recipes.reading.source import Region, errors, json_string, parse
from kit.recipes.reading.variables import expand

if TYPE_CHECKING:
    from tree_sitter import Node

_TEMPLATE = re.compile(r"\{\{[^{}\n]*\}\}|\{%[^{}\n]*%\}")
# A line that a list in JSON may follow, and one that begins with a test: "[ -s file ]".
_INSTRUCTION = re.compile(
    r"[ \t]*(ONBUILD[ \t]+)?(RUN|CMD|ENTRYPOINT|SHELL|COPY|ADD|VOLUME|HEALTHCHECK[ \t]+CMD)"
    r"([ \t]+--\S+)*[ \t]*\\\s*$",
    re.I,
)
_TEST = re.compile(r"([ \t]*)\[(?=[ \t\[])")
_SHELLS = ("sh", "bash", "zsh", "dash", "ash", "ksh")


def read(path: str, text: str) -> Recipe:
    """Read a Dockerfile."""
    return _Reader(path, text).recipe()


def _plain(text: str) -> str:
    """A text without two things that the grammar takes for others, each character in its place: here-strings, and a
    test where a continued line begins."""
    lines = text.replace("<<<", "___").splitlines(keepends=True)
    for number, (above, line) in enumerate(zip(lines, lines[1:]), 1):
        if above.rstrip().endswith("\\") and not _INSTRUCTION.match(above):
            lines[number] = _TEST.sub(r"\1_", line, count=1) if _TEST.match(line) else line
    return "".join(lines)


class _Reader:
    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text
        self.stages: list[Stage] = []
        self.scopes: list[list[Setting]] = []  # of each stage
        self.shells: list[tuple[str, ...]] = []
        self.users: list[str] = []
        self.globals: list[Setting] = []
        self.commands: list[Command] = []
        self.settings: list[Setting] = []
        self.unread: list[Unread] = []
        self.places: list[tuple[tuple[object, ...], Span]] = []
        self.beside = Beside(path, copies=[])
        self.environments: dict[int, str] = {}  # of conda, by group
        self.group = -1

    def recipe(self) -> Recipe:
        root = parse("containerfile", _plain(self.text))
        for node in errors(root):
            self.skipped(node, "no instruction of a Dockerfile")
        for node in root.children:
            self.instruction(node)
        stages = [Stage(s.image, s.span, s.name, s.parent, user) for s, user in zip(self.stages, self.users)] or [
            Stage(None, Span(0, 0))
        ]
        return Recipe(
            self.path,
            "dockerfile",
            self.text,
            tuple(stages),
            tuple(self.commands),
            tuple(self.installs()),
            tuple(self.settings),
            tuple(sorted(self.unread, key=lambda u: u.line)),
            None,
            tuple(self.places),
        )

    def installs(self) -> Iterator[Install]:
        """What is installed; where the shell is ``conda run -n NAME``, into that environment."""
        for one in installs(self.commands, self.text, self.beside, [stage.parent for stage in self.stages]):
            into = self.environments.get(one.command.group) if one.command else None
            yield Install(**{**one.__dict__, "python": into}) if into and not one.python else one

    def instruction(self, node: "Node") -> None:
        kind = node.type.partition("_instruction")[0]
        if kind == "from":
            self.begin(node)
        elif kind == "arg":
            self.arguments(node)
            return
        if kind.upper() in ("RUN", "ENV", "USER", "SHELL", "COPY", "ADD", "ONBUILD") and not self.stages:
            self.skipped(node, f"{kind.upper()} stands before the first FROM: read as a part of a Dockerfile")
            self.stage(Stage(None, Span(0, 0)))
        if kind == "env":
            # All values of one ENV are filled in with what held before it.
            for setting in [self.pair(c, "env") for c in node.children if c.type == "env_pair"]:
                self.set(setting)
        elif kind == "run":
            self.run(node)
        elif kind == "user":
            name = self.at(node).split(None, 1)
            self.users[-1] = self.expanded(name[1].strip())[0] if len(name) > 1 else ""
        elif kind == "shell":
            self.shells[-1] = tuple(word.text for word in self.words(node))
        elif kind in ("copy", "add"):
            self.copy(node)
        elif kind == "onbuild":
            for child in node.children:
                if child.type == "run_instruction":
                    self.run(child)

    # -- stages and variables -----------------------------------------------------------------------------------

    def begin(self, node: "Node") -> None:
        spec = next((c for c in node.children if c.type == "image_spec"), None)
        alias = next((c for c in node.children if c.type == "image_alias"), None)
        written = self.at(spec).strip("\"'") if spec else ""
        values = {s.name: s for s in self.globals}
        image, known = expand(written, lambda name: mentioned(values.get(name), self.text))
        names = [stage.name.lower() for stage in self.stages]
        parent = None
        if known and image.lower() in names and image:
            parent = len(names) - 1 - names[::-1].index(image.lower())
        name = self.at(alias) if alias else ""
        if spec:
            self.places.append((("stages", len(self.stages), "image"), self.span(spec)))
        known = known and image != "" and "{{" not in image
        self.stage(Stage(image if known and parent is None else None, self.span(node), name, parent))

    def stage(self, stage: Stage) -> None:
        """Begin a stage with what it has from the one that it goes on from."""
        parent = stage.parent
        self.stages.append(stage)
        inherited = [] if parent is None else [s for s in self.scopes[parent] if s.how == "env"]
        self.scopes.append(inherited)
        self.shells.append(("/bin/sh", "-c") if parent is None else self.shells[parent])
        self.users.append("" if parent is None else self.users[parent])

    def arguments(self, node: "Node") -> None:
        for pair in node.children:
            if pair.type != "arg_pair":
                continue
            setting = self.pair(pair, "arg")
            if not self.stages:
                self.globals = [s for s in self.globals if s.name != setting.name] + [setting]
                self.settings.append(setting)
                continue
            if "=" not in self.at(pair):  # what was said before the first FROM
                outer = next((s for s in self.globals if s.name == setting.name), None)
                if outer is not None:
                    setting = Setting(setting.name, outer.value, "arg", setting.span)
            self.set(setting)

    def set(self, setting: Setting) -> None:
        """ENV wins over ARG, wherever they stand."""
        self.settings.append(setting)
        scope = [s for s in self.scopes[-1] if (s.name, s.how) != (setting.name, setting.how)]
        at = sum(s.how == "arg" for s in scope) if setting.how == "arg" else len(scope)
        scope.insert(at, setting)
        self.scopes[-1] = sorted(scope, key=lambda s: s.how == "env")

    def pair(self, node: "Node", how: str) -> Setting:
        name = node.child_by_field_name("name") or node.children[0]
        values = [c for c in node.children[1:] if c.is_named and c.type not in ("comment", "line_continuation")]
        value: Optional[str] = None
        if values:
            pieces = [self.expanded(*self.piece(c)) for c in values]
            value = "".join(text for text, _ in pieces) if all(known for _, known in pieces) else None
        elif any(c.type == "=" for c in node.children):
            value = ""
        return Setting(self.at(name), value, how, self.span(node))

    def piece(self, node: "Node") -> tuple[str, bool]:
        """A value without quotes, and whether variables in it count."""
        written = self.plain(node)
        if node.type == "single_quoted_string":
            return written[1:-1], False
        if node.type == "double_quoted_string":
            return re.sub(r'\\"', '"', written[1:-1]), True
        return re.sub(r"\\([^$\\])", r"\1", written), True

    def plain(self, node: "Node") -> str:
        """What is written, continued lines joined, comments in between left out."""
        dropped = [c for c in node.children if c.type in ("line_continuation", "comment")]
        out, at = "", node.start_byte
        for child in dropped:
            out, at = out + self.text[at : child.start_byte], child.end_byte
        return out + self.text[at : node.end_byte]

    def expanded(self, text: str, variables: bool = True) -> tuple[str, bool]:
        if not variables:
            return text, True
        values = {s.name: s for s in (self.scopes[-1] if self.stages else self.globals)}
        value, known = expand(text, lambda name: mentioned(values.get(name), self.text))
        return value, known and "{{" not in text

    # -- commands -----------------------------------------------------------------------------------------------

    def run(self, node: "Node") -> None:
        self.group += 1
        self.mounted(node)
        array = next((c for c in node.children if c.type == "json_string_array"), None)
        if array is not None:
            self.executed(node)
            return
        command = next((c for c in node.children if c.type == "shell_command"), None)
        if command is None:
            return
        shell = [word.rpartition("/")[2] for word in self.shells[-1]]
        if not any(name in _SHELLS for name in shell):
            self.skipped(node, f"the shell of this RUN is {self.shells[-1][0] if shell else 'none'}")
            return
        environment = wrappers.environment(self.shells[-1])
        if environment:
            self.environments[self.group] = environment
        region = self.script(node, command)
        if region is None:
            return
        stage = len(self.stages) - 1
        script = Script(self.scopes[-1], self.text, self.group, stage)
        script.run(script.hide(region, _TEMPLATE))
        self.commands += script.commands
        self.settings += script.settings
        self.unread += script.unread

    def script(self, node: "Node", command: "Node") -> Optional[Region]:
        """The text that the shell of a RUN gets."""
        blocks = [c for c in node.children if c.type == "heredoc_block"]
        markers = [c for c in command.children if c.type == "heredoc_marker"]
        start = command.start_byte
        if markers and blocks and markers[0].start_byte == start:
            program = self.text[markers[0].end_byte : command.end_byte].strip().split(None, 1)
            content = [c for c in blocks[0].children if c.type == "heredoc_content"]
            if not content:
                return None
            begin, end = content[0].start_byte, content[0].end_byte
            first = self.text[begin:end].partition("\n")[0]
            runs = program[0] if program else first[2:].strip() if first.startswith("#!") else "sh"
            names = {word.rpartition("/")[2] for word in runs.split()}
            return Region.of(self.text, begin, end) if names & set(_SHELLS) else None
        end = max([command.end_byte, *(b.end_byte for b in blocks)])
        region = Region.of(self.text, start, end)
        dropped: list[int] = []
        for child in command.children:
            if child.type in ("comment", "line_continuation"):  # what Docker leaves out before the shell gets it
                dropped += range(child.start_byte - start, child.end_byte - start)
        if not blocks:  # empty lines within a continued one
            dropped += [at for at in range(command.end_byte - start) if region.text[at] in "\r\n"]
        return region.without(dropped)

    def executed(self, node: "Node") -> None:
        """``RUN ["pip", "install", "torch"]``: no shell, so no variables either."""
        words = self.words(node)
        if not words:
            return
        settings = tuple(self.scopes[-1])
        stage = len(self.stages) - 1
        texts = [word.text for word in words]
        if texts[0].rpartition("/")[2] in _SHELLS and texts[1:2] in (["-c"], ["-lc"], ["-ec"]) and len(texts) > 2:
            region = json_string(self.text, words[2].span.start, words[2].span.end)
            if region is not None:
                script = Script(settings, self.text, self.group, stage).run(region)
                self.commands += script.commands
                self.settings += script.settings
                self.unread += script.unread
                return
        span = Span(words[0].span.start, words[-1].span.end)
        self.commands.append(Command(tuple(words), span, "", self.group, stage, settings))

    def words(self, node: "Node") -> list[Word]:
        array = next((c for c in node.children if c.type == "json_string_array"), None)
        words = []
        for child in array.children if array else ():
            if child.type == "json_string":
                region = json_string(self.text, child.start_byte, child.end_byte)
                if region is not None:
                    words.append(Word(region.text, self.at(child), self.span(child)))
        return words

    def copy(self, node: "Node") -> None:
        if any(self.at(c).startswith("--from") for c in node.children if c.type == "param"):
            return
        paths = [self.expanded(self.at(c))[0].strip("\"'") for c in node.children if c.type == "path"]
        paths = paths or [word.text for word in self.words(node)]
        for source in paths[:-1]:
            self.beside.copied(source, paths[-1])

    def mounted(self, node: "Node") -> None:
        """``RUN --mount=type=bind,source=requirements.txt,target=/tmp/requirements.txt``."""
        for child in node.children:
            if child.type == "mount_param":
                given = dict(p.partition("=")[::2] for p in self.at(child).partition("=")[2].split(","))
                source = given.get("source", given.get("src", "." if given.get("type") == "bind" else ""))
                target = given.get("target", given.get("dst", given.get("destination", "")))
                if source and target and "from" not in given:
                    self.beside.copied(source, target)

    # -- places -------------------------------------------------------------------------------------------------

    def at(self, node: "Node") -> str:
        return self.text[node.start_byte : node.end_byte]

    def span(self, node: "Node") -> Span:
        end = node.start_byte + len(self.at(node).rstrip())
        return Span(node.start_byte, end)

    def skipped(self, node: "Node", why: str) -> None:
        line = self.text.count("\n", 0, node.start_byte) + 1
        first = self.at(node).strip().partition("\n")[0][:60]
        self.unread.append(Unread(line, f"{why}: {first}" if first else why))
