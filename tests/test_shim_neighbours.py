"""apex.parallel, optimizers, normalization and fp16_utils on plain torch: against torch, and against the formulas.

The folder is loaded as the package ``apex`` by hand here; how the kit puts it in place is tested elsewhere.
"""

import copy
import importlib
import importlib.util
import math
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

TREE = Path(__file__).resolve().parent.parent / "kit" / "shims" / "apex"
HALF_TYPES = [torch.float16, torch.bfloat16]
LOAD = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("apex", {str(TREE / "__init__.py")!r},
                                              submodule_search_locations=[{str(TREE)!r}])
sys.modules["apex"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""


def ours():
    return [name for name in sys.modules if name == "apex" or name.startswith("apex.")]


@pytest.fixture(scope="module", autouse=True)
def apex():
    before = {name: sys.modules.pop(name) for name in ours()}
    exec(LOAD, {})
    try:
        yield sys.modules["apex"]
    finally:
        for name in ours():
            del sys.modules[name]
        sys.modules.update(before)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def module(name):
    return importlib.import_module(f"apex.{name}")


def optimizers():
    return module("optimizers")


def parameters(dtype=torch.float32, shapes=((3, 4), (5,))):
    return [nn.Parameter(torch.randn(shape).to(dtype)) for shape in shapes]


def twins(params):
    return [nn.Parameter(p.detach().clone()) for p in params]


def give_gradients(*groups, seed=0):
    """The same random gradients for each group of parameters."""
    for params in groups:
        generator = torch.Generator().manual_seed(seed)
        for p in params:
            p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)


def train(optimizer, params, steps=5, start=0):
    for i in range(start, start + steps):
        give_gradients(params, seed=i)
        optimizer.step()


def assert_same(actual, expected, **tolerance):
    for a, e in zip(actual, expected):
        torch.testing.assert_close(a, e, **tolerance)


# --- optimizers: against torch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("adam_w", [True, False])
def test_adam_is_the_one_of_torch(adam_w, decay):
    params = parameters()
    expected = twins(params)
    kind = torch.optim.AdamW if adam_w else torch.optim.Adam
    train(optimizers().FusedAdam(params, lr=0.05, adam_w_mode=adam_w, weight_decay=decay), params)
    train(kind(expected, lr=0.05, weight_decay=decay), expected)
    assert_same(params, expected)


def test_adam_without_bias_correction_is_the_formula():
    (p,) = parameters(shapes=[(6,)])
    x, m, v = p.detach().clone(), torch.zeros(6), torch.zeros(6)
    optimizer = optimizers().FusedAdam([p], lr=0.1, bias_correction=False, betas=(0.8, 0.9), eps=0.01)
    for i in range(3):
        give_gradients([p], seed=i)
        m = 0.8 * m + 0.2 * p.grad
        v = 0.9 * v + 0.1 * p.grad**2
        x = x - 0.1 * m / (v.sqrt() + 0.01)
        optimizer.step()
    torch.testing.assert_close(p.detach(), x)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"weight_decay": 0.1},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.5, "weight_decay": 0.1},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ],
)
def test_sgd_is_the_one_of_torch(options):
    params = parameters()
    expected = twins(params)
    train(optimizers().FusedSGD(params, lr=0.05, **options), params)
    train(torch.optim.SGD(expected, lr=0.05, **options), expected)
    assert_same(params, expected)


def test_sgd_can_decay_after_the_momentum_and_unscale():
    (p,) = parameters(shapes=[(6,)])
    x, v = p.detach().clone(), torch.zeros(6)
    optimizer = optimizers().FusedSGD([p], lr=0.1, momentum=0.9, weight_decay=0.2, wd_after_momentum=True)
    for i in range(3):
        give_gradients([p], seed=i)
        v = 0.9 * v + p.grad / 4
        x = x - 0.1 * (v + 0.2 * x)
        optimizer.most_recent_scale = 4.0
        optimizer.step()
        assert optimizer.most_recent_scale == 1.0
    torch.testing.assert_close(p.detach(), x)


def test_a_parameter_that_joins_later_starts_its_own_momentum():
    params = parameters()
    expected = twins(params)
    mine = optimizers().FusedSGD(params, lr=0.1, momentum=0.9, dampening=0.5)
    other = torch.optim.SGD(expected, lr=0.1, momentum=0.9, dampening=0.5)
    give_gradients([params[0]], [expected[0]])
    mine.step()
    other.step()
    give_gradients(params, expected, seed=1)
    mine.step()
    other.step()
    assert_same(params, expected)


def test_adagrad_is_the_one_of_torch_or_decays_apart():
    params = parameters()
    expected = twins(params)
    train(optimizers().FusedAdagrad(params, lr=0.1, weight_decay=0.1), params)
    train(torch.optim.Adagrad(expected, lr=0.1, weight_decay=0.1), expected)
    assert_same(params, expected)
    (p,) = parameters(shapes=[(6,)])
    give_gradients([p])
    x = p.detach() - 0.1 * (p.grad / (p.grad.abs() + 1e-10) + 0.3 * p.detach())
    optimizers().FusedAdagrad([p], lr=0.1, weight_decay=0.3, adagrad_w_mode=True).step()
    torch.testing.assert_close(p.detach(), x)


# --- optimizers: against slow references --------------------------------------------------------------------------


