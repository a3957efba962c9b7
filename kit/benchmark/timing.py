"""How long a call takes: blocks of calls on the CPU and, by events, on a GPU; and how fast memory can be copied."""

import glob
import itertools
import platform
import re
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

from kit.benchmark.cases import Case, Inputs
from kit.benchmark.contenders import Call
from kit.build.toolchain import memory as free_here

_MOST_COPIES = 1024
_BLOCK = 1e-3  # seconds of one block between two events
_CACHE = 32 << 20  # where it cannot be read


def device_name(device: str) -> str:
    """The model of the processor or of the GPU."""
    if device == "cuda":
        import torch

        return str(torch.cuda.get_device_name())
    found = re.search(r"^model name\s*:\s*(.+)$", _text("/proc/cpuinfo"), re.M)
    return found[1].strip() if found else platform.processor() or platform.machine()


def free_memory(device: str) -> Optional[int]:
    """Bytes that can be had on the device, or None where that is not known."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    return free_here()


def cache_bytes(device: str) -> int:
    """The size of the last cache before memory."""
    if device == "cuda":
        import torch

        return int(getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "L2_cache_size", _CACHE))
    sizes = [_text(file).strip() for file in glob.glob("/sys/devices/system/cpu/cpu0/cache/index*/size")]
    return max([int(size[:-1]) << 10 for size in sizes if re.fullmatch(r"\d+K", size)], default=_CACHE)


def copies(case: Case, given: Inputs, cache: int) -> list[Inputs]:
    """The inputs and as many copies that, when they are used in turn, no cache holds what comes next."""
    size = 4 * case.rows * case.features + 8 * case.rows
    number = min(_MOST_COPIES, max(2, -(-2 * cache // size)))
    return [given, *(given.copy() for _ in range(number - 1))]


def step(case: Case, call: Call, turns: Sequence[Inputs], slope: Any) -> Callable[[], Any]:
    """The call to time: with the next inputs at each turn, and with its gradient where the case has one."""
    import torch

    turn = itertools.cycle(turns)

    def forward() -> Any:
        given = next(turn)
        return call(given.source, given.places, case.groups)

    def both() -> Any:
        given = next(turn)
        return torch.autograd.grad(call(given.leaf, given.places, case.groups), given.leaf, slope)

    return both if case.backward else forward


def interleaved(
    steps: Mapping[str, Callable[[], Any]], device: str, threads: int, rounds: int, least: float
) -> dict[str, list[float]]:
    """Seconds of each step, by name: in each round all take their turn for ``least`` seconds, in changing order."""
    slices = {name: _slice(step, device, threads) for name, step in steps.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name in list(slices)[:: -1 if number % 2 else 1]:
            seconds[name] += slices[name](least)
    return seconds


def _slice(step: Callable[[], Any], device: str, threads: int) -> Callable[[float], list[float]]:
    """What times a step for some seconds, and tells how long it took in each block of calls."""
    from torch.utils.benchmark import Timer

    if device == "cuda":
        return lambda least: _between_events(step, least)
    timer = Timer("step()", globals={"step": step}, num_threads=threads)
    number = 0

    def blocks(least: float) -> list[float]:
        nonlocal number
        if number > 1:  # calls in a block are known, and need not be found out again
            return list(timer.timeit(number).times)
        found = timer.blocked_autorange(min_run_time=least)
        number = round(least / found.median)
        return [found.median]  # one time of each round, so that none weighs more than another

    return blocks


def _between_events(step: Callable[[], Any], least: float) -> list[float]:
    import torch

    event: Any = torch.cuda.Event
    start, end = event(enable_timing=True), event(enable_timing=True)

    def block(number: int) -> float:
        start.record()
        for _ in range(number):
            step()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000

    step()
    number = max(1, round(_BLOCK / max(block(1), 1e-6)))
    seconds: list[float] = []
    while sum(seconds) < least:
        seconds.append(block(number))
    return [taken / number for taken in seconds]


def middle(seconds: Sequence[float]) -> tuple[float, float, float]:
    """The median and the two quartiles around it."""
    if len(seconds) == 1:
        return seconds[0], seconds[0], seconds[0]
    low, median, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return median, low, high


def copy_bandwidth(device: str, threads: int, cache: int, least: float) -> float:
    """Bytes a second that a copy reads and writes in memory that no cache holds."""
    import torch

    source = torch.ones(max(64 << 20, 4 * cache) // 4, device=device)
    target = torch.empty_like(source)
    seconds = _slice(lambda: target.copy_(source), device, threads)(least)
    return 2 * source.nbytes / middle(seconds)[0]


def busy() -> bool:
    """Whether others keep more than a quarter of the machine computing, while this process waits."""
    before = _spent()
    time.sleep(0.2)
    computing, all_of_it = (after - then for after, then in zip(_spent(), before))
    return computing > 0.25 * all_of_it


def _spent() -> tuple[int, int]:
    """How long all cores together have computed, and been there; (0, 0) where Linux does not tell."""
    numbers = [int(number) for number in _text("/proc/stat").partition("\n")[0].split()[1:9]]
    return sum(numbers) - sum(numbers[3:5]), sum(numbers)  # the fourth and the fifth are those of waiting


def _text(file: str) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
