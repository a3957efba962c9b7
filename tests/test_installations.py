"""Installations that failed, as pip 20 to 26, uv and conda tell of them: one cause each, and what helps."""

import dataclasses
import shlex

import pytest
from test_failures import change, check_finding, check_install, cpu_machine, found, gpu_machine, host, only, torch

from kit.diagnose import diagnose
from kit.facts import Attempt, Module
from kit.failures import failure

PYG_CPU = "https://data.pyg.org/whl/torch-2.9.0+cpu.html"
PIP20 = """
Collecting torch-cluster
  Downloading torch_cluster-1.6.3.tar.gz (54 kB)
    ERROR: Command errored out with exit status 1:
     command: /opt/venv/bin/python -c 'import sys, setuptools, tokenize; sys.argv[0] = "setup.py"' egg_info
         cwd: /tmp/pip-install-8x1/torch-cluster_f7c8/
    Complete output (5 lines):
    Traceback (most recent call last):
      File "<string>", line 1, in <module>
      File "/tmp/pip-install-8x1/torch-cluster_f7c8/setup.py", line 8, in <module>
        import torch
    ModuleNotFoundError: No module named 'torch'
ERROR: Command errored out with exit status 1: python setup.py egg_info Check the logs for full command output.
"""
PIP22 = """
Collecting torch-cluster
  Downloading torch_cluster-1.6.3.tar.gz (54 kB)
  Preparing metadata (setup.py): started
  Preparing metadata (setup.py): finished with status 'error'
  error: subprocess-exited-with-error
  × python setup.py egg_info did not run successfully.
  │ exit code: 1
  ╰─> [8 lines of output]
          File "/tmp/pip-install-ab/torch-cluster_1/setup.py", line 8, in <module>
      ModuleNotFoundError: No module named 'torch'
      [end of output]
  note: This error originates from a subprocess, and is likely not a problem with pip.
error: metadata-generation-failed
"""
PIP24 = """
Collecting torch-cluster
  Downloading http://mirror.example.org/files/torch_cluster-1.6.3.tar.gz (54 kB)
  Installing build dependencies: finished with status 'done'
  Getting requirements to build wheel: finished with status 'error'
  error: subprocess-exited-with-error
  × Getting requirements to build wheel did not run successfully.
        File "/tmp/pip-build-env-kn7/overlay/lib/python3.11/site-packages/setuptools/build_meta.py", line 317
        File "<string>", line 3, in <module>
      ModuleNotFoundError: No module named 'torch'
error: subprocess-exited-with-error
"""
PIP26 = PIP24.replace("error: subprocess-exited-with-error\n", "", 1) + (
    "ERROR: Failed to build 'torch-cluster' when getting requirements to build wheel\n"
)
WINDOWS = r"""
Collecting torch-cluster
  Downloading torch_cluster-1.6.3.tar.gz (54 kB)
  Getting requirements to build wheel did not run successfully.
        File "C:\Users\me\AppData\Local\Temp\pip-build-env-3x\overlay\Lib\site-packages\setuptools\build_meta.py"
      ModuleNotFoundError: No module named 'torch'
ERROR: Failed to build 'torch-cluster' when getting requirements to build wheel
"""
UV = """
Resolved 1 package in 12ms
  × Failed to build `torch-cluster==1.6.3`
  ├─▶ The build backend returned an error
  ╰─▶ Call to `setuptools.build_meta:__legacy__.build_wheel` failed (exit status: 1)
      [stderr]
      Traceback (most recent call last):
        File "<string>", line 8, in <module>
      ModuleNotFoundError: No module named 'torch'
      hint: This error likely indicates that `torch-cluster@1.6.3` depends on `torch`
"""
OVERLAY = r"""
Processing d:\src\nunchuck
  Installing build dependencies ... done
  Getting requirements to build wheel ... error
  × Getting requirements to build wheel did not run successfully.
      C:\Temp\pip-build-env-7ix_hmr5\overlay\Lib\site-packages\torch\_subclasses\functional_tensor.py:295: Warning
      OSError: CUDA_HOME environment variable is not set. Please set it to your CUDA install root.
"""
PACKAGING = """
Processing /home/me/apex
    Running command python setup.py egg_info
    File "/home/me/apex/setup.py", line 4, in <module>
    ModuleNotFoundError: No module named 'packaging'
  error: subprocess-exited-with-error
"""


