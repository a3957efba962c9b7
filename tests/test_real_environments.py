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


def doctor(environment: Environment, *options: str, cwd: "Path | None" = None, **env: str) -> dict[str, Any]:
    """``kit doctor --json`` of an environment, run as a person runs it: from the lab's Python."""
    where = cwd or environment.folder / "empty"
    where.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "kit", "doctor", "--json", "--python", str(environment.python), *options]
    active = {**_environ(), **env}
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=300, env=active)
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
    assert "torchvision/_C.so: libtorch_cuda.so is not found" in evidence
    assert "operator torchvision::nms does not exist" in evidence
    # The version is the same, so that pip would otherwise find the requirement satisfied.
    assert "--force-reinstall" in answer["findings"][0]["fix"][0]["argv"]


@pytest.mark.network
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="this torchtext has wheels up to Python 3.12")
def test_extension_of_another_torch_that_its_metadata_does_not_name(environment: Environment) -> None:
    environment.share("torch")
    environment.pip_install("--no-deps", "torchtext==0.18.0")  # it requires torch>=2.3 and was built for 2.3
    assert "undefined symbol" in environment.run("-c", "import torch, torchtext").stderr  # it really fails
    answer = doctor(environment)
    assert ids(answer) == ["extension-torch-mismatch"]
    finding = answer["findings"][0]
    assert (finding["package"], finding["severity"]) == ("torchtext", "error")
    evidence = "\n".join(finding["evidence"])
    assert "torchtext/lib/libtorchtext.so: undefined symbol torch::" in evidence
    assert "built with the old C++ string ABI" in evidence
    assert "_torchtext.so" not in evidence  # it is loaded after the library that it needs


@pytest.mark.network
@pytest.mark.skipif(sys.version_info[:2] not in ((3, 10), (3, 11), (3, 12)), reason="this xformers has no wheel")
def test_extension_of_another_torch_whose_import_does_without(environment: Environment) -> None:
    environment.share("torch", "numpy")
    environment.pip_install("--no-deps", "xformers==0.0.28.post3")
    done = environment.run("-c", "import torch, xformers")
    assert done.returncode == 0  # it only warns
    assert "can't load C++/CUDA extensions" in done.stderr
    answer = doctor(environment)
    assert [(f["failure"], f["severity"]) for f in answer["findings"]] == [("extension-torch-mismatch", "warning")]
    assert "without _C.so" in answer["findings"][0]["summary"]


@pytest.mark.network
def test_extension_with_files_for_each_torch(environment: Environment) -> None:
    environment.share("torch", "numpy")
    environment.pip_install("--no-deps", "vesin-torch==0.6.2")
    answer = doctor(environment)
    loads = [binary["loads"] for binary in answer["facts"]["extensions"][0]["binaries"]]
    assert loads.count(True) == 1 and False in loads
    assert (answer["verdict"], answer["facts"]["probes"]) == ("healthy", [])


@pytest.mark.network
@pytest.mark.skipif(not (LAB.torch and LAB.torch.minor == "2.13"), reason="this torchfits is for torch 2.13")
def test_extension_without_a_library_that_it_bundles(environment: Environment) -> None:
    environment.share("torch", "numpy")
    environment.pip_install("--no-deps", "torchfits==1.2.0")
    assert environment.run("-c", "import torch, torchfits._C").returncode == 0
    assert doctor(environment)["findings"] == []
    library = next((environment.site / "torchfits.libs").glob("libbz2*"))
    library.unlink()
    said = environment.run("-c", "import torch, torchfits._C").stderr
    assert f"{library.name}: cannot open shared object file" in said  # it really fails
    answer = doctor(environment)
    assert ids(answer) == ["library-not-found"]
    finding = answer["findings"][0]
    assert library.name in finding["summary"]
    assert f"torchfits.libs/{library.name}: missing, although its RECORD lists it" in finding["evidence"]
    assert finding["severity"] == "warning"  # `import torchfits` alone loads none of it
    assert finding["fix"][0]["kind"] == "install-matching-wheel"


