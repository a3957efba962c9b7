"""Writes the files that make an environment: Dockerfile, devcontainer, requirements, environment.yml, Apptainer.

    wishes = wished("2.13.0", "cu130", gpu=["12.0"], packages=["torch-scatter"])     what is asked for
    wishes = of_facts(facts)                                                         an environment that works
    write("dockerfile", wishes) -> Written(files={"Dockerfile": ...})

Everything written is pinned, says why each line is there, and ends in a proof; addresses are build arguments.
"""

import dataclasses
import os
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional

from kit.errors import KitError
from kit.recipes.writing.asking import options, replacements, wished
from kit.recipes.writing.saving import save
from kit.recipes.writing.verified import as_installed, of_facts
from kit.recipes.writing.wish import Pin, Wishes
from kit.record import Record

if TYPE_CHECKING:
    from kit.facts import Facts

__all__ = ["KINDS", "Pin", "Wishes", "Written", "add_arguments", "asked", "of_facts", "save", "wished", "write"]

# The kinds, and the name of the file where the person named none.
KINDS = {
    "dockerfile": "Dockerfile",
    "devcontainer": ".devcontainer",
    "requirements": "requirements.txt",
    "environment": "environment.yml",
    "apptainer": "image.def",
}
_IMAGES = ("dockerfile", "devcontainer", "apptainer")