def building(what):
    return f"Collecting torch-cluster\n  Building wheel for torch-cluster (setup.py): started\n{what}\nERROR: Failed"


def nothing(name, versions=" (from versions: none)"):
    return (
        f"ERROR: Could not find a version that satisfies the requirement {name}{versions}\n"
        f"ERROR: No matching distribution found for {name}"
    )


PASSED_OVER = (
    "ERROR: Ignored the following versions that require a different python version: 1.6.3 Requires-Python >=3.99\n"
)
CLUSTER = "pip install torch-cluster"
BUILT = "pip install --no-build-isolation torch-cluster"


@pytest.mark.parametrize(
    ("command", "said", "id", "tells"),
    [
        (CLUSTER, PIP20, "build-isolation", "an isolated build does not see it"),
        (CLUSTER, PIP22, "build-isolation", "an isolated build does not see it"),
        (CLUSTER, PIP24, "build-isolation", "an isolated build does not see it"),
        (CLUSTER, PIP26, "build-isolation", "an isolated build does not see it"),
        (CLUSTER, WINDOWS, "build-isolation", "an isolated build does not see it"),
        ("uv pip install torch-cluster", UV, "build-isolation", "an isolated build does not see it"),
        ("", PIP26, "build-isolation", "an isolated build does not see it"),
        ("", UV, "build-isolation", "an isolated build does not see it"),
        (BUILT, PIP26, "build-isolation", "The build is not isolated: torch is missing in the Python that this pip"),
        ("pip install -e .", OVERLAY, "build-isolation", "brought a torch of its own"),
        ("pip install ./", PACKAGING, "build-isolation", "Its setup.py imports packaging"),
        (
            BUILT,
            building("  pip._vendor.pyproject_hooks.BackendUnavailable: Cannot import 'setuptools.build_meta'"),
            "build-isolation",
            "setuptools is missing in the Python",
        ),
        # headers: gcc of several versions and languages, clang, MSVC
        (
            BUILT,
            building("torch/csrc/python_headers.h:9:20: fatal error: Python.h: no such directory"),
            "headers-missing",
            "Python.h",
        ),
        (
            BUILT,
            building("  a/b.cpp:3:10: schwerwiegender Fehler: Python.h: Datei oder Verzeichnis nicht gefunden"),
            "headers-missing",
            "Python.h",
        ),
        (BUILT, building("  csrc/x.cpp:5:10: 致命错误：Python.h：没有那个文件或目录"), None, ""),
        (
            BUILT,
            building("csrc/metis.cpp:7:10: fatal error: metis.h: No such file or directory"),
            "headers-missing",
            "metis.h, of a library",
        ),
        (BUILT, building("csrc/x.cpp:1:10: fatal error: 'Python.h' file not found"), "headers-missing", "Python.h"),
        (
            BUILT,
            building(r"C:\v\include\torch\x.h(12): fatal error C1083: Cannot open include file: 'Python.h': No such"),
            "headers-missing",
            "Python.h",
        ),
        (
            BUILT,
            building(r"C:\v\x.h(12): fatal error C1083: Datei (Include) kann nicht geöffnet werden: 'Python.h': No"),
            "headers-missing",
            "Python.h",
        ),
        (
            BUILT,
            building("x.cpp:4:10: fatal error: cuda_runtime.h: No such file or directory"),
            "nvcc-not-found",
            "nvcc",
        ),
        (BUILT, building("x.cpp:4:10: fatal error: torch/extension.h: No such file or directory"), None, ""),
        (BUILT, building("csrc/x.h:9:20: error: expected ';' before '}' token"), None, ""),
        # compilers
        (
            BUILT,
            building("  unable to execute 'g++': No such file or directory"),
            "compiler-unsupported",
            "asks for g++",
        ),
        (
            BUILT,
            building("  error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory"),
            "compiler-unsupported",
            "x86_64-linux-gnu-gcc",
        ),
        (
            BUILT,
            building("  error: [Errno 2] No such file or directory: 'gcc'"),
            "compiler-unsupported",
            "asks for gcc",
        ),
        (
            BUILT,
            building("  FileNotFoundError: [WinError 2] Das System kann die Datei nicht finden: 'cl.exe'"),
            "compiler-unsupported",
            "cl.exe",
        ),
        (BUILT, building("  /bin/sh: 1: gcc: not found"), "compiler-unsupported", "asks for gcc"),
        (
            BUILT,
            building("  subprocess.CalledProcessError: Command '['which', 'g++']' returned non-zero"),
            "compiler-unsupported",
            "asks for g++",
        ),
        (
            BUILT,
            building("  error: Microsoft Visual C++ 14.0 or greater is required. Get it with Build Tools"),
            "compiler-unsupported",
            "Microsoft Visual C++ 14.0",
        ),
        (
            BUILT,
            building(
                "host_config.h:139:2: error: #error -- "
                "unsupported GNU version! gcc versions later than 10 are not supported!"
            ),
            "compiler-unsupported",
            "later than 10",
        ),
        (
            BUILT,
            building(
                "crt/host_config.h(153): error: #error -- unsupported Microsoft Visual Studio version! "
                "Only the versions between 2017 and 2022 (inclusive) are supported!"
            ),
            "compiler-unsupported",
            "2017 and 2022",
        ),
        (
            BUILT,
            building(
                "RuntimeError: The current installed version of g++ (13.2.0) is greater than "
                "the maximum required version by CUDA 12.1."
            ),
            "compiler-unsupported",
            "13.2.0",
        ),
        (
            BUILT,
            building("c10/util/C++17.h:27:2: error: #error You need C++17 to compile PyTorch"),
            "compiler-unsupported",
            "C++17",
        ),
        (
            BUILT,
            building("g++: error: unrecognized command line option '-std=c++20'"),
            "compiler-unsupported",
            "-std=c++20",
        ),
        (
            BUILT,
            building("  error: [Errno 2] No such file or directory: '/usr/local/cuda/bin/nvcc'"),
            "nvcc-not-found",
            "nvcc",
        ),
        (BUILT, building("OSError: CUDA_HOME environment variable is not set."), "nvcc-not-found", "nvcc"),
        (BUILT, building("  error: command '/usr/bin/g++' failed with exit code 1"), None, ""),
        # Python
        (
            CLUSTER,
            "ERROR: Package 'torch-cluster' requires a different Python: 3.11.7 not in '>=3.99'",
            "python-unsupported",
            "it asks for >=3.99",
        ),
        (
            CLUSTER,
            PASSED_OVER + nothing("torch-cluster"),
            "python-unsupported",
            "it asks for >=3.99",
        ),
        (
            "pip install torch-cluster==1.6.2",
            PASSED_OVER + nothing("torch-cluster==1.6.2"),
            "wheel-not-published",
            "torch-cluster==1.6.2",
        ),
        (
            "pip install torch_cluster-1.6.3+pt29cpu-cp39-cp39-linux_x86_64.whl",
            "ERROR: torch_cluster-1.6.3+pt29cpu-cp39-cp39-linux_x86_64.whl "
            "is not a supported wheel on this platform.",
            "python-unsupported",
            "",
        ),
        (
            "conda install pytorch-scatter -c pyg",
            "UnsatisfiableError: The following specifications were found\n"
            "  - pytorch-scatter -> python[version='>=3.10,<3.11.0a0']\nYour python: python=3.11",
            "python-unsupported",
            "",
        ),
        (
            "uv pip install torch==2.1.0",
            "  × No solution found when resolving dependencies:\n"
            "  ╰─▶ Because torch==2.1.0 has no wheels with a matching Python ABI tag (e.g., `cp311`)",
            "python-unsupported",
            "",
        ),
        # no wheel
        (
            f"pip install --no-index torch-cluster -f {PYG_CPU}",
            nothing("torch-cluster"),
            "wheel-not-published",
            "torch 2.9.1+cpu, Python 3.11",
        ),
        (
            "pip install torch==0.4.1.post2",
            nothing("torch==0.4.1.post2", " (from versions: 0.1.2, 0.4.1)"),
            "wheel-not-published",
            "torch==0.4.1.post2",
        ),
        (
            "pip install torch==0.4.1.post2",
            nothing("torch==0.4.1.post2", ""),
            "wheel-not-published",
            "torch==0.4.1.post2",
        ),
        (
            "pip install dgl -f https://wheels.example.org/torch-2.9.0+cpu.html",
            "  ERROR: HTTP error 403 while getting https://wheels.example.org/x.whl",
            "wheel-not-published",
            "dgl",
        ),
        ("pip install pyg_lib", nothing("pyg_lib"), "wheel-not-published", "pyg-lib"),
        ("pip install nosuchthing", nothing("nosuchthing"), None, ""),
        (
            CLUSTER,
            "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError(...)'\n"
            + nothing("torch-cluster"),
            None,
            "",
        ),
        # addresses
        (
            "pip install torch-cluster -f 'https://data.pyg.org/whl/torch-2.9.0+${CUDA}.html'",
            nothing("torch-cluster"),
            "index-url-malformed",
            "still holds ${CUDA}",
        ),
        (
            r"pip install torch-cluster -f https://pytorch-geometric.com/whl/torch-2.9.0+$\{CUDA\}.html",
            nothing("torch-cluster"),
            "index-url-malformed",
            "still holds",
        ),
        (
            "pip install torch-cluster -f https://data.pyg.org/whl/torch-{TORCH}+{CUDA}.html",
            nothing("torch-cluster"),
            "index-url-malformed",
            "still holds {TORCH}",
        ),
        (
            "pip install torch-cluster -f https://data.pyg.org/whl/torch-%TORCH%.html",
            nothing("torch-cluster"),
            "index-url-malformed",
            "still holds %TORCH%",
        ),
        (
            "pip install torch-cluster -f https://data.pyg.org/whl/torch-2.9.0+.html",
            nothing("torch-cluster"),
            "index-url-malformed",
            "a variable was empty",
        ),
        (
            "pip install torch-cluster -f https://data.pyg.org/whl/torch-2.9.0+121.html",
            nothing("torch-cluster"),
            "index-url-malformed",
            "has to say +cu121",
        ),
        (
            "pip install torch-cluster -f https://data.pyg.org/whl/torch-2.9.0+cu12.1.html",
            nothing("torch-cluster"),
            "index-url-malformed",
            "has to say cu121",
        ),
        (
            "pip install torch-cluster -f https://data.pyg.org/whl/torch-2.9.0.html",
            PIP26,
            "index-url-malformed",
            "names no build",
        ),
        (
            "pip install torch-cluster -f https://data.pyg.org/whl/torch-2.9+cpu.html",
            PIP26,
            "index-url-malformed",
            "has to name 2.9.0",
        ),
        (
            "pip install torch-cluster -f https://data.pyg.org/whl/torch-2.8.0+cpu.html",
            PIP26,
            "index-url-malformed",
            "the page for torch 2.8, and torch 2.9.1+cpu is",
        ),
        (
            "pip install torch-cluster --find-links=https://data.pyg.org/whl/torch-2.9.0%2Bcu130.html",
            PIP26,
            "index-url-malformed",
            "the page for cu130",
        ),
        (
            "pip install torch-cluster -f https://data.pyg.org/whl/",
            nothing("torch-cluster"),
            "index-url-malformed",
            "lists pages and no wheels",
        ),
        (
            f"pip install torch-cluster -i {PYG_CPU}",
            nothing("torch-cluster"),
            "index-url-malformed",
            "belongs behind --find-links",
        ),
        (
            "pip install torch torchvision --index-url https://download.pytorch.org/whl/cu12.6",
            nothing("torch"),
            "index-url-malformed",
            "has to say cu126",
        ),
        (
            "pip install torch --index-url https://download.pytorch.org/whl/126",
            nothing("torch"),
            "index-url-malformed",
            "has to say cu126",
        ),
        (
            "pip install torch -f https://download.pytorch.org/whl/cu126",
            nothing("torch==9"),
            "index-url-malformed",
            "use --index-url",
        ),
        (
            "",
            "Looking in links: https://data.pyg.org/whl/torch-2.9.0+121.html\n" + nothing("torch-cluster"),
            "index-url-malformed",
            "+cu121",
        ),
        # a wheel was there
        (
            f"pip install torch-sparse -f {PYG_CPU}",
            PIP26.replace("torch-cluster", "torch-sparse").replace("torch_cluster-1.6.3", "torch_sparse-0.6.19"),
            "sdist-preferred",
            "lists the wheel of 0.6.18",
        ),
        (
            "pip install torch-cluster -f https://mirror.example.org/whl/torch-2.9.0+cpu.html",
            PIP26,
            "sdist-preferred",
            "lists",
        ),
        # and what went well, or is nobody's fault here
        (
            CLUSTER,
            "Collecting torch-cluster\n"
            "  Downloading torch_cluster-1.6.3+pt29cpu-cp311-cp311-linux_x86_64.whl (700 kB)\n"
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            None,
            "",
        ),
        (CLUSTER, "ERROR: Exception:\nTraceback (most recent call last):\nKeyboardInterrupt", None, ""),
    ],
)
def test_an_installation_that_failed_has_one_cause(command, said, id, tells):
    facts = dataclasses.replace(torch_of(cpu_machine(), "2.9.1+cpu"), extensions=(), attempt=tried(command, said, 1))
    findings = diagnose(facts)
    assert [finding.failure for finding in findings] == ([id] if id else [])
    for finding in findings:
        check_finding(finding)
        assert finding.severity == "error" and tells in finding.summary, finding.summary
        for fix in finding.fix if "mirror" not in command else ():
            check_install(fix, facts, finding.summary)


