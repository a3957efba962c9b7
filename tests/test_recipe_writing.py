"""`kit recipe write`: what stands in each kind of file, where it comes from, and what is refused."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import kit
from kit.data import table
from kit.errors import KitError
from kit.recipes import writing
from kit.recipes.writing import locking
from kit.recipes.writing.images import images
from kit.recipes.writing.steps import self_check
from kit.recipes.writing.wish import Pin, choose, extension

ROOT = Path(__file__).resolve().parent.parent
SCATTER = "torch-scatter"


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    writing.add_arguments(parser)
    return parser.parse_args(words)


def made(*words: str) -> writing.Written:
    arguments = parsed(*words)
    facts = None if arguments.facts is None else kit.machine(arguments.facts)
    return writing.write(arguments.kind, writing.asked(arguments, facts), arguments.output)


def commands(dockerfile: str) -> list[str]:
    """The commands of its RUN instructions, continued lines joined."""
    lines = [line for line in dockerfile.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    runs = [line[4:] for line in joined.splitlines() if line.startswith("RUN ")]
    return [re.sub(r"^--mount=\S+ ", "", part) for run in runs for part in run.split(" && ")]


def refusal(*words: str) -> str:
    with pytest.raises(KitError) as refused:
        made(*words)
    line = str(refused.value)
    assert "\n" not in line
    return line


# --- what is wished -------------------------------------------------------------------------------


@pytest.mark.parametrize("row", table("torch_builds")["torch"], ids=lambda row: row["minor"])
def test_every_build_of_the_table_can_be_chosen_and_no_other(row):
    for token in ["cpu", *row["cuda"]]:
        version, chosen, _, python = choose(row["minor"], token)
        assert (version, chosen) == (row["newest"], token)
        assert python in row["pythons"]
    with pytest.raises(KitError, match="was not published for cu999; there are cpu, cu"):
        choose(row["minor"], "cu999")
    major, minor, patch = row["newest"].split(".")
    with pytest.raises(KitError, match=f"was never published; the newest {row['minor']} is {row['newest']}"):
        choose(f"{major}.{minor}.{int(patch) + 1}")


def test_without_a_build_that_of_the_package_index_is_taken_or_one_that_serves_the_gpu():
    assert choose("2.13")[1] == "cu130"
    assert choose("2.8", gpu=["12.0"])[1] == "cu128"
    assert choose("2.13", gpu=["6.1"])[1] == "cu126"  # CUDA 13 has no code for it
    assert choose("2.7.1", gpu=["sm_120", "8.9"])[1:3] == ("cu128", ("12.0", "8.9"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("dockerfile --torch 3.0", r"torch 3\.0 is not known: the table of \S+ has 1\.13 to 2\.15"),
        ("dockerfile --torch newest", "not a release of torch: 'newest'; it looks like 2.13.0"),
        ("dockerfile --torch 2.13 --cuda cu121", "not published for cu121; there are cpu, cu126, cu130, cu132"),
        ("dockerfile --torch 2.13 --cuda rocm", "not a build of torch: 'rocm'; it looks like cu130, 13.0 or cpu"),
        ("dockerfile --torch 2.13+cu130 --cuda cu126", "is not built for cu126"),
        ("dockerfile --torch 2.13 --cuda cu126 --gpu 12.0", "no code for compute capability 12.0; .*: cu130, cu132"),
        ("dockerfile --torch 2.6 --gpu 12.0", r"the nearest that has is torch 2\.7\.1\+cu128"),
        ("dockerfile --torch 2.15 --gpu 6.1", r"the nearest that has is torch 2\.14\.1\+cu126"),
        ("dockerfile --torch 2.13 --cuda cpu --gpu 8.9", "uses no GPU"),
        ("dockerfile --torch 2.13 --gpu fast", "not a compute capability: 'fast'"),
        ("dockerfile --torch 2.13 --image-python 3.9", "no wheels for Python 3.9; it has for 3.10, "),
        ("dockerfile --torch 2.13 --package apex", "another package"),
        ("dockerfile --torch 2.13 --package torch", "--torch, not by --package"),
        ("dockerfile --torch 2.13 --package flash-attn==2.8.0", "in a way of its own"),
        ("dockerfile --torch 2.13 --package numpy>=1", "write NAME, or NAME==VERSION"),
        ("dockerfile --torch 2.13 --package numpy==1 --package NumPy==2", "numpy is named twice"),
        ("dockerfile --torch 2.13 --package numpy --offline", "not known offline: name a version"),
        ("dockerfile --torch 2.13 --package pyg-lib==0.1", "the page lists"),
        ("dockerfile --torch 2.13 --shim torch_scatter", "needs the kit in the image"),
        ("dockerfile --torch 2.13 --shim torch_gather --project", "there is no shim for torch_gather"),
        ("dockerfile --torch 2.13 --constraints ../c.txt", "in the folder that the image is built from"),
        ("dockerfile --torch 2.13 --project a;b", "not names of extras"),
        ("dockerfile --torch 2.13 --constraints c;evil", "in the folder that the image is built from"),
        ("requirements --torch 2.13 --project lab --offline", "--project is for images"),
        ("environment --torch 2.13 --constraints c.txt", "--constraints is for images"),
        ("image --torch 2.13", "can be written: dockerfile, devcontainer, requirements, environment, apptainer"),
        ("dockerfile --facts hpc-py39-apex-without-amp", "is broken .apex-amp-removed.*mend it first"),
        ("dockerfile --facts healthy-cpu --cuda cu130", "name one or the other"),
        ("dockerfile --facts healthy-cpu --image-python 3.12", "are the packages of Python 3.11"),
        ("dockerfile --facts healthy-cpu --gpu 8.9", "uses no GPU"),
    ],
)
def test_a_wish_that_cannot_be_fulfilled_is_one_line_that_says_what_there_is(words, said):
    assert re.search(said, refusal(*words.split()))


def test_an_extension_comes_as_the_published_wheel_and_is_compiled_where_there_is_none():
    assert extension(SCATTER, "", ("2.12", "cu130", "3.11")) == Pin(SCATTER, "2.1.2+pt212cu130", "pyg")
    assert extension(SCATTER, "2.1.2+pt212cu130", ("2.12", "cu130", "3.11")).source == "pyg"
    assert extension(SCATTER, "2.1.0", ("2.12", "cu130", "3.11")) == Pin(SCATTER, "2.1.0", "compiled")
    assert extension(SCATTER, "", ("2.13", "cu130", "3.11")) == Pin(SCATTER, "2.1.2", "compiled")
    assert extension(SCATTER, "", ("2.8", "cu128", "3.14")).source == "compiled"  # wheels up to Python 3.13
    assert extension("pyg-lib", "", ("2.13", "cu130", "3.11")).source == "pyg"


# --- Dockerfile -----------------------------------------------------------------------------------


def test_nothing_is_compiled_on_a_slim_image_and_the_wheels_of_the_page_need_a_fuller_one():
    bare = made("dockerfile", "--torch", "2.12", "--cuda", "cu126").text
    assert "ARG PYTHON_IMAGE=python:3.11-slim-bookworm\n" in bare
    assert "nvcc" not in bare and "FORCE_CUDA" not in bare and "CUDA_IMAGE" not in bare
    text = made("dockerfile", "--torch", "2.12.1", "--cuda", "cu126", "--package", SCATTER).text
    assert "ARG PYTHON_IMAGE=python:3.11-bookworm\n" in text
    assert "ARG PYG_PAGE=https://data.pyg.org/whl/torch-2.12.0+cu126.html\n" in text  # X.Y.0, whatever the patch
    (wheel,) = [c for c in commands(text) if "PYG_PAGE" in c]
    assert wheel == (
        "pip install --no-deps --only-binary=torch-scatter --find-links ${PYG_PAGE} torch-scatter==2.1.2+pt212cu126"
    )
    assert "torch==2.12.1+cu126" in next(c for c in commands(text) if "TORCH_INDEX_URL" in c)


@pytest.mark.parametrize("torch, cuda", [("2.13.0", "cu130"), ("2.13.0", "cu126"), ("2.14.1", "cu132")])
def test_what_is_compiled_is_compiled_for_the_gpus_and_proven(torch, cuda):
    wishes = writing.wished(torch, cuda, packages=[SCATTER])
    text = writing.write("dockerfile", wishes).text
    assert "ENV CUDA_HOME=/usr/local/cuda \\\n    FORCE_CUDA=1 \\\n" in text
    listed = re.search(r'TORCH_CUDA_ARCH_LIST="([\d.;]+)"', text)
    expected = ["8.9", "9.0"] if cuda == "cu126" else ["8.9", "9.0", "12.0"]  # of 12.6, torch has no 12.0
    assert listed and listed[1].split(";") == expected
    image = re.search(r"ARG CUDA_IMAGE=nvidia/cuda:(\d+)\.(\d+)\.\d+-devel-", text)
    assert image and f"cu{image[1]}{image[2]}" == cuda
    runs = commands(text)
    order = [
        next(i for i, run in enumerate(runs) if part in run)
        for part in (
            "torch==",
            "--no-binary=torch-scatter",
            "test -f ",
            "cuobjdump",
            "grep -F .sm_89.",
            "import torch;",
        )
    ]
    assert order == sorted(order)
    (compiled,) = [run for run in runs if "--no-binary" in run]
    assert {"--no-build-isolation", "--no-deps", "--no-cache-dir", "torch-scatter==2.1.2"} <= set(compiled.split())
    assert [run for run in runs if run.startswith("grep")] == [
        f"grep -F .sm_{cc.replace('.', '')}. /tmp/elf" for cc in expected
    ]
    for run in runs:
        assert "|" not in run, f"a pipe or a fallback hides a failure: {run}"


def test_the_compiler_of_the_image_is_one_that_nvcc_accepts():
    gcc = {"bookworm": 12, "bullseye": 10}
    accepted = {row["cuda"]: row["gcc_max"] for row in table("nvcc")["nvcc"]}
    known = {row["cuda"]: row["capabilities"] for row in table("nvcc")["nvcc"]}
    tried = 0
    for row in table("torch_builds")["torch"]:
        for token in row["cuda"]:
            cuda = f"{token[2:-1]}.{token[-1]}"
            wishes = writing.Wishes("3.10", row["newest"], token, (Pin(SCATTER, "2.1.2", "compiled"),))
            if cuda not in accepted:
                continue
            chosen = images(wishes)
            release = chosen.python.rpartition("-")[2]
            assert gcc[release] <= accepted[cuda], (cuda, chosen.python)
            assert set(wishes.architectures) <= set(known[cuda])
            assert chosen.cuda and chosen.cuda.startswith(f"nvidia/cuda:{cuda}.") and "-devel-" in chosen.cuda
            tried += 1
    assert tried > 20


def test_a_cuda_without_a_known_toolkit_is_refused():
    wishes = writing.Wishes("3.10", "1.13.1", "cu116", (Pin(SCATTER, "2.1.1", "compiled"),))
    with pytest.raises(KitError, match=r"torch-scatter has to be compiled, and no image with CUDA 11\.6"):
        images(wishes)
    old = writing.Wishes("3.11", "2.13.0", "cu130", (Pin(SCATTER, "2.1.2", "compiled"),), gpus=("7.0",))
    with pytest.raises(KitError, match=r"nvcc 13\.0 compiles nothing for 7\.0; it knows 7\.5, "):
        images(old)


def test_a_project_is_installed_with_its_extras_and_the_build_ends_in_kit_verify():
    words = "--torch 2.13 --cuda cu130 --gpu 8.9 --project lab,test --constraints pins/c.txt --shim torch_scatter"
    runs = commands(made("dockerfile", *words.split()).text)
    assert (
        'pip install -c pins/c.txt --no-build-isolation -e ".[lab,test]"' not in runs
    )  # it is copied into the folder
    assert 'pip install -c c.txt --no-build-isolation -e ".[lab,test]"' in runs
    assert runs[-2:] == ["python -m kit doctor --gpu 8.9", "python -m kit verify"]
    assert runs.index("python -m kit shim enable torch_scatter") < len(runs) - 2
    without = commands(made("dockerfile", "--torch", "2.13", "--cuda", "cpu", "--project").text)
    assert 'pip install --no-build-isolation -e "."' in without
    assert not any("doctor --gpu" in run for run in without)


@pytest.mark.slow
def test_the_check_at_the_end_is_right_for_this_torch_and_wrong_for_another(lab_python):
    import torch

    release, _, token = torch.__version__.partition("+")
    wishes = writing.Wishes("3.11", release, token or "cpu", (Pin("torch", release, "torch"),))
    for command in self_check(wishes):
        argv = [lab_python if word == "python" else word for word in shlex.split(command)]
        assert subprocess.run(argv, capture_output=True).returncode == 0, command
    (first, *_) = self_check(dataclasses.replace(wishes, token="cu999"))
    argv = [lab_python if word == "python" else word for word in shlex.split(first)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode != 0 and "AssertionError" in done.stderr


def test_the_head_tells_the_command_that_makes_the_same_again():
    words = ["dockerfile", "--torch", "2.13", "--cuda", "cu130", "--gpu", "12.0", "--package", "numpy==2.4.6"]
    words += ["--image-python", "3.12", "--constraints", "c.txt", "--shim", "apex.amp", "--project", "lab,test"]
    written = made(*words, "-o", "some folder/Dockerfile")
    first = written.text.splitlines()[0]
    said = shlex.split(first[len("# Written by: ") :])
    assert said[:3] == ["kit", "recipe", "write"]
    assert parsed(*said[3:]).output == "some folder/Dockerfile"
    assert made(*said[3:]) == written


# --- devcontainer ---------------------------------------------------------------------------------


def test_a_devcontainer_without_a_gpu_or_a_project_asks_for_neither():
    written = made("devcontainer", "--torch", "2.13", "--cuda", "cpu", "--package", "numpy==2.4.6")
    settings = json.loads(written.files["devcontainer.json"])
    assert set(written.files) == {"Dockerfile", "devcontainer.json"}
    assert "hostRequirements" not in settings and "postCreateCommand" not in settings
    assert "forwardPorts" not in settings and "NVIDIA" not in written.files["Dockerfile"]
    lab = made("devcontainer", "--torch", "2.13", "--cuda", "cpu", "--package", "jupyterlab==4.6.6")
    assert json.loads(lab.files["devcontainer.json"])["forwardPorts"] == [8888]
    assert 'CMD ["jupyter", "lab", ' in lab.files["Dockerfile"]
    assert lab.text.startswith("==> Dockerfile <==\n") and "\n==> devcontainer.json <==\n{" in lab.text


# --- facts ----------------------------------------------------------------------------------------


def test_from_facts_every_package_is_there_with_its_version_and_nothing_is_resolved():
    facts = kit.machine("healthy-cpu")
    wishes = writing.of_facts(facts)
    specs = {pin.name: pin.spec for pin in wishes.pins}
    assert specs["torch"] == "torch==2.13.0+cpu"
    assert {d.key for d in facts.distributions} - set(specs) == {"pip"}
    assert all("==" in spec for spec in specs.values())
    (install,) = [run for run in commands(writing.write("dockerfile", wishes).text) if "torch==" in run]
    assert "--no-deps" in install.split()
    assert set(specs.values()) - {"torch-scatter==2.1.2"} <= set(install.split())


def test_the_gpus_of_the_facts_are_compiled_for():
    text = made("dockerfile", "--facts", "healthy-gpu").text  # an RTX 4090
    assert 'TORCH_CUDA_ARCH_LIST="8.9"' in text
    assert 'TORCH_CUDA_ARCH_LIST="12.0"' in made("dockerfile", "--facts", "healthy-gpu", "--gpu", "12.0").text


def changed(distribution, **changes):
    """The healthy machine with one distribution changed or added."""
    facts = kit.machine("healthy-cpu")
    there = facts.distribution(distribution) or dataclasses.replace(facts.distributions[0], name=distribution)
    kept = [dist for dist in facts.distributions if dist is not there]
    return dataclasses.replace(facts, distributions=(*kept, dataclasses.replace(there, **changes)))


def test_what_no_index_has_is_left_out_and_said():
    facts = changed("mine", version="1.0", editable=True, direct_url="file:///home/<user>/mine")
    wishes = writing.of_facts(facts)
    assert "mine" not in [pin.name for pin in wishes.pins]
    assert (
        "left out: mine 1.0, which was installed in the folder where it is worked on: no index has it" in wishes.notes
    )
    facts = changed("mine", version="1.0", direct_url="https://example.org/mine")
    assert writing.of_facts(facts).notes == (
        "left out: mine 1.0 from https://example.org/mine: the facts hold no commit of it",
    )
    facts = changed("mine", version="1.0", direct_url="https://me:secret@example.org/mine-1.0-py3-none-any.whl")
    written = writing.write("dockerfile", writing.of_facts(facts))
    assert (
        "secret" not in written.text and '"mine @ https://****@example.org/mine-1.0-py3-none-any.whl"' in written.text
    )
    assert "flash-attn 2.8.0" in writing.of_facts(changed("flash-attn", version="2.8.0")).notes[0]


@pytest.mark.parametrize(
    "evil",
    [
        {"name": "numpy", "version": "2.0 && touch /tmp/evil"},
        {"name": "numpy", "version": "2.0\nRUN touch /tmp/evil"},
        {"name": "$(touch /tmp/evil)", "version": "2.0"},
        {"name": "evil", "version": "2.0", "direct_url": "https://x/$(touch /tmp/evil).whl"},
        {"name": "evil", "version": "2.0", "direct_url": "git+https://x/y\nRUN touch /tmp/evil"},
    ],
)
@pytest.mark.parametrize("kind", writing.KINDS)
def test_facts_of_another_person_put_no_command_into_a_recipe(evil, kind):
    facts = changed("numpy", **{"direct_url": None, **evil})
    written = writing.write(kind, writing.of_facts(facts))
    for text in written.files.values():
        for line in text.splitlines():
            assert "evil" not in line or line.startswith("# "), line
    assert len(written.notes) == 1


def test_the_kits_own_replacement_is_put_in_where_the_kit_is():
    facts = changed("torch_scatter", version="2.1.2+kit", direct_url=None)
    facts = dataclasses.replace(facts, extensions=())
    assert writing.of_facts(facts).replacements == ()
    assert "left out: the kit's own torch_scatter" in writing.of_facts(facts).notes[0]
    wishes = writing.of_facts(facts, project="")
    assert wishes.replacements == ("torch_scatter",) and wishes.notes == ()
    assert not wishes.compiled


def test_a_build_that_is_on_no_index_is_refused():
    facts = kit.machine("healthy-gpu")
    for version, hip, said in (
        ("2.13.0a0+git1234", None, "is no release"),
        ("2.14.0.dev20260801+cu130", None, "is no release"),
        ("2.13.0+rocm7.1", "7.1", "is built for ROCm"),
    ):
        torch = dataclasses.replace(facts.torch, version=version, hip=hip, cuda=None if hip else "13.0")
        with pytest.raises(KitError, match=said):
            writing.of_facts(dataclasses.replace(facts, torch=torch))
    with pytest.raises(KitError, match="no torch is installed"):
        writing.of_facts(dataclasses.replace(facts, torch=None))


def test_an_image_is_not_made_of_another_systems_packages():
    facts = kit.machine("healthy-cpu")
    wishes = writing.of_facts(dataclasses.replace(facts, host=dataclasses.replace(facts.host, system="Darwin")))
    with pytest.raises(KitError, match="Darwin machine, an image has Linux"):
        writing.write("dockerfile", wishes)
    assert writing.write("requirements", wishes).files


# --- requirements ---------------------------------------------------------------------------------


def lines_of(text: str) -> list[str]:
    """Logical lines without comments."""
    joined = text.replace("\\\n", " ")
    return [" ".join(line.split()) for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def hashed(wishes):
    pins = tuple(dataclasses.replace(pin, sha256=(f"{number:064x}",)) for number, pin in enumerate(wishes.pins))
    return dataclasses.replace(wishes, pins=pins)


def test_requirements_are_grouped_by_index_and_what_is_compiled_stands_alone():
    wishes = hashed(writing.of_facts(kit.machine("healthy-cpu")))
    files = writing.write("requirements", wishes, "deep/reqs.txt").files
    assert list(files) == ["reqs.txt", "reqs-compiled.txt"]
    main, compiled = map(lines_of, files.values())
    assert main.index("--extra-index-url https://download.pytorch.org/whl/cpu") + 1 == next(
        i for i, line in enumerate(main) if line.startswith("torch==2.13.0+cpu --hash=sha256:")
    )
    assert "--index-url https://pypi.org/simple" in main
    pins = [line for line in main + compiled if not line.startswith("--")]
    assert len(pins) == len(wishes.pins)
    assert all(re.fullmatch(r"\S+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in pins)
    assert compiled[0] == "--no-binary torch-scatter" and compiled[1].startswith("torch-scatter==2.1.2 ")
    assert "--no-build-isolation" in files["reqs-compiled.txt"] and "FORCE_CUDA" not in files["reqs-compiled.txt"]
    assert "pip install --no-deps --require-hashes -r reqs.txt" in files["reqs.txt"]


def test_one_package_without_a_hash_means_no_hashes_and_says_which():
    wishes = hashed(writing.of_facts(kit.machine("healthy-cpu")))
    first, *rest = wishes.pins
    bare = dataclasses.replace(wishes, pins=(dataclasses.replace(first, sha256=()), *rest))
    text = writing.write("requirements", bare).files["requirements.txt"]
    assert "--hash" not in text and "--require-hashes" not in text
    assert "torch==2.13.0+cpu  # no hash\n" in text
    assert "No hashes: pip wants one for each or none, and 1 of 11 are without" in text


def test_a_published_extension_stands_with_torch_as_a_wheel_only():
    wishes = writing.wished("2.12", "cu130", packages=[SCATTER, "numpy==2.4.6"])
    files = writing.write("requirements", wishes).files
    (text,) = files.values()
    lines = lines_of(text)
    at = lines.index("--find-links https://data.pyg.org/whl/torch-2.12.0+cu130.html")
    assert lines[at + 1] == "--only-binary torch-scatter"
    assert lines[at + 2].startswith("torch-scatter==2.1.2+pt212cu130")
    assert "what it requires is chosen by pip" in text


def test_torch_that_came_from_the_package_index_comes_from_there_again():
    arguments = parsed("requirements", "--facts", "healthy-gpu", "--offline")
    text = writing.write("requirements", writing.asked(arguments, kit.machine("healthy-gpu"))).files[
        "requirements.txt"
    ]
    assert "\ntorch==2.13.0  # no hash\n" in text and "download.pytorch.org" not in text
    assert "serves one build of each torch; of this one it is cu130" in text
    assert "offline: no index was asked for hashes" in text


def report(*rows):
    install = [
        {
            "metadata": {"name": name, "version": version},
            "download_info": {"url": f"https://x/{name}.whl", "archive_info": {"hashes": {"sha256": digest}}},
        }
        for name, version, digest in rows
    ]
    return json.dumps({"version": "1", "install": install})


class Pip:
    """Answers in pip's place: each call takes the next answer; ``asked`` are the requirements of the calls."""

    def __init__(self, monkeypatch, *answers):
        self.answers, self.asked = list(answers), []
        monkeypatch.setattr(locking, "run", self.run)
        monkeypatch.setattr(locking, "_here", lambda python, system: True)

    def run(self, argv, limit, env):
        specs = [word for word in argv if re.match(r"[a-z][\w-]*(==|$)", word) and word not in ("install", "pip")]
        self.asked.append(specs)
        answer = self.answers.pop(0)
        failed = isinstance(answer, str) and answer.startswith("ERROR")
        return locking_outcome(1 if failed else 0, "" if failed else answer, answer if failed else "")


