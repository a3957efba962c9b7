"""kit.verify: what works is proven; a failure, a crash, a hang is a result; nothing passes in silence."""

import ast
import dataclasses
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import venv
from pathlib import Path

import pytest

from kit import verify_child
from kit.collect import collect
from kit.collect.run import Outcome
from kit.errors import KitError
from kit.verify import verify

module = sys.modules["kit.verify"]  # `kit.verify` itself is the function
slow = pytest.mark.slow
has_scatter = importlib.util.find_spec("torch_scatter") is not None

# A torch of which only the parts exist that imports and the GPU check ask for.
FAKE_TORCH = """
    from types import SimpleNamespace
    __version__ = "2.13.0+cu130"
    version = SimpleNamespace(cuda="13.0", hip=None)
    names = []
    def init():
        raise RuntimeError("No CUDA GPUs are available")
    cuda = SimpleNamespace(is_available=lambda: bool(names), device_count=lambda: len(names), init=init,
        get_device_name=lambda i: names[i][0], get_device_capability=lambda i: names[i][1])
"""


def environment(folder, packages, share=False):
    """The interpreter of a fresh environment with these packages, each with its metadata: {name: source}.

    ``share`` puts the packages of the running interpreter behind them.
    """
    venv.create(folder, with_pip=False, symlinks=os.name == "posix")
    site = next(Path(folder).glob("lib/python*/site-packages"))
    if share:
        (site / "shared.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    for name, source in packages.items():
        version = "2.13.0" if name == "torch" else "1.0"
        (site / name).mkdir()
        (site / name / "__init__.py").write_text(textwrap.dedent(source))
        if name == "torch":
            (site / name / "version.py").write_text("__version__ = '2.13.0+cu130'\ncuda = '13.0'\n")
        metadata = site / f"{name}-{version}.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (metadata / "RECORD").write_text("")
    return str(Path(folder) / "bin" / "python")


def faked(folder, limit=30.0, torch=FAKE_TORCH, **packages):
    """The verification of an environment with a fake torch and these packages."""
    return verify(environment(folder, {"torch": torch, **packages}), limit=limit)


# -- a healthy environment: the one that runs the tests


@pytest.fixture(scope="module")
def live():
    told = []
    result = verify(progress=lambda *event: told.append(event))
    return result, told


@slow
@pytest.mark.xdist_group("live")  # its verification is made once
def test_live_environment_is_healthy(live):
    import torch

    result, _ = live
    devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    names = [c.name for c in result.checks]
    operators = ["scatter_max", "scatter_min", "segment_coo", "segment_csr"] if has_scatter else []
    assert names[:2] == ["import torch", "GPU"]
    assert names[2:-1] == [f"{o} on {d}" for o in ["matmul"] for d in devices] + [
        f"{o} on {d}" for d in devices for o in operators
    ]
    assert names[-1] == "import networkx"
    assert result.verdict == "healthy"
    if len(devices) > 1:
        assert result["GPU"].ok is True and torch.cuda.get_device_name(0) in result["GPU"].detail
    else:
        assert (result["GPU"].ok, result["GPU"].detail) == (None, "no GPU: not checked")
    assert [c.ok for c in result.checks if c.name != "GPU"] == [True] * (len(names) - 1)
    assert torch.__version__ in result["import torch"].detail
    assert all(0 < c.seconds < 120 for c in result.checks)


@slow
@pytest.mark.xdist_group("live")
def test_progress_begins_at_nothing_and_ends_with_everything(live):
    result, told = live
    assert told[0] == ("import torch", 0, len(result.checks))
    assert told[-1][1:] == (len(result.checks), len(result.checks))
    assert {name for name, _, _ in told} == {c.name for c in result.checks}
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)


