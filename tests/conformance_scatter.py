"""torch_scatter's own tests, and PyG's that use it, run against the kit's replacement for it.

    python tests/conformance_scatter.py SCATTER...                   checkouts of github.com/rusty1s/pytorch_scatter
    python tests/conformance_scatter.py --pyg PYG [--site FOLDER]    of github.com/pyg-team/pytorch_geometric

At tag 2.1.2 1387 tests pass on the CPU, at 648dda3 1388.  PyG's run with the compiled torch_scatter too, where it is
installed, and without any: what passes with the compiled one has to pass with the kit's.  FOLDER holds what PyG needs
and is not installed: pip install --target FOLDER --no-deps PACKAGES.  Nothing of the checkouts is kept.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = "aiohttp aiohappyeyeballs aiosignal frozenlist multidict propcache yarl pyparsing tqdm xxhash"
PYG = ["utils/test_scatter.py", "utils/test_segment.py", "utils/test_softmax.py", "nn/aggr", "nn/pool"]
WITH = {
    "kit": "import kit.shims\nkit.shims.enable('torch_scatter', cover=True)\n",
    "compiled": "import torch_scatter\nassert 'kit' not in torch_scatter.__version__\n",
    "none": "import sys\nsys.modules['torch_scatter'] = None\n",
}
RECORD = """
import json
from pathlib import Path
outcomes = {}

def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        outcomes[report.nodeid] = report.outcome

def pytest_collectreport(report):
    if report.outcome == "failed":
        outcomes[report.nodeid] = "failed"

def pytest_sessionfinish():
    Path("outcomes.json").write_text(json.dumps(outcomes))
"""


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("scatter", type=Path, nargs="*")
    arguments.add_argument("--pyg", type=Path)
    arguments.add_argument("--site", type=Path, help="a folder with what PyG needs")
    arguments.add_argument("--compiled", action="store_true", help="torch_scatter's tests with the compiled one too")
    arguments.add_argument("-v", "--verbose", action="store_true", help="what failed, and why")
    given = arguments.parse_args()
    for checkout in [*given.scatter, *filter(None, [given.pyg])]:
        if not (checkout / "test").is_dir():
            print(f"{checkout} has no folder test", file=sys.stderr)
            return 2
    failed = 0
    for checkout in given.scatter:
        for which in ["kit", *(["compiled"] if given.compiled else [])]:
            outcomes = run(checkout, ["."], which, [], given.verbose)
            failed += which == "kit" and not_passed(outcomes)
            print(f"{said(checkout):32} {which:9} {counted(outcomes)}", flush=True)
    if given.pyg:
        path = [given.pyg.resolve(), *([given.site.resolve()] if given.site else [])]
        results = {which: run(given.pyg, PYG, which, path, given.verbose) for which in ("none", "compiled", "kit")}
        for which, outcomes in results.items():
            print(f"{said(given.pyg):32} {which:9} {counted(outcomes)}")
        passed = [test for test, outcome in results["compiled"].items() if outcome == "passed"]
        lost = [test for test in passed if results["kit"].get(test) != "passed"]
        print(
            f"{len(passed)} pass with the compiled one, {len(lost)} of them do not with the kit's", *lost, sep="\n  "
        )
        failed += len(lost) + (not passed)
    return int(bool(failed))


def run(checkout: Path, tests: "list[str]", which: str, path: "list[Path]", verbose: bool) -> "dict[str, str]":
    """The outcome of each of a checkout's tests, in a copy, with one of the three under the name torch_scatter."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "test")
        shutil.copytree(checkout / "test", folder)
        Path(temporary, "which_scatter.py").write_text(WITH[which] + RECORD)
        options = ["-q", "-p", "which_scatter", "-p", "no:cacheprovider", "-W", "ignore", "--tb=short"]
        command = [sys.executable, "-m", "pytest", *options, "--rootdir", temporary, *tests]
        search = os.pathsep.join(map(str, [temporary, ROOT, *path]))
        env = {**os.environ, "PYTHONPATH": search, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        if verbose or done.returncode not in (0, 1):
            print(done.stdout[-20000:] + done.stderr)
        record = folder / "outcomes.json"
        return dict(json.loads(record.read_text())) if record.exists() else {"": "failed"}


def not_passed(outcomes: "dict[str, str]") -> int:
    return sum(outcome == "failed" for outcome in outcomes.values())


def counted(outcomes: "dict[str, str]") -> str:
    counts = Counter(outcomes.values())
    return ", ".join(f"{counts[what]:4} {what}" for what in ("passed", "failed", "skipped"))


def said(checkout: Path) -> str:
    """The name of the repository and the commit that is checked out."""
    git = ["git", "-C", str(checkout), "describe", "--tags", "--always"]
    commit = subprocess.run(git, capture_output=True, text=True).stdout.strip()
    return f"{checkout.resolve().name} {commit}"


if __name__ == "__main__":
    sys.exit(main())