def lamb(params, steps, *, lr, decay, adam_w=True, averaging=True, limit=1.0, nvlamb=False):
    beta1, beta2, eps = 0.9, 0.999, 1e-6
    xs = [p.detach().double() for p in params]
    ms, vs = [torch.zeros_like(x) for x in xs], [torch.zeros_like(x) for x in xs]
    for t in range(1, steps + 1):
        give_gradients(params, seed=t - 1)
        grads = [p.grad.double() for p in params]
        norm = math.sqrt(sum(float((g**2).sum()) for g in grads))
        for i, (x, g) in enumerate(zip(list(xs), grads)):
            g = g / max(1.0, norm / limit)
            if not adam_w:
                g = g + decay * x
            ms[i] = beta1 * ms[i] + ((1 - beta1) if averaging else 1) * g
            vs[i] = beta2 * vs[i] + (1 - beta2) * g * g
            update = ms[i] / (1 - beta1**t) / ((vs[i] / (1 - beta2**t)).sqrt() + eps)
            if adam_w:
                update = update + decay * x
            trust = float(x.norm() / update.norm()) if (decay or nvlamb) and float(x.norm() * update.norm()) else 1.0
            xs[i] = x - lr * trust * update
    return xs


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({}, {}),
        ({"decay": 0.0}, {"weight_decay": 0.0}),
        ({"decay": 0.0, "nvlamb": True}, {"weight_decay": 0.0, "use_nvlamb": True}),
        ({"adam_w": False, "averaging": False}, {"adam_w_mode": False, "grad_averaging": False}),
        ({"limit": 100.0}, {"max_grad_norm": 100.0}),
    ],
)
def test_lamb_is_the_paper_with_clipping(arguments, options):
    params = parameters()
    params.append(nn.Parameter(torch.zeros(3)))  # no norm, so no trust ratio
    arguments = {"lr": 0.05, "decay": 0.1, **arguments}
    expected = lamb(twins(params), 4, **arguments)
    train(optimizers().FusedLAMB(params, **{"lr": 0.05, "weight_decay": 0.1, **options}), params, 4)
    assert_same(params, [x.float() for x in expected])


def test_lamb_clips_the_groups_together_and_leaves_the_gradients():
    params = parameters()
    expected = lamb(twins(params), 3, lr=0.05, decay=0.1)
    optimizer = optimizers().FusedLAMB([{"params": [p]} for p in params], lr=0.05, weight_decay=0.1)
    train(optimizer, params, 3)
    assert_same(params, [x.float() for x in expected])
    seen = [p.grad.clone() for p in params]
    optimizer.step()
    assert_same([p.grad for p in params], seen)


def novograd(params, steps, *, decay, inside=False, averaging=True, norm_type=2, init_zero=False):
    lr, beta1, beta2, eps = 0.05, 0.9, 0.99, 1e-8
    xs = [p.detach().double() for p in params]
    ms, vs = [torch.zeros_like(x) for x in xs], [None for _ in xs]
    for t in range(1, steps + 1):
        give_gradients(params, seed=t - 1)
        for i, p in enumerate(params):
            x, g = xs[i], p.grad.double()
            n = float(g.norm()) if norm_type == 2 else float(g.abs().max())
            old = (0.0 if init_zero else n) if vs[i] is None else vs[i]
            vs[i] = (
                math.sqrt(beta2 * old**2 + (1 - beta2) * n**2) if norm_type == 2 else beta2 * old + (1 - beta2) * n
            )
            denominator = vs[i] / math.sqrt(1 - beta2**t) + eps
            gain = 1 - beta1 if averaging else 1.0
            ms[i] = beta1 * ms[i] + gain * (g / denominator + decay * x if inside else g)
            mean = ms[i] / (1 - beta1**t)
            xs[i] = x - lr * (mean if inside else mean / denominator + decay * x)
    return xs


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({}, {}),
        ({"inside": True}, {"reg_inside_moment": True}),
        ({"norm_type": 0, "averaging": False}, {"norm_type": 0, "grad_averaging": False}),
        ({"init_zero": True}, {"init_zero": True}),
    ],
)
def test_novograd_is_the_kernel(arguments, options):
    params = parameters()
    expected = novograd(twins(params), 4, decay=0.1, **arguments)
    train(optimizers().FusedNovoGrad(params, lr=0.05, betas=(0.9, 0.99), weight_decay=0.1, **options), params, 4)
    assert_same(params, [x.float() for x in expected])


def test_novograd_refuses_another_norm_and_a_changed_set():
    params = parameters()
    optimizer = optimizers().FusedNovoGrad(params, norm_type=1)
    give_gradients(params)
    with pytest.raises(RuntimeError, match="l2/inf norm"):
        optimizer.step()
    optimizer = optimizers().FusedNovoGrad(params)
    optimizer.step()
    params[0].grad = None
    with pytest.raises(RuntimeError, match="must stay the same"):
        optimizer.step()


# --- optimizers: what they share ----------------------------------------------------------------------------------

EVERY = {
    "FusedAdam": {"lr": 0.02, "weight_decay": 0.1},
    "FusedSGD": {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1},
    "FusedLAMB": {"lr": 0.02},
    "FusedNovoGrad": {"lr": 0.02, "weight_decay": 0.1},
    "FusedAdagrad": {"lr": 0.02, "weight_decay": 0.1},
}