def tried(command, said, status):
    return Attempt(tuple(shlex.split(command, posix=True)), status, tuple(said.strip("\n").split("\n")))


def torch_of(facts, version, **values):
    """The machine with this torch, as one whose metadata agrees."""
    dists = [dataclasses.replace(d, version=version) if d.key == "torch" else d for d in facts.distributions]
    facts = torch(facts, version=version, metadata_version=version, **values)
    return change(facts, distributions=tuple(dists))


def attempted(command, said="", status=1, version="2.9.1+cpu"):
    """The machine of such a torch, after this attempt; diagnosed."""
    return change(torch_of(cpu_machine(), version), extensions=(), attempt=tried(command, said, status))


COMPILED = """
Collecting torch-cluster
  Downloading torch_cluster-1.6.3.tar.gz (54 kB)
Building wheels for collected packages: torch-cluster
  Building wheel for torch-cluster (setup.py): finished with status 'done'
Successfully installed torch-cluster-1.6.3
"""


@pytest.mark.parametrize(
    ("command", "id"),
    [
        (CLUSTER, "sdist-preferred"),  # there is a wheel for torch 2.9, on a page that was not asked for
        ("pip install torch-cluster -f https://data.pyg.org/whl/torch-2.9.0.html", "index-url-malformed"),
        ("pip install --no-binary=torch-cluster torch-cluster", None),
        ("pip install --no-build-isolation git+https://github.com/rusty1s/pytorch_cluster", None),
        (f"pip install torch-cluster -f {PYG_CPU}", None),  # the page lists that very version: it does not fit here
    ],
)
def test_what_was_compiled_without_need_is_a_warning(command, id):
    findings = diagnose(attempted(command, COMPILED, 0))
    assert [(f.failure, f.severity) for f in findings] == ([(id, "warning")] if id else [])
    # torch 2.13 has no such wheel: then it has to be compiled
    facts = attempted(CLUSTER, COMPILED, 0, "2.13.0+cpu")
    assert found(facts) == []


