"""Runs one check in the interpreter under test and prints what came of it.

Standard library and the packages under test only; Python 3.8 and newer, torch 1.13 and newer.
``kit.verify`` starts it once per check, in a process of its own: ``argv`` is the name of a check and its
arguments.  The last line of stdout is ``MARKER`` and one JSON object: ``ok``, ``detail``, and what the
check has to tell besides.
"""

# Python 3.8 without annotations, as in collect/inside.py; the packages that it imports are untyped or absent.
# mypy: ignore-errors

import faulthandler
import importlib
import importlib.util
import json
import os
import re
import sys
import traceback
import warnings

MARKER = "kit-verify-answer:"


class Wrong(Exception):
    """The check ran and its result is not what it must be; the message is the detail."""


# -- imports


def import_torch():
    """torch imports; says its version and build."""
    pattern = "Failed to initialize NumPy"
    with _recorded(pattern) as seen:
        import torch
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU only"
    if getattr(torch.version, "hip", None):
        build = f"ROCm {torch.version.hip}"
    answer = {"ok": True, "imported": True, "detail": f"{torch.__version__}, {build}"}
    complaints = _matching(seen, pattern)
    if complaints and importlib.util.find_spec("numpy"):  # without NumPy torch says the same, and is right
        answer.update(ok=False, detail="torch imports but cannot use NumPy: " + complaints[0])
    return answer


def import_extension(name):
    """A package compiled against torch imports, after torch, as programs do it."""
    import torch  # noqa: F401

    module = importlib.import_module(name)
    return _version(module)


def import_transformers():
    """``from transformers import Trainer`` gives the real class."""
    import transformers
    from transformers import Trainer

    if "dummy" in getattr(Trainer, "__module__", ""):
        import torch

        versions = f"transformers {transformers.__version__} does not accept torch {torch.__version__}"
        raise Wrong(versions + ": its Trainer is a stand-in that raises when it is used")
    return _version(transformers)


def import_torch_geometric():
    """torch_geometric imports, and with it every compiled package that it found."""
    pattern = "An issue occurred while importing"
    with _recorded(pattern) as seen:
        import torch_geometric
    failed = []
    for text in _matching(seen, pattern):
        name = re.search(r"importing ['\"]?([\w-]+)", text)
        reason = re.split(r"Stacktrace:\s*", text)[-1].strip().splitlines() or [text]
        failed.append(f"{name.group(1) if name else 'a package'} cannot be used: {reason[-1].strip()}")
    if failed:
        raise Wrong("; ".join(failed))
    return _version(torch_geometric)


def import_networkx():
    """networkx imports without complaining about its backends."""
    pattern = "networkx backend defined more than once"
    with _recorded(pattern) as seen:
        import networkx
    names = sorted({text.partition(":")[2].strip() for text in _matching(seen, pattern)})
    if names:
        raise Wrong("backend defined more than once: " + ", ".join(names))
    return _version(networkx)


def _version(module):
    version = getattr(module, "__version__", None)
    return {"ok": True, "detail": version if isinstance(version, str) else "imports"}


class _recorded(warnings.catch_warnings):
    """Records warnings, always those that begin with ``pattern``; the other filters stay as they are."""

    def __init__(self, pattern):
        super().__init__(record=True)
        self.pattern = pattern

    def __enter__(self):
        seen = super().__enter__()
        warnings.filterwarnings("always", message=self.pattern)
        return seen


def _matching(seen, pattern):
    texts = [re.sub(r"\s*\(Triggered internally at .*", "", str(w.message), flags=re.S) for w in seen]
    return [text for text in texts if text.startswith(pattern)]


# -- devices


def devices():
    """The GPUs that torch sees; where there is none, why.  ``why`` is cpu-build, hidden, or error."""
    import torch

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if available:
        found = []
        for i in range(torch.cuda.device_count()):
            capability = ".".join(map(str, torch.cuda.get_device_capability(i)))
            found.append({"name": torch.cuda.get_device_name(i), "capability": capability})
        return {"ok": True, "detail": "", "devices": found}
    if not (torch.version.cuda or getattr(torch.version, "hip", None)):
        return _no_device("cpu-build", f"torch {torch.__version__} is a CPU build")
    said = ["torch.cuda.is_available() said False", *_matching(seen, "")[-1:]]
    try:
        torch.cuda.init()
    except Exception as error:
        said.append(last_error(error).partition(": ")[2])
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and "no NVIDIA driver" not in said[-1] and "too old" not in said[-1]:
        return _no_device("hidden", f"CUDA_VISIBLE_DEVICES={json.dumps(hidden)} hides every GPU ({said[-1]})")
    return _no_device("error", said[-1])


def _no_device(why, reason):
    return {"ok": True, "detail": "", "devices": [], "why": why, "reason": reason}


