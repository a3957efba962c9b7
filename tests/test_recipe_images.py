"""Written image recipes really build: a Dockerfile by buildah, an Apptainer definition's %post by chroot.

Needs root, debootstrap, buildah and a package index: `make image` runs it, `make test` leaves it out. No image
registry is needed: the base is made here, or is the tar that KIT_BASE_TAR names. KIT_IMAGE_LOGS is a folder for the
logs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import kit
from kit.facts import normalise
from kit.recipes import writing
from kit.recipes.writing.steps import self_check
from kit.wheels.network import pip_options

pytestmark = pytest.mark.image

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = "python3,python3-venv,python3-dev,g++,ca-certificates"
CERTIFICATES = "/etc/ssl/certs"
BASE = "localhost/kit-base"


def logged(name: str, argv: list[str], **more: object) -> subprocess.CompletedProcess[str]:
    """Run, and keep what it says where KIT_IMAGE_LOGS says."""
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=3000, **more)
    if os.environ.get("KIT_IMAGE_LOGS"):
        with open(Path(os.environ["KIT_IMAGE_LOGS"]) / f"{name}.log", "a", encoding="utf-8") as stream:
            stream.write(f"$ {' '.join(argv)}\n{done.stdout}[exit status {done.returncode}]\n")
    return done


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tar of a small Debian with Python and a compiler: what the images named python:X.Y hold besides."""
    assert os.geteuid() == 0, "building images needs root"
    for program in ("buildah", "chroot", "unshare", *([] if os.environ.get("KIT_BASE_TAR") else ["debootstrap"])):
        assert shutil.which(program), f"{program} is missing: apt install buildah debootstrap"
    if os.environ.get("KIT_BASE_TAR"):
        return Path(os.environ["KIT_BASE_TAR"])
    folder = tmp_path_factory.mktemp("debian")
    argv = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(folder / "root")]
    done = logged("base", argv)
    assert done.returncode == 0, done.stdout[-3000:]
    subprocess.run(["tar", "-C", str(folder / "root"), "-cf", str(folder / "base.tar"), "."], check=True)
    shutil.rmtree(folder / "root")
    return folder / "base.tar"


@pytest.fixture(scope="module")
def index() -> dict[str, str]:
    """The build arguments for this machine's package index: torch is taken from wherever its pip takes it."""
    address = pip_options().get("index-url", "https://pypi.org/simple")
    return {"PIP_INDEX_URL": address, "TORCH_INDEX_URL": address}


