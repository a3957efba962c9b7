"""Pasted text: what is cleaned away, which error is the cause, what is stated of the environment, what was typed."""

import re
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.facts import Facts
from kit.report import Raised, Report, read

SCATTER = "/opt/venv/lib/python3.10/site-packages/torch_scatter/_version_cuda.so"
UNDEFINED = f"OSError: {SCATTER}: undefined symbol: _ZN5torch3jit17parseSchemaOrNameERKSs"
TRACEBACK = f"""Traceback (most recent call last):
  File "train.py", line 3, in <module>
    from torch_scatter import scatter
  File "/opt/venv/lib/python3.10/site-packages/torch_scatter/__init__.py", line 16, in <module>
    torch.ops.load_library(spec.origin)
{UNDEFINED}"""


def kinds(report):
    return [raised.kind for raised in report.errors]


# -- cleaning


def test_colours_and_links_are_taken_out():
    text = "\x1b[0;31mImportError\x1b[0m: \x1b]8;;https://a.b/c\x1b\\no\x1b]8;;\x1b\\ such thing\x1b[K"
    assert read(text).lines == ("ImportError: no such thing",)


@pytest.mark.parametrize("escape", ["", "\\u001b", "^[", "\ufffd", "\\x1b", "\\033"])
def test_colours_that_lost_their_escape_character(escape):
    text = f"{escape}[0;31mImportError{escape}[0m: no such thing"
    assert read(text).lines == ("ImportError: no such thing",)


def test_a_progress_bar_is_kept_in_its_last_state():
    report = read("  0%|    | 0/9\r 50%|##  | 5/9\r100%|####| 9/9\nImportError: x\r\n")
    assert report.lines[:2] == ("100%|####| 9/9", "ImportError: x")


def test_a_text_with_carriage_returns_alone_has_lines():
    assert read("one\rtwo\rthree").lines == ("one", "two", "three")


def test_backspaces_and_unseen_characters():
    assert read("abc\b\bd\u200b\ufeff e\u00a0f\x00").lines == ("ad e f",)


def test_quotes_of_a_word_processor():
    report = read("version \u2018GLIBC_2.27\u2019 not found; \u201cx\u201d; `GLIBC_2.28' not found")
    assert report.lines == ("version 'GLIBC_2.27' not found; \"x\"; `GLIBC_2.28' not found",)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"]
)
def test_bytes_in_any_encoding(encoding):
    text = "OSError: [WinError 126] Le module sp\u00e9cifi\u00e9 est introuvable. " + "Error loading x.dll " * 3
    assert read(text.encode(encoding)).lines == (text.strip(),)


def test_bytes_cut_inside_a_character():
    data = ("\u932f\u8aa4 ImportError: x \u4e2d\u6587" * 20).encode()
    assert "ImportError: x" in read(data[1:-1]).text and "\u932f\u8aa4" in read(data[1:-1]).text


def test_a_web_page():
    page = (
        "<!DOCTYPE html><html><head><title>Issue</title><style>p { color: red }</style>"
        "<script>if (a < b) { error: 1 }</script></head><body><p>It fails:</p>"
        '<pre>Traceback (most recent call last):<br>  File "a.py", line 1, in &lt;module&gt;\n'
        "ImportError: cannot import name &#39;amp&#39;</pre></body></html>"
    )
    report = read(page)
    assert "color" not in report.text and "a < b" not in report.text
    assert '  File "a.py", line 1, in <module>' in report.lines
    assert report.cause.message == "cannot import name 'amp'"


@pytest.mark.parametrize(
    "text",
    [
        "<Error>\n  <Code>AccessDenied</Code>\n  <Message>Access Denied</Message>\n</Error>",
        'File "<stdin>", line 1, in <module>\nFile "<frozen importlib._bootstrap>", line 2',
        "std::vector<int> a; std::span<char> b;",
        "if a < b and c > d:",
    ],
)
def test_what_is_no_web_page_keeps_its_words(text):
    assert read(text).text == text


def test_fences_and_quotation_marks():
    text = "> ```pytb\n> ImportError: x\n> ```\n> > deeper\n>>> import torch\n`OSError: y`\n**RuntimeError: z**"
    assert read(text).lines == (
        "",
        "ImportError: x",
        "",
        "deeper",
        ">>> import torch",
        "OSError: y",
        "RuntimeError: z",
    )


@pytest.mark.parametrize(
    "prefix",
    [
        "2024-05-01T10:11:12.1234567Z ",
        "build\tRun tests\t2024-05-01T10:11:12.1234567Z ",
        "2024-05-01 10:11:12,123 ",
        "[2024-05-01 10:11:12] ",
        "10:11:12 ",
        "[rank0]: ",
        "[default0]:",
        "(pid=1234) ",
        "(RayTrainWorker pid=12, ip=10.0.0.1) ",
        "#9 12.34 ",
        "web-1  | ",
        "0: ",
        "Jan  2 10:11:12 node7 train[123]: ",
        "[1,0]<stderr>:",
        "> ",
        "node01: ",
    ],
)
def test_prefixes_of_lines(prefix):
    report = read("\n".join(prefix + line for line in TRACEBACK.split("\n")))
    assert report.lines == tuple(TRACEBACK.split("\n"))
    assert report.numbers == tuple(range(1, 7))
    assert (report.cause.kind, len(report.cause.frames)) == ("OSError", 2)


def test_github_marks():
    assert (
        read("##[error]Process completed\n::error file=a.py,line=1::ImportError: x").lines[0] == "Process completed"
    )


@pytest.mark.parametrize("gutter", ["{:3} | ", "{}:", "{}\t", "{:4}  "])
def test_line_numbers(gutter):
    lines = TRACEBACK.split("\n")
    report = read("\n".join(gutter.format(at) + line for at, line in enumerate(lines, 1)))
    assert [line.strip() for line in report.lines] == [line.strip() for line in lines]


def test_numbers_that_are_no_gutter_stay():
    text = "1.0 2.0\n3 4\n5 6\n7 8\n9 1\n2 3"
    assert read(text).text == text


def test_a_box():
    text = """\
╭───────────────────── Traceback (most recent call last) ──────────────────────╮
│ /opt/venv/lib/python3.10/site-packages/transformers/utils/import_utils.py:11 │
│ 25 in _get_module                                                            │
│                                                                              │
│   1122 │   │   try:                                                          │
│ ❱ 1125 │   │   │   return importlib.import_module("." + module_name, sel      │
╰──────────────────────────────────────────────────────────────────────────────╯
ImportError: cannot import name 'X' from 'pyramid.session' (unknown
location)"""
    report = read(text)
    assert not re.search("[│╭╰─]", report.text)
    assert report.cause.kind == "ImportError"
    frame = report.cause.frames[-1]
    assert frame.file.endswith("site-packages/transformers/utils/import_utils.py")
    assert (frame.line, frame.function) == (1125, "_get_module")
    assert (
        report.cause.message.replace("\n", " ") == "cannot import name 'X' from 'pyramid.session' (unknown location)"
    )


def test_pips_box():
    text = """\
  error: subprocess-exited-with-error

  × python setup.py egg_info did not run successfully.
  │ exit code: 1
  ╰─> [6 lines of output]
      Traceback (most recent call last):
        File "<string>", line 2, in <module>
        File "/tmp/pip-install-x/torch-scatter/setup.py", line 8, in <module>
          import torch
      ModuleNotFoundError: No module named 'torch'
      [end of output]

  note: This error originates from a subprocess, and is likely not a problem with pip.
error: metadata-generation-failed"""
    report = read(text)
    assert report.cause.message == "No module named 'torch'"
    assert [frame.file for frame in report.cause.frames][-1].endswith("setup.py")
    assert all(raised.envelope for raised in report.errors[1:])


