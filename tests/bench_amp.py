"""Benchmark: a training step through the kit's apex.amp against the same loop by hand with torch.amp.

    python tests/bench_amp.py [--rounds N] [--device cpu|cuda] [--apex FOLDER]

Each loop lives in a process of its own, and they take turns within a round, so that a machine whose speed drifts
slows both; the ratio is the median over the rounds.  ``--apex`` is a checkout of NVIDIA/apex at tag 25.04: its own
amp is timed as well, where it runs (on CUDA; on the CPU it refuses).  Bar: at most 2 per cent slower than by hand.
"""

import argparse
import multiprocessing
import os
import statistics
import sys
import time
from multiprocessing.connection import Connection
from typing import Any, Callable

from conftest import ROOT

BAR = 1.02
STEPS = {"cpu": 1, "cuda": 20}  # in one turn
LOOPS = {"by hand, torch.amp": "O1", "the kit's apex.amp, O1": "O1", "the kit's apex.amp, O2": "O2"}


def model_and_data(device: str) -> tuple[Any, Any, Any, Any]:
    """A transformer of 4.8 million parameters, its optimizer, and a batch: 4 sequences of 32 tokens on the CPU, where
    float16 is slow, 16 of 128 on a GPU."""
    import torch

    torch.manual_seed(0)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(2000, 256)
            layer = torch.nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.1, activation="gelu", batch_first=True)
            self.body = torch.nn.TransformerEncoder(layer, 5)
            self.head = torch.nn.Linear(256, 2000)

        def forward(self, tokens: Any) -> Any:
            return self.head(self.body(self.embed(tokens)))

    model = Net().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    x = torch.randint(2000, (4, 32) if device == "cpu" else (16, 128), device=device)
    return model, optimizer, x, x.roll(1, 1)


def by_hand(device: str) -> Callable[[], None]:
    import torch

    model, optimizer, x, y = model_and_data(device)
    scaler = torch.amp.GradScaler(device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, dtype=torch.float16):
            loss = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()

    return step


def by_apex(device: str, level: str, folder: str) -> Callable[[], None]:
    import torch

    if folder:
        sys.path.insert(0, folder)
    else:
        import kit.shims

        kit.shims.enable("apex.amp", cover=True)
    from apex import amp

    model, optimizer, x, y = model_and_data(device)
    model, optimizer = amp.initialize(model, optimizer, opt_level=level, verbosity=0)

    def step() -> None:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
        with amp.scale_loss(loss, optimizer) as scaled:
            scaled.backward()
        torch.nn.utils.clip_grad_norm_(amp.master_params(optimizer), 1.0)
        optimizer.step()

    return step


def serve(pipe: Connection, name: str, device: str, folder: str) -> None:
    """One loop: at each word run some steps and answer with their seconds."""
    import torch

    torch.set_num_threads(1)
    step = by_hand(device) if name.startswith("by hand") else by_apex(device, LOOPS.get(name, "O1"), folder)
    for _ in range(2):
        step()
    pipe.send(0.0)
    while pipe.recv():
        start = time.perf_counter()
        for _ in range(STEPS[device]):
            step()
        if device == "cuda":
            torch.cuda.synchronize()
        pipe.send((time.perf_counter() - start) / STEPS[device])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--apex", metavar="FOLDER", default="")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for name in [*LOOPS, *(["NVIDIA's apex.amp 25.04, O1"] if given.apex else [])]:
        ours, theirs = context.Pipe()
        folder = given.apex if name.startswith("NVIDIA") else ""
        context.Process(target=serve, args=(theirs, name, given.device, folder), daemon=True).start()
        theirs.close()
        ours.recv()
        pipes[name] = ours
    seconds: dict[str, list[float]] = {name: [] for name in pipes}
    for number in range(given.rounds):
        for name in list(pipes) if number % 2 else list(pipes)[::-1]:
            pipes[name].send(True)
            seconds[name].append(pipes[name].recv())
    for pipe in pipes.values():
        pipe.send(False)
    first = seconds["by hand, torch.amp"]
    print(
        f"a step of 4.8 million parameters on {given.device}, {given.rounds} rounds of {STEPS[given.device]} in turn"
    )
    ratios = {}
    for name, taken in seconds.items():
        ratios[name] = statistics.median(a / b for a, b in zip(taken, first))
        print(f"  {name:28} {statistics.median(taken) * 1000:8.1f} ms   {ratios[name]:.3f} of by hand")
    kept = ratios["the kit's apex.amp, O1"] <= BAR
    print(f"O1 against by hand: bar {BAR}: {'kept' if kept else 'MISSED'}")
    return int(not kept)


if __name__ == "__main__":
    sys.exit(main())