def locking_outcome(status, out, err):
    from kit.collect.run import Outcome

    return Outcome(status, out, err)


def test_wishes_are_closed_over_what_they_require_with_pips_own_answer(monkeypatch):
    monkeypatch.setattr(locking, "_source_hash", lambda pin: ("d" * 64, ""))
    pip = Pip(monkeypatch, report(("torch", "2.13.0+cpu", "a" * 64), ("Some_Lib", "1.5", "b" * 64)))
    wishes = locking.locked(writing.wished("2.13.0", "cpu", packages=[SCATTER]))
    assert pip.asked == [["torch==2.13.0+cpu"]]  # never the source: pip would run its setup.py
    assert wishes.complete and wishes.notes == ()
    assert [(pin.spec, pin.sha256, pin.named) for pin in wishes.pins] == [
        ("torch==2.13.0+cpu", ("a" * 64,), True),
        ("torch-scatter==2.1.2", ("d" * 64,), True),
        ("some-lib==1.5", ("b" * 64,), False),
    ]


def test_what_pip_cannot_find_costs_only_its_own_hash(monkeypatch):
    wishes = writing.Wishes(
        "3.11", "2.13.0", "cpu", (Pin("torch", "2.13.0+cpu", "torch"), Pin("a", "1"), Pin("b", "2")), complete=True
    )
    nothing = "ERROR: Could not find b==2 (from versions: 1)\nERROR: No matching distribution found for b==2\n"
    pip = Pip(monkeypatch, nothing, report(("torch", "2.13.0+cpu", "a" * 64), ("a", "1", "c" * 64)))
    locked = locking.locked(wishes)
    assert [bool(pin.sha256) for pin in locked.pins] == [True, True, False]
    assert locked.notes == ("no hash for b: pip says: No matching distribution found for b==2",)
    assert pip.asked == [["torch==2.13.0+cpu", "a==1", "b==2"], ["torch==2.13.0+cpu", "a==1"]]