def test_another_library_in_front_of_torchs_own(environment: Environment) -> None:
    environment.share("torch")
    front = environment.folder / "front"
    front.mkdir()
    libraries = environment.site / "torch" / "lib"
    shutil.copy(libraries / "libtorch_global_deps.so", front / "libc10.so")  # any library that is not torch's own
    assert "undefined symbol" in environment.run("-c", "import torch", LD_LIBRARY_PATH=str(front)).stderr
    answer = doctor(environment, LD_LIBRARY_PATH=str(front))
    assert ids(answer) == ["library-shadowed"]
    finding = answer["findings"][0]
    assert finding["package"] == "torch" and str(front) in finding["summary"]
    assert f"{libraries / 'libc10.so'}: has what is missing" in finding["evidence"]

    # What the finding proposes really helps, and without the variable nothing is wrong.
    argv = finding["fix"][0]["argv"]
    done = subprocess.run(argv, env={**os.environ, "LD_LIBRARY_PATH": str(front)}, capture_output=True, timeout=120)
    assert done.returncode == 0
    assert doctor(environment)["verdict"] == "healthy"


@pytest.mark.skipif(not (LAB.torch and LAB.torch.cuda), reason="the lab's torch has no NVIDIA libraries")
def test_cuda_torch_without_one_of_nvidias_libraries(environment: Environment) -> None:
    environment.share("torch", *(d.name for d in LAB.distributions if d.key.startswith("nvidia-")))
    next(environment.site.glob("nvidia/*/lib/libcusparseLt.so*")).unlink()
    assert "libcusparseLt" in environment.run("-c", "import torch").stderr  # it really fails
    answer = doctor(environment)
    assert ids(answer) == ["library-not-found"]
    assert any("cusparselt" in word for word in answer["findings"][0]["fix"][0]["argv"])


GCC = shutil.which("gcc")
needs_gcc = pytest.mark.skipif(GCC is None, reason="gcc, to make libraries that fail, is not installed")


def compiled(environment: Environment, folder: Path, name: str, source: str, *options: str) -> Path:
    """A shared library, made of one line of C."""
    folder.mkdir(parents=True, exist_ok=True)
    code = environment.folder / "code.c"
    code.write_text(source)
    library = folder / name
    done = subprocess.run(
        [str(GCC), "-shared", "-fPIC", "-o", str(library), str(code), *options], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return library


def stub(environment: Environment, soname: str, *versions: str) -> Path:
    """A library of this name, of which each version has a function: ``future_0``, ``future_1``, ..."""
    symbols = "".join(f"{version} {{ global: future_{i}; }};\n" for i, version in enumerate(versions))
    script = environment.folder / "versions.map"
    script.write_text(symbols)
    source = "".join(f"int future_{i}(void) {{ return {i}; }}\n" for i in range(max(len(versions), 1)))
    options = [f"-Wl,--version-script={script}"] if versions else []
    return compiled(environment, environment.folder / "stubs", soname, source, f"-Wl,-soname,{soname}", *options)


TAKES = "int future_0(void);\nint call(void) { return future_0(); }\n"


def extension_that_needs(environment: Environment, *libraries: Path, source: str = TAKES, code: str = "") -> None:
    """A package ``future`` with a compiled file that links against torch and against ``libraries``."""
    linked = [str(library) for library in (environment.site / "torch" / "lib" / "libc10.so", *libraries)]
    options = ("-Wl,--no-as-needed", *linked, "-Wl,--allow-shlib-undefined", "-Wl,-z,lazy")
    compiled(environment, environment.site / "future", "_C.so", source, *options)
    load = "import ctypes, os, torch\nctypes.CDLL(os.path.join(os.path.dirname(__file__), '_C.so'), os.RTLD_NOW)\n"
    (environment.site / "future" / "__init__.py").write_text(code or load)
    metadata = environment.site / "future-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: future\nVersion: 1.0\nRequires-Dist: torch\n")
    (metadata / "RECORD").write_text("future/__init__.py,,\nfuture/_C.so,,\n")


