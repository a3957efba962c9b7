"""Imports that moved: what is found, what is written instead, in Python files and cell by cell in notebooks."""

import ast
import dataclasses
import json

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kit
from kit.data import table
from kit.recipes import moved
from kit.recipes.moved.cells import blanked
from kit.recipes.moved.table import find


def rewritten(code: str, guarded: bool = False) -> str:
    """The new code; the second run changes nothing, and every problem lies where its text says."""
    new = moved.rewrite(code, guarded)
    assert moved.rewrite(new, guarded) == new
    ast.parse(new)
    for problem in moved.problems("code.py", code, guarded):
        assert 0 <= problem.span.start < problem.span.end <= len(code)
        assert (problem.rule, problem.failure) == ("moved-import", "module-moved")
        assert problem.edits or problem.evidence, "one that is not rewritten says why"
    return new


REWRITES = {
    "a name": ("from timm.models.layers import DropPath\n", "from timm.layers import DropPath\n"),
    "several, in brackets with comments": (
        "from timm.models.layers import (  # layers\n    DropPath,  # one\n    to_2tuple as two,\n)\n",
        "from timm.layers import (  # layers\n    DropPath,  # one\n    to_2tuple as two,\n)\n",
    ),
    "a star": ("from timm.models.layers import *  # noqa\n", "from timm.layers import *  # noqa\n"),
    "a module under another name": (
        "import timm.models.layers as L\nL.DropPath\n",
        "import timm.layers as L\nL.DropPath\n",
    ),
    "a module by its path": (
        "import timm.models.layers\nx = timm.models.layers.DropPath\n",
        "import timm.layers\nx = timm.layers.DropPath\n",
    ),
    "a module by its path, whose folder is asked for too": (
        "import timm.models.layers\ntimm.models.layers.A, timm.models.resnet.B\n",
        "import timm.models, timm.layers\ntimm.layers.A, timm.models.resnet.B\n",
    ),
    "with the package alone imported": (
        "import timm\ntimm.models.layers.Mlp()\n",
        "import timm\ntimm.layers.Mlp()\n",
    ),
    "a module out of its folder": ("from timm.models import layers\n", "from timm import layers\n"),
    "a part of the module": (
        "from timm.models.layers.drop import DropPath\n",
        "from timm.layers.drop import DropPath\n",
    ),
    "divided": (
        "from timm.models import layers as L, create_model\n",
        "from timm.models import create_model\nfrom timm import layers as L\n",
    ),
    "divided, with comments": (
        "def f():\n    from timm.models import (\n        layers,  # moved\n        resnet,  # not\n    )\n",
        "def f():\n    from timm.models import (\n        resnet,  # not\n    )\n    from timm import (\n"
        "        layers,  # moved\n        )\n",
    ),
    "on one line with others": (
        "import os; from timm.models import layers, vgg\n",
        "import os; from timm.models import vgg; from timm import layers\n",
    ),
    "behind a colon": ("if x: from timm.models.layers import Mlp\n", "if x: from timm.layers import Mlp\n"),
    "lazy": (
        "def f():\n\tfrom timm.models.registry import register_model\n",
        "def f():\n\tfrom timm.models import register_model\n",
    ),
    "for a type checker": (
        "if TYPE_CHECKING:\n    from timm.models.layers import Mlp\ndef f(x: 'timm.models.layers.Mlp'): ...\n",
        "if TYPE_CHECKING:\n    from timm.layers import Mlp\ndef f(x: 'timm.models.layers.Mlp'): ...\n",
    ),
    "a string": (
        "import importlib as i\ni.import_module('timm.models.layers')\n",
        "import importlib as i\ni.import_module('timm.layers')\n",
    ),
    "__import__": (
        "m = __import__(\"timm.models.layers\", fromlist=['x'])\n",
        "m = __import__(\"timm.layers\", fromlist=['x'])\n",
    ),
    "aliases of NumPy, under any name": (
        "import numpy as n\nn.zeros(3, dtype=n.float), n.Inf, n.product(a), n.int(3)\n",
        "import numpy as n\nn.zeros(3, dtype=float), n.inf, n.prod(a), int(3)\n",
    ),
    "np.bool as a type of numbers": (
        "import numpy as np\na.astype(np.bool)\n",
        "import numpy as np\na.astype(bool)\n",
    ),
    "a part that the package loads": (
        "import numpy as np\nnp.AxisError\n",
        "import numpy as np\nnp.exceptions.AxisError\n",
    ),
    "a function with a new name": (
        "from skimage.measure import compare_ssim, label\n",
        "from skimage.measure import label\nfrom skimage.metrics import structural_similarity as compare_ssim\n",
    ),
    "a function with a new name, under another": (
        "from scipy.integrate import trapz as area\n",
        "from scipy.integrate import trapezoid as area\n",
    ),
    "another package": (
        "from sklearn.externals import joblib\nimport sklearn.externals.joblib as jl\n",
        "import joblib\nimport joblib as jl\n",
    ),
    "torch._six": (
        "from torch._six import container_abcs, string_classes, int_classes, inf\n",
        "from collections import abc as container_abcs\nfrom math import inf\nstring_classes = (str, bytes)\n"
        "int_classes = int\n",
    ),
    "an import that is missing then": (
        "import collections  # abc\n\nisinstance(x, collections.Mapping)\n",
        "import collections  # abc\nimport collections.abc\n\nisinstance(x, collections.abc.Mapping)\n",
    ),
    "torchvision": (
        "from torchvision.models.utils import load_state_dict_from_url\n",
        "from torch.hub import load_state_dict_from_url\n",
    ),
    "the line's own end": ("from timm.models.layers import A\r\nx = 1\r\n", "from timm.layers import A\r\nx = 1\r\n"),
    "characters of more than one byte": (
        "s = 'é日😀'; import numpy as np; np.float\n",
        "s = 'é日😀'; import numpy as np; float\n",
    ),
    "a mark at the start": ("\ufefffrom timm.models.layers import A\n", "\ufefffrom timm.layers import A\n"),
}


