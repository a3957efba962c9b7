"""NVIDIA's own apex.amp and the kit's, the same loops through both: differential_apex.py APEX [--device cuda]

APEX is a checkout of github.com/NVIDIA/apex at tag 25.04; nothing of it is kept.  Every scenario runs in a process of
its own, once with each, and everything that it leaves is compared: losses, weights after every step, the states of
models and optimizers with their types, loss scales and counters, steps taken and skipped, what was printed, errors.
On the CPU the names of CUDA's tensor types are mapped to the CPU's in a copy of apex.  A scenario's name is what it
does: inf=at(210) makes the loss infinite in step 2, block 1, loss 0.  Exit status 1 for any difference that is not
one of INTENDED, and where apex fails otherwise than in CANNOT.
"""

import argparse
import collections
import contextlib
import copy
import difflib
import io
import itertools
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
import types
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.utils.checkpoint
from torch import nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parent.parent
SIDES = ("real", "shim")
LEVELS = ("O0", "O1", "O2", "O3")
TO_CPU = [
    (r"torch\.cuda\.(\w+Tensor)", r"torch.\1"),
    (r"\b\w+\.is_cuda\b", "True"),
    (r"torch\.version\.cuda", "str(12.0)"),  # it decides whether bmm is a half-precision function
]
# Relative, for losses, weights and states; scales, counters and steps are always compared exactly.  On the CPU both
# do the same operations in the same order, in O1 too: every bit has to agree.  On a GPU atomic and foreach kernels
# sum in another order, which is worth more in half precision, and most where the weights are in it.
TOLERANCE = {"cpu": dict.fromkeys(LEVELS, 0.0), "cuda": {"O0": 1e-5, "O1": 5e-3, "O2": 5e-3, "O3": 2e-2}}
INTENDED = {
    "stash": "with a static scale of 1 and master weights apex drops float32 gradients of earlier blocks",
    "container": "mappings and named tuples keep their type, where apex makes a dict or fails",
    "double": "double tensors stay double, where apex makes them float32 or half",
    "elementwise": "apex calls an overflow what overflows only in the sum of a gradient",
    "autocast": "torch's autocast casts more functions than apex did, and mixed in-place operations round once",
    "clearer": "where apex fails with an AttributeError, the kit's says what is wrong, or does what was meant",
}
CANNOT = (
    "IndexError: tuple index out of range",  # cached_cast in amp/utils.py, since torch 2.0
    "no attribute 'fp16_groups'",  # step() of an optimizer with masters that has seen neither backward nor zero_grad
)
INF, NAN = float("inf"), float("nan")


def _(**options):
    return options


# ------------------------------------------------------------ scenarios: (amp, device, level, **options) -> result


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(8, 8)

    def forward(self, x):
        return self.one(torch.tanh(self.one(x)))


class Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x.mm(weight)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        return grad.mm(weight.t()), x.t().mm(grad)


class Own(nn.Linear):
    """A layer on an autograd function of its own, as C++ extensions have them."""

    def forward(self, x):
        return Multiply.apply(x, self.weight) + self.bias


class Recomputed(nn.Sequential):
    def forward(self, x):
        return torch.utils.checkpoint.checkpoint(super().forward, x, use_reentrant=True)


KINDS = {  # layers that end in (6, 8), and the shape of their input
    "mlp": (lambda: [nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8)], (6, 8)),
    "conv": (
        lambda: [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 8)],
        (6, 2, 4, 4),
    ),
    "norm": (lambda: [nn.Linear(8, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 8), nn.Softplus()], (6, 8)),
    "attention": (lambda: [nn.TransformerEncoderLayer(8, 2, 16, 0.0), nn.Flatten(), nn.Linear(24, 8)], (6, 3, 8)),
    "embedding": (lambda: [nn.Embedding(20, 8), nn.Flatten(), nn.Linear(24, 8)], None),
    "again": (lambda: [nn.Linear(8, 16), Recomputed(nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 8))], (6, 8)),
    "own": (lambda: [Own(8, 8), nn.ReLU(), Own(8, 8)], (6, 8)),
    "tied": (lambda: [Tied()], (6, 8)),
}
OPTIMIZERS = {  # eps as half precision can hold it
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "plain": lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-4),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, eps=1e-4),
}
CRITERIA = {
    "mse": lambda out, g: F.mse_loss(out, torch.randn(6, 4, generator=g).to(out.device)),
    "ce": lambda out, g: F.cross_entropy(out, torch.randint(4, (6,), generator=g).to(out.device)),
    "half": lambda out, g: (out - torch.randn(6, 4, generator=g).to(out)).abs().mean(),
    "raw": lambda out, g: ((out - torch.randn(6, 4, generator=g).to(out.device)) ** 2).mean(),
}
DEFAULTS = {
    **_(
        kind="mlp", optimizer="sgd", criterion="mse", models=1, optimizers=1, losses=1, num_losses=1, steps=7, seed=0
    ),
    # blocks: scaled blocks in each step; delay: delay_unscale, unchecked: delay_overflow_check, in all but the last;
    # inf: (step, block, loss) -> factor of that loss; late: the step in which the head joins the optimizer
    **_(blocks=1, delay=False, unchecked=False, inf={}, late=None, frozen=False, zero="optimizer", clip=None),
    # shared: all losses from one forward; warm: steps before initialize; evaluate: in eval mode after every step;
    # broken: the step whose block raises after backward
    **_(shared=False, warm=0, evaluate=False, broken=None),
    # scale, window: poked into the scalers; schedule: made before or after initialize; save: the step before which a
    # checkpoint is written; restore: "masters", saved and copied back, or "documented", apex's recipe
    **_(scale=None, window=None, schedule=None, save=None, restore=None, init={}),
}


