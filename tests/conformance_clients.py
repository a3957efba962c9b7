"""Public training code that uses apex.amp, run against the kit's replacement.

    python tests/conformance_clients.py --list              what to fetch, at which commits, what to install for it
    python tests/conformance_clients.py FOLDER [NAME...]    run them: FOLDER/OWNER+NAME holds each checkout

Each client trains a few steps on made-up data, on the CPU, in a process of its own: its own loop, with its own calls
of amp.  A copy of it is changed in what has nothing to do with amp: devices become the CPU, what torch has dropped
since is put right, packages that only load or show data are replaced by nothing.  Nothing of the clients is kept.
"""

import argparse
import contextlib
import importlib
import importlib.machinery
import json
import math
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from argparse import Namespace
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any, Callable
from unittest.mock import MagicMock

import torch
import yaml
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import ConcatDataset, DataLoader, DistributedSampler, TensorDataset

ROOT = Path(__file__).resolve().parent.parent
INSTALL = "addict einops huggingface_hub markdown-it-py mdurl rich safetensors termcolor timm toolz yacs yapf"
TO_CPU = [
    (r"torch\.cuda\.(\w+Tensor)\b", r"torch.\1"),
    (r"([\"'])cuda(:\d)?\1", r"\1cpu\1"),
    (r"([\"'])nccl\1", r"\1gloo\1"),
]
GEMMS = ("mm", "addmm", "bmm", "baddbmm", "convolution")
CLIENTS: dict[str, Namespace] = {}


def client(repository: str, commit: str, root: str = "", stubs: str = "", edits: Any = (), **more: Any) -> Any:
    """Register the decorated function; its docstring says what of the client runs, and how that uses amp.

    ``root`` is the folder of the checkout that is copied, ``stubs`` are packages to replace by nothing, ``edits``
    texts to replace: (file, old, new).  With ``falls=False`` the loss need not fall, with ``half=False`` no operator
    may see half precision.
    """

    def register(train: Callable[["Run"], None]) -> Callable[["Run"], None]:
        settings = {"falls": True, "half": True, "name": train.__name__, **more}
        first = {one.repository: one.commit for one in reversed(CLIENTS.values())}.get(repository, commit)
        folder = repository.replace("/", "+") + (f"@{commit[:8]}" if commit != first else "")
        uses = " ".join((train.__doc__ or "").split())
        settings.update(repository=repository, commit=commit, folder=folder, root=root, stubs=stubs, edits=edits)
        CLIENTS[settings["name"]] = Namespace(train=train, uses=uses, **settings)
        return train

    return register


class Operators(TorchDispatchMode):
    """Counts the types in which matrix products and convolutions are called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in GEMMS:
            self.seen[func.overloadpacket.__name__, args[0].dtype] += 1
        return func(*args, **(kwargs or {}))

    def half(self) -> int:
        return sum(n for (_, dtype), n in self.seen.items() if dtype == torch.float16)


class Stubs:
    """Finds packages that are not installed: modules in which every name is a mock, or a class that does nothing."""

    def __init__(self, names: str) -> None:
        self.names = set(names.split())

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        is_one = name.partition(".")[0] in self.names
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if is_one else None

    def create_module(self, spec: Any) -> ModuleType:
        return Stub(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class Stub(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        vars(self)[name] = AnyClass(name, (Nothing,), {}) if name[0].isupper() else MagicMock(name=name)
        return vars(self)[name]


class AnyClass(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=name)


class Nothing(metaclass=AnyClass):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(type(self), name)


class Run:
    """What a client gets to run in, and what is watched meanwhile."""

    def __init__(self, one: Namespace, source: Path) -> None:
        self.one, self.source = one, source
        self.losses: list[float] = []
        self.scales: list[float] = []
        self.before: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.operators = Operators()

    def watch(self) -> None:
        """Have initialize and scale_loss note what they are given."""
        from apex import amp

        initialize, scale_loss = amp.initialize, amp.scale_loss

        def noted_initialize(models: Any, optimizers: Any = None, *args: Any, **kwargs: Any) -> Any:
            result = initialize(models, optimizers, *args, **kwargs)
            if optimizers:
                self.track(*(models if isinstance(models, list) else [models]))
            return result

        @contextlib.contextmanager
        def noted_scale_loss(loss: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            self.losses.append(float(loss.detach().float().mean()))
            with scale_loss(loss, *args, **kwargs) as scaled:
                self.scales.append(float(scaled.detach().float().mean()) / (self.losses[-1] or math.nan))
                yield scaled

        amp.initialize, amp.scale_loss = noted_initialize, noted_scale_loss

    def track(self, *models: nn.Module) -> None:
        self.before += [(p, p.detach().clone()) for m in models for p in m.parameters() if p.requires_grad]

    def script(self, path: str, argv: str) -> None:
        """Run a file of the client as a program."""
        sys.argv = [path, *argv.split()]
        runpy.run_path(str(self.source / path), run_name="__main__")

    def module(self, name: str, **replaced: Any) -> Any:
        """Import a module of the client, and replace some of its names."""
        module = importlib.import_module(name)
        vars(module).update(replaced)
        return module

    def wrong(self) -> str:
        """What is not as it should be, or nothing."""
        losses, half = self.losses, self.operators.half()
        changed = sum(not torch.equal(p.detach(), old.to(p.dtype)) for p, old in self.before)
        wrong = {
            f"losses: {losses}": not losses or not all(map(math.isfinite, losses)),
            f"the loss does not fall: {losses}": self.one.falls and not losses[-1] < losses[0],
            f"weights that changed: {changed} of {len(self.before)}": changed < len(self.before) / 2,
            f"operators in half precision: {half} of {self.operators.seen}": (half > 0) is not self.one.half,
        }
        return "; ".join(text for text, is_wrong in wrong.items() if is_wrong)


def on_cpu() -> None:
    """Have CUDA's functions that training code calls do nothing, and data be loaded in this process."""
    nn.Module.cuda = torch.Tensor.cuda = lambda self, *args, **kwargs: self
    torch.Tensor.record_stream = torch.Tensor.pin_memory = lambda self, *stream: self
    for name in ("set_device", "synchronize", "manual_seed", "manual_seed_all", "empty_cache"):
        setattr(torch.cuda, name, lambda *args, **kwargs: None)
    torch.cuda.current_device, torch.cuda.device_count = (lambda: 0), (lambda: 1)
    torch.cuda.Stream = torch.cuda.current_stream = torch.cuda.nvtx = MagicMock()
    torch.cuda.get_rng_state, torch.cuda.set_rng_state = torch.get_rng_state, torch.set_rng_state
    torch.cuda.stream = lambda stream: contextlib.nullcontext()
    init = DataLoader.__init__
    DataLoader.__init__ = lambda self, *a, **k: init(self, *a, **{**k, "num_workers": 0, "pin_memory": False})