@slow
@pytest.mark.xdist_group("live")
def test_json_is_the_contract(live):
    data = json.loads(json.dumps(live[0].to_dict()))
    assert (list(data), data["schema"], data["verdict"]) == (["schema", "verdict", "checks"], 1, "healthy")
    assert {tuple(check) for check in data["checks"]} == {("name", "ok", "detail", "seconds")}


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"require": "rocm"}, "cannot require 'rocm'; what can be required: cuda"),
        ({"gpu": "twelve"}, "not a compute capability: 'twelve'"),
        ({"python": "/no/such/python"}, "no such interpreter"),
        ({"python": os.path.dirname(__file__)}, "is a directory"),
    ],
)
def test_unusable_arguments_are_one_line(arguments, message):
    with pytest.raises(KitError) as raised:
        verify(**arguments)
    assert message in str(raised.value) and "\n" not in str(raised.value)


# -- torch_scatter that computes wrong, crashes, or ends


BROKEN_SCATTER = """
    import ctypes, os, torch
    def scatter_max(src, index, dim=-1, out=None, dim_size=None):
        ctypes.string_at(0)
    def scatter_min(src, index, dim=-1, out=None, dim_size=None):
        return torch.zeros(dim_size), torch.zeros(dim_size, dtype=torch.long)
    def segment_coo(*args, **kwargs):
        raise RuntimeError("Not compiled with CUDA support\\nException raised from somewhere")
    def segment_csr(*args, **kwargs):
        os._exit(0)
"""


@slow
def test_wrong_values_crashes_and_errors_of_torch_scatter_and_a_required_gpu(tmp_path):
    import torch

    result = verify(environment(tmp_path, {"torch_scatter": BROKEN_SCATTER}, share=True), require="cuda")
    assert result.verdict == "broken"
    assert result["GPU"].ok is torch.cuda.is_available()
    if not torch.cuda.is_available():
        reason = "is a CPU build" if torch.version.cuda is None else "NVIDIA driver"
        assert result["GPU"].detail.startswith("no GPU can be used: ") and reason in result["GPU"].detail
    assert result["scatter_max on cpu"].detail == "killed by SIGSEGV in torch_scatter/__init__.py line 4"
    assert result["scatter_min on cpu"].detail == (
        "min of float32 (7,) is wrong: 0 instead of -87.5 at [0], 0 instead of -74.5 at [1], "
        "0 instead of -61.5 at [3] (3 of 5 values differ)"
    )
    assert result["segment_coo on cpu"].detail == "RuntimeError: Not compiled with CUDA support"
    assert result["segment_csr on cpu"].detail == "Python ended without an answer"
    assert [c.name for c in result.checks if c.ok and "cuda:" not in c.name and c.name != "GPU"] == [
        "import torch",
        "matmul on cpu",
        "import networkx",
    ]  # the others ran to their end


def test_reference_by_hand():
    numbers, index = [5.0, -2.0, 7.0, -3.0, 7.0], [[1, 0, 1, 0, 1]]
    assert verify_child.reference("max", numbers, index, 3, 1) == (
        [-2.0, 7.0, 0],
        [1, 2, 5],
        [[(1, 1)], [(2, 1)], []],
    )  # the first of equals; an empty group is 0, its arg one past the end
    assert verify_child.reference("min", numbers, index, 3, 1)[:2] == ([-3.0, 5.0, 0], [3, 0, 5])
    assert verify_child.reference("sum", numbers, index, 3, 1)[:2] == ([-5.0, 19.0, 0], None)
    values, _, shares = verify_child.reference("mean", numbers, index, 3, 1)
    assert values == pytest.approx([-2.5, 19 / 3, 0])
    assert shares[0] == [(1, 0.5), (3, 0.5)]
    # Two rows with an index each; two columns behind the axis.
    assert verify_child.reference("max", [1, 2, 3, 4], [[0, 0], [1, 0]], 2, 1)[0] == [2, 0, 4, 3]
    assert verify_child.reference("max", [1, 2, 3, 0], [[0, 0]], 1, 2)[:2] == ([3, 2], [1, 0])


def test_inputs_are_distinct_and_leave_groups_empty():
    for case in verify_child.CASES:
        numbers, index = verify_child.inputs(case, "float32")
        assert len(set(numbers)) == len(numbers)
        assert all(2 not in row and max(row) < case[2] - 1 for row in index)
        assert any(row != sorted(row) for row in index)
        values = verify_child.reference("max", numbers, index, case[2], 1)[0] if case[1] else numbers
        assert min(values) < 0
    assert max(map(abs, verify_child.inputs(verify_child.CASES[0], "int64")[0])) > 2**32


