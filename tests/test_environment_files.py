"""pyproject.toml, constraints.txt, environment.yml and .devcontainer say the same, and only what holds."""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from kit.recipes import writing

tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")  # tomli comes with pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {name: [Requirement(line) for line in lines] for name, lines in PROJECT["optional-dependencies"].items()}
CORE = [Requirement(line) for line in PROJECT["dependencies"]]

# How conda-forge names what the package index names otherwise; every other name is the same in both.
CONDA_NAMES = {"torch": "pytorch", "torch-scatter": "pytorch_scatter", "matplotlib": "matplotlib-base"}
# What only conda needs: the interpreter, and what installs the clone.
CONDA_ONLY = {"python", "pip"}


def pins() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


# --- pyproject.toml -------------------------------------------------------------------------------


def test_the_core_is_small_and_the_lab_is_what_was_asked_for():
    assert {r.name for r in CORE} == {"packaging", "nvidia-ml-py"}
    assert {r.name for r in EXTRAS["lab"]} == {
        "jupyterlab",
        "ipywidgets",
        "matplotlib",
        "nbval",
        "papermill",
        "torch",
    }
    # Apart: in one pip command with torch its setup.py would run before torch is installed.
    assert {r.name for r in EXTRAS["scatter"]} == {"torch-scatter"}
    assert Version("3.9") in SpecifierSet(PROJECT["requires-python"])


def test_every_requirement_has_a_lower_bound_and_no_pin():
    for requirement in [*CORE, *(r for extra in EXTRAS.values() for r in extra)]:
        assert [s.operator for s in requirement.specifier] == [">="], str(requirement)