def test_where_the_index_finds_nothing_pip_is_not_asked_for_each_package(monkeypatch):
    names = [f"package{number}" for number in range(40)]
    pins = tuple(Pin(name, "1") for name in names)
    pip = Pip(monkeypatch, *(f"ERROR: No matching distribution found for {name}==1\n" for name in names))
    locked = locking.locked(writing.Wishes("3.11", "2.13.0", "cpu", pins, complete=True))
    assert not any(pin.sha256 for pin in locked.pins) and len(pip.asked) < 12
    assert sum(note.count("package") for note in locked.notes) >= 40


def test_for_a_torch_of_numpy_1_the_newest_numpy_1_is_taken(monkeypatch):
    seen = []
    monkeypatch.setattr(
        locking, "_files", lambda specs, *rest: [seen.append(specs), locking.File("numpy", "1.26.4", None, "")][1:]
    )
    wishes = writing.wished("2.2", "cpu", packages=["numpy"])
    assert [pin.spec for pin in wishes.pins] == ["torch==2.2.2+cpu", "numpy==1.26.4"] and seen == [["numpy<2"]]
    writing.wished("2.3", "cpu", packages=["numpy"])
    assert seen[1:] == [["numpy"]]


def test_where_pip_does_not_answer_the_pins_stay_and_the_note_says_so(monkeypatch):
    Pip(monkeypatch, "ERROR: Could not fetch https://me:secret@host/simple/\n")
    wishes = locking.locked(writing.wished("2.13.0", "cpu"))
    assert [pin.spec for pin in wishes.pins] == ["torch==2.13.0+cpu"] and not wishes.complete
    (note,) = wishes.notes
    assert note.startswith("what these packages require is not pinned: pip says: ") and "secret" not in note