def test_a_table_of_nvidia_smi_keeps_its_bars():
    line = "| NVIDIA-SMI 535.104.05   Driver Version: 535.104.05   CUDA Version: 12.2     |"
    assert read(line).lines == (line,)


def test_words_torn_at_a_terminals_width_are_joined():
    words = (
        "OSError: /home/me/conda/envs/proj/lib/python3.10/site-packages/torch_scatter/_version_cuda.so: undefined "
        "symbol: _ZN3c106detail12infer_schema20make_function_schemaENS_8ArrayRefINS1_11ArgumentDefEEES4_ENS_8ArrayRef"
    )
    torn = [words[at : at + 80] for at in range(0, len(words), 80)]
    report = read("\n".join(["Traceback (most recent call last):", *torn, "done"]))
    assert words in report.lines and report.numbers == (1, 2, 5)


def test_lines_of_one_length_are_not_joined():
    text = "ERROR: No matching distribution found for torch-cluster\nLooking in links: https://data.pyg.org/whl/x.h"
    assert len(read(text).lines) == 2


def test_repeated_lines_are_told_once():
    report = read("start\n" + "same line of a log\n" * 1000 + "end")
    assert report.lines == ("start", "same line of a log", "end")
    assert report.numbers == (1, 2, 1002)


def test_secrets_do_not_stay():
    text = (
        "pip install x --index-url https://me:secret123@host.example/simple hf_abcdefghijklmnop?x=1 eyJ" + "a" * 900
    )
    text += "\nGET https://a.example/b?token=hunter2 failed"
    report = read(text)
    assert not re.search("secret123|hf_abc|eyJaaa|hunter2", report.text + str(report.commands) + str(report.facts))


def test_numbers_are_those_of_what_was_pasted():
    report = read("```\n\x1b[31mone\x1b[0m\n\n\n\ntwo\n")
    assert [(number, line) for number, line in zip(report.numbers, report.lines) if line] == [(2, "one"), (6, "two")]


def test_newlines_written_out():
    text = '{"log": "Traceback (most recent call last):\\n  File \\"a.py\\", line 1, in f\\nValueError: x"}'
    assert "ValueError" in kinds(read(text))
    path = r"C:\Users\n\numpy\new.py"
    assert read(path).lines == (path,)


# -- errors


def test_a_traceback():
    report = read(TRACEBACK)
    (raised,) = report.errors
    assert raised == report.cause
    assert (raised.kind, raised.at, raised.end, raised.warning, raised.envelope) == ("OSError", 5, 6, False, False)
    assert raised.message.endswith("undefined symbol: _ZN5torch3jit17parseSchemaOrNameERKSs")
    first, last = raised.frames
    assert (first.file, first.line, first.function) == ("train.py", 3, "<module>")
    assert last.code == "torch.ops.load_library(spec.origin)"


def test_marks_below_the_source_are_no_source():
    text = TRACEBACK.replace("scatter\n", "scatter\n    ^^^^^^^^^^^^^^\n", 1)
    assert len(read(text).cause.frames) == 2


def test_the_first_of_a_chain_is_the_cause():
    text = f"""{TRACEBACK}

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "a.py", line 1, in <module>
    import b
RuntimeError: it did not work

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "a.py", line 9, in <module>
    f()
ModuleNotFoundError: Could not import module 'Trainer'. Are this object's requirements defined correctly?"""
    report = read(text)
    assert kinds(report) == ["OSError", "RuntimeError", "ModuleNotFoundError"]
    assert [raised.envelope for raised in report.errors] == [False, False, True]


def test_of_two_failures_the_later_one_comes_first():
    text = "Traceback (most recent call last):\nValueError: one\n>>> f()\n"
    text += "Traceback (most recent call last):\nKeyError: 'two'"
    assert kinds(read(text)) == ["KeyError", "ValueError"]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            "RuntimeError: Failed to import transformers.trainer because of the following error (look up to see its "
            "traceback):\ncannot import name 'amp' from 'apex' (/x/apex/__init__.py)",
            "ImportError",
            "cannot import name 'amp' from 'apex' (/x/apex/__init__.py)",
        ),
        (
            "RuntimeError: Failed to import transformers.x because of the following error (look up to see "
            "its traceback): "
            "No module named 'triton.ops'",
            "ModuleNotFoundError",
            "No module named 'triton.ops'",
        ),
        (
            "ray.exceptions.RayTaskError(ImportError): ray::f() (pid=1, ip=1.2.3.4)\nImportError: "
            "libGL.so.1: cannot open "
            "shared object file: No such file or directory",
            "ImportError",
            "libGL.so.1: cannot open shared object file: No such file or directory",
        ),
        (
            "hydra.errors.InstantiationException: Error in call to target 'a.B':\n"
            "ModuleNotFoundError(\"No module named 'torch_scatter'\")",
            "ModuleNotFoundError",
            "No module named 'torch_scatter'",
        ),
        (
            "Could not load bitsandbytes native library: libcusparse.so.11: cannot open shared object file: "
            "No such file "
            "or directory",
            "OSError",
            "libcusparse.so.11: cannot open shared object file: No such file or directory",
        ),
        (
            "torch.multiprocessing.spawn.ProcessRaisedException: \n\n-- Process 0 terminated with the "
            "following error:\n"
            'Traceback (most recent call last):\n  File "a.py", line 1, in f\n    g()\nRuntimeError: NCCL error\n',
            "RuntimeError",
            "NCCL error",
        ),
        (
            "torch._dynamo.exc.BackendCompilerFailed: backend='inductor' raised:\nRuntimeError: Cannot find "
            "a working triton",
            "RuntimeError",
            "Cannot find a working triton",
        ),
    ],
)
def test_envelopes_are_opened(text, kind, message):
    report = read(text)
    assert (report.cause.kind, report.cause.message) == (kind, message)
    assert any(raised.envelope for raised in report.errors[1:])


def test_a_swallowed_import():
    text = f"""\
/x/torch_geometric/typing.py:86: UserWarning: An issue occurred while importing 'torch-scatter'. \
Disabling its usage. Stacktrace: {SCATTER}: undefined symbol: _ZN5torch3jit17parseSchemaOrNameERKSs
  warnings.warn(f"An issue occurred while importing 'torch-scatter'. "
RuntimeError: Not compiled with CUDA support"""
    report = read(text)
    assert kinds(report) == ["RuntimeError", "OSError", "UserWarning"]
    assert report.warnings[0].envelope and report.errors[1].message.startswith(SCATTER)
    assert read(text.partition("\nRuntime")[0]).cause.kind == "OSError"


def test_a_warning_with_many_lines():
    text = """\
/opt/venv/lib/python3.11/site-packages/torch/cuda/__init__.py:287: UserWarning:
NVIDIA GeForce RTX 5060 Ti with CUDA capability sm_120 is not compatible with the current PyTorch installation.
The current PyTorch install supports CUDA capabilities sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90.
If you want to use the NVIDIA GeForce RTX 5060 Ti GPU with PyTorch, please check the instructions

  warnings.warn(
RuntimeError: CUDA error: no kernel image is available for execution on the device
CUDA kernel errors might be asynchronously reported at some other API call.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1

$ pip list"""
    report = read(text)
    assert kinds(report) == ["RuntimeError", "UserWarning"]
    assert report.cause.message.count("\n") == 2
    assert report.warnings[0].message.startswith("NVIDIA GeForce") and "instructions" in report.warnings[0].message
    assert report.facts.torch.architectures[-1] == "sm_90"
    assert [(gpu.name, gpu.capability) for gpu in report.facts.host.gpus] == [("NVIDIA GeForce RTX 5060 Ti", "12.0")]
    assert report.commands == (("pip", "list"),)