def test_the_status_decides_and_without_one_the_words():
    said = PIP26
    assert found(attempted(CLUSTER, said, None)) == ["build-isolation"]
    assert found(attempted(CLUSTER, COMPILED, None)) == ["sdist-preferred"]
    assert found(attempted(CLUSTER, "Successfully installed torch-cluster-1.6.3", 0)) == []
    assert found(attempted("", "", None)) == []
    # Of a program, no installation.
    assert (
        found(attempted("", "Traceback (most recent call last):\nModuleNotFoundError: No module named 'torch'", 1))
        == []
    )
    six = "  File 'setup.py', line 3\nModuleNotFoundError: No module named 'torch._six'"
    assert found(attempted("python setup.py install", six)) == []
    # Of a build without pip it is not told which package it was.
    only(attempted("", "x.cpp:1:10: fatal error: Python.h: No such file or directory", None), "headers-missing")


def test_torch_that_is_not_there_comes_first():
    facts = attempted(CLUSTER, PIP26)
    gone = tuple(d for d in facts.distributions if d.key != "torch")
    finding = only(change(facts, torch=None, distributions=gone), "build-isolation", "torch-cluster")
    assert "torch is not installed here: it has to come first" in finding.summary
    assert [fix.kind for fix in finding.fix] == ["change-torch", "disable-build-isolation"]
    assert finding.fix[0].argv[3:] == ("install", "torch")