def test_another_python_than_the_one_that_runs_is_asked_for_its_own_wheels(monkeypatch):
    seen = []

    def run(argv, limit, env):
        seen.append(argv)
        return locking_outcome(0, report(("numpy", "2.4.6", "a" * 64)), "")

    monkeypatch.setattr(locking, "run", run)
    other = "3.10" if sys.version_info[:2] != (3, 10) else "3.12"
    assert locking.newest("numpy", other, offline=False) == "2.4.6"
    (argv,) = seen
    assert argv[argv.index("--python-version") + 1] == other
    assert {"--only-binary=:all:", "--no-deps", "manylinux_2_28_x86_64", "manylinux2014_x86_64"} <= set(argv)
    assert "manylinux_2_29_x86_64" not in argv


# --- environment.yml ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        "--facts healthy-gpu",
        "--torch 2.12 --cuda cu126 --package torch-scatter",
        "--torch 2.13 --cuda cpu --package matplotlib==3.11.2",
    ],
)
def test_environment_yml_holds_what_conda_can_read(words):
    rattler = pytest.importorskip("rattler")
    data = yaml.safe_load(made("environment", *words.split()).text)
    assert data["channels"] == ["conda-forge"]
    specs = {str(s.name.normalized): s for s in (rattler.MatchSpec(t, strict=True) for t in data["dependencies"])}
    assert len(specs) == len(data["dependencies"])
    assert str(specs["pytorch"].build) == ("cpu*" if "cpu" in words else "cuda*")
    assert ("cuda-version" in specs) == ("cpu" not in words)
    assert not any(name.startswith("nvidia-") or name in ("torch", "triton", "matplotlib") for name in specs)
    if "scatter" in words or "facts" in words:
        assert str(specs["pytorch_scatter"].build) == "cuda*"