@pytest.mark.parametrize("dtype", HALF_TYPES)
@pytest.mark.parametrize("name", EVERY)
def test_half_parameters_are_computed_in_float32(name, dtype):
    half = parameters(dtype)
    single = [nn.Parameter(p.detach().float()) for p in half]
    make = getattr(optimizers(), name)
    one, other = make(half, **EVERY[name]), make(single, **EVERY[name])
    give_gradients(half)
    for p, q in zip(half, single):
        q.grad = p.grad.float()
    one.step()
    other.step()
    # one rounding at the end (for LAMB one more, of the update, whose norms make the learning rate)
    assert_same(half, [q.to(dtype) for q in single], rtol=0 if name != "FusedLAMB" else 1e-2, atol=0)
    for p in half:
        kept = {k: v.dtype for k, v in one.state[p].items()}
        assert set(kept.values()) == {torch.float32 if name == "FusedAdam" else dtype}, kept


@pytest.mark.parametrize("name", EVERY)
def test_mixed_types_in_one_group_and_missing_gradients(name):
    params = [*parameters(torch.float16), *parameters()]
    apart = [twins(params[:2]), twins(params[2:])]
    still = nn.Parameter(torch.ones(2))
    options = {**EVERY[name], **({"max_grad_norm": 1e6} if name == "FusedLAMB" else {})}
    make = getattr(optimizers(), name)
    train(make([*params, still], **options), params, 2)
    for i in range(2):
        give_gradients([*apart[0], *apart[1]], seed=i)
        if i == 0:
            both = [make(group, **options) for group in apart]
        for optimizer in both:
            optimizer.step()
    assert_same(params, [*apart[0], *apart[1]], rtol=0, atol=0)
    assert still.tolist() == [1, 1]