class Written(Record):
    """What was written: ``files`` by name, beside each other, and ``notes`` on what could not be had."""

    kind: str
    files: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The file; where there are several, each under a line with its name."""
        if len(self.files) == 1:
            return next(iter(self.files.values()))
        return "\n".join(f"==> {name} <==\n{text}" for name, text in self.files.items())

    def paths(self, output: str) -> dict[str, str]:
        """The files by the path that each has where ``-o`` names a file, or a folder for a devcontainer."""
        if self.kind == "devcontainer":
            return {os.path.join(output, name): text for name, text in self.files.items()}
        folder = os.path.dirname(output)
        (_, text), *others = self.files.items()
        return {output: text, **{os.path.join(folder, name): text for name, text in others}}

    def to_dict(self) -> dict[str, Any]:
        return {"schema": 1, "kind": self.kind, "files": dict(self.files), "notes": list(self.notes)}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from kit import show

        return show.mimebundle(self)

    def __repr__(self) -> str:
        from kit import show

        return show.text(self)


def write(kind: str, wishes: Wishes, output: Optional[str] = None) -> Written:
    """The files of a ``kind`` (:data:`KINDS`).  ``output`` is the path that they will have: it stands in their head,
    and names the second file of requirements.  Nothing is written to disk: :func:`save` does that."""
    if kind not in KINDS:
        raise KitError(f"cannot write {kind!r}; what can be written: {', '.join(KINDS)}")
    if kind in _IMAGES and wishes.system != "Linux":
        raise KitError(
            f"these are the packages of a {wishes.system} machine, an image has Linux: name wishes, --torch ..."
        )
    if kind in ("requirements", "environment") and wishes.project is not None:
        raise KitError(
            f"--project is for images; with {kind}, install the folder afterwards: pip install --no-deps -e ."
        )
    if kind in ("requirements", "environment") and wishes.constraints is not None:
        raise KitError(f"--constraints is for images: {kind} holds the versions itself")
    output = (output or KINDS[kind]).rstrip("/")
    files = _files(kind, wishes, output)
    return Written(kind, files, wishes.notes)


def _files(kind: str, wishes: Wishes, output: str) -> dict[str, str]:
    from kit.recipes.writing.apptainer import apptainer
    from kit.recipes.writing.devcontainer import devcontainer
    from kit.recipes.writing.dockerfile import WRITTEN, dockerfile
    from kit.recipes.writing.environment import environment
    from kit.recipes.writing.requirements import requirements

    name = os.path.basename(output) or KINDS[kind]
    command = shlex.join(["kit", "recipe", "write", kind, *wishes.options, "-o", output])
    head: tuple[str, ...] = (WRITTEN + command.replace("\n", " "),)  # one line: what follows would be no comment
    head += tuple(f"Note: {note}" for note in wishes.notes)
    if kind == "dockerfile":
        return {name: dockerfile(wishes, (*head, *_building(name)), _jupyter(wishes))}
    if kind == "devcontainer":
        return devcontainer(wishes, (*head, *_building(f"{output}/Dockerfile")))
    if kind == "requirements":
        return requirements(wishes, head, name)
    if kind == "environment":
        return {name: environment(wishes, head)}
    usage = f"apptainer build image.sif {name}    (behind a mirror: --build-arg PIP_INDEX_URL=..., see %arguments)"
    return {name: apptainer(wishes, (*head, usage))}


def _jupyter(wishes: Wishes) -> bool:
    return any(pin.name == "jupyterlab" for pin in wishes.pins)


def _building(file: str) -> tuple[str, ...]:
    return (
        f"    docker build -f {file} -t torch .",
        "No GPU is needed to build it. Behind a mirror: --build-arg PIP_INDEX_URL=... for each ARG.",
    )


# --- the command line -----------------------------------------------------------------------------


def add_arguments(parser: Any) -> None:
    """The arguments of ``kit recipe write``."""
    parser.add_argument("kind", metavar="KIND", help=", ".join(KINDS))
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--torch", metavar="V", help="for this torch, e.g. 2.13.0, 2.13 or 2.13.0+cu130")
    which.add_argument("--python", metavar="EXE", help="as in the environment of this interpreter, once it verifies")
    which.add_argument(
        "--facts", metavar="FILE", help="the same from a facts file, or the name of a recorded machine"
    )
    parser.add_argument("--cuda", metavar="TOKEN", help="the build of torch: cu130, 13.0 or cpu")
    parser.add_argument("--gpu", metavar="CC", action="append", default=[], help="a compute capability; repeatable")
    parser.add_argument(
        "--package", metavar="NAME[==V]", action="append", default=[], help="a package besides torch; repeatable"
    )
    parser.add_argument("--image-python", metavar="V", help="the image's Python, e.g. 3.12")
    parser.add_argument(
        "--project",
        metavar="EXTRAS",
        nargs="?",
        const="",
        help="install the folder that the image is built from, with these extras; it brings the kit, which verifies",
    )
    parser.add_argument("--constraints", metavar="FILE", help="versions, a file in that folder: pip install -c FILE")
    parser.add_argument(
        "--shim", metavar="NAME", action="append", default=[], help="the kit's own, e.g. torch_scatter"
    )
    parser.add_argument("--offline", action="store_true", help="ask no index: no hashes, and every package with ==V")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write (a devcontainer: a folder)")
    parser.add_argument("--force", action="store_true", help="also over a file that holds something else")


def asked(arguments: Any, facts: "Optional[Facts]" = None) -> Wishes:
    """The wishes behind parsed arguments.  ``facts`` are those that ``--facts`` or ``--python`` name: with the latter
    they are taken once the environment verifies."""
    if arguments.kind not in KINDS:
        raise KitError(f"cannot write {arguments.kind!r}; what can be written: {', '.join(KINDS)}")
    if facts is None and arguments.python is not None:
        facts = _verified(arguments.python)
    if facts is None:
        wishes = wished(
            arguments.torch,
            arguments.cuda,
            arguments.gpu,
            arguments.package,
            python=arguments.image_python,
            project=arguments.project,
            constraints=arguments.constraints,
            shims=arguments.shim,
            offline=arguments.offline,
        )
    else:
        wishes = _like(facts, arguments)
        wishes = as_installed(wishes, facts) if arguments.kind == "requirements" else wishes
    if arguments.kind == "requirements" and not arguments.offline:
        from kit.recipes.writing.locking import locked

        wishes = locked(wishes)
    elif arguments.kind == "requirements":
        wishes = dataclasses.replace(wishes, notes=(*wishes.notes, "offline: no index was asked for hashes"))
    return wishes


def _like(facts: "Facts", arguments: Any) -> Wishes:
    if arguments.cuda or arguments.package:
        raise KitError(
            "--cuda and --package are wishes, --python and --facts say all that is there: name one or the other"
        )
    source = ("--python", arguments.python) if arguments.python is not None else ("--facts", arguments.facts)
    rest = options(
        None,
        None,
        arguments.gpu,
        (),
        python_option=arguments.image_python,
        project=arguments.project,
        constraints=arguments.constraints,
        shims=arguments.shim,
    )
    wishes = of_facts(
        facts,
        gpu=arguments.gpu,
        python=arguments.image_python,
        project=arguments.project,
        constraints=arguments.constraints,
        options=(*source, *rest),
    )
    named = replacements(arguments.shim, arguments.project)
    return dataclasses.replace(wishes, replacements=tuple(dict.fromkeys((*wishes.replacements, *named))))


def _verified(python: str) -> "Facts":
    """The facts of an environment whose operators give right values.  KitError names the first check that fails."""
    from kit.collect import collect
    from kit.verify import verify

    facts = collect(python)
    for check in verify(python, facts=facts).checks:
        if check.ok is False:
            raise KitError(f"{python} does not verify ({check.name}: {check.detail}): mend it first, kit repair")
    return facts
