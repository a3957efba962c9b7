"""Which kind of recipe a file is, its reader, and the recipes of a folder."""

import os
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Callable, Optional

from kit.errors import KitError
from kit.recipes.model import Recipe
from kit.recipes.reading.files import text as _text

KINDS = """a Dockerfile, requirements or constraints, environment.yml, pyproject.toml, devcontainer.json, a compose
file, a GitHub workflow, a notebook, a shell script, an Apptainer definition""".replace("\n", " ")
_READERS = {
    "dockerfile": "dockerfile.read",
    "requirements": "requirements.read",
    "environment": "structured.environment",
    "pyproject": "structured.pyproject",
    "devcontainer": "containers.devcontainer",
    "compose": "containers.compose",
    "workflow": "workflow.read",
    "notebook": "notebook.read",
    "shell": "script.read",
    "apptainer": "apptainer.read",
}
_NAMES = [
    ("dockerfile", r"(.*[._-])?(dockerfile|containerfile)([._-].*)?"),
    ("notebook", r".*\.ipynb"),
    ("devcontainer", r"\.?devcontainer\.json"),
    ("pyproject", r"pyproject\.toml"),
    ("compose", r"(.*[._-])?(docker-)?compose([._-].*)?\.ya?ml"),
    ("requirements", r".*(requirements|constraints).*\.(txt|in|pip)|(.*[._-])?reqs?([._-].*)?\.(txt|in|pip)"),
    ("shell", r".*\.(sh|bash)"),
    ("apptainer", r".*\.def|(singularity|apptainer)([._-].*)?"),
]
_YAML = [
    ("workflow", r"(?m)^jobs:"),
    ("compose", r"(?m)^services:"),
    ("environment", r"(?m)^(dependencies|channels):"),
    ("workflow", r"(?m)^\s+using:\s*[\"']?composite"),
]
# A file about Dockerfiles is none.
_OTHER = (".py", ".md", ".rst", ".vim", ".js", ".ts", ".go", ".html", ".lua", ".dockerignore")
_NEVER = ("node_modules", "site-packages", "__pycache__", "dist-packages", "conda-meta")


def read(path: str, text: Optional[str] = None) -> Recipe:
    """Read a recipe; ``text`` is what stands in the file, where that is known already."""
    if text is None:
        text = _text(path)
    kind = kind_of(path, text)
    if kind is None:
        seen = next((line.strip() for line in text.splitlines() if line.strip()), "an empty file")
        raise KitError(f"{path}: no kind of recipe that is known (it begins: {seen[:60]}); there are: {KINDS}")
    module, _, name = _READERS[kind].partition(".")
    reader: Callable[[str, str], Recipe] = getattr(import_module(f"{__name__}.{module}"), name)
    return reader(path, text)


def kind_of(path: str, text: str) -> Optional[str]:
    """The kind of a recipe, by its name and, where that says too little, by its text."""
    name = Path(path).name.lower()
    for kind, pattern in _NAMES:
        if re.fullmatch(pattern, name) and not name.endswith(_OTHER):
            return kind
    head = text[:20_000]
    folder = Path(path).parent
    if name.endswith((".yml", ".yaml")):
        if name.startswith(("environment", "conda")):
            return "environment"
        if folder.name == "workflows" and folder.parent.name == ".github":
            return "workflow"
        return next((kind for kind, pattern in _YAML if re.search(pattern, head)), None)
    if name.endswith(".txt") and folder.name in ("requirements", "reqs", "constraints"):
        return "requirements"
    if re.match(r"#!.*[/ ](ba|da|z|k)?sh\b", head):
        return "shell"
    return _kind_by_line(next((x.strip() for x in head.splitlines() if x.strip() and x.strip()[0] != "#"), ""), name)


def _kind_by_line(line: str, name: str) -> Optional[str]:
    """The kind that the first line tells which is no comment."""
    if re.match(r"bootstrap\s*:", line, re.I):
        return "apptainer"
    if re.match(r"(?i)from\s+\S+(\s+as\s+\S+)?$|arg\s+\w+(=.*)?$", line):
        return "dockerfile"
    listed = re.match(r"(-[rcf]|--[a-z-]+)\s|[\w.-]+(\[[\w,-]+\])?\s*(===?|[<>~!]=?|$)", line)
    return "requirements" if listed and name.endswith((".txt", ".in")) else None


def recipe_files(folder: str) -> list[str]:
    """The files of a folder that are recipes, by name or by what stands in them."""
    return [file for file in _files(folder) if _by_name(file)]


def _by_name(file: str) -> bool:
    """Whether a file of a folder is a recipe: one whose name says it, a YAML or .def file whose text does."""
    name = os.path.basename(file).lower()
    if not name.endswith((".yml", ".yaml", ".def")):
        patterns = [pattern for kind, pattern in _NAMES if kind != "apptainer"]
        return not name.endswith(_OTHER) and any(re.fullmatch(pattern, name) for pattern in patterns)
    try:
        text = _text(file)
    except KitError:  # any file may have such a name
        return False
    return kind_of("", text) == "apptainer" if name.endswith(".def") else kind_of(file, text) is not None


def python_files(paths: Iterable[str]) -> list[str]:
    """The Python files and notebooks of files and folders."""
    found: list[str] = []
    for path in dict.fromkeys(paths):
        files = _files(path) if os.path.isdir(path) else [path]
        found += (file for file in files if file.endswith((".py", ".pyi", ".ipynb")))
    return list(dict.fromkeys(found))


def _files(folder: str) -> Iterator[str]:
    """The files below a folder, without environments, caches and what else others put there."""
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _NEVER
            and (not name.startswith(".") or name in (".devcontainer", ".github", ".docker", ".binder"))
            and not os.path.exists(os.path.join(here, name, "pyvenv.cfg"))
            and not os.path.exists(os.path.join(here, name, "conda-meta"))
        )
        for name in sorted(files):
            if os.path.isfile(os.path.join(here, name)):
                yield os.path.join(here, name)
