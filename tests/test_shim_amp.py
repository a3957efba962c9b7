"""apex.amp on torch: what scripts rely on, call by call.  apex's own tests: tests/conformance_apex.py."""

import copy
import operator
import pickle
import threading
from collections import OrderedDict
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple, Optional

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402

from kit import shims  # noqa: E402

LEVELS = ["O0", "O1", "O2", "O3"]


@pytest.fixture
def amp() -> Iterator[ModuleType]:
    with shims.enabled("apex.amp"):
        from apex import amp

        yield amp


class Net(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(8, 16)
        self.norm = torch.nn.BatchNorm1d(16)
        self.last = torch.nn.Linear(16, 4)

    def forward(self, x: Any) -> Any:
        return self.last(F.relu(self.norm(self.first(x))))


def setting(seed: int = 0) -> tuple[Any, Any, Any]:
    torch.manual_seed(seed)
    model = Net()
    x = torch.randn(32, 8)
    return model, x, x.argmax(1) % 4


def sgd(model: Any) -> Any:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def train(
    amp: Any, model: Any, optimizer: Any, x: Any, y: Any, steps: int, spoil: tuple[int, ...] = ()
) -> list[float]:
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        if step in spoil:
            loss = loss * float("inf")
        with amp.scale_loss(loss, optimizer) as scaled:
            scaled.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def weights(model: Any) -> list[Any]:
    return [p.detach().float().clone() for p in model.parameters()]


# -- what each level is


@pytest.mark.parametrize("level", LEVELS)
def test_each_level_trains_in_its_own_types(amp: Any, level: str) -> None:
    model, x, y = setting()
    seen: dict[str, Any] = {}
    model.first.register_forward_hook(lambda module, args, out: seen.update(first=out.dtype))
    model.norm.register_forward_hook(lambda module, args, out: seen.update(norm=module.weight.dtype))
    model, optimizer = amp.initialize(model, sgd(model), opt_level=level, verbosity=0)
    losses = train(amp, model, optimizer, x, y, 30)
    assert losses[-1] < 0.7 * losses[0]
    half, single = torch.float16, torch.float32
    assert seen["first"] == (single if level == "O0" else half)
    assert seen["norm"] == (half if level == "O3" else single)
    assert model.first.weight.dtype == (half if level in ("O2", "O3") else single)
    assert next(iter(amp.master_params(optimizer))).dtype == (half if level == "O3" else single)
    assert model(x).dtype == (half if level == "O1" else single)
    assert {v.dtype for v in model.state_dict().values() if v.is_floating_point()} == {single}
    scale = 65536.0 if level in ("O1", "O2") else 1.0
    assert amp.state_dict() == {"loss_scaler0": {"loss_scale": scale, "unskipped": 30 if scale > 1 else 0}}


@pytest.mark.parametrize("level", ["O1", "O2", "O3"])
def test_bfloat16_where_it_is_asked_for(amp: Any, level: str) -> None:
    model, x, y = setting()
    seen = []
    model.first.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    options = {"opt_level": level, "cast_model_type": torch.bfloat16, "verbosity": 0}
    model, optimizer = amp.initialize(model, sgd(model), **options)
    losses = train(amp, model, optimizer, x, y, 30)
    assert losses[-1] < 0.7 * losses[0] and set(seen) == {torch.bfloat16}


def test_losses_outside_forward_run_under_the_casts_too(amp: Any) -> None:
    model, x, _ = setting()
    amp.initialize(model, sgd(model), verbosity=0)
    assert torch.mm(x, x.t()).dtype == torch.float16
    assert F.softmax(torch.mm(x, x.t()), 1).dtype == torch.float32
    assert F.multi_head_attention_forward  # torch's own functions call softmax inside
    attention = torch.nn.MultiheadAttention(8, 2)
    _, scores = attention(x[None], x[None], x[None])
    assert scores.dtype == torch.float32


def test_a_weight_that_is_used_twice(amp: Any) -> None:
    """With apex 25.04 this ends in `IndexError: tuple index out of range` on torch of today."""
    layer = torch.nn.Linear(8, 8)
    layer, optimizer = amp.initialize(layer, torch.optim.SGD(layer.parameters(), 0.1), verbosity=0)
    x = torch.randn(4, 8)
    with amp.scale_loss(layer(layer(x)).float().pow(2).mean(), optimizer) as scaled:
        scaled.backward()
    assert layer.weight.grad.abs().sum() > 0


def test_a_weight_that_is_changed_between_two_calls_is_not_remembered(amp: Any) -> None:
    layer = amp.initialize(torch.nn.Linear(4, 4, bias=False), verbosity=0)
    x = torch.ones(1, 4)
    before = layer(x)
    layer.load_state_dict({"weight": layer.weight * 2})
    assert torch.allclose(layer(x), before * 2)


@pytest.mark.parametrize("make", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_recurrent_layers_run_in_half_precision_and_learn(amp: Any, make: Any) -> None:
    torch.manual_seed(0)
    model = make(4, 8)
    model, optimizer = amp.initialize(model, torch.optim.SGD(model.parameters(), 0.1), verbosity=0)
    out, _ = model(torch.randn(5, 2, 4))
    assert out.dtype == torch.float16
    with amp.scale_loss(out.float().pow(2).mean(), optimizer) as scaled:
        scaled.backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


# -- casts in which apex differs from torch


def test_tensors_arrive_on_the_cpu_in_float32(amp: Any) -> None:
    amp.init()
    assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).cpu().dtype == torch.float32


def test_what_apex_refuses_in_half_precision_is_refused(amp: Any) -> None:
    handle = amp.init()
    x = torch.ones(3, dtype=torch.half)
    for act in (x.exp_, lambda: torch.exp_(x), lambda: x.pow_(2), lambda: F.binary_cross_entropy(x, x)):
        with pytest.raises(NotImplementedError, match=r"fp16 arguments|binary_cross_entropy"):
            act()
    assert operator.ipow(x, 2).dtype == torch.float32
    with amp.disable_casts():
        x.exp_()
    amp.init(allow_banned=True)
    assert F.binary_cross_entropy(torch.full((2,), 0.5, dtype=torch.half), torch.ones(2)).dtype == torch.float32
    assert not handle.is_active() or handle is not amp._amp_state.handle


def test_mixed_types_are_widened(amp: Any) -> None:
    amp.init()
    half, single = torch.ones(3, dtype=torch.half), torch.ones(3)
    assert torch.dot(half, single).dtype == torch.float32
    assert torch.addcmul(single, half, half).dtype == torch.float32
    assert (half + single).dtype == torch.cat([half, single]).dtype == torch.float32
    assert torch.equal(half, single)
    half += single
    assert half.dtype == torch.float32


def test_everything_is_as_before_once_it_is_switched_off() -> None:
    before = {name: getattr(F, name) for name in ("gelu", "softmax", "binary_cross_entropy")}
    own, recurrent = dict(vars(torch.Tensor)), torch.nn.modules.rnn._VF
    with shims.enabled("apex.amp"):
        from apex import amp

        amp.init()
        assert F.gelu is not before["gelu"] and torch.is_autocast_enabled("cpu")
    assert {name: getattr(F, name) for name in before} == before
    assert dict(vars(torch.Tensor)) == own and torch.nn.modules.rnn._VF is recurrent
    assert not torch.is_autocast_enabled("cpu")


def test_decorators_do_nothing_before_initialize_and_cast_after(amp: Any) -> None:
    class Square(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        @amp.float_function
        def forward(ctx: Any, x: Any) -> Any:
            return x * x

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad

    narrow = amp.half_function(lambda xs, scale=None: xs[0])
    wide = amp.float_function(lambda x: x)
    widest = amp.promote_function(lambda a, b: a)
    half, single = torch.ones(2, dtype=torch.half), torch.ones(2)
    assert narrow([single]).dtype == torch.float32 and wide(half).dtype == torch.half
    amp.init()
    assert narrow([single]).dtype == torch.half and wide(half).dtype == torch.float32
    assert widest(half, single).dtype == torch.float32 and widest(half, half).dtype == torch.half
    assert Square.apply(half).dtype == torch.float32
    assert wide(torch.ones(2, dtype=torch.int64)).dtype == torch.int64
    with amp.disable_casts():
        assert narrow([single]).dtype == torch.float32


def test_registered_functions_have_the_last_word(amp: Any) -> None:
    module = ModuleType("ops")
    module.bmm = torch.bmm  # type: ignore[attr-defined]
    amp.register_float_function(module, "bmm")
    amp.register_float_function(torch, "bmm")
    amp.register_half_function(torch, "softmax")
    with pytest.raises(ValueError, match="No function named nowhere in module"):
        amp.register_half_function(torch, "nowhere")
    before = torch.bmm
    handle = amp.init()
    half = torch.ones(1, 2, 2, dtype=torch.half)
    assert torch.bmm(half, half).dtype == module.bmm(half, half).dtype == torch.float32
    assert torch.softmax(half.float(), 1).dtype == torch.half
    handle._deactivate()
    assert torch.bmm is before


def test_what_a_script_adds_to_the_lists_is_heeded(amp: Any) -> None:
    from apex.amp.lists import functional_overrides, torch_overrides

    functional_overrides.FP32_FUNCS.append("relu")
    torch_overrides.FP16_FUNCS.append("sin")
    amp.init()
    assert F.relu(torch.ones(2, dtype=torch.half)).dtype == torch.float32
    assert torch.sin(torch.ones(2)).dtype == torch.float16


def test_casts_are_of_one_thread(amp: Any) -> None:
    amp.init()
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype))
    thread.start()
    thread.join()
    assert found == [torch.float32]