@pytest.fixture(scope="module")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What pip needs of this machine: its configuration, the folders that it names, certificates. Host -> image."""
    options = {
        n: v for n, v in pip_options().items() if n in ("find-links", "extra-index-url", "trusted-host", "proxy")
    }
    config = tmp_path_factory.mktemp("pip") / "pip.conf"
    config.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in options.items()))
    words = " ".join(options.values()).split()
    folders = {re.sub(r"^file://", "", word) for word in words if word.startswith(("/", "file://"))}
    parents = {folder if Path(folder).name != "simple" else str(Path(folder).parent) for folder in folders}
    return {CERTIFICATES: CERTIFICATES, str(config): "/etc/pip.conf", **{folder: folder for folder in parents}}


class Builder:
    """buildah with a store of its own."""

    def __init__(self, folder: Path, mounts: dict[str, str]) -> None:
        (folder / "run").mkdir(parents=True)
        self.argv = ["buildah", "--root", str(folder / "store"), "--runroot", str(folder / "run")]
        self.argv += ["--storage-driver", "vfs"]  # it needs nothing of the kernel
        self.env = {**os.environ, "BUILDAH_ISOLATION": "chroot", "TMPDIR": str(folder)}
        self.volumes = [word for host, there in mounts.items() for word in ("-v", f"{host}:{there}:ro")]

    def bud(self, name: str, file: Path, context: Path, **arguments: str) -> subprocess.CompletedProcess[str]:
        given = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
        argv = [
            *self.argv,
            "bud",
            "--network",
            "host",
            *self.volumes,
            *given,
            "-t",
            name,
            "-f",
            str(file),
            str(context),
        ]
        return logged(name, argv, env=self.env)

    def container(self, image: str) -> str:
        return subprocess.run(
            [*self.argv, "from", "--pull-never", f"localhost/{image}"],
            env=self.env,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    def run(self, container: str, *argv: str, log: str) -> subprocess.CompletedProcess[str]:
        return logged(log, [*self.argv, "run", container, "--", *argv], env=self.env)


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory, base: Path, mounts: dict[str, str]) -> Iterator[Builder]:
    folder = tmp_path_factory.mktemp("buildah")
    made = Builder(folder, mounts)
    context = tmp_path_factory.mktemp("base")
    os.link(base, context / "base.tar") if os.stat(base).st_dev == os.stat(context).st_dev else shutil.copy(
        base, context
    )
    (context / "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
    done = made.bud("kit-base", context / "Dockerfile", context)
    assert done.returncode == 0, done.stdout[-3000:]
    yield made
    shutil.rmtree(folder)


def a_clone(folder: Path) -> Path:
    """What git has of this project, and what is not committed yet: the folder that an image is built from."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def test_a_dockerfile_from_wishes_builds_and_ends_in_kit_verify(builder, index, tmp_path):
    wishes = writing.wished(
        "2.13.0", "cpu", packages=["numpy"], constraints="constraints.txt", project="", shims=["torch_scatter"]
    )
    context = a_clone(tmp_path / "clone")
    written = writing.write("dockerfile", wishes)
    writing.save({str(tmp_path / "Dockerfile"): written.text})

    done = builder.bud("kit-cpu", tmp_path / "Dockerfile", context, PYTHON_IMAGE=BASE, **index)
    assert done.returncode == 0, done.stdout[-5000:]
    assert re.search(r"RUN python -m kit verify\n(.*\n)*.*healthy", done.stdout), done.stdout[-3000:]

    container = builder.container("kit-cpu")
    said = builder.run(container, "python", "-m", "kit", "verify", "--json", log="kit-cpu")
    assert said.returncode == 0, said.stdout
    answer = json.loads(said.stdout[said.stdout.index("{") :])
    assert answer["verdict"] == "healthy"
    assert any("scatter_max" in check["name"] and check["ok"] for check in answer["checks"]), answer
    # Every shell finds the venv, also one that /etc/profile gave another PATH.
    for shell in (["sh", "-c"], ["bash", "-lc"]):
        where = builder.run(container, *shell, "command -v python", log="kit-cpu")
        assert where.stdout.strip() == "/opt/venv/bin/python"
    # The small self-check of an image without the kit: right for this torch, and wrong for any other.
    for command in self_check(wishes):
        assert builder.run(container, "sh", "-c", command, log="kit-cpu").returncode == 0, command
    other = self_check(writing.wished("2.13.0", "cu130"))[0]
    assert builder.run(container, "sh", "-c", other, log="kit-cpu").returncode != 0


def test_a_dockerfile_from_facts_makes_the_same_environment(builder, index, tmp_path):
    facts = kit.machine("healthy-cpu")
    kept = tuple(dist for dist in facts.distributions if dist.key != "torch-scatter")  # it would be compiled: minutes
    wishes = writing.of_facts(dataclasses.replace(facts, distributions=kept, extensions=()))
    writing.save({str(tmp_path / "Dockerfile"): writing.write("dockerfile", wishes).text})
    done = builder.bud("kit-facts", tmp_path / "Dockerfile", tmp_path, PYTHON_IMAGE=BASE, **index)
    assert done.returncode == 0, done.stdout[-5000:]

    container = builder.container("kit-facts")
    said = builder.run(container, "pip", "list", "--format=json", log="kit-facts").stdout
    there = {
        normalise(row["name"]): row["version"] for row in json.loads(said[said.index("[") : said.rindex("]") + 1])
    }
    assert {dist.key: dist.version for dist in kept if dist.key != "pip"}.items() <= there.items()
    assert set(there) - {dist.key for dist in kept} == set()
    assert builder.run(container, "pip", "check", log="kit-facts").returncode == 0


