"""How the code hangs together: the direction of its imports, what each file is for, what may stand where."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "kit").rglob("*.py"))
PACKAGES = ROOT / "kit" / "shims"
# As another package, in programs of others.
SERVED = [f for f in FILES if f.is_relative_to(PACKAGES) and f.parent != PACKAGES]
CORE = [f for f in FILES if "lab" not in f.relative_to(ROOT).parts and f not in SERVED]

PANELS = ("panel", "kernel", "repairing", "answers")

# The direction in which data flows: a file imports from its own layer and from those above it here, never
# from those below.  A module that is listed nowhere fails the test: it has to find its place.
LAYERS = [
    ["kit.errors", "kit.data", "kit.packing", "kit.record", "kit.schedulers"],
    ["kit.codec", "kit.redact"],
    ["kit.facts"],
    ["kit.recorded", "kit.gpus", "kit.requirements", "kit.symbols"],
    ["kit.causes"],
    [
        "kit.collect",
        "kit.collect.attempt",
        "kit.collect.binary",
        "kit.collect.elf",
        "kit.collect.fatbin",
        "kit.collect.host",
        "kit.collect.inside",
        "kit.collect.kernel",
        "kit.collect.loader",
        "kit.collect.paths",
        "kit.collect.probe",
        "kit.collect.run",
        "kit.collect.startup",
        "kit.collect.wheel",
    ],
    ["kit.findings"],
    ["kit.report", "kit.report.errors", "kit.report.stated", "kit.report.text", "kit.report.typed"],
    ["kit.build.child", "kit.build.nvcc", "kit.build.process"],
    ["kit.build.sources", "kit.build.toolchain"],
    ["kit.build"],
    ["kit.published"],
    ["kit.wheels.network", "kit.wheels.web", "kit.wheels.fit", "kit.wheels.pages", "kit.wheels"],
    ["kit.failures"],  # with every file of the folder
    ["kit.agreement", "kit.diagnose", "kit.xray"],
    ["kit.weighing"],
    ["kit.explaining"],
    ["kit.throwaway.index"],
    ["kit.throwaway"],
    ["kit.shims.finder"],
    ["kit.shims"],  # with what programs find under the name of a package
    ["kit.shims.installed"],
    ["kit.verify", "kit.verify_child"],
    ["kit.recipes.model"],
    [*(f"kit.recipes.reading.{n}" for n in ("files", "scope", "source", "variables", "wrappers"))],
    [*(f"kit.recipes.reading.{n}" for n in ("arguments", "beside", "specifiers"))],
    [*(f"kit.recipes.reading.{n}" for n in ("installers", "requirements", "scalars", "trees", "words"))],
    [*(f"kit.recipes.reading.{n}" for n in ("shell", "toml_text", "yaml_text"))],
    ["kit.recipes.reading.structured"],
    ["kit.recipes.reading.commands"],
    [
        *(
            f"kit.recipes.reading.{n}"
            for n in ("apptainer", "containers", "dockerfile", "notebook", "script", "workflow")
        )
    ],
    ["kit.recipes.reading"],
    ["kit.recipes.rules"],  # with every file of the folder
    ["kit.recipes.edits", "kit.recipes.listed"],
    ["kit.recipes.moved.table", "kit.recipes.moved.finder", "kit.recipes.moved.cells"],
    ["kit.recipes.moved.statements"],
    ["kit.recipes.moved.codemod"],
    ["kit.recipes.moved"],
    ["kit.recipes.examples", "kit.recipes.faults"],
    ["kit.recipes.checking", "kit.recipes.fixing"],
    [f"kit.recipes.writing.{n}" for n in ("saving", "wish")],
    [f"kit.recipes.writing.{n}" for n in ("images", "locking", "verified")],
    [f"kit.recipes.writing.{n}" for n in ("asking", "steps")],
    ["kit.recipes.writing.dockerfile"],
    [f"kit.recipes.writing.{n}" for n in ("apptainer", "devcontainer", "environment", "requirements")],
    ["kit.recipes.writing"],
    ["kit.recipes"],
    ["kit.nodes.names", "kit.nodes.sameness", "kit.nodes.records", "kit.nodes.document", "kit.nodes.simulated"],
    ["kit.nodes.difference", "kit.nodes.folder", "kit.nodes.outliers"],
    ["kit.nodes.baseline"],
    ["kit.nodes.grouping"],
    ["kit.nodes.measure_child", "kit.nodes.measure", "kit.nodes.onefile", "kit.nodes.place"],
    ["kit.nodes.node"],
    ["kit.nodes.engines.asking"],
    ["kit.nodes.engines.inventory", "kit.nodes.engines.workers"],
    [f"kit.nodes.engines.{n}" for n in ("jobs", "local", "srun")],
    ["kit.nodes.engines.pbsdsh"],
    ["kit.nodes.engines"],
    ["kit.nodes"],
    ["kit.repair.simulate", "kit.repair.plan"],
    ["kit.repair.choice"],
    ["kit.repair.kernelspec", "kit.repair.places", "kit.repair.signals", "kit.repair.tree"],
    ["kit.repair.locking", "kit.repair.journal", "kit.repair.installer"],
    ["kit.repair.footprint"],
    ["kit.repair.change"],
    ["kit.repair"],
    ["kit.repair.twin", "kit.repair.shim"],
    ["kit.show.parts"],
    ["kit.show.nodes_words"],
    ["kit.show.facts", "kit.show.files", "kit.show.findings", "kit.show.repair", "kit.show.wheels"],
    ["kit.show.benchmark", "kit.show.explanation", "kit.show.nodes", "kit.show.panels"],
    ["kit.show.recipes", "kit.show.mended"],
    ["kit.show"],
    ["kit.chart"],
    ["kit.nodes.chart"],
    ["kit.benchmark.cases", "kit.benchmark.contenders"],
    ["kit.benchmark.results", "kit.benchmark.timing"],
    ["kit.benchmark"],
    ["kit.repair.progress", "kit", "kit.widgets", *(f"kit.widgets.{n}" for n in PANELS)],
    ["kit.gate", "kit.jupyter", "kit.nodes.command", "kit.recipes.command", "kit.__main__"],
    ["kit.nodes.gate"],
    ["kit.ipython"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
# Results show themselves, so their representation alone looks down to show.
SHOWS_ITSELF = {"_repr_mimebundle_", "__repr__"}


def name_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def level(name):
    while name not in LEVEL:
        assert name.startswith(("kit.failures.", "kit.recipes.rules.")), f"{name} has no layer"
        name = name.rpartition(".")[0]
    return LEVEL[name]


def is_module(name):
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports(file):
    """(module of ours that is imported, the function in which that stands or None)."""
    tree = ast.parse(file.read_text())
    inside = {}
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside.update({id(node): function.name for node in ast.walk(function)})
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            joined = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if is_module(name) else node.module for name in joined]
        else:
            continue
        for name in names:
            if name.partition(".")[0] == "kit":
                yield name, inside.get(id(node))


@pytest.mark.parametrize("file", CORE, ids=name_of)
def test_imports_point_one_way(file):
    own = name_of(file)
    for name, function in imports(file):
        if name == "kit.show" and function in SHOWS_ITSELF:
            continue
        if own == "kit.collect.inside":
            raise AssertionError("the script that runs inside imports nothing of ours")
        assert level(name) <= level(own), f"{own} imports {name}, which lies below it"


@pytest.mark.parametrize("file", SERVED, ids=name_of)
def test_what_is_served_to_programs_imports_torch_and_itself_alone(file):
    depth = len(file.relative_to(PACKAGES).parts) - 1
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level <= depth, f"line {node.lineno} leads out of the package"
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            tops = {name.partition(".")[0] for name in names}
            assert tops <= {"torch", *sys.stdlib_module_names}, f"line {node.lineno}: {tops}"


def test_failures_know_no_machine_and_no_process():
    """A rule reads facts.  Of the readers it may know the name of a signal, no more."""
    for file in (ROOT / "kit" / "failures").glob("*.py"):
        for name, _ in imports(file):
            assert name != "kit.collect" and not name.startswith(
                ("kit.collect.inside", "kit.collect.host", "kit.verify")
            )
        if file.name[0] != "_":
            tree = ast.parse(file.read_text())
            loaded = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
            assert not loaded & {"os", "subprocess", "sys", "socket", "shutil", "pathlib", "platform"}, file.name
            assert not re.search(r"\bopen\(", file.read_text()), file.name


def test_facts_read_no_machine():
    assert set(imports(ROOT / "kit" / "facts.py")) == {
        ("kit.codec", None),
        ("kit.errors", None),
        ("kit.record", None),
        ("kit.show", "_repr_mimebundle_"),
    }
    tree = ast.parse((ROOT / "kit" / "facts.py").read_text())
    loaded = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert loaded == {"dataclasses", "json", "re"}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_the_first_line_states_the_purpose(file):
    tree = ast.parse(file.read_text())
    docstring = ast.get_docstring(tree)
    assert docstring and tree.body[0].lineno == 1
    first = docstring.partition("\n")[0]
    assert len(first.split()) >= 4, first
    assert re.search(r"[.:,;\w]$", first) and not re.search(r"TODO|FIXME|helpers|utilities", first), first


TAG = re.compile(
    r"(?<!\?P)</?(p|section|table|tr|td|th|details|summary|code|pre|ol|ul|li|strong|em|br|h\d|div|span|a)(\s[^<]*)?/?>"
)


def strings(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_html_stands_in_show_alone(file):
    found = [(line, text) for line, text in strings(file) if TAG.search(text)]
    if file.parent.name != "show":
        assert not found
    elif file.stem in ("parts", "findings"):
        assert found, "the pattern knows a tag when it sees one"


# The borders at which anything may be thrown: a rule on facts, on text or on a recipe, what a package under test does
# to the process that tries it, a node of which nothing else would come, a network in a thread of its own, and a
# callback behind which nobody would see an error.
BORDERS = {"kit.diagnose", "kit.explaining", "kit.verify", "kit.verify_child", "kit.lab.place"}
BORDERS |= {"kit.nodes.node", "kit.nodes.measure_child", "kit.recipes.checking"}
BORDERS |= {"kit.widgets.panel", "kit.widgets.kernel"}


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_everything_is_caught_only_at_the_borders(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {"BaseException"}
        if caught & {"Exception", "BaseException"}:
            raises = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None  # cleaning up is no catching
            assert raises or name_of(file) in BORDERS, f"line {node.lineno}"


def test_nothing_is_asserted_by_print_and_no_shell_is_used():
    for file in CORE:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "os.system", "os.popen"), f"{name_of(file)}: {called}"
                assert not any(k.arg == "shell" for k in node.keywords), f"{name_of(file)}: a shell"
                if called == "print":
                    assert file.name in ("__main__.py", "measure_child.py", "verify_child.py"), (
                        f"{name_of(file)} prints"
                    )


def test_no_file_names_a_place_of_this_machine():
    for file in [*FILES, *(ROOT / "kit").rglob("*.json")]:
        text = file.read_text()
        assert str(ROOT) not in text, file


def fresh(code, *options):
    return subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT
    )


def test_importing_kit_needs_the_standard_library_alone():
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import kit; "
    code += "print(kit.doctor(machine='torch-broken').verdict)"
    done = fresh(code, "-S", "-I")
    assert (done.returncode, done.stdout, done.stderr) == (0, "broken\n", "")


def test_importing_kit_loads_nothing_heavy():
    done = fresh("import sys, kit; print(*sorted(m.partition('.')[0] for m in sys.modules))")
    loaded = set(done.stdout.split())
    assert "kit" in loaded and not loaded & {
        "packaging",
        "zipfile",
        "pynvml",
        "torch",
        "numpy",
        "IPython",
        "asyncio",
    }


def test_every_name_in_all_is_there_and_documented():
    import kit

    for name in kit.__all__:
        assert getattr(kit, name).__doc__, name
