"""Commands that stand in structured files: gathered with what they install."""

from collections.abc import Iterable, Sequence
from typing import Optional

from kit.recipes.model import Command, Install, Options, Recipe, Setting, Span, Stage, Unread, Word
from kit.recipes.reading import installers, requirements
from kit.recipes.reading.beside import Beside, attached
from kit.recipes.reading.shell import Script
from kit.recipes.reading.source import Region
from kit.recipes.reading.structured import declared_by_conda, declared_by_pip
from kit.recipes.reading.wrappers import script_of


class Commands:
    """The commands of a recipe, one group after the other."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.commands: list[Command] = []
        self.settings: list[Setting] = []
        self.unread: list[Unread] = []
        self.group = 0

    def shell(self, region: Region, scope: Iterable[Setting] = (), stage: int = 0) -> Script:
        """What a shell is given, as a group of its own."""
        script = Script(scope, self.text, self.group, stage).run(region)
        self.take(script)
        return script

    def program(self, regions: Sequence[Region], scope: Iterable[Setting] = (), stage: int = 0) -> None:
        """A program and its arguments, without a shell; of ``["bash", "-c", "..."]`` also what that runs."""
        if not regions:
            return
        script = Script(scope, self.text, self.group, stage)
        spans = [region.span(0, len(region.text)) for region in regions]
        words = tuple(Word(r.text, self.text[s.start : s.end], s) for r, s in zip(regions, spans))
        whole = Span(spans[0].start, max(span.end for span in spans))
        settings = tuple(script.scope.values())
        script.commands.append(Command(words, whole, "", self.group, stage, settings))
        at = script_of([word.text for word in words])
        if at is not None and at < len(words):
            script.after = ";"
            script.run(regions[at])
        self.take(script)

    def take(self, script: Script) -> None:
        """What one shell ran."""
        self.commands += script.commands
        self.settings += script.settings
        self.unread += script.unread
        self.group += 1

    def installs(self, beside: Beside, parents: "Sequence[Optional[int]]" = (None,)) -> tuple[Install, ...]:
        """What the commands install."""
        return installs(self.commands, self.text, beside, parents)

    def recipe(self, path: str, kind: str) -> Recipe:
        """The recipe that they are, where they all run in one place."""
        return Recipe(
            path,
            kind,
            self.text,
            (Stage(None, Span(0, len(self.text))),),
            tuple(self.commands),
            self.installs(Beside(path)),
            tuple(self.settings),
            tuple(self.unread),
        )


def installs(
    commands: Sequence[Command], text: str, beside: Beside, parents: "Sequence[Optional[int]]"
) -> tuple[Install, ...]:
    """What commands install, with what the files list that they name, where those are here."""
    found: list[Install] = []
    for one in installers.installs(commands, text, parents):
        cloned = _cloned(commands, one.command)
        if one.tool != "conda":
            found.append(attached(one, beside, requirements.parse, cloned))
            continue
        declared = [word for word in one.options.requirement_files if word.text.endswith((".yml", ".yaml"))]
        found.append(attached(one, beside, declared_by_conda, cloned))
        for word in declared:  # the pip: part of an environment.yml
            options = Options(requirement_files=(word,))
            pip = Install("pip", one.span, (), options, one.command, one.python, one.stage)
            pip = attached(pip, beside, declared_by_pip, cloned)
            found += [pip] if pip.packages else []
    return tuple(found)


def _cloned(commands: Sequence[Command], before: Optional[Command]) -> bool:
    """Whether a repository was fetched before a command, whose files it may mean."""
    for command in commands:
        if command is before:
            return False
        if command.program == "git" and "clone" in command.texts:
            return True
    return False
