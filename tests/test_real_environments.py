"""Real failures, made with real packages in throwaway environments, and what the doctor says of them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Environment

import kit

LAB = kit.collect()


def doctor(environment: Environment, *options: str, cwd: "Path | None" = None) -> dict[str, Any]:
    """``kit doctor --json`` of an environment, run as a person runs it: from the lab's Python."""
    where = cwd or environment.folder / "empty"
    where.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "kit", "doctor", "--json", "--python", str(environment.python), *options]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=300, env=_environ())
    assert done.stderr == ""
    assert done.returncode in (0, 1)
    answer: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (answer["verdict"] != "healthy")
    return answer


def _environ() -> dict[str, str]:
    # As in a shell in which the lab is activated: the doctor's own environment says nothing of another's.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "VIRTUAL_ENV": sys.prefix, "PATH": path, "PYTHONPATH": str(ROOT)}


def ids(answer: dict[str, Any]) -> list[str]:
    return [finding["failure"] for finding in answer["findings"]]


def other_pythons() -> list[Path]:
    """Interpreters of other versions that stand beside the lab's own, as pyenv and the like keep them."""
    return sorted(
        p for p in Path(sys.base_prefix).parent.glob("3.*/bin/python") if int(p.parts[-3].split(".")[1]) >= 8
    )


@pytest.mark.parametrize("python", other_pythons(), ids=lambda p: p.parts[-3])
def test_interpreter_of_another_version(python: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "torch").mkdir(parents=True)
    (site / "torch" / "version.py").write_text("__version__ = '2.4.1+cu124'\ncuda: str = '12.4'\nhip = None\n")
    (site / "torch" / "__init__.py").write_text("raise SystemError('never imported')\n")
    command = [sys.executable, "-m", "kit", "collect", "--python", str(python)]
    env = {**_environ(), "PYTHONPATH": f"{ROOT}{os.pathsep}{site}"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    facts = json.loads(done.stdout)
    assert facts["python"]["version"] == python.parts[-3]
    assert (facts["torch"]["version"], facts["torch"]["cuda"]) == ("2.4.1+cu124", "12.4")


def test_lab_itself_is_healthy() -> None:
    command = [sys.executable, "-m", "kit", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    answer = json.loads(done.stdout)
    assert (answer["verdict"], answer["findings"]) == ("healthy", [])
    assert answer["facts"]["torch"]["version"].startswith("2.13.0")


@pytest.mark.network
def test_torchaudio_of_another_torch(environment: Environment) -> None:
    environment.share("torch")
    environment.pip_install("--no-deps", "torchaudio==2.1.0")
    assert environment.run("-c", "import torch").returncode == 0
    assert environment.run("-c", "import torch, torchaudio").returncode != 0  # it really fails
    answer = doctor(environment)
    assert ids(answer) == ["extension-torch-mismatch"]
    finding = answer["findings"][0]
    assert finding["package"] == "torchaudio"
    assert any("requires torch ==2.1.0" in line for line in finding["evidence"])
    assert any(line.startswith("import torchaudio, in a process of its own: OSError") for line in finding["evidence"])


@pytest.mark.network
@pytest.mark.skipif(bool(LAB.torch and LAB.torch.cuda), reason="the lab's torch has CUDA, and so they fit")
def test_torchvision_with_cuda_beside_a_cpu_torch(environment: Environment) -> None:
    environment.share("torch", "numpy", "pillow")
    environment.pip_install("--no-deps", "torchvision==0.28.0")
    assert "operator torchvision::nms does not exist" in environment.run("-c", "import torchvision").stderr
    answer = doctor(environment)
    assert ids(answer) == ["extension-cuda-mismatch"]
    evidence = "\n".join(answer["findings"][0]["evidence"])
    assert "torchvision/version.py: torchvision 0.28.0+cu130" in evidence
    assert "operator torchvision::nms does not exist" in evidence


@pytest.mark.network
def test_apex_from_the_package_index_is_another_project(environment: Environment) -> None:
    environment.share("torch")
    environment.pip_install("--no-deps", "--no-build-isolation", "apex==0.9.10.dev0")
    environment.pip_install("transformers==4.52.4", "accelerate==1.9.0", "numpy<3")
    trainer = environment.run("-c", "from transformers import Trainer")
    assert "Could not import module 'Trainer'" in trainer.stderr  # it really fails
    assert ids(doctor(environment)) == ["apex-wrong-package"]

    # What the finding proposes really helps.
    finding = doctor(environment)["findings"][0]
    pip = ["-m", "pip", "--python", str(environment.python), *finding["fix"][0]["argv"][3:]]
    subprocess.run([sys.executable, *pip], check=True, capture_output=True, timeout=120)
    assert environment.run("-c", "from transformers import Trainer").returncode == 0
    assert doctor(environment)["verdict"] == "healthy"

    # The same environment with an apex of today, which has metadata and no amp: told apart.
    _write_apex(environment.site)
    trainer = environment.run("-c", "from transformers import Trainer")
    assert "cannot import name 'amp' from 'apex'" in trainer.stderr
    answer = doctor(environment)
    assert ids(answer) == ["apex-amp-removed"]
    assert answer["findings"][0]["severity"] == "error"  # transformers 4.52.4 asks for it


def _write_apex(site: Path) -> None:
    (site / "apex").mkdir()
    (site / "apex" / "__init__.py").write_text("")
    metadata = site / "apex-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: apex\nVersion: 0.1\n")


def test_apex_without_amp(environment: Environment) -> None:
    _write_apex(environment.site)
    answer = doctor(environment)
    assert ids(answer) == ["apex-amp-removed"]
    assert answer["findings"][0]["severity"] == "warning"  # nothing here asks for it


def test_empty_folder_called_apex(environment: Environment) -> None:
    work = environment.folder / "work"
    (work / "apex").mkdir(parents=True)
    said = environment.run("-c", "from apex import amp", cwd=work).stderr
    assert "(unknown location)" in said  # it really fails
    answer = doctor(environment, cwd=work)
    assert ids(answer) == ["shadowed-package"]
    assert str(work / "apex") in answer["findings"][0]["evidence"][0].replace("~", str(Path.home()))
    assert doctor(environment)["verdict"] == "healthy"  # from another folder it is not found


def test_leftover_and_second_distribution_with_the_same_backend(environment: Environment) -> None:
    environment.share("networkx")
    whole = next(environment.site.glob("networkx-*.dist-info"))
    leftover = environment.site / ("~" + whole.name[1:])
    shutil.copytree(whole, leftover)
    warned = environment.run("-c", "import networkx").stderr
    assert "networkx backend defined more than once: nx_loopback" in warned  # it really warns
    answer = doctor(environment)
    assert ids(answer) == ["duplicate-metadata"]
    evidence = "\n".join(answer["findings"][0]["evidence"])
    assert whole.name in evidence
    assert leftover.name in evidence

    # What the finding proposes really helps.
    argv = answer["findings"][0]["fix"][0]["argv"]
    subprocess.run([str(Path(word).expanduser()) if word[0] in "~/" else word for word in argv], check=True)
    assert not leftover.exists()
    assert environment.run("-c", "import networkx").stderr == ""
    assert doctor(environment)["verdict"] == "healthy"

    other = environment.site / "nx_other-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: nx-other\nVersion: 1.0\n")
    (other / "entry_points.txt").write_text(
        "[networkx.backends]\nnx_loopback = networkx.classes.tests.dispatch_interface:backend_interface\n"
    )
    assert "nx_loopback" in environment.run("-c", "import networkx").stderr
    answer = doctor(environment)
    assert ids(answer) == ["duplicate-metadata"]
    evidence = "\n".join(answer["findings"][0]["evidence"])
    assert whole.name in evidence
    assert other.name in evidence