class Net(nn.Module):
    def __init__(self, kind, frozen=False, late=None):
        super().__init__()
        self.body = nn.Sequential(*KINDS[kind][0]())
        self.head = nn.Linear(8, 4).requires_grad_(late is None)
        next(self.body.parameters()).requires_grad_(not frozen)

    def forward(self, x):
        return self.head(self.body(x))


def batch(kind, g):
    return torch.randn(KINDS[kind][1], generator=g) if KINDS[kind][1] else torch.randint(20, (6, 3), generator=g)


def train(amp, device, level, checkpoint=None, **options):
    o = types.SimpleNamespace(**{**DEFAULTS, **options})
    torch.manual_seed(o.seed + (1000 if checkpoint else 0))
    models = [Net(o.kind, o.frozen, o.late).to(device) for _ in range(o.models)]
    owned = [[] for _ in range(o.optimizers)]
    for m, model in enumerate(models):
        for p, param in enumerate((model if o.late is None else model.body).parameters()):
            owned[(m if o.models > 1 else p) % o.optimizers].append(param)
    optimizers, taken = [OPTIMIZERS[o.optimizer](params) for params in owned], [0] * o.optimizers
    for n, x in enumerate(optimizers):
        x.register_step_post_hook(lambda *_, n=n: taken.__setitem__(n, taken[n] + 1))
    for _step in range(o.warm):
        g = torch.Generator().manual_seed(_step)
        sum(CRITERIA[o.criterion](model(batch(o.kind, g).to(device)), g) for model in models).backward()
        for x in optimizers:
            x.step()
            x.zero_grad()
    schedulers = [torch.optim.lr_scheduler.StepLR(x, 3, 0.5) for x in optimizers if o.schedule == "before"]
    given = (models if o.models > 1 else models[0], optimizers if o.optimizers > 1 else optimizers[0])
    back = amp.initialize(*given, opt_level=level, num_losses=o.num_losses, **o.init)
    assert back[0] is given[0] and back[1] is given[1]
    schedulers += [torch.optim.lr_scheduler.StepLR(x, 3, 0.5) for x in optimizers if o.schedule == "after"]
    on = o.init.get("enabled", True)
    for scaler in amp._amp_state.loss_scalers if on else ():
        scaler._scale_seq_len = o.window or scaler._scale_seq_len
        scaler._loss_scale = o.scale or scaler._loss_scale
    if checkpoint:
        restore(amp, models, optimizers, checkpoint, o.restore)
    trace, result = [], {}
    for step in range(o.save if checkpoint else 0, o.steps):
        if step == o.save:
            result["checkpoint"] = everything(amp, models, optimizers, on)
        now, printed = _(losses=[], norms=[], types=[]), io.StringIO()
        with contextlib.redirect_stdout(printed):
            for m, model in enumerate(models if step == o.late else ()):
                group = {"params": list(model.head.requires_grad_(True).parameters()), "lr": 0.05}
                optimizers[m % len(optimizers)].add_param_group(group)
            for x in optimizers if o.zero == "optimizer" else models:
                x.zero_grad()
            for block, number in itertools.product(range(o.blocks), range(o.losses)):
                g = torch.Generator().manual_seed(10000 * o.seed + 100 * step + 10 * block + number)
                of = [number] if number < o.models > 1 else [*range(o.models)]
                theirs = [optimizers[i] for i in sorted({m % o.optimizers for m in of})]
                theirs = theirs if o.models > 1 else optimizers
                if not (o.shared and number):
                    outs = [models[m](batch(o.kind, g).to(device)) for m in of]
                loss = sum(CRITERIA[o.criterion](out, g) for out in outs) * o.inf.get((step, block, number), 1.0)
                now["losses"].append(float(loss.detach()))
                now["types"] += [str(x.dtype) for x in (*outs, loss)]
                early = block < o.blocks - 1
                which = _(loss_id=number % o.num_losses, delay_unscale=o.delay and early)
                which["delay_overflow_check"] = o.unchecked and early
                block_of = amp.scale_loss(loss, theirs if len(theirs) > 1 else theirs[0], **which)
                with contextlib.suppress(KeyboardInterrupt), block_of as scaled:
                    scaled.backward(retain_graph=o.shared)
                    if step == o.broken:
                        raise KeyboardInterrupt
            if step == o.broken:
                continue
            for x in optimizers if o.clip else ():
                now["norms"].append(float(nn.utils.clip_grad_norm_(list(amp.master_params(x)), o.clip)))
            for x in (*optimizers, *schedulers):
                x.step()
        now["printed"] = [x for x in printed.getvalue().splitlines() if x.startswith("Gradient overflow")]
        if now["printed"]:  # apex stops unscaling at the first overflow: then norms are arbitrary
            now["norms"] = []
        now["scales"], now["taken"] = dict(amp.state_dict()) if on else {}, [*taken]
        # not torch's sum: with apex's O1 it is one in float32
        now["weights"] = [float(np.abs(np.float64(p.detach().cpu())).sum()) for m in models for p in m.parameters()]
        if o.evaluate:
            with torch.no_grad():
                x = batch(o.kind, torch.Generator().manual_seed(step)).to(device)
                now["eval"] = [model.eval()(x) for model in models for _again in range(2)]
            for model in models:
                model.train()
        trace.append(now)
    return {**result, "trace": trace, "end": everything(amp, models, optimizers, on)}