@pytest.mark.parametrize("name", EVERY)
def test_a_checkpoint_continues_and_has_the_layout_of_apex(name, tmp_path):
    make = getattr(optimizers(), name)
    params = parameters(torch.float16) if name == "FusedAdam" else [*parameters(torch.float16), *parameters()]
    first = make(params, **EVERY[name])
    train(first, params, 2)
    restored = twins(params)
    second = make(restored, **EVERY[name])
    second.load_state_dict(second.state_dict())  # as amp.initialize does, before any step
    torch.save(first.state_dict(), tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt")
    second.load_state_dict(saved)
    for p, q in zip(params, restored):
        for key, value in first.state[p].items():
            torch.testing.assert_close(second.state[q][key], value, rtol=0, atol=0)  # and so of the same type
    train(first, params, 2, start=2)
    train(second, restored, 2, start=2)
    assert_same(restored, params, rtol=0, atol=0)
    group, state = saved["param_groups"][0], saved["state"][0]
    layout = {
        "FusedAdam": {"exp_avg", "exp_avg_sq"},
        "FusedSGD": {"momentum_buffer"},
        "FusedLAMB": {"exp_avg", "exp_avg_sq"},
        "FusedNovoGrad": {"exp_avg"},
        "FusedAdagrad": {"sum"},
    }
    assert set(state) == layout[name]
    if name in ("FusedAdam", "FusedLAMB", "FusedNovoGrad"):
        assert group["step"] == 2
    if name == "FusedNovoGrad":
        assert [len(norms) for norms in group["exp_avg_sq"]] == [2, 2]


def test_adam_goes_on_from_torch_and_from_a_capturable_checkpoint():
    params = parameters()
    expected = twins(params)
    other = torch.optim.AdamW(expected, lr=0.05, weight_decay=0.1)
    mine = optimizers().FusedAdam(params, lr=0.05)
    train(other, expected, 3)
    saved = copy.deepcopy(other.state_dict())
    mine.load_state_dict(saved)
    with torch.no_grad():
        for p, e in zip(params, expected):
            p.copy_(e)
    train(other, expected, 3, start=3)
    train(mine, params, 3, start=3)
    assert_same(params, expected)
    assert mine.param_groups[0]["step"] == 6
    capturable = mine.state_dict()
    capturable["param_groups"][0].update(lr=torch.tensor(0.5), step=torch.tensor([6], dtype=torch.int))
    mine.load_state_dict(capturable)
    assert (mine.param_groups[0]["lr"], mine.param_groups[0]["step"]) == (0.5, 6)
    saved["state"][0]["step"] = torch.tensor(7.0)
    with pytest.warns(UserWarning, match="different steps, 3 to 7"):
        mine.load_state_dict(saved)
    saved["param_groups"][0]["amsgrad"] = True
    with pytest.raises(ValueError, match="amsgrad=True"):
        mine.load_state_dict(saved)


@pytest.mark.parametrize("name", EVERY)
def test_step_runs_the_closure_with_gradients_and_zero_grad_follows_the_option(name):
    make = getattr(optimizers(), name)
    (p,) = params = [nn.Parameter(torch.ones(3))]
    optimizer = make(params, set_grad_none=True, **EVERY[name])

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss.detach()

    assert float(optimizer.step(closure)) == 3
    assert float(closure()) < 3
    optimizer.zero_grad()
    assert p.grad is None
    closure()
    make(params, set_grad_none=False, **EVERY[name]).zero_grad()
    assert p.grad.tolist() == [0, 0, 0]


@pytest.mark.parametrize("name", EVERY)
def test_what_no_kernel_of_apex_takes_is_refused(name):
    make = getattr(optimizers(), name)
    double = parameters(torch.float64)
    give_gradients(double)
    with pytest.raises(RuntimeError, match="only support fp16"):
        make(double, **EVERY[name]).step()
    (p,) = parameters(shapes=[(3,)])
    p.grad = torch.zeros(3).to_sparse()
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        make([p], **EVERY[name]).step()


@pytest.mark.parametrize(
    ("name", "options", "error", "words"),
    [
        ("FusedAdam", {"amsgrad": True}, RuntimeError, "AMSGrad"),
        ("FusedAdam", {"master_weights": True}, RuntimeError, "capturable"),
        ("FusedAdam", {"capturable": True}, NotImplementedError, "torch.optim.AdamW"),
        ("FusedLAMB", {"amsgrad": True}, RuntimeError, "AMSGrad"),
        ("FusedNovoGrad", {"amsgrad": True}, RuntimeError, "AMSGrad"),
        ("FusedMixedPrecisionLamb", {}, NotImplementedError, "FusedLAMB"),
        ("FusedSGD", {}, ValueError, "required optimization parameter lr"),
        ("FusedSGD", {"lr": -1.0}, ValueError, "Invalid learning rate"),
        ("FusedSGD", {"lr": 0.1, "nesterov": True}, ValueError, "Nesterov"),
    ],
)
def test_refused_options(name, options, error, words):
    with pytest.raises(error, match=words):
        getattr(optimizers(), name)(parameters(), **options)


@pytest.mark.parametrize("argument", ["grads", "output_params", "scale", "grad_norms", "grad_scaler"])
def test_obsolete_arguments_of_step(argument):
    with pytest.raises(RuntimeError):
        optimizers().FusedAdam(parameters()).step(**{argument: 1})


def test_the_multi_tensor_applier_is_unavailable():
    applier = module("multi_tensor_apply").multi_tensor_applier
    assert applier.available is False
    with pytest.raises(RuntimeError, match=r"is not available.*torch\._foreach_mul_"):
        applier(None, None, [])


# --- LARC ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [True, False])
def test_larc_sets_the_rate_per_parameter(clip):
    lr, trust, decay = 0.1, 0.02, 0.3
    p, zero = nn.Parameter(torch.randn(4)), nn.Parameter(torch.zeros(2))
    larc = module("parallel.LARC").LARC(
        torch.optim.SGD([p, zero], lr=lr, weight_decay=decay), trust_coefficient=trust, clip=clip
    )
    give_gradients([p, zero])
    rate = trust * p.detach().norm() / (p.grad.norm() + decay * p.detach().norm() + 1e-8)
    factor = min(float(rate) / lr, 1) if clip else float(rate)
    assert factor < 1
    expected = p.detach() - lr * factor * (p.grad + decay * p.detach())
    plain = -lr * zero.grad
    larc.step()
    torch.testing.assert_close(p.detach(), expected)
    torch.testing.assert_close(zero.detach(), plain)
    assert larc.param_groups[0]["weight_decay"] == decay


def test_larc_clips_to_the_optimizers_rate_and_gives_the_weight_decay_back_on_failure(monkeypatch):
    p = nn.Parameter(torch.full((4,), 100.0))
    larc = module("parallel.LARC").LARC(torch.optim.SGD([p], lr=0.001, weight_decay=0.5))
    p.grad = torch.full((4,), 1e-3)
    larc.step()
    torch.testing.assert_close(p.detach(), torch.full((4,), 100 - 0.001 * (1e-3 + 50)))
    monkeypatch.setattr(larc.optim, "step", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        larc.step()
    assert larc.param_groups[0]["weight_decay"] == 0.5


def test_larc_is_a_plain_wrapper():
    p = nn.Parameter(torch.ones(2))
    larc = module("parallel.LARC").LARC(torch.optim.SGD([p], lr=0.1, momentum=0.9))
    larc.add_param_group({"params": [nn.Parameter(torch.ones(1))]})
    assert larc.param_groups is larc.optim.param_groups and len(larc.param_groups) == 2
    give_gradients([p])
    larc.step()
    other = copy.deepcopy(larc)
    other.load_state_dict(larc.state_dict())
    assert larc.state is larc.optim.state and repr(larc) == repr(larc.optim)
    larc.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0, 0]
    larc.zero_grad()
    assert p.grad is None
    larc.step = lambda: "patched"  # as amp does
    assert larc.step() == "patched"


# --- SyncBatchNorm ------------------------------------------------------------------------------------------------


def test_sync_batch_norm_has_the_layouts_and_fusions_of_apex():
    parallel = module("parallel")
    plain, z = nn.BatchNorm2d(3), torch.randn(2, 4, 5, 3)
    sync = parallel.SyncBatchNorm(3, channel_last=True, fuse_relu=True)
    assert isinstance(sync, nn.SyncBatchNorm)
    x = torch.randn(2, 3, 4, 5)
    expected = (plain(x).permute(0, 2, 3, 1) + z).relu()
    torch.testing.assert_close(sync(x.permute(0, 2, 3, 1), z), expected)
    torch.testing.assert_close(sync.running_var, plain.running_var)
    flat, rows = parallel.SyncBatchNorm(3, channel_last=True), torch.randn(7, 3)
    torch.testing.assert_close(flat(rows), nn.BatchNorm1d(3)(rows))
    torch.testing.assert_close(parallel.SyncBatchNorm(3)(x), nn.BatchNorm2d(3)(x))


def test_convert_keeps_parameters_statistics_and_mode():
    parallel = module("parallel")
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(nn.BatchNorm2d(2, eps=0.1)), nn.InstanceNorm2d(2)).eval()
    old = net[1][0]
    old.weight.requires_grad_(False)
    old.running_mean.fill_(3)
    x = torch.randn(2, 1, 3, 3)
    expected = net(x)
    converted = parallel.convert_syncbn_model(net, channel_last=False)
    new = converted[1][0]
    assert type(new) is parallel.SyncBatchNorm and type(converted[2]) is nn.InstanceNorm2d
    assert new.weight is old.weight and not new.training
    torch.testing.assert_close(converted(x), expected)
    root = parallel.convert_syncbn_model(nn.BatchNorm1d(4, affine=False, momentum=None), channel_last=True)
    assert root.channel_last and root.momentum is None and root.weight is None
    assert parallel.create_syncbn_process_group(0) is None


