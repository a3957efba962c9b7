"""apex's own amp tests, run against the kit's replacement: python tests/conformance_apex.py APEX [--device cuda]

APEX is a checkout of github.com/NVIDIA/apex at tag 25.04; nothing of it is kept.  On the CPU the names of CUDA's
types and devices are mapped to the CPU's in a copy; the tests are otherwise as they were written.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# About amp itself; the others are about C++ kernels (multi_tensor_*, fused_sgd, hysteresis) and skip without them.
FILES = [
    "add_param_group",
    "basic_casts",
    "cache",
    "checkpointing",
    "larc",
    "multiple_models_optimizers_losses",
    "promotion",
    "rnn",
]
TO_CPU = [
    (r"\.cuda\(\)", ""),
    (r"torch\.cuda\.(\w+Tensor)", r"torch.\1"),
    (r"([\"'])cuda\1", r"\1cpu\1"),
]
CONFTEST = "import warnings\nimport kit.shims\nkit.shims.enable('apex.amp', cover=True)\n"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("apex", type=Path)
    arguments.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments.add_argument("-v", "--verbose", action="store_true", help="what failed, and why")
    given = arguments.parse_args()
    source = given.apex / "tests" / "L0" / "run_amp"
    if not source.is_dir():
        print(f"{given.apex} has no tests/L0/run_amp: check out NVIDIA/apex at tag 25.04", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run_amp"
        shutil.copytree(source, folder)
        if given.device == "cpu":
            for file in folder.glob("*.py"):
                text = file.read_text()
                for pattern, new in TO_CPU:
                    text = re.sub(pattern, new, text)
                file.write_text(text)
        (folder / "conftest.py").write_text(CONFTEST)
        totals = [0, 0]
        for name in FILES:
            passed, failed, words = run(folder, f"test_{name}.py")
            totals = [totals[0] + passed, totals[1] + failed]
            print(f"{name:36} {passed:3} passed {failed:3} failed", flush=True)
            if given.verbose and failed:
                print(words)
    print(f"{'all':36} {totals[0]:3} passed {totals[1]:3} failed, on {given.device}")
    return int(bool(totals[1]))


def run(folder: Path, name: str) -> tuple[int, int, str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "--tb=short", name]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return 0, 1, done.stdout + done.stderr
    counts = {what: int(n) for n, what in re.findall(r"(\d+) (passed|failed|errors?)", done.stdout)}
    return counts.get("passed", 0), sum(n for what, n in counts.items() if what != "passed"), done.stdout


if __name__ == "__main__":
    sys.exit(main())