def test_the_wheel_comes_before_the_build_and_the_build_is_not_isolated():
    wheel, build = only(attempted(CLUSTER, PIP26), "build-isolation").fix
    assert (wheel.kind, wheel.argv[-3:]) == (
        "install-matching-wheel",
        ("torch-cluster==1.6.3+pt29cpu", "--find-links", PYG_CPU),
    )
    assert build.kind == "disable-build-isolation"
    assert {"--no-build-isolation", "--no-cache-dir", "--no-binary=torch-cluster"} <= set(build.argv)
    (build,) = only(attempted("pip install torch-cluster==1.6.2", PIP26, 1, "2.13.0+cpu"), "build-isolation").fix
    assert build.argv[-1] == "torch-cluster==1.6.2"
    (build,) = only(attempted("pip install -e .", OVERLAY), "build-isolation").fix
    assert build.argv is None and "the same command" in build.why


NO_COMPILER = (
    "Building wheel for torch-cluster (setup.py)\nunable to execute 'g++': No such file\nerror: command failed"
)
NONE = "ERROR: No matching distribution found for torch-cluster (from versions: none)"
PAGE = "-f https://data.pyg.org/whl/torch-2.13.0+cpu.html"


@pytest.mark.parametrize(
    ("options", "said", "id", "kinds"),
    [
        ("", PIP26, "build-isolation", ["disable-build-isolation"]),
        (
            "--no-build-isolation",
            NO_COMPILER,
            "compiler-unsupported",
            ["install-toolchain"],
        ),
        (
            "",
            "x.cpp:1:10: fatal error: Python.h: No such file or directory",
            "headers-missing",
            ["install-toolchain"],
        ),
        (PAGE, NONE, "wheel-not-published", ["rebuild-extension", "change-package-version"]),
        (
            "-f https://data.pyg.org/whl/torch-2.13.0.html",
            NONE,
            "index-url-malformed",
            ["fix-url", "rebuild-extension"],
        ),
    ],
)
def test_torch_scatter_without_a_wheel_is_replaced_by_the_kits_own(options, said, id, kinds):
    siblings = [fix.kind for fix in only(attempted(f"{CLUSTER} {options}", said, 1, "2.13.0+cpu"), id).fix]
    assert siblings == kinds
    command, said = (text.replace("cluster", "scatter") for text in (f"{CLUSTER} {options}", said))
    facts = change(attempted(command, said, 1, "2.13.0+cpu"), distributions=())
    finding = only(facts, id, "torch-scatter")
    check_finding(finding)
    ours, *others = sorted(finding.fix, key=lambda fix: fix.kind != "use-replacement")
    assert ours.argv == ("kit", "shim", "enable", "torch_scatter", "--python", facts.python.executable)
    assert [fix.kind for fix in others] == kinds
    assert finding.fix.index(ours) == (1 if id == "index-url-malformed" else 0)


