"""Apptainer definition files: stages, what ``%post`` runs, and the variables of ``%environment``."""

import re
from collections.abc import Iterator
from typing import Optional

from kit.recipes.model import Recipe, Setting, Span, Stage, Unread
from kit.recipes.reading.beside import Beside
from kit.recipes.reading.commands import Commands
from kit.recipes.reading.shell import Script
from kit.recipes.reading.source import Region

_SECTION = re.compile(r"%([A-Za-z]+)\b[ \t]*(.*)$")
_HEADER = re.compile(r"([A-Za-z][\w-]*)[ \t]*:[ \t]*(.*?)[ \t]*(?:#.*)?$")
_ARGUMENT = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_BUILDS = ("post", "appinstall")
_KNOWN = """post environment files labels help runscript startscript test setup pre arguments appinstall appenv apprun
applabels appfiles apphelp apptest appstart""".split()
_DOCKER = ("docker", "docker-daemon", "docker-archive")


class _Part:
    """A section and what stands in it."""

    def __init__(self, name: str, rest: str, start: int) -> None:
        self.name, self.rest, self.start, self.end = name, rest, start, start


def read(path: str, text: str) -> Recipe:
    """Read a definition file."""
    return _Reader(path, text).recipe()


class _Reader:
    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text
        self.commands = Commands(text)
        self.beside = Beside(path)
        self.headers: list[dict[str, tuple[str, Span]]] = []
        self.arguments: dict[str, str] = {}
        self.places: list[tuple[tuple[object, ...], Span]] = []

    def recipe(self) -> Recipe:
        parts = [(self._stage(part), part) for part in self._parts()]
        for _, part in parts:
            if part.name == "arguments":
                self._arguments(part)
        for stage, part in parts:
            self._part(part, stage)
        stages = tuple(self._stages()) or (Stage(None, Span(0, 0)),)
        return Recipe(
            self.path,
            "apptainer",
            self.text,
            stages,
            tuple(self.commands.commands),
            self.commands.installs(self.beside, [None] * len(stages)),
            tuple(self.commands.settings),
            tuple(sorted(self.commands.unread, key=lambda one: one.line)),
            places=tuple(self.places),
        )

    def _parts(self) -> Iterator[_Part]:
        """The sections; the lines of a header are read on the way."""
        part: Optional[_Part] = None
        at = 0
        for line in self.text.splitlines(keepends=True):
            bare = line.rstrip("\r\n")
            section = _SECTION.match(bare)
            header = _HEADER.match(bare)
            begins = header is not None and header[1].lower() == "bootstrap"
            if (section or begins) and part is not None:
                yield part
                part = None
            if begins:
                self.headers.append({})
            if section:
                part = _Part(section[1].lower(), section[2], at + len(line))
                if part.name not in _KNOWN:
                    self._skip(at, f"no section that Apptainer knows: %{section[1]}")
            elif part is None and header and self.headers:
                start = at + header.start(2)
                self.headers[-1].setdefault(header[1].lower(), (header[2], Span(start, start + len(header[2]))))
            elif part is None and bare.strip() and not bare.lstrip().startswith("#"):
                self._skip(at, f"neither a header nor in a section: {bare.strip()[:60]}")
            at += len(line)
            if part is not None:
                part.end = max(at, part.start)
        if part is not None:
            yield part

    def _stage(self, part: _Part) -> int:
        return max(len(self.headers) - 1, 0)

    def _stages(self) -> Iterator[Stage]:
        for at, header in enumerate(self.headers):
            agent, where = header.get("bootstrap", ("", Span(0, 0)))
            written, span = header.get("from", ("", where))
            if "from" in header:
                self.places.append((("stages", at, "image"), span))
            image = _ARGUMENT.sub(lambda found: self.arguments.get(found[1], found[0]), written)
            known = agent.lower() in _DOCKER[:1] and "{{" not in image and image
            yield Stage(image if known else None, span, header.get("stage", ("", where))[0])

    def _arguments(self, part: _Part) -> None:
        """``%arguments``: what ``{{ NAME }}`` stands for where nobody says otherwise."""
        at = part.start
        for line in self.text[part.start : part.end].splitlines(keepends=True):
            found = re.match(r"[ \t]*(\w+)=(.*?)[ \t]*\r?\n?$", line)
            if found:
                value = found[2].strip("\"'")
                self.arguments[found[1]] = value
                span = Span(at + found.start(1), at + found.end(2))
                self.commands.settings.append(Setting(found[1], value, "arg", span))
            at += len(line)

    def _part(self, part: _Part, stage: int) -> None:
        region = self._filled(part)
        if part.name in _BUILDS:
            shell = re.search(r"-c\s+(\S+)", part.rest)
            if shell and not shell[1].endswith("sh"):
                self._skip(part.start, f"a %{part.name} for {shell[1]}")
                return
            script = Script((), self.text, self.commands.group, stage)
            self.commands.take(script.run(script.hide(region, _ARGUMENT)))
        elif part.name in ("environment", "appenv"):  # of the containers: %post does not have it
            script = Script((), self.text, self.commands.group, stage)
            script.run(script.hide(region, _ARGUMENT))
            self.commands.settings += script.settings
            self.commands.unread += script.unread
        elif part.name == "files" and not re.match(r"\s*from\b", part.rest):
            for line in region.text.splitlines():
                words = line.split("#")[0].split()
                if words:
                    self.beside.copied(words[0], words[-1])

    def _filled(self, part: _Part) -> Region:
        """A section with the arguments filled in whose values the file has: each letter stands at the name."""
        characters: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        at = part.start
        for found in _ARGUMENT.finditer(self.text, part.start, part.end):
            if found[1] not in self.arguments:
                continue
            value = self.arguments[found[1]]
            characters += [*self.text[at : found.start()], *value]
            starts += [*range(at, found.start()), *[found.start()] * len(value)]
            ends += [*range(at + 1, found.start() + 1), *[found.end()] * len(value)]
            at = found.end()
        characters += self.text[at : part.end]
        starts += range(at, part.end)
        ends += range(at + 1, part.end + 1)
        return Region("".join(characters), starts, ends)

    def _skip(self, offset: int, why: str) -> None:
        self.commands.unread.append(Unread(self.text.count("\n", 0, offset) + 1, why))