def everything(amp, models, optimizers, on):
    return {
        "models": [{k: v.clone() for k, v in model.state_dict().items()} for model in models],
        "optimizers": [copy.deepcopy(x.state_dict()) for x in optimizers],
        "masters": [[p.detach().clone() for p in amp.master_params(x)] for x in optimizers],
        "amp": dict(amp.state_dict()) if on else {},
    }


def restore(amp, models, optimizers, checkpoint, how):
    for x in optimizers if how == "masters" else ():
        x.zero_grad()  # makes the masters, with apex as with the kit's
    for x, state in zip((*models, *optimizers), (*checkpoint["models"], *checkpoint["optimizers"])):
        x.load_state_dict(state)
    amp.load_state_dict(checkpoint["amp"])
    for x, masters in zip(optimizers, checkpoint["masters"]) if how == "masters" else ():
        for param, value in zip(amp.master_params(x), masters):
            param.data.copy_(value)


ONE = "acos asin erfinv cosh exp expm1 log log10 log2 reciprocal rsqrt sinh tan norm prod std sum var mean abs tanh"
CALLS = [
    f"{call}()" if call[0] == "a" else f"{call}(a)" for name in ONE.split() for call in (f"torch.{name}", f"a.{name}")
]
CALLS += [f"a{sign}b" for sign in "+ - * / @ == != < <= > >= **".split()]
CALLS += [f"torch.{name}(a,b)" for name in "matmul mm atan2 add div mul eq equal ge gt le lt ne dist pow".split()]
CALLS += [f"F.{name}(a,dim=1)" for name in "softmin softmax log_softmax normalize".split()]
CALLS += [f"F.{name}(a)" for name in "softplus gelu relu silu".split()]
CALLS += [f"F.{name}(a,b)" for name in "linear cosine_similarity l1_loss mse_loss smooth_l1_loss kl_div".split()]
CALLS += [f"F.{name}(a,b)" for name in "soft_margin_loss hinge_embedding_loss poisson_nll_loss".split()]
CALLS += """
F.binary_cross_entropy(a,b) F.binary_cross_entropy_with_logits(a,b) a.exp_()
torch.cat([a,b]) torch.stack([a,b]) torch.bmm(a[None],b[None]) torch.addmm(a,a,b) torch.addmv(a[0],a,b[0]) a.cpu()
torch.baddbmm(a[None],a[None],b[None]) torch.addbmm(a,a[None],b[None]) torch.mv(a,b[0]) torch.addr(a,a[0],b[0])
torch.dot(a[0],b[0]) torch.cross(a,b,dim=1) torch.addcmul(a,a,b) torch.addcdiv(a,a,b) torch.pow(a,2)
a.pow(2) a**2 2**a torch.cumsum(a,0) a.cumprod(0) torch.renorm(a,2,0,1.0) torch.prelu(a,b[0,:1]) a+1 a.mul(b)
F.layer_norm(a,(3,),b[0],b[1]) F.layer_norm(a,(3,)) F.group_norm(a[None],3) F.local_response_norm(a[None],2) a.clone()
F.interpolate(a[None,None],scale_factor=2) F.grid_sample(a[None,None],b[None,:,:2,None].transpose(2,3)) F.pad(a,(1,1))
F.cross_entropy(a,k) F.nll_loss(a,k) F.multi_margin_loss(a,k) F.multilabel_margin_loss(a,k.expand(3,3)) a.half()
F.multilabel_soft_margin_loss(a,b) F.margin_ranking_loss(a,b,a) F.triplet_margin_loss(a,b,a) F.embedding(k,a)
a.to(b.dtype) F.cosine_embedding_loss(a,b,k) F.batch_norm(a,None,None,training=True) F.instance_norm(a[None])
F.conv1d(a[None],b[None]) F.conv2d(a[None,None],b[None,None]) F.conv3d(a[None,None,None],b[None,None,None])
F.conv_transpose1d(a[None],b[None]) F.conv_transpose2d(a[None,None],b[None,None])
torch.exp_(a) a.__iadd__(b) a.__imul__(b) a.__ipow__(2) a.pow_(2)
F.ctc_loss(a[:,None].log_softmax(2),k[None,:1]+1,k[:1]*0+3,k[:1]*0+1) torch.nn.RNNCell(3,3).to(a.device)(a) a.log_()
a.cumsum_(0)
""".split()
MORE = """
torch.einsum("ij,jk->ik",a,b) F.prelu(a,b[0,:1]) F.bilinear(a,a,b[:,:,None]*a) a.add_(b) a.mul_(b) a.sub_(b) a.div_(b)
torch.nn.GRU(3,3).to(a.device)(a)[0] torch.nn.LSTM(3,3).to(a.device)(a)[0] torch.fft.rfft(a) torch.trace(a)
F.scaled_dot_product_attention(a[None],b[None],b[None])
""".split()


