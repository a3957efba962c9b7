"""Shell scripts as recipes."""

from kit.recipes.model import Recipe
from kit.recipes.reading.commands import Commands
from kit.recipes.reading.source import Region


def read(path: str, text: str) -> Recipe:
    """Read a shell script."""
    commands = Commands(text)
    commands.shell(Region.of(text))
    return commands.recipe(path, "shell")
