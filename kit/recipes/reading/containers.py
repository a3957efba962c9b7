"""devcontainer.json and compose files: images, builds, variables and the commands that run in them."""

import re
from collections.abc import Iterator
from typing import Optional

from kit.recipes.model import Recipe, Setting, Span, Stage
from kit.recipes.reading.beside import Beside
from kit.recipes.reading.commands import Commands
from kit.recipes.reading.source import Region
from kit.recipes.reading.structured import made, pair
from kit.recipes.reading.trees import Path, Tree, json_tree
from kit.recipes.reading.variables import expand
from kit.recipes.reading.yaml_text import yaml_tree

# In the order in which they run; the first runs on the machine outside.
HOOKS = ("onCreateCommand", "updateContentCommand", "postCreateCommand", "postStartCommand", "postAttachCommand")


def devcontainer(path: str, text: str) -> Recipe:
    """devcontainer.json, with comments and commas after the last."""
    tree = json_tree(text)
    commands = Commands(text)
    own = list(_variables(tree, ("containerEnv",)))
    remote = [*own, *_variables(tree, ("remoteEnv",))]
    commands.settings += remote
    commands.settings += [Setting(s.name, s.value, "arg", s.span) for s in _variables(tree, ("build", "args"))]
    for hook in HOOKS:
        value = tree.get(hook)
        steps = [(hook, key) for key in value] if isinstance(value, dict) else [(hook,)]
        for step in steps:
            _run(tree, commands, step, remote)
    image = tree.get("image")
    span = tree.places.get(("image",), Span(0, 0))
    stage = Stage(image if isinstance(image, str) and "$" not in image else None, span, user=_user(tree))
    return _made(path, "devcontainer", tree, commands, [stage])


def _user(tree: Tree) -> str:
    user = tree.get("remoteUser") or tree.get("containerUser")
    return user if isinstance(user, str) else ""


def _run(tree: Tree, commands: Commands, path: Path, scope: "list[Setting]", stage: int = 0) -> None:
    """A command that is a text (a shell's) or a list (a program's)."""
    regions = [region for _, region in tree.texts(*path)]
    if isinstance(tree.get(*path), list):
        commands.program(regions, scope, stage)
    elif regions:
        commands.shell(regions[0], scope, stage)


def _made(path: str, kind: str, tree: Tree, commands: Commands, stages: "list[Stage]") -> Recipe:
    tree.unread += commands.unread
    return made(
        path,
        kind,
        tree,
        stages=tuple(stages) or (Stage(None, Span(0, 0)),),
        commands=tuple(commands.commands),
        installs=commands.installs(Beside(path), [None] * max(len(stages), 1)),
        settings=tuple(commands.settings),
    )


def _variables(tree: Tree, path: Path) -> "Iterator[Setting]":
    """Variables that a mapping gives, or a list of ``NAME=value``."""
    for name, value in tree.mapping(*path).items():
        span = pair(tree, (*path, name))
        yield Setting(name, _plain(value), "env", span)
    for where, region in tree.texts(*path) if tree.sequence(*path) else ():
        name, sign, rest = region.text.partition("=")
        if re.fullmatch(r"\w+", name):
            yield Setting(name, _plain(rest) if sign else None, "env", tree.places[where])


def _plain(value: object) -> Optional[str]:
    if isinstance(value, bool):
        return str(value).lower()
    text = None if value is None or isinstance(value, (dict, list)) else str(value)
    return None if text is None or "$" in text else text


def compose(path: str, text: str) -> Recipe:
    """A compose file: a stage for each service, with the command that it runs."""
    tree = yaml_tree(text)
    commands = Commands(text)
    stages: list[Stage] = []
    for name, service in tree.mapping("services").items():
        here: Path = ("services", name)
        image = service.get("image") if isinstance(service, dict) else None
        image = _filled(image) if isinstance(image, str) and "build" not in service else None
        user = service.get("user") if isinstance(service, dict) else None
        stage = len(stages)
        stages.append(
            Stage(image, tree.places.get(here, Span(0, 0)), name, user=str(user) if user is not None else "")
        )
        scope = list(_variables(tree, (*here, "environment")))
        commands.settings += scope
        commands.settings += [
            Setting(s.name, s.value, "arg", s.span) for s in _variables(tree, (*here, "build", "args"))
        ]
        for key in ("entrypoint", "command"):
            regions = [_without_dollars(region) for _, region in tree.texts(*here, key)]
            if isinstance(tree.get(*here, key), list):
                commands.program(regions, scope, stage)
            elif regions:
                commands.shell(regions[0], scope, stage)
    return _made(path, "compose", tree, commands, stages)


def _filled(image: str) -> Optional[str]:
    """``${TAG:-2.1}`` is 2.1 where nobody says otherwise."""
    text, known = expand(image.replace("$$", "\\$"), lambda name: (False, None))
    return text if known else None


def _without_dollars(region: Region) -> Region:
    """``$$`` is a ``$`` for the container."""
    return region.without([found.start() for found in re.finditer(r"\$\$", region.text)], joining=True)