class PlainScatter:
    """torch_scatter's checked operators in plain torch, with one thing wrong on request."""

    def __init__(self, torch, wrong=None):
        self.torch, self.wrong = torch, wrong

    def _reduce(self, src, index, groups, reduce):
        torch, axis = self.torch, index.dim() - 1
        rows = src.unsqueeze(0) if axis == 0 else src
        place = index.unsqueeze(0) if axis == 0 else index
        outs, args = [], []
        for r in range(rows.shape[0]):
            for g in range(groups):
                at = (place[r] == g).nonzero().reshape(-1)
                part = rows[r][at]
                if not len(at):
                    best = rows[r].sum(0) * 0
                    arg = torch.full_like(best, src.shape[axis], dtype=torch.long)
                elif reduce in ("sum", "mean"):
                    best, arg = part.sum(0) / (len(at) if reduce == "mean" else 1), None
                else:
                    best, arg = part.max(0) if reduce == "max" else part.min(0)
                    arg = at[arg]
                outs.append(best)
                args.append(arg)
        shape = (*src.shape[:axis], groups, *src.shape[axis + 1 :])
        out = torch.stack(outs).reshape(shape).to(src.dtype)
        if reduce in ("sum", "mean"):
            return self._spoil(out)
        return self._spoil(out), torch.stack(args).reshape(shape) + (self.wrong == "arg")

    def _spoil(self, out):
        if self.wrong == "one value":
            out = out.clone()
            out.reshape(-1)[-3] += 1
        if self.wrong == "no gradient":
            out = out.detach() + 0 * out
        if self.wrong == "32 bits" and not out.is_floating_point():
            out = out.int().long()
        return out[None] if self.wrong == "shape" else out

    def scatter_max(self, src, index, dim, dim_size):
        return self._reduce(src, index, dim_size, "max")

    def segment_max_coo(self, src, index, dim_size):
        return self._reduce(src, index, dim_size, "max")

    def segment_coo(self, src, index, dim_size, reduce):
        return self._reduce(src, index, dim_size, reduce)

    def segment_csr(self, src, indptr, reduce):
        rows = indptr.reshape(-1, indptr.shape[-1])
        groups = self.torch.arange(indptr.shape[-1] - 1)
        index = self.torch.stack([groups.repeat_interleave(row.diff()) for row in rows])
        return self._reduce(src, index.reshape(*indptr.shape[:-1], -1), len(groups), reduce)

    def segment_max_csr(self, src, indptr):
        return self.segment_csr(src, indptr, "max")


SMALL = verify_child.CASES[:3]
OPERATORS = [
    ("scatter_max", "max"),
    ("segment_coo", "sum"),
    ("segment_coo", "mean"),
    ("segment_coo", "max"),
    ("segment_csr", "sum"),
    ("segment_csr", "mean"),
    ("segment_csr", "max"),
]


@pytest.mark.parametrize("operator, reduce", OPERATORS)
@pytest.mark.parametrize("case", SMALL)
def test_right_operators_pass(operator, reduce, case):
    import torch

    verify_child.check_case(torch, PlainScatter(torch), operator, reduce, case, "float32", "cpu")
    if reduce != "mean":
        verify_child.check_case(torch, PlainScatter(torch), operator, reduce, case, "int64", "cpu")