def child(folder: Path, one: Namespace) -> int:
    """Run one client in this process; the last line that is printed is what came of it."""
    source = Path.cwd() / "source"
    shutil.copytree(folder / one.folder / one.root, source)
    for path in source.rglob("*.py"):
        text = path.read_text(errors="surrogateescape")
        for pattern, new in TO_CPU:
            text = re.sub(pattern, new, text)
        path.write_text(text, errors="surrogateescape")
    for file, old, new in one.edits:
        text = (source / file).read_text()
        assert old in text, f"{file} has no {old!r}"
        (source / file).write_text(text.replace(old, new))
    sys.path[:0] = [str(source), str(ROOT)]
    sys.path.append(str(folder / "site"))
    sys.meta_path.append(Stubs(one.stubs))
    on_cpu()
    torch.manual_seed(1)
    import kit.shims

    kit.shims.enable("apex.amp", cover=True)
    run = Run(one, source)
    run.watch()
    try:
        with run.operators:
            one.train(run)
        wrong = run.wrong()
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        wrong = f"{type(error).__name__}: {error}"
    said = f"{len(run.losses)} losses, {run.operators.half()} half-precision products"
    print("\n" + json.dumps([wrong, said]), flush=True)
    return 0


def in_child(folder: Path, name: str) -> tuple[str, str, str]:
    command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), "--child", str(folder), name]
    more = {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(20000 + os.getpid() % 9999),
    }
    env = {**os.environ, **more, "OMP_NUM_THREADS": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(command, cwd=empty, env=env, capture_output=True, text=True, timeout=300)
    try:
        wrong, said = json.loads(done.stdout.rstrip().rpartition("\n")[2])
    except ValueError:
        wrong, said = f"exit status {done.returncode}", ""
    return wrong, said, done.stdout + done.stderr


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path, nargs="?")
    arguments.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CLIENTS))
    arguments.add_argument("--list", action="store_true", help="what to fetch, and at which commits")
    arguments.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments.add_argument("-v", "--verbose", action="store_true", help="what failed clients printed")
    given = arguments.parse_args()
    if given.list or given.folder is None:
        for folder, (repository, commit) in {c.folder: (c.repository, c.commit) for c in CLIENTS.values()}.items():
            print(f"FOLDER/{folder:40} github.com/{repository:40} {commit}")
        print(f"pip install --no-deps --target FOLDER/site {INSTALL}")
        return 0 if given.list else 2
    if given.child:
        return child(given.folder.resolve(), CLIENTS[given.names[0]])
    failed = 0
    for name in given.names or CLIENTS:
        wrong, said, words = in_child(given.folder.resolve(), name)
        failed += bool(wrong)
        print(f"{name:16} {'FAILED ' + wrong if wrong else 'ok, ' + said}\n{'':16} {CLIENTS[name].uses}", flush=True)
        if given.verbose and wrong:
            print(words)
    print(f"{len(given.names or CLIENTS) - failed} ok, {failed} failed, torch {torch.__version__}")
    return int(bool(failed))


# -- Made-up models and data


def net(outputs: int = 10, width: int = 8) -> nn.Module:
    """A small convolutional network for images of any size."""
    head = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, outputs)]
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1, stride=2), nn.BatchNorm2d(width), *head)