# --- distributed --------------------------------------------------------------------------------------------------

RANKS = textwrap.dedent(
    """
    import os, torch, torch._dynamo, warnings
    import torch.distributed as dist
    from torch import nn
    from apex.parallel import DistributedDataParallel as DDP, Reducer, create_syncbn_process_group

    store, child = sys.argv[1], os.fork()                            # after the imports, which take seconds
    rank = 1 if child else 0
    dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)

    def gradient(dtype=torch.float32, value=None, **options):
        net = nn.Linear(2, 1, bias=False)
        nn.init.constant_(net.weight, rank + 1.0)
        net.register_buffer("own", torch.tensor(float(rank)))
        net = DDP(net.to(dtype), **options)
        net(torch.ones(1, 2, dtype=dtype)).sum().backward()          # every process has the weights of rank 0
        assert net.module.weight.tolist() == [[1.0, 1.0]]
        assert float(net.module.own) == rank                         # and keeps its buffers
        net.zero_grad()
        x = value if value is not None else float(rank + 1)
        net(torch.full((1, 2), x, dtype=dtype)).sum().backward()     # gradients 1 and 2
        assert net.module.weight.grad.dtype == dtype
        return net.module.weight.grad[0, 0].item()

    assert gradient() == 1.5
    assert gradient(gradient_average=False) == 3
    assert gradient(gradient_predivide_factor=4.0) == 1.5
    assert gradient(gradient_average=False, gradient_predivide_factor=4.0) == 0.75
    half = {"dtype": torch.float16, "value": 49152.0}
    assert gradient(gradient_predivide_factor=1.5, **half) == float("inf")
    assert gradient(allreduce_always_fp32=True, gradient_predivide_factor=1.5, **half) == 49152
    assert gradient(allreduce_always_fp32=True) == 1.5

    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(1, 1), nn.Linear(1, 1)
        def forward(self, x):
            return self.used(x)

    net = DDP(Branch(), delay_allreduce=True)
    for _ in range(3):
        net(torch.ones(1, 1)).sum().backward()
    assert net.module.unused.weight.grad is None

    net = DDP(nn.Linear(1, 1, bias=False))
    for switch, expected in ((net.disable_allreduce, rank + 1.0), (net.enable_allreduce, 1.5)):
        switch()
        net.zero_grad()
        net(torch.tensor([[rank + 1.0]])).sum().backward()
        assert net.module.weight.grad.item() == expected, expected

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        DDP(nn.Linear(1, 1), message_size=1, num_allreduce_streams=2)
    (warning,) = caught
    assert str(warning.message).endswith("without effect: message_size, num_allreduce_streams"), warning

    net = nn.Linear(1, 1)
    nn.init.constant_(net.weight, rank + 5.0)
    reducer = Reducer(net)
    assert net.weight.item() == 5
    net.weight.grad = torch.full((1, 1), float(rank))
    reducer.reduce()
    assert net.weight.grad.item() == 0.5 and net.bias.grad is None
    loose = [torch.full((2, 2), float(rank)), (torch.full((3,), rank, dtype=torch.float64),)]
    Reducer(loose).reduce()
    assert loose[0].tolist() == [[0.5, 0.5]] * 2 and loose[1][0].tolist() == [0.5] * 3

    assert create_syncbn_process_group(1).size() == 1 and create_syncbn_process_group(2).size() == 2
    try:
        create_syncbn_process_group(3)
    except ValueError as error:
        assert "divide the world size, 2: 3" in str(error)
    dist.destroy_process_group()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        print("both are fine")
    """
)


def test_two_processes_reduce_as_asked(tmp_path):
    program = tmp_path / "ranks.py"
    program.write_text(LOAD + RANKS)
    command = [sys.executable, "-W", "error", program, tmp_path / "store"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stdout == "both are fine\n", done.stderr


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"shared_param": True}, ValueError, "shared_param is no longer supported"),
        ({"delay_allreduce": True, "num_allreduce_streams": 2}, ValueError, "num_allreduce_streams"),
        ({"delay_allreduce": True, "allreduce_trigger_params": []}, ValueError, "allreduce_trigger_params"),
        ({"retain_allreduce_buffers": True}, NotImplementedError, "gradient_as_bucket_view=True"),
    ],
)
def test_ddp_refuses(options, error, words):
    with pytest.raises(error, match=words):
        module("parallel").DistributedDataParallel(nn.Linear(1, 1), **options)


def test_parallel_imports_without_torch_distributed(monkeypatch):
    for name in ("ReduceOp", "GradBucket", "all_reduce", "new_group"):
        monkeypatch.delattr(torch.distributed, name)
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    kept = {name: sys.modules.pop(name) for name in ours() if name.startswith("apex.parallel")}
    try:
        assert module("parallel").ReduceOp is None
    finally:
        sys.modules.update(kept)
    assert module("parallel").ReduceOp is not None