@pytest.mark.parametrize(
    "wrong, dtype, reduce, words",
    [
        ("one value", "float32", "sum", r"sum of float32 \(6, 3\) is wrong: .*\(1 of 15 values differ\)"),
        ("one value", "int64", "max", r"max of int64 \(6, 3\) is wrong: .*\(1 of 15 values differ\)"),
        ("arg", "float32", "max", r"argmax of float32 \(6, 3\) is wrong"),
        ("no gradient", "float32", "mean", r"gradient of mean of float32 \(6, 3\) is wrong: 0 instead of "),
        ("32 bits", "int64", "max", r"max of int64 \(6, 3\) is wrong: 0 instead of "),
        ("shape", "float32", "sum", r"sum of float32 \(6, 3\) has the shape \(1, 5, 3\) instead of \(5, 3\)"),
    ],
)
def test_each_kind_of_wrong_is_caught(wrong, dtype, reduce, words):
    import torch

    with pytest.raises(verify_child.Wrong, match=words):
        verify_child.check_case(
            torch, PlainScatter(torch, wrong), "segment_coo", reduce, verify_child.CASES[1], dtype, "cpu"
        )


# -- matmul


def degraded(torch, change):
    """A matrix product that passes its factors through ``change``, in forward and backward."""

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return change(a).mm(change(b))

        @staticmethod
        def backward(ctx, slope):
            a, b = ctx.saved_tensors
            return change(slope).mm(change(b).t()), change(a).t().mm(change(slope))

    real = torch.Tensor.__matmul__
    return lambda a, b: Product.apply(a, b) if a.dtype == torch.float32 else real(a, b)


def test_matmul_allows_tf32_and_catches_wrong_values(monkeypatch):
    import torch

    def tf32(x):  # ten bits of mantissa, the others cut off
        return (x.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)

    def first_row_lost(x):
        return torch.cat([torch.zeros_like(x[:1]), x[1:]])

    assert verify_child.matmul("cpu")["ok"] is True
    changed = degraded(torch, tf32), degraded(torch, torch.zeros_like), degraded(torch, first_row_lost)
    monkeypatch.setattr(torch.Tensor, "__matmul__", changed[0])
    assert verify_child.matmul("cpu")["ok"] is True
    for wrong in changed[1:]:
        monkeypatch.setattr(torch.Tensor, "__matmul__", wrong)
        with pytest.raises(verify_child.Wrong, match="product is wrong: 0 instead of"):
            verify_child.matmul("cpu")


def test_not_a_number_is_wrong():
    import torch

    with pytest.raises(verify_child.Wrong, match=r"nan instead of 1 at \[0\]"):
        verify_child.compare("product", torch.tensor([float("nan")]), [1.0], (1,))


# -- GPUs, as a fake torch sees them


TWO_GPUS = FAKE_TORCH + "    names += [('NVIDIA L4', (8, 9)), ('NVIDIA RTX 5090', (12, 0))]\n"
CPU_BUILD = FAKE_TORCH + "    version.cuda, __version__ = None, '2.13.0+cpu'\n"
NO_DRIVER = FAKE_TORCH.replace("No CUDA GPUs are available", "Found no NVIDIA driver on your system")
UNUSABLE = (
    TWO_GPUS
    + "    def name(i):\n        raise RuntimeError('CUDA error: out of memory')\n"
    + ("    cuda.get_device_name = name\n")
)


@slow
@pytest.mark.parametrize(
    "torch, hidden, arguments, ok, detail",
    [
        (TWO_GPUS, None, {}, True, "cuda:0 NVIDIA L4 (8.9), cuda:1 NVIDIA RTX 5090 (12.0)"),
        (TWO_GPUS, None, {"require": "cuda", "gpu": "sm_120"}, True, "cuda:0 NVIDIA L4 (8.9), cuda:1"),
        (TWO_GPUS, None, {"gpu": "9.0"}, False, "no visible GPU has compute capability 9.0 (visible: cuda"),
        (CPU_BUILD, None, {}, None, "no GPU: not checked"),
        (CPU_BUILD, "0", {"require": "cuda"}, False, "no GPU can be used: torch 2.13.0+cpu is a CPU build"),
        (CPU_BUILD, None, {"gpu": "12.0"}, False, "no visible GPU has compute capability 12.0 (visible: no"),
        (NO_DRIVER, "0", {"require": "cuda"}, False, "no GPU can be used: Found no NVIDIA driver on"),
        (FAKE_TORCH, "", {"require": "cuda"}, False, 'no GPU can be used: CUDA_VISIBLE_DEVICES="" hides'),
        (FAKE_TORCH, None, {"require": "cuda"}, False, "no GPU can be used: No CUDA GPUs are available"),
        (UNUSABLE, None, {}, False, "RuntimeError: CUDA error: out of memory"),
    ],
)
def test_gpu_check(tmp_path, monkeypatch, torch, hidden, arguments, ok, detail):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    python = environment(tmp_path, {"torch": torch})
    facts = collect(python)
    facts = dataclasses.replace(facts, host=dataclasses.replace(facts.host, gpus=()))
    result = verify(python, facts=facts, **arguments)
    assert result["GPU"].ok is ok
    assert result["GPU"].detail.startswith(detail) and (ok is not None or result["GPU"].detail == detail)
    devices = ["cpu", "cuda:0", "cuda:1"] if torch is TWO_GPUS else ["cpu"]
    assert [c.name for c in result.checks[2:]] == [f"matmul on {d}" for d in devices]


