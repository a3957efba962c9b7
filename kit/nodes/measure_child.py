"""Measures one device in the interpreter under test: how fast it multiplies matrices and copies memory.

Standard library and torch only; Python 3.8 and newer, torch 1.13 and newer.  ``kit.nodes.measure`` starts it once;
the last line of stdout is ``MARKER`` and a JSON list with one object for each GPU, or one for the processor.
"""

# Python 3.8 without annotations, as in verify_child.py.
# mypy: ignore-errors

import json
import re
import sys
import time

MARKER = "kit-measure-answer:"
SECONDS = 0.6  # for each number


def measure():
    """One object for each GPU that torch can use; where there is none, one for the processor."""
    import torch

    if torch.cuda.is_available():
        return [gpu(torch, index) for index in range(torch.cuda.device_count())]
    return [
        {"gpu": None, "cpu": processor(), "threads": str(torch.get_num_threads()), **speeds(torch, "cpu", 512, 25)}
    ]


def gpu(torch, index):
    device = "cuda:%d" % index
    try:
        found = speeds(torch, device, 4096, 28)
    except RuntimeError as error:  # out of memory, no kernel for it: that this one cannot be measured is said of it
        found = {"why": "%s: %s" % (type(error).__name__, str(error).strip().splitlines()[0])}
    return {"gpu": torch.cuda.get_device_name(index), "index": index, **found}


def speeds(torch, device, side, bits):
    """float32 multiplications and additions a second in a product of matrices, and bytes a second that a copy reads
    and writes.  The median of many runs: others may be at work for a moment."""
    wait = torch.cuda.synchronize if device != "cpu" else lambda *_: None
    a, b = [torch.ones(side, side, device=device) for _ in range(2)]
    source = torch.ones(2 ** (bits - 2), device=device)
    target = torch.empty_like(source)
    product = median(lambda: torch.mm(a, b), wait, device)
    copy = median(lambda: target.copy_(source), wait, device)
    return {
        "flops_per_second": digits(2 * side**3 / product),
        "bytes_per_second": digits(2 * 2**bits / copy),
    }


def median(step, wait, device):
    step()
    wait(device)
    times, end = [], time.perf_counter() + SECONDS
    while len(times) < 5 or (time.perf_counter() < end and len(times) < 1000):
        begun = time.perf_counter()
        step()
        wait(device)
        times.append(time.perf_counter() - begun)
    return sorted(times)[len(times) // 2]


def digits(number):
    """Three digits: no measurement repeats itself to more."""
    return float("%.3g" % number)


def processor():
    """The processor's name, as Linux tells it; None where it does not."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            match = re.search(r"^(?:model name|cpu model|cpu)\s*:\s*(.+)$", stream.read(65536), re.M)
    except OSError:
        return None
    return match.group(1).strip() if match else None


def main():
    try:
        answer = measure()
    except Exception as error:
        said = str(error).strip().splitlines() or [""]
        answer = "%s: %s" % (type(error).__name__, said[0])
    sys.stdout.write("\n" + MARKER + json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