def test_multiproc_names_the_torchrun_command():
    done = subprocess.run(
        [sys.executable, TREE / "parallel" / "multiproc.py", "main.py", "--world-size", "4", "--name", "a b"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "torchrun --nproc_per_node=4 main.py --name 'a b'\n" in done.stderr
    assert module("parallel.multiproc").torchrun_command(["main.py"]) == "torchrun --nproc_per_node=gpu main.py"


# --- normalization ------------------------------------------------------------------------------------------------


def rms(x, weight=None, eps=1e-5, dims=(-1,)):
    """In float64."""
    y = x.double() / (x.double().square().mean(dims, keepdim=True) + eps).sqrt()
    return y if weight is None else y * weight.double()


ULP = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float32: 1e-5, torch.float64: 1e-12}


@pytest.mark.parametrize("dtype", ULP)
@pytest.mark.parametrize("affine", [True, False])
def test_norms_have_the_inputs_type(dtype, affine):
    norm = module("normalization")
    x = torch.randn(4, 3, 8).to(dtype)
    layer, root = (kind((3, 8), elementwise_affine=affine) for kind in (norm.FusedLayerNorm, norm.FusedRMSNorm))
    plain = nn.LayerNorm((3, 8), elementwise_affine=affine)
    if affine:
        for each in (layer, root):
            nn.init.normal_(each.weight)
        nn.init.normal_(layer.bias)
        plain.load_state_dict(layer.state_dict())
    assert list(layer.state_dict()) == (["weight", "bias"] if affine else [])
    assert list(root.state_dict()) == (["weight"] if affine else [])
    expected = plain.double()(x.double())
    for of in (torch.float32, dtype):  # the parameters' type makes no difference to the output's
        y, z = layer.to(of)(x), root.to(of)(x)
        assert y.dtype == z.dtype == dtype
        tolerance = {"rtol": 4 * ULP[dtype], "atol": 4 * ULP[dtype], "check_dtype": False}
        torch.testing.assert_close(y, expected, **tolerance)
        torch.testing.assert_close(z, rms(x, root.weight, dims=(-1, -2)), **tolerance)


@pytest.mark.parametrize("of", [torch.float32, *HALF_TYPES])
@pytest.mark.parametrize("dtype", [torch.float32, *HALF_TYPES])
def test_mixed_norms_have_the_weights_type_and_gradients(dtype, of):
    norm = module("normalization")
    x = torch.randn(4, 8).to(dtype).requires_grad_()
    for mixed, plain in (
        (norm.MixedFusedLayerNorm(8), lambda t: F.layer_norm(t, (8,))),
        (norm.MixedFusedRMSNorm(8, memory_efficient=True), rms),
    ):
        y = mixed.to(of)(x)
        assert y.dtype == of
        tolerance = 2 * max(ULP[dtype], ULP[of])
        torch.testing.assert_close(y.double(), plain(x.detach().double()), rtol=tolerance, atol=tolerance)
        (y * torch.arange(8)).sum().backward()
        assert x.grad.dtype == dtype and mixed.weight.grad.dtype == of
        assert float(x.grad.abs().sum()) > 0


def test_norms_under_autocast_give_the_autocast_type():
    fused = module("normalization.fused_layer_norm")
    x, weight, bias = torch.randn(4, 8), torch.randn(8), torch.randn(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = {
            "layer": fused.fused_layer_norm_affine(x, weight, bias, (8,)),
            "mixed layer": fused.mixed_dtype_fused_layer_norm_affine(x, weight, bias, (8,)),
            "rms": fused.fused_rms_norm_affine(x, weight, (8,)),
            "mixed rms": fused.mixed_dtype_fused_rms_norm_affine(x, weight, (8,)),
            "plain": fused.fused_layer_norm(x, (8,)),
            "plain rms": fused.fused_rms_norm(x, (8,)),
            "module": fused.FusedLayerNorm(8)(x),
        }
        wide = fused.fused_layer_norm(x.double(), (8,))
    assert {name: y.dtype for name, y in results.items()} == dict.fromkeys(results, torch.bfloat16)
    assert wide.dtype == torch.float64
    low = [t.bfloat16() for t in (x, weight, bias)]
    assert_same([results["layer"]], [F.layer_norm(low[0], (8,), *low[1:], eps=1e-6)], rtol=0, atol=0)


def test_the_norm_functions_default_to_their_own_eps():
    fused = module("normalization.fused_layer_norm")
    x = torch.randn(2, 8) * 1e-3  # so small that eps counts
    torch.testing.assert_close(fused.fused_layer_norm(x, 8), F.layer_norm(x, (8,), eps=1e-6))
    torch.testing.assert_close(fused.fused_rms_norm(x, [8]), rms(x, eps=1e-6).float())


def test_rms_norm_without_the_operator_of_torch_2_4(monkeypatch):
    fused = module("normalization.fused_layer_norm")
    weight = torch.randn(3, 4)
    for dtype in (torch.float32, torch.float64, *HALF_TYPES):
        x = torch.randn(5, 3, 4).to(dtype)
        native = fused.fused_rms_norm_affine(x, weight.to(dtype), (3, 4))
        with monkeypatch.context() as patch:
            patch.delattr(F, "rms_norm")
            plain = fused.fused_rms_norm_affine(x, weight.to(dtype), (3, 4))
        assert native.dtype == plain.dtype == dtype
        torch.testing.assert_close(plain, native, rtol=ULP[dtype] * 2, atol=ULP[dtype] * 2)


def test_manual_rms_norm_promotes_as_in_apex():
    manual = module("normalization.fused_layer_norm").manual_rms_norm
    x, weight = torch.randn(2, 8).half(), torch.randn(8)
    torch.testing.assert_close(manual(x, (8,), None, 1e-5), rms(x).float())
    torch.testing.assert_close(manual(x, (8,), weight, 1e-5), rms(x, weight).float())
    assert manual(x, (8,), weight.bfloat16(), 1e-5).dtype == torch.bfloat16


def test_mixed_norms_have_parameters():
    norm = module("normalization")
    for kind in (norm.MixedFusedLayerNorm, norm.MixedFusedRMSNorm):
        with pytest.raises(RuntimeError, match="elementwise_affine = False"):
            kind(8, elementwise_affine=False)
        with pytest.warns(UserWarning, match="`elementwise_affine`"):
            kind(8, elementwise_affine=True)
    assert "(8,), eps=" in repr(norm.FusedLayerNorm(8)).replace("torch.Size([8])", "(8,)")
    assert not isinstance(norm.FusedLayerNorm(8), norm.FusedRMSNorm)


# --- fp16_utils ---------------------------------------------------------------------------------------------------


def convnet():
    return nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.BatchNorm2d(2, affine=False))


def types(net):
    return [t.dtype for t in [*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())]]