# -- scale_loss


def test_backward_runs_without_casts_whoever_calls_it_and_a_forward_in_the_block_with_them(amp: Any) -> None:
    model, x, _ = setting()
    model, optimizer = amp.initialize(model, sgd(model), verbosity=0)
    seen = []
    model.first.weight.register_hook(lambda grad: seen.append(torch.is_autocast_enabled("cpu")))
    with amp.scale_loss(model(x).sum(), optimizer) as scaled:
        scaled.backward()
        assert model(x).dtype == torch.float16
        torch.autograd.grad(model(x).sum(), model.first.weight)
    model(x).sum().backward()
    assert seen == [False, False, False]
    with pytest.raises(ZeroDivisionError), amp.scale_loss(model(x).sum(), optimizer):
        raise ZeroDivisionError
    assert torch.is_autocast_enabled("cpu")


def test_a_backward_in_python_sees_mixed_types_as_its_forward_did(amp: Any) -> None:
    class Times(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any, w: Any) -> Any:
            ctx.save_for_backward(x, w)
            return x.mm(w)

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            x, w = ctx.saved_tensors
            return grad.mm(w.t()), x.t().mm(grad)

    layer = torch.nn.Linear(4, 4)
    layer, optimizer = amp.initialize(layer, torch.optim.SGD(layer.parameters(), 0.1), loss_scale=2.0, verbosity=0)
    x = torch.rand(3, 4)
    with amp.scale_loss(Times.apply(x, layer.weight).float().sum(), optimizer) as scaled:
        scaled.backward()
    assert torch.allclose(layer.weight.grad, x.sum(0)[:, None].expand(4, 4), rtol=1e-2)


