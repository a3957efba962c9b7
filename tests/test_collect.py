"""kit/collect: what is read of real files in throwaway folders, and what is said of unusable interpreters."""

import ast
import errno
import json
import os
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path

import pytest

import kit
from kit.collect import collect, inside, interpreter, kernel, probe
from kit.collect.inside import build_tag
from kit.collect.run import Outcome, run
from kit.errors import KitError

INSIDE = Path(inside.__file__)
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX processes")


# -- the script that runs inside: Python 3.8 and nothing but its standard library


def test_inside_is_written_for_python_38():
    ast.parse(INSIDE.read_text(), feature_version=(3, 8))
    vermin = [sys.executable, "-c", "import vermin; vermin.main()"]
    command = [*vermin, "-t=3.8-", "--no-tips", "--violations", str(INSIDE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_inside_imports_the_standard_library_alone():
    names = set()
    for node in ast.walk(ast.parse(INSIDE.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(node.module.partition(".")[0])
    assert names and names <= set(sys.stdlib_module_names)


def test_inside_works_as_a_copy_of_its_own(tmp_path):
    copy = tmp_path / "inside.py"
    copy.write_text(INSIDE.read_text())
    command = [sys.executable, "-I", "-S", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert json.loads(done.stdout)["python"]["executable"]
    assert done.stderr == ""


# -- build tags


@pytest.mark.parametrize(
    ("version", "torch", "cuda"),
    [
        ("2.1.2+pt28cu126", "2.8", "12.6"),
        ("2.1.2+pt210cu130", "2.10", "13.0"),
        ("2.1.1+pt113cu117", "1.13", "11.7"),
        ("2.1.2+pt213", "2.13", None),
        ("2.1.2+pt20cpu", "2.0", "cpu"),
        ("2.1.2+pt28cpu", "2.8", "cpu"),
        ("0.20.1+cu121", None, "12.1"),
        ("0.20.1+cpu", None, "cpu"),
        ("2.7.4+cu12torch2.6cxx11abiFALSE", "2.6", "12"),
        ("2.8.3+cu12torch2.10cxx11abiTRUE", "2.10", "12"),
        ("0.7.8+pt2.4.1cu121", "2.4", "12.1"),
        ("2.1.2", None, None),
        ("2.1.2+", None, None),
        ("2.5.1+rocm6.2", None, None),
        ("0.9.0+git4a3f1a2", None, None),
        ("2.6.0a0+ecf3bae40a.nv25.01", None, None),
        ("1.0+computecanada", None, None),
        ("", None, None),
    ],
)
def test_a_build_tag_tells_torch_and_cuda(version, torch, cuda):
    assert build_tag(version) == (torch, cuda)


# -- folders


class Site:
    """A folder of the import path that is filled by hand."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def file(self, name, content=""):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
        return path

    def dist(self, name, version, head="", kind="dist-info", **files):
        folder = f"{name.replace('-', '_')}-{version}.{kind}"
        metadata = "METADATA" if kind == "dist-info" else "PKG-INFO"
        self.file(
            f"{folder}/{metadata}",
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{head}\n\nA text.\n",
        )
        for file, content in files.items():
            self.file(f"{folder}/{file}", content)
        return folder

    def torch(self, version="2.13.0+cu130", cuda="'13.0'", record=None):
        self.file("torch/__init__.py")
        self.file("torch/version.py", f"__version__ = '{version}'\ncuda = {cuda}\nhip = None\ngit_version = 'abc'\n")
        self.file("torch/lib/libtorch_cpu.so", b"x" * 10)
        record = "torch/lib/libtorch_cpu.so,sha256=a,10\n" if record is None else record
        self.dist("torch", version.partition("+")[0], RECORD=record)


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path / "site-packages")


def read(*folders):
    return inside.collect([str(getattr(f, "folder", f)) for f in folders])


def only(data):
    (dist,) = data["distributions"]
    return dist


def test_a_dist_info(site):
    site.dist(
        "Torch_Thing",
        "1.2",
        "Summary: a thing\nRequires-Dist: torch (>=2)\nRequires-Dist: requests\n"
        "Requires-Dist: numpy<2\nRequires-Dist: triton; extra == 'gpu'",
        INSTALLER="pip\n",
        REQUESTED="",
        RECORD="torch_thing/a.py,sha256=b,1\ntorch_thing/_C.so,sha256=c,5\n",
        **{
            "entry_points.txt": "[console_scripts]\nx = y:z\n\n[networkx.backends]\n"
            "nx_a = a:b\nnx-b=c\n\n[other]\nnot = me\n"
        },
    )
    dist = only(read(site))
    assert (dist["name"], dist["version"], dist["installer"], dist["requested"]) == (
        "Torch_Thing",
        "1.2",
        "pip",
        True,
    )
    assert dist["requires"] == ["torch (>=2)", "numpy<2"]
    assert dist["networkx_backends"] == ["nx_a", "nx-b"]
    assert dist["compiled"] and dist["complete"] and not dist["leftover"] and not dist["editable"]
    assert dist["real_path"] is None and dist["direct_url"] is None


def test_the_description_is_no_metadata(site):
    site.file("a-1.dist-info/METADATA", "Name: a\nVersion: 1\n\nRequires-Dist: torch==1.0\nName: b\nVersion: 9\n")
    dist = only(read(site))
    assert (dist["name"], dist["version"], dist["requires"]) == ("a", "1", [])


def test_windows_line_ends_change_nothing(site):
    site.file("a-1.dist-info/METADATA", b"Name: a\r\nVersion: 1\r\nRequires-Dist: numpy<2\r\n\r\nName: b\r\n")
    site.file("a-1.dist-info/RECORD", b"a/x.so,sha256=q,3\r\na/y.txt,,\r\n")
    site.file("a-1.dist-info/INSTALLER", b"pip\r\n")
    dist = only(read(site))
    assert (dist["name"], dist["version"], dist["requires"], dist["installer"]) == (
        "a",
        "1",
        ["numpy<2"],
        "pip",
    )
    assert dist["compiled"]


def test_an_egg_info_folder_and_an_egg_info_file(site):
    site.dist("old", "0.1", kind="egg-info")
    site.file("older-0.2-py3.11.egg-info", "Metadata-Version: 1.1\nName: older\nVersion: 0.2\n")
    found = {d["name"]: (d["version"], d["complete"]) for d in read(site)["distributions"]}
    assert found == {"old": ("0.1", True), "older": ("0.2", True)}


def test_a_leftover_of_an_interrupted_pip(site):
    site.dist("networkx", "3.6.1")
    site.file("~etworkx-3.6.0.dist-info/METADATA", "Name: networkx\nVersion: 3.6.0\n")
    site.file("~orch-2.0.dist-info/RECORD", "")
    found = [(d["name"], d["version"], d["leftover"], d["complete"]) for d in read(site)["distributions"]]
    assert found == [
        ("networkx", "3.6.1", False, True),
        ("networkx", "3.6.0", True, True),
        ("~orch", "2.0", True, False),
    ]


def test_a_dist_info_without_metadata_is_named_by_its_folder(site):
    site.file("some_thing-4.5.dist-info/RECORD", "")
    dist = only(read(site))
    assert (dist["name"], dist["version"], dist["complete"]) == ("some_thing", "4.5", False)


def test_bytes_that_are_no_text_are_read_all_the_same(site):
    site.file(
        "a-1.dist-info/METADATA",
        b"Name: a\nVersion: 1\nSummary: caf\xe9\xff\x00\nRequires-Dist: numpy\n\n\xff",
    )
    site.file("a-1.dist-info/direct_url.json", b"\xff\xfe{")
    site.file("a-1.dist-info/RECORD", b"caf\xe9/x.so,sha256=q,3\n")
    dist = only(read(site))
    assert (dist["name"], dist["requires"], dist["compiled"]) == ("a", ["numpy"], True)


@posix
def test_what_cannot_be_read_is_listed_with_the_reason(site):
    site.file("a-1.dist-info/RECORD")
    (site.folder / "a-1.dist-info" / "METADATA").symlink_to("METADATA")  # permissions would not bind root
    data = read(site)
    assert only(data)["complete"] is False
    assert [(u["what"].endswith("METADATA"), u["why"]) for u in data["unread"]] == [(True, os.strerror(errno.ELOOP))]


def test_metadata_that_is_a_folder_is_incomplete(site):
    (site.folder / "a-1.dist-info" / "METADATA").mkdir(parents=True)
    dist = only(read(site))
    assert (dist["name"], dist["complete"]) == ("a", False)


def test_a_path_entry_that_is_a_file_is_listed_with_the_reason(site, tmp_path):
    archive = tmp_path / "lib.zip"
    archive.write_bytes(b"PK")
    data = read(archive, site, tmp_path / "missing")
    assert [u["what"] for u in data["unread"]] == [str(archive)]


def test_a_record_with_quoted_names(site):
    record = '"torch_scatter/a,b_cpu.so",sha256=a,3\r\n"torch_scatter/_scatter_cuda.so",sha256=b,4\r\n'
    record += "torch_scatter/x.so.py,,\r\n"
    site.dist("torch-scatter", "2.1.2+pt213cu130", RECORD=record)
    site.file("torch_scatter/a,b_cpu.so", b"xyz")
    (extension,) = read(site)["extensions"]
    assert extension["libraries"] == ["torch_scatter/a,b_cpu.so"]
    assert extension["missing_files"] == ["torch_scatter/_scatter_cuda.so"]
    assert (extension["built_for_torch"], extension["built_for_cuda"]) == ("2.13", "13.0")


@pytest.mark.parametrize(
    ("text", "url", "editable"),
    [
        ('{"url": "file:///src/x", "dir_info": {"editable": true}}', "file:///src/x", True),
        ('{"url": "file:///src/x", "dir_info": {}}', "file:///src/x", False),
        ('{"url": "https://host/x.whl", "archive_info": {}}', "https://host/x.whl", False),
        ("[]", None, False),
        ("17", None, False),
        ('{"url": "x", "dir_info": null}', None, False),
        ("{", None, False),
        ("[" * 100_000, None, False),
        ("", None, False),
    ],
)
def test_direct_url(site, text, url, editable):
    site.dist("x", "1", **{"direct_url.json": text})
    dist = only(read(site))
    assert (dist["direct_url"], dist["editable"]) == (url, editable)


def test_one_name_twice_on_the_path_is_listed_twice_in_its_order(tmp_path):
    first, second = Site(tmp_path / "a"), Site(tmp_path / "b")
    first.dist("networkx", "3.1")
    second.dist("networkx", "3.2")
    assert [d["version"] for d in read(first, second)["distributions"]] == ["3.1", "3.2"]


@posix
def test_lib64_is_told_to_be_lib(tmp_path):
    lib = Site(tmp_path / "lib" / "site-packages")
    lib.dist("networkx", "3.2")
    (tmp_path / "lib64").symlink_to("lib")
    data = read(tmp_path / "lib64" / "site-packages", lib)
    linked, real = data["distributions"]
    assert linked["path"] != real["path"]
    assert linked["real_path"] == real["path"] and real["real_path"] is None


# -- what an import would find


def modules(*folders):
    return {m["name"]: m for m in read(*folders)["modules"]}


def test_a_namespace_folder_in_front_does_not_hide_a_package(tmp_path):
    cwd, site = Site(tmp_path / "cwd"), Site(tmp_path / "site-packages")
    cwd.file("apex/readme.txt")
    site.file("apex/__init__.py")
    site.dist("apex", "0.1")
    apex = modules(cwd, site)["apex"]
    assert (apex["kind"], apex["distribution"], apex["hides"]) == ("package", "apex", [])
    assert apex["path"] == str(site.folder / "apex")


def test_an_empty_folder_alone_is_a_namespace(tmp_path):
    cwd = Site(tmp_path / "cwd")
    (cwd.folder / "apex").mkdir()
    apex = modules(cwd)["apex"]
    assert (apex["kind"], apex["distribution"], apex["children"]) == ("namespace", None, [])


def test_a_checkout_in_front_hides_the_installed_package(tmp_path):
    cwd, site = Site(tmp_path / "cwd"), Site(tmp_path / "site-packages")
    cwd.file("torch_scatter/__init__.py")
    site.file("torch_scatter/__init__.py")
    site.dist("torch-scatter", "2.1.2")
    scatter = modules(cwd, site)["torch_scatter"]
    assert scatter["path"] == str(cwd.folder / "torch_scatter") and scatter["distribution"] is None
    assert scatter["hides"] == [str(site.folder / "torch_scatter")]


def test_an_editable_install_belongs_to_its_distribution(tmp_path):
    cwd, site = Site(tmp_path / "my src"), Site(tmp_path / "site-packages")
    cwd.file("torch_scatter/__init__.py")
    url = (cwd.folder).as_uri()
    site.dist(
        "torch-scatter",
        "2.1.2",
        **{"direct_url.json": json.dumps({"url": url, "dir_info": {"editable": True}})},
    )
    assert modules(cwd, site)["torch_scatter"]["distribution"] == "torch-scatter"


def test_python_takes_packages_before_extensions_before_modules(tmp_path):
    site = Site(tmp_path / "s")
    (site.folder / "numpy").mkdir()
    site.file("numpy.py")
    assert modules(site)["numpy"]["kind"] == "module"
    site.file("numpy" + inside.EXTENSION_SUFFIXES[0], b"")
    assert modules(site)["numpy"]["kind"] == "extension"
    site.file("numpy/__init__.py")
    assert modules(site)["numpy"]["kind"] == "package"


@posix
def test_a_link_to_itself_is_no_package_and_no_crash(site):
    (site.folder / "torch").symlink_to("torch")
    (site.folder / "apex").symlink_to("nowhere")
    (site.folder / "loop-1.dist-info").symlink_to("loop-1.dist-info")
    data = read(site)
    assert data["torch"] is None and data["modules"] == []


def hides(*folders):
    """What hides the standard library, as a fresh interpreter sees it, which has loaded little of it."""
    code = f"import sys, json; sys.path.insert(0, {str(INSIDE.parent)!r}); import inside; "
    code += f"print(json.dumps(inside.collect({list(map(str, folders))!r})['modules']))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60)
    return [m for m in json.loads(done.stdout) if m["standard_library"]]


def test_a_file_that_hides_the_standard_library(tmp_path):
    cwd = Site(tmp_path / "cwd")
    stdlib = str(Path(os.__file__).parent)
    for name in ("random.py", "test.py", "mine.py", "os.py"):
        cwd.file(name)
    cwd.file("email/readme.txt")  # a namespace folder: the standard library's package wins
    hiding = hides(cwd.folder, stdlib)
    assert [(m["name"], m["kind"]) for m in hiding] == [("random", "module")]
    assert hiding[0]["hides"] == [str(Path(stdlib) / "random.py")]
    assert hides(stdlib, cwd.folder) == [], "what stands behind the standard library hides nothing"


# -- torch


VERSION_FILES = {
    "as pip installs it": (
        "__version__ = '2.13.0+cu130'\ncuda = '13.0'\nhip = None\n",
        "2.13.0+cu130",
        "13.0",
        None,
    ),
    "annotated": (
        "from typing import Optional\n__version__ = '2.13.0+cpu'\ndebug = False\ncuda: Optional[str] = None\n"
        "git_version = '1'\nhip: Optional[str] = None\nrocm: Optional[str] = None\n",
        "2.13.0+cpu",
        None,
        None,
    ),
    "annotated with a CUDA": (
        '__version__ = "2.9.1+cu128"\ncuda: Optional[str] = "12.8"\n',
        "2.9.1+cu128",
        "12.8",
        None,
    ),
    "NVIDIA's container": (
        "__version__ = '2.6.0a0+ecf3bae40a.nv25.01'\ncuda = '12.8'\n",
        "2.6.0a0+ecf3bae40a.nv25.01",
        "12.8",
        None,
    ),
    "conda": ("__version__ = '2.5.1'\ncuda = '12.4'  # conda-forge\r\nhip = None\n", "2.5.1", "12.4", None),
    "ROCm": (
        "__version__ = '2.9.1+rocm6.4'\ncuda = None\nhip = '6.4.43482'\n",
        "2.9.1+rocm6.4",
        None,
        "6.4.43482",
    ),
}


@pytest.mark.parametrize("case", VERSION_FILES)
def test_torchs_version_file(site, case):
    text, version, cuda, hip = VERSION_FILES[case]
    site.torch()
    site.file("torch/version.py", text)
    torch = read(site)["torch"]
    assert (torch["version"], torch["cuda"], torch["hip"], torch["readable"]) == (version, cuda, hip, True)


def test_a_torch_whose_version_file_is_gone_is_installed_and_unreadable(site):
    site.torch()
    (site.folder / "torch/version.py").unlink()
    torch = read(site)["torch"]
    assert (torch["version"], torch["readable"], torch["cuda"]) == ("2.13.0", False, None)


def test_a_torch_with_a_missing_and_a_cut_library(site):
    site.torch(
        record="torch/lib/libtorch_cpu.so,sha256=a,10\ntorch/lib/libc10.so,sha256=b,7\ntorch/lib/libx.so,sha256=c,8\n"
    )
    site.file("torch/lib/libx.so", b"cut")
    torch = read(site)["torch"]
    assert torch["missing_files"] == ["torch/lib/libc10.so"] and torch["changed_files"] == ["torch/lib/libx.so"]


def test_metadata_of_torch_without_torch_is_a_torch_with_missing_files(site):
    site.dist("torch", "2.13.0", RECORD="torch/__init__.py,,\n")
    torch = read(site)["torch"]
    assert torch["missing_files"] == ["torch/__init__.py"] and torch["version"] == "2.13.0"


def test_no_torch_and_a_mere_folder_of_its_name(site):
    assert read(site)["torch"] is None
    site.file("torch/notes.txt")
    assert read(site)["torch"] is None


ARCHITECTURES = b"sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90a compute_90"


@pytest.mark.parametrize(
    "at", [0, 100, (1 << 20) - 1, (1 << 20) - 20, (1 << 20) - len(ARCHITECTURES), 1 << 20, (2 << 20) - 30]
)
def test_torchs_architectures_are_found_wherever_they_lie(site, at):
    site.torch()
    block = bytearray(b"\0" * ((2 << 20) + 4096))
    block[at : at + len(ARCHITECTURES)] = ARCHITECTURES
    site.file("torch/lib/libtorch_python.so", bytes(block))
    assert read(site)["torch"]["architectures"] == ARCHITECTURES.decode().split()


def test_a_cpu_torch_has_no_architectures_and_other_words_are_none(site):
    site.torch("2.13.0+cpu", "None")
    site.file("torch/lib/libtorch_python.so", b"\0sm_80 sm_90\0" + b"\0" * 4096)
    assert read(site)["torch"]["architectures"] == []
    site.torch()
    site.file("torch/lib/libtorch_python.so", b"\0sm_ alarm_90 sm_x\0" + b"\0" * 4096)
    assert read(site)["torch"]["architectures"] == []


# -- extensions


def test_an_extension_whose_record_is_missing_is_read_from_its_folder(site):
    site.torch()
    site.file("torch_scatter/__init__.py")
    site.file("torch_scatter/_scatter_cpu.so", b"x")
    site.file("torch_scatter/sub/_more_cuda.so.1", b"x")
    site.dist("torch-scatter", "2.1.2", WHEEL="Wheel-Version: 1.0\nTag: cp311-cp311-linux_x86_64\n")
    (extension,) = read(site)["extensions"]
    assert extension["libraries"] == ["torch_scatter/_scatter_cpu.so", "torch_scatter/sub/_more_cuda.so.1"]
    assert extension["wheel_tags"] == ["cp311-cp311-linux_x86_64"]


def test_the_packages_own_version_file_tells_more_than_its_metadata(site):
    site.torch()
    site.file("torchaudio/__init__.py")
    site.file("torchaudio/version.py", "__version__ = '2.1.0+cu121'\n")
    site.file("torchaudio/lib/a.so", b"x")
    site.dist("torchaudio", "2.1.0", "Requires-Dist: torch (==2.1.0)", RECORD="torchaudio/lib/a.so,,1\n")
    (extension,) = read(site)["extensions"]
    assert (extension["version"], extension["origin"]) == ("2.1.0+cu121", "torchaudio/version.py")
    assert extension["built_for_cuda"] == "12.1" and extension["requires_torch"] == ["torch (==2.1.0)"]


def test_a_package_unknown_to_the_kit_is_an_extension_by_its_requirement_and_its_libraries(site):
    site.torch()
    site.dist("brand-new-kernels", "0.1", "Requires-Dist: torch>=2.9", RECORD="brand_new_kernels/_C.abi3.so,,1\n")
    site.file("brand_new_kernels/_C.abi3.so", b"x")
    site.dist("pure-python", "0.1", "Requires-Dist: torch", RECORD="pure_python/a.py,,1\n")
    site.dist("namesake", "0.1", "Requires-Dist: torch-geometric", RECORD="namesake/_C.so,,1\n")
    assert [e["package"] for e in read(site)["extensions"]] == ["brand-new-kernels"]


def test_an_extension_older_than_torch_is_a_doubt(site):
    site.torch()
    site.dist("torch-scatter", "2.1.2", RECORD="torch_scatter/_scatter_cpu.so,,1\n")
    library = site.file("torch_scatter/_scatter_cpu.so", b"x")
    assert read(site)["extensions"][0]["older_than_torch"] is False
    os.utime(library, (1_000_000_000, 1_000_000_000))
    assert read(site)["extensions"][0]["older_than_torch"] is True


# -- other interpreters


@posix
def test_another_python_with_torch_is_named(tmp_path, monkeypatch):
    other = Site(tmp_path / "env" / "lib" / "python3.12" / "site-packages")
    other.torch("2.9.1+cu128")
    program = Site(tmp_path / "env" / "bin").file("python")
    program.chmod(0o755)
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path / "env"))
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "gone"))
    others = inside.collect([])["others"]
    assert {"how": "VIRTUAL_ENV", "python": str(program), "torch": "2.9.1+cu128"} in others
    assert not [o for o in others if "gone" in o["python"]]


def test_only_variables_that_matter_are_facts(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    variables = inside.collect([])["variables"]
    assert variables["CUDA_VISIBLE_DEVICES"] == "" and "AWS_SECRET_ACCESS_KEY" not in variables


# -- interpreters that are none


def program(folder, text, name="python"):
    file = folder / name
    file.write_text(text)
    file.chmod(0o755)
    return str(file)


def refused(python, **limits):
    with pytest.raises(KitError) as error:
        collect(str(python), **limits)
    line = str(error.value)
    assert "\n" not in line and str(python) in line and len(line) < 500
    return line


def test_a_directory_is_refused_and_a_venv_gives_its_python(tmp_path):
    assert "is a directory" in refused(tmp_path) and "did you mean" not in refused(tmp_path)
    (tmp_path / "bin").mkdir()
    python = program(tmp_path / "bin", "")
    assert f"did you mean {python}?" in refused(tmp_path)


def test_an_interpreter_that_is_not_there(tmp_path):
    assert "no such interpreter" in refused(tmp_path / "bin" / "python")
    assert "no such interpreter" in refused("python-that-is-nowhere")


@posix
def test_a_link_whose_file_is_gone(tmp_path):
    (tmp_path / "python").symlink_to(tmp_path / "gone")
    assert "is a link to a file that is gone" in refused(tmp_path / "python")


@posix
def test_a_file_that_is_not_executable(tmp_path):
    (tmp_path / "python").write_text("#!/bin/sh\n")
    assert "cannot be executed" in refused(tmp_path / "python")


@posix
def test_a_file_that_is_no_program(tmp_path):
    file = program(tmp_path, "")
    Path(file).write_bytes(b"\x7fELFnot really")
    assert "cannot be started: Exec format error" in refused(file)


@posix
def test_a_program_that_is_no_python(tmp_path):
    assert "does not answer as Python" in refused("/bin/ls")
    assert "no output (exit status 0)" in refused(program(tmp_path, "#!/bin/sh\nexit 0\n"))
    assert "does not answer as Python" in refused(program(tmp_path, "#!/bin/sh\necho '{\"python\": 1}'\n"))


@posix
def test_an_interpreter_that_fails_says_why(tmp_path):
    python = program(tmp_path, "#!/bin/sh\necho first >&2\necho 'Fatal Python error: init_fs_encoding' >&2\nexit 3\n")
    assert refused(python).endswith("Fatal Python error: init_fs_encoding (exit status 3)")


@posix
def test_an_interpreter_that_crashes_says_its_signal(tmp_path):
    assert "SIGSEGV" in refused(program(tmp_path, "#!/bin/sh\nkill -SEGV $$\n"))


@posix
def test_an_interpreter_that_hangs_meets_the_limit(tmp_path):
    started = time.monotonic()
    said = refused(program(tmp_path, "#!/bin/sh\nsleep 60\n"), limit=1)
    assert "no answer within 1 s" in said and time.monotonic() - started < 5


@posix
def test_noise_before_and_after_the_answer_does_no_harm(tmp_path):
    noisy = f"#!/bin/sh\necho 'warning: {{not json}} {{'\n'{sys.executable}' \"$@\"\necho '}} bye {{'\n"
    facts = collect(program(tmp_path, noisy))
    assert facts.python.version == ".".join(map(str, sys.version_info[:3]))


def test_a_json_py_in_the_working_directory_is_reported_and_not_run(tmp_path, monkeypatch):
    for name in ("json", "re", "contextlib"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('I was run')\n")
    monkeypatch.chdir(tmp_path)
    facts = collect(sys.executable)
    hiding = {m.name for m in facts.modules if m.standard_library}
    assert "json" in hiding, "a file that hides the standard library"
    assert kit.diagnose(facts).verdict == "broken"


@posix
def test_a_working_directory_that_was_deleted(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert collect(sys.executable).python.cwd == ""


def test_collecting_imports_nothing_of_the_environment(tmp_path):
    """A torch that writes a file when it is imported: reading it leaves no such file."""
    site = Site(tmp_path / "packages")
    for name in ("torch", "apex", "networkx"):
        site.file(f"{name}/__init__.py", f"open({str(tmp_path / 'imported')!r}, 'w')")
        site.dist(name, "1.0")
    site.file("torch/version.py", "__version__ = '1.0'\ncuda = None\n")
    front = [str(site.folder), str(INSIDE.parents[2])]
    code = f"import sys; sys.path[:0] = {front!r}; import kit; print(kit.collect().torch.location)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(site.folder / "torch"), done.stderr
    assert not (tmp_path / "imported").exists()


# -- processes


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:  # a zombie is dead
        return stat.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
def test_at_the_limit_grandchildren_are_killed_too(tmp_path):
    file = tmp_path / "pids"
    script = f"sleep 60 & echo $! > {file}; echo $$ >> {file}; echo said; sleep 60"
    outcome = run(["/bin/sh", "-c", script], 1)
    assert outcome == Outcome(None, "said\n", "")
    pids = [int(word) for word in file.read_text().split()]
    deadline = time.monotonic() + 3
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(pids) == 2 and not any(map(alive, pids))


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")
def test_a_child_that_left_its_group_is_not_waited_for(tmp_path):
    file = tmp_path / "pid"
    code = f"import os, time; os.setsid(); open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(30)"
    script = "import subprocess, sys, time; print('said', flush=True); "
    script += f"subprocess.Popen([sys.executable, '-c', {code!r}]); time.sleep(30)"
    started = time.monotonic()
    outcome = run([sys.executable, "-c", script], 1)
    took = time.monotonic() - started
    os.kill(int(file.read_text()), 9)
    assert outcome.status is None and "said" in outcome.out and took < 8


@posix
def test_a_process_gets_no_input_and_its_status_is_a_fact():
    assert run(["/bin/sh", "-c", "cat; exit 7"], 5) == Outcome(7)
    outcome = run(["/bin/sh", "-c", "kill -ABRT $$"], 5)
    assert outcome.status == -6 and outcome.signal == "SIGABRT"
    assert run(["/bin/sh", "-c", r"printf '\377\303'"], 5).out == "\ufffd\ufffd"
    assert run([sys.executable, "-c", "import os; print(os.environ['ONLY'])"], 5, {"ONLY": "this"}).out == "this\n"
    with pytest.raises(OSError):
        run(["/nowhere/at/all"], 5)


# -- imports that the files leave in doubt


def outcomes(**by_name):
    """A runner that answers for each import and keeps what was asked."""
    asked = []

    def runner(argv, limit, started=None):
        name = argv[-1].rpartition(" ")[2]
        asked.append(argv[-1])
        return by_name.get(name, Outcome(0))

    return runner, asked


def test_a_healthy_environment_starts_no_process():
    for name in ("healthy-cpu", "healthy-gpu"):
        runner, asked = outcomes()
        assert probe.run_probes(kit.machine(name), "python", 1, runner) == [] and asked == []


def test_what_is_in_doubt_is_imported_after_torch():
    runner, asked = outcomes(torchaudio=Outcome(-11, "", ""))
    torch, audio = probe.run_probes(kit.machine("torchaudio-of-another-torch"), "python", 1, runner)
    assert asked == ["import torch", "import torch, torchaudio"]
    assert torch.ok and audio.status == -11 and audio.error == "SIGSEGV"


def test_where_torch_does_not_load_nothing_else_is_tried():
    runner, asked = outcomes(torch=Outcome(1, "", "OSError: libc10.so: cannot open"))
    (torch,) = probe.run_probes(kit.machine("torchaudio-of-another-torch"), "python", 1, runner)
    assert torch.error == "OSError: libc10.so: cannot open" and asked == ["import torch"]


def test_an_import_that_runs_out_of_time_is_a_fact():
    runner, _ = outcomes(torch=Outcome(None))
    (torch,) = probe.run_probes(kit.machine("torch-broken"), "python", 7, runner)
    assert torch.status is None and torch.error == "no answer within 7 s"


@pytest.mark.parametrize(
    ("err", "said"),
    [
        ("Traceback:\n  File x\nOSError: a.so: undefined symbol: b\n", "OSError: a.so: undefined symbol: b"),
        (
            "Traceback:\nImportError: the cause\n\nDuring handling ...\n\nRuntimeError: the envelope\n",
            "ImportError: the cause",
        ),
        (
            "Traceback:\n    raise ValueError: not this one\ntorch.cuda.OutOfMemoryError: this\n",
            "torch.cuda.OutOfMemoryError: this",
        ),
        ("terminate called\nAborted\n", "Aborted"),
        ("", "exit status 1"),
    ],
)
def test_the_line_that_tells_most(err, said):
    assert probe.last_error(Outcome(1, "", err)) == said


# -- the running process


def disk(**versions):
    torch = {"version": versions["torch"]} if "torch" in versions else None
    dists = [{"name": n, "version": v, "leftover": False} for n, v in versions.items() if n != "torch"]
    return {"distributions": dists, "extensions": [], "modules": [], "torch": torch}


def module(name, **values):
    made = types.ModuleType(name)
    made.__dict__.update(values)
    return made


def test_what_is_loaded_stands_beside_what_is_on_disk(tmp_path):
    loaded = {"torch": module("torch", __version__="2.12.1"), "numpy": module("numpy", __version__="2.0")}
    said = kernel.read(disk(torch="2.13.0", numpy="2.0", pandas="3"), loaded, str(tmp_path / "no maps"))
    assert said["kind"] == "process"
    assert [(m["name"], m["version"], m["on_disk"]) for m in said["modules"]] == [
        ("numpy", "2.0", "2.0"),
        ("torch", "2.12.1", "2.13.0"),
    ]


def test_a_notebook_is_told_from_a_script(tmp_path):
    assert kernel.read(disk(), {"ipykernel": module("ipykernel")}, str(tmp_path / "none"))["kind"] == "notebook"


def test_a_lazy_module_is_not_woken():
    class Lazy(types.ModuleType):
        def __getattr__(self, name):
            raise AssertionError(f"{name} was looked up")

    said = kernel.read(disk(torch="2.13.0"), {"torch": Lazy("torch"), "numpy": None}, "/nowhere")
    assert said["modules"] == [{"name": "torch", "version": None, "on_disk": "2.13.0", "replaced": []}]


def test_libraries_that_were_replaced_belong_to_their_module(tmp_path):
    maps = tmp_path / "maps"
    maps.write_text(
        "7f00-7f01 r-xp 00000000 08:01 12 /v/my site/torch/lib/libc10.so (deleted)\n"
        "7f01-7f02 r--p 00000000 08:01 12 /v/my site/torch/lib/libc10.so (deleted)\n"
        "7f02-7f03 r-xp 00000000 08:01 13 /v/my site/torch/lib/libtorch.so\n"
        "7f03-7f04 rw-s 00000000 00:01 14 /dev/shm/sem.x (deleted)\n"
        "7f04-7f05 r-xp 00000000 08:01 15 /v/my site/torchaudio/lib/a.so (deleted)\n"
        "7f05-7f06 rw-p 00000000 00:00 0 \n"
    )
    torch = module("torch", __file__="/v/my site/torch/__init__.py", __version__="2.13.0")
    six = module(
        "six", __file__="/v/my site/six.py", __version__="1.17.0"
    )  # one file: its neighbours are not its own
    data = disk(torch="2.13.0", six="1.17.0")
    of_six, of_torch = kernel.read(data, {"torch": torch, "six": six}, str(maps))["modules"]
    assert (of_six["name"], of_six["replaced"]) == ("six", [])
    assert of_torch["replaced"] == ["/v/my site/torch/lib/libc10.so"]


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs /proc")
def test_a_library_that_is_really_replaced_while_it_is_loaded(tmp_path):
    """A real process maps a real library, which is then deleted."""
    import _ctypes

    copy = tmp_path / "torch" / "copy.so"
    copy.parent.mkdir()
    copy.write_bytes(Path(_ctypes.__file__).read_bytes())
    code = f"""
        import ctypes, os, sys, types
        from kit.collect import kernel
        ctypes.CDLL({str(copy)!r})
        os.remove({str(copy)!r})
        torch = types.ModuleType("torch")
        torch.__file__ = {str(copy.parent / "__init__.py")!r}
        disk = {{"distributions": [], "extensions": [], "modules": [], "torch": {{"version": "1"}}}}
        print(kernel.read(disk, {{"torch": torch}})["modules"][0]["replaced"])
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == repr([str(copy)]), done.stderr


def test_the_interpreter_may_be_named_as_a_command(monkeypatch):
    monkeypatch.setenv("PATH", os.path.dirname(sys.executable), prepend=os.pathsep)
    assert interpreter(os.path.basename(sys.executable)) == sys.executable


def test_a_version_that_is_more_than_text_becomes_text():
    class Version(str):  # torch.__version__ is of such a class
        pass

    module = types.SimpleNamespace(__version__=Version("2.13.0+cpu"), __file__="/v/torch/__init__.py")
    data = {"distributions": [], "extensions": [], "modules": [], "torch": {"version": "2.13.0+cpu"}}
    (found,) = kernel.read(data, {"torch": module}, "/no/such/maps")["modules"]
    assert type(found["version"]) is str


def test_a_licence_text_with_blank_lines_does_not_end_the_header(site):
    site.file(
        "scipy-1.10.1.dist-info/METADATA",
        b"Metadata-Version: 2.1\nName: scipy\nVersion: 1.10.1\nLicense: Copyright\n        All rights.\n        \n"
        b"        Redistribution\nRequires-Dist: numpy (<1.27.0,>=1.19.5)\n\nRequires-Dist: numpy (in the text)\n",
    )
    assert only(read(site))["requires"] == ["numpy (<1.27.0,>=1.19.5)"]


@posix
def test_a_record_that_cannot_be_read_is_listed_with_the_reason(site):
    site.file("torch-2.1.0.dist-info/METADATA", "Name: torch\nVersion: 2.1.0\n")
    (site.folder / "torch-2.1.0.dist-info" / "RECORD").symlink_to("RECORD")  # permissions would not bind root
    (unread,) = read(site)["unread"]
    assert unread["what"].endswith("torch-2.1.0.dist-info/RECORD")
    assert unread["why"] == os.strerror(errno.ELOOP)