def calls(amp, device, level, kinds, which):
    """What the functions of apex's lists make of arguments of these types."""
    amp.initialize(nn.Linear(1, 1).to(device), opt_level=level)
    seen = {}
    for call in which:
        torch.manual_seed(1)
        g = torch.Generator().manual_seed(0)
        a, b = (torch.rand(3, 3, generator=g).mul(0.8).add(0.1).to(device, kind) for kind in kinds)
        try:
            seen[call] = eval(
                call, {"torch": torch, "F": F, "a": a, "b": b, "k": torch.tensor([1, 0, 1], device=device)}
            )
        except Exception as error:
            seen[call] = type(error).__name__
    return seen


def decorated(amp, device, level):
    """Decorators and registrations: the types that a function sees."""

    def look(*args, **named):
        return [describe(value) for value in (*args, *named.values())]

    class Double(torch.autograd.Function):
        @staticmethod
        @amp.float_function
        def forward(ctx, x):
            return x * 2

        @staticmethod
        @amp.float_function
        def backward(ctx, grad):
            return grad * 2

    home, seen, names = types.ModuleType("home"), {}, ("half", "float", "promote")
    vars(home).update(dict.fromkeys(names, look))
    functions = {name: getattr(amp, f"{name}_function")(look) for name in names}
    for name in names:
        getattr(amp, f"register_{name}_function")(home, name)
    for name, kind in (("einsum", "half"), ("sigmoid", "float"), ("bmm", "float")):
        getattr(amp, f"register_{kind}_function")(torch, name)
    h, s, k = (
        torch.ones(2, 2, device=device).half(),
        torch.ones(2, 2, device=device),
        torch.ones(2, device=device).long(),
    )
    cases = [((h, s), {}), ((h, h), {}), ((s, s), {}), ((h, 1, None, "x", k), {}), ((h,), {"x": s, "y": 2})]
    cases += [(([h, s], (s, (h, s))), {"x": [h]}), (([], (s,)), {}), (([h, None], (s, k)), {})]

    def record(when):
        for (name, function), (n, (args, named)) in itertools.product(functions.items(), enumerate(cases)):
            seen[f"{when} {name} {n}"] = function(*args, **dict(named))
        seen[f"{when} autograd"] = look(Double.apply(h), Double.apply(s.clone().requires_grad_()))
        seen[f"{when} torch"] = look(torch.einsum("ij,jk", s, s), torch.sigmoid(h), torch.bmm(h[None], h[None]))
        seen[f"{when} others"] = look(F.linear(s, s), F.softmax(h, 1), h.cpu(), h + s)

    record("before")
    amp.initialize(nn.Linear(1, 1).to(device), opt_level=level)
    functions.update({f"registered {name}": getattr(home, name) for name in names})
    record("after")
    if level == "O1":
        with amp.disable_casts():
            record("disabled")
        record("again")
    return seen


class Batch:
    def __init__(self, x):
        self.x = x

    def to(self, dtype):
        return Batch(self.x.to(dtype))


