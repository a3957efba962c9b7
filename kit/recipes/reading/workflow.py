"""GitHub workflows: the steps of every job, their variables and containers."""

import re
from typing import Optional

from kit.recipes.model import Command, Recipe, Setting, Span, Stage
from kit.recipes.reading.beside import Beside
from kit.recipes.reading.commands import Commands
from kit.recipes.reading.shell import Script
from kit.recipes.reading.structured import made, pair
from kit.recipes.reading.trees import Path, Tree
from kit.recipes.reading.yaml_text import yaml_tree

EXPRESSION = re.compile(r"\$\{\{.*?\}\}", re.S)
_SHELLS = ("bash", "sh")
_OF_WINDOWS = ("pwsh", "powershell", "cmd")


def read(path: str, text: str) -> Recipe:
    """A workflow, or an action of one's own: a stage for each job, a group for each step."""
    tree = yaml_tree(text)
    commands = Commands(text)
    stages: list[Stage] = []
    general = variables(tree, ("env",))
    commands.settings += general
    for name, job in tree.mapping("jobs").items():
        where: Path = ("jobs", name)
        stages.append(Stage(_image(tree, where), tree.places.get(where, Span(0, 0)), name))
        if isinstance(job, dict):
            _steps(tree, commands, where, general, len(stages) - 1)
    if not stages:
        stages.append(Stage(None, Span(0, len(text))))
        _steps(tree, commands, ("runs",), general, 0)
    tree.unread += commands.unread
    return made(
        path,
        "workflow",
        tree,
        stages=tuple(stages),
        commands=tuple(commands.commands),
        installs=commands.installs(Beside(path), [None] * len(stages)),
        settings=tuple(commands.settings),
    )


def _image(tree: Tree, job: Path) -> Optional[str]:
    container = tree.get(*job, "container")
    image = container.get("image") if isinstance(container, dict) else container
    return image if isinstance(image, str) and "${{" not in image else None


def variables(tree: Tree, path: Path) -> list[Setting]:
    """Variables of an ``env:``."""
    found = []
    for name, value in tree.mapping(*path).items():
        region = tree.regions.get((*path, name))
        text = (
            region.text
            if region
            else None
            if isinstance(value, (dict, list))
            else ""
            if value is None
            else str(value)
        )
        known = text is not None and "${{" not in text
        found.append(Setting(name, text if known else None, "env", pair(tree, (*path, name))))
    return found


def _steps(tree: Tree, commands: Commands, job: Path, general: list[Setting], stage: int) -> None:
    own = variables(tree, (*job, "env"))
    commands.settings += own
    scope = [*general, *own]
    default = tree.get(*job, "defaults", "run", "shell") or tree.get("defaults", "run", "shell")
    if default is None and "windows" in str(tree.get(*job, "runs-on")).lower():
        default = "pwsh"
    for at, step in enumerate(tree.sequence(*job, "steps")):
        where: Path = (*job, "steps", at)
        region = tree.regions.get((*where, "run"))
        if not isinstance(step, dict) or region is None:
            continue
        shell = str(step.get("shell") or default or "bash").split()
        nearest = variables(tree, (*where, "env"))
        commands.settings += nearest
        if not shell or shell[0] not in _SHELLS:
            if shell and shell[0] in _OF_WINDOWS and region.text:
                tree.skip(region.starts[0], f"a step for {shell[0]}, which is not followed")
            continue
        before = len(commands.commands)
        script = Script([*scope, *nearest], commands.text, commands.group, stage)
        script.run(script.hide(region, EXPRESSION))
        commands.take(script)
        scope += (found for c in commands.commands[before:] for found in _kept(c, commands.text))


def _kept(command: Command, text: str) -> list[Setting]:
    """``echo "NAME=value" >> $GITHUB_ENV``: a variable of the steps after it."""
    if command.program != "echo" or "GITHUB_ENV" not in text[command.span.start : command.span.end]:
        return []
    found = []
    for word in command.words[1:]:
        name, sign, value = word.text.partition("=")
        if sign and re.fullmatch(r"[A-Za-z_]\w*", name):
            found.append(Setting(name, value if word.known else None, "env", word.span))
    return found