def test_the_source_below_a_warning_is_no_part_of_it():
    text = "a.py:3: FutureWarning: use b instead\n  from timm.models.layers import DropPath\nnext"
    (raised,) = read(text).errors
    assert (raised.message, raised.warning) == ("use b instead", True)


NOTEBOOKS = {
    "ipython": """\
---------------------------------------------------------------------------
OSError                                   Traceback (most recent call last)
<ipython-input-1-67fbdbf36bb6> in <module>
      1 import torch
----> 2 from torch_sparse import coalesce

/opt/conda/lib/python3.6/site-packages/torch_sparse/__init__.py in <module>
     12     torch.ops.load_library(importlib.machinery.PathFinder().find_spec(
---> 13         library, [osp.dirname(__file__)]).origin)

OSError: libcudart.so.10.1: cannot open shared object file: No such file or directory""",
    "new": """\
---------------------------------------------------------------------------
OSError                                   Traceback (most recent call last)
Cell In[3], line 1
----> 1 from torch_sparse import coalesce

File ~/envs/a/lib/python3.11/site-packages/torch_sparse/__init__.py:19, in <module>
     18 if spec is not None:
---> 19     torch.ops.load_library(spec.origin)

OSError: libcudart.so.10.1: cannot open shared object file: No such file or directory""",
    "colab": """\
OSError Traceback (most recent call last)
/usr/local/lib/python3.10/dist-packages/torch_sparse/__init__.py in <module>
     17         torch.ops.load_library(spec.origin)
---> 18 raise
OSError                                   Traceback (most recent call last)
/tmp/ipykernel_1/2.py in <cell line: 1>()
----> 1 from torch_sparse import coalesce
OSError: libcudart.so.10.1: cannot open shared object file: No such file or directory""",
}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_tracebacks_of_notebooks(name):
    report = read(NOTEBOOKS[name])
    assert report.cause.kind == "OSError"
    assert report.cause.message == "libcudart.so.10.1: cannot open shared object file: No such file or directory"
    assert report.cause.frames and report.cause.frames[-1].line in (13, 19, 1)


def test_a_notebooks_traceback_whose_end_was_cut():
    report = read(NOTEBOOKS["new"].rpartition("\n")[0])
    assert report.cause.kind == "OSError" and report.cause.message == "" and report.cause.frames


SINGLE = [
    (
        "E   ImportError: libGL.so.1: cannot open shared object file",
        "ImportError",
        "libGL.so.1: cannot open shared object file",
    ),
    (
        "Exception has occurred: OSError\nlibtorch_cuda_cu.so: cannot open shared object file",
        "OSError",
        "libtorch_cuda_cu.so: cannot open shared object file",
    ),
    (
        "\u53d1\u751f\u5f02\u5e38: ImportError\nDLL load failed while importing _C",
        "ImportError",
        "DLL load failed while importing _C",
    ),
    (
        "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
        "OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 2 GiB",
    ),
    ("ERROR:root:ImportError: x is missing", "ImportError", "x is missing"),
    ("- **ImportError: x is missing**", "ImportError", None),
    (
        "terminate called after throwing an instance of 'c10::Error'\n  what():  CUDA error: invalid device ordinal",
        "Error",
        "CUDA error: invalid device ordinal",
    ),
    ("Fatal Python error: Segmentation fault", "SIGSEGV", None),
    ("Segmentation fault (core dumped)", "SIGSEGV", None),
    ("Process finished with exit code -1073741819 (0xC0000005)", "SIGSEGV", None),
    ("Process finished with exit code 139 (interrupted by signal 11: SIGSEGV)", "SIGSEGV", None),
    ("Aborted (core dumped)", "SIGABRT", None),
    ("Illegal instruction (core dumped)", "SIGILL", None),
    ("Killed", "SIGKILL", None),
    ("ERROR: No matching distribution found for pyg_lib", "error", "No matching distribution found for pyg_lib"),
    (
        "Could not find a version that satisfies the requirement torch==0.4.1.post2 (from versions: 0.1.2)",
        "error",
        None,
    ),
    ("nvcc fatal   : Unsupported gpu architecture 'compute_35'", "error", None),
    ("a/b.cpp:12:10: fatal error: Python.h: No such file or directory", "error", None),
    ("a/b.cpp:12:10: erreur fatale : Python.h: Aucun fichier ou dossier de ce type", "error", None),
    (
        "a/b.cpp:12:10: \u81f4\u547d\u9519\u8bef\uff1aPython.h: "
        "\u6ca1\u6709\u90a3\u4e2a\u6587\u4ef6\u6216\u76ee\u5f55",
        "error",
        None,
    ),
    ("a/b.cpp:12:10: schwerwiegender Fehler: Python.h: Datei oder Verzeichnis nicht gefunden", "error", None),
    ("csrc/a.cu(217): error: no instance of overloaded function", "error", None),
    ("C:\\a\\b.h(12): fatal error C1083: Cannot open include file: 'Python.h'", "error", None),
    ("LINK : fatal error LNK1181: cannot open input file 'aten.lib'", "error", None),
    ("/usr/bin/ld: cannot find -lcudart", "error", None),
    ("FAILED: /tmp/a.o", "error", None),
    ("CMake Error at CMakeLists.txt:3 (message):\n  Could not find Torch", "error", None),
    ("/bin/sh: 1: nvcc: not found", "error", None),
    ("bash: nvcc: command not found", "error", None),
    ("'nvcc' is not recognized as an internal or external command,", "error", None),
    (
        "python: error while loading shared libraries: libpython3.8.so.1.0: cannot open shared object file",
        "error",
        None,
    ),
    ("python3: symbol lookup error: /x/libtorch.so: undefined symbol: abc", "error", None),
    ("/lib64/libm.so.6: version `GLIBC_2.27' not found (required by /x/_basis_cuda.so)", "error", None),
    ("torch_sparse/_convert_cpu.so: undefined symbol: _ZNK2at6Tensor5zero_Ev", "error", None),
    ("a/Indexing.cu:7: f: block: [1,0,0], thread: [7,0,0] Assertion `srcIndex < n` failed.", "error", None),
    ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", "error", None),
    ("Failed to initialize NVML: Driver/library version mismatch", "error", None),
    ("docker: Error response from daemon: could not select device driver", "error", None),
    ("PackagesNotFoundError: The following packages are not available", "PackagesNotFoundError", None),
    ("UnsatisfiableError: The following specifications were found\nto be incompatible", "UnsatisfiableError", None),
    (
        "  \u00d7 No solution found when resolving dependencies:\n  \u2570\u2500\u25b6 Because "
        "torch-scatter has no wheels",
        "error",
        None,
    ),
    ("module not found error : no module named 'fused_layer_norm_cuda'", "ModuleNotFoundError", None),
    ("CUDA Runtime Error: the provided PTX was compiled with an unsupported toolchain.", "error", None),
    ("cuda failed with error 222 the provided PTX", "error", None),
    ("AssertionError", "AssertionError", ""),
    ("KeyboardInterrupt", "KeyboardInterrupt", ""),
    ("pkg_resources.DistributionNotFound: The 'x' distribution was not found", "DistributionNotFound", None),
    (
        "subprocess.CalledProcessError: Command '['which', 'g++']' returned non-zero exit status 1.",
        "CalledProcessError",
        None,
    ),
    (
        "RuntimeError: \n      The detected CUDA version (10.1) mismatches the version",
        "RuntimeError",
        "The detected CUDA version (10.1) mismatches the version",
    ),
    (
        "Unexpected error: ImportError: numpy.core.multiarray failed to import",
        "ImportError",
        "numpy.core.multiarray failed to import",
    ),
    (
        "error: Microsoft Visual C++ 14.0 or greater is required.",
        "error",
        "Microsoft Visual C++ 14.0 or greater is required.",
    ),
    ("dyld[1]: Library not loaded: @rpath/libtorch.dylib", "error", None),
]