@needs_gcc
@pytest.mark.parametrize(
    ("soname", "version", "id"),
    [
        ("libc.so.6", "GLIBC_9.99", "libc-too-old"),
        ("libm.so.6", "GLIBC_9.99", "libc-too-old"),
        ("libstdc++.so.6", "GLIBCXX_3.4.99", "libstdcxx-too-old"),
        ("libstdc++.so.6", "CXXABI_1.3.99", "libstdcxx-too-old"),
    ],
)
def test_extension_from_a_newer_system(environment: Environment, soname: str, version: str, id: str) -> None:
    environment.share("torch")
    extension_that_needs(environment, stub(environment, soname, version))
    assert f"version `{version}' not found (required by" in environment.run("-c", "import future").stderr
    answer = doctor(environment)
    assert ids(answer) == [id]
    finding = answer["findings"][0]
    assert (finding["package"], finding["severity"]) == ("future", "error")
    assert f"_C.so needs {version}; {soname}" in finding["summary"]
    assert any(line.startswith("import future, in a process of its own: OSError") for line in finding["evidence"])


@needs_gcc
def test_old_libstdcxx_in_front_of_the_systems(environment: Environment) -> None:
    environment.share("torch")
    old = stub(environment, "libstdc++.so.6", "GLIBCXX_3.4", "CXXABI_1.3").parent
    said = environment.run("-c", "import torch", LD_LIBRARY_PATH=str(old)).stderr
    assert "libstdc++.so.6: version `" in said  # it really fails
    answer = doctor(environment, LD_LIBRARY_PATH=str(old))
    assert ids(answer) == ["library-shadowed"]
    assert f"{old}/libstdc++.so.6: taken, by LD_LIBRARY_PATH" in answer["findings"][0]["evidence"]


@needs_gcc
def test_extension_that_needs_a_library_which_is_not_here(environment: Environment) -> None:
    environment.share("torch")
    extension_that_needs(environment, stub(environment, "libfuture.so.7"))
    assert "libfuture.so.7: cannot open shared object file" in environment.run("-c", "import future").stderr
    answer = doctor(environment)
    assert ids(answer) == ["library-not-found"]
    assert answer["findings"][0]["severity"] == "error"
    assert "future/_C.so: libfuture.so.7 is not found" in answer["findings"][0]["evidence"]


@needs_gcc
def test_plug_in_for_an_ffmpeg_that_is_not_here_is_nothing(environment: Environment) -> None:
    environment.share("torch")
    extension_that_needs(environment, stub(environment, "libavutil.so.58"), code="import torch\n")
    answer = doctor(environment)
    assert answer["facts"]["extensions"][0]["binaries"][0]["loads"] is False
    assert (answer["verdict"], answer["facts"]["probes"]) == ("healthy", [])


@needs_gcc
def test_build_without_a_tag_against_another_torch(environment: Environment) -> None:
    environment.share("torch")
    symbol = "_ZN3c1015gone_since_longERKSs"  # c10::gone_since_long(std::string const&), with the old string
    source = f"int {symbol}(void);\nint call(void) {{ return {symbol}(); }}\n"
    extension_that_needs(environment, source=source)
    assert f"undefined symbol: {symbol}" in environment.run("-c", "import future").stderr
    answer = doctor(environment)
    assert ids(answer) == ["extension-torch-mismatch"]
    evidence = "\n".join(answer["findings"][0]["evidence"])
    assert "c10::gone_since_long" in evidence and "the old C++ string ABI" in evidence
    assert f"undefined symbol: {symbol}" in evidence


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