def test_a_core_only_import_pulls_in_nothing_heavy():
    code = "import kit, sys; print([n for n in sys.modules if n.partition('.')[0] in %r])"
    heavy = ("torch", "numpy", "IPython", "ipywidgets", "matplotlib", "jupyterlab")
    done = subprocess.run([sys.executable, "-c", code % (heavy,)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_the_labs_setup_needs_only_the_standard_library():
    # inside.py is held to the standard library by a test of its own.
    for path in [*(ROOT / "kit" / "lab").glob("*.py"), *(ROOT / "kit" / "build").glob("*.py")]:
        if path.name == "child.py":
            continue  # runs where the extension is built, with that environment's setuptools
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                ours = name.partition(".")[0] == "kit"  # the test below loads what these bring along
                assert ours or name.partition(".")[0] in sys.stdlib_module_names, (path, name)


def test_the_labs_setup_starts_where_nothing_is_installed():
    # Not only what it names itself: `python3 -m kit.lab` also runs kit/__init__.py and all that it imports.
    code = f"import sys; sys.path.append({str(ROOT)!r}); import kit.lab.__main__; print(len(sys.modules))"
    bare = [os.path.realpath(sys.executable), "-I", "-S", "-c", code]
    done = subprocess.run(bare, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


# --- constraints.txt ------------------------------------------------------------------------------


def test_every_pin_is_exact_and_serves_every_operating_system():
    for pin in pins():
        (specifier,) = pin.specifier
        assert specifier.operator == "==" and "*" not in specifier.version, str(pin)
        assert Version(specifier.version).local is None, f"{pin}: a local version exists on one index only"
        assert set(
            re.findall(r"python_version|python_full_version|\w*platform\w*|os_name", str(pin.marker or ""))
        ) <= {
            "python_version",
            "python_full_version",
        }


@pytest.mark.parametrize("python", ["3.10.0", "3.11.7", "3.14.1"])
def test_one_pin_per_package_within_the_bounds(python):
    environment = {"python_version": python.rpartition(".")[0], "python_full_version": python}
    seen: dict[str, str] = {}
    for pin in pins():
        if pin.marker is None or pin.marker.evaluate(environment):
            assert pin.name not in seen, f"two pins of {pin.name} for Python {python}"
            seen[canonicalize_name(pin.name)] = next(iter(pin.specifier)).version
    for requirement in [*CORE, *(r for extra in EXTRAS.values() for r in extra)]:
        assert requirement.specifier.contains(seen[canonicalize_name(requirement.name)]), str(requirement)
    assert {"pip", "setuptools", "wheel"} <= set(seen)
    assert (seen["torch"], seen["torch-scatter"]) == ("2.13.0", "2.1.2")


# --- environment.yml ------------------------------------------------------------------------------


CONDA_LINES = (ROOT / "environment.yml").read_text(encoding="utf-8").splitlines()
CONDA: dict[str, Any] = yaml.safe_load("\n".join(CONDA_LINES))
CONDA_TEXTS = [text for text in CONDA["dependencies"] if isinstance(text, str)]
# What the package index brings into the conda environment: its own "- pip:" list.
CONDA_PIP = [Requirement(t) for part in CONDA["dependencies"] if isinstance(part, dict) for t in part["pip"]]


def conda_specs() -> dict[str, Any]:
    rattler = pytest.importorskip("rattler")
    specs = [rattler.MatchSpec(text, strict=True) for text in CONDA_TEXTS]
    return {spec.name.normalized: spec for spec in specs}


def test_conda_forge_is_the_only_channel():
    assert CONDA["channels"] == ["conda-forge"]


@pytest.mark.parametrize("line", CONDA_LINES)
def test_every_line_says_what_needs_it(line):
    assert re.search(r"\S  # \S.{8,}", line), line
    assert len(line) <= 120


def test_conda_has_the_same_packages_with_the_same_bounds():
    extras = [r for name in ("lab", "scatter", "recipes", "nodes") for r in EXTRAS[name]]
    wanted = {r.name: str(r.specifier) for r in [*CORE, *extras]}
    from_pip = {r.name: str(r.specifier) for r in CONDA_PIP}
    assert {name: wanted.pop(name) for name in from_pip} == from_pip
    wanted = {CONDA_NAMES.get(name, name): bound for name, bound in wanted.items()}
    specs = conda_specs()
    assert {name: str(spec.version) for name, spec in specs.items() if name not in CONDA_ONLY} == wanted
    assert set(specs) >= CONDA_ONLY
    assert len(specs) == len(CONDA_TEXTS), "a package is listed twice"
    # Nothing that conda's torch is built with comes from elsewhere.
    assert not {r.name for r in CONDA_PIP} & {r.name for r in [*CORE, *EXTRAS["lab"], *EXTRAS["scatter"]]}
    assert str(specs["python"].version) == ">=3.10"


def test_every_conda_spec_admits_the_version_that_is_pinned_for_pip():
    names = {CONDA_NAMES.get(pin.name, pin.name): next(iter(pin.specifier)).version for pin in pins()}
    for name, spec in conda_specs().items():
        if name in names:
            assert SpecifierSet(spec.version or "").contains(names[name]), name


# --- .devcontainer --------------------------------------------------------------------------------


def instructions(text: str) -> list[tuple[str, str]]:
    """A Dockerfile's instructions in order: ("RUN", "pip install ..."), with continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines()) if word]


DOCKERFILE = instructions((ROOT / ".devcontainer" / "Dockerfile").read_text(encoding="utf-8"))
DEVCONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
RUNS = [rest for word, rest in DOCKERFILE if word == "RUN"]


def variables(word: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for rest in (rest for name, rest in DOCKERFILE if name == word):
        found.update((key, value.strip('"')) for key, value in re.findall(r'(\w+)=("[^"]*"|\S*)', rest))
    return found


def words_of_head() -> list[str]:
    """The command that wrote the container, from the first line of its Dockerfile."""
    first = (ROOT / ".devcontainer" / "Dockerfile").read_text(encoding="utf-8").splitlines()[0]
    return shlex.split(first[len("# Written by: ") :])


def place(part: str) -> int:
    """The place of the only instruction that contains this."""
    (index,) = [i for i, (word, rest) in enumerate(DOCKERFILE) if part in f"{word} {rest}"]
    return index


def test_it_is_what_kit_recipe_write_makes_byte_for_byte():
    # To change the container, change what writes it, then run the command of its first line with --force.
    assert words_of_head()[:4] == ["kit", "recipe", "write", "devcontainer"]
    parser = argparse.ArgumentParser()
    writing.add_arguments(parser)
    arguments = parser.parse_args(words_of_head()[3:])
    written = writing.write(arguments.kind, writing.asked(arguments), arguments.output)
    assert written.notes == ()
    there = {path.name: path.read_bytes() for path in (ROOT / ".devcontainer").iterdir()}
    assert {name: text.encode() for name, text in written.files.items()} == there


def test_its_extras_are_those_of_the_project_and_all_that_a_test_needs():
    extras = words_of_head()[words_of_head().index("--project") + 1].split(",")
    assert extras == ["lab", "recipes", "nodes", "test"]
    assert set(extras) == set(EXTRAS) - {"scatter"}, "scatter is compiled before, against the torch that is there"
    assert any(run.endswith(f'-e ".[{",".join(extras)}]"') for run in RUNS)


def test_python_3_11_lives_in_a_venv_that_comes_first_on_path():
    assert variables("ARG")["PYTHON_IMAGE"].startswith("python:3.11-")
    assert "python3.11 -m venv /opt/venv" in RUNS
    assert variables("ENV")["PATH"].startswith("/opt/venv/bin:")
    first_pip = next(i for i, (_, rest) in enumerate(DOCKERFILE) if "pip install" in rest)
    assert place("RUN python3.11 -m venv") < place("ENV VIRTUAL_ENV=/opt/venv") < first_pip


def test_a_login_shell_has_it_too():
    # /etc/profile sets PATH anew, and JupyterLab's terminals are login shells.
    run = DOCKERFILE[place("/etc/profile.d/venv.sh")][1]
    (path,) = re.findall(r"'PATH=(\S*)'", run)
    assert path == variables("ENV")["PATH"]
    assert run.endswith("""test "$(bash -lc 'command -v python')" = /opt/venv/bin/python""")
    assert variables("ENV")["SHELL"] == "/bin/bash"


def test_the_cuda_variables_are_right_for_ada_hopper_and_blackwell():
    env = variables("ENV")
    assert env["TORCH_CUDA_ARCH_LIST"].split(";") == ["8.9", "9.0", "12.0"]
    assert env["FORCE_CUDA"] == "1"
    assert env["NVIDIA_DRIVER_CAPABILITIES"].split(",") == ["compute", "utility"]
    assert env["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert env["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
    assert "CUDA_LAUNCH_BLOCKING" not in env  # its default, 0, is what is wanted
    assert not any("FORCE_CUDA" in run for run in RUNS), "a variable set within RUN is easily lost"


def test_the_toolkit_has_the_cuda_of_torch():
    major = re.search(r"nvidia/cuda:(\d+)\.", variables("ARG")["CUDA_IMAGE"])
    token = re.search(r"/cu(\d+)$", variables("ARG")["TORCH_INDEX_URL"])
    assert major and token and token[1].startswith(major[1])
    assert any(word == "COPY" and f"/usr/local/cuda-{major[1]}." in rest for word, rest in DOCKERFILE)


def test_the_build_cannot_silently_make_an_extension_without_cuda():
    scatter = next(run for run in RUNS if "--no-binary=torch-scatter" in run)
    assert scatter.endswith(" torch-scatter==2.1.2")
    for option in (
        "--no-build-isolation",
        "--no-cache-dir",
        "--no-binary=torch-scatter",
        "-c constraints.txt",
    ):
        assert option in scatter
    assert place("FORCE_CUDA=1 ") < place("TORCH_INDEX_URL} torch==2.13.0+cu130") < place("--no-binary=torch-scatter")
    assert place("--no-binary=torch-scatter") < place("RUN test -f") < place("doctor --gpu 8.9")
    assert re.match(r"test -f \S+/torch_scatter/_scatter_cuda\.so +&& ", DOCKERFILE[place("RUN test -f")][1])
    for architecture in variables("ENV")["TORCH_CUDA_ARCH_LIST"].split(";"):
        assert f"python -m kit doctor --gpu {architecture}" in RUNS
    check = DOCKERFILE[place("cuobjdump --list-elf")][1]
    for architecture in variables("ENV")["TORCH_CUDA_ARCH_LIST"].split(";"):
        # grep alone, its output in the log: with a pipe the exit status would be another command's
        assert f"grep -F .sm_{architecture.replace('.', '')}. /tmp/elf" in check
    assert "|" not in check
    assert RUNS[-1] == "python -m kit verify"
    for run in RUNS:
        assert "||" not in run and ";" not in run.partition("test -f")[0], f"a fallback hides a failure: {run}"


def test_every_install_in_the_image_is_pinned_and_addresses_are_arguments():
    for run in RUNS:
        if "pip install" in run:
            assert "-c constraints.txt" in run
        assert "http" not in run
    assert {"PYTHON_IMAGE", "CUDA_IMAGE", "PIP_INDEX_URL", "TORCH_INDEX_URL"} <= set(variables("ARG"))


def test_the_container_starts_with_and_without_a_gpu():
    assert DEVCONTAINER["hostRequirements"] == {"gpu": "optional"}
    assert "--gpus" not in json.dumps(DEVCONTAINER)


def test_vs_code_uses_that_environment_and_verifies_it():
    settings = DEVCONTAINER["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"] == "/opt/venv/bin/python"
    assert {"ms-python.python", "ms-toolsai.jupyter"} <= set(DEVCONTAINER["customizations"]["vscode"]["extensions"])
    assert DEVCONTAINER["postCreateCommand"].endswith("-e . && python -m kit verify")
    assert 8888 in DEVCONTAINER["forwardPorts"]
    build = DEVCONTAINER["build"]
    assert (ROOT / ".devcontainer" / build["dockerfile"]).is_file()
    assert (ROOT / ".devcontainer" / build["context"]).resolve() == ROOT
    for name, value in build["args"].items():
        assert variables("ARG")[name] == value


def test_what_the_image_copies_is_there():
    for word, rest in DOCKERFILE:
        if word == "COPY" and not rest.startswith("--from"):
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
    # All of the folder, so .dockerignore has to keep out what does not belong into an image.
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv", "**/__pycache__"} <= set(ignored)


# --- Makefile and CI ------------------------------------------------------------------------------


def test_make_alone_tells_every_target():
    text = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert targets
    for target in set(targets[1].split()) - {"help", "python"}:
        assert len(re.findall(rf"^make {target} +\S", text, re.MULTILINE)) == 1, target


def test_a_missing_python_is_one_line(tmp_path):
    done = subprocess.run(["make", "lab", "PYTHON=python3.99"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr.splitlines()[0].startswith("python3.99 was not found: install Python 3.10 or newer")


def test_ci_runs_what_a_person_runs():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert "set -euo pipefail" in lines and lines[-1] == "make test"
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