def test_a_build_for_a_gpu_says_so():
    facts = change(gpu_machine(), extensions=(), attempt=tried(CLUSTER, PIP26, 1))
    (build,) = only(facts, "build-isolation", "torch-cluster").fix
    assert build.env["FORCE_CUDA"] == "1" and "TORCH_CUDA_ARCH_LIST" in build.env


@pytest.mark.parametrize(
    ("address", "argv"),
    [
        (
            "https://data.pyg.org/whl/torch-2.9.0+${CUDA}.html",
            ("torch-cluster==1.6.3+pt29cpu", "--find-links", PYG_CPU),
        ),
        (
            "https://mirror.example.org/pyg/torch-2.9.0.html",
            ("torch-cluster", "--find-links", "https://mirror.example.org/pyg/torch-2.9.0+cpu.html"),
        ),
    ],
)
def test_the_page_that_was_meant_is_on_the_same_server(address, argv):
    facts = attempted(f"pip install torch-cluster -f '{address}'", nothing("torch-cluster"))
    fix = only(facts, "index-url-malformed", "torch-cluster").fix[0]
    assert (fix.kind, fix.argv[-3:]) == ("fix-url", argv)
    assert "--only-binary=:all:" in fix.argv


def test_a_page_that_would_be_right_and_lists_nothing():
    command = "pip install torch-cluster -f https://data.pyg.org/whl/torch-2.13.0.html"
    page, build = only(attempted(command, PIP26, 1, "2.13.0+cpu"), "index-url-malformed").fix
    assert page.argv is None and "torch-2.13.0+cpu.html; by the table it lists no torch-cluster" in page.why
    assert build.kind == "rebuild-extension"