def images(count: int = 1, size: int = 32) -> ConcatDataset:
    """The same four images again and again, so that a loss can fall."""
    return ConcatDataset([TensorDataset(torch.rand(4, 3, size, size), torch.arange(4))] * count)


def batches(count: int) -> DataLoader:
    return DataLoader(images(count), 4)


def options(text: str, **more: Any) -> Namespace:
    """What a client's command line would have given, written as the inside of a YAML mapping."""
    return Namespace(**{**yaml.safe_load("{" + text + "}"), **more})


def stub(name: str, **attributes: Any) -> None:
    """Put a module in place of one of the client's, with these names."""
    parent, _, last = name.rpartition(".")
    sys.modules[name] = module = Stub(name)
    vars(module).update(attributes)
    if parent:
        setattr(importlib.import_module(parent), last, module)


def rescale(checkpoint: Any, key: str = "amp") -> None:
    """Have a checkpoint say that the loss scale was 64, which no run starts with."""
    saved = torch.load(checkpoint)
    saved[key]["loss_scaler0"]["loss_scale"] = 64.0
    torch.save(saved, checkpoint)


def scaler(number: int = 0) -> Any:
    from apex.amp import _amp_state

    return _amp_state.loss_scalers[number]


# -- The clients

APEX = "NVIDIA/apex", "e13873debc4699d39c6861074b9a3b2a02327f92", "examples"
MASKRCNN = "facebookresearch/maskrcnn-benchmark", "57eec25b75144d9fb1a6857f32553e1574177daf"
DLE = "NVIDIA/DeepLearningExamples", "729963dd47e7c8bd462ad10bfac7a7b0b604e6dd"
OLD_DLE = "NVIDIA/DeepLearningExamples", "793b92dca704df9399e94b5632e17ad88e551444"


@client(*APEX, "torchvision", [("dcgan/main_amp.py", "_label = ", "_label = 0. + ")], falls=False)
def dcgan(run: Run) -> None:
    """dcgan/main_amp.py, the script: O1, lists of models and optimizers, num_losses=3, loss_id."""
    stub("torchvision.datasets", FakeData=lambda **_: images(4, 64))
    run.script("dcgan/main_amp.py", "--dataset fake --ngf 8 --ndf 8 --batchSize 8 --niter 2")
    assert run.scales[:3] == [2.0**16] * 3 and all(scaler(i)._unskipped for i in range(3)) and len(run.losses) == 12


@client(*APEX, "torchvision")
def imagenet(run: Run) -> None:
    """imagenet/main_amp.py, the script: O3, keep_batchnorm_fp32 and loss_scale as strings, convert_syncbn_model."""
    from PIL import Image

    model, pictures = net(), [(Image.new("RGB", (32, 32), (30 * i, 0, 99)), i) for i in range(8)] * 2
    stub("torchvision.models", resnet18=lambda: model)
    stub("torchvision.datasets", ImageFolder=lambda *_: pictures)
    argv = "--opt-level O3 --keep-batchnorm-fp32 True --loss-scale 128.0 --epochs 3 -b 8 --lr 3 --sync_bn"
    run.script("imagenet/main_amp.py", f"DATA {argv}")
    assert run.scales[0] == 128 and [model[i].weight.dtype for i in (0, 1)] == [torch.float16, torch.float32]
    assert torch.load("checkpoint.pth.tar")["state_dict"]["0.weight"].dtype == torch.float32


SWIN_EDITS = [("lr_scheduler.py", "t_mul=1.,", ""), ("main.py", "device_ids=[config.LOCAL_RANK], ", "")]


@client(
    "microsoft/Swin-Transformer", "7a444c1d5d76c291a18b6d9aafcd91794b0b1f71", stubs="torchvision", edits=SWIN_EDITS
)
def swin(run: Run) -> None:
    """main.py, the script: O1, accumulation, master_params clipped, state_dict and load_state_dict, torch's DDP."""
    data = images(2)

    def build_loader(config: Any) -> Any:
        loader = DataLoader(data, 4, sampler=DistributedSampler(data, shuffle=False))
        return data, data, loader, DataLoader(data, 4), None

    stub("data", build_loader=build_loader)
    argv = (
        f"--cfg {run.source}/configs/swin/swin_tiny_patch4_window7_224.yaml --local_rank 0 --accumulation-steps 2 "
        "--output out --opts DATA.IMG_SIZE 32 MODEL.NUM_CLASSES 10 MODEL.SWIN.EMBED_DIM 16 MODEL.SWIN.DEPTHS [1,1] "
        "MODEL.SWIN.NUM_HEADS [2,4] MODEL.SWIN.WINDOW_SIZE 4 MODEL.DROP_PATH_RATE 0. AUG.MIXUP 0. "
        "TRAIN.WARMUP_EPOCHS 0 TRAIN.BASE_LR 0.1 TRAIN.EPOCHS "
    )
    run.script("main.py", argv + "3")
    torch.distributed.destroy_process_group()
    rescale(next(Path("out").rglob("ckpt_epoch_2.pth")))
    run.script("main.py", argv + "6")  # goes on from the checkpoint
    assert run.scales[-1] == 64