@pytest.mark.parametrize("level", ["O1", "O2"])
def test_an_overflow_halves_the_scale_and_skips_one_step(amp: Any, level: str, capsys: Any) -> None:
    model, x, y = setting()
    model, optimizer = amp.initialize(model, sgd(model), opt_level=level)
    capsys.readouterr()
    train(amp, model, optimizer, x, y, 1)
    before = weights(model)
    train(amp, model, optimizer, x, y, 1, spoil=(0,))
    assert all(map(torch.equal, weights(model), before))
    said = "Gradient overflow.  Skipping step, loss scaler 0 reducing loss scale to 32768.0\n"
    assert capsys.readouterr().out == said
    train(amp, model, optimizer, x, y, 1)
    assert not all(map(torch.equal, weights(model), before))
    assert amp.state_dict()["loss_scaler0"] == {"loss_scale": 32768.0, "unskipped": 1}


def test_the_scale_grows_after_its_window_and_stays_within_its_bounds(amp: Any) -> None:
    model, x, y = setting()
    options = {"min_loss_scale": 2.0**15, "max_loss_scale": 2.0**17, "verbosity": 0}
    model, optimizer = amp.initialize(model, sgd(model), **options)
    scaler = amp._amp_state.loss_scalers[0]
    scaler._scale_seq_len = 2
    seen = []
    for step in range(14):
        train(amp, model, optimizer, x, y, 1, spoil=(0,) if step >= 8 else ())
        seen.append(scaler.loss_scale())
    assert seen == [2.0**n for n in (16, 17, 17, 17, 17, 17, 17, 17, 16, 15, 15, 15, 15, 15)]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("delayed", [False, True])
