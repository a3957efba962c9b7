"""Building extensions from source: small real projects, real compilers, and toolkits that only answer questions."""

import ast
import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, Environment

from kit.build import BuildFailed, Built, build, cache_folder, flags, key, nvcc, toolchain
from kit.build.nvcc import CannotBuild, Toolkit
from kit.data import table
from kit.errors import KitError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compilers and toolkits as Linux has them")

SETUP = """
from setuptools import Extension, setup
setup(name="tiny", version="1.0", ext_modules=[Extension("tiny", ["tiny.c"])])
"""
TINY = """
#include <Python.h>
static PyObject *value(PyObject *self, PyObject *none) { return PyLong_FromLong(VALUE); }
static PyMethodDef methods[] = {{"value", value, METH_NOARGS, ""}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "tiny", "", -1, methods};
PyMODINIT_FUNC PyInit_tiny(void) { return PyModule_Create(&module); }
"""


def project(folder: Path, setup: str = SETUP, **files: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "setup.py").write_text(setup)
    for name, text in (files or {"tiny.c": TINY.replace("VALUE", "7")}).items():
        (folder / name).write_text(text)
    return folder


def sdist(folder: Path, where: Path) -> Path:
    where.mkdir(exist_ok=True)
    file = where / f"{folder.name}.tar.gz"
    with tarfile.open(file, "w:gz") as tar:
        tar.add(folder, arcname=folder.name)
        info = f"Metadata-Version: 2.1\nName: tiny\nVersion: {folder.name.rpartition('-')[2]}\n".encode()
        entry = tarfile.TarInfo(f"{folder.name}/PKG-INFO")
        entry.size = len(info)
        tar.addfile(entry, io.BytesIO(info))
    return file