SWAV_EDITS = [
    ("main_swav.py", "model,\n        device_ids=[args.gpu_to_work_on]", "model"),
    ("src/utils.py", '"cuda:" + str(torch.distributed.get_rank() % torch.cuda.device_count())', '"cpu"'),
]


@client(
    "facebookresearch/swav",
    "06b1b7cbaf6ba2a792300d79c7299db98b93b7f9",
    stubs="torchvision pandas",
    edits=SWAV_EDITS,
    falls=False,
)
def swav(run: Run) -> None:
    """main_swav.py, the script: O1, apex.parallel.LARC around SGD, restart_from_checkpoint(amp=apex.amp)."""
    crops = [[torch.rand(3, 32, 32) for _ in range(2)] for _ in range(8)]
    stub("src.multicropdataset", MultiCropDataset=lambda *_: crops)
    models = run.module("src.resnet50")
    models.tiny = lambda **more: models.ResNet(models.Bottleneck, [1] * 4, width_per_group=16, **more)
    argv = (
        "--arch tiny --batch_size 4 --nmb_prototypes 20 --warmup_epochs 0 --sync_bn none --hidden_mlp 32 --base_lr 1"
    )
    run.script("main_swav.py", f"{argv} --epochs 3")
    torch.distributed.destroy_process_group()
    rescale("checkpoint.pth.tar")
    run.script("main_swav.py", f"{argv} --epochs 4")
    assert run.scales[-1] == 64


@client(
    "ChenRocks/UNITER",
    "1dbfa62bb8ddb1f2b11d20775ce324c5e45a3ab4",
    stubs="horovod lmdb lz4 msgpack msgpack_numpy cytoolz tensorboardX",
    falls=False,
)
def uniter(run: Run) -> None:
    """pretrain.py, main: O2, a loss_id for each task, delay_unscale, enabled=, clipping, FusedLayerNorm."""
    stub("horovod.torch", size=lambda: 1, rank=lambda: 0, local_rank=lambda: 0)
    nothing = {"save_training_meta", "add_log_to_file", "validate", "ModelSaver", "TB_LOGGER"}
    pretrain = run.module("pretrain", **{name: MagicMock() for name in nothing})
    batch = {
        "input_ids": torch.randint(1, 50, (4, 6)),
        "position_ids": torch.arange(6)[None],
        "img_feat": torch.rand(4, 3, 2048),
        "img_pos_feat": torch.rand(4, 3, 7),
        "attn_masks": torch.ones(4, 9, dtype=torch.long),
        "gather_index": torch.arange(9).repeat(4, 1),
        "targets": torch.tensor([0, 1, 0, 1]),
        "txt_labels": torch.tensor([[-1, 3, -1, 5, -1, -1]] * 4),
    }
    Path("meta.json").write_text('{"bert": ""}')
    Path("config.json").write_text(BERT_CONFIG)
    pretrain.create_dataloaders = lambda *_: ({"mlm_a": ([batch] * 4, 1), "itm_a": ([batch] * 4, 1)}, None)
    pretrain.args = options(
        "gradient_accumulation_steps: 2, seed: 1, output_dir: ., num_train_steps: 8, train_datasets: [{db: [.]}], "
        "val_datasets: [], checkpoint: null, model_config: config.json, dropout: 0, optim: adamw, "
        "learning_rate: 0.01, betas: [0.9, 0.98], weight_decay: 0, fp16: true, "
        "train_batch_size: 4, itm_ot_lambda: 0, "
        "warmup_steps: 1, grad_norm: 2.0, valid_steps: 99"
    )
    pretrain.main(pretrain.args)
    assert len(run.losses) == 16 and scaler(0)._unskipped and scaler(1)._unskipped, "each task has its own scale"
    assert scaler(0)._unskipped + scaler(1)._unskipped <= 8, "every second loss is unscaled"


BERT_CONFIG = """{"vocab_size": 64, "vocab_size_or_config_json_file": 64, "hidden_size": 16, "num_hidden_layers": 1,
"num_attention_heads": 2, "intermediate_size": 32, "hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0,
"max_position_embeddings": 16, "type_vocab_size": 2, "initializer_range": 0.02, "hidden_act": "gelu"}"""


TXL = "PyTorch/LanguageModeling/Transformer-XL/pytorch"
TXL_EDITS = [("train.py", "f'cuda:{torch.cuda.current_device()}'", "'cpu'"), ("train.py", "    l2_promote()\n", "")]