@pytest.mark.parametrize(("text", "kind", "message"), SINGLE, ids=[text[:40] for text, _, _ in SINGLE])
def test_single_errors(text, kind, message):
    report = read(text)
    assert report.errors and (report.errors[0].kind, report.errors[0].warning) == (kind, False)
    assert message is None or report.errors[0].message == message


@pytest.mark.parametrize(
    "text",
    [
        "I tried to install torch-scatter and it worked.",
        "torch                     1.12.0+cu113             pypi_0    pypi",
        "NVIDIA-SMI 510.60.02    Driver Version: 510.60.02    CUDA Version: 11.6",
        "Successfully installed torch-scatter-2.1.2",
        "def forward(self):\n    raise NotImplementedError",
        "",
    ],
)
def test_no_error(text):
    assert read(text).errors == ()
    assert read(text).cause is None


def test_a_compilers_first_error_is_the_cause():
    text = """\
[1/2] c++ -c a.cpp
FAILED: a.o
c++ -c a.cpp -o a.o
a.cpp:3:10: fatal error: cuda_runtime.h: No such file or directory
    3 | #include <cuda_runtime.h>
      |          ^~~~~~~~~~~~~~~~
compilation terminated.
b.cpp:4:1: error: expected ';'
ninja: build stopped: subcommand failed.
Traceback (most recent call last):
  File "/opt/x/lib/python3.8/site-packages/torch/utils/cpp_extension.py", line 1, in _run_ninja_build
    subprocess.run(
subprocess.CalledProcessError: Command '['ninja', '-v']' returned non-zero exit status 1.

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "setup.py", line 1, in <module>
    setup()
RuntimeError: Error compiling objects for extension"""
    report = read(text)
    assert "cuda_runtime.h" in report.cause.message
    assert [raised.kind for raised in report.errors if raised.envelope][-2:] == ["CalledProcessError", "RuntimeError"]


def test_pytest_with_several_lines():
    text = "E   OSError: first\nE   second\ntests/test_a.py:3: OSError"
    assert read(text).cause.message == "first\nsecond"


def test_xformers_banner():
    text = """\
WARNING[XFORMERS]: xFormers can't load C++/CUDA extensions. xFormers was built for:
    PyTorch 2.1.0+cu121 with CUDA 1201 (you have 2.2.0+cpu)
    Python  3.10.13 (you have 3.10.12)
  Please reinstall xformers (see https://github.com/facebookresearch/xformers#installing-xformers)"""
    report = read(text)
    assert report.errors[0].warning and "you have 2.2.0+cpu" in report.errors[0].message
    assert report.version("torch") == "2.2.0+cpu" and report.torch_build == "cpu"
    extension = report.facts.extension("xformers")
    assert (extension.built_for_torch, extension.built_for_cuda) == ("2.1", "12.1")
    assert report.facts.python.version == "3.10.12"


def test_where_a_hit_lies():
    report = read(f"before\n{TRACEBACK}\nafter")
    hit = report.hit(r"undefined symbol: (?P<symbol>\S+)")
    assert (hit.at, hit["symbol"]) == (6, "_ZN5torch3jit17parseSchemaOrNameERKSs")
    assert report.inside(hit) == report.cause
    assert report.inside(report.hit("before")) is None
    assert [found.at for found in report.hits("torch_scatter")] == [3, 4, 6]
    assert report.last("TORCH_scatter").at == 6 and report.last("nothing") is None
    assert report.has("nothing", "undefined symbol") and not report.has("nothing")
    assert list(report.raised("OSError")) == [report.cause]


def test_hits_of_an_empty_report():
    assert read("").hit("^").line == "" and read("").lines in ((), ("",))


# -- what is stated


def torch_of(text):
    report = read(text)
    torch = report.facts.torch
    return (torch.version, torch.cuda, report.torch_build) if torch else None


TORCHES = [
    ("PyTorch version: 2.6.0+cu124\nCUDA used to build PyTorch: 12.4", ("2.6.0+cu124", "12.4", "cu124")),
    ("PyTorch version: 1.0.0\nIs debug build: No\nCUDA used to build PyTorch: 9.0.176", ("1.0.0", "9.0", "cu90")),
    ("PyTorch version: 2.2.0\nCUDA used to build PyTorch: None", ("2.2.0", None, "cpu")),
    (
        "PyTorch version: 2.4.0\nCUDA used to build PyTorch: N/A\nROCM used to build PyTorch: 6.1.4",
        ("2.4.0", None, "rocm6.1"),
    ),
    ("torch==2.0.1+cpu", ("2.0.1+cpu", None, "cpu")),
    ("torch                     1.12.0+cu113             pypi_0    pypi", ("1.12.0+cu113", "11.3", "cu113")),
    ("pytorch                   1.13.1          py3.9_cuda11.7_cudnn8.5.0_0    pytorch", ("1.13.1", "11.7", "cu117")),
    ("pytorch                   1.10.2          cpu_py37hfa7516b_0", ("1.10.2", None, "cpu")),
    ("pkgs/main/linux-64::pytorch-1.10.2-cpu_py37hfa7516b_0", ("1.10.2", None, "cpu")),
    ("- pytorch=1.10.2=py3.7_cuda11.3_cudnn8.2.0_0", ("1.10.2", "11.3", "cu113")),
    (
        "[conda] pytorch                   1.0.0           py3.7_cuda9.0.176_cudnn7.4.1_1    pytorch",
        ("1.0.0", "9.0", "cu90"),
    ),
    ("[pip3] torch==2.1.0+cu118", ("2.1.0+cu118", "11.8", "cu118")),
    (">>> torch.__version__\n'2.0.1+cu118'", ("2.0.1+cu118", "11.8", "cu118")),
    (">>> print(torch.__version__)\n1.9.0\n>>> print(torch.version.cuda)\n11.1", ("1.9.0", "11.1", "cu111")),
    (">>> print(torch.__version__, torch.version.cuda)\n1.9.0 11.1", ("1.9.0", "11.1", "cu111")),
    ('$ python -c "import torch; print(torch.__version__)"\n2.0.1+cu117', ("2.0.1+cu117", "11.7", "cu117")),
    ("torch.__version__ 1.6.0.dev20200518\ntorch.version.cuda 10.2", ("1.6.0.dev20200518", "10.2", "cu102")),
    ("pytorch 1.8.0a0+1606899, CUDA 11.1", ("1.8.0a0+1606899", "11.1", "cu111")),
    ("nightly 2.8.0: torch 2.8.0.dev20250501+cu128", ("2.8.0.dev20250501+cu128", "12.8", "cu128")),
    ("PyTorch 2.1.0 cu121", ("2.1.0", "12.1", "cu121")),
    ("torch is 2.0.1, cuda is 11.8, RTX5090", ("2.0.1", "11.8", "cu118")),
    ("PyTorch: 2.5.1+cu121", ("2.5.1+cu121", "12.1", "cu121")),
    ("- PyTorch version (GPU?): 1.13.1+cu117 (True)", ("1.13.1+cu117", "11.7", "cu117")),
    ("Successfully installed torch-2.3.0 torchvision-0.18.0", ("2.3.0", None, None)),
    (" + torch==2.7.1+cu128", ("2.7.1+cu128", "12.8", "cu128")),
    (
        "Requirement already satisfied: torch>=1.8 in /x/lib/python3.9/site-packages (from a) (2.0.1)",
        ("2.0.1", None, None),
    ),
    ("Name: torch\nVersion: 2.4.1+cu118", ("2.4.1+cu118", "11.8", "cu118")),
    (
        "xformers 0.0.28 requires torch==2.4.0, but you have torch 2.5.0+cu121 which is incompatible.",
        ("2.5.0+cu121", "12.1", "cu121"),
    ),
    ("PyTorch                 1.9.0 @/x/torch", ("1.9.0", None, None)),
    (
        "Found GPU0 NVIDIA X which is of compute capability (CC) 6.1. Your installed torch==2.14.0+cu130 "
        "does not include",
        ("2.14.0+cu130", "13.0", "cu130"),
    ),
    ("| torch | 2.1.0 |\n| numpy | 1.26.0 |", ("2.1.0", None, None)),
    ("torch 2.4.0+rocm6.1", ("2.4.0+rocm6.1", None, "rocm6.1")),
    (
        "pip install torch==1.8.1+cu111 -f https://download.pytorch.org/whl/torch_stable.html",
        ("1.8.1+cu111", "11.1", "cu111"),
    ),
    ("conda install pytorch==1.7.1 torchvision cpuonly -c pytorch", ("1.7.1", None, "cpu")),
    (
        "The detected CUDA version (10.1) mismatches the version that was used to compile\nPyTorch (12.1). Please",
        ("", "12.1", "cu121"),
    ),
]