@pytest.mark.skipif(sys.version_info < (3, 10), reason="Python 3.9 lists every copy")
def test_plain_copies_are_no_duplicate(environment: Environment) -> None:
    environment.share("networkx")
    copies = []
    for number in range(2):
        copy = environment.folder / f"copy{number}"
        copy.mkdir()
        for item in environment.site.glob("networkx*"):
            shutil.copytree(item, copy / item.name)
        copies.append(str(copy))
    (environment.site / "copies.pth").write_text("\n".join(copies))
    assert environment.run("-c", "import networkx").stderr == ""  # this Python does not warn
    answer = doctor(environment)
    assert [d["name"] for d in answer["facts"]["distributions"]].count("networkx") == 3
    assert answer["findings"] == []


@pytest.mark.network
@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this scipy has wheels up to Python 3.11")
def test_package_built_for_numpy_1(environment: Environment) -> None:
    environment.share("numpy")
    environment.pip_install("--no-deps", "scipy==1.10.1")
    assert "numpy.core.multiarray failed to import" in environment.run("-c", "import scipy.sparse").stderr
    answer = doctor(environment)
    assert ids(answer) == ["numpy-abi"]
    assert any("scipy 1.10.1: compiled, and requires numpy" in line for line in answer["findings"][0]["evidence"])


def test_torch_without_one_of_its_libraries(environment: Environment) -> None:
    environment.share("torch")
    assert doctor(environment)["verdict"] == "healthy"
    (environment.site / "torch" / "lib" / "libtorch_cpu.so").unlink()
    assert "libtorch_cpu.so" in environment.run("-c", "import torch").stderr  # it really fails
    answer = doctor(environment)
    assert ids(answer) == ["torch-broken"]
    evidence = "\n".join(answer["findings"][0]["evidence"])
    assert "torch/lib/libtorch_cpu.so: missing" in evidence
    assert "cannot open shared object file" in evidence
    assert "not installed" not in answer["findings"][0]["summary"]


