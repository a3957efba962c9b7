"""Which Python a command of a recipe installs into, followed from the image through what was made the default."""

import posixpath
import re
from collections.abc import Iterator
from typing import Optional

from kit.recipes.model import Command, Install, Recipe, Setting, Span
from kit.recipes.reading.variables import expand
from kit.recipes.rules._image import Image, copied_in, image_at
from kit.record import Record

_STANDARD = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
# What may put another Python first in ways that a recipe does not show.
_MUDDLES = ("pyenv", "conda", "mamba", "micromamba", "pixi", "asdf", "mise", "make", "nix", "module", "spack")
_NAMES = ("python", "python3", "pip", "pip3")
_VERSIONED = re.compile(r"(?:python|pip)(\d\.\d+)$")


class Python(Record):
    """A Python.  ``version`` as ``3.12``.  ``kind``: ``system`` (the distribution's python3), ``image`` (the image's
    own), ``extra`` (another one beside the system's), ``venv`` or ``conda``."""

    version: Optional[str]
    kind: str
    said: str = ""


class Venv(Record):
    """A virtual environment that a command makes at ``path``."""

    path: str
    span: Span
    command: Command
    version: Optional[str] = None


def python_at(recipe: Recipe, install: Install) -> Optional[Python]:
    """The Python that something is installed into; None where the recipe does not say enough."""
    if install.tool == "conda" or recipe.kind == "environment":
        return _of_conda(recipe, install)
    if install.tool not in ("pip", "uv", "setup.py"):
        return None
    if recipe.kind == "workflow":
        return _of_workflow(recipe, install)
    if recipe.kind in ("dockerfile", "apptainer", "devcontainer") and install.command is not None:
        return _Followed(recipe, install).answer()
    return None


def venvs(recipe: Recipe, stage: int, before: Optional[Command] = None) -> Iterator[Venv]:
    """The virtual environments that are made in a stage and those that it goes on from, the first one first."""
    stages = set(recipe.lineage(stage))
    for command in recipe.commands:
        if command is before:
            return
        made = _venv(command) if command.stage in stages else None
        if made is not None:
            yield made


def _venv(command: Command) -> Optional[Venv]:
    texts = command.texts
    version = ""
    rest: tuple[str, ...] = ()
    if texts[1:3] == ("-m", "venv") or texts[1:3] == ("-m", "virtualenv"):
        rest, named = texts[3:], _VERSIONED.match(command.program)
        version = named[1] if named else ""
    elif command.program == "virtualenv":
        rest = texts[1:]
    elif command.program == "uv" and texts[1:2] == ("venv",):
        rest = texts[2:]
    else:
        return None
    place = ""
    for before, text in zip(("", *rest), rest):
        if before in ("-p", "--python") or text.startswith("--python="):
            named = re.search(r"(\d\.\d+)", text)
            version = named[1] if named else ""
        elif not text.startswith("-") and before not in ("--prompt", "--seed-packages", "--index-url"):
            place = text
    place = place or (".venv" if command.program == "uv" else "")
    return Venv(place.rstrip("/"), command.span, command, version or None) if place else None


def path_at(recipe: Recipe, command: Command) -> list[str]:
    """The folders that the recipe puts on PATH for a command, the first one first; ``/usr/bin`` and its like where
    they come, ``$`` and more where a part is not known."""
    written = [s for s in recipe.settings if s.name == "PATH" and s.how == "env" and _reaches(recipe, s, command)]
    own = command.variable("PATH")
    if own is not None and own.how != "env":
        written.append(own)
    path = ":".join(_STANDARD)
    for setting in written:
        path = setting.value if setting.value is not None else _path(recipe, setting, command, path)
    return [place.rstrip("/") for place in path.split(":")]


def _path(recipe: Recipe, setting: Setting, command: Command, before: str) -> str:
    """A value of PATH that builds on the one before it."""

    def look(name: str) -> tuple[bool, Optional[str]]:
        known = command.in_shell(name)
        return (True, before) if name == "PATH" else (known is not None, known.value if known else None)

    text = re.sub(r"^PATH\s*[= ]\s*", "", recipe.at(setting.span)).strip().strip("\"'")
    return expand(text, look)[0]