def describe(value):
    """The types of tensors within containers."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype)
    if isinstance(value, (Batch, nn.Module)):
        return [type(value).__name__, describe(value.x if isinstance(value, Batch) else [*value.parameters()])]
    if isinstance(value, collections.abc.Mapping):
        return [type(value).__name__, {str(k)[:9]: describe(v) for k, v in value.items()}]
    if isinstance(value, (list, tuple, collections.deque)):
        return [type(value).__name__, *map(describe, value)]
    return [type(value).__name__, *sorted(map(describe, value))] if isinstance(value, set) else type(value).__name__


def forward(amp, device, level, values, **init):
    """What a patched forward gets, and what comes out of it."""
    seen, pair = [], collections.namedtuple("Pair", "x y")

    class Echo(nn.Linear):
        def forward(self, value, **named):
            seen.append(describe([value, named]))
            return value

    x, k = torch.ones(2, 2, device=device), torch.ones(2, device=device).long()
    plain = [x, x.double(), x.half(), k, None, 3, 2.5, "text", b"bytes", np.ones(2), torch.Size([1]), Batch(x)]
    inner = [[x, [k]], (x, (k, x)), {"a": x, "b": [x]}, {x, k}, {1: {"z": x}}, nn.Linear(1, 1).to(device), []]
    mapping = [collections.OrderedDict(a=x), collections.UserDict(a=x), collections.defaultdict(list, a=x)]
    groups = _(plain=plain, inner=inner, mapping=mapping, pair=[pair(x, k)], deque=[collections.deque([x])])
    groups["proxy"] = [types.MappingProxyType({"a": x})]
    model = amp.initialize(Echo(1, 1).to(device), opt_level=level, **init)
    return {"out": [describe(model(value, named=value)) for value in groups[values]], "in": seen}


def inference(amp, device, level, kind):
    """initialize without optimizers, and twice through the model."""
    torch.manual_seed(0)
    model = amp.initialize(Net(kind).to(device), opt_level=level).eval()
    x = batch(kind, torch.Generator().manual_seed(3)).to(device)
    with torch.no_grad():
        return {"type": type(model).__name__, "out": [model(x), model(x)], "state": dict(model.state_dict())}


MISUSES = """
init(opt_level='01') | init((model, other)) | init(model, (optimizer,)) | init('model') | init(model, [])
init(nn.DataParallel(model), optimizer) | init(ddp(), optimizer) | init(model.half(), optimizer) | cudnn(init)
(model.register_buffer('b', x.half()), init()) | (option('allow_incoming_model_not_fp32', True), init(model.half()))
(option('hard_override', True), init(keep_batchnorm_fp32=True)) | (init(), init()) | init(loss_scale='x')
init(keep_batchnorm_fp32=True) | init(keep_batchnorm_fp32='yes') | init(keep_batchnorm_fp32='True')
init(model, [optimizer, optimizer]) | init(master_weights=True) | init(cast_model_type=torch.float16) | init(bogus=1)
init(cast_model_type=torch.float32) | init(cast_model_type=False) | init(patch_torch_functions=True)
init(patch_torch_functions=False) | (init(model.half()), 0)
scaled() | amp.state_dict() | (init(enabled=False), amp.state_dict()) | (init(), scaled(loss_id=3))
(init(model, []), scaled([])) | (init(), amp.load_state_dict({})) | add([model.weight]) | add(other.weight)
(init(), scaled(), optimizer.step(lambda: 1.0)) | (init(loss_scale=8), scaled(), optimizer.step(lambda: 1.0))
(init(loss_scale='dynamic'), scaled(factor=INF), optimizer.step(lambda: 1.0))
(init(), amp.load_state_dict({'junk': 1, **one})) | (init(), amp.load_state_dict(two))
(init(num_losses=2), amp.load_state_dict(one)) | (init(num_losses=2), amp.load_state_dict(two))
amp.register_half_function(torch, 'no_such') | amp.register_promote_function(home, 'x') | add(set(other.parameters()))
(init(), optimizer.add_param_group([other.weight])) | add(iter([other.weight]))
add(nn.Linear(2, 2).to(device).double().weight) | (init(model, frozen), scaled(frozen), frozen.step())
(init(model, integers), scaled(integers), integers.step()) | amp.init().scale_loss(x.sum(), optimizer).__enter__()
amp.init(enabled=False).scale_loss(x.sum(), optimizer).__enter__() | (init(), amp.disable_casts().__enter__())
(init(loss_scale=1.0, master_weights=None), scaled(stranger)) | (init(loss_scale=8.0), scaled(stranger))
"""
MISUSES = [case.strip() for case in MISUSES.strip().replace("\n", "|").split("|")]


def misuse(amp, device, level, case):
    """The error, what was printed, and the scales that remain."""
    model, other = nn.Linear(2, 2).to(device), nn.Linear(2, 2).to(device)
    x, home = torch.ones(2, 2, device=device), types.ModuleType("home")
    fixed = [nn.Parameter(x.clone(), requires_grad=False), nn.Parameter(x.long(), requires_grad=False)]
    optimizer, stranger = (torch.optim.SGD(of.parameters(), lr=0.1) for of in (model, other))
    frozen, integers = (torch.optim.SGD([*model.parameters(), one], lr=0.1) for one in fixed)
    one = {"loss_scaler0": {"loss_scale": 8.0, "unskipped": 3}}
    two = {**one, "loss_scaler1": {"loss_scale": 4.0, "unskipped": 1}}

    def init(*args, **kwargs):
        return amp.initialize(*(args or (model, optimizer)), **{"opt_level": level, **kwargs})

    def scaled(of=optimizer, factor=1.0, **kwargs):
        with amp.scale_loss(model(x).sum() * factor, of, **kwargs) as loss:
            loss.backward()

    def ddp():
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
        return nn.parallel.DistributedDataParallel(model)

    def option(name, value):
        setattr(amp._amp_state, name, value)

    def add(params):
        init()
        optimizer.add_param_group({"params": params})
        scaled(loss_id=0)

    def cudnn(call):
        with torch.backends.cudnn.flags(enabled=False):
            call()

    result, printed = _(raised="", said=""), io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            eval(case, {**globals(), **locals()})
        except Exception as error:
            result = _(raised=type(error).__name__, said=str(error))
    result["printed"] = [x for x in printed.getvalue().splitlines() if re.match("Warning: (?! multi)|Skip|Grad", x)]
    with contextlib.suppress(AttributeError):
        result["scales"] = dict(amp.state_dict())
    return result


# ---------------------------------------------------------------- which of them, with what

LOOPS = """
optimizer='sgd' | optimizer='adam' | optimizer='adamw', criterion='ce' | criterion='raw' | kind='conv', criterion='ce'
kind='norm' | kind='embedding', optimizer='adam' | kind='attention', criterion='ce' | kind='tied' | frozen=True
kind='own' | kind='again' | criterion='half' | warm=3, optimizer='adam' | warm=2, kind='conv'
schedule='before', inf=at(200) | schedule='after', inf=at(200)
evaluate=True, kind='conv' | broken=3, inf=at(500) | optimizers=2, inf=at(300) | blocks=3
losses=2, num_losses=2, inf=at(201, 400) | losses=3, num_losses=3, shared=True, inf=at(201)
losses=2, shared=True, blocks=2, optimizer='adam' | models=2, losses=3, num_losses=3
models=2, optimizers=2, losses=3, inf=at(201) | models=2, optimizers=2, zero='model', late=1, losses=2
models=2, optimizers=2, losses=3, num_losses=3, inf=at(100, 201, 400, 402) | blocks=3, inf=at(100, 310, 520)
blocks=2, inf=at(200, 210) | blocks=2, delay=True, losses=2, num_losses=2
blocks=3, delay=True, inf=at(200) | kind='conv', blocks=2, delay=True, zero='model'
blocks=2, unchecked=True, inf=at(210) | clip=0.3, inf=at(300) | clip=0.3, blocks=2, kind='conv' | inf=at(200, 300)
inf=at(0, 100), optimizer='adam' | inf=at(200), init=scale('dynamic') | scale=2.0**20, window=3, init=scale('dynamic')
window=2, inf=at(400), steps=10, init=scale('dynamic') | scale=2.0**128, init=scale('dynamic')
window=1, steps=12, inf=at(500, 600, 700, 800), init=scale('dynamic', min_loss_scale=2.0**16, max_loss_scale=2.0**18)
window=2, init=scale('dynamic', max_loss_scale=64.0) | init=scale(128), blocks=2 | init=scale('128.0')
init=scale(1000.0), blocks=2 | init=scale(1.0) | init=scale(128.0), inf=at(400), steps=6 | late=3, inf=at(300)
init=_(cast_model_outputs=torch.float16) | init=_(enabled=False), blocks=2, clip=0.3 | late=0, zero='model'
late=2, optimizer='adam', frozen=True | late=3, models=2, optimizers=2, losses=2, num_losses=2
"""
HALF = """
kind='conv', init=_(keep_batchnorm_fp32=True) | kind='conv', init=_(keep_batchnorm_fp32=False)
kind='conv', init=_(keep_batchnorm_fp32='False') | kind='conv', init=_(keep_batchnorm_fp32='True'), blocks=2
kind='conv', init=scale('dynamic', master_weights=True), blocks=2
kind='conv', init=scale('dynamic', master_weights=False) | init=scale(64.0, master_weights=False), blocks=2, clip=0.3
blocks=2, init=scale('dynamic', cast_model_type=torch.float32)
kind='conv', init=scale(1.0, master_weights=True, keep_batchnorm_fp32=True)
"""


def at(*places):
    """Infinite losses: 210 is block 1 and loss 0 of step 2."""
    return {(place // 100, place // 10 % 10, place % 10): INF for place in places}


def scale(value, **more):
    return {"loss_scale": value, **more}


Job = collections.namedtuple("Job", "name level function options intended source", defaults=(None, None))


def jobs(soak):
    for text, levels in ((LOOPS, LEVELS), (HALF, ("O2", "O3"))):
        for name, level in itertools.product(text.strip().replace("\n", "|").split("|"), levels):
            yield Job(name.strip(), level, train, eval(f"_({name})"))
    options = _(kind="conv", blocks=2, init=scale(1.0, master_weights=True, keep_batchnorm_fp32=True))
    yield Job("blocks, static 1.0 and masters", "O2", train, options, "stash")
    for kind, level in itertools.product(("mlp", "conv"), LEVELS):
        options = _(kind=kind, optimizer="adam", save=4, steps=9, losses=2, num_losses=2)
        options.update(inf=at(200, 600), init=scale("dynamic"))
        first = Job(f"checkpoint of {kind}", level, train, options)
        yield first
        for how in ("masters", "documented"):
            yield Job(f"{first.name}, {how}", level, train, {**options, "restore": how}, None, first)
    for values, outputs, level in itertools.product(
        "plain inner mapping pair deque proxy".split(), (None, torch.float16), LEVELS
    ):
        name = f"forward of {values}" + (", cast_model_outputs" if outputs else "")
        intended = None if values in ("plain", "inner", "deque", "proxy") else "container"
        yield Job(name, level, forward, _(values=values, cast_model_outputs=outputs), intended)
    for kind, level in itertools.product(("mlp", "conv", "attention"), LEVELS):
        yield Job(f"inference with {kind}", level, inference, _(kind=kind))
    for kinds in [*itertools.product((torch.float16, torch.float32), repeat=2), (torch.float64, torch.float64)]:
        name, double = " and ".join(map(str, kinds)), "double" if kinds[0] == torch.float64 else None
        yield Job(f"functions of {name}", "O1", calls, _(kinds=kinds, which=CALLS), double)
        yield Job(f"more functions of {name}", "O1", calls, _(kinds=kinds, which=MORE), "autocast")
    for level in LEVELS:
        yield Job("decorators and registrations", level, decorated, {})
    for case, level in itertools.product(MISUSES, ("O1", "O2", "O3")):
        clearer = "disable_casts" in case or ("stranger" in case and ("8.0" in case or level == "O2"))
        yield Job(case, level, misuse, _(case=case), "clearer" if clearer else None)
    for seed in range(soak):
        level, options = drawn(random.Random(seed))
        yield Job(f"seed {seed}", level, train, {**options, "seed": seed})


def drawn(r):
    """A level and the options of a loop, by chance."""
    level, c = r.choice(LEVELS), r.choice
    init = {"loss_scale": c((None, None, "dynamic", "dynamic", 128.0, "64", 1000.0))}
    if init["loss_scale"] == "dynamic":
        init.update(min_loss_scale=c((None, 2.0**12, 1.0)), max_loss_scale=c((2.0**24, 2.0**17, 512.0)))
    if level in ("O2", "O3"):
        init.update(keep_batchnorm_fp32=c((None, True, False, "True")), master_weights=c((None, True, False)))
    if level == "O3" and init["loss_scale"] is None and init["master_weights"]:
        init["loss_scale"] = 8.0  # otherwise INTENDED["stash"]
    init["cast_model_outputs"] = c((None, None, None, torch.float16, torch.float32))
    losses, blocks, steps, rate = c((1, 1, 2, 3)), c((1, 1, 2, 3)), r.randint(5, 12), c((0.0, 0.0, 0.05, 0.2))
    if init["loss_scale"] != "dynamic" and (init["loss_scale"] or level in ("O0", "O3")):
        rate = 0.0  # nobody would skip the step, and all would be NaN
    places = [*itertools.product(range(steps), range(blocks), range(losses))]
    return level, {
        **_(kind=c([*KINDS][:-2]), optimizer=c([*OPTIMIZERS]), criterion=c([*CRITERIA]), models=c((1, 1, 2))),
        **_(optimizers=c((1, 1, 2)), losses=losses, num_losses=c((1, losses)), blocks=blocks, steps=steps),
        **_(delay=r.random() < 0.25, inf={p: c((INF, -INF, NAN)) for p in places if r.random() < rate}),
        **_(clip=c((None, None, 1.0, 0.1)), window=c((None, 1, 2, 3)), schedule=c((None, "before", "after"))),
        **_(frozen=r.random() < 0.25, late=c((None, None, None, r.randrange(steps))), zero=c(("optimizer", "model"))),
        **_(scale=c((None, None, 2.0**10, 2.0**20)) if init["loss_scale"] == "dynamic" else None),
        "init": {name: value for name, value in init.items() if value is not None},
    }


# ---------------------------------------------------------------- running and comparing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("apex", type=Path)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--soak", type=int, default=300, help="how many random loops")
    parser.add_argument("--only", default="", help="a regular expression for the names of scenarios")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--second", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        return serve(given)
    if not (given.apex / "apex" / "amp").is_dir():
        print(f"{given.apex} has no apex/amp: check out NVIDIA/apex at tag 25.04", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as temporary:
        shutil.copytree(given.apex / "apex", f"{temporary}/apex")
        for file in Path(temporary, "apex", "amp").rglob("*.py") if given.device == "cpu" else ():
            text = file.read_text()
            for pattern, new in TO_CPU:
                text = re.sub(pattern, new, text)
            file.write_text(text)
        command = [sys.executable, __file__, temporary, "--device", given.device, "--only", given.only]
        for second, side in itertools.product(([], ["--second"]), SIDES):  # checkpoints are written, then read
            subprocess.run([*command, "--soak", str(given.soak), "--side", side, *second], check=True)
        return report(given, Path(temporary))


def serve(given):
    """All scenarios with one of the two: a forked process each, which leaves its result in a file."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    if given.side == "real":
        sys.path.insert(0, str(given.apex))
        sys.modules["apex.transformer"] = types.ModuleType("apex.transformer")  # has needs that amp has not
    else:
        sys.path.insert(0, str(ROOT))
        import kit.shims

        kit.shims.enable("apex.amp", cover=True)
    from apex import amp

    assert Path(given.apex if given.side == "real" else ROOT) in Path(amp.__file__).parents
    for number, job in chosen(given):
        for source in (SIDES if job.source else (None,)) if given.second == bool(job.source) else ():
            child = os.fork()
            if child == 0:
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        torch.save(run(amp, given, job, source), place(given.apex, number, given.side, source))
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
    return 0