def test_torch_with_a_cut_library(environment: Environment) -> None:
    environment.share("torch")
    library = environment.site / "torch" / "lib" / "libc10.so"
    head = library.read_bytes()[:4096]
    library.unlink()  # a hard link: the lab keeps its own
    library.write_bytes(head)
    assert environment.run("-c", "import torch").returncode != 0
    answer = doctor(environment)
    assert ids(answer) == ["torch-broken"]
    assert any("libc10.so: not of the size" in line for line in answer["findings"][0]["evidence"])


def test_torch_without_a_package_that_it_requires(environment: Environment) -> None:
    environment.share("torch")
    shutil.rmtree(next(environment.site.glob("typing_extensions-*.dist-info")))
    (environment.site / "typing_extensions.py").unlink()
    assert "No module named 'typing_extensions'" in environment.run("-c", "import torch").stderr
    answer = doctor(environment)
    assert ids(answer) == ["torch-broken"]
    evidence = "\n".join(answer["findings"][0]["evidence"])
    assert "requires typing-extensions" in evidence
    assert "No module named 'typing_extensions'" in evidence
    assert "--no-deps" not in answer["findings"][0]["fix"][0]["argv"]


def test_torch_whose_first_file_was_cut(environment: Environment) -> None:
    environment.share("torch")
    first = environment.site / "torch" / "__init__.py"
    text = first.read_text()
    first.unlink()
    first.write_text(text[: len(text) // 2])
    assert environment.run("-c", "import torch").returncode != 0
    answer = doctor(environment)
    assert ids(answer) == ["torch-broken"]
    assert "torch/__init__.py: not of the size" in "\n".join(answer["findings"][0]["evidence"])


def test_extension_without_one_of_its_libraries(environment: Environment) -> None:
    environment.share("torch", "torch-scatter")
    assert doctor(environment)["verdict"] == "healthy"
    (environment.site / "torch_scatter" / "_scatter_cpu.so").unlink()
    assert "Could not find module '_scatter_cpu'" in environment.run("-c", "import torch_scatter").stderr
    answer = doctor(environment)
    assert ids(answer) == ["extension-broken"]
    evidence = "\n".join(answer["findings"][0]["evidence"])
    assert "torch_scatter/_scatter_cpu.so: missing" in evidence
    assert "Could not find module '_scatter_cpu'" in evidence


def test_extension_in_an_environment_without_torch(environment: Environment) -> None:
    environment.share("torch-scatter")
    answer = doctor(environment)
    assert ids(answer) == ["torch-missing"]


def test_script_that_hides_the_standard_library(environment: Environment) -> None:
    environment.share("torch")
    work = environment.folder / "work"
    work.mkdir()
    (work / "random.py").write_text("print('my experiment')\n")
    assert environment.run("-c", "import torch", cwd=work).returncode != 0  # it really fails
    answer = doctor(environment, cwd=work)
    assert "shadowed-package" in ids(answer)
    assert ids(answer)[0] == "shadowed-package"


def run_with_kit(environment: Environment, code: str) -> list[dict[str, Any]]:
    """Run code in this environment, with the kit's own doctor in the same process; returns its findings."""
    done = environment.run(
        "-c", code + "\nimport json, kit; print(json.dumps(kit.doctor().to_dict()))", PYTHONPATH=str(ROOT)
    )
    assert done.returncode == 0, done.stderr
    findings: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    return findings


def test_process_that_holds_what_was_replaced_on_disk(environment: Environment) -> None:
    environment.share("networkx", "numpy", "packaging")
    upgrade = """
import networkx, pathlib, shutil
site = pathlib.Path(networkx.__file__).parent.parent
old = next(site.glob("networkx-*.dist-info"))
new = old.rename(site / "networkx-99.0.dist-info")
text = (new / "METADATA").read_text()
(new / "METADATA").unlink()
(new / "METADATA").write_text(text.replace(f"Version: {networkx.__version__}", "Version: 99.0", 1))
"""
    findings = run_with_kit(environment, upgrade)
    assert [f["failure"] for f in findings] == ["stale-kernel"]
    assert findings[0]["evidence"][0].endswith("is loaded, 99.0 is on disk")
    assert ids(doctor(environment)) == []  # the disk itself is fine: a new process would work


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which mapped files were replaced")
def test_process_that_maps_a_library_that_was_replaced(environment: Environment) -> None:
    environment.share("numpy", "packaging")
    reinstall = """
import numpy, pathlib
library = next(pathlib.Path(numpy.__file__).parent.rglob("_multiarray_umath*.so"))
content = library.read_bytes()
library.unlink()
library.write_bytes(content)
"""
    findings = run_with_kit(environment, reinstall)
    assert [f["failure"] for f in findings] == ["stale-kernel"]
    assert "since replaced on disk" in findings[0]["evidence"][0]