def matmul(device):
    """A float32 product, forward and backward, against the same in float64 on the CPU.

    An element may be off by 2**-8 of the sum of the magnitudes that are added up in it: four times what
    TF32 loses by rounding two factors to 11 bits, and far less than a wrong value is off.
    """
    import torch

    def waves(rows, columns, step):
        steps = torch.arange(rows * columns, dtype=torch.float64).mul(step)
        return steps.sin().float().reshape(rows, columns)

    a, b, slope = waves(96, 160, 12.9898), waves(160, 64, 78.233), waves(96, 64, 37.719)
    left, right = [x.clone().to(device).requires_grad_() for x in (a, b)]
    product = left @ right
    product.backward(slope.to(device))
    a, b, slope = a.double(), b.double(), slope.double()
    for what, got, x, y in (
        ("product", product, a, b),
        ("gradient of the left factor", left.grad, slope, b.t()),
        ("gradient of the right factor", right.grad, a.t(), slope),
    ):
        bounds = (x.abs() @ y.abs()).mul(2.0**-8).reshape(-1).tolist()
        compare(what, got, (x @ y).reshape(-1).tolist(), (x.shape[0], y.shape[1]), bounds)
    return {"ok": True, "detail": "float32 product and gradients as in float64"}


# -- torch_scatter

# (shape, axis, groups); the index has one axis where the axis is 0, and two where it is 1.
CASES = (
    ((7,), 0, 5),
    ((6, 3), 0, 5),
    ((2, 7), 1, 5),
    ((1000,), 0, 37),
    ((250, 4), 0, 37),
)

OPERATORS = {
    "scatter_max": ("max",),
    "scatter_min": ("min",),
    "segment_coo": ("sum", "mean", "min", "max"),
    "segment_csr": ("sum", "mean", "min", "max"),
}


def scatter(operator, device):
    """torch_scatter's compiled operators of one name: values, arg and gradients against :func:`reference`."""
    import torch
    import torch_scatter

    for case in CASES:
        for dtype in ("float32", "int64"):
            for reduce in OPERATORS[operator]:
                if (dtype, reduce) != ("int64", "mean"):  # how it rounds is a matter of version
                    check_case(torch, torch_scatter, operator, reduce, case, dtype, device)
    kinds = ", ".join(OPERATORS[operator]) + ": " if len(OPERATORS[operator]) > 1 else ""
    return {"ok": True, "detail": f"{kinds}values, positions and gradients as computed in Python"}


def check_case(torch, library, operator, reduce, case, dtype, device):
    """Raises Wrong where one operator's outcome on one case differs from the reference."""
    shape, axis, groups = case
    columns = _layout(shape, axis)[2]
    numbers, index = inputs(case, dtype)
    if operator.startswith("segment"):
        index = [sorted(row) for row in index]
    values, arg, shares = reference(reduce, numbers, index, groups, columns)
    slopes = [float(i % 7 + 1) for i in range(len(values))]
    gradient = [0.0] * len(numbers)
    for slope, members in zip(slopes, shares):
        for at, share in members:
            gradient[at] += slope * share

    source = torch.tensor(numbers, dtype=getattr(torch, dtype)).reshape(shape).to(device)
    source.requires_grad_(dtype == "float32")
    out = _call(torch, library, operator, reduce, source, index, axis, groups, device)
    out, found = out if isinstance(out, tuple) else (out, None)
    what = f"{reduce} of {dtype} {shape}"
    out_shape = (*shape[:axis], groups, *shape[axis + 1 :])
    compare(what, out, values, out_shape)
    if arg is not None:
        compare("arg" + what, found, arg, out_shape)
    if dtype == "float32":
        out.backward(torch.tensor(slopes).reshape(out_shape).to(device))
        compare("gradient of " + what, source.grad, gradient, shape)


def _call(torch, library, operator, reduce, source, index, axis, groups, device):
    if operator.startswith("scatter"):
        places = torch.tensor(index if axis else index[0], device=device)
        return getattr(library, operator)(source, places, dim=axis, dim_size=groups)
    size = {"dim_size": groups}
    if operator == "segment_csr":  # where each group begins, and where the last one ends
        index = [[sum(group < g for group in row) for g in range(groups + 1)] for row in index]
        size = {}
    places = torch.tensor(index if axis else index[0], device=device)
    if reduce in ("min", "max"):
        return getattr(library, f"segment_{reduce}_{operator[-3:]}")(source, places, **size)
    return getattr(library, operator)(source, places, reduce=reduce, **size)