@slow
@pytest.mark.parametrize(
    "torch, hidden, ok, detail",
    [
        (FAKE_TORCH, None, False, "torch cannot use NVIDIA L4: No CUDA GPUs are available"),
        (FAKE_TORCH, "", None, "no GPU: not checked, though this machine has NVIDIA L4 (CUDA_VISIBLE_DE"),
        (CPU_BUILD, None, None, "no GPU: not checked, though this machine has NVIDIA L4 (torch 2.13.0+cpu"),
    ],
)
def test_a_gpu_that_torch_does_not_use_is_named(tmp_path, monkeypatch, torch, hidden, ok, detail):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    python = environment(tmp_path, {"torch": torch})
    facts = collect(python).with_gpu("8.9")
    gpu = dataclasses.replace(facts.host.gpus[0], name="NVIDIA L4", wished=False)
    facts = dataclasses.replace(facts, host=dataclasses.replace(facts.host, gpus=(gpu,)))
    result = verify(python, facts=facts)
    assert result["GPU"].ok is ok and result["GPU"].detail.startswith(detail)


# -- torch that is absent, or does not import


@slow
def test_absent_torch_is_not_installed(tmp_path):
    python = environment(tmp_path, {"torchaudio": "", "transformers": "", "networkx": "__version__ = '3.6'"})
    events = []
    result = verify(python, require="cuda", progress=lambda *event: events.append(event))
    assert result.verdict == "broken"
    assert result["import torch"].ok is False
    assert result["import torch"].detail == f"torch is not installed in {result.python}"
    rest = {c.name: (c.ok, c.detail) for c in result.checks[1:]}
    skipped = (None, "not checked: torch is not installed")
    assert rest == {
        "GPU": skipped,
        "matmul on cpu": skipped,
        "import torchaudio": skipped,
        "from transformers import Trainer": skipped,
        "import networkx": (True, "3.6"),
    }
    assert events[-1] == ("import networkx", 6, 6)


@slow
@pytest.mark.parametrize(
    "torch, detail",
    [
        (
            "raise ImportError('libtorch_cpu.so: cannot open shared object file: No such file or directory')",
            "ImportError: libtorch_cpu.so: cannot open shared object file: No such file or directory",
        ),
        ("import torch.gone", "ModuleNotFoundError: No module named 'torch.gone'"),
        (None, "ModuleNotFoundError: No module named 'torch'"),  # metadata, and no files
        ("import sys; sys.exit('no licence')", "SystemExit: no licence"),
        (
            "exec(compile('import os; os.abort()', '<frozen importlib._bootstrap>', 'exec'))",
            "killed by SIGABRT in torch/__init__.py line 1",
        ),
        ("import os; os.write(2, b'bye'); os._exit(3)", "exit status 3: bye"),
    ],
)
def test_torch_that_cannot_be_imported_is_never_called_not_installed(tmp_path, torch, detail):
    python = environment(tmp_path, {"torch": torch or "", "torch_scatter": "", "torch_geometric": ""})
    if torch is None:
        shutil.rmtree(next(tmp_path.glob("lib/python*/site-packages/torch")))
    result = verify(python, facts=collect(python))
    assert (result["import torch"].ok, result["import torch"].detail) == (False, detail)
    assert {(c.ok, c.detail) for c in result.checks[1:]} == {(None, "not checked: torch cannot be imported")}
    assert len(result.checks) == 2 + 5 + 1
    assert result.verdict == "broken"
    assert "not installed" not in json.dumps(result.to_dict())


