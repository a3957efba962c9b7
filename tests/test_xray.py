"""kit xray: what the verb answers for libraries, wheels, folders and environments, and how it says so."""

import dataclasses
import html
import json
import os
import shutil
import struct
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from conftest import refusal

import kit
from kit import gpus, show
from kit.collect import host
from kit.errors import KitError
from kit.facts import Binary, Missing, Shadow
from kit.xray import XRay

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures" / "fatbin"
SITE = Path(sysconfig.get_path("platlib"))
COMPILER = shutil.which("gcc") or shutil.which("cc")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="ELF files are read where glibc would load them")
compiled = pytest.mark.skipif(COMPILER is None, reason="no C compiler: the libraries are compiled here")
with_torch = pytest.mark.skipif(not (SITE / "torch" / "lib").is_dir(), reason="torch is not installed")
x86_64 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="the fixtures are for x86_64")

FILE = """path python_tag cuda architectures ptx needs missing_libraries missing_symbols glibc glibcxx loads
runs_on_gpu why""".split()
LOADABLE = "cu129.so"  # the only fixture with GPU code that needs no libcudart: sm_50 90 100 120, PTX of CUDA 12.9


def run(*arguments, cwd=None, **env):
    command = [sys.executable, "-m", "kit", "xray", *map(str, arguments)]
    env = {**{k: v for k, v in os.environ.items() if not k.startswith("LD_")}, "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd, env=env, encoding="utf-8")


def as_json(*arguments, status=0, **values):
    """The document of ``kit xray --json``; its form is checked."""
    done = run(*arguments, "--json", **values)
    assert (done.returncode, done.stderr) == (status, ""), done
    data = json.loads(done.stdout)
    assert data["schema"] == 1 and data["verdict"] == ("broken" if status else "healthy")
    for file in data["files"]:
        conforms(file)
    return data


def conforms(file):
    assert set(FILE) <= set(file)
    for name in ("architectures", "ptx", "needs", "missing_libraries", "missing_symbols", "why"):
        assert isinstance(file[name], list) and all(isinstance(item, str) for item in file[name])
    for name in ("python_tag", "cuda", "glibc", "glibcxx"):
        assert file[name] is None or isinstance(file[name], str)
    assert isinstance(file["path"], str) and {file["loads"], file["runs_on_gpu"]} <= {True, False, None}


def refused(*arguments, **values):
    """The one line of a command whose input or arguments cannot be used."""
    return refusal(run(*arguments, **values))


def library(path, source="int f(void) { return 1; }", *options):
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [COMPILER, "-w", "-shared", "-fPIC", "-nostdlib", "-Wl,--no-as-needed", "-x", "c", "-", "-x", "none"]
    command += ["-o", str(path), *map(str, options)]
    done = subprocess.run(command, input=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return path


def loads(path):
    """What a real process says."""
    command = [sys.executable, "-I", "-S", "-c", "import ctypes, sys; ctypes.CDLL(sys.argv[1], mode=2)", str(path)]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(host, "gpus", lambda *_: ([], None))


@pytest.fixture
def fast(monkeypatch, no_gpu):
    """An environment without torch: reading the lab's own takes a third of a second."""
    from kit.collect import inside

    whole = inside.collect()
    monkeypatch.setattr(inside, "collect", lambda *_: {**whole, "torch": None})


def one(path, **values):
    (file,) = kit.xray(str(path), **values).files
    return file


# -- what a path may be


@with_torch
@x86_64
def test_a_library_a_folder_and_both_at_once():
    scatter = SITE / "torch_scatter"
    if not scatter.is_dir():
        pytest.skip("torch-scatter is not installed")
    files = sorted(str(p) for p in scatter.rglob("*.so"))
    data = as_json(files[0])
    assert [f["path"] for f in data["files"]] == files[:1] and data["files"][0]["loads"] is True
    assert f"Python {sys.version.split()[0]}" in data["against"] and "torch 2." in data["against"]
    assert data["files"][0]["python_tag"] is None and "libtorch_cpu.so" in data["files"][0]["needs"]
    assert data["files"][0]["glibcxx"].startswith("3.4") and data["files"][0]["glibc"].startswith("2.")
    data = as_json(scatter, FIXTURES / "host-only.so")
    assert [f["path"] for f in data["files"]] == [*files, str(FIXTURES / "host-only.so")]


@with_torch
@x86_64
def test_an_environment_is_what_links_against_torch_in_it():
    data = as_json(sys.prefix)
    paths = [f["path"] for f in data["files"]]
    assert str(SITE / "torch" / "lib" / "libtorch_python.so") in paths and all(f["loads"] for f in data["files"])
    assert not [p for p in paths if "numpy" in p]


@compiled
@with_torch
def test_the_environment_is_the_one_in_which_the_file_lies(environment, tmp_path):
    """That venv has no torch, the lab that runs the command has one."""
    needs = library(tmp_path / "lib" / "libtorch.so", "int t(void) { return 1; }", "-Wl,-soname,libtorch.so")
    source = "int t(void); int f(void) { return t(); }"
    here = library(environment.site / "package" / "x.so", source, needs)
    elsewhere = library(tmp_path / "x.so", source, needs)
    data = as_json(here, status=1)
    assert data["files"][0]["missing_libraries"] == ["libtorch.so"] and "no torch" in data["against"]
    assert str(environment.python) in data["against"]
    data = as_json(elsewhere, status=1)
    assert "torch 2." in data["against"], "no environment is around it: the one that runs the command counts"
    assert (data["files"][0]["missing_libraries"], data["files"][0]["missing_symbols"]) == ([], ["t"])
    both = as_json(here, elsewhere, status=1)
    assert both["against"].count("; ") == 1 and len(both["files"]) == 2
    as_json(elsewhere, "--against", environment.folder, status=1)


@compiled
@with_torch
def test_against(environment, tmp_path):
    """An interpreter, the folder of an environment, or a folder that holds torch, as ``pip install --target``."""
    libtorch = library(tmp_path / "target" / "torch" / "lib" / "libtorch.so", "int t;", "-Wl,-soname,libtorch.so")
    compiled_part = libtorch.parent.parent / f"_C{sysconfig.get_config_var('EXT_SUFFIX')}"
    library(libtorch.with_name("libtorch_global_deps.so"))
    library(compiled_part, "extern int t; int *f = &t;", "-Wl,-rpath,$ORIGIN/lib", libtorch)
    (libtorch.parent.parent / "version.py").write_text("__version__ = '9.9.0'\ncuda = None\n")
    (libtorch.parent.parent / "__init__.py").touch()
    file = library(tmp_path / "x.so", "extern int t; int *f = &t;", libtorch)
    for against, words, status in (
        (environment.python, "no torch", 1),
        (environment.folder, "no torch", 1),
        (tmp_path / "target", "torch 9.9.0", 0),
        (sys.executable, "torch 2.", 1),
        (sys.prefix, "torch 2.", 1),
    ):
        data = as_json(file, "--against", against, status=status)
        assert words in data["against"]
        assert data["files"][0]["loads"] is (status == 0)
    compiled_part.unlink()
    library(compiled_part, "int nowhere(void); int f(void) { return nowhere(); }")
    library(libtorch.with_name("libtorch_global_deps.so"), "int g;", library(tmp_path / "libgone.so", "int g2;"))
    (tmp_path / "libgone.so").unlink()
    data = as_json(file, "--against", tmp_path / "target")
    assert data["files"][0]["loads"] is None, "whether it loads beside a torch that does not load cannot be known"
    assert "torch itself does not load" in data["files"][0]["why"][0]


# -- wheels


def wheel(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content if isinstance(content, (bytes, str)) else content.read_bytes())
    return path


@pytest.fixture
def bundled(tmp_path):
    """An extension that finds the library beside its package, as auditwheel arranges it."""
    inner = library(tmp_path / "build" / "libinner-1234abcd.so.1", "int inner(void) { return 1; }")
    source = "int inner(void); int f(void) { return inner(); }"
    options = ["-Wl,-rpath,$ORIGIN/../package.libs", "-Wl,--enable-new-dtags", "-L", inner.parent, f"-l:{inner.name}"]
    return inner, library(tmp_path / "build" / "_ext.cpython-311-x86_64-linux-gnu.so", source, *options)


@compiled
def test_a_wheel_whose_extension_needs_a_library_of_the_same_wheel(tmp_path, fast, bundled):
    inner, ext = bundled
    path = wheel(
        tmp_path / "package-1.0-cp311-cp311-linux_x86_64.whl",
        {f"package/{ext.name}": ext, f"package.libs/{inner.name}": inner, "package/__init__.py": ""},
    )
    files = {f.binary.path: f.binary for f in kit.xray(str(path)).files}
    assert set(files) == {f"{path}/package/{ext.name}", f"{path}/package.libs/{inner.name}"}
    assert all(b.loads for b in files.values()), files
    assert {b.python_tag for b in files.values()} == {"cp311"}
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert loads(tmp_path / "unpacked" / "package" / ext.name)

    path = wheel(tmp_path / "package-1.0-cp311-cp311-linux_x86_64.whl", {f"package/{ext.name}": ext})
    binary = one(path).binary
    assert binary.loads is False and [m.what for m in binary.missing] == [inner.name]
    shutil.rmtree(tmp_path / "unpacked" / "package.libs")
    assert not loads(tmp_path / "unpacked" / "package" / ext.name)


@compiled
def test_a_wheel_with_a_data_folder(tmp_path, fast, bundled):
    """What lies in NAME.data/platlib is installed beside the rest."""
    inner, ext = bundled
    path = wheel(
        tmp_path / "package-1.0-cp311-abi3-linux_x86_64.whl",
        {f"package-1.0.data/platlib/package/{ext.name}": ext, f"package.libs/{inner.name}": inner},
    )
    assert [f.binary.loads for f in kit.xray(str(path)).files] == [True, True]
    assert kit.xray(str(path)).files[1].binary.python_tag == "abi3"


@compiled
@with_torch
def test_reading_a_wheel_writes_nothing(tmp_path, bundled):
    inner, ext = bundled
    name = "package-1.0-cp311-cp311-linux_x86_64.whl"
    path = wheel(tmp_path / name, {f"package/{ext.name}": ext, f"package.libs/{inner.name}": inner})
    temporary, cwd, home = tmp_path / "tmp", tmp_path / "cwd", tmp_path / "home"
    for folder in (temporary, cwd, home):
        folder.mkdir()
    site = {p: p.stat().st_mtime_ns for p in SITE.iterdir()}
    env = {"TMPDIR": str(temporary), "TEMP": str(temporary), "TMP": str(temporary), "HOME": str(home)}
    as_json(path, cwd=cwd, PYTHONDONTWRITEBYTECODE="1", **env)
    assert [p for folder in (temporary, cwd, home) for p in folder.rglob("*")] == []
    assert {p: p.stat().st_mtime_ns for p in SITE.iterdir()} == site


# -- GPUs


@pytest.mark.parametrize(
    ("built", "capability", "runs"),
    [
        # the same major, and a minor not above that of the GPU
        ("sm_90", "9.0", True),
        ("sm_80", "8.6", True),
        ("sm_80", "8.9", True),
        ("sm_86", "8.0", False),
        ("sm_80", "9.0", False),
        ("sm_90", "8.9", False),
        ("sm_120", "12.1", True),
        ("sm_121", "12.0", False),
        ("sm_100", "10.3", True),
        ("sm_100", "12.0", False),
        # code for exactly one GPU, and for a family of them
        ("sm_90a", "9.0", True),
        ("sm_90a", "10.0", False),
        ("sm_100a", "10.3", False),
        ("sm_100f", "10.3", True),
        ("sm_103f", "10.0", False),
        ("sm_120f", "12.1", True),
        ("sm_120f", "10.0", False),
        # Tegra and its siblings of the same major understand each other's code no more than other majors do
        ("sm_87", "8.7", True),
        ("sm_80", "8.7", False),
        ("sm_87", "8.9", False),
        ("sm_72", "7.2", True),
        ("sm_70", "7.2", False),
        ("sm_72", "7.5", False),
        ("sm_62", "6.2", True),
        ("sm_53", "5.3", True),
        ("sm_50", "5.3", False),
        ("sm_101", "11.0", True),
        ("sm_110", "10.1", True),
        ("sm_100", "11.0", False),
        # PTX: any GPU that is not older, Tegra too
        ("compute_80", "8.0", True),
        ("compute_80", "8.7", True),
        ("compute_80", "12.0", True),
        ("compute_90", "8.9", False),
        ("compute_120", "12.0", True),
        ("compute_121", "12.0", False),
        ("compute_90a", "9.0", True),
        ("compute_90a", "10.0", False),
        ("compute_100f", "10.3", True),
        ("compute_100f", "12.0", False),
        ("lto_90", "9.0", False),
        ("nonsense", "9.0", False),
    ],
)
def test_which_code_runs_on_which_gpu(built, capability, runs):
    ptx = built.startswith("compute")
    held = Binary("x.so", ptx=(built,), ptx_isa="8.0") if ptx else Binary("x.so", architectures=(built,))
    answer, why = gpus.runs_on(held, capability)
    assert answer is runs and capability in why
    assert built in why


@pytest.mark.parametrize(
    ("isa", "driver", "runs", "said"),
    [
        ("9.0", "12.8", False, "needs a driver for CUDA 13.0 or newer; this one is for CUDA 12.8"),
        ("9.0", "13.0", True, "by a driver for CUDA 13.0 or newer"),
        ("9.0", "13.1", True, "CUDA 13.0"),
        ("9.0", None, True, "by a driver for CUDA 13.0 or newer"),
        ("7.8", "11.8", True, "CUDA 11.8"),
        ("7.8", "11.10", True, "CUDA 11.8"),
        ("7.8", "11.2", False, "CUDA 11.8"),
        ("99.9", "11.0", True, "by the driver"),
        (None, "11.0", True, "by the driver"),
    ],
)
def test_ptx_needs_a_driver_that_knows_it(isa, driver, runs, said):
    old = Binary("x.so", architectures=("sm_70",), ptx=("compute_80",), ptx_isa=isa)
    answer, why = gpus.runs_on(old, "12.0", driver)
    assert answer is runs and said in why
    new = dataclasses.replace(old, architectures=("sm_120",))
    assert gpus.runs_on(new, "12.0", driver)[0] is True, "machine code needs no compiling"


def test_code_of_a_few_kernels_is_not_enough():
    def runs(architectures, ptx, partial):
        held = Binary("x.so", architectures=architectures, ptx=ptx, ptx_isa="8.0", partial=partial)
        return gpus.runs_on(held, "9.0")[0]

    assert runs(("sm_80", "sm_90"), (), ("sm_90",)) is False
    assert runs(("sm_80", "sm_90"), ("compute_80",), ("sm_90",)) is True
    assert runs(("sm_80",), ("compute_80",), ("compute_80",)) is False
    assert runs(("sm_90",), (), ("sm_80",)) is True


@x86_64
def test_gpus_of_a_file(fast):
    """(file, GPU): what the whole verb says of it."""
    expected = {
        ("arch-and-ptx.so", "9.0"): True,
        ("arch-and-ptx.so", "12.1"): True,
        ("arch-and-ptx.so", "13.0"): True,
        ("arch-and-ptx.so", "8.9"): False,
        ("sm90a.so", "9.0"): True,
        ("sm90a.so", "10.0"): False,
        ("family.so", "10.3"): True,
        ("several.so", "10.0"): False,
        ("ptx-only.so", "8.9"): False,
        ("ptx-only.so", "10.0"): True,
        ("host-only.so", "9.0"): False,
    }
    for gpu in sorted({gpu for _, gpu in expected}):
        names = [name for name, of in expected if of == gpu]
        shown = kit.xray([str(FIXTURES / name) for name in names], gpu=gpu)
        assert {f.binary.path.rpartition("/")[2]: f.runs_on_gpu for f in shown.files} == {
            name: expected[name, gpu] for name in names
        }
        assert shown.to_dict()["gpus"] == [gpu]


@x86_64
def test_the_verdict_and_the_exit_status():
    for gpu, status in (("9.0", 0), ("sm_120", 0), ("8.9", 1)):
        (file,) = as_json(FIXTURES / LOADABLE, "--gpu", gpu, status=status)["files"]
        assert (file["runs_on_gpu"], file["loads"]) == (status == 0, True)
        assert file["architectures"] == ["sm_50", "sm_90", "sm_100", "sm_120"]
        assert (file["ptx"], file["cuda"]) == (["compute_120"], "12.9")
    done = run(FIXTURES / LOADABLE, "--gpu", "8.9")
    assert done.returncode == 1 and done.stdout.startswith("broken: no code for compute capability 8.9 in 1 file")
    assert "sm_50 sm_90 sm_100 sm_120 compute_120" in done.stdout
    (file,) = as_json(FIXTURES / "one.so", status=1)["files"]
    assert file["loads"] is False and "__cudaLaunchKernel" in file["missing_symbols"], (
        "it was linked without libcudart"
    )


@x86_64
def test_the_gpus_of_this_machine(fast, monkeypatch):
    def machine(*capabilities, cuda="12.4"):
        rows = [{"name": "NVIDIA Something", "capability": c, "memory_mb": None} for c in capabilities]
        monkeypatch.setattr(host, "gpus", lambda *_: (rows, {"version": "550.54", "cuda": cuda, "source": "NVML"}))

    path = FIXTURES / LOADABLE
    machine("9.0")
    assert one(path).runs_on_gpu is True and kit.xray(str(path)).verdict == "healthy"
    machine("12.1")
    assert one(path).runs_on_gpu is True, "machine code of sm_120"
    machine("13.0")
    assert one(path).runs_on_gpu is False, "its PTX is newer than this driver"
    assert "needs a driver for CUDA 12.9 or newer; this one is for CUDA 12.4" in one(path).why[-1]
    machine("13.0", cuda="12.9")
    assert one(path).runs_on_gpu is True
    machine("9.0", "8.6")
    assert one(path).runs_on_gpu is False and len(one(path).why) == 2, "each GPU has to run it"
    machine("12.0")
    both = kit.xray([str(path), str(FIXTURES / "cu129-plain.so")])
    assert both.verdict == "healthy" and [f.runs_on_gpu for f in both.files] == [True, False], "one has its code"
    machine("8.6")
    assert kit.xray(str(path)).verdict == "broken"
    assert one(path, gpu="9.0").runs_on_gpu is True, "--gpu goes before what is there"
    machine(None)
    assert one(path).runs_on_gpu is None and "--gpu" in one(path).why[-1]


@x86_64
def test_without_a_gpu_nothing_is_said_of_it(fast):
    shown = kit.xray([str(FIXTURES / LOADABLE), str(FIXTURES / "host-only.so")])
    assert shown.verdict == "healthy" and shown.files[0].runs_on_gpu is None
    assert "runs on" not in show.text(shown)


def test_an_environment_around_a_file_is_read_and_not_run(tmp_path):
    """Who unpacks an archive to look into it does not want its bin/python started."""
    site = tmp_path / "lib" / "python3.9" / "site-packages"
    site.mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.9.2\n")
    (tmp_path / "bin" / "python").write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    shutil.copy(FIXTURES / "one.so", site / "x.cpython-311-x86_64-linux-gnu.so")
    for path in (site, site / "x.cpython-311-x86_64-linux-gnu.so", tmp_path):
        shown = kit.xray(path)
        assert shown.against.startswith("Python 3.9.2, no torch") and shown.files[0].binary.loads is None
        assert "this Python is cp39" in " ".join(shown.files[0].why)
    assert not (tmp_path / "was-run").exists()


# -- files that are not read


def _with(path, source, at, value):
    data = bytearray(source.read_bytes())
    data[at : at + len(value)] = value
    path.write_bytes(data)
    return path


@x86_64
def test_other_formats_and_machines(tmp_path, fast):
    files = {
        "a.pyd": b"MZ\x90\0" + bytes(200),
        "b.dll": b"MZ" + bytes(200),
        "c.dylib": b"\xcf\xfa\xed\xfe" + bytes(200),
        "d.so": b"\xca\xfe\xba\xbe" + bytes(200),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    _with(tmp_path / "e.so", FIXTURES / "one.so", 18, struct.pack("<H", 183))
    _with(tmp_path / "f.so", FIXTURES / "one.so", 4, b"\1")
    (tmp_path / "g.so").write_bytes((FIXTURES / "one.so").read_bytes()[:3000])
    (tmp_path / "h.so").touch()
    shown = kit.xray(str(tmp_path), gpu="9.0")
    found = {f.binary.path[-4:]: (f.binary.format, f.binary.loads, f.runs_on_gpu) for f in shown.files}
    assert found == {
        ".pyd": ("PE", None, None),
        ".dll": ("PE", None, None),
        "ylib": ("Mach-O", None, None),
        "d.so": ("Mach-O", None, None),
        "e.so": ("ELF", False, True),
        "f.so": ("ELF", False, False),
        "g.so": ("ELF", False, None),
        "h.so": ("unknown", False, None),
    }
    reasons = {f.binary.path[-4:]: "; ".join(f.why) for f in shown.files}
    assert "Windows" in reasons[".pyd"] and "macOS" in reasons["ylib"] and "aarch64" in reasons["e.so"]
    assert "32" in reasons["f.so"] and "cut off" in reasons["g.so"] and "empty" in reasons["h.so"]
    assert one(tmp_path / "e.so").binary.machine == "aarch64" and shown.verdict == "broken"
    for file in shown.files:
        conforms(file.to_dict())
    assert kit.xray(str(tmp_path / "a.pyd")).verdict == "healthy", "nothing is known of it"


@x86_64
def test_python_tags(tmp_path, fast):
    names = {
        "a.cpython-311-x86_64-linux-gnu.so": "cp311",
        "b.cpython-313t-x86_64-linux-gnu.so": "cp313t",
        "c.abi3.so": "abi3",
        "d.pypy310-pp73-x86_64-linux-gnu.so": "pp310",
        "e.so": None,
        "libf.so.1.2": None,
    }
    for name in names:
        shutil.copy(FIXTURES / "host-only.so", tmp_path / name)
    shown = kit.xray(str(tmp_path))
    assert {Path(f.binary.path).name: f.binary.python_tag for f in shown.files} == names
    assert all(f.binary.loads for f in shown.files), "dlopen does not look at the name"
    own = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    told = {f.binary.python_tag for f in shown.files if f"this Python is {own}" in "; ".join(f.why)}
    assert told == {t for t in names.values() if t} - {own, "abi3"}


# -- what cannot be used


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: PATH"),
        (["/no/such/file.so"], "/no/such/file.so cannot be read: No such file or directory"),
        (["text"], "text is no compiled file or wheel: not a compiled file: it begins with b'some tex'"),
        (["packed.tar.gz"], "unpack it, and X-ray the folder"),
        (["empty"], "empty is no compiled file or wheel: not a compiled file: it is empty"),
        (["folder"], "folder holds no compiled file (.so, .pyd, .dll, .dylib)"),
        (["pure-1.0-py3-none-any.whl"], "a wheel of Python code alone fits every torch"),
        (["cut-1.0-cp311-cp311-linux_x86_64.whl"], "is not a whole wheel"),
        (["text-1.0-cp311-cp311-linux_x86_64.whl"], "is not a whole wheel"),
        (["pipe"], "pipe is no file, wheel or folder"),
        (["/dev/null"], "/dev/null is no file, wheel or folder"),
        (["text", "--gpu", "RTX 4090"], "not a compute capability: 'RTX 4090'"),
        (["text", "--against", "/no/such/python"], "no such interpreter: /no/such/python"),
        (["text", "--against", "folder"], "folder is no environment: it has neither bin/python nor a torch folder"),
        (["text", "--gpu"], "expected one argument"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_status_2(tmp_path, arguments, said):
    (tmp_path / "text").write_text("some text, no library\n" * 20)
    (tmp_path / "packed.tar.gz").write_bytes(b"\x1f\x8b" + bytes(50))
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "module.py").touch()
    os.mkfifo(tmp_path / "pipe")
    whole = wheel(tmp_path / "pure-1.0-py3-none-any.whl", {"pure/__init__.py": "x = 1\n" * 100})
    (tmp_path / "cut-1.0-cp311-cp311-linux_x86_64.whl").write_bytes(whole.read_bytes()[:-30])
    (tmp_path / "text-1.0-cp311-cp311-linux_x86_64.whl").write_text("no archive\n" * 20)
    json_too = ["--json"] if arguments[:1] in (["text"], ["/no/such/file.so"]) else []
    assert said in refused(*arguments, *json_too, cwd=tmp_path)


def test_an_empty_gpu_is_no_gpu(fast):
    with pytest.raises(KitError, match="not a compute capability: ''"):
        kit.xray(str(FIXTURES / "one.so"), gpu="")


def test_a_path_object_is_a_path(fast):
    assert kit.xray(FIXTURES / "host-only.so").files[0].binary.path == str(FIXTURES / "host-only.so")
    assert len(kit.xray([FIXTURES / "host-only.so", FIXTURES / "one.so"]).files) == 2


# -- how it looks


HOSTILE = "<script>alert('x')</script>&\"\x1b[31m\u202e\n.so"


@x86_64
@compiled
def test_hostile_names_are_escaped(tmp_path, fast):
    folder = tmp_path / "<b>bold</b>"
    name = HOSTILE.replace("/", "_")
    needed = library(tmp_path / "libneeded.so", "int g;", "-Wl,-soname,<img src=x onerror=alert(1)>\x1b[2J.so")
    symbol = '__asm__(".globl \\"<svg>\\x1b[1m\\"\\n.data\\n.quad \\"<svg>\\x1b[1m\\"");'
    library(folder / name, "int f;", needed)
    library(folder / "symbol.so", symbol.replace("\\x1b", "\x1b"))
    shown = kit.xray(str(folder), gpu="9.0")
    assert [f.binary.loads for f in shown.files] == [False, False]
    bundle = shown._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"} and bundle["text/plain"] == repr(shown) == show.text(shown)
    for text in bundle.values():
        assert not [c for c in text if c != "\n" and not c.isprintable()], "no character steers the terminal"
    page = bundle["text/html"]
    for tag in ("<script", "<img", "<svg", "<b>bold"):
        assert tag not in page
        assert html.escape(tag) in page, f"{tag} is shown, as text"
        assert tag in bundle["text/plain"]
    json.dumps(shown.to_dict()).encode()


@x86_64
def test_text_and_html_hold_the_same(fast):
    shown = kit.xray([str(FIXTURES / n) for n in ("arch-and-ptx.so", "host-only.so")], gpu="8.9")
    bundle = shown._repr_mimebundle_()
    for word in ("broken", "arch-and-ptx.so", "sm_90 sm_120 compute_120", "CUDA 13.0", "8.9", "host-only.so"):
        assert word in bundle["text/plain"] and word in html.unescape(bundle["text/html"]), word
    assert show.text(shown) == show.text(
        kit.xray([str(FIXTURES / n) for n in ("arch-and-ptx.so", "host-only.so")], gpu="8.9")
    )


def test_the_environment_is_escaped_too():
    shown = XRay((), "Python <script>", ())
    assert "<script" not in show.html(shown) and "&lt;script" in show.html(shown) and "<script>" in show.text(shown)


def test_the_command_says_what_python_says(tmp_path):
    done = run(FIXTURES / "host-only.so")
    assert done.returncode == 0 and done.stdout.splitlines()[0] == "healthy: it would load"
    assert done.stdout.splitlines()[1].startswith("against: Python ")


# -- of facts


def test_the_xray_of_facts():
    facts = kit.machine("healthy-gpu")
    missing = (Missing("library", "libcudart.so.11.0", "_cpu.so"), Missing("version", "GLIBC_2.38", "_cpu.so"))
    shadow = (Shadow("libstdc++.so.6", "/a", "LD_LIBRARY_PATH", "/b"),)
    ours = Binary("torch/_C.so", loads=True, architectures=("sm_80",))
    theirs = Binary(
        "x/_cpu.so", loads=False, missing=missing, shadows=shadow, why=("libcudart.so.11.0 is not found",)
    )
    extension = dataclasses.replace(facts.extensions[0], binaries=(theirs,))
    facts = dataclasses.replace(
        facts, torch=dataclasses.replace(facts.torch, binaries=(ours,)), extensions=(extension, *facts.extensions[1:])
    )
    shown = kit.xray(facts, gpu="8.6")
    assert shown.files[0].binary.path == "torch/_C.so" and theirs in [f.binary for f in shown.files]
    assert shown.files[0].runs_on_gpu is True and shown.verdict == "broken"
    (row,) = [row for row in shown.to_dict()["files"] if row["path"] == "x/_cpu.so"]
    conforms(row)
    assert (row["missing_libraries"], row["missing_versions"]) == (["libcudart.so.11.0"], ["GLIBC_2.38"])
    assert kit.xray(facts, gpu="9.0").files[0].runs_on_gpu is False
    assert facts.torch.version in shown.against and "x/_cpu.so" in show.text(shown)
    nothing = dataclasses.replace(facts, torch=None, extensions=())
    assert kit.xray(nothing).verdict == "healthy" and kit.xray(nothing).to_dict()["files"] == []
    assert "no torch" in show.text(kit.xray(nothing)) and show.html(kit.xray(nothing))


@with_torch
def test_of_what_was_collected_here(lab_python):
    facts = kit.collect(probes=False)
    shown = kit.xray(facts)
    assert shown.files[0].binary.path.startswith("torch/_C.") and shown.files[0].binary.loads is True
    assert {f.binary.path for f in shown.files} >= {"torch/lib/libtorch_cpu.so"}
    for row in shown.to_dict()["files"]:
        conforms(row)