def inputs(case, dtype):
    """(numbers, index): different numbers, most of them negative, and for each row the groups of its
    elements, sorted nowhere; group 2 and the last group stay empty.

    The numbers are eighths, so that float32 adds them without rounding in any order; as int64 they
    need more than 32 bits.
    """
    shape, axis, groups = case
    rows, length, columns = _layout(shape, axis)
    scale = 2**33 if dtype == "int64" else 0.125
    numbers = [(i * 371 % 1009 - 700) * scale for i in range(rows * length * columns)]
    used = [g for g in range(groups - 1) if g != 2]
    index = [[used[(i * 5 + i // 3 + row) % len(used)] for i in range(length)] for row in range(rows)]
    return numbers, index


def reference(reduce, numbers, index, groups, columns):
    """(values, arg, shares) of a reduction over ``numbers``, flat lists in the order of the output.

    ``shares`` has for each output the inputs that it depends on and by how much: its gradient.  ``arg``
    is None for sum and mean.  An empty group is 0 and its arg one past the end.
    """
    values, args, shares = [], [], []
    for row, places in enumerate(index):
        for group in range(groups):
            members = [i for i, place in enumerate(places) if place == group]
            for column in range(columns):
                at = [(row * len(places) + i) * columns + column for i in members]
                picked = [numbers[i] for i in at]
                if reduce in ("sum", "mean"):
                    share = 1.0 / len(at) if at and reduce == "mean" else 1
                    values.append(sum(picked) * share)
                    shares.append([(i, share) for i in at])
                    continue
                best = {"min": min, "max": max}[reduce](picked) if at else 0
                values.append(best)
                args.append(members[picked.index(best)] if at else len(places))
                shares.append([(at[picked.index(best)], 1)] if at else [])
    return values, args if reduce in ("min", "max") else None, shares


def _layout(shape, axis):
    """(rows, length, columns): how many elements stand before, along and behind the axis."""
    sizes = [1, shape[axis], 1]
    for i, size in enumerate(shape):
        if i != axis:
            sizes[0 if i < axis else 2] *= size
    return sizes


def compare(what, got, expected, shape, bounds=None):
    """Raises Wrong, with the first values that differ, unless the tensor ``got`` has this shape and values.

    ``bounds`` is how far off each value may be; by default floats a hundred-thousandth, integers nothing.
    """
    if got is None:
        raise Wrong(f"{what}: there is none")
    if tuple(got.shape) != tuple(shape):
        raise Wrong(f"{what} has the shape {tuple(got.shape)} instead of {tuple(shape)}")
    values = got.detach().cpu().reshape(-1).tolist()
    if bounds is None:
        bounds = [1e-5 * max(1.0, abs(e)) if isinstance(e, float) else 0 for e in expected]
    triples = enumerate(zip(values, expected, bounds))
    wrong = [(i, v, e) for i, (v, e, bound) in triples if not abs(v - e) <= bound]  # also where v is NaN
    if wrong:
        first = [f"{_number(v)} instead of {_number(e)} at {_place(i, shape)}" for i, v, e in wrong[:3]]
        raise Wrong(f"{what} is wrong: {', '.join(first)} ({len(wrong)} of {len(values)} values differ)")


def _number(value):
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _place(i, shape):
    place = []
    for size in reversed(shape):
        i, rest = divmod(i, size)
        place.insert(0, rest)
    return place


# -- the process


def last_error(error):
    """The line of an exception that tells most, with the cause that it names.

    The first line, because CUDA's errors go on with general advice; the last where the first announces it.
    """
    texts = []
    while error is not None and len(texts) < 5:
        text = "".join(traceback.format_exception_only(type(error), error)[-1:])
        if not isinstance(error, SyntaxError):
            text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        line = lines[0]
        if len(lines) > 1 and line.endswith(":"):
            line = f"{type(error).__name__}: {lines[-1]}"
        if not any(line.partition(": ")[2] in said for said in texts):
            texts.append(line)
        error = error.__cause__
    return texts[0] + (f" (because of {texts[-1]})" if len(texts) > 1 else "")


CHECKS = {
    "import-torch": import_torch,
    "import-extension": import_extension,
    "import-transformers": import_transformers,
    "import-torch_geometric": import_torch_geometric,
    "import-networkx": import_networkx,
    "devices": devices,
    "matmul": matmul,
    "scatter": scatter,
}


def main():
    name, arguments = sys.argv[1], sys.argv[2:]
    del sys.argv[1:]  # the packages under test see no arguments
    out = os.dup(1)  # they may close or replace stdout
    faulthandler.enable()  # where a signal ends this process, stderr says in which line
    try:
        answer = CHECKS[name](*arguments)
    except Wrong as error:
        answer = {"ok": False, "detail": str(error)}
    except BaseException as error:  # SystemExit too: a package that exits on import is a result
        answer = {"ok": False, "detail": last_error(error)}
        if isinstance(error, ModuleNotFoundError):
            answer["missing"] = error.name
    os.write(out, ("\n" + MARKER + json.dumps(answer) + "\n").encode("ascii"))


if __name__ == "__main__":
    main()