@pytest.mark.parametrize(
    "command",
    [
        f"pip install torch-cluster -f {PYG_CPU}",
        "pip install torch-cluster -f https://data.pyg.org/whl/torch-2.9.1%2Bcpu.html",  # an alias
        "pip install torch==2.8.0 torch-cluster -f https://data.pyg.org/whl/torch-2.8.0+cpu.html",
        "pip install torch-cluster -f ./wheels",
        "pip install torch-cluster -i https://mirror.example.org/simple --extra-index-url https://pypi.org/simple",
        "pip install torch-cluster -f https://download.pytorch.org/whl/torch_stable.html",
        "pip install torch-cluster -f https://data.pyg.org/whl/nightly/torch-2.9.0+cpu.html",
    ],
)
def test_addresses_that_are_right(command):
    assert found(attempted(command, nothing("torch-cluster"))) == ["wheel-not-published"]


@pytest.mark.parametrize(
    ("version", "python", "bits", "command", "span"),
    [
        ("2.8.0+cpu", "3.14.0", 64, f"pip install torch-cluster -f {PYG_CPU.replace('2.9', '2.8')}", "3.9 to 3.13"),
        ("2.9.1+cpu", "3.11.7", 32, CLUSTER, "32-bit"),
    ],
)
def test_a_python_without_wheels(version, python, bits, command, span):
    facts = attempted(command, nothing("torch-cluster"), 1, version)
    path = tuple(p.replace("3.11", python.rpartition(".")[0]) for p in facts.python.path)
    facts = change(facts, python=dataclasses.replace(facts.python, version=python, bits=bits, path=path))
    finding = only(facts, "python-unsupported", "torch-cluster")
    assert span in finding.summary and finding.fix[0].kind == "change-python"
    assert all("rebuild" not in fix.kind for fix in finding.fix) == (bits == 32)


def test_torch_for_a_python_that_nobody_builds_for():
    facts = attempted("pip install torch", nothing("torch"))
    python = dataclasses.replace(facts.python, version="3.6.15", path=())
    finding = only(change(facts, python=python), "python-unsupported", "torch")
    assert "wheels of it are for Python 3.7 to 3.15" in finding.summary
    assert "Python 3.7" in finding.fix[0].why


def test_a_compiler_that_is_too_new_for_nvcc_gets_an_older_one_beside_it():
    said = building(
        "host_config.h:139:2: error: #error -- unsupported GNU version! gcc versions later than 12 are not supported!"
    )
    fix = only(attempted(BUILT, said, 1, "2.13.0+cpu"), "compiler-unsupported").fix[-1]
    assert fix.env == {"CC": "gcc-12", "CXX": "g++-12"} and fix.safety == "manual"
    windows = host(attempted(BUILT, said, 1, "2.13.0+cpu"), system="Windows")
    assert "Visual Studio" in only(windows, "compiler-unsupported").fix[-1].why


def test_headers_of_the_systems_python_come_from_the_system():
    said = building("x.cpp:9:20: fatal error: Python.h: No such file")
    facts = attempted(BUILT, said, 1, "2.13.0+cpu")
    assert facts.python.base_prefix == "/usr" and "python3.11-dev" in only(facts, "headers-missing").fix[-1].why
    facts = change(facts, python=dataclasses.replace(facts.python, base_prefix="/opt/python3.11"))
    assert "another Python 3.11" in only(facts, "headers-missing").fix[-1].why


def test_only_a_folder_without_files_is_moved_aside():
    facts = failure("shadowed-package").example()
    fix = only(facts, "shadowed-package").fix[0]
    folder = f"{facts.python.cwd}/apex"
    assert fix.argv == ("mv", folder, f"{folder}-moved-aside")
    for children, moved in ((("amp", "contrib"), True), (("setup.py", "apex"), False)):
        module = Module("apex", "namespace", folder, facts.python.cwd, children=children)
        argv = only(change(facts, modules=(module,)), "shadowed-package").fix[0].argv
        assert (argv is not None) == moved
