"""The argument lists of installers: what a command installs, from where, into which Python."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Optional

from kit.recipes.model import Command, Install, Options, Package, Span, Word
from kit.recipes.reading import wrappers
from kit.recipes.reading.arguments import (
    Given,
    Grammar,
    configured_options,
    environment_options,
    parse_arguments,
    sorted_out,
    under,
)
from kit.recipes.reading.specifiers import conda_package, place_of_source, requirement

_PYTHON = re.compile(r"(python|pypy)(\d+(\.\d+)*)?$")
_PIP = re.compile(r"pip(\d+(\.\d+)*)?$")
_SYSTEM = ("apt", "apt-get", "aptitude", "apk", "dnf", "yum", "microdnf", "tdnf")
_CONDA = ("conda", "mamba", "micromamba")


def installs(commands: Iterable[Command], text: str, parents: Sequence[Optional[int]] = (None,)) -> Iterator[Install]:
    """What the commands of a recipe with this text install, in order; ``parents`` are those of its stages.

    ``pip config set`` and ``conda config --add channels`` hold for what comes after them.
    """
    configured: dict[tuple[str, int], Options] = {}
    for command in commands:
        found = install(command, text)
        lineage = list(_lineage(command.stage, parents))
        if found is not None:
            tool = "pip" if found.tool == "pip" else found.tool
            given = next((configured[tool, s] for s in lineage if (tool, s) in configured), None)
            yield found if given is None else _replaced(found, under(given, found.options))
            continue
        said = configuration(command, text)
        if said is not None:
            tool, options = said
            before = next((configured[tool, s] for s in lineage if (tool, s) in configured), Options())
            configured[tool, command.stage] = under(before, options)


def _lineage(stage: int, parents: Sequence[Optional[int]]) -> Iterator[int]:
    at: Optional[int] = stage
    while at is not None:
        yield at
        after = parents[at] if at < len(parents) else None
        at = after if after is not None and after < at else None


def _replaced(install: Install, options: Options) -> Install:
    return Install(**{**install.__dict__, "options": options})


def configuration(command: Command, text: str) -> "Optional[tuple[str, Options]]":
    """What ``pip config set`` or ``conda config`` says from now on, and of which tool."""
    words = command.words[wrappers.inner(command.texts) :]
    texts = [word.text for word in words]
    name = wrappers.name(texts[0]) if texts else ""
    if _PYTHON.fullmatch(name) and texts[1:3] == ["-m", "pip"]:
        name, words, texts = "pip", words[2:], texts[2:]
    if _PIP.fullmatch(name) and "config" in texts and "set" in texts:
        rest = [w for w in words[texts.index("set") + 1 :] if not w.text.startswith("--")]
        if len(rest) != 2:
            return None
        option = "--" + rest[0].text.rpartition(".")[2].replace("_", "-")
        return "pip", sorted_out(configured_options(option, rest[1], text), Options())
    if name in _CONDA and texts[1:2] == ["config"]:
        at = next((i for i, t in enumerate(texts) if t in ("--add", "--append", "--prepend", "--set")), len(texts))
        if texts[at + 1 : at + 2] == ["channels"] and at + 2 < len(words):
            return "conda", Options(channels=(words[at + 2],))
    return None


def install(command: Command, text: str) -> Optional[Install]:
    """What a command of a recipe with this text installs; None if it installs nothing."""
    words = command.words[wrappers.inner(command.texts) :]
    if not words:
        return None
    name = wrappers.name(words[0].text)
    into = wrappers.environment(command.texts) or ""
    if name == "conda" and len(words) > 2 and words[1].text == "run":
        return None
    if _PIP.fullmatch(name):
        return _pip(command, words[1:], text, _beside(words[0].text) or into)
    if _PYTHON.fullmatch(name) or (not words[0].known and len(words) > 2 and words[1].text == "-m"):
        return _python(command, words, text, into)
    if name == "uv":
        return _uv(command, words[1:], text)
    if name in _CONDA:
        return _conda(command, words[1:], text)
    return _system(command, words[1:], text, name) if name in _SYSTEM else None


def _beside(pip: str) -> str:
    """The Python of a pip: ``/opt/venv/bin/pip`` -> ``/opt/venv/bin/python``, ``pip3.10`` -> ``python3.10``."""
    folder, slash, name = pip.rpartition("/")
    version = name[3:] if "." in name else ""
    return f"{folder}{slash}python{version}" if slash or version else ""


def _python(command: Command, words: tuple[Word, ...], text: str, into: str) -> Optional[Install]:
    called = words[0].text
    python = called if "/" in called or "." in called or "$" in called else into
    at = 1
    while at < len(words) and words[at].text.startswith("-") and words[at].text != "-m":
        at += 2 if words[at].text in ("-W", "-X") else 1
    rest = words[at:]
    if len(rest) > 1 and rest[0].text == "-m":
        module = rest[1].text
        if module == "pip":
            return _pip(command, rest[2:], text, python)
        return _uv(command, rest[2:], text, python) if module == "uv" else None
    if rest and wrappers.name(rest[0].text) == "setup.py":
        verbs = [w.text for w in rest[1:] if not w.text.startswith("-")]
        if "install" in verbs or "develop" in verbs:
            options = tuple(w for w in rest[1:] if w.text.startswith("-"))
            return Install(
                "setup.py",
                command.span,
                options=Options(global_options=options),
                command=command,
                python=python,
                stage=command.stage,
                local=(rest[0],),
            )
    return None


def _pip(command: Command, words: tuple[Word, ...], text: str, python: str) -> Optional[Install]:
    before, verb, rest = _verb(words, Grammar.PIP, text)
    if verb != "install":
        return None
    given = [*before, *parse_arguments(rest, Grammar.PIP, text)]
    python = next((g.value.text for g in given if g.name == "--python" and g.value), python)
    return made("pip", command, given, environment_options(command, "PIP_", text), python)


def _uv(command: Command, words: tuple[Word, ...], text: str, python: str = "") -> Optional[Install]:
    before, verb, rest = _verb(words, Grammar.UV, text)
    if verb == "pip":
        more, verb, rest = _verb(rest, Grammar.UV, text)
        before = [*before, *more]
        if verb not in ("install", "sync"):
            return None
        given = [*before, *parse_arguments(rest, Grammar.UV, text)]
        if verb == "sync":  # its arguments are files of requirements
            given = [g if g.name else Given("-r", g.word, g.word) for g in given]
    elif verb in ("add", "sync"):
        given = [*before, *parse_arguments(rest, Grammar.UV, text)]
    else:
        return None
    default = command.variable("UV_PYTHON")
    python = next(
        (g.value.text for g in given if g.name in ("--python", "-p") and g.value),
        python or (default.value if default and default.value else ""),
    )
    return made("uv", command, given, environment_options(command, "UV_", text), python)


def _verb(words: tuple[Word, ...], grammar: Grammar, text: str) -> "tuple[list[Given], str, tuple[Word, ...]]":
    """The options before a subcommand, the subcommand, and what comes after it."""
    before: list[Given] = []
    for given in parse_arguments(words, grammar, text):
        if not given.name:
            at = next(i for i, w in enumerate(words) if w is given.word)
            return before, given.word.text, words[at + 1 :]
        before.append(given)
    return before, "", ()


def made(
    tool: str,
    command: Optional[Command],
    given: list[Given],
    inherited: Options,
    python: str,
    span: Optional[Span] = None,
) -> Install:
    """The record of a pip's or uv's arguments."""
    packages: list[Package] = []
    local: list[Word] = []
    for one in given:
        word = one.value if one.name in ("-e", "--editable") else one.word if not one.name else None
        if word is None:
            continue
        package = requirement(word)
        if package:
            packages.append(package)
        if package is None or package.url is not None or place_of_source(word.text):
            if "://" not in word.text or " @ " not in word.text:
                local.append(word)
    return Install(
        tool,
        span or (command.span if command else Span(0, 0)),
        tuple(packages),
        sorted_out(given, inherited),
        command,
        python,
        command.stage if command else 0,
        tuple(local),
    )


def _conda(command: Command, words: tuple[Word, ...], text: str) -> Optional[Install]:
    before, verb, rest = _verb(words, Grammar.CONDA, text)
    environment = verb in ("env", "environment")
    if environment:
        more, verb, rest = _verb(rest, Grammar.CONDA, text)
        before = [*before, *more]
    if verb not in ("install", "create", "update", "upgrade"):
        return None
    given = [*before, *parse_arguments(rest, Grammar.CONDA, text)]
    files = tuple(g.value for g in given if g.name in ("-f", "--file") and g.value)
    options = sorted_out([g for g in given if g.name not in ("-f", "--file")], Options(), conda=True)
    packages = []
    channels = [*options.channels]
    for one in given:
        if not one.name:
            package, channel = conda_package(one.word)
            packages.append(package)
            channels += [channel] if channel else []
    into = next((g.value.text for g in given if g.name in ("-n", "--name", "-p", "--prefix") and g.value), "")
    kept = {**options.__dict__, "channels": tuple(channels), "requirement_files": files}
    return Install("conda", command.span, tuple(packages), Options(**kept), command, into, command.stage)


def _system(command: Command, words: tuple[Word, ...], text: str, name: str) -> Optional[Install]:
    _, verb, rest = _verb(words, Grammar.SYSTEM, text)
    if verb not in ("install", "add", "localinstall", "reinstall"):
        return None
    packages = tuple(_system_packages(rest, text))
    return Install("apt", command.span, packages, command=command, stage=command.stage)


def _system_packages(words: tuple[Word, ...], text: str) -> Iterator[Package]:
    for given in parse_arguments(words, Grammar.SYSTEM, text):
        if not given.name:
            word = given.word
            name, sign, version = re.match(r"([^=<>~]*)([=<>~]*)(.*)", word.text, re.S).groups()  # type: ignore[union-attr]
            yield Package(name.lower(), word.raw, word.span, sign + version, known=word.known)
