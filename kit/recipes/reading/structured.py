"""Files that declare an environment: environment.yml and pyproject.toml."""

import re

from kit.facts import normalise
from kit.recipes.model import Install, Options, Package, Recipe, Setting, Span, Stage, Word
from kit.recipes.reading import requirements
from kit.recipes.reading.arguments import Given, sorted_out
from kit.recipes.reading.beside import Beside, attached
from kit.recipes.reading.source import Region
from kit.recipes.reading.specifiers import conda_package, requirement
from kit.recipes.reading.toml_text import toml_tree
from kit.recipes.reading.trees import Path, Tree
from kit.recipes.reading.yaml_text import yaml_tree

_POETRY = ("tool", "poetry")


def environment(path: str, text: str) -> Recipe:
    """conda's environment.yml: an install by conda, then one by pip for its ``pip:`` part."""
    tree = yaml_tree(text)
    beside = Beside(path)
    packages: list[Package] = []
    channels = [word(tree, region) for _, region in tree.texts("channels")]
    for _, region in tree.texts("dependencies"):
        package, channel = conda_package(word(tree, region))
        packages.append(package)
        channels += [channel] if channel else []
    installs = []
    if packages or channels:
        where = tree.places.get(("dependencies",), Span(0, len(text)))
        installs.append(Install("conda", where, tuple(packages), Options(channels=tuple(channels))))
    for at, entry in enumerate(tree.sequence("dependencies")):
        if isinstance(entry, dict) and "pip" in entry:
            inner: Path = ("dependencies", at, "pip")
            listed, unread = requirements.lines((region for _, region in tree.texts(*inner)), text)
            tree.unread += unread
            listed = Install(
                "pip", tree.places[inner], listed.packages, listed.options, python=_name(tree), local=listed.local
            )
            installs.append(attached(listed, beside, requirements.parse))
    settings = [
        Setting(name, None if value is None else str(value), "env", pair(tree, ("variables", name)))
        for name, value in tree.mapping("variables").items()
    ]
    return made(path, "environment", tree, installs=tuple(installs), settings=tuple(settings))


def declared_by_conda(text: str, file: str) -> Install:
    """What conda installs of an environment.yml, or of a list with a specification on each line."""
    if not file.endswith((".yml", ".yaml")):
        packages = []
        for found in re.finditer(r"(?m)^[ \t]*([^\s#@][^#\r\n]*?)[ \t]*(?:#.*)?$", text):
            span = Span(found.start(1), found.end(1))
            packages.append(conda_package(Word(found[1], found[1], span), file)[0])
        return Install("conda", Span(0, len(text)), tuple(packages))
    return _declared("conda", text, file)


def declared_by_pip(text: str, file: str) -> Install:
    """What pip installs of an environment.yml."""
    return _declared("pip", text, file)


def _declared(tool: str, text: str, file: str) -> Install:
    recipe = environment(file, text)
    found = next((one for one in recipe.installs if one.tool == tool), Install(tool, Span(0, len(text))))
    packages = tuple(p if p.file else Package(**{**p.__dict__, "file": file}) for p in found.packages)
    options = Options(**{**found.options.__dict__, "requirement_files": ()})  # they are in the packages already
    return Install(tool, found.span, packages, options, local=found.local)


def _name(tree: Tree) -> str:
    name = tree.get("name")
    return name if isinstance(name, str) else ""


def word(tree: Tree, region: Region) -> Word:
    """A text of a structured file as a word, without its quotes."""
    span = region.span(0, len(region.text))
    return Word(
        region.text, tree.text[span.start : span.end], span, "${" not in region.text and "{{" not in region.text
    )


def pair(tree: Tree, path: Path) -> Span:
    """The place of ``name: value`` with its quotes: from the name on, where it is on the line of its value."""
    span = tree.places.get(path, Span(0, 0))
    line = tree.text.rfind("\n", 0, span.start) + 1
    start = tree.text.rfind(str(path[-1]), line, span.start)
    if start < 0:
        return span
    start -= tree.text[max(start - 1, 0)] in "\"'"
    return Span(start, span.end + (tree.text[span.start - 1] in "\"'"))