# -- what else the user has


@slow
def test_imports_of_what_is_installed(tmp_path):
    result = faked(
        tmp_path,
        limit=5.0,
        torchaudio="import time; time.sleep(60)",
        torchvision="import torch; raise OSError('vision.so: undefined symbol: _ZN3c10 at 0x7f12345678')",
        torchtext="import ctypes, atexit; atexit.register(ctypes.string_at, 0); __version__ = '0.18'",
        apex="raise ImportError('first') from ValueError('the cause')",
        xformers="import os; os.write(1, b'no end of line'); os.close(1); __version__ = '0.1'",
        transformers="""
            def __getattr__(name):
                if name != "Trainer":
                    raise AttributeError(name)
                try:
                    raise ImportError("cannot import name 'amp' from 'apex' (unknown location)")
                except ImportError as e:
                    raise RuntimeError(f"Failed to import because of the following error:\\n{e}") from e
        """,
        torch_geometric="""
            import warnings
            for name in ("torch-scatter", "pyg-lib"):
                warnings.warn(f"An issue occurred while importing '{name}'. Disabling its usage. "
                              f"Stacktrace: Traceback\\n{name}.so: undefined symbol: _ZN2at")
        """,
        networkx="""
            import warnings
            for name in ("nx-loopback", "nx-loopback", "parallel"):
                warnings.warn(f"networkx backend defined more than once: {name}", RuntimeWarning)
        """,
    )
    details = {c.name: (c.ok, c.detail) for c in result.checks[3:]}
    assert details == {
        "import torchaudio": (False, "no answer within 5 s"),
        "import torchvision": (False, "OSError: vision.so: undefined symbol: _ZN3c10 at 0x..."),
        "import torchtext": (False, "killed by SIGSEGV as Python exits, after the check"),
        "import apex": (False, "ImportError: first (because of ValueError: the cause)"),
        "import xformers": (True, "0.1"),
        "from transformers import Trainer": (
            False,
            "RuntimeError: cannot import name 'amp' from 'apex' (unknown location)",
        ),
        "import torch_geometric": (
            False,
            "torch-scatter cannot be used: torch-scatter.so: undefined symbol: _ZN2at; "
            "pyg-lib cannot be used: pyg-lib.so: undefined symbol: _ZN2at",
        ),
        "import networkx": (False, "backend defined more than once: nx-loopback, parallel"),
    }
    assert (result["import torch"].ok, result["GPU"].ok) == (True, None)
    assert 5 <= result["import torchaudio"].seconds < 20


@slow
def test_healthy_imports_pass_and_quiet_users_are_told_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")  # hides the warning from its user, not the fault
    result = faked(
        tmp_path,
        transformers="__version__ = '4.52.4'\nclass Trainer: pass",
        torch_geometric="import warnings; warnings.warn('something else'); __version__ = '2.8.1'",
        networkx="import warnings; warnings.warn('networkx backend defined more than once: x')",
    )
    assert result["from transformers import Trainer"].detail == "4.52.4"
    assert result["import torch_geometric"].detail == "2.8.1"
    assert result["import networkx"].detail == "backend defined more than once: x"


@slow
def test_transformers_that_hands_out_a_stand_in_is_broken(tmp_path):
    source = "__version__ = '5.0'\nclass Trainer: __module__ = 'transformers.utils.dummy_pt_objects'"
    result = faked(tmp_path, transformers=source)["from transformers import Trainer"]
    assert result.ok is False
    assert result.detail.startswith("transformers 5.0 does not accept torch 2.13.0+cu130")