def test_several_blocks_accumulate_what_one_would_give(amp: Any, level: str, delayed: bool) -> None:
    grads = []
    for parts in (1, 2):
        model, x, y = setting()
        model.norm.eval()  # whose statistics depend on how the batch is cut
        model, optimizer = amp.initialize(model, sgd(model), opt_level=level, verbosity=0)
        optimizer.zero_grad()
        for number, (a, b) in enumerate(zip(x.chunk(parts), y.chunk(parts))):
            with amp.scale_loss(
                F.cross_entropy(model(a), b) / parts, optimizer, delay_unscale=delayed and number < parts - 1
            ) as scaled:
                scaled.backward()
        grads.append([p.grad.float() for p in amp.master_params(optimizer)])
    tolerance = 1e-6 if level == "O0" else 4e-3
    assert all(torch.allclose(a, b, atol=tolerance, rtol=tolerance) for a, b in zip(*grads))


def test_static_scales(amp: Any) -> None:
    for given in (128, "128.0"):
        model, x, y = setting()
        model, optimizer = amp.initialize(model, sgd(model), opt_level="O2", loss_scale=given, verbosity=0)
        with amp.scale_loss(torch.ones(2), optimizer) as scaled:
            assert scaled.tolist() == [128, 128]
        before = weights(model)
        train(amp, model, optimizer, x, y, 1, spoil=(0,))  # neither seen nor skipped
        assert not all(map(torch.equal, weights(model), before))


def test_gradients_of_a_bucket_are_copied_before_it_is_written_anew(amp: Any) -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    layer, optimizer = amp.initialize(
        layer, torch.optim.SGD(layer.parameters(), 0.1), opt_level="O0", loss_scale=2.0, verbosity=0
    )
    bucket = torch.tensor([1.0, 2.0, 3.0, 4.0])
    layer.weight.grad = bucket[:2].view(1, 2)
    with amp.scale_loss(layer(torch.ones(1, 2)).sum(), optimizer) as scaled:
        bucket.fill_(99)
        scaled.backward()
    assert layer.weight.grad.tolist() == [[2.0, 3.0]]


def test_several_losses_have_scales_of_their_own(amp: Any) -> None:
    one, x, y = setting(0)
    two, _, _ = setting(1)
    (one, two), (a, b) = amp.initialize([one, two], [sgd(one), sgd(two)], num_losses=2, verbosity=0)
    before = weights(one), weights(two)
    for number, (model, optimizer) in enumerate([(one, a), (two, b)]):
        loss = F.cross_entropy(model(x), y) * (float("nan") if number else 1)
        with amp.scale_loss(loss, optimizer, loss_id=number) as scaled:
            scaled.backward()
    a.step(), b.step()
    assert [amp.state_dict()[f"loss_scaler{n}"]["loss_scale"] for n in (0, 1)] == [65536.0, 32768.0]
    assert not all(map(torch.equal, weights(one), before[0])) and all(map(torch.equal, weights(two), before[1]))