def pretend_torch(
    site: Path, version: str = "2.13.0+cpu", cuda: "str | None" = None, hip: "str | None" = None
) -> None:
    (site / "torch").mkdir(exist_ok=True)
    (site / "torch" / "__init__.py").touch()
    (site / "torch" / "version.py").write_text(
        f"__version__ = {version!r}\ngit_version = 'abc'\ncuda = {cuda!r}\nhip = {hip!r}\n"
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Environment:
    """An environment with setuptools and what looks like a torch for CPU."""
    made = Environment(tmp_path_factory.mktemp("place") / "venv")
    made.share("setuptools", "wheel")
    pretend_torch(made.site)
    return made


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("#!/bin/sh\n" + textwrap.dedent(text))
    file.chmod(0o755)
    return file


def tried(wheel: str, code: str, python: str = sys.executable) -> str:
    folder = Path(wheel + ".unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    done = subprocess.run([python, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def left(cache: Path) -> list[str]:
    """What lies in the cache beside logs and folders; os.walk passes over what is removed meanwhile."""
    found = list(os.walk(cache))
    parts = [name for _, folders, _ in found for name in folders if name.startswith(".part-")]
    return sorted(name for _, _, files in found for name in files if name != "build.log") + parts


# --- building -------------------------------------------------------------------------------------


def test_a_folder_becomes_a_wheel_that_works_and_is_kept(place, cache, tmp_path):
    moments = []
    source = str(project(tmp_path / "tiny"))
    made = build("tiny", "1.0", str(place.python), str(cache), source=source, progress=moments.append)
    assert tried(made.path, "import tiny; print(tiny.value())") == "7"
    assert not made.from_cache and made.seconds > 0
    with zipfile.ZipFile(made.path) as archive:
        (compiled,) = (archive.read(name) for name in archive.namelist() if name.endswith(".so"))
    assert b"tiny" in compiled and b".debug_info" not in compiled
    assert moments[0].what == "checking"
    last = moments[-1]
    assert last.what == "compiling"
    assert (last.done, last.total) == (1, 1) and last.usual > 0 and last.elapsed > 0
    assert not (tmp_path / "tiny" / "build").exists(), "the person's folder is left as it was"

    again = build("tiny", "1.0", str(place.python), str(cache), source=source)
    assert again == Built(made.path, again.seconds, True) and again.seconds < 2


def test_a_changed_source_or_flag_is_another_build(place, cache, tmp_path):
    source = project(tmp_path / "tiny")
    python, first = str(place.python), None
    for change in ({}, {"CFLAGS": "-DCHANGED"}, None):
        if change is None:
            (source / "tiny.c").write_text(TINY.replace("VALUE", "8"))
        env = {**os.environ, **(change or {})}
        made = build("tiny", "1.0", python, str(cache), source=str(source), env=env)
        assert not made.from_cache and made.path != first
        first = first or made.path
    assert tried(made.path, "import tiny; print(tiny.value())") == "8"


def test_debug_information_is_left_out_unless_somebody_asks_for_it(place, cache, tmp_path):
    setup = SETUP.replace('["tiny.c"]', '["tiny.c"], extra_compile_args=["-g"]')
    for number, (text, env) in enumerate([(setup, {}), (SETUP, {"CFLAGS": "-O1 -g"})]):
        source = str(project(tmp_path / str(number), text))
        made = build("tiny", "1.0", str(place.python), str(cache), source=source, env={**os.environ, **env})
        with zipfile.ZipFile(made.path) as archive:
            assert any(b".debug_info" in archive.read(name) for name in archive.namelist() if name.endswith(".so"))


def test_files_of_one_name_in_two_extensions_of_a_real_torch_keep_apart(lab_python, cache, tmp_path):
    setup = """
        from setuptools import setup
        from torch.utils.cpp_extension import BuildExtension, CppExtension
        def extension(number):
            args = {"cxx": ["-O1", f"-DVALUE={number}"]}
            return CppExtension(f"tiny_{number}.tiny", ["tiny.cpp", "other.cpp"], extra_compile_args=args)
        build_ext = BuildExtension.with_options(no_python_abi_suffix=True, use_ninja=False)
        extensions = [extension(3), extension(4)]
        setup(name="tiny", version="1.0", ext_modules=extensions, cmdclass={"build_ext": build_ext})
    """
    files = {"tiny.cpp": TINY.replace("VALUE", "other()").replace("static PyO", "int other();\nstatic PyO", 1)}
    files["other.cpp"] = "int other() { return VALUE; }\n"
    source = str(project(tmp_path / "tiny", textwrap.dedent(setup), **files))
    moments = []
    made = build("tiny", "1.0", lab_python, str(cache), source=source, progress=moments.append)
    code = "import tiny_3.tiny, tiny_4.tiny; print(tiny_3.tiny.value(), tiny_4.tiny.value())"
    assert tried(made.path, code) == "3 4"
    assert max(m.total or 0 for m in moments) == 4
    log = (Path(made.path).parent / "build.log").read_text()
    assert log.count("kit: 4 of 4 files compiled") == 1


def test_each_file_is_compiled_once(place, cache, tmp_path):
    compiler = script(tmp_path / "cc", f'echo "$*" >> {tmp_path}/calls\nexec gcc "$@"\n')
    setup = SETUP.replace('["tiny.c"]', '["tiny.c", "more.c"]')
    source = str(project(tmp_path / "tiny", setup, **{"tiny.c": TINY.replace("VALUE", "7"), "more.c": "int more;\n"}))
    build("tiny", "1.0", str(place.python), str(cache), source=source, env={**os.environ, "CC": str(compiler)})
    calls = (tmp_path / "calls").read_text().splitlines()
    assert sorted(re.findall(r" -c (\w+\.c) ", "\n".join(calls))) == ["more.c", "tiny.c"]
    assert sum("-shared" in call for call in calls) == 1


PARTS = """
    from setuptools import Extension, setup
    names = ["tiny.cpp", "part/one.cpp", "part/two.cpp"]
    setup(name="tiny", version="1.0", ext_modules=[Extension("tiny", names, extra_compile_args=["-DONE=1"])])
"""
HELPER = "static int helper() { return NUMBER; }\nint name() { return helper() + ONE; }\n"


@pytest.mark.parametrize(
    ("jobs", "clash", "compiled"),
    [
        (1, False, [["one.cpp", "tiny.cpp", "two.cpp"]]),
        (2, False, [["one.cpp", "two.cpp"], ["tiny.cpp"]]),
        (3, False, [["one.cpp"], ["tiny.cpp"], ["two.cpp"]]),
        (1, True, [["one.cpp"], ["one.cpp", "tiny.cpp", "two.cpp"], ["tiny.cpp"], ["two.cpp"]]),
    ],
)
def test_files_of_one_library_are_compiled_as_one_where_compilers_are_few(
    place, cache, tmp_path, monkeypatch, jobs, clash, compiled
):
    monkeypatch.setattr(toolchain, "how_many", lambda env: jobs)
    record = f"""
        case "$*" in *" -c - "*) cat > {tmp_path}/unit.$$; exec g++ "$@" < {tmp_path}/unit.$$;; esac
        case "$*" in *.cpp*) echo "$*" > {tmp_path}/file.$$;; esac
        exec g++ "$@"
        """
    compiler = script(tmp_path / "c++", record)
    files = {"tiny.cpp": "int one(); int two();\n" + TINY.replace("VALUE", "one() + two()")}
    folder = project(tmp_path / "tiny", textwrap.dedent(PARTS), **files)
    (folder / "part").mkdir()
    (folder / "part" / "number.h").write_text("#define NUMBER 20\n")  # found beside the file that includes it
    for name in ("one", "two"):
        text = HELPER.replace("name", name).replace("helper", "helper" if clash else f"helper_{name}")
        (folder / "part" / f"{name}.cpp").write_text('#include "number.h"\n' + text)
    env = {**os.environ, "CC": str(compiler), "CXX": str(compiler)}
    made = build("tiny", "1.0", str(place.python), str(cache), source=str(folder), env=env)
    assert tried(made.path, "import tiny; print(tiny.value())") == "42"
    texts = [file.read_text() for pattern in ("unit.*", "file.*") for file in tmp_path.glob(pattern)]
    asked = [sorted(re.findall(r"(\w+\.cpp)", text)) for text in texts]
    assert sorted(names for names in asked if names) == compiled
    assert ("do not compile as one" in (Path(made.path).parent / "build.log").read_text()) == clash


def test_files_compiled_as_one_are_named_in_messages_as_ever(place, cache, tmp_path):
    files = {"tiny.cpp": "const char *where();\n" + TINY.replace("FromLong(VALUE)", "FromLong(where()[0])")}
    files["other.cpp"] = "const char *where() { return __FILE__; }\n"
    setup = SETUP.replace('["tiny.c"]', '["tiny.cpp", "other.cpp"]')
    source = str(project(tmp_path / "tiny", setup, **files))
    made = build("tiny", "1.0", str(place.python), str(cache), source=source, env={**os.environ, "MAX_JOBS": "1"})
    assert tried(made.path, "import tiny; print(chr(tiny.value()))") == "o"  # other.cpp, not /some/folder/other.cpp


def test_a_project_that_compiles_in_its_own_way_is_built_in_its_own_way(place, cache, tmp_path):
    setup = """
        from setuptools import Extension, setup
        from setuptools.command.build_ext import build_ext
        class Own(build_ext):
            def build_extension(self, extension):
                super().build_extension(extension)
                assert open(self.get_ext_fullpath(extension.name), "rb").read(4) == bytes([127]) + b"ELF"
        setup(name="tiny", version="1.0", ext_modules=[Extension("tiny", ["tiny.c"])], cmdclass={"build_ext": Own})
    """
    source = str(project(tmp_path / "tiny", textwrap.dedent(setup)))
    made = build("tiny", "1.0", str(place.python), str(cache), source=source)
    assert tried(made.path, "import tiny; print(tiny.value())") == "7"
    assert "nothing is done ahead" in (Path(made.path).parent / "build.log").read_text()


def test_a_project_whose_rehearsal_fails_is_built_all_the_same(place, cache, tmp_path):
    setup = """
        import os
        from setuptools import Extension, setup
        class Shy(Extension):
            @property
            def depends(self):
                assert os.getpid() == first
                return []
            @depends.setter
            def depends(self, value):
                pass
        first = os.getpid()
        setup(name="tiny", version="1.0", ext_modules=[Shy("tiny", ["tiny.c"])])
    """
    source = str(project(tmp_path / "tiny", textwrap.dedent(setup)))
    made = build("tiny", "1.0", str(place.python), str(cache), source=source)
    assert tried(made.path, "import tiny; print(tiny.value())") == "7"
    assert "the rehearsal failed" in (Path(made.path).parent / "build.log").read_text()


def test_a_compiler_that_lacks_memory_is_run_again_alone(place, cache, tmp_path):
    mark = tmp_path / "tried"
    compiler = script(
        tmp_path / "cc",
        f"""\
        case "$*" in *tiny.c*) if [ ! -e {mark} ]; then touch {mark}
            echo "gcc: fatal error: Killed signal terminated program cc1" >&2; exit 1; fi;; esac
        exec gcc "$@"
        """,
    )
    source = str(project(tmp_path / "tiny"))
    env = {**os.environ, "CC": str(compiler)}
    made = build("tiny", "1.0", str(place.python), str(cache), source=source, env=env)
    assert tried(made.path, "import tiny; print(tiny.value())") == "7" and mark.exists()


def test_setuptools_is_brought_for_the_build_alone_where_there_is_none(cache, tmp_path):
    bare = Environment(tmp_path / "venv")
    pretend_torch(bare.site)
    whole = Environment(tmp_path / "whole")
    whole.share("setuptools", "wheel")
    pip = tmp_path / "pip.py"
    pip.write_text(
        "import shutil, sys\n"
        f"assert sys.argv[1] == 'install' and 'setuptools' in sys.argv\nshutil.copytree({str(whole.site)!r}, "
        "sys.argv[sys.argv.index('--target') + 1], dirs_exist_ok=True)\n"
    )
    source = str(project(tmp_path / "tiny"))
    made = build("tiny", "1.0", str(bare.python), str(cache), source=source, pip=[sys.executable, str(pip)])
    assert tried(made.path, "import tiny; print(tiny.value())") == "7"
    assert not list(bare.site.glob("setuptools*"))


# --- fetching -------------------------------------------------------------------------------------


@pytest.fixture
def fetching(place, tmp_path):
    """(arguments, variables) with which pip finds tiny 1.0 in a folder."""
    file = sdist(project(tmp_path / "tiny-1.0"), tmp_path / "index")
    pip = [sys.executable, "-m", "pip", "--python", str(place.python)]
    found = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    env = {**found, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(file.parent), "PIP_CONFIG_FILE": os.devnull}
    return file, pip, {**env, "PIP_ONLY_BINARY": ":all:", "PIP_TARGET": "/nowhere"}


def test_pip_fetches_the_source_whatever_its_settings_say(place, cache, fetching):
    file, pip, env = fetching
    right = hashlib.sha256(file.read_bytes()).hexdigest()
    made = build("tiny", "1.0", str(place.python), str(cache), pip=pip, env=env, sha256=right)
    assert tried(made.path, "import tiny; print(tiny.value())") == "7"


def test_a_source_with_another_hash_is_not_run(place, cache, fetching, tmp_path):
    file, pip, env = fetching
    with pytest.raises(BuildFailed, match=r"fetching tiny 1\.0 failed: .*HASHES.*its log is"):
        build("tiny", "1.0", str(place.python), str(cache), pip=pip, env=env, sha256="0" * 64)
    with pytest.raises(BuildFailed, match=r"tiny-1\.0\.tar\.gz is not what was asked for: its sha256 is "):
        build("tiny", "1.0", str(place.python), str(cache), source=str(file), sha256="0" * 64)
    assert left(cache) == []


def test_a_version_that_nobody_has_is_said_in_pips_words(place, cache, fetching):
    _, pip, env = fetching
    with pytest.raises(
        BuildFailed, match=r"fetching tiny 9\.9 failed: .*No matching distribution found for tiny==9\.9"
    ):
        build("tiny", "9.9", str(place.python), str(cache), pip=pip, env=env)
    assert left(cache) == []


def test_a_damaged_source_is_refused(place, cache, fetching, tmp_path):
    file, _, _ = fetching
    half = tmp_path / "half.tar.gz"
    half.write_bytes(file.read_bytes()[:200])
    noise = tmp_path / "noise.tar.gz"
    noise.write_bytes(b"not an archive")
    for damaged in (half, noise):
        with pytest.raises(BuildFailed, match=r"\.tar\.gz is damaged .*fetch it again"):
            build("tiny", "1.0", str(place.python), str(cache), source=str(damaged))
    with pytest.raises(CannotBuild, match="cannot be read"):
        build("tiny", "1.0", str(place.python), str(cache), source=str(tmp_path / "none.tar.gz"))
    assert left(cache) == []


@pytest.mark.parametrize("name, kind", [("../outside", b"0"), ("/outside", b"0"), ("link", b"2"), ("pipe", b"6")])
def test_a_source_cannot_write_elsewhere(place, cache, tmp_path, name, kind):
    file = tmp_path / "bad.tar"
    with tarfile.open(file, "w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc/passwd"
        tar.addfile(entry)
    with pytest.raises(BuildFailed, match="is damaged"):
        build("tiny", "1.0", str(place.python), str(cache), source=str(file))
    assert left(cache) == []


# --- failing, stopping ----------------------------------------------------------------------------


def test_a_failing_compiler_is_quoted_and_leaves_nothing(place, cache, tmp_path):
    source = str(project(tmp_path / "tiny", **{"tiny.c": "#include <no_such_file.h>\n"}))
    with pytest.raises(BuildFailed) as failure:
        build("tiny", "1.0", str(place.python), str(cache), source=source)
    text = str(failure.value)
    assert re.match(r"compiling tiny 1\.0 failed: tiny\.c:1:10: fatal error: no_such_file\.h: No such file", text)
    assert isinstance(failure.value, KitError) and "\n" not in text
    log = Path(text.rpartition(" ")[2])
    assert log.name == "build.log" and "no_such_file.h" in log.read_text()
    assert left(cache) == []


def test_a_setup_that_raises_is_quoted(place, cache, tmp_path):
    source = str(project(tmp_path / "tiny", "raise RuntimeError('set FOO first')\n"))
    with pytest.raises(BuildFailed, match="RuntimeError: set FOO first"):
        build("tiny", "1.0", str(place.python), str(cache), source=source)


@pytest.fixture
def slowly(tmp_path):
    """Variables with a C compiler that takes a minute, and a function that tells whether it runs."""
    pid = tmp_path / "compiler.pid"
    compiler = script(tmp_path / "cc", f'case "$*" in *tiny.c*) echo $$ > {pid}; sleep 60;; esac\nexec gcc "$@"\n')

    def runs() -> bool:
        if not pid.exists() or not pid.read_text().strip():
            return False
        try:
            return ") Z " not in Path(f"/proc/{pid.read_text().strip()}/stat").read_text()
        except OSError:
            return False

    return {**os.environ, "CC": str(compiler)}, runs


def test_an_interrupted_build_leaves_nothing(place, cache, tmp_path, slowly):
    env, runs = slowly

    def interrupt(moment):
        if runs():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        source = str(project(tmp_path / "tiny"))
        build("tiny", "1.0", str(place.python), str(cache), source=source, env=env, progress=interrupt)
    wait_for(lambda: not runs())
    assert left(cache) == []


def test_a_killed_builder_leaves_nothing(place, cache, tmp_path, slowly):
    env, runs = slowly
    source = str(project(tmp_path / "tiny"))
    code = (
        f"from kit.build import build; build('tiny', '1.0', {str(place.python)!r}, {str(cache)!r}, source={source!r})"
    )
    builder = subprocess.Popen([sys.executable, "-c", code], env={**env, "PYTHONPATH": str(ROOT)})
    wait_for(runs)
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    wait_for(lambda: not runs() and left(cache) == [])


def test_what_a_killed_build_left_is_removed_by_the_next(place, cache, tmp_path):
    source = str(project(tmp_path / "tiny"))
    made = build("tiny", "1.0", str(place.python), str(cache), source=source)
    folder = Path(made.path).parent
    Path(made.path).unlink()
    (folder / ".part-old").mkdir()
    (folder / ".part-old" / "half.whl").write_text("half")
    build("tiny", "1.0", str(place.python), str(cache), source=source)
    assert left(cache) == [Path(made.path).name]


def test_a_kept_wheel_that_is_damaged_is_built_again(place, cache, tmp_path):
    source = str(project(tmp_path / "tiny"))
    made = build("tiny", "1.0", str(place.python), str(cache), source=source)
    Path(made.path).write_bytes(Path(made.path).read_bytes()[:300])
    again = build("tiny", "1.0", str(place.python), str(cache), source=source)
    assert not again.from_cache and tried(again.path, "import tiny; print(tiny.value())") == "7"


def test_two_that_build_the_same_build_it_once(place, cache, tmp_path):
    source, results, whats = str(project(tmp_path / "tiny")), [], []

    def one() -> None:
        made = build(
            "tiny", "1.0", str(place.python), str(cache), source=source, progress=lambda m: whats.append(m.what)
        )
        results.append(made)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made.from_cache for made in results) == [False, True] and "waiting" in whats
    assert len({made.path for made in results}) == 1


def wait_for(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


# --- what is missing ------------------------------------------------------------------------------


def target(site: Path, **values) -> toolchain.Target:
    """What an interpreter with this site-packages folder would say of itself."""
    file = toolchain.inside.version_file(str(site / "torch" / "version.py")) if (site / "torch").exists() else None
    torch = file and nvcc.Torch(str(site / "torch"), file["__version__"] or "", cuda=file["cuda"], hip=file["hip"])
    said = toolchain.Target(
        python="python3",
        version="3.11.7",
        prefix=str(site.parent),
        paths=(str(site),),
        include="/usr/include/python3.11",
        headers=True,
        soabi="cpython-311-x86_64-linux-gnu",
        platform="linux-x86_64-glibc2.36",
        cxx="g++ -pthread",
        versions={},
        torch=torch,
    )
    return dataclasses.replace(said, **values)


GCC = """
case "$1" in
--version) echo "g++ (Debian) {0}"; echo "Copyright (C) 2022 Free Software Foundation, Inc.";;
-dump*) echo {0};;
esac
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """An empty PATH, no toolkits, a torch for CUDA 13.0: (site-packages, PATH folder, variables)."""
    site, tools = tmp_path / "site", tmp_path / "tools"
    site.mkdir()
    pretend_torch(site, "2.13.0+cu130", "13.0")
    script(tools / "g++", GCC.format("12.2.0"))
    monkeypatch.setattr(nvcc, "USUAL_PLACE", str(tmp_path / "usr-local"))
    return site, tools, {"PATH": str(tools)}


def pretend_toolkit(folder: Path, version: str, codes: str = "", library: str = "lib64/libcudart.so") -> Path:
    listing = "".join(f"echo sm_{code}; " for code in codes.split())
    said = f'case "$1" in --version) echo "Cuda compilation tools, release {version}, V{version}.1";;\n'
    script(folder / "bin" / "nvcc", said + f"--list-gpu-code) {listing or 'exit 1'};; esac\n")
    for name in [*(f"include/{header}" for header in nvcc.HEADERS), library]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_without_torch_nothing_is_tried(cache, tmp_path):
    bare = Environment(tmp_path / "venv")
    with pytest.raises(
        CannotBuild, match=r"has no torch, and torch-scatter is compiled against it; install torch first"
    ):
        build("torch-scatter", "2.1.2", str(bare.python), str(cache))
    assert not cache.exists()
    (bare.site / "torch").mkdir()  # what an uninstallation left is no torch
    with pytest.raises(CannotBuild, match="has no torch"):
        build("torch-scatter", "2.1.2", str(bare.python), str(cache))


@pytest.mark.parametrize("package, version", [("-r x", "1"), ("tiny", "1\n--index-url=x"), ("", "1"), ("tiny", "")])
def test_a_name_that_is_none_reaches_no_pip(place, cache, package, version):
    with pytest.raises(CannotBuild, match="is no name and version"):
        build(package, version, str(place.python), str(cache))


def test_an_interpreter_that_does_not_answer_is_named(cache, tmp_path):
    silent = script(tmp_path / "python", "echo broken >&2; exit 1\n")
    for python, reason in ((silent, "broken"), (tmp_path / "none", "No such file"), (Path("/bin/true"), "")):
        with pytest.raises(CannotBuild, match=rf"{python} does not answer \(.*{reason}"):
            build("tiny", "1.0", str(python), str(cache))


@pytest.mark.parametrize(
    "torch, change, words",
    [
        ({"version": "2.13.0+rocm7.2", "hip": "7.2"}, {}, "is a ROCm build, for which this kit has no recipe"),
        ({}, {"headers": False}, r"Python\.h\).*apt install python3\.11-dev, .*dnf install python3-devel"),
    ],
)
def test_what_cannot_be_compiled_for_is_refused(tmp_path, torch, change, words):
    pretend_torch(tmp_path, **torch)
    with pytest.raises(CannotBuild, match=words):
        toolchain.toolchain("torch-scatter", target(tmp_path, **change), os.environ)


def test_without_a_compiler_the_package_that_has_one_is_named(machine):
    site, tools, env = machine
    pretend_torch(site)
    (tools / "g++").unlink()
    words = r"no C\+\+ compiler was found \(g\+\+, c\+\+, clang\+\+\); on Debian and Ubuntu: apt install g\+\+"
    with pytest.raises(CannotBuild, match=words):
        toolchain.toolchain("tiny", target(site), env)
    with pytest.raises(CannotBuild, match=r"found \(icpx\)"):
        toolchain.toolchain("tiny", target(site), {**env, "CXX": "icpx -O2"})
    script(tools / "clang++", 'echo "clang version 17.0.6"\n')
    made = toolchain.toolchain("tiny", target(site), {**env, "CXX": "ccache clang++"})
    assert made.parts == ("cpu", "clang 17.0.6") and made.env["CXX"] == "ccache clang++" and "CC" not in made.env


def test_for_a_cpu_torch_the_build_is_for_cpu_whatever_the_variables_say(machine):
    site, _, env = machine
    pretend_torch(site)
    made = toolchain.toolchain("tiny", target(site), {**env, "FORCE_CUDA": "1", "FORCE_ONLY_CUDA": "1", "HOME": "/h"})
    assert made.env == {**env, "FORCE_ONLY_CPU": "1", "HOME": "/h"}
    assert made.parts == ("cpu", "gcc 12.2.0") and made.toolkit is None


def test_where_pythons_own_compiler_is_gone_another_is_named(machine):
    site, tools, env = machine
    pretend_torch(site)
    made = toolchain.toolchain("tiny", target(site, cxx="clang++-9 -pthread"), env)
    assert (made.env["CXX"], made.env["CC"]) == (str(tools / "g++"), str(tools / "g++"))
    script(tools / "gcc", "")
    assert toolchain.toolchain("tiny", target(site, cxx="clang++-9"), env).env["CC"] == str(tools / "gcc")


# --- CUDA -----------------------------------------------------------------------------------------


def test_under_a_cuda_torch_nothing_is_built_without_cuda(machine, tmp_path):
    site, _, env = machine
    words = (
        r"has CUDA 13\.0, and no nvcc of CUDA 13 was found \(CUDA_HOME, .*pip install 'nvidia-cuda-nvcc==13\.0\.\*'"
    )
    with pytest.raises(CannotBuild, match=words):
        toolchain.toolchain("tiny", target(site), env, ["9.0"])
    other = pretend_toolkit(tmp_path / "usr-local" / "cuda", "12.8")
    with pytest.raises(CannotBuild, match=rf"no nvcc of CUDA 13 was found \(only 12\.8 in {other}\)"):
        toolchain.toolchain("tiny", target(site), env, ["9.0"])


def test_the_toolkit_that_is_named_counts_then_the_same_cuda_then_the_same_major(machine, tmp_path):
    site, tools, env = machine
    usual = tmp_path / "usr-local"
    pretend_toolkit(usual / "cuda", "12.8")
    newer, exact = pretend_toolkit(usual / "cuda-13.2", "13.2"), pretend_toolkit(usual / "cuda-13.0", "13.0")
    named = pretend_toolkit(tmp_path / "opt", "13.1")

    def chosen(**more: str) -> str:
        made = toolchain.toolchain("tiny", target(site), {**env, **more}, ["9.0"])
        assert made.env["FORCE_CUDA"] == "1" and "FORCE_ONLY_CPU" not in made.env
        return made.env["CUDA_HOME"]

    assert chosen(FORCE_ONLY_CPU="1") == str(exact)
    assert chosen(CUDA_HOME=str(named)) == chosen(CUDA_PATH=str(named)) == str(named)
    assert chosen(CUDA_HOME=str(usual / "cuda")) == str(exact)
    shutil.rmtree(exact)
    assert chosen() == str(newer)
    shutil.rmtree(newer)
    (tools / "nvcc").symlink_to(named / "bin" / "nvcc")
    assert chosen() == str(named)


def test_a_toolkit_that_lacks_a_part_is_named_with_what_brings_it(machine, tmp_path):
    site, _, env = machine
    toolkit = pretend_toolkit(site / "nvidia" / "cu13", "13.0", library="lib/libcudart.so.13")
    (toolkit / "include" / "cusparse.h").unlink()
    (toolkit / "lib" / "libcudart.so.13").unlink()
    words = r"lacks libcudart\.so, cusparse\.h; install the rest of it \(nvidia-cuda-runtime, nvidia-cusparse\)"
    with pytest.raises(CannotBuild, match=words):
        toolchain.toolchain("tiny", target(site), env, ["9.0"])
    whole = pretend_toolkit(tmp_path / "usr-local" / "cuda-13.4", "13.4")
    assert toolchain.toolchain("tiny", target(site), env, ["9.0"]).env["CUDA_HOME"] == str(whole)


def test_headers_that_a_small_toolkit_lacks_come_from_the_environments_wheels(machine, tmp_path):
    site, _, env = machine
    folder = pretend_toolkit(tmp_path / "usr-local" / "cuda", "13.0")
    (folder / "include" / "cublas_v2.h").unlink()
    with pytest.raises(CannotBuild, match=r"lacks cublas_v2\.h; .*\(nvidia-cublas\)"):
        toolchain.toolchain("tiny", target(site), env, ["9.0"])
    wheel = site / "nvidia" / "cu13" / "include"
    wheel.mkdir(parents=True)
    (wheel / "cublas_v2.h").touch()
    made = toolchain.toolchain("tiny", target(site), env, ["9.0"])
    assert made.toolkit is not None and made.toolkit.more == (str(wheel),) and made.toolkit.usual
    assert "CPATH" not in made.env, "its key holds no place of one environment"
    (folder / "include" / "cuda_runtime.h").unlink()
    (wheel / "cuda_runtime.h").touch()
    with pytest.raises(CannotBuild, match=r"lacks cuda_runtime\.h"):
        toolchain.toolchain("tiny", target(site), env, ["9.0"])


def test_nvidias_wheels_become_a_toolkit_as_torch_expects_it(machine, tmp_path):
    site, _, env = machine
    folder = pretend_toolkit(site / "nvidia" / "cu13", "13.0", library="lib/libcudart.so.13")
    (folder / "lib" / "libcudart_static.a").touch()
    (folder / "include" / "nv" / "target").unlink()
    (folder / "include" / "cccl" / "nv").mkdir(parents=True)
    (folder / "include" / "cccl" / "nv" / "target").touch()
    toolkit = toolchain.toolchain("tiny", target(site), env, ["9.0"]).toolkit
    assert toolkit == Toolkit(str(folder), "13.0", str(folder / "include"), str(folder / "lib")) and not toolkit.usual
    view = Path(nvcc.view(toolkit, str(tmp_path / "view")))
    assert (view / "lib64" / "libcudart.so").resolve() == folder / "lib" / "libcudart.so.13"
    assert (view / "lib64" / "libcudart_static.a").exists() and (view / "bin" / "nvcc").exists()
    assert (view / "include" / "cuda_runtime.h").exists()


def test_condas_toolkit_has_its_parts_below_targets(machine, tmp_path):
    site, _, env = machine
    folder = pretend_toolkit(site.parent, "13.0", library="targets/x86_64-linux/lib/libcudart.so")
    (folder / "include").rename(folder / "targets" / "x86_64-linux" / "include")
    toolkit = toolchain.toolchain("tiny", target(site), env, ["9.0"]).toolkit
    assert toolkit is not None and not toolkit.usual
    assert toolkit.include == str(folder / "targets" / "x86_64-linux" / "include")


def test_a_compiler_that_nvcc_does_not_accept_gives_way_to_an_older_one(machine, tmp_path):
    site, tools, env = machine
    pretend_torch(site, "2.6.0+cu124", "12.4")
    pretend_toolkit(tmp_path / "usr-local" / "cuda", "12.4")
    script(tools / "g++", GCC.format("14.2.0"))
    words = r"g\+\+ is gcc 14\.2\.0, and nvcc 12\.4 accepts gcc up to 13, clang up to 17; .*apt install g\+\+-13"
    with pytest.raises(CannotBuild, match=words):
        toolchain.toolchain("tiny", target(site), env, ["9.0"])
    script(tools / "g++-12", GCC.format("12.3.0"))
    script(tools / "gcc-12", GCC.format("12.3.0"))
    script(tools / "g++-14", GCC.format("14.2.0"))
    made = toolchain.toolchain("tiny", target(site), env, ["9.0"])
    assert (made.env["CXX"], made.env["CC"]) == (str(tools / "g++-12"), str(tools / "gcc-12"))
    assert "gcc 12.3.0" in made.parts
    with pytest.raises(CannotBuild, match="is gcc 14"):  # what a person names is not replaced
        toolchain.toolchain("tiny", target(site), {**env, "CXX": "g++-14"}, ["9.0"])


def test_what_an_nvcc_accepts_is_read_from_its_header_first(machine, tmp_path):
    site, tools, env = machine
    toolkit = pretend_toolkit(tmp_path / "usr-local" / "cuda", "13.0")
    script(tools / "g++", GCC.format("15.1.0"))
    assert toolchain.toolchain("tiny", target(site), env, ["9.0"]).env["CXX"] == str(tools / "g++")
    header = toolkit / "include" / "crt" / "host_config.h"
    header.write_text("#error -- unsupported GNU version! gcc versions later than 12 are not supported!")
    with pytest.raises(CannotBuild, match="accepts gcc up to 12"):
        toolchain.toolchain("tiny", target(site), env, ["9.0"])
    header.write_text(
        "#error -- unsupported clang version! clang version must be less than 21 and greater than 3.2 ."
    )
    script(tools / "clang++", 'echo "clang version 21.1.0"\n')
    assert nvcc.accepted("clang", nvcc.toolkit(target(site).torch, [], "", env)) == 20
    with pytest.raises(CannotBuild, match=r"clang\+\+ is clang 21\.1\.0, .*clang up to 20"):
        toolchain.toolchain("tiny", target(site), {**env, "CXX": "clang++"}, ["9.0"])


def test_an_architecture_that_this_nvcc_cannot_compile_for_is_refused(machine, tmp_path):
    site, _, env = machine
    pretend_torch(site, "2.6.0+cu124", "12.4")
    folder = pretend_toolkit(tmp_path / "usr-local" / "cuda", "12.4")
    words = (
        r"nvcc 12\.4 cannot compile for compute capability 12\.0 \(it knows 5\.0 .*9\.0\); CUDA 12\.8 to 13\.5 can"
    )
    with pytest.raises(CannotBuild, match=words):
        toolchain.toolchain("tiny", target(site), env, ["9.0", "12.0"])
    pretend_toolkit(folder, "12.4", codes="90 120")  # what it says itself counts
    assert toolchain.toolchain("tiny", target(site), env, ["12.0", "9.0"]).env["TORCH_CUDA_ARCH_LIST"] == "9.0;12.0"
    pretend_torch(site)
    pretend_torch(site, "2.13.0+cu130", "13.0")
    pretend_toolkit(folder, "13.0", codes="75 80 90 120")
    with pytest.raises(CannotBuild, match=r"compute capability 7\.0 .*CUDA 11\.7 to 12\.9 can"):
        toolchain.toolchain("tiny", target(site), env, ["7.0"])


def test_architectures_are_those_named_then_the_variable_then_the_visible_gpus(machine, tmp_path):
    site, tools, env = machine
    pretend_toolkit(tmp_path / "usr-local" / "cuda", "13.0")

    def chosen(named=(), **more: str) -> str:
        return toolchain.toolchain("tiny", target(site), {**env, **more}, named).env["TORCH_CUDA_ARCH_LIST"]

    with pytest.raises(CannotBuild, match=r"no GPU is visible here; name the one .*TORCH_CUDA_ARCH_LIST=9\.0"):
        chosen()
    script(tools / "nvidia-smi", "echo 12.0; echo 9.0; echo 9.0\n")
    assert chosen() == chosen(TORCH_CUDA_ARCH_LIST="native") == "9.0;12.0"
    assert chosen(TORCH_CUDA_ARCH_LIST="8.9 8.6+PTX") == "8.6+PTX;8.9"
    assert chosen(TORCH_CUDA_ARCH_LIST="Hopper") == "Hopper"
    assert chosen(["sm_90", "12.0+PTX"], TORCH_CUDA_ARCH_LIST="8.9") == "9.0;12.0+PTX"
    with pytest.raises(KitError, match="not a compute capability: 'new'"):
        chosen(["new"])


# --- the cache's keys -----------------------------------------------------------------------------


def test_the_key_changes_with_everything_that_changes_the_build(tmp_path, machine):
    site, _, _ = machine
    pretend_torch(site)
    here = target(site)
    other = project(tmp_path / "tiny")
    assert here.torch is not None

    def named(to: toolchain.Target = here, env=None, parts=("cpu", "gcc 12.2.0"), **more) -> str:
        tools = toolchain.Toolchain(env or {}, parts)
        return key(
            more.get("package", "tiny"), more.get("version", "1.0"), to, tools, more.get("source"), more.get("sha")
        )

    def torch(**values) -> toolchain.Target:
        return dataclasses.replace(here, torch=dataclasses.replace(here.torch, **values))

    keys = [
        named(),
        named(package="tinier"),
        named(version="1.1"),
        named(source=str(other)),
        named(sha="0" * 64),
        named(torch(version="2.13.0")),
        named(torch(version="2.14.1+cpu")),
        named(torch(git_version="other")),
        named(torch(cuda="13.0")),
        named(torch(cuda="13.2")),
        named(dataclasses.replace(here, soabi="cpython-312-x86_64-linux-gnu")),
        named(dataclasses.replace(here, soabi="cpython-313t-x86_64-linux-gnu")),
        named(dataclasses.replace(here, platform="linux-x86_64-glibc2.31")),
        named(parts=("cpu", "gcc 13.1.0")),
        named(parts=("nvcc 13.0", "gcc 12.2.0", "9.0")),
        named(parts=("nvcc 13.0", "gcc 12.2.0", "9.0;12.0")),
        *(named(env={name: "1"}) for name in ("CFLAGS", "CXXFLAGS", "CC", "CXX", "NVCC_FLAGS", "WITH_SYMBOLS")),
        *(named(env={name: "1"}) for name in ("FORCE_CUDA", "TORCH_CUDA_ARCH_LIST", "CPATH", "LDFLAGS")),
    ]
    assert len(set(keys)) == len(keys)
    assert not set("".join(keys)) & set("/\\: ;") and max(map(len, keys)) < 200
    same = {"HOME": "/h", "CUDA_HOME": "/c", "MAKEFLAGS": "-j", "PATH": "/p", "MAX_JOBS": "1", "BUILD_ID": "7"}
    assert named(env=same) == keys[0] and flags(same) == []
    assert keys[0].startswith("tiny-1.0-torch2.13.0+cpu-cpu-cpython_311_x86_64_linux_gnu-linux_x86_64_glibc2.36-")


def test_the_cache_is_the_users_own(monkeypatch, tmp_path):
    assert cache_folder({"XDG_CACHE_HOME": "/c"}) == "/c/jupyter-troubleshooting-kit/wheels"
    assert cache_folder({}).startswith(os.path.expanduser("~"))


def test_as_many_compilers_as_cores_and_memory_allow(monkeypatch):
    monkeypatch.setattr(toolchain, "memory", lambda: None)
    cores = toolchain.how_many({})
    assert 1 <= cores <= (os.cpu_count() or 1) and toolchain.how_many({"MAX_JOBS": "1"}) == 1
    monkeypatch.setattr(toolchain, "memory", lambda: 1 << 30)
    assert toolchain.how_many({}) == toolchain.how_many({"MAX_JOBS": "0"}) == 1


# --- the code itself ------------------------------------------------------------------------------


def test_the_table_of_nvccs_is_dated_and_in_order():
    rows = table("nvcc")["nvcc"]
    numbers = [tuple(map(int, row["cuda"].split("."))) for row in rows]
    assert numbers == sorted(numbers) and all(row["source"] for row in rows) and table("nvcc")["as_of"]
    assert [row["gcc_max"] for row in rows] == sorted(row["gcc_max"] for row in rows)


def test_what_runs_in_the_other_interpreter_knows_nothing_of_the_kit():
    tree = ast.parse(Path(toolchain.CHILD).read_text(), feature_version=(3, 9))
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert all(name.partition(".")[0] in sys.stdlib_module_names for name in names)
    assert json.loads(
        subprocess.run([sys.executable, toolchain.CHILD, "probe"], capture_output=True, text=True, cwd="/").stdout
    )["headers"]