def test_a_build_without_the_code_that_it_needs_fails(builder, index, tmp_path):
    # An extension that became a build for the CPU: the file with CUDA code is what the build asks for.
    text = writing.write("dockerfile", writing.wished("2.13.0", "cu130", packages=["torch-scatter"])).text
    (check,) = re.findall(r"^RUN (test -f \S*_scatter_cuda\.so)", text, re.MULTILINE)
    (tmp_path / "Dockerfile").write_text(f"FROM {BASE}\nRUN {check}\n")
    done = builder.bud("kit-no-cuda", tmp_path / "Dockerfile", tmp_path)
    assert done.returncode != 0 and re.search(r"RUN test -f \S+_scatter_cuda\.so.*exit status 1", done.stdout)


def filled(text: str, given: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(header, sections) of the last stage of a definition file, its arguments filled in as Apptainer does."""
    stage = re.split(r"(?m)^(?=Bootstrap:)", text)[-1]
    parts = re.split(r"(?m)^%([^\n]*)\n", stage)
    sections = dict(zip(parts[1::2], parts[2::2]))
    defaults = dict(line.strip().split("=", 1) for line in sections["arguments"].strip().splitlines())
    values = {**defaults, **given}

    def put_in(value: str) -> str:
        return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: values[match[1]], value)

    header = dict(line.split(": ", 1) for line in put_in(parts[0]).splitlines() if line and line[0] != "#")
    return header, {name: put_in(body) for name, body in sections.items()}


def in_root(root: Path, mounts: dict[str, str], script: str, name: str) -> subprocess.CompletedProcess[str]:
    """A section of a definition file, run by /bin/sh -e in that root, the mounts gone afterwards."""
    (root / "section.sh").write_text(script)
    lines = ["set -e", f"mount -t proc proc {root}/proc", f"mount --rbind /dev {root}/dev"]
    for host, there in {**mounts, "/etc/resolv.conf": "/etc/resolv.conf"}.items():
        target = root / there.lstrip("/")
        if Path(host).is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        lines.append(f"mount --bind {host} {target}")
    environment = ["env", "-i", "HOME=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    lines.append(f"exec chroot {root} {' '.join(environment)} /bin/sh -ex /section.sh")
    return logged(name, ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(lines)])


def test_an_apptainer_definition_builds_in_the_same_base(base, index, mounts, tmp_path):
    wishes = writing.wished("2.13.0", "cpu", packages=["numpy==2.4.6"])
    text = writing.write("apptainer", wishes).text
    header, sections = filled(text, {**index, "PYTHON_IMAGE": "debian"})
    assert header == {"Bootstrap": "docker", "From": "debian"}

    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["tar", "-C", str(root), "-xf", str(base)], check=True)
    done = in_root(root, mounts, sections["post"], "apptainer")
    assert done.returncode == 0, done.stdout[-5000:]

    # %test as Apptainer runs it: after %environment, in a shell that knows nothing of %post.
    done = in_root(root, mounts, sections["environment"] + sections["test"], "apptainer")
    assert done.returncode == 0, done.stdout[-3000:]
    run = sections["environment"] + sections["runscript"].replace('"$@"', '-c "import sys; print(sys.prefix)"')
    done = in_root(root, mounts, run, "apptainer")
    assert done.stdout.rstrip().endswith("\n/opt/venv"), done.stdout
    # And a section that fails ends it: the self-check of another build.
    wrong = self_check(writing.wished("2.13.0", "cu130"))[0]
    assert in_root(root, mounts, sections["environment"] + wrong, "apptainer").returncode != 0
    shutil.rmtree(root)