def test_clipping_after_the_block_is_clipping_of_true_gradients(amp: Any) -> None:
    for level in LEVELS:
        model, x, y = setting()
        model, optimizer = amp.initialize(model, sgd(model), opt_level=level, verbosity=0)
        with amp.scale_loss(F.cross_entropy(model(x), y), optimizer) as scaled:
            scaled.backward()
        norm = torch.nn.utils.clip_grad_norm_(amp.master_params(optimizer), 1e-3)
        assert 0.01 < float(norm) < 10
        clipped = torch.stack([p.grad.float().norm() for p in amp.master_params(optimizer)]).norm()
        assert float(clipped) == pytest.approx(1e-3, rel=0.02)


def test_a_scheduler_is_not_told_that_a_skipped_step_was_forgotten(amp: Any) -> None:
    model, x, y = setting()
    optimizer = sgd(model)
    early = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    model, optimizer = amp.initialize(model, optimizer, verbosity=0)
    late = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    train(amp, model, optimizer, x, y, 1, spoil=(0,))
    early.step(), late.step()  # a warning is an error in these tests


# -- checkpoints


@pytest.mark.parametrize("level", LEVELS)
def test_training_goes_on_from_a_checkpoint_as_if_nothing_had_been(amp: Any, level: str) -> None:
    def begin() -> tuple[Any, Any, Any, Any]:
        model, x, y = setting()
        return *amp.initialize(model, sgd(model), opt_level=level, verbosity=0), x, y

    model, optimizer, x, y = begin()
    train(amp, model, optimizer, x, y, 3, spoil=(1,) if level in ("O1", "O2") else ())
    saved = copy.deepcopy([model.state_dict(), optimizer.state_dict(), amp.state_dict()])
    masters = [p.detach().clone() for p in amp.master_params(optimizer)]
    saved = pickle.loads(pickle.dumps(saved))
    on = train(amp, model, optimizer, x, y, 3)

    model, optimizer, x, y = begin()
    model.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    amp.load_state_dict(saved[2])
    with torch.no_grad():
        if level == "O2":
            optimizer._amp_lazy_init()
            optimizer.load_state_dict(saved[1])
        for param, master in zip(amp.master_params(optimizer), masters):
            param.copy_(master)
    assert train(amp, model, optimizer, x, y, 3) == on


def test_apexs_own_checkpoints_and_their_surprises(amp: Any, capsys: Any) -> None:
    amp.initialize(Net(), num_losses=2, verbosity=0)
    amp.load_state_dict(OrderedDict(loss_scaler0={"loss_scale": 4.0, "unskipped": 7}))
    assert "1 entries, while 2 loss_scalers" in capsys.readouterr().out
    assert amp._amp_state.loss_scalers[0]._unskipped == 7 and amp._amp_state.loss_scalers[0].loss_scale() == 4.0
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "model"'):
        amp.load_state_dict({"model": 1, "loss_scaler0": {"loss_scale": 2.0, "unskipped": 0}})
    assert amp._amp_state.loss_scalers[0].loss_scale() == 2.0


def test_states_become_those_of_torchs_own_scaler_and_back(amp: Any) -> None:
    from apex.amp.scaler import from_grad_scaler, to_grad_scaler

    amp.initialize(Net(), num_losses=2, verbosity=0)
    amp._amp_state.loss_scalers[1]._loss_scale, amp._amp_state.loss_scalers[1]._unskipped = 512.0, 5
    scalers = [torch.amp.GradScaler("cpu"), torch.amp.GradScaler("cpu")]
    for number, scaler in enumerate(scalers):
        scaler.load_state_dict(to_grad_scaler(amp.state_dict(), number))
    assert scalers[1].get_scale() == 512.0 and scalers[1]._get_growth_tracker() == 5
    assert from_grad_scaler(*(scaler.state_dict() for scaler in scalers)) == amp.state_dict()