@pytest.mark.parametrize(("text", "wanted"), TORCHES, ids=[text[:40] for text, _ in TORCHES])
def test_torch(text, wanted):
    assert torch_of(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "torch-scatter 2.1.2",
        "Looking in links: https://data.pyg.org/whl/torch-2.0.0+cu117.html",
        "pip install torch-scatter -f https://data.pyg.org/whl/torch-2.0.0+cu117.html",
        "This package requires torch>=1.8",
        "You need PyTorch 1.8 or newer",
        "upgrade to torch 2.1.0",
        "it works with PyTorch 1.9",
        "ERROR: No matching distribution found for torch==0.4.1.post2",
        "torch/csrc/python_headers.h:9:20: fatal error: Python.h",
        "torch 1.x",
        "import torch",
        "ImportError: cannot import name 'amp' from 'apex'",
    ],
)
def test_a_torch_that_is_not_stated_stays_empty(text):
    assert read(text).facts.torch is None


def test_what_is_not_stated_stays_empty():
    facts = read("It does not work, please help").facts
    assert facts == Report((), ()).facts
    assert facts.host.gpus == () and facts.host.driver is None and facts.attempt is None


def test_what_was_printed_beats_what_was_written():
    text = "I have torch 1.9.0\n>>> torch.__version__\n'1.10.0'\nas I said, torch 1.9.0"
    assert read(text).version("torch") == "1.10.0"
    assert read("torch 1.9.0, sorry, torch 1.10.0").version("torch") == "1.10.0"
    assert read("pip install torch==1.8.0\ntorch    1.9.0\nnumpy   1.20.0").version("torch") == "1.9.0"


EXTENSIONS = [
    ("Successfully installed torch-scatter-2.1.2+pt20cu117", "torch-scatter", ("2.0", "11.7")),
    ("pyg-lib 0.5.0+pt28cu128", "pyg-lib", ("2.8", "12.8")),
    ("torch_scatter==2.1.2+pt113cpu", "torch-scatter", ("1.13", "cpu")),
    ("pyg/linux-64::pytorch-scatter-2.0.9-py37_torch_1.10.0_cu113", "torch-scatter", ("1.10", "11.3")),
    ("pytorch-scatter           2.1.0           py38_torch_1.13.0_cu117    pyg", "torch-scatter", ("1.13", "11.7")),
    ("torchvision  0.13.0+cu113", "torchvision", (None, "11.3")),
    ("flash_attn-2.5.8+cu122torch2.3cxx11abiFALSE-cp310-cp310-linux_x86_64.whl", "flash-attn", ("2.3", "12.2")),
    ("pytorch3d    0.7.4    py310_cu117_pyt1131    pytorch3d", "pytorch3d", ("1.13", "11.7")),
    (
        "https://data.pyg.org/whl/torch-1.10.0%2Bcu113/torch_scatter-2.0.9-cp37-cp37m-linux_x86_64.whl",
        "torch-scatter",
        ("1.10", "11.3"),
    ),
    (
        "PyTorch has CUDA version 10.2 and torch_sparse has CUDA version 11.1. Please reinstall",
        "torch-sparse",
        (None, "11.1"),
    ),
    (
        "pip install torch-sparse==latest+cu102 -f https://pytorch-geometric.com/whl/torch-1.5.0.html",
        "torch-sparse",
        ("1.5", "10.2"),
    ),
    ("natten==0.14.6+torch200cu118", "natten", ("2.0", "11.8")),
    ("spconv-cu117             2.3.6", "spconv-cu117", (None, "11.7")),
    ("torch-scatter 2.0.9", "torch-scatter", (None, None)),
    (
        "xformers 0.0.28 requires torch==2.4.0, but you have torch 2.5.0 which is incompatible.",
        "xformers",
        (None, None),
    ),
]


@pytest.mark.parametrize(("text", "package", "built"), EXTENSIONS, ids=[text[:40] for text, _, _ in EXTENSIONS])
def test_extensions(text, package, built):
    extension = read(text).facts.extension(package)
    assert extension is not None
    assert (extension.built_for_torch, extension.built_for_cuda) == built


def test_a_list_of_packages():
    text = """\
Package            Version
------------------ ------------
numpy              1.26.4
torch              2.1.0+cu118
torch_geometric    2.4.0
torch_scatter      2.1.2+pt21cu118
typing_extensions  4.9.0
Werkzeug           3.0.1"""
    facts = read(text).facts
    assert {d.key: d.version for d in facts.distributions} == {
        "numpy": "1.26.4",
        "torch": "2.1.0+cu118",
        "torch-geometric": "2.4.0",
        "torch-scatter": "2.1.2+pt21cu118",
        "typing-extensions": "4.9.0",
        "werkzeug": "3.0.1",
    }
    assert read("torch==2.0.0\nnumpy==1.24.1\nfoo-bar==0.1.dev3").version("foo_bar") == "0.1.dev3"


def test_requirements_that_are_not_met():
    facts = read("xformers 0.0.28 requires torch==2.4.0, but you have torch 2.5.0 which is incompatible.").facts
    assert facts.extension("xformers").requires_torch == ("torch==2.4.0",)
    assert facts.distribution("xformers").requires == ("torch==2.4.0",)