@pytest.mark.parametrize("name", REWRITES)
def test_what_is_written(name: str) -> None:
    before, after = REWRITES[name]
    assert moved.rewrite(before) == after
    assert moved.rewrite(after) == after
    assert moved.problems("code.py", before)


LEFT = {
    "look-alikes": "from .timm.models.layers import A\nfrom ..layers import B\nfrom mytimm.models.layers import C\n",
    "a parameter of that name": "import numpy as np\ndef f(np):\n    return np.float\n",
    "a parameter, and a module by its path": (
        "import timm.layers\ndef f(timm):\n    return timm.models.layers.Mlp\n"
    ),
    "a variable of that name": "np = load()\nnp.float, np.int\n",
    "an attribute": "self.np.float, a.numpy.float\n",
    "either of two": "try:\n    import numpy as np\nexcept ImportError:\n    import cupy as np\nnp.float\n",
    "new and old": "try:\n    from timm.layers import A\nexcept ImportError:\n    from timm.models.layers import A\n",
    "old and new": "try:\n    from timm.models.layers import A\nexcept ImportError:\n    from timm.layers import A\n",
    "another way for both": (
        "try:\n    from torch._six import container_abcs\n"
        "except ImportError:\n    import collections.abc as container_abcs\n"
    ),
    "chosen by the version": (
        "import torch\nif torch.__version__ < '2':\n    from torch._six import inf\n"
        "else:\n    from torch import inf\n"
    ),
    "asked for": "import numpy as np\nx = np.float if hasattr(np, 'float') else float\n",
    "expected to fail": "import numpy as np\ntry:\n    x = np.int\nexcept AttributeError:\n    x = int\n",
    "put there by the code itself": "import numpy as np\nnp.float = float\nx = np.float(3)\n",
    "text": "s = 'from timm.models.layers import A'  # np.float\n",
    "a name for a function of its own": "def import_module(x): ...\nimport_module('timm.models.layers')\n",
    "what is there": "import numpy as np, timm\nnp.float64, np.bool_, np.str_, timm.layers.Mlp, timm.models.resnet\n",
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_alone(name: str) -> None:
    assert moved.problems("code.py", LEFT[name]) == ()
    assert moved.rewrite(LEFT[name]) == LEFT[name]


UNDECIDED = {
    "no successor": ("from torch._six import with_metaclass\n", "nothing takes its place"),
    "another meaning": ("import torch\ntorch.symeig(a)\n", "torch.linalg.eigh is its successor"),
    "arguments in another order": ("from scipy.integrate import simps\n", "scipy.integrate.simpson is its successor"),
    "the name is taken": ("import numpy as np\nfloat = 3\nx = np.float(2)\n", "a name of this code stands for"),
    "the package is taken": ("import scipy.misc\nmath = 2\nfrom torch import _six\n_six.inf\n", ""),
    "what __import__ answers": ("x = __import__('timm.models.layers').models\n", "first package"),
    "a module of Python": ("import imp\n", "importlib is its successor"),
}


@pytest.mark.parametrize("name", UNDECIDED)
def test_what_a_person_decides(name: str) -> None:
    code, why = UNDECIDED[name]
    problems = [problem for problem in moved.problems("code.py", code) if not problem.edits]
    assert problems and not problems[0].safe
    assert any(why in line for problem in problems for line in problem.evidence)
    rewritten(code)


def test_what_is_said_of_a_place() -> None:
    code = "import numpy as np\n\nfrom timm.models.layers import DropPath, Mlp\nx = np.zeros(3, np.float)\n"
    first, second = moved.problems("code.py", code)
    assert first.summary == (
        "timm.models.layers.DropPath is now timm.layers.DropPath. It moved in timm 0.9.0; the old path still works, "
        "and warns."
    )
    assert (first.severity, first.package, first.safe) == ("warning", "timm", True)
    assert code[first.span.start : first.span.end] == "from timm.models.layers import DropPath, Mlp"
    assert first.evidence == ("the same statement: timm.models.layers.Mlp is timm.layers.Mlp",)
    assert second.summary == "numpy.float is gone. It is float since numpy 1.24.0."
    assert (second.severity, code[second.span.start : second.span.end]) == ("error", "np.float")
    assert [fix.kind for fix in first.fix + second.fix] == ["change-code-or-data"] * 2


def test_np_bool_is_certain_as_a_type_of_numbers_alone() -> None:
    """NumPy 2 has a type of its own under the name, which isinstance tells from Python's."""
    numbers, check = moved.problems("a.py", "import numpy as np\nnp.ones(2, dtype=np.bool)\nisinstance(x, np.bool)\n")
    assert (numbers.safe, check.safe) == (True, False)
    assert numbers.severity == check.severity == "warning"
    assert "not in every release" in numbers.summary


GUARDED = {
    "a name": (
        "def f():\n    from timm.models.layers import DropPath  # path\n",
        "def f():\n    try:\n        from timm.layers import DropPath\n    except ImportError:\n"
        "        from timm.models.layers import DropPath  # path\n",
    ),
    "brackets": (
        "if x:\n    from timm.models.layers import (\n        A,  # a\n        B,\n    )\n",
        "if x:\n    try:\n        from timm.layers import (\n            A,  # a\n            B,\n        )\n"
        "    except ImportError:\n        from timm.models.layers import (\n            A,  # a\n"
        "            B,\n        )\n",
    ),
    "divided": (
        "from timm.models import layers, vgg\n",
        "try:\n    from timm.models import vgg\n    from timm import layers\nexcept ImportError:\n"
        "    from timm.models import layers, vgg\n",
    ),
    "a module": (
        "import timm.models.layers as L\n",
        "try:\n    import timm.layers as L\nexcept ImportError:\n    import timm.models.layers as L\n",
    ),
    "what old releases have too": (
        "import numpy as np\nfrom timm.models.registry import register_model\nnp.float\n",
        "import numpy as np\nfrom timm.models import register_model\nfloat\n",
    ),
    "tabs": (
        "def f():\n\tfrom timm.models.layers import A\n",
        "def f():\n\ttry:\n\t\tfrom timm.layers import A\n\texcept ImportError:\n"
        "\t\tfrom timm.models.layers import A\n",
    ),
}


@pytest.mark.parametrize("name", GUARDED)
def test_code_for_old_and_new_releases(name: str) -> None:
    before, after = GUARDED[name]
    assert rewritten(before, guarded=True) == after


def test_what_cannot_be_tried_both_ways_is_left_and_said() -> None:
    code = "import os; from timm.models.layers import A\nimport timm\ntimm.models.layers.B\n"
    problems = moved.problems("code.py", code, guarded=True)
    assert [bool(problem.edits) for problem in problems] == [False, False]
    assert "shares its line" in problems[0].evidence[0] and "ask which" in problems[1].evidence[0]


def test_what_is_no_python_is_named() -> None:
    old = "import numpy as np\nx = np.float(1)\nprint 'three'\n"
    (part,) = moved.unread("old.py", old)
    assert (part.line, "print 'three'" in part.why) == (3, True)
    assert moved.problems("old.py", old) == () and moved.rewrite(old) == old
    template = "import numpy as np\n{% if x %}\nnp.float\n{% endif %}\n"
    assert [part.line for part in moved.unread("t.py", template)] == [2]
    deep = "import numpy as np\nx = np.float" + "+1" * 20000 + "\n"
    assert len(moved.problems("deep.py", deep)) + len(moved.unread("deep.py", deep)) == 1


def test_a_package_knows_its_own_folders() -> None:
    code = "from timm.models.layers import DropPath\nimport numpy as np\nnp.float\n"
    assert [p.package for p in moved.problems("/src/timm/models/net.py", code)] == ["numpy"]
    assert [p.package for p in moved.problems("src/nets/net.py", code)] == ["timm", "numpy"]


# -- notebooks


def notebook(*cells: str, **metadata: object) -> nbformat.NotebookNode:
    made = nbformat.v4.new_notebook(metadata=metadata)
    made.cells = [nbformat.v4.new_code_cell(cell, id=f"c{number}") for number, cell in enumerate(cells)]
    made.cells.insert(0, nbformat.v4.new_markdown_cell("`np.float`, `timm.models.layers`", id="text"))
    made.cells[1].outputs = [nbformat.v4.new_output("stream", text="np.float timm.models.layers é\n")]
    return made


CELLS = (
    "%pip install timm \\\n    numpy\n!echo it's np.float\nimport numpy as np\nimport timm",
    'from timm.models.layers import (\n    DropPath,  # "é"\n    to_2tuple,\n)\n',
    "%%bash\nfrom timm.models.layers import A\n",
    "%%time\nx = np.zeros(3, dtype=np.float)\nfiles = !ls np.float\nnp.float?\ny = '''\n%d np.float\n!ls'''\n",
    "print 'two' % np.float",
    "await f(np.int)\nfrom timm.models import layers, vgg",
)
STYLES = {
    "nbformat": lambda made: nbformat.writes(made) + "\n",
    "one line": json.dumps,
    "one string a cell": lambda made: json.dumps(made, indent=2, ensure_ascii=False) + "\n",
    "wide, ASCII": lambda made: json.dumps(json.loads(nbformat.writes(made)), indent=4),
    "Windows": lambda made: nbformat.writes(made).replace("\n", "\r\n"),
}


@pytest.mark.parametrize("guarded", [False, True], ids=["new", "both"])
@pytest.mark.parametrize("style", STYLES)
def test_a_notebook_keeps_all_but_its_source(style: str, guarded: bool) -> None:
    before = STYLES[style](notebook(*CELLS))
    after = moved.rewrite(before, guarded, "a.ipynb")
    assert moved.rewrite(after, guarded, "a.ipynb") == after
    old, new = json.loads(before), json.loads(after)
    sources = []
    for one in (old, new):
        sources.append(["".join(cell.pop("source")) for cell in one["cells"]])
    assert old == new
    changed = [i for i, (a, b) in enumerate(zip(*sources)) if a != b]
    assert changed == [2, 4, 6]
    assert ("except ImportError:\n    from timm.models.layers import (\n        DropPath" in sources[1][2]) == guarded
    assert "dtype=float)\nfiles = !ls np.float\nnp.float?\ny = '''\n%d np.float\n!ls'''" in sources[1][4]
    assert sources[1][6].startswith("await f(int)\n")
    # what JSON lays out stays as it was: the same lines but for those of the changed cells
    kept = [line for line in before.splitlines() if "timm" not in line and "np." not in line]
    assert guarded or [line for line in kept if line not in after.splitlines()] == []


def test_each_line_of_a_cell_stays_a_string_of_its_own() -> None:
    before = STYLES["nbformat"](notebook("from timm.models import layers, vgg\nx = 1"))
    assert moved.rewrite(before, file="a.ipynb") == before.replace(
        '    "from timm.models import layers, vgg\\n",\n',
        '    "from timm.models import vgg\\n",\n    "from timm import layers\\n",\n',
    )


def test_a_cell_that_is_no_python_is_named_by_its_line() -> None:
    text = STYLES["nbformat"](notebook(*CELLS))
    (part,) = moved.unread("a.ipynb", text)
    assert "print 'two'" in text.splitlines()[part.line - 1]
    assert [text.count("\n", 0, problem.span.start) for problem in moved.problems("a.ipynb", text)]


def test_notebooks_of_other_kinds() -> None:
    other = notebook("np.float", language_info={"name": "julia"})
    assert moved.check("a.ipynb", nbformat.writes(other)).problems == ()
    (part,) = moved.unread("a.ipynb", '{"worksheets": [{"cells": []}], "numpy": 1}')
    assert "before 4" in part.why
    (part,) = moved.unread("a.ipynb", '{"cells": [\n "numpy"')
    assert "no JSON" in part.why


@pytest.mark.parametrize(
    ("cell", "python"),
    [
        ("!ls\nx", "0##\nx"),
        ("x = !ls", "x = 0##"),
        ("if y:\n    %time f()\n", "if y:\n    0########\n"),
        ("a = (1\n  % 2)", "a = (1\n  % 2)"),
        ("s = 'it''s'\n%cd x", "s = 'it''s'\n0####"),
        ("# '''\n!ls", "# '''\n0##"),
        ("!a \\\n b\nx", "0###\n  \nx"),
        ("%%html\n<b>", "      \n   "),
        ("y = a\\\n%b", "y = a\\\n%b"),
        ("f?\n?f", "0#\n0#"),
        ("x = a != b\nx %= 3", "x = a != b\nx %= 3"),
    ],
)
def test_magics_become_python_of_the_same_length(cell: str, python: str) -> None:
    assert blanked(cell) == python


# -- the table


def test_the_table_is_consistent() -> None:
    seen = set()
    for row in table("moved_modules")["moved"]:
        assert row["source"] and row["paths"]
        assert row.get("write") in (None, "modules", "names", "values")
        assert "before" in row or not set(row) & {"write", "gone", "always", "loaded", "back"}
        for path, now in row["paths"].items():
            assert path not in seen and path != now
            seen.add(path)
            if "before" in row and row.get("write") in ("modules", "names"):
                assert find(now) is None or find(now).row.path.count(".") < 1, f"{path} -> {now} moved again"
    assert len(seen) > 900


# -- the other import that warns


def test_of_two_metadata_folders_the_unsigned_one_is_deleted() -> None:
    facts = kit.machine("healthy-cpu")
    whole = facts.distribution("networkx")
    assert whole is not None and whole.installer
    path = whole.path.replace(whole.version, "2.8.8")
    stale = dataclasses.replace(whole, version="2.8.8", path=path, real_path=None, installer=None)
    findings = kit.diagnose(dataclasses.replace(facts, distributions=(stale, *facts.distributions)))
    finding = findings["duplicate-metadata"]
    assert [line.partition(": ")[0] for line in finding.evidence] == [path, whole.path]
    assert finding.fix[0].argv == ("rm", "-r", path)
    assert [step.argv for step in kit.plan(findings).steps] == [("rm", "-r", path)]
    both = dataclasses.replace(stale, installer="pip")
    findings = kit.diagnose(dataclasses.replace(facts, distributions=(both, *facts.distributions)))
    assert [fix.kind for fix in findings["duplicate-metadata"].fix] == ["change-package-version"]


# -- modules that are put together by chance

IMPORTS = (
    "import numpy as np",
    "import numpy",
    "import timm.models.layers as L",
    "import timm",
    "import collections",
    "from timm.models.layers import DropPath, Mlp as M",
    "from timm.models import layers, create_model",
    "from torch._six import string_classes, inf",
    "from sklearn.externals import joblib",
    "import os",
)
LINES = (
    "x = np.zeros(3, dtype=np.float)",
    "y = numpy.Inf  # inf",
    "z = L.DropPath, timm.models.layers.Mlp",
    "w = isinstance(x, collections.Mapping)",
    "float = 2",
    "np = None",
    "v = [np.int(i) for np in range(3)]",
    "u = lambda np: np.object",
    "s = f'{np.float}'",
    "t: 'np.float' = 1",
    "del x",
)


@st.composite
def modules(draw: st.DrawFn) -> str:
    """A module of snippets, some of them in blocks of their own."""
    lines = []
    for _ in range(draw(st.integers(1, 6))):
        head = draw(st.sampled_from(["", "def f(timm=1):", "class C:", "if x:", "try:", "async def g(a):"]))
        body = draw(st.lists(st.sampled_from(IMPORTS + LINES), min_size=1, max_size=4))
        indent = draw(st.sampled_from(["    ", "\t"])) if head else ""
        lines += [head] * bool(head) + [indent + line for line in body]
        if head == "try:":
            lines += ["except ImportError:", indent + draw(st.sampled_from(IMPORTS))]
    return draw(st.sampled_from(["\n", "\r\n"])).join([*lines, ""])


class Neutral(ast.NodeTransformer):
    """Takes out what the codemod may change: imports, names and attributes, and strings that name modules."""

    def generic(self, node: ast.AST) -> None:
        return None

    visit_Import = visit_ImportFrom = visit_Pass = generic

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Name("n", node.ctx)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name("n", node.ctx)

    def visit_Assign(self, node: ast.Assign) -> "ast.AST | None":
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        return None if names == ["string_classes"] else self.generic_visit(node)


@given(modules())
@settings(max_examples=30, deadline=None)
def test_what_is_not_moved_stays(code: str) -> None:
    new = moved.rewrite(code)
    assert moved.rewrite(new) == new
    assert ast.dump(Neutral().visit(ast.parse(new))) == ast.dump(Neutral().visit(ast.parse(code)))
    assert new.count("#") == code.count("#") and new.count("\r") in (0, new.count("\n"))


@given(modules())
@settings(max_examples=30, deadline=None)
def test_code_for_both_stays_valid(code: str) -> None:
    new = moved.rewrite(code, guarded=True)
    ast.parse(new)
    assert moved.rewrite(new, guarded=True) == new