# -- initialize: forms and refusals


def test_what_is_returned_has_the_form_of_what_was_given(amp: Any) -> None:
    def one() -> tuple[Any, Any]:
        model = Net()
        return model, sgd(model)

    (m, o), (n, p) = one(), one()
    assert amp.initialize(m, verbosity=0) is m
    assert amp.initialize([m], verbosity=0) == [m]
    assert amp.initialize(m, [], verbosity=0) == (m, [])
    assert amp.initialize(m, o, verbosity=0) == (m, o)
    assert amp.initialize([n], [p], verbosity=0) == ([n], [p])
    assert amp.initialize(models=m, optimizers=None, enabled=False) is m
    _, optimizer = amp.initialize(m, o, enabled=False)
    loss = torch.ones(1, dtype=torch.half)
    with amp.scale_loss(loss, optimizer) as scaled:
        assert scaled is loss
    assert hasattr(o, "_amp_stash") and "state_dict" in amp.__dict__


@pytest.mark.parametrize(
    "options, message",
    [
        ({"opt_level": "01"}, "prefix O is the letter O, not the number zero"),
        ({"cast_model_type": torch.float16}, "O1 inserts casts around Torch functions"),
        ({"keep_batchnorm_fp32": True}, "keep_batchnorm_fp32 should be None"),
        ({"master_weights": True}, "use master_weights with O1"),
        ({"opt_level": "O2", "patch_torch_functions": True}, "only be set by selecting opt_level='O1'"),
    ],
)
def test_options_that_contradict_the_level(amp: Any, options: Any, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        amp.initialize(Net(), verbosity=0, **options)


def test_what_cannot_be_initialized(amp: Any) -> None:
    model, _, _ = setting()
    optimizer = sgd(model)
    for bad, kind, message in [
        ((Net(),), TypeError, "a single model or a list"),
        (torch.nn.DataParallel(Net()), RuntimeError, "AFTER"),
        (Net().half(), RuntimeError, r"Found param first.weight with type torch.HalfTensor"),
    ]:
        with pytest.raises(kind, match=message):
            amp.initialize(bad, verbosity=0)
    with pytest.raises(TypeError, match="a single optimizer or a list"):
        amp.initialize(model, (optimizer,), verbosity=0)
    amp.initialize(model, optimizer, opt_level="O2", verbosity=0)
    with pytest.raises(RuntimeError, match="only be passed through"):
        amp.initialize(model.float(), optimizer, verbosity=0)
    with pytest.raises(RuntimeError, match="does not support closure use"):
        optimizer.step(lambda: None)
    with (
        pytest.raises(RuntimeError, match="was not given to"),
        amp.scale_loss(torch.ones(1), sgd(Net())),
    ):
        pass
    doubles = torch.nn.Linear(2, 2).double()
    with pytest.raises(TypeError, match="Received torch"):
        _, bad_optimizer = amp.initialize(doubles, sgd(doubles), opt_level="O1", verbosity=0)
        with amp.scale_loss(torch.ones(1), bad_optimizer):
            pass


def test_scale_loss_before_initialize(amp: Any) -> None:
    with pytest.raises(RuntimeError, match="must be called before"), amp.scale_loss(torch.ones(1), None):
        pass


def test_the_settings_are_printed(amp: Any, capsys: Any) -> None:
    amp.initialize(Net(), opt_level="O2", loss_scale="64")
    said = capsys.readouterr().out
    assert said.startswith("Selected optimization level O2:  FP16 training")
    assert "loss_scale             : dynamic" in said and "loss_scale             : 64.0" in said


class Pair(NamedTuple):
    a: Any
    b: Optional[Any] = None


class Batch:
    dtype: Any = None

    def to(self, dtype: Any) -> "Batch":
        self.dtype = dtype
        return self


def test_inputs_and_outputs_of_every_form_are_cast(amp: Any) -> None:
    class Echo(torch.nn.Module):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            self.seen = args, kwargs
            return args[0]

    single, whole = torch.ones(2), torch.ones(2, dtype=torch.int64)
    model = amp.initialize(Echo(), opt_level="O2", verbosity=0)
    ordered = OrderedDict(x=single, n=whole)
    for given in ([single, "text", 3, None], (single, [single]), {"x": single}, ordered, Pair(single)):
        back = model(given, option=given)
        seen = model.seen[0][0]
        assert type(seen) is type(given) is type(back)
        flat, out = (list(v.values()) if isinstance(v, dict) else list(v) for v in (seen, back))
        assert flat[0].dtype == torch.float16 and out[0].dtype == torch.float32
    assert model.seen[1]["option"][0].dtype == torch.float16
    model(ordered)
    assert model.seen[0][0]["n"].dtype == torch.int64
    assert model(Batch()).dtype == torch.float32
    outputs = amp.initialize(Net(), opt_level="O1", cast_model_outputs=torch.float64, verbosity=0)
    assert outputs(torch.ones(2, 8)).dtype == torch.float64


def test_add_param_group_in_the_middle(amp: Any) -> None:
    for level in LEVELS:
        model, x, y = setting()
        optimizer = torch.optim.SGD(model.first.parameters(), 0.1)
        model, optimizer = amp.initialize(model, optimizer, opt_level=level, verbosity=0)
        train(amp, model, optimizer, x, y, 1)
        before = model.last.weight.detach().clone()
        optimizer.add_param_group({"params": model.last.parameters()})
        train(amp, model, optimizer, x, y, 2)
        assert not torch.equal(before, model.last.weight)


def test_frozen_parameters_stay(amp: Any) -> None:
    for level in LEVELS:
        model, x, y = setting()
        model.first.requires_grad_(False)
        model, optimizer = amp.initialize(model, sgd(model), opt_level=level, verbosity=0)
        before = model.first.weight.detach().clone()
        train(amp, model, optimizer, x, y, 2)
        assert torch.equal(before, model.first.weight)


# -- the oldest interface, and names that real code imports


def test_the_oldest_interface(amp: Any) -> None:
    model, x, y = setting()
    handle = amp.init()
    with pytest.raises(RuntimeError, match="old Amp API is no longer supported"):
        handle.scale_loss(torch.ones(1), None)
    optimizer = handle.wrap_optimizer(sgd(model), num_loss=2)
    before = weights(model)
    for spoil in (float("inf"), 1.0):
        for _ in range(2):
            with optimizer.scale_loss(F.cross_entropy(model(x), y) * spoil) as scaled:
                scaled.backward()
        optimizer.step()
        optimizer.zero_grad()
        assert all(map(torch.equal, weights(model), before)) == (spoil != 1.0)
    off = amp.init(enabled=False)
    assert not off.is_active()
    with off.scale_loss(x, None) as same:
        assert same is x


def test_names_that_programs_import(amp: Any) -> None:
    import apex
    import apex.amp as same
    from apex.amp import __version__, handle, lists, scaler  # noqa: F401
    from apex.amp import _amp_state as state
    from apex.amp import amp as functions
    from apex.amp._amp_state import _amp_state, maybe_print  # noqa: F401
    from apex.amp.lists import functional_overrides

    import apex.amp._amp_state  # isort: skip

    assert apex.amp is same is amp and amp._amp_state is state is _amp_state
    assert functions.half_function is amp.half_function and "linear" in functional_overrides.FP16_FUNCS
    assert hasattr(handle, "scale_loss") and hasattr(scaler, "LossScaler")
    assert __version__.__version__ == "0.1.0"


@pytest.mark.slow
def test_it_can_be_compiled(amp: Any) -> None:
    model, x, y = setting()
    model, optimizer = amp.initialize(model, sgd(model), verbosity=0)
    losses = train(amp, torch.compile(model, backend="aot_eager"), optimizer, x, y, 20)
    assert losses[-1] < losses[0]