@slow
@pytest.mark.parametrize("numpy, ok", [({"numpy": ""}, False), ({}, True)])
def test_torch_that_cannot_use_numpy_is_broken_only_where_numpy_is(tmp_path, numpy, ok):
    warns = "    import warnings; warnings.warn('Failed to initialize NumPy: _ARRAY_API not found')\n"
    result = faked(tmp_path, torch=FAKE_TORCH + warns, torchaudio="", **numpy)
    said = "torch imports but cannot use NumPy: Failed to initialize NumPy: _ARRAY_API not found"
    assert result["import torch"].ok is ok
    assert (result["import torch"].detail == said) is not ok
    assert result["import torchaudio"].ok is True  # it was imported: what follows is checked


@slow
def test_the_import_path_is_that_of_the_users_programs(tmp_path, monkeypatch):
    python = environment(tmp_path / "env", {"networkx": "__version__ = 'installed'"})
    work = tmp_path / "work"
    (work / "networkx").mkdir(parents=True)
    (work / "networkx" / "__init__.py").write_text("import sys; __version__ = repr((sys.path, sys.argv))")
    monkeypatch.chdir(work)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    path, argv = ast.literal_eval(verify(python)["import networkx"].detail)
    assert path[0] == "" and argv == ["-c"]
    own = Path(verify_child.__file__).parent
    assert not {own, own.parent} & {Path(p).expanduser() for p in path}


def test_at_most_two_processes_at_once_and_a_fixed_order(monkeypatch):
    lock, running, most = threading.Lock(), [0], [0]

    def run(argv, limit, started):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.05 if "scatter_max" in argv else 0.01)
        with lock:
            running[0] -= 1
        gpu = {"name": "A", "capability": "9.0"}
        answer = {"ok": True, "imported": True, "detail": argv[-1], "devices": [gpu]}
        return Outcome(0, "noise\n" + verify_child.MARKER + json.dumps(answer) + "\n")

    monkeypatch.setattr(module, "run", run)
    example = collect()
    scatter = dataclasses.replace(example.distributions[0], name="torch_scatter")
    facts = dataclasses.replace(example, distributions=(scatter,), extensions=(), modules=())
    told = []
    result = verify(facts=facts, progress=lambda *event: told.append(event))
    operators = ("scatter_max", "scatter_min", "segment_coo", "segment_csr")
    assert most[0] == 2
    assert [c.name for c in result.checks] == [
        "import torch",
        "GPU",
        "matmul on cpu",
        "matmul on cuda:0",
        *(f"{o} on {d}" for d in ("cpu", "cuda:0") for o in operators),
    ]
    assert told[-1][1:] == (12, 12)  # the GPU's checks are counted once it is known


def test_an_interpreter_that_cannot_be_started_is_a_result(monkeypatch):
    def run(argv, limit, started):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(module, "run", run)
    facts = dataclasses.replace(collect(), distributions=(), extensions=(), modules=())
    check = verify(facts=facts)["import torch"]
    assert check.ok is False and check.detail.endswith("cannot be started: Cannot allocate memory")


def test_child_keeps_to_python_38_and_the_standard_library():
    source = Path(verify_child.__file__).read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 8))
    imported = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    assert "json" in imported and not [n for n in tree.body if isinstance(n, ast.ImportFrom)]
    if sys.version_info >= (3, 10):
        assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


def test_ctrl_c_ends_the_children_at_once(tmp_path):
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False, symlinks=True)
    site = next((environment / "lib").glob("python3.*")) / "site-packages"
    (site / "torch").mkdir()
    (site / "torch" / "version.py").write_text("__version__ = '2.13.0'\ncuda = None\n")
    (site / "torch" / "__init__.py").write_text(
        f"import os, time; open({str(tmp_path / 'started')!r}, 'w').write(str(os.getpid())); time.sleep(300)\n"
    )
    command = [sys.executable, "-m", "kit", "verify", "--python", str(environment / "bin" / "python")]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() or not (tmp_path / "started").read_text():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, "", "kit: interrupted\n")
    child = int((tmp_path / "started").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_parent_and_child_agree_on_words_that_both_have():
    assert sys.modules["kit.verify"].MARKER == verify_child.MARKER
    assert tuple(verify_child.OPERATORS) == sys.modules["kit.verify"].OPERATORS
