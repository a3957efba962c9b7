"""Benchmark: ``kit explain`` of a traceback of 200 lines, in a process that has kit loaded and as a command.

python tests/bench_explain.py [--rounds N]
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kit import explaining

FRAME = '  File "/opt/venv/lib/python3.11/site-packages/torch/nn/modules/module.py", line {n}, in _call_impl\n'
FRAME += "    return forward_call(*args, **kwargs)  # {n}\n"
CAUSES = {
    "a GPU too new": "RuntimeError: CUDA error: no kernel image is available for execution on the device\n",
    "an undefined symbol": "OSError: /opt/venv/lib/python3.11/site-packages/torch_sparse/_convert_cuda.so: undefined "
    "symbol: _ZN3c105ErrorC2ENS_14SourceLocationENSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE\n",
    "nothing known": "KeyError: 'loss'\n",
}


def traceback(last: str) -> str:
    """A traceback of 99 frames; in a deep one many return."""
    return "Traceback (most recent call last):\n" + "".join(FRAME.format(n=n % 40) for n in range(99)) + last


def seconds(work: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def command(file: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "kit", "explain", str(file)], stdout=subprocess.DEVNULL)
    assert done.returncode == 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    load = f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    print(f"medians of {rounds}, {load}; bar: 5 ms, and 250 ms as a command")
    with tempfile.TemporaryDirectory() as folder:
        for name, last in CAUSES.items():
            text = traceback(last)
            file = Path(folder) / "out.txt"
            file.write_text(text)
            inside = seconds(lambda text=text: explaining.explain(text), rounds)
            outside = seconds(lambda file=file: command(file), rounds)
            print(f"{name:<20} explain {inside * 1000:5.2f} ms   kit explain {outside * 1000:4.0f} ms")


if __name__ == "__main__":
    main()