def test_networks_turn_to_half_around_batch_norm():
    utils = module("fp16_utils")
    half, single = torch.float16, torch.float32
    expected = [half] * 2 + [single] * 4 + [half] * 2
    net = convnet()
    net[0].weight.grad = torch.ones(2, 1, 1, 1)
    assert types(utils.convert_network(net, torch.float16)) == expected
    assert net[0].weight.grad.dtype == half and net[1].num_batches_tracked.dtype == torch.int64
    assert types(utils.network_to_half(convnet())) == expected
    assert types(utils.FP16Model(convnet())) == expected
    x = torch.randn(2, 2)
    torch.testing.assert_close(utils.FP16Model(nn.Identity())(x), x.half())
    torch.testing.assert_close(utils.network_to_half(nn.Identity())(x), x.half())
    assert types(utils.convert_network(nn.LSTM(2, 2), half)) == [half] * 4


@pytest.mark.parametrize("flat", [True, False])
def test_master_parameters_go_and_return(flat):
    utils = module("fp16_utils")
    net = nn.Linear(3, 2).half()
    model, masters = utils.prep_param_lists(net, flat_master=flat)
    assert [m.shape for m in masters] == ([(8,)] if flat else [(2, 3), (2,)])
    give_gradients(model)
    utils.model_grads_to_master_grads(model, masters, flat_master=flat)
    expected = [(p.detach().float() - 0.1 * p.grad.float()).half() for p in model]
    torch.optim.SGD(masters, lr=0.1).step()
    utils.master_params_to_model_params(model, masters, flat_master=flat)
    assert_same(model, expected, rtol=0, atol=0)
    model[0].grad = None
    if flat:
        with pytest.raises(RuntimeError, match="flat_master"):
            utils.model_grads_to_master_grads(model, masters, flat_master=True)
        with pytest.raises(RuntimeError, match="several types"):
            utils.prep_param_lists(nn.Sequential(net, nn.Linear(1, 1)), flat_master=True)
    else:
        utils.model_grads_to_master_grads(model, masters)
        assert masters[0].grad is None and masters[1].grad is not None


def test_scalers():
    utils = module("fp16_utils")
    p = nn.Parameter(torch.ones(2))
    static, dynamic = utils.LossScaler(8), utils.DynamicLossScaler(init_scale=4, scale_window=2)
    static.backward(p.sum())
    assert p.grad.tolist() == [8, 8] and static.scale_gradient(None, (p,), None)[0].tolist() == [8, 8]
    assert not dynamic.has_overflow([p])
    p.grad[0] = math.inf
    assert dynamic.has_overflow([p]) and not static.has_overflow([p])
    seen = []
    for overflow in (True, True, True, False, False, False, False):
        dynamic.update_scale(overflow)
        seen.append(dynamic.loss_scale)
    assert seen == [2, 1, 1, 1, 2, 2, 4]
    assert utils.to_python_float(torch.tensor([2.5])) == 2.5 and utils.to_python_float([3]) == 3


def fp16_training(**options):
    """A float16 layer and a float32 one: nothing else of the model knows about the wrapper."""
    net = nn.Sequential(nn.Linear(3, 4).half(), nn.Linear(4, 1))
    inner = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    optimizer = module("fp16_utils").FP16_Optimizer(inner, verbose=False, **options)
    x, y = torch.randn(8, 3), torch.randn(8, 1)

    def loss(factor=1.0):
        return F.mse_loss(net[1](net[0](x.half()).float()), y) * factor

    return net, optimizer, loss


@pytest.mark.parametrize("options", [{"static_loss_scale": 128.0}, {"dynamic_loss_scale": True}])
def test_fp16_optimizer_trains_float32_masters(options):
    net, optimizer, loss = fp16_training(**options)
    twin = copy.deepcopy(net).float()
    reference = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.9)
    first = loss().item()
    for _ in range(20):
        optimizer.zero_grad()
        optimizer.backward(loss())
        for p, q in zip((p for g in optimizer.param_groups for p in g["params"]), twin.parameters()):
            q.grad = p.grad.clone()
        reference.step()
        optimizer.step()
    assert loss().item() < first / 2
    assert types(net) == [torch.float16] * 2 + [torch.float32] * 2
    masters = [p for g in optimizer.param_groups for p in g["params"]]
    assert [p.dtype for p in masters] == [torch.float32] * 4
    assert_same(masters, twin.parameters())
    assert_same(net[0].parameters(), [p.half() for p in masters[:2]], rtol=0, atol=0)