PYTHONS = [
    (
        "Python 3.10.6 | packaged by conda-forge | (main, Aug 22 2022, 20:36:39) [GCC 10.4.0] on linux",
        ("3.10.6", 0, "Linux"),
    ),
    (
        "Python 3.7.5 (default, Oct 31 2019, 15:18:51) [MSC v.1916 64 bit (AMD64)] :: Anaconda, Inc. on win32",
        ("3.7.5", 64, "Windows"),
    ),
    (
        "Python 3.8.10 (tags/v3.8.10:3d8993a, May  3 2021, 11:34:34) [MSC v.1928 32 bit (Intel)] on win32",
        ("3.8.10", 32, "Windows"),
    ),
    ("Python version: 3.12.3 (main, Nov  6 2024, 18:32:19) [GCC 13.2.0] (64-bit runtime)", ("3.12.3", 64, "")),
    ("Python version: 3.7", ("3.7", 0, "")),
    ('File "/opt/conda/lib/python3.8/site-packages/a.py"', ("3.8", 0, "Linux")),
    ("C:\\Users\\u\\AppData\\Local\\Programs\\Python\\Python39\\lib\\site-packages\\torch", ("3.9", 0, "Windows")),
    ("/x/_C.cpython-311-x86_64-linux-gnu.so: undefined symbol: a", ("3.11", 0, "Linux")),
    ("_C.cp39-win_amd64.pyd", ("3.9", 0, "Windows")),
    ("conda create -n a python=3.7 -y", ("3.7", 0, "")),
    ("Your python: python=3.12", ("3.12", 0, "")),
    ("requires a different Python: 3.12.1 not in '<3.12'", ("3.12.1", 0, "")),
    ("macOS, Python 3.11, torch 2.5.1", ("3.11", 0, "Darwin")),
    ("Python: 3.10.6\nOS: Windows 11", ("3.10.6", 0, "Windows")),
    ("* Python version: 3.9", ("3.9", 0, "")),
    ("python                    3.6.9                h265db76_0", ("3.6.9", 0, "")),
    ("python==3.6.9\ntorch==1.9.0", ("3.6.9", 0, "")),
]


@pytest.mark.parametrize(("text", "wanted"), PYTHONS, ids=[text[:40] for text, _ in PYTHONS])
def test_python(text, wanted):
    facts = read(text).facts
    assert (facts.python.version, facts.python.bits, facts.host.system) == wanted


def test_folders_tell_of_conda_and_venv():
    python = read(
        "/home/u/miniconda3/envs/a/lib/python3.8/site-packages/torch/x.so: undefined symbol: a"
    ).facts.python
    assert (python.prefix, python.conda, python.venv) == ("/home/u/miniconda3/envs/a", True, False)
    python = read("/home/u/proj/.venv/lib/python3.8/site-packages/torch/x.so: undefined symbol: a").facts.python
    assert (python.prefix, python.conda, python.venv) == ("/home/u/proj/.venv", False, True)


def test_collect_env():
    text = """\
PyTorch version: 2.6.0+cu124
Is debug build: False
CUDA used to build PyTorch: 12.4
ROCM used to build PyTorch: N/A

OS: Ubuntu 22.04.5 LTS (x86_64)
GCC version: (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0
Clang version: Could not collect
CMake version: version 3.22.1
Libc version: glibc-2.35

Python version: 3.12.3 (main, Nov  6 2024, 18:32:19) [GCC 13.2.0] (64-bit runtime)
Python platform: Linux-6.8.0-x86_64-with-glibc2.35
Is CUDA available: False
CUDA runtime version: 11.8.89
GPU models and configuration:
GPU 0: NVIDIA A800 80GB PCIe
GPU 1: NVIDIA GeForce RTX 3090

Nvidia driver version: 550.54.14
cuDNN version: Could not collect

Versions of relevant libraries:
[pip3] numpy==1.26.4
[pip3] torch==2.6.0+cu124
[pip3] torch-scatter==2.1.2+pt25cu124
[conda] Could not collect"""
    report = read(text)
    facts = report.facts
    assert (facts.torch.version, facts.torch.cuda, report.torch_build) == ("2.6.0+cu124", "12.4", "cu124")
    assert report.cuda_available is False
    assert (facts.host.os, facts.host.libc, facts.host.compiler) == (
        "Ubuntu 22.04.5 LTS (x86_64)",
        "glibc 2.35",
        "gcc 11.4.0",
    )
    assert [(gpu.name, gpu.capability) for gpu in facts.host.gpus] == [
        ("NVIDIA A800 80GB PCIe", "8.0"),
        ("NVIDIA GeForce RTX 3090", "8.6"),
    ]
    assert facts.host.driver.version == "550.54.14"
    assert [toolkit.version for toolkit in facts.host.toolkits] == ["11.8"]
    assert (facts.python.version, facts.python.bits, facts.python.platform) == ("3.12.3", 64, "linux_x86_64")
    assert {d.key for d in facts.distributions} == {"numpy", "torch", "torch-scatter"}
    assert facts.extension("torch-scatter").built_for_torch == "2.5"
    assert report.errors == ()


SMI = [
    ("| NVIDIA-SMI 390.48                 Driver Version: 390.48                    |", ("390.48", None)),
    ("NVIDIA-SMI 475.14       Driver Version: 475.14       CUDA Version: 11.4", ("475.14", "11.4")),
    (
        "| NVIDIA-SMI 535.104.05             Driver Version: 535.104.05   CUDA Version: 12.2     |",
        ("535.104.05", "12.2"),
    ),
    ("| NVIDIA-SMI 560.35.02    Driver Version: 560.94    CUDA Version: 12.6    |", ("560.94", "12.6")),
    ("Nvidia driver version: 550.54.14", ("550.54.14", None)),
    ("Windows, RTX 2070, driver 560.81", ("560.81", None)),
    ("The NVIDIA driver on your system is too old (found version 10010).", ("", "10.1")),
    ("CUDA driver version is insufficient for CUDA runtime version", None),
]


@pytest.mark.parametrize(("text", "wanted"), SMI)
def test_drivers(text, wanted):
    driver = read(text).facts.host.driver
    assert (driver and (driver.version, driver.cuda)) == wanted


GPUS = [
    (
        "|   0  NVIDIA GeForce RTX 3090        Off | 00000000:01:00.0 Off |                  N/A |",
        [("NVIDIA GeForce RTX 3090", "8.6")],
    ),
    ("|   0  Tesla V100-SXM2...  On   | 00000000:00:1E.0 Off |                    0 |", [("Tesla V100-SXM2", "7.0")]),
    ("GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-1234)", [("NVIDIA A100-SXM4-40GB", "8.0")]),
    ("GPU: Zotac RTX 5060 Ti 16GB", [("RTX 5060 Ti", "12.0")]),
    ("I use an RTX4090 here", [("RTX4090", "8.9")]),
    ("a Jetson Xavier with", [("Jetson Xavier", "7.2")]),
    ("GPU: TITAN RTX, CUDA: 10.0", [("TITAN RTX", "7.5")]),
    ("Found GPU0 NVIDIA GB10 which is of cuda capability 12.1.", [("NVIDIA GB10", "12.1")]),
    ("on a GTX 1080Ti", [("GTX 1080Ti", "6.1")]),
    ("GTX 1660 SUPER", [("GTX 1660 SUPER", "7.5")]),
    ("torch.cuda.get_device_name(0): 'NVIDIA H800'", [("NVIDIA H800", "9.0")]),
    (">>> torch.cuda.get_device_capability()\n(8, 6)", [("GPU of compute capability 8.6", "8.6")]),
    ("RTX 50-series", []),
    ("undefined symbol: _ZN2at4_ops5zeros4callEN3c108ArrayRefT4_", []),
]


@pytest.mark.parametrize(("text", "wanted"), GPUS, ids=[text[:30] for text, _ in GPUS])
def test_gpus(text, wanted):
    assert [(gpu.name, gpu.capability) for gpu in read(text).facts.host.gpus] == wanted


