"""Prediction against outcome: published wheels with compiled torch extensions, X-rayed, then really loaded.

Each shared library of each wheel is predicted by ``kit.xray`` and then loaded, as torch loads an extension (dlopen
with RTLD_NOW), in a process of its own that has imported torch.  The two have to agree on every one, and the loader's
complaint has to name what the X-ray named.
"""

import json
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import kit

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(sys.platform != "linux", reason="the dynamic loader of glibc is what is predicted"),
]

# What is wrong with each beside the lab's torch differs: a symbol of another torch, of the other string ABI, of
# another Python, in a dependency; a library of CUDA, ROCm, FFmpeg or musl, or of the package itself; a version of
# libstdc++; another machine.  Some load although their metadata says that they need another torch.
LIGHT = [
    "compressai==1.2.8",
    "foldedtensor==0.4.0",
    "tensordict==0.8.0",
    "torch-c-dlpack-ext==0.1.5",
    "torch-harmonics==0.9.3",
    "torchaudio==2.11.0",
    "torchcodec==0.1.1",
    "torchfits==1.3.1",
    "torchrl==0.9.0",
    "torchtext==0.18.0",
    "frozenlist==1.8.0 --python-version 3.13",
    "markupsafe==3.0.4 --platform manylinux2014_aarch64",
    "markupsafe==3.0.4 --platform musllinux_1_2_x86_64",
    "markupsafe==1.1.1 --platform manylinux1_i686 --python-version 3.9",
]
FULL = [
    "executorch==0.6.0",
    "metatensor-torch==0.10.8",
    "sphericart-torch==2.0.4",
    "torch-cluster-rocm==1.6.3 --platform manylinux_2_39_x86_64 --python-version 3.11",
    "torch-memory-saver==0.0.10",
    "torch-scatter-rocm==2.1.2 --platform manylinux_2_39_x86_64 --python-version 3.11",
    "torchao==0.18.0",
    "torchaudio==2.0.2",
    "torchaudio==2.1.0",
    "torchaudio==2.4.1",
    "torchaudio==2.8.0",
    "torchaudio==2.10.0",
    "torchcodec==0.17.0",
    "torchdata==0.7.1",
    "torchlpc-wheels==0.8.0.214",
    "torchtext==0.15.2",
    "torchvision==0.26.0",
    "torchvision==0.28.0",
    "torchvision==0.29.2",
    "vesin-torch==0.6.2",
]

# torch is imported once and the process copied for each file: the same as a fresh one, in a fiftieth of the time.
LOADER = """
import ctypes, json, os, sys, torch
torch.set_num_threads(1)
answers = {}
for file in json.load(sys.stdin):
    out, into = os.pipe()
    child = os.fork()
    if not child:
        try:
            ctypes.CDLL(file, mode=os.RTLD_NOW)
            said = ""
        except OSError as error:
            said = str(error)
        os.write(into, said.encode() or b"loaded")
        os._exit(0)
    os.close(into)
    with open(out, "rb") as stream:
        said = stream.read().decode()
    answers[file] = said or "killed: %d" % os.waitpid(child, 0)[1]
json.dump(answers, sys.stdout)
"""


def outcomes(files, cwd):
    """What the loader really says to each file: ``'loaded'``, or its complaint."""
    done = subprocess.run(
        [sys.executable, "-c", LOADER],
        input=json.dumps(files),
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(requirement, tmp_path):
    wheels = tmp_path / "wheels"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d"]
    done = subprocess.run([*command, str(wheels), *requirement.split()], capture_output=True, text=True, timeout=600)
    if "No matching distribution" in done.stderr or "Could not find a version" in done.stderr:
        pytest.skip(f"{requirement} has no wheel for Python {sys.version_info[0]}.{sys.version_info[1]}")
    assert done.returncode == 0, done.stderr
    wheel = next(wheels.glob("*.whl"))
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)

    predicted = {file.binary.path: file.binary for file in kit.xray(str(unpacked), against=sys.executable).files}
    elf = {path: b for path, b in predicted.items() if b.format == "ELF"}
    assert elf and all(b.loads is not None for b in elf.values())
    said = outcomes(list(elf), tmp_path)
    wrong = {p: (b.loads, b.why, said[p]) for p, b in elf.items() if b.loads != (said[p] == "loaded")}
    assert not wrong
    for path, b in elf.items():
        if b.missing:  # the loader stops at the first
            assert b.missing[0].what in said[path]

    # The wheel itself, not unpacked: what is in it is what was unpacked from it.
    whole = {file.binary.path.partition(".whl/")[2]: file.binary for file in kit.xray(str(wheel)).files}
    for path, b in elf.items():
        assert whole[str(Path(path).relative_to(unpacked))].loads == b.loads, path
    return len(elf)


@pytest.mark.parametrize("requirement", LIGHT)
def test_a_published_wheel_loads_as_predicted(requirement, tmp_path):
    assert check(requirement, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("requirement", FULL)
def test_every_published_wheel_loads_as_predicted(requirement, tmp_path):
    assert check(requirement, tmp_path)


def test_what_is_installed_here_loads_as_predicted(tmp_path):
    """The lab's own environment: torch-scatter as it was compiled here, and a few hundred other libraries."""
    shown = kit.xray(sysconfig.get_path("platlib"))
    elf = {f.binary.path: f.binary for f in shown.files if f.binary.format == "ELF"}
    said = outcomes([p for p in elf if "/nvidia/" not in p], tmp_path)
    wrong = {p: (elf[p].loads, elf[p].why, said[p]) for p in said if elf[p].loads != (said[p] == "loaded")}
    assert not wrong
    assert any("/torch/lib/" in path for path in said)