def made(path: str, kind: str, tree: Tree, **rest: object) -> Recipe:
    """The record of a structured file."""
    rest.setdefault("stages", (Stage(None, Span(0, len(tree.text))),))
    unread = tuple({one.line: one for one in tree.unread}.values())
    return Recipe(path, kind, tree.text, unread=unread, data=tree.data, places=tree.placed(), **rest)  # type: ignore[arg-type]


def pyproject(path: str, text: str) -> Recipe:
    """pyproject.toml: an install for each list of requirements that it has."""
    tree = toml_tree(text)
    installs = [*_lists(tree), *_poetry(tree)]
    return made(path, "pyproject", tree, installs=tuple(installs))


def _lists(tree: Tree) -> "list[Install]":
    """Those of the project, its extras, its groups and its build."""
    where: list[Path] = [("build-system", "requires"), ("project", "dependencies")]
    where += [("project", "optional-dependencies", name) for name in tree.mapping("project", "optional-dependencies")]
    where += [("dependency-groups", name) for name in tree.mapping("dependency-groups")]
    where += [("tool", "uv", "dev-dependencies")]
    uv = _uv_options(tree)
    installs = []
    for path in where:
        found = [requirement(word(tree, region)) for _, region in tree.texts(*path)]
        packages = tuple(p for p in found if p is not None)
        if packages:
            options = uv if path[0] != "build-system" else Options()
            installs.append(Install("pip", tree.places[path], packages, options))
    return installs


def _uv_options(tree: Tree) -> Options:
    """The indexes of ``[tool.uv]``: those that say ``explicit`` count too, a source names them."""
    given = []
    for at, entry in enumerate(tree.sequence("tool", "uv", "index")):
        region = tree.regions.get(("tool", "uv", "index", at, "url"))
        if region is not None:
            value = word(tree, region)
            default = isinstance(entry, dict) and entry.get("default") is True
            given.append(Given("--index-url" if default else "--extra-index-url", value, value))
    for key in ("index-url", "extra-index-url", "find-links"):
        for base in (("tool", "uv"), ("tool", "uv", "pip")):
            for _, region in tree.texts(*base, key):
                value = word(tree, region)
                given.append(Given("--" + key, value, value))
    if tree.get("tool", "uv", "no-build-isolation") is True or tree.get("tool", "uv", "no-build-isolation-package"):
        nothing = Word("", "", Span(0, 0))
        given.append(Given("--no-build-isolation", nothing))
    return sorted_out(given, Options())


def _poetry(tree: Tree) -> "list[Install]":
    """``[tool.poetry.dependencies]``, whose versions have a notation of their own."""
    tables: list[Path] = [(*_POETRY, "dependencies"), (*_POETRY, "dev-dependencies")]
    tables += [(*_POETRY, "group", name, "dependencies") for name in tree.mapping(*_POETRY, "group")]
    given = []
    for at, _ in enumerate(tree.sequence(*_POETRY, "source")):
        region = tree.regions.get((*_POETRY, "source", at, "url"))
        if region is not None:
            value = word(tree, region)
            given.append(Given("--extra-index-url", value, value))
    options = sorted_out(given, Options())
    installs = []
    for table in tables:
        packages = tuple(_poetry_package(tree, (*table, name), name) for name in tree.mapping(*table))
        if packages:
            installs.append(Install("pip", tree.places.get(table, Span(0, 0)), packages, options))
    return installs


def _poetry_package(tree: Tree, path: Path, name: str) -> Package:
    """``torch = "^2.1"``, ``torch = {version = "2.1", source = "pytorch"}``."""
    value = tree.get(*path)
    at = path if not isinstance(value, dict) else (*path, "version" if "version" in value else "url")
    version = value if isinstance(value, str) else value.get("version", "") if isinstance(value, dict) else ""
    version = version.strip() if isinstance(version, str) else ""
    if version[:1].isdigit():
        version = "==" + version
    elif version == "*":
        version = ""
    url = value.get("url") if isinstance(value, dict) else None
    span = tree.places.get(at) or tree.places.get(path) or Span(0, 0)
    return Package(
        normalise(name), tree.text[span.start : span.end], span, version, url if isinstance(url, str) else None
    )
