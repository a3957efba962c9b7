"""Public models that import torch_scatter, trained with the compiled one and with the kit's: to the same losses.

    python tests/conformance_models.py --list              what to fetch, at which commits, what to install for it
    python tests/conformance_models.py FOLDER [NAME...]    run them: FOLDER/OWNER+NAME holds each checkout

Each model trains a few steps on made-up data, on the CPU, from the same seed, in two processes.  A copy of it is
changed in what has nothing to do with torch_scatter.  Nothing of the models is kept.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any, Callable

import torch
from conformance_clients import Stubs
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
INSTALL = "torch_geometric aiohttp aiohappyeyeballs aiosignal frozenlist multidict propcache yarl xxhash"
STEPS = 12
NEAR = 1e-4  # of a loss
MODELS: dict[str, Namespace] = {}
Trained = tuple[nn.Module, Callable[[], torch.Tensor]]


def model(repository: str, commit: str, edits: Any = (), stubs: str = "") -> Any:
    """Register the decorated function, which makes a model and what computes its loss.

    ``edits`` are texts of the checkout to replace: (file, old, new), where an empty ``old`` is the whole file;
    ``stubs`` are packages to replace by nothing.
    """

    def register(make: Callable[[], Trained]) -> Callable[[], Trained]:
        about = " ".join((make.__doc__ or "").split())
        more = {"repository": repository, "commit": commit, "edits": edits, "stubs": stubs}
        MODELS[make.__name__] = Namespace(make=make, about=about, folder=repository.replace("/", "+"), **more)
        return make

    return register


def child(folder: Path, name: str, which: str) -> int:
    """Train one model in this process; the last line that is printed is what came of it."""
    one, source = MODELS[name], Path.cwd() / "source"
    shutil.copytree(folder / one.folder, source, ignore=shutil.ignore_patterns(".git"))
    for file, old, new in one.edits:
        text = (source / file).read_text()
        assert old in text, f"{file} has no {old!r}"
        (source / file).write_text(text.replace(old, new) if old else new)
    sys.path[:0] = [str(source), str(ROOT)]
    sys.path.append(str(folder / "site"))
    sys.meta_path.append(Stubs(one.stubs))
    if which == "kit":
        import kit.shims

        kit.shims.enable("torch_scatter", cover=True)
    calls = noted(which)
    torch.manual_seed(1)
    net, loss_of = one.make()
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses, start = [], time.perf_counter()
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    print("\n" + json.dumps([losses, calls, time.perf_counter() - start]), flush=True)
    return 0


def noted(which: str) -> Counter:
    """Have each public function of torch_scatter note that it was called."""
    import torch_scatter

    assert ("kit" in torch_scatter.__version__) == (which == "kit"), torch_scatter.__file__
    calls: Counter = Counter()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    for name in torch_scatter.__all__:
        function = getattr(torch_scatter, name, None)
        if callable(function):
            setattr(torch_scatter, name, counting(name, function))
    return calls


def in_child(folder: Path, name: str, which: str) -> "tuple[list[float], dict[str, int], float, str]":
    command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), "--child", which, str(folder), name]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(command, cwd=empty, env=env, capture_output=True, text=True, timeout=300)
    if done.returncode:
        return [], {}, 0.0, done.stdout + done.stderr
    return (*json.loads(done.stdout.rstrip().rpartition("\n")[2]), "")


def wrong(compiled: "list[float]", kit: "list[float]") -> str:
    if len(kit) < STEPS or len(compiled) < STEPS or not all(map(math.isfinite, kit)):
        return f"losses: {compiled} {kit}"
    if not kit[-1] < kit[0]:
        return f"the loss does not fall: {kit}"
    apart = max(abs(a - b) / abs(a) for a, b in zip(compiled, kit))
    return f"losses differ by {apart:.1e}: {compiled} {kit}" if apart > NEAR else ""


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, nargs="?")
    arguments.add_argument("names", nargs="*", metavar="NAME", help=", ".join(MODELS))
    arguments.add_argument("--list", action="store_true", help="what to fetch, and at which commits")
    arguments.add_argument("--child", choices=("compiled", "kit"), help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.list or given.folder is None:
        for one in MODELS.values():
            print(f"FOLDER/{one.folder:50} github.com/{one.repository:50} {one.commit}")
        print(f"pip install --no-deps --target FOLDER/site {INSTALL}")
        return 0 if given.list else 2
    if given.child:
        return child(given.folder.resolve(), given.names[0], given.child)
    failed = 0
    for name in given.names or MODELS:
        theirs, _, compiled_s, said = in_child(given.folder.resolve(), name, "compiled")
        ours, calls, kit_s, more = in_child(given.folder.resolve(), name, "kit")
        what = wrong(theirs, ours) or ("" if calls else "torch_scatter was not called")
        failed += bool(what)
        if what:
            print(f"{name:14} FAILED {what}\n{said}{more}", flush=True)
            continue
        apart = max(abs(a - b) / abs(a) for a, b in zip(theirs, ours))
        times = ", ".join(f"{function} {n}" for function, n in sorted(calls.items()))
        print(f"{name:14} ok: loss {ours[0]:.6f} to {ours[-1]:.6f}, apart by {apart:.0e}; {times}", flush=True)
        print(
            f"{'':14} {STEPS} steps in {kit_s:.2f} s, compiled {compiled_s:.2f} s. {MODELS[name].about}", flush=True
        )
    print(f"{len(given.names or MODELS) - failed} ok, {failed} failed, torch {torch.__version__}")
    return int(bool(failed))


def mse(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return nn.functional.mse_loss(a, b)


# -- The models


@model(
    "autonomousvision/convolutional_occupancy_networks",
    "838bea5b2f1314f2edbb68d05ebb0db49f1f3bd2",
    [
        ("src/common.py", "from src.utils.libkdtree import KDTree\n", ""),
        ("src/conv_onet/__init__.py", "", ""),
        ("src/encoder/__init__.py", "", ""),
    ],
)
def occupancy() -> Trained:
    """LocalPoolPointnet with its U-Net and LocalDecoder: scatter_max of points in planes, scatter_mean with out=."""
    from src.conv_onet.models.decoder import LocalDecoder
    from src.encoder.pointnet import LocalPoolPointnet

    unet = {"depth": 2, "start_filts": 8, "merge_mode": "concat"}
    encoder = LocalPoolPointnet(16, 3, 16, "max", True, unet, plane_resolution=16, plane_type=["xz", "xy", "yz"])
    decoder = LocalDecoder(3, 16, 16, n_blocks=2)
    points, asked = torch.rand(2, 600, 3) - 0.5, torch.rand(2, 300, 3) - 0.5
    inside = (asked.norm(dim=-1) < 0.4).float()

    def loss() -> torch.Tensor:
        return nn.functional.binary_cross_entropy_with_logits(decoder(asked, encoder(points)), inside)

    return nn.ModuleList([encoder, decoder]), loss


@model("guanjq/targetdiff", "142f1eb7178480d435fe0b8cb95a99beb48997c7")
def targetdiff() -> Trained:
    """UniTransformer of a ligand in a pocket: scatter_softmax and scatter_sum over edges, with heads."""
    from models.uni_transformer import UniTransformerO2TwoUpdateGeneral as UniTransformer

    net = UniTransformer(1, 2, 32, n_heads=4, k=6, num_r_gaussian=20, edge_feat_dim=4, cutoff_mode="hybrid")
    h, x, ligand = torch.randn(60, 32), torch.randn(60, 3) * 2, (torch.arange(60) % 3 == 0).long()
    batch, moved = torch.arange(60) // 30, x + torch.randn(60, 3) / 2
    distance = (x.unsqueeze(0) - x.unsqueeze(1)).norm(dim=-1) + 99 * (batch.unsqueeze(0) != batch.unsqueeze(1))
    near = (distance + 99 * torch.eye(60)).topk(6, largest=False).indices
    edges = torch.stack([near.flatten(), torch.arange(60).repeat_interleave(6)])
    net._connect_edge = lambda *_: edges  # knn_graph needs an extension of PyG

    def loss() -> torch.Tensor:
        return mse(net(h, x, ligand, batch)["x"], torch.where(ligand[:, None] > 0, moved, x))

    return net, loss


@model("KiddoZhu/NBFNet-PyG", "0c2d262e1d0175c174f62367d08ce4060b0d7b89")
def nbfnet() -> Trained:
    """NBFNet on a knowledge graph, principal neighbourhood aggregation: scatter of mean, max and min."""
    from nbfnet.models import NBFNet
    from torch_geometric.data import Data

    net = NBFNet(16, [16, 16], 8, message_func="rotate", aggregate_func="pna", short_cut=True, layer_norm=True)
    head, tail, relation = torch.randint(0, 40, (200,)), torch.randint(0, 40, (200,)), torch.randint(0, 4, (200,))
    edges = torch.stack([torch.cat([head, tail]), torch.cat([tail, head])])
    graph = Data(edge_index=edges, edge_type=torch.cat([relation, relation + 4]), num_nodes=40)
    negative = torch.stack([head[:8, None].expand(-1, 6), torch.randint(0, 40, (8, 6))], -1)
    first = torch.stack([head[:8], tail[:8]], -1)[:, None]
    pairs = torch.cat([first, negative], 1)
    batch = torch.cat([pairs, relation[:8, None, None].expand(-1, 7, 1)], -1)
    target = torch.zeros(8, 7)
    target[:, 0] = 1

    def loss() -> torch.Tensor:
        return nn.functional.binary_cross_entropy_with_logits(net(graph, batch), target)

    return net, loss


@model("echowve/meshGraphNets_pytorch", "afe3f51a08d100d88312a269662076904ae95f8d")
def meshgraphnets() -> Trained:
    """The Simulator of MeshGraphNets on a mesh: scatter_add of edges to nodes, in each of its blocks."""
    from model import Simulator
    from torch_geometric.data import Data

    net = Simulator(4, 11, 3, "cpu")
    net.train()
    nodes = torch.cat([torch.randint(0, 9, (300, 1)).float(), torch.randn(300, 2)], 1)
    edges, attributes = torch.randint(0, 300, (2, 1800)), torch.randn(1800, 3)
    noise, after = torch.randn(300, 2) / 50, nodes[:, 1:] * 0.9 + 0.1

    def loss() -> torch.Tensor:
        graph = Data(x=nodes.clone(), edge_index=edges, edge_attr=attributes.clone(), y=after)
        return mse(*net(graph, noise))

    return net, loss


@model("THUNLP-MT/GET", "ce68ea833c45f3c2b0336bdb713ed9c9ce9a86a3", [("models/__init__.py", "", "")], "scipy")
def get() -> Trained:
    """The Generalist Equivariant Transformer: scatter_softmax twice, scatter_mean, scatter_sum, scatter_std."""
    from models.GET.modules.get import GET

    net = GET(32, 16, 2, 16, d_edge=8, n_layers=2, dropout=0.0)
    block = torch.arange(12).repeat_interleave(torch.randint(2, 5, (12,)))
    batch, units = torch.arange(12) // 6, len(block)
    edges = torch.tensor([(a, b) for a in range(12) for b in range(12) if a // 6 == b // 6 and a != b]).T
    h, z, attributes = torch.randn(units, 32), torch.randn(units, 2, 3) * 3, torch.randn(edges.size(1), 8)
    wanted_h, wanted_z = torch.randn(units, 32), z + torch.randn(units, 2, 3)

    def loss() -> torch.Tensor:
        new_h, new_z = net(h, z, block, batch, edges, attributes)
        return mse(new_h, wanted_h) + mse(new_z, wanted_z)

    return net, loss


@model(
    "neuraloperator/neuraloperator",
    "93d3f0633e048c915004cd782cb339acf06e1157",
    [("neuralop/__init__.py", "", ""), ("neuralop/layers/__init__.py", "", "")],
)
def neuralop() -> Trained:
    """A graph neural operator's block, batched and not: segment_csr by sum and by mean, imported as a module."""
    from neuralop.layers.gno_block import GNOBlock

    more = {"use_open3d_neighbor_search": False, "pos_embedding_channels": 4, "channel_mlp_layers": [16]}
    blocks = nn.ModuleList([GNOBlock(3, 3, 2, 0.3, "linear", reduction=r, **more) for r in ("sum", "mean")])
    y, x, f = torch.rand(600, 2), torch.rand(250, 2), torch.randn(4, 600, 3)
    wanted = torch.sin(4 * x).sum(1)[None, :, None].expand(4, -1, 3)

    def loss() -> torch.Tensor:
        plain = blocks[1](y, x, f[0])
        return mse(blocks[0](y, x, f) / 60, wanted) + mse(plain, wanted[0])

    return blocks, loss


if __name__ == "__main__":
    sys.exit(main())