def test_toolkits_and_compilers():
    text = """\
$ nvcc --version
nvcc: NVIDIA (R) Cuda compiler driver
Cuda compilation tools, release 11.3, V11.3.58
Build cuda_11.3.r11.3/compiler.29745058_0
$ gcc --version
gcc (Ubuntu 9.4.0-1ubuntu1~20.04.1) 9.4.0
$ echo $CUDA_HOME
/usr/local/cuda-11.3
$ ldd --version
ldd (Ubuntu GLIBC 2.31-0ubuntu9.9) 2.31
$ export LD_LIBRARY_PATH=/usr/local/cuda-10.2/lib64:$LD_LIBRARY_PATH"""
    report = read(text)
    host = report.facts.host
    assert (host.toolkits[0].path, host.toolkits[0].version) == ("/usr/local/cuda-11.3", "11.3")
    assert (host.compiler, host.libc) == ("gcc 9.4.0", "glibc 2.31")
    assert report.facts.variables == {
        "CUDA_HOME": "/usr/local/cuda-11.3",
        "LD_LIBRARY_PATH": "/usr/local/cuda-10.2/lib64:$LD_LIBRARY_PATH",
    }
    assert report.commands[0] == ("nvcc", "--version") and len(report.commands) == 5


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("CUDA_HOME=/usr/local/cuda python setup.py install", "CUDA_HOME", "/usr/local/cuda"),
        ("FORCE_CUDA=1 pip install torch-scatter", "FORCE_CUDA", "1"),
        ('set "CUDA_HOME=C:\\Program Files\\CUDA\\v12.9\\"', "CUDA_HOME", "C:\\Program Files\\CUDA\\v12.9\\"),
        ("ENV TORCH_CUDA_ARCH_LIST=8.6", "TORCH_CUDA_ARCH_LIST", "8.6"),
        ('$env:FORCE_CUDA="1"', "FORCE_CUDA", "1"),
        ("CUDA_HOME: /usr/local/cuda", "CUDA_HOME", "/usr/local/cuda"),
        ("CUDA_VISIBLE_DEVICES=", "CUDA_VISIBLE_DEVICES", ""),
    ],
)
def test_variables(text, name, value):
    assert read(text).facts.variables == {name: value}


def test_a_message_on_a_variable_states_none():
    text = "OSError: CUDA_HOME environment variable is not set. Please set it to your CUDA install root."
    assert read(text).facts.variables == {}


@pytest.mark.parametrize(
    ("text", "container"),
    [
        ("docker run --gpus all nvcr.io/nvidia/pytorch:20.12-py3", "docker"),
        ("FROM nvidia/cuda:11.1-cudnn8-devel-ubuntu18.04", "docker"),
        ("singularity exec --nv a.sif python x.py", "apptainer"),
        ("Windows 11, WSL2 Ubuntu 22.04", "wsl"),
        ("a plain machine", None),
    ],
)
def test_containers(text, container):
    assert read(text).facts.host.container == container


# -- what was typed

COMMANDS = [
    ("pip install torch-scatter", [("pip", "install", "torch-scatter")]),
    (
        "$ pip install a && pip install b; python -m pip install c",
        [("pip", "install", "a"), ("pip", "install", "b"), ("python", "-m", "pip", "install", "c")],
    ),
    ("(env) user@host:~/proj$ python setup.py install", [("python", "setup.py", "install")]),
    ("(base) PS C:\\Users\\u> conda install pytorch -c pytorch", [("conda", "install", "pytorch", "-c", "pytorch")]),
    ("(x) C:\\a\\b>python setup.py install", [("python", "setup.py", "install")]),
    ("[user@login1 ~]$ module load cuda/11.3", [("module", "load", "cuda/11.3")]),
    ("root@abc123:/workspace# pip list", [("pip", "list")]),
    (
        "!pip install -q torch-scatter -f https://data.pyg.org/whl/torch-1.9.0+cu111.html",
        [("pip", "install", "-q", "torch-scatter", "-f", "https://data.pyg.org/whl/torch-1.9.0+cu111.html")],
    ),
    ("%pip install a", [("pip", "install", "a")]),
    ("In [3]: !pip install a", [("pip", "install", "a")]),
    (
        "RUN FORCE_CUDA=1 pip install a \\\n    && pip install b",
        [("FORCE_CUDA=1", "pip", "install", "a"), ("pip", "install", "b")],
    ),
    ("Step 4/7 : RUN pip install a", [("pip", "install", "a")]),
    ("#9 [4/7] RUN pip install a", [("pip", "install", "a")]),
    ("      - run: pip install a", [("pip", "install", "a")]),
    ("Run pip install a", [("pip", "install", "a")]),
    ("+ pip install a", [("pip", "install", "a")]),
    (
        "pip install a \\\n  --extra-index-url https://x.example/b \\\n  -v",
        [("pip", "install", "a", "--extra-index-url", "https://x.example/b", "-v")],
    ),
    ("uv pip install torch --torch-backend=auto", [("uv", "pip", "install", "torch", "--torch-backend=auto")]),
    ("uv sync", [("uv", "sync")]),
    ("poetry add torch", [("poetry", "add", "torch")]),
    ("sudo apt-get install python3-dev", [("sudo", "apt-get", "install", "python3-dev")]),
    ("sudo docker run -it --gpus all img bash", [("sudo", "docker", "run", "-it", "--gpus", "all", "img", "bash")]),
    ("I ran `pip install torch-scatter` and it failed", [("pip", "install", "torch-scatter")]),
    ("> pip install a", [("pip", "install", "a")]),
    ('pip install "a[b]>=1" # comment', [("pip", "install", "a[b]>=1")]),
    ("C:\\Python39\\python.exe -m pip install a", [("C:\\Python39\\python.exe", "-m", "pip", "install", "a")]),
    ("pip is a tool, and conda too", []),
    ("I use python 3.8 and pip", []),
    (">>> import torch", []),
    ("Please run `pip install accelerate` first", []),
    ("ImportError: x requires y. You can install it with pip:\npip install y. Then restart", []),
    ("Running command python setup.py egg_info", []),
]


@pytest.mark.parametrize(("text", "commands"), COMMANDS, ids=[text[:40] for text, _ in COMMANDS])
def test_commands(text, commands):
    assert list(read(text).commands) == commands


def test_an_attempt():
    text = """\
$ pip install numpy
Successfully installed numpy-1.2.3
$ pip install torch-cluster -f https://data.pyg.org/whl/torch-1.8.0+${CUDA}.html
Looking in links: https://data.pyg.org/whl/torch-1.8.0+${CUDA}.html
ERROR: Could not find a version that satisfies the requirement torch-cluster
ERROR: No matching distribution found for torch-cluster
$ python a.py
ModuleNotFoundError: No module named 'torch_cluster'"""
    report = read(text)
    attempt = report.facts.attempt
    assert attempt.argv[:3] == ("pip", "install", "torch-cluster")
    assert len(attempt.said) == 3 and attempt.status is None
    assert report.pages == ("https://data.pyg.org/whl/torch-1.8.0+${CUDA}.html",)


def test_an_attempt_without_its_command():
    text = "Collecting torch-scatter\nRunning setup.py install for torch-scatter ... error\nexit status 1"
    attempt = read(text).facts.attempt
    assert attempt.argv == () and attempt.status == 1 and len(attempt.said) == 3


# -- hostile and large input