def test_fp16_optimizer_skips_an_overflow_and_adapts(capsys):
    arguments = {"init_scale": 2.0**10, "scale_window": 2, "min_loss_scale": 256.0, "max_loss_scale": 1024.0}
    net, optimizer, loss = fp16_training(dynamic_loss_scale=True, dynamic_loss_args=arguments)
    before = [p.detach().clone() for p in net.parameters()]
    scales = []
    for factor in (1e6, 1e6, 1e6, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0):
        optimizer.zero_grad(set_grads_to_None=True)
        optimizer.backward(loss(factor))
        scales.append(optimizer.loss_scale)
        if factor > 1:
            assert optimizer.clip_master_grads(1.0) == -1
            assert optimizer.inspect_master_grad_data() is None
            assert optimizer.step() is None
            assert_same(net.parameters(), before, rtol=0, atol=0)
        else:
            optimizer.step()
    assert scales == [512, 256, 256, 256, 512, 512, 1024, 1024, 1024]
    assert capsys.readouterr().out.count("Gradient overflow.  Skipping step, reducing loss scale to") == 3
    assert not torch.equal(net[0].weight, before[0])


def test_fp16_optimizer_gradients_are_unscaled_and_can_be_clipped():
    net, optimizer, loss = fp16_training(static_loss_scale=64.0, dynamic_loss_args={"scale_window": 1})
    optimizer.backward(loss(), update_master_grads=False, retain_graph=False)
    optimizer.backward(loss(), update_master_grads=False)
    optimizer.update_master_grads()
    assert optimizer.loss_scale == 64
    expected = torch.autograd.grad(2 * loss(), list(net.parameters()))
    (grads,) = optimizer.inspect_master_grad_data()
    assert_same(grads, [g.float() for g in expected], rtol=5e-3, atol=1e-4)
    norm = math.sqrt(sum(float((g**2).sum()) for g in grads))
    assert float(optimizer.clip_master_grads(norm / 2)) == pytest.approx(norm)
    assert math.sqrt(sum(float((g**2).sum()) for g in grads)) == pytest.approx(norm / 2, rel=1e-4)
    optimizer.zero_grad()
    assert all(float(p.grad.abs().sum()) == 0 for p in net.parameters())


def test_fp16_optimizer_steps_with_a_closure_and_repeats_it_while_it_overflows(capsys):
    arguments = {"init_scale": 2.0**24}
    _, optimizer, loss = fp16_training(dynamic_loss_scale=True, dynamic_loss_args=arguments)
    calls = []

    def closure():
        optimizer.zero_grad()
        value = loss()
        optimizer.backward(value)
        calls.append(optimizer.overflow)
        return value

    first = optimizer.step(closure).item()
    assert calls[0] is True and calls[-1] is False and calls.count(False) == 1
    assert optimizer.loss_scale == 2.0 ** (25 - len(calls)) and "OVERFLOW" in capsys.readouterr().out
    assert optimizer.step(closure).item() < first


def test_fp16_optimizer_checkpoints(tmp_path):
    net, optimizer, loss = fp16_training(dynamic_loss_scale=True)
    for _ in range(3):
        optimizer.zero_grad()
        optimizer.backward(loss())
        optimizer.step()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt")
    other_net, other, _ = fp16_training(dynamic_loss_scale=True)
    other_net.load_state_dict(saved["net"])
    other.load_state_dict(saved["optimizer"])
    assert_same(*([p for g in o.param_groups for p in g["params"]] for o in (other, optimizer)), rtol=0, atol=0)
    assert other.loss_scaler._unskipped == 3 and len(other.state) == 4

    class OfApex:  # apex saves the scaler itself
        def __init__(self):
            vars(self).update(saved["optimizer"]["loss_scaler"], _loss_scale=8.0, _overflow_buf=None)

    other.load_state_dict({**saved["optimizer"], "loss_scaler": OfApex()})
    assert other.loss_scale == 8
    other.loss_scale = 4.0
    assert other.loss_scaler.loss_scale() == 4
    with pytest.raises(RuntimeError, match="state_dict"):
        copy.deepcopy(other)


def test_fp16_optimizer_takes_over_a_state_that_exists_and_refuses_other_types(capsys):
    net = nn.Linear(2, 2).half()
    inner = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    give_gradients(net.parameters())
    inner.step()
    optimizer = module("fp16_utils").FP16_Optimizer(inner)
    assert "received torch.float16 with torch.Size([2, 2])" in capsys.readouterr().out
    assert {s["momentum_buffer"].dtype for s in optimizer.state.values()} == {torch.float32}
    with pytest.raises(TypeError, match=r"torch\.float64"):
        module("fp16_utils").FP16_Optimizer(torch.optim.SGD(nn.Linear(1, 1).double().parameters(), lr=1))
    with pytest.warns(UserWarning, match="scale_factor"):
        fp16_training(dynamic_loss_scale=True, dynamic_loss_args={"scale_factor": 3.0})


# --- the parts that are CUDA kernels ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("contrib", "torch.nn.functional.cross_entropy"),
        ("contrib.xentropy", "torch.nn.functional.cross_entropy"),
        ("transformer", "megatron-core"),
        ("transformer.tensor_parallel", "megatron-core"),
        ("mlp", "torch.nn.Sequential"),
        ("fused_dense", "GELU"),
        ("RNN", "torch.nn.LSTM"),
    ],
)
def test_absent_parts_say_what_to_write_instead(name, instead):
    with pytest.raises(ImportError) as caught:
        module(name)
    part = f"apex.{name.partition('.')[0]}"
    assert caught.value.name == part
    assert str(caught.value).startswith(f"{part} is not part of this replacement for apex: ")
    assert instead in str(caught.value)
    assert part not in sys.modules