def run(amp, given, job, source):
    try:
        more = {"checkpoint": first_of(given, job, given.apex, source)["checkpoint"]} if source else {}
        return job.function(amp, given.device, job.level, **job.options, **more)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "where": traceback.format_exc()}


def chosen(given):
    return [(n, job) for n, job in enumerate(jobs(given.soak)) if re.search(given.only, job.name)]


def place(folder, number, side, source=None):
    return Path(folder, f"{number}-{side}-{source}.pt")


def first_of(given, job, folder, side):
    number = next(n for n, other in chosen(given) if other == job.source)
    return torch.load(place(folder, number, side), "cpu", weights_only=False)


def report(given, folder):
    bad, equal, soaked = 0, 0, 0
    for number, job in chosen(given):
        tolerance = TOLERANCE[given.device][job.level]
        files = [
            place(folder, number, side, source) for source in (SIDES if job.source else (None,)) for side in SIDES
        ]
        results = [torch.load(f, "cpu", weights_only=False) if f.exists() else {"error": "died"} for f in files]
        words, good = verdict(job, results, tolerance)
        if words == "equal" and job.options.get("restore") == "masters":
            how = differs(first_of(given, job, folder, "real")["end"], results[0]["end"], tolerance)
            words, good = (f"DIFFERS from never having stopped: {how[0]}", False) if how else (words, good)
        bad += not good
        soaked += job.name.startswith("seed ")
        if job.name.startswith("seed ") and words == "equal":
            equal += 1
        else:
            print(f"{job.name[:70]:70} {job.level} {words}", flush=True)
    print(f"{equal} of {soaked} random loops equal; {bad} differences, on {given.device}, torch {torch.__version__}")
    return int(bad > 0)