# --- Apptainer ------------------------------------------------------------------------------------

# Of Apptainer's documented grammar: what may stand in a header and which sections there are.
HEADER = {"bootstrap", "from", "stage", "include", "osversion", "mirrorurl", "registry", "fingerprints"}
SECTIONS = {
    *(
        "arguments",
        "setup",
        "files",
        "post",
        "test",
        "environment",
        "startscript",
        "runscript",
        "labels",
        "help",
        "pre",
    )
}


@pytest.mark.parametrize(
    "words",
    [
        "--torch 2.13 --cuda cpu",
        "--torch 2.13 --cuda cu130 --gpu 12.0 --package torch-scatter",
        "--torch 2.12 --cuda cu126 --package torch-scatter",
        "--torch 2.13 --cuda cpu --project lab --constraints constraints.txt",
        "--facts healthy-gpu",
    ],
)
def test_a_definition_file_follows_the_grammar(words):
    text = made("apptainer", *words.split()).text
    head, *stages = re.split(r"(?m)^(?=Bootstrap:)", text)
    assert all(line.startswith("#") or not line for line in head.splitlines())
    names = []
    for stage in stages:
        header, *rest = re.split(r"(?m)^(?=%)", stage)
        keys = [line.partition(":")[0] for line in header.splitlines() if line and not line.startswith("#")]
        assert keys[0] == "Bootstrap" and {key.lower() for key in keys} <= HEADER
        names += re.findall(r"(?m)^Stage: (\S+)$", header)
        sections = {}
        for section in rest:
            first, _, body = section.partition("\n")
            name, _, argument = first[1:].partition(" ")
            assert name in SECTIONS and first[1:] not in sections
            assert name == "files" or not argument
            assert not argument or argument.removeprefix("from ") in names[:-1], "only from a stage before"
            assert not re.search(r"(?m)^\s*%", body), "a line that begins with % would be a section"
            sections[first[1:]] = body
        given = dict(line.strip().split("=", 1) for line in sections["arguments"].strip().splitlines())
        used = set(re.findall(r"\{\{\s*(\w+)\s*\}\}", stage))
        assert used == set(given), "each stage has its own arguments"
        assert not re.search(r"(?m)^.*#.*\{\{", stage), "in a comment nothing is filled in"
        assert {"post", "environment", "test", "runscript", "labels", "help"} <= set(sections) or stage is stages[0]
    for name in ("post", "test", "environment", "runscript"):
        done = subprocess.run(["sh", "-n"], input=sections[name], text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
    assert ("CUDA_IMAGE" in text) == (("--package torch-scatter" in words and "2.13" in words) or "facts" in words)


# --- files ----------------------------------------------------------------------------------------


def test_saving_never_replaces_another_file_unasked(tmp_path):
    file = tmp_path / "sub" / "Dockerfile"
    written = made("dockerfile", "--torch", "2.13", "--cuda", "cpu")
    paths = written.paths(str(file))
    assert writing.save(paths) == (str(file),)
    assert writing.save(paths) == (str(file),)  # the same again
    file.write_text("mine\n")
    with pytest.raises(KitError, match="is there already and holds something else"):
        writing.save(paths)
    assert file.read_text() == "mine\n"
    writing.save(paths, force=True)
    assert file.read_text() == written.text
    assert [entry.name for entry in file.parent.iterdir()] == ["Dockerfile"]


def test_of_two_files_none_is_written_where_one_cannot_be(tmp_path):
    written = made("devcontainer", "--torch", "2.13", "--cuda", "cpu")
    folder = tmp_path / ".devcontainer"
    folder.mkdir()
    (folder / "devcontainer.json").write_text("{}\n")
    with pytest.raises(KitError, match=r"devcontainer\.json is there already"):
        writing.save(written.paths(str(folder)))
    assert os.listdir(folder) == ["devcontainer.json"]
    (tmp_path / "file").touch()
    with pytest.raises(KitError, match="cannot be written"):
        writing.save(written.paths(str(tmp_path / "file")))


def test_written_is_one_document():
    written = made("environment", "--torch", "2.13", "--cuda", "cpu")
    data = json.loads(json.dumps(written.to_dict()))
    assert data == {"schema": 1, "kind": "environment", "files": dict(written.files), "notes": []}
    shown = written._repr_mimebundle_()
    assert shown["text/plain"] == repr(written) and "  - pytorch ==2.13.0 cpu*" in shown["text/plain"]
    assert "pytorch ==2.13.0 cpu*" in shown["text/html"]


def test_the_command_line_writes_the_file_and_says_so(tmp_path, capsys):
    from kit.__main__ import main

    file = tmp_path / "environment.yml"
    words = ["recipe", "write", "environment", "--torch", "2.13", "--cuda", "cpu", "-o", str(file)]
    assert main(words) == 0
    assert str(file) in capsys.readouterr().out
    assert file.read_text() == made(*words[2:]).text
    file.write_text("mine\n")
    assert main(words) == 2
    assert "holds something else" in capsys.readouterr().err and file.read_text() == "mine\n"
    assert main([*words, "--force"]) == 0 and file.read_text() != "mine\n"


# --- the kit's own check --------------------------------------------------------------------------

CHECKED = [
    "--torch 2.13.0 --cuda cpu",
    "--torch 2.13.0 --cuda cpu --package torch-scatter",
    "--torch 2.13.0 --cuda cu130 --gpu 8.9 --gpu 12.0 --package torch-scatter --package numpy==2.4.6",
    "--torch 2.12 --cuda cu126 --package torch-scatter --package torch-sparse --package scipy==1.16.0",
    "--torch 2.12 --cuda cu130 --package pyg-lib --package torchvision",
    "--torch 2.6 --cuda cu118 --gpu 8.9 --package torch-scatter==2.1.1",
    "--facts healthy-cpu",
    "--facts healthy-gpu",
]


@pytest.mark.parametrize("words", CHECKED)
@pytest.mark.parametrize("kind", writing.KINDS)
def test_what_is_written_passes_the_check(kind, words, tmp_path):
    from kit.recipes import check

    offline = ["--offline"] if kind == "requirements" else []
    written = made(kind, *words.split(), *offline)
    paths = writing.save(written.paths(str(tmp_path / writing.KINDS[kind])))
    checked = check(list(paths))
    assert len(checked.files) == len(paths) and not any(file.unread for file in checked.files)
    assert list(checked) == [], repr(checked)


# --- with real environments -----------------------------------------------------------------------


@pytest.mark.slow
def test_the_environment_of_an_interpreter_has_to_verify_first(environment):
    environment.share("torch", "numpy")
    python = str(environment.python)
    arguments = parsed("environment", "--python", python)
    text = writing.write("environment", writing.asked(arguments)).text
    assert f"pytorch =={Version(kit.collect(python).torch.version).base_version} cpu*" in text
    version = environment.site / "torch" / "version.py"
    version.unlink()  # a hard link to the lab's own, which stays as it is
    version.write_text("raise SystemError('damaged')\n")
    with pytest.raises(KitError, match=r"does not verify|is broken|cannot be read|no release"):
        writing.asked(arguments)


@pytest.mark.slow
@pytest.mark.network
def test_pip_installs_the_written_requirements_with_every_hash_checked(tmp_path):
    arguments = parsed(
        "requirements", "--torch", "2.13.0", "--cuda", "cpu", "--package", "packaging", "--package", SCATTER
    )
    wishes = writing.asked(arguments)
    if wishes.notes:
        pytest.fail(f"the package index did not give every hash: {wishes.notes}")
    paths = writing.write("requirements", wishes).paths(str(tmp_path / "requirements.txt"))
    writing.save(paths)
    assert all(
        Requirement(line.split(" --hash")[0])
        for line in lines_of(paths[str(tmp_path / "requirements.txt")])
        if line[0] != "-"
    )
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--retries", "0", "--no-deps"]
    done = subprocess.run(
        [*pip, "--require-hashes", "-r", str(tmp_path / "requirements.txt")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "torch-2.13.0+cpu" in done.stdout.replace(" ", "")
    # A file with another content is refused.
    wrong = re.sub(
        r"(packaging==\S+ \\\n\s+--hash=sha256:)\w{4}", r"\g<1>0000", paths[str(tmp_path / "requirements.txt")]
    )
    (tmp_path / "wrong.txt").write_text(wrong)
    done = subprocess.run(
        [*pip, "--require-hashes", "-r", str(tmp_path / "wrong.txt")], capture_output=True, text=True
    )
    assert done.returncode != 0 and "HASH" in done.stderr.upper()