def _reaches(recipe: Recipe, setting: Setting, command: Command) -> bool:
    """Whether a command comes after a setting of its image, in its stage or in one that it goes on from."""
    stage = max((i for i, s in enumerate(recipe.stages) if s.span.start <= setting.span.start), default=0)
    return setting.span.start < command.span.start and stage in recipe.lineage(command.stage)


class _Followed:
    """One stage up to one installation, command by command."""

    def __init__(self, recipe: Recipe, install: Install) -> None:
        assert install.command is not None
        self.recipe, self.install, self.command = recipe, install, install.command
        self.image: Optional[Image] = image_at(recipe, install.stage)
        self.names: dict[str, Python] = {}
        self.muddled = copied_in(recipe, install.stage, install.span.start)
        self.made = {venv.path: venv for venv in venvs(recipe, install.stage, install.command)}
        self.entered: Optional[str] = None
        stages = set(recipe.lineage(install.stage))
        for command in recipe.commands:
            if command is install.command:
                break
            if command.stage in stages:
                self.follow(command)

    def follow(self, command: Command) -> None:
        texts, program = command.texts, command.program
        conda = re.search(r"([Mm]ini(conda|forge)|[Mm]ambaforge|Anaconda3?)\S*\.sh", " ".join(texts))
        if program in _MUDDLES or conda or texts[:2] == ("uv", "python"):
            self.muddled = True
        elif program in ("source", "."):
            place = texts[1] if len(texts) > 1 else ""
            if command.group == self.command.group:
                self.entered = place[: -len("/bin/activate")] if place.endswith("/bin/activate") else ""
        elif program == "update-alternatives":
            self.alternative(texts)
        elif program == "ln":
            places = [t for t in texts[1:] if not t.startswith("-")]
            if len(places) == 2:
                self.rename(posixpath.basename(places[1].rstrip("/")), places[0], posixpath.dirname(places[1]))
        elif _VERSIONED.match(program) and texts[1:4] == ("-m", "pip", "install") and "pip" in texts[4:]:
            self.names.update(dict.fromkeys(("pip", "pip3"), Python(program[6:], "extra", program)))
        elif texts[1:3] == ("-m", "ensurepip"):
            self.muddled = True
        elif any("get-pip" in text for text in texts) or (command.after == "|" and texts[1:] in ((), ("-",))):
            named = self.named(program)
            if program.startswith("python"):
                self.names.update({"pip": named, "pip3": named} if named else {})
                self.muddled = self.muddled or named is None

    def alternative(self, texts: tuple[str, ...]) -> None:
        if "--install" in texts and len(texts) > texts.index("--install") + 3:
            at = texts.index("--install")
            self.rename(texts[at + 2], texts[at + 3], posixpath.dirname(texts[at + 1]))
        elif "--set" in texts and len(texts) > texts.index("--set") + 2:
            at = texts.index("--set")
            self.rename(texts[at + 1], texts[at + 2], "/usr/bin")
        elif any(name in texts for name in _NAMES):
            self.muddled = True

    def rename(self, name: str, target: str, folder: str) -> None:
        """``name`` is from here on what ``target`` is."""
        if name not in _NAMES:
            return
        place = posixpath.dirname(target)
        venv = self.made.get(place[: -len("/bin")]) if place.endswith("/bin") else None
        found = self.of(venv) if venv else self.named(posixpath.basename(target))
        if found is None:
            self.muddled = True
            return
        self.names[name] = found
        if name == "python3":  # Debian's pip and pip3 are scripts for /usr/bin/python3
            self.names.setdefault("pip", found)
            self.names.setdefault("pip3", found)

    def of(self, venv: Venv) -> Python:
        version = venv.version
        if version is None:
            program = venv.command.program if venv.command.program.startswith("python") else "python3"
            base = self.named(program)
            uv = venv.command.program == "uv"
            version = base.version if base and not uv else None
        return Python(version, "venv", f"the virtual environment {venv.path}")

    def named(self, program: str) -> Optional[Python]:
        """The Python that a program's name stands for."""
        versioned = _VERSIONED.match(program)
        if versioned:
            system = self.image.system_python if self.image else None
            own = self.image is not None and self.image.python == versioned[1]
            kind = "image" if own else "system" if versioned[1] == system else "extra"
            return Python(versioned[1], kind, program)
        if program in self.names:
            return self.names[program]
        if program not in _NAMES or self.image is None or self.muddled:
            return None
        if self.image.family == "python":
            return Python(self.image.python, "image", f"the image {self.image.name}")
        if self.image.family in ("cuda", "distribution") and self.image.system_python:
            system = "{} {}".format(*(self.image.system or ("", ""))).title()
            return Python(self.image.system_python, "system", f"python3 of {system}")
        return None

    def answer(self) -> Optional[Python]:
        named = self.install.python
        folder, program = posixpath.dirname(named), posixpath.basename(named)
        if folder:
            venv = self.made.get(folder[: -len("/bin")]) if folder.endswith("/bin") else None
            return self.of(venv) if venv else self.named(program) if folder == "/usr/bin" else None
        if self.install.tool == "uv":
            return self.of_uv()
        if _VERSIONED.match(program) and program not in self.names:
            return self.named(program)
        if self.entered is not None:
            return self.of(self.made[self.entered]) if self.entered in self.made else None
        for place in path_at(self.recipe, self.command):
            if place.endswith("/bin") and place[: -len("/bin")] in self.made:
                return self.of(self.made[place[: -len("/bin")]])
            if place in _STANDARD:
                break
            if not re.search(r"cuda|nvidia|\.cargo|\.local/bin", place):
                return None
        if self.muddled:
            return None
        called = (posixpath.basename(word.text) for word in self.command.words)
        return self.named(next((name for name in called if name in _NAMES), program or "python3"))

    def of_uv(self) -> Optional[Python]:
        """uv takes the active or the project's virtual environment, or with ``--system`` the first Python of PATH."""
        texts = self.command.texts
        system = self.command.variable("UV_SYSTEM_PYTHON")
        if "--system" in texts or (system is not None and system.value in ("1", "true")):
            if "--python" in texts or "-p" in texts or self.muddled:
                return None
            return self.named("python3")
        active = self.command.variable("VIRTUAL_ENV")
        if active is not None and active.value in self.made:
            return self.of(self.made[active.value])
        return self.of(self.made[self.entered]) if self.entered in self.made and self.entered else None