LARGE = 1 << 20
HOSTILE = {
    **{f"many {c!r}": c * LARGE for c in " <(1\0\ud800*`=>/\\│_a.\t"},
    "addresses": "http://" * (LARGE // 7),
    "tokens": "-eyJabc" * (LARGE // 7),
    "variables": "\n".join("A='' " * 1500 + f"pip install {at}" for at in range(140)),
    "tags": "<div " * (LARGE // 5) + "<br><br>",
    "scripts": "<script>" * (LARGE // 8),
    "escapes": "\x1b[\x1b]" * (LARGE // 4),
    "errors": "\n".join(f"Error: {at}" for at in range(70_000)),
    "names": "\n".join("ImportError: " * 600 + str(at) for at in range(130)),
    "envelopes": "\n".join("because of the following error: Reason: " * 190 + str(at) for at in range(130)),
    "versions": "\n".join(f"torch {at}.1" for at in range(80_000)),
    "tables": "\n".join(f"a{at}   1.{at}" for at in range(70_000)),
    "gpus": "\n".join(f"RTX {1000 + at % 9000}" for at in range(80_000)),
    "paths": "\n".join("/a" * 3900 + str(at) for at in range(130)),
    "assertions": "\n".join("Assertion `" * 700 + str(at) for at in range(130)),
    "spaced": "\n".join(" " * 7900 + str(at) for at in range(130)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_read_in_bounded_time(name):
    began = time.process_time()
    report = read(HOSTILE[name])
    assert time.process_time() - began < 5  # most take a tenth; a pattern that runs away takes hours
    assert len(report.text) <= 1_100_000
    assert Facts.from_json(report.facts.to_json()) == report.facts


@pytest.mark.parametrize("kind", ["text", "bytes", "one line", "progress"])
def test_fifty_megabytes(kind):
    line = "Epoch 3: 12%|###   | 12/100 [00:03<00:20,  3.4it/s, loss=0.123] some ordinary log text here\n"
    half = line * ((25 << 20) // len(line))
    text = half + TRACEBACK + "\n" + half
    if kind == "one line":
        text = "x" * (50 << 20)
    if kind == "progress":
        text = text.replace("here\n", "here\r")
    data = text if kind == "text" else text.encode()
    del half, text
    tracemalloc.start()
    began = time.process_time()
    report = read(data)
    took, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 10 and peak < 60 << 20
    if kind in ("text", "bytes"):
        where = "Traceback" if kind == "text" else b"Traceback"
        assert report.cause.kind == "OSError"
        assert (
            report.numbers[report.cause.at] == data.count("\n" if kind == "text" else b"\n", 0, data.index(where)) + 6
        )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.text(max_size=400), st.binary(max_size=400)))
def test_anything_is_read(data):
    report = read(data)
    assert len(report.lines) == len(report.numbers)
    assert list(report.numbers) == sorted(report.numbers)
    assert all(isinstance(raised, Raised) and 0 <= raised.at < raised.end for raised in report.errors)
    assert Facts.from_json(report.facts.to_json()) == report.facts


PIECES = [
    *(text for text, _, _ in SINGLE),
    *(text for text, _ in TORCHES),
    *(text for text, _ in GPUS),
    *(text for text, _ in COMMANDS),
    *NOTEBOOKS.values(),
    TRACEBACK,
    "During handling of the above exception, another exception occurred:",
    "Traceback (most recent call last):",
    '  File "a.py", line 1, in f',
    "│ ╰─> ```",
    "",
    "\r\x1b[0m",
    "<pre><br>",
]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(PIECES), max_size=12), st.integers(0, 3000), st.integers(0, 3000))
def test_pieces_of_real_text_in_any_order_and_cut(pieces, start, end):
    text = "\n".join(pieces)
    report = read(text[start % (len(text) + 1) :][: end + 1])
    assert all(0 <= raised.at < raised.end <= len(report.lines) for raised in report.errors)
    warnings = [raised.warning for raised in report.errors]
    assert warnings == sorted(warnings), "warnings last"
    again = read(report.text)
    assert [raised.kind for raised in again.errors if raised.frames] == [
        raised.kind for raised in report.errors if raised.frames
    ]


def test_a_traceback_is_read_within_milliseconds():
    frames = "".join(
        f'  File "/opt/venv/lib/python3.10/site-packages/torch/nn/m{at}.py", line {at}, in f\n    return g({at})\n'
        for at in range(96)
    )
    text = f"Traceback (most recent call last):\n{frames}RuntimeError: CUDA error: no kernel image is available\n"
    read(text)
    best = min(_seconds(text) for _ in range(10))
    assert best < 0.02  # 2 ms on an idle core


def _seconds(text):
    began = time.process_time()
    read(text)
    return time.process_time() - began


def test_the_last_line_of_a_traceback_that_lost_its_name():
    text = """\
  File "/opt/conda/lib/python3.6/site-packages/torch/cuda/__init__.py", line 99, in _check_driver
    http://www.nvidia.com/Download/index.aspx\"\"\")
Found no NVIDIA driver on your system"""
    (raised,) = read(text).errors
    assert (raised.kind, raised.message) == ("error", "Found no NVIDIA driver on your system")
    text = """\
---> 18 from apex import amp
/usr/local/lib/python3.6/dist-packages/apex/__init__.py in <module>()
---> 18 from apex.interfaces import (ApexImplementation,
/usr/local/lib/python3.6/dist-packages/zope/interface/declarations.py in implements(*interfaces)
--> 483         raise TypeError(_ADVICE_ERROR % 'implementer')
Class advice impossible in Python3. Use the @implementer class decorator instead."""
    (raised,) = read(text).errors
    assert raised.message.startswith("Class advice impossible") and raised.frames[-1].line == 483


def test_a_folder_with_a_space():
    text = "Cannot find library at /Users/me/My Project/.venv/lib/python3.11/site-packages/dgl/x.dylib"
    assert read(text).facts.python.prefix == "/Users/me/My Project/.venv"


def test_a_notebooks_file():
    text = """\
   "outputs": [
    {
     "ename": "OSError",
     "output_type": "error",
     "traceback": [
      "\\u001b[0;31mOSError\\u001b[0m                     Traceback (most recent call last)",
      "Cell \\u001b[0;32mIn[1], line 1\\u001b[0m\\n\\u001b[0;32m----> 1\\u001b[0m import torch_scatter\\n",
      "\\u001b[0;31mOSError\\u001b[0m: libcudart.so.10.1: cannot open shared object file"
     ]"""
    report = read(text)
    assert (report.cause.kind, report.cause.message) == (
        "OSError",
        "libcudart.so.10.1: cannot open shared object file",
    )


def test_words_of_a_person_are_no_part_of_a_message():
    for words in (
        "How can I fix this?",
        "\u8bf7\u95ee\u600e\u4e48\u89e3\u51b3\uff1f",
        "torch 1.8.0",
        "pip install x",
        "I use Linux.",
    ):
        assert read(f"ImportError: libcudart.so.10.2: cannot open\n{words}").cause.message.count("\n") == 0


def test_a_docker_build():
    text = """\
#12 [ 8/10] RUN pip install torch-scatter -f https://data.pyg.org/whl/torch-2.1.0+cu118.html
#12 1.234 Looking in links: https://data.pyg.org/whl/torch-2.1.0+cu118.html
#12 2.345 Collecting torch-scatter
#12 4.6   error: subprocess-exited-with-error
#12 4.7   \u00d7 python setup.py egg_info did not run successfully.
#12 5.0       Traceback (most recent call last):
#12 5.1         File "<string>", line 2, in <module>
#12 5.2       ModuleNotFoundError: No module named 'torch'
#12 ERROR: process "/bin/sh -c pip install torch-scatter" did not complete successfully: exit code: 1
------
 > [ 8/10] RUN pip install torch-scatter:
------"""
    report = read(text)
    assert report.cause.message == "No module named 'torch'"
    assert len(report.commands) == 1 and report.facts.attempt.status == 1
    assert report.facts.attempt.argv[:3] == ("pip", "install", "torch-scatter")


def test_the_folders_of_a_build_are_no_environment():
    text = """\
File "/tmp/pip-build-env-abc/overlay/lib/python3.10/site-packages/setuptools/build_meta.py", line 1, in x
File "/opt/a/lib/python3.10/site-packages/pip/x.py", line 1, in x
File "/tmp/pip-build-env-abc/overlay/lib/python3.10/site-packages/torch/x.py", line 1, in x"""
    assert read(text).facts.python.prefix == "/opt/a"