@client(*DLE, TXL, "dllogger sacremoses", TXL_EDITS)
def transformer_xl(run: Run) -> None:
    """Transformer-XL train.py, the script: O1, register_half_function, delay_unscale, load_state_dict."""
    stub("pynvml")
    os.chdir(run.source)  # where it looks for its own files
    for split in ("train", "valid", "test"):
        Path(f"{split}.txt").write_text("the cat sat on the mat and the dog ran off\n" * 80)
    argv = (
        "--data . --dataset wt103 --fp16 --apex_amp_opt_level O1 --optim adam --lr 0.01 --batch_size 8 "
        "--batch_chunk 2 --n_layer 2 --n_head 2 --d_head 8 --d_model 16 --d_inner 32 --tgt_len "
        "8 --mem_len 8 --eval_tgt_len 8 "
        "--no_env --eval_batch_size 4 --eval_interval 4 --warmup_step 0 --affinity disabled "
        "--work_dir work --no_test "
        "--max_step"
    )
    run.script("train.py", f"{argv} 4")
    rescale("work/checkpoint_last.pt", "amp_state")
    run.script("train.py", f"{argv} 8 --restart work")
    assert run.scales[-1] == 64 and run.operators.seen["bmm", torch.float32] == 0, "each einsum in half precision"


@client(*DLE, "PyTorch/Translation/GNMT", "dllogger")
def gnmt(run: Run) -> None:
    """GNMT seq2seq/train, Seq2SeqTrainer: O2, cast_model_outputs, keep_batchnorm_fp32=False, loss_scalers[0] set."""
    trainer = run.module("seq2seq.train.trainer").Seq2SeqTrainer
    model = run.module("seq2seq.models.gnmt").GNMT(32, hidden_size=16, num_layers=2, dropout=0.0, batch_first=True)
    loss = run.module("seq2seq.train.smoothing").LabelSmoothing(0, 0.1)
    words = (torch.randint(4, 32, (4, 6)), torch.full((4,), 6))
    loader = MagicMock(batch_size=4, __len__=lambda _: 8, __iter__=lambda _: iter([(words, words)] * 8))
    scaling = {"init_scale": 1024, "upscale_interval": 4}
    more = {"math": "fp16", "loss_scaling": scaling, "iter_size": 2, "grad_clip": 5.0, "train_iterations": 4}
    trainer(model, loss, {"optimizer": "Adam", "lr": 0.01}, {"warmup_steps": 1}, **more).feed_data(loader)
    assert run.scales[0] == 1024 and run.scales[-1] == 2048, "doubled after as many steps as were asked for"


@client(*OLD_DLE, "PyTorch/LanguageModeling/BERT", "dllogger h5py boto3 botocore amp_C apex_C")
def bert(run: Run) -> None:
    """BERT run_pretraining.py, functions: O2, FusedLAMB, loss_scalers[0]._loss_scale set, masters restored."""
    from apex import amp

    program = run.module("run_pretraining")
    Path("config.json").write_text(BERT_CONFIG)
    words = torch.randint(1, 64, (4, 8))
    args = options(
        "config_file: config.json, resume_from_checkpoint: false, init_checkpoint: null, learning_rate: 0.02, "
        "warmup_proportion: 0.01, max_steps: 30, fp16: true, loss_scale: 0, local_rank: -1, n_gpu: 1, output_dir: ., "
        "resume_step: -1, phase2: false, allreduce_post_accumulation: false, gradient_accumulation_steps: 1"
    )
    for steps in (10, 20):
        model, optimizer, schedule, _, step = program.prepare_model_and_optimizer(args, torch.device("cpu"))
        while step < steps:
            loss = model(words, torch.zeros_like(words), torch.ones_like(words), words, torch.tensor([0, 1, 0, 1]))
            with amp.scale_loss(loss, optimizer, delay_overflow_check=args.allreduce_post_accumulation) as scaled:
                scaled.backward()
            schedule.step()
            step = program.take_optimizer_step(args, optimizer, model, None, step)
        saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**saved, "master params": list(amp.master_params(optimizer))}, f"ckpt_{step}.pt")
        args.resume_from_checkpoint = True
    assert run.scales[0] == 2.0**20


MASKRCNN_EDITS = [("maskrcnn_benchmark/utils/imports.py", "torch._six.PY3", "True")]