def _of_conda(recipe: Recipe, install: Install) -> Optional[Python]:
    """The Python that a conda environment's file, or the same command, asks for."""
    near = [install, *(one for one in recipe.installs if recipe.kind == "environment" and one.tool == "conda")]
    for one in near:
        package = one.package("python") if one.tool == "conda" else None
        found = (
            re.fullmatch(r"={1,2}(3\.\d+)(?:\.\d+|\.\*|\*)?(?:=.*)?", package.specifier.strip()) if package else None
        )
        if found:
            return Python(found[1], "conda", "python of the environment")
    return None


def _of_workflow(recipe: Recipe, install: Install) -> Optional[Python]:
    """The Python of ``actions/setup-python``, where a workflow sets one alone."""
    found: set[str] = set()

    def look(data: object) -> None:
        if isinstance(data, dict):
            if str(data.get("uses", "")).startswith("actions/setup-python"):
                chosen = data.get("with")
                found.add(str(chosen.get("python-version", "?")) if isinstance(chosen, dict) else "?")
            for value in data.values():
                look(value)
        elif isinstance(data, list):
            for value in data:
                look(value)

    look(recipe.data)
    only = found.pop() if len(found) == 1 else ""
    version = re.fullmatch(r"(3\.\d+)(?:\.\d+)?", only)
    jobs = recipe.data.get("jobs") if isinstance(recipe.data, dict) else None
    one_job = isinstance(jobs, dict) and len(jobs) == 1
    return Python(version[1], "setup", "actions/setup-python") if version and one_job else None
