"""Shell scripts as recipes."""

from kit.recipes.model import Recipe, Span, Stage
from kit.recipes.reading.beside import Beside
from kit.recipes.reading.commands import Commands
from kit.recipes.reading.source import Region


def read(path: str, text: str) -> Recipe:
    """Read a shell script."""
    commands = Commands(text)
    commands.shell(Region.of(text))
    return Recipe(
        path,
        "shell",
        text,
        (Stage(None, Span(0, len(text))),),
        tuple(commands.commands),
        commands.installs(Beside(path)),
        tuple(commands.settings),
        tuple(commands.unread),
    )