@client(*MASKRCNN, stubs="torchvision cv2 pycocotools cityscapesscripts", edits=MASKRCNN_EDITS)
def maskrcnn(run: Run, dtype: str = "float16") -> None:
    """tools/train_net.py, train; do_train, ROIAlign, nms: O1, float_function on a method and on a C++ function."""
    seen: list[torch.dtype] = []

    def roi_align(image: torch.Tensor, rois: torch.Tensor, *_: Any) -> torch.Tensor:
        seen.append(image.dtype)
        return nn.functional.adaptive_avg_pool2d(image, 2)[rois[:, 0].long()]

    def nms(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
        seen.append(scores.dtype)
        return scores.argsort(descending=True)

    def roi_align_backward(grad: torch.Tensor, rois: torch.Tensor, *sizes: Any) -> torch.Tensor:
        return grad.new_ones(sizes[-5:-1]) * grad.mean()

    sys.path.append(str(run.source / "tools"))
    stub("maskrcnn_benchmark.utils.model_zoo")
    stub("maskrcnn_benchmark._C", nms=nms, roi_align_forward=roi_align, roi_align_backward=roi_align_backward)
    layers = run.module("maskrcnn_benchmark.layers")

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.pool, self.score = nn.Conv2d(3, 8, 3), layers.ROIAlign((2, 2), 1.0, 2), nn.Linear(32, 1)

        def forward(self, batch: torch.Tensor, targets: Any = None) -> Any:
            scores = self.score(self.pool(self.body(batch), torch.tensor([[0.0, 0, 0, 9, 9]])).flatten(1))[:, 0]
            return {"objectness": (scores[layers.nms(torch.rand(1, 4), scores, 0.5)] - 1).square().mean()}

    data = [(torch.rand(2, 3, 16, 16), [torch.ones(1)] * 2, (0, 1))] * 8
    train_net = run.module(
        "train_net", build_detection_model=lambda _: Detector(), make_data_loader=lambda *_, **__: data
    )
    settings = f"MODEL.DEVICE cpu DTYPE {dtype} OUTPUT_DIR . SOLVER.BASE_LR 0.002 SOLVER.WARMUP_ITERS 1".split()
    train_net.cfg.merge_from_list(settings)
    train_net.train(train_net.cfg, 0, False)
    assert set(seen) == {torch.float32} and len(seen) == 16


@client(
    *MASKRCNN,
    stubs="torchvision cv2 pycocotools cityscapesscripts",
    edits=MASKRCNN_EDITS,
    name="maskrcnn_O0",
    half=False,
)
def maskrcnn_in_float32(run: Run) -> None:
    """The same with DTYPE float32: O0."""
    maskrcnn(run, "float32")


@client("open-mmlab/mmengine", "254342938d9bde1775c39ea7d5181c5d294026c4")
def mmengine(run: Run) -> None:
    """ApexOptimWrapper, BaseModel.train_step: O2, every keyword of initialize, state put back before initialize."""
    wrapper, base = run.module("mmengine.optim").ApexOptimWrapper, run.module("mmengine.model").BaseModel

    class Model(base):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, inputs: torch.Tensor, labels: torch.Tensor, mode: str) -> Any:
            return {"loss": nn.functional.cross_entropy(self.net(inputs), labels)}

    inputs, labels = next(iter(batches(1)))
    state: Any = None
    for _ in range(2):
        model = Model()
        optimizer = torch.optim.SGD(model.parameters(), 0.5)
        more = {"accumulative_counts": 2, "clip_grad": {"max_norm": 5.0}, "max_loss_scale": 2.0**10}
        wrapped = wrapper(optimizer=optimizer, opt_level="O2", **more)
        if state:
            wrapped.load_state_dict(state)
        for _ in range(8):
            model.train_step({"inputs": inputs, "labels": labels}, wrapped)
        state = wrapped.state_dict()
    assert scaler().loss_scale() == 2.0**10 and scaler()._unskipped == 16


@client("rwightman/pytorch-image-models", "899aa9420c60223cdd30ad345badec40c9021b0f", stubs="torchvision")
def timm(run: Run) -> None:
    """train_one_epoch, ApexScaler, CheckpointSaver, resume_checkpoint: O1, amp.__dict__, state_dict."""
    from apex import amp

    train = run.module("train")
    args = options(
        "mixup_off_epoch: 0, distributed: false, grad_accum_steps: 2, prefetcher: false, channels_last: false, "
        "clip_grad: 1.0, clip_mode: norm, synchronize_step: false, log_interval: 1, save_images: false, "
        "rank: 0, local_rank: 0, recovery_interval: 0, model: net"
    )
    model = net()
    model, optimizer = amp.initialize(model, torch.optim.SGD(model.parameters(), 0.1), opt_level="O1")
    task = run.module("timm.task").ClassificationTask(model, nn.CrossEntropyLoss())
    more = {"task": task, "device": torch.device("cpu"), "loss_scaler": train.utils.ApexScaler()}
    train.train_one_epoch(0, model, batches(8), optimizer, args, **more)
    scale = more["loss_scaler"]
    saver = train.utils.CheckpointSaver(
        model, optimizer, args, amp_scaler=scale, checkpoint_dir=".", recovery_dir="."
    )
    saver.save_checkpoint(0, 1.0)
    rescale("last.pth.tar")
    run.module("timm.models").resume_checkpoint(model, "last.pth.tar", optimizer, scale, weights_only=False)
    train.train_one_epoch(1, model, batches(8), optimizer, args, **more)
    assert run.scales[-1] == 64


STYLEGAN_EDITS = [("stylegan2_pytorch/stylegan2_pytorch.py", "assert torch.cuda.is_available()", "assert True")]


@client(
    "lucidrains/stylegan2-pytorch",
    "ce7f830bc10d037cddc75d6166904baf07945cf6",
    stubs="torchvision kornia vector_quantize_pytorch aim retry fire",
    edits=STYLEGAN_EDITS,
    falls=False,
)
def stylegan2(run: Run) -> None:
    """Trainer.train, save, load: O1, five models, two optimizers, num_losses=3, loss_id, gradient penalty."""

    def filter2d(x: torch.Tensor, kernel: torch.Tensor, normalized: bool) -> torch.Tensor:
        kernel = (kernel / kernel.sum()).to(x.dtype).expand(x.shape[1], 1, *kernel.shape[1:])
        return nn.functional.conv2d(x, kernel, padding=1, groups=x.shape[1])

    stub("kornia.filters", filter2d=filter2d)
    trainer = run.module("stylegan2_pytorch.stylegan2_pytorch").Trainer(
        "made_up", image_size=16, network_capacity=2, batch_size=2, fp16=True, aug_prob=0.0
    )
    trainer.loader, trainer.evaluate = iter(lambda: torch.rand(2, 3, 16, 16), None), MagicMock()
    while trainer.steps < 20:
        trainer.train()
    assert scaler(1)._unskipped and scaler(2)._unskipped and not scaler(0)._unskipped
    rescale(trainer.model_name(0))
    trainer.load(0)
    assert scaler()._loss_scale == 64


