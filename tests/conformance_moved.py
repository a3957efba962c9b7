"""Public projects that import from where things were: their modules, imported before the codemod and after it.

    python tests/conformance_moved.py --list                       what to fetch, at which commits
    python tests/conformance_moved.py FOLDER [NAME...] [--python EXE]
                                       FOLDER/OWNER+NAME is a checkout, or holds one as a bare ``repo``

EXE is an environment with torch, torchvision, numpy and the current timm; without it, the one that runs this.  Of
each project the files with moved paths are imported in a new process, packages that are not installed replaced by
nothing; then a copy of it is rewritten and imported again.  Nothing of the projects is kept.
"""

import argparse
import ast
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = {
    "facebookresearch/ConvNeXt": "048efcea897d999aed302f2639b6270aedf8d4c8",
    "facebookresearch/deit": "7e160fe43f0252d17191b71cbb5826254114ea5b",
    "facebookresearch/xcit": "82f5291f412604970c39a912586e008ec009cdca",
    "facebookresearch/mae": "efb2a8062c206524e35e47d04501ed4f544c0ae8",
    "NVlabs/FasterViT": "22154cc15ad42fc7d9311e84859b691cdaca1ff5",
    "NVlabs/SegFormer": "65fa8cfa9b52b6ee7e8897a98705abf8570f9e32",
    "microsoft/FocalNet": "e8514bdcfe1eb6e7e110403e9f2972c67dfed1c3",
    "microsoft/Swin-Transformer": "f82860bfb5225915aca09c3227159ee9e1df874d",
    "sail-sg/poolformer": "a075575b8b3dc3c76ecc5c49985d156167372bfa",
    "Sense-X/UniFormer": "52a0415e4e0dda880fab8ffbc710e4d8e171149d",
    "SwinTransformer/Swin-Transformer-Object-Detection": "c7b20110addde0f74b1fbf812b403d16a59a87a9",
    "whai362/PVT": "57e2dfaa5a46f9050d76f306a4fcd9a7c061f520",
}
# What lies there only to warn, so that each file that asks for it is seen to.
SHIMS = (
    "timm.models.layers",
    "timm.models.registry",
    "timm.models.helpers",
    "timm.models.hub",
    "timm.models.factory",
)


def child(folder: str, files: "list[str]") -> None:
    """Import these files of a project in this process, and print what came of each as JSON."""
    import importlib
    import importlib.util
    import warnings

    import torch

    if importlib.util.find_spec("torchvision"):  # one that was built for another torch lacks its operators
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    sys.path.insert(0, str(ROOT / "tests"))
    import timm  # noqa: F401
    from conformance_clients import Stubs

    sys.meta_path.append(Stubs(" ".join(missing(Path(folder)))))
    done = {}
    before = set(sys.modules)
    for file in files:
        for name in set(sys.modules) - before | set(SHIMS):
            sys.modules.pop(name, None)
        top = Path(folder, file).parent
        while (top / "__init__.py").exists():
            top = top.parent
        name = ".".join(Path(folder, file).relative_to(top).with_suffix("").parts).removesuffix(".__init__")
        path = list(sys.path)
        sys.path[:0] = [str(top), folder]
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                importlib.import_module(name)
                error = ""
            except (Exception, SystemExit) as problem:
                error = f"{type(problem).__name__}: {problem}"[:200]
        sys.path[:] = path
        warned = [str(one.message) for one in said if "Importing from timm" in str(one.message)]
        done[file] = {"error": error, "warned": warned}
    print(json.dumps(done))


def missing(folder: Path) -> "set[str]":
    """The packages that files of a project import and that are neither installed nor its own."""
    import importlib.util

    own = {path.stem for path in folder.rglob("*") if path.suffix == ".py" or path.is_dir()}
    asked = set()
    for file in folder.rglob("*.py"):
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                asked.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                asked.add(node.module.partition(".")[0])
    return {name for name in asked - own if importlib.util.find_spec(name) is None}


def imported(python: str, folder: Path, files: "list[str]") -> "dict[str, Any]":
    """What came of importing each of the files in a new process."""
    done = subprocess.run(
        [python, "-W", "ignore", __file__, "--child", str(folder), json.dumps(files)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=folder,
    )
    lines = done.stdout.strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise SystemExit(f"{folder.name}: {done.stderr[-800:]}")
    return dict(json.loads(lines[-1]))


def checkout(place: Path, to: Path) -> None:
    """A copy of a project's files."""
    bare = next((one for one in (place / "repo", place) if (one / "HEAD").exists()), None)
    if bare is None:
        shutil.copytree(place, to, ignore=shutil.ignore_patterns(".git"))
        return
    to.mkdir()
    git = ["git", "--git-dir", str(bare)]
    names = subprocess.run([*git, "ls-tree", "-r", "--name-only", "HEAD"], check=True, capture_output=True, text=True)
    code = [name for name in names.stdout.splitlines() if name.endswith((".py", ".ipynb", ".yaml", ".json"))]
    archive = subprocess.run([*git, "archive", "HEAD", "--", *code], check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(to)], check=True, input=archive.stdout)


def run(place: Path, python: str) -> "Counter[str]":
    """One project: counts of what was found, and of how its files were imported before and after."""
    from kit.recipes import moved

    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="kit-moved-") as temporary:
        source = Path(temporary, "source")
        checkout(place, source)
        files = []
        for file in sorted([*source.rglob("*.py"), *source.rglob("*.ipynb")]):
            try:
                text = file.read_bytes().decode("utf-8")
            except (UnicodeDecodeError, OSError):
                continue
            found = moved.check(file.name, text)
            counts["unread"] += len(found.unread)
            if found.problems:
                counts["files"] += 1
                counts["places"] += len(found.problems)
                counts["rewritten"] += sum(1 for problem in found.problems if problem.edits)
                if file.suffix == ".py":
                    files.append(str(file.relative_to(source)))
        before = imported(python, source, files)
        for file in source.rglob("*"):
            if file.suffix in (".py", ".ipynb") and file.is_file():
                raw = file.read_bytes()
                try:
                    text = raw.decode("utf-8")
                except UnicodeDecodeError:
                    continue
                new = moved.rewrite(text, file=file.name)
                assert moved.rewrite(new, file=file.name) == new, f"{file}: the second run changes it again"
                file.write_bytes(new.encode("utf-8"))
        after = imported(python, source, files)
    for when, results in (("before", before), ("after", after)):
        for one in results.values():
            counts[f"{when} warned"] += bool(one["warned"])
            counts[f"{when} failed"] += bool(one["error"])
    for file, one in after.items():
        if one["error"] or one["warned"]:
            print(f"    {file}: {one['error'] or one['warned'][0]}  (before: {before[file]['error'] or 'imported'})")
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--list", action="store_true")
    asked = parser.parse_args()
    if asked.list or asked.folder is None:
        print("\n".join(f"{name} {commit}" for name, commit in PROJECTS.items()))
        return 0
    sys.path.insert(0, str(ROOT))
    total: Counter[str] = Counter()
    for project in PROJECTS:
        place = asked.folder / project.replace("/", "+")
        if place.exists() and (not asked.names or project in asked.names or project.split("/")[1] in asked.names):
            counts = run(place, asked.python)
            total += counts
            total["projects"] += 1
            print(f"{project}: {', '.join(f'{name} {number}' for name, number in counts.items())}", flush=True)
    print(dict(total))
    return 1 if total["after warned"] else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], json.loads(sys.argv[3]))
    else:
        raise SystemExit(main())
