"""apex is built with ``--global-option``, which pip no longer has.

pip 25.3 removed the option and stops with ``no such option``; pip before it ignored it for a package with a
``pyproject.toml``, as apex is, and installed apex as Python only.  Today its extensions are asked for by
``APEX_CPP_EXT=1`` and ``APEX_CUDA_EXT=1`` in the environment.

Example
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    RUN git clone https://github.com/NVIDIA/apex && cd apex && \\
        pip install -v --no-build-isolation --global-option="--cpp_ext" --global-option="--cuda_ext" .  # <--

Instead
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    RUN git clone https://github.com/NVIDIA/apex && cd apex && \\
        APEX_CPP_EXT=1 APEX_CUDA_EXT=1 pip install -v --no-build-isolation .
"""

from collections.abc import Iterator

from kit.findings import Fix
from kit.recipes.model import Edit, Install, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._edits import added, editable, in_front, without
from kit.recipes.rules._extensions import Extension, extensions
from kit.recipes.rules._pip import newest_pip
from kit.recipes.rules._words import missing

FAILURE = "apex-extension-missing"

# Its setup.py reads them from the environment.
_VARIABLES = {"--cpp_ext": "APEX_CPP_EXT", "--cuda_ext": "APEX_CUDA_EXT"}


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        asked = install.options.global_options
        apex = next((one for one in extensions(recipe, install) if one.name == "apex"), None)
        if apex is None and install.local and any(word.text in _VARIABLES for word in asked):
            apex = Extension("apex", install.local[0].span, "folder", revision="?")  # its options, from a folder
        if not asked or apex is None or install.tool != "pip":
            continue
        newest = newest_pip(recipe, install)
        if newest is False and apex.revision:
            continue  # an old apex with an old pip
        yield Problem(
            "apex-global-option",
            FAILURE,
            "warning" if apex.revision and not newest else "error",
            asked[0].span,
            "pip has no --global-option any more. pip 25.3 and newer stop at it; older ones ignore it for a package "
            "with a pyproject.toml, and apex comes without its extensions.",
            fix=(Fix("rebuild-extension", _form(apex)),),
            edits=_edits(recipe, install, apex),
            package="apex",
        )


def _form(apex: Extension) -> str:
    if apex.revision:
        return (
            'Hand them to the build: --no-build-isolation --config-settings "--build-option=--cpp_ext" '
            '--config-settings "--build-option=--cuda_ext"'
        )
    return "Set them for the build: APEX_CPP_EXT=1 APEX_CUDA_EXT=1 pip install -v --no-build-isolation ."


def _edits(recipe: Recipe, install: Install, apex: Extension) -> tuple[Edit, ...]:
    """The same options in today's form; a revision that is fixed may be too old for the variables."""
    if not editable(recipe, install) or install.command is None:
        return ()
    options = install.options.global_options
    spans = [word.span for word in options]
    # Of "--global-option --cpp_ext" both words.
    words = install.command.words
    spans += [
        before.span
        for before, word in zip(words, words[1:])
        if before.text == "--global-option" and any(word.span == one.span for one in options)
    ]
    isolation = added(install, "--no-build-isolation") if missing(install, "--no-build-isolation") else ()
    if apex.revision:
        kept = " ".join(f'--config-settings "--build-option={word.text}"' for word in options)
        return (
            *without(install.command, spans),
            *added(install, f"{kept}{' --no-build-isolation' * bool(isolation)}"),
        )
    names = [_VARIABLES[word.text] for word in options if word.text in _VARIABLES]
    front = in_front(recipe, install, "".join(f"{name}=1 " for name in dict.fromkeys(names)))
    if len(names) != len(options) or not front:
        return ()
    return (*front, *isolation, *without(install.command, spans))