ROBUSTNESS_EDITS = [
    ("robustness/train.py", "pickle_module=dill", ""),
    ("robustness/attacker.py", "import dill\n", "from apex import amp\n"),  # which is missing there
]


@client(
    "MadryLab/robustness",
    "a9541241defd9972e9334bfcdb804f6aefe24dc7",
    stubs="torchvision cox dill pandas git",
    edits=ROBUSTNESS_EDITS,
)
def robustness(run: Run) -> None:
    """train_model, Attacker: initialize(model, optimizer, 'O1'), which is enabled='O1'; scale_loss(loss, [])."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: torch.Tensor, **_: bool) -> torch.Tensor:
            return self.net(x)

    train = run.module("robustness.train")
    statistics = Namespace(mean=torch.full((3,), 0.5), std=torch.full((3,), 0.3))
    model = run.module("robustness.attacker").AttackerModel(Net(), statistics)
    args = options(
        "epochs: 2, out_dir: ., adv_train: 0, adv_eval: 0, log_iters: 1, lr: 0.1, momentum: 0.9, weight_decay: 0.0, "
        "mixed_precision: 1, custom_lr_multiplier: null, step_lr: null, custom_eps_multiplier: null, "
        "save_ckpt_iters: -1"
    )
    train.train_model(args, model, (batches(6), batches(1)))
    noted, (image, label) = len(run.losses), next(iter(batches(1)))
    attack = {"constraint": "2", "eps": 1.0, "step_size": 0.5, "iterations": 3, "mixed_precision": True}
    _, adversarial = model(image, label, make_adv=True, **attack)
    assert adversarial.shape == image.shape and len(run.losses) == noted + 3
    del run.losses[noted:]


@client("facebookresearch/pytext", "19e62747e78a3f3893d9b57b68c02d217458d654")
def pytext(run: Run) -> None:
    """pytext/utils/precision.py: amp.init, wrap_optimizer, _deactivate; FP16_Optimizer, clip_master_grads."""
    precision = run.module("pytext.utils.precision")
    precision.cuda.CUDA_ENABLED = True
    image, label = next(iter(batches(1)))
    for whole_model in (False, True):
        model = net()
        model.SUPPORT_FP16_OPTIMIZER = whole_model
        precision.set_fp16(True)
        precision.activate(model)
        run.track(model)
        optimizer = precision.wrap_optimizer(torch.optim.SGD(model.parameters(), 0.1))
        for _ in range(9):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(precision.maybe_float(model(precision.maybe_half(image))), label)
            precision.backward(optimizer, loss)
            precision.clip_grad_norm(model, optimizer, 1.0)
            optimizer.step()
            run.losses.append(loss.item())
        assert run.losses[-1] < run.losses[-9]
        precision.deactivate(model)
        assert model(image).dtype == torch.float32


FAST_EDITS = [("models.py", "[2, 2, 2, 2]", "[1, 1, 1, 1]"), ("train.py", "else (10, 3)", "else (1, 1)")]
FAST_EDITS += [("models.py", old, old[0] + "8") for old in (" 64", " 128", " 256", " 512", "(512")]


@client(
    "tml-epfl/understanding-fast-adv-training",
    "ceed49440bfc35a676375b783eaba5940e583bcc",
    edits=FAST_EDITS,
    falls=False,
)
def fast_adv(run: Run) -> None:
    """train.py, main: O1, register_float_function, autograd.grad of a scaled loss, disable_casts."""
    stub("data", get_loaders=lambda *_, **__: batches(2), shapes_dict={"cifar10": (8, 3, 32, 32)})
    norms: list[torch.dtype] = []
    original = torch.batch_norm
    torch.batch_norm = lambda x, *args: norms.append(x.dtype) or original(x, *args)
    argv = "--half_prec --grad_align_cos_lambda 0.2 --epochs 2 --batch_size 4 --debug --lr_max 0.01"
    run.script("train.py", f"{argv} --attack_iters 1")
    assert set(norms) == {torch.float32}


@client(
    "NVIDIA/retinanet-examples", "65e63109bf5d12c9ad11b6f5bcdec12a117ee888", stubs="torchvision nvidia pycocotools"
)
def retinanet(run: Run) -> None:
    """odtk train, infer: O2, keep_batchnorm_fp32=True, loss_scale='128.0'; initialize(model, None) for inference."""
    stub("odtk._C")
    train = run.module("odtk.train", DataIterator=lambda *_, **__: batches(8))
    dtypes: set[torch.dtype] = set()

    class Model(nn.Module):
        stride = 1

        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, x: Any, rotated: bool = False) -> Any:
            if self.training:
                loss = nn.functional.cross_entropy(self.net(x[0]), x[1].long())
                return loss, loss * 0.1
            result = self.net(x)
            dtypes.add(result.dtype)
            return result, result, result

        def save(self, state: Any) -> None:
            assert {p.dtype for p in self.state_dict().values() if p.is_floating_point()} == {torch.float32}

    train.train(Model(), {}, *[None] * 4, 8, 8, 0, 4, 8, 99, 0.1, 0, [], 0.1, with_apex=True, use_dali=False)
    assert run.scales[0] == 128
    data = [(torch.rand(2, 3, 8, 8), torch.ones(1), torch.ones(1))]
    infer = run.module("odtk.infer", Model=Model, DataIterator=lambda *_, **__: data).infer
    more = {"with_apex": True, "use_dali": False, "annotations": "none", "is_master": False, "verbose": False}
    infer(Model(), ".", None, 8, 8, 2, **more)
    assert dtypes == {torch.float16}


@client("NVIDIA/waveglow", "8afb643df59265016af6bd255c7516309d675168", stubs="tacotron2 layers scipy")
def waveglow(run: Run) -> None:
    """inference.py, main: initialize(model, [], opt_level='O3'); train.py, train: O1, weight norm."""
    train = run.module("train", data_config={}, Mel2Samp=lambda: [(torch.rand(4, 8), torch.rand(2048) - 0.5)] * 8)
    shape = {"n_layers": 2, "n_channels": 16, "kernel_size": 3}
    config = {
        "n_mel_channels": 4,
        "n_flows": 3,
        "n_group": 8,
        "n_early_every": 2,
        "n_early_size": 2,
        "WN_config": shape,
    }
    train.waveglow_config = config
    torch.save({"model": train.WaveGlow(**config)}, "model.pt")
    torch.save(torch.rand(4, 8), "mel.pt")
    Path("files.txt").write_text("mel.pt\n")
    run.module("inference").main("files.txt", "model.pt", 1.0, ".", 22050, True, 0)
    assert run.operators.half(), "inference in half precision"
    train.train(1, 0, "", "out", 3, 1e-3, 1.0, 2000, 4, 1, True, "", False)


@client("layumi/University1652-Baseline", "de38d35199a43b9f6ffe595db84f196ec4c41b79", stubs="torchvision timm")
def university(run: Run) -> None:
    """train_model, three_view_net: O1, one network for two of three views, where apex itself raises IndexError."""
    from apex import amp

    class FtNet(nn.Module):
        def __init__(self, *_: Any, **__: Any) -> None:
            super().__init__()
            self.net = net(2048)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)[..., None, None]

    model = run.module("model", ft_net=FtNet).three_view_net(10, droprate=0.0, share_weight=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    model, optimizer = amp.initialize(model, optimizer, opt_level="O1")
    views = {name: batches(4) for name in ("satellite", "street", "drone", "google")}
    opt = options("batchsize: 4, warm_epoch: 0, views: 3, extra_Google: false, moving_avg: 1.0")
    names: dict[str, Any] = {"torch": torch, "time": time, "amp": amp, "opt": opt, "fp16": True, "start_epoch": 0}
    names.update(Variable=torch.autograd.Variable)
    names.update(dataset_sizes={"satellite": 16}, dataloaders=views, use_gpu=False, version=torch.__version__)
    text = (run.source / "train_no_street.py").read_text()  # a script; the function alone
    exec(text[text.index("def train_model") : text.index("# Draw Curve")], names, names)
    names.update(y_loss={"train": []}, y_err={"train": []})
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 80)
    names["train_model"](model, None, nn.CrossEntropyLoss(), optimizer, schedule, num_epochs=2)


@client("quanpn90/NMTGMinor", "144c377a45f3a726f48f3b18cb707518cba54974")
def nmtgminor(run: Run) -> None:
    """onmt/modules/swish.py, fast_silu: O1, half_function as decorator of a function around an autograd.Function."""
    from apex import amp

    seen: set[torch.dtype] = set()

    def backward(x: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        seen.add(x.dtype)
        return grad * torch.sigmoid(x) * (1 + x * (1 - torch.sigmoid(x)))

    stub("silu_cuda", forward=nn.functional.silu, backward=backward)
    fast_silu = run.module("onmt.modules.swish").fast_silu
    first, last = net(16), nn.Linear(16, 10)
    model = nn.Sequential(first, nn.LayerNorm(16), last)  # whose result is float32
    model, optimizer = amp.initialize(model, torch.optim.SGD(model.parameters(), 0.1), opt_level="O1")
    for image, label in batches(8):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(last(fast_silu(model[1](first(image)).float())), label)
        with amp.scale_loss(loss, optimizer) as scaled:
            scaled.backward()
        optimizer.step()
    assert seen == {torch.float16}


if __name__ == "__main__":
    sys.exit(main())