def verdict(job, results, tolerance):
    """What to say of the results, real and shim in turn, and whether that is as it should be."""
    real, *others = results
    failed = [r["error"] for r in others if "error" in r]
    if failed:
        return f"SHIM FAILS: {failed[0]}" + (f"; apex too: {real['error']}" if "error" in real else ""), False
    if "error" in real:
        known = bool(job.intended) or any(text in real["error"] for text in CANNOT)
        return f"apex cannot: {real['error'].splitlines()[0][:90]}; shim ran", known
    how = [words for other in others for words in differs(real, other, tolerance)]
    if not how:
        return "equal", True
    if job.intended:
        return f"as intended: {INTENDED[job.intended]}", True
    parts = {re.sub(r"/\d+", "", words.partition(":")[0]): words for words in reversed(how)}
    return f"DIFFERS in {len(how)}: " + "; ".join([*parts.values()][::-1][:6]), False


def differs(a, b, tolerance, path=""):
    """Where two results differ, and how."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            return [f"{path}: {a.dtype} {tuple(a.shape)}, {b.dtype} {tuple(b.shape)}"]
        if torch.equal(a, b) or torch.allclose(a.double(), b.double(), tolerance, tolerance, equal_nan=True):
            return []
        return [f"{path}: by {float((a.double() - b.double()).abs().max()):.3g} of {float(a.abs().max()):.3g}"]
    if isinstance(a, dict) and isinstance(b, dict):
        if [*a] != [*b]:
            return [f"{path}: {[*a]}, {[*b]}"]
        return [x for key in a for x in differs(a[key], b[key], tolerance, f"{path}/{key}")]
    if isinstance(a, (list, tuple)) and type(a) is type(b) and len(a) == len(b):
        return [x for n, (v, w) in enumerate(zip(a, b)) for x in differs(v, w, tolerance, f"{path}/{n}")]
    if isinstance(a, float) and isinstance(b, float):
        exact = "scale" in path
        same = a == b or (a != a and b != b) or (not exact and abs(a - b) <= tolerance * max(abs(a), abs(b)))
        return [] if same else [f"{path}: {a!r}, {b!r}"]
    if path == "/said" and (a[:40] == b[:40] or difflib.SequenceMatcher(None, a, b).ratio() > 0.6):
        return []
    return [] if a == b else [f"{path}: {a!r}, {b!r}"]


if __name__ == "__main__":
    sys.exit(main())
