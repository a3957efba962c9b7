"""kit bench: a result counts only where it is right, and what cannot be timed is said; no test depends on times."""

import json
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest
from conftest import ROOT

import kit
from kit import benchmark
from kit.__main__ import main
from kit.benchmark import cases, contenders, results, timing
from kit.benchmark.cases import Case
from kit.benchmark.contenders import Contender
from kit.verify_child import reference

torch = pytest.importorskip("torch")

FAST = (1, 0.001)  # rounds, and seconds of a contender in each


@pytest.fixture(scope="module")
def ran():
    """A run of every operation on small inputs."""
    with pytest.MonkeyPatch.context() as patch:
        hurry(patch)
        return benchmark.bench("cpu", sizes=[300], features=[1, 3], threads=1)


def hurry(patch):
    patch.setattr(benchmark, "_FULL", FAST)
    patch.setattr(benchmark, "_QUICK", FAST)
    patch.setattr(benchmark, "_COPY_SECONDS", 0.01)
    patch.setattr(timing, "cache_bytes", lambda kind: 1000)


@pytest.fixture
def fast(monkeypatch):
    """Contenders in place of those that are installed."""
    hurry(monkeypatch)

    def bench(offered, **options):
        found = [(Contender(name, "timed", "1"), calls) for name, calls in offered.items()]
        monkeypatch.setattr(contenders, "find", lambda device: found)
        return benchmark.bench(
            "cpu", **{"quick": True, "operations": "scatter-sum", "sizes": [40], "features": [2], **options}
        )

    return bench


def case(kind="scatter", reduce="sum", backward=True, rows=60, features=3, groups=20, index="uniform"):
    return Case(kind, reduce, backward, rows, features, groups, index)


def given_for(case):
    given = cases.inputs(case, "cpu")
    given.slope = cases.slope(case, given)
    return given


# -- values first


def in_python(case, given):
    """(result, gradient) with Python's own numbers, one after the other."""
    columns, x, index = case.features, given.source.double(), given.index.tolist()
    if case.reduce == "softmax":
        result, gradient = torch.zeros_like(x), torch.zeros_like(x)
        for group, column in {(group, column) for group in index for column in range(columns)}:
            rows = [row for row, own in enumerate(index) if own == group]
            powers = [math.exp(x[row, column]) for row in rows]
            shares = [power / sum(powers) for power in powers]
            steep = sum(share * given.slope[row, column] for row, share in zip(rows, shares))
            for row, share in zip(rows, shares):
                result[row, column] = share
                gradient[row, column] = share * (given.slope[row, column] - steep)
        return result, gradient
    values, _, shares = reference(case.reduce, x.reshape(-1).tolist(), [index], case.groups, columns)
    gradient = [0.0] * x.numel()
    for slope, members in zip(given.slope.reshape(-1).tolist(), shares):
        for at, share in members:
            gradient[at] += slope * share
    shape = given.source.shape[1:]
    return torch.tensor(values).reshape(-1, *shape), torch.tensor(gradient).reshape(x.shape)


@pytest.mark.parametrize("operation", cases.OPERATIONS)
def test_what_python_computes_is_right_and_one_other_number_is_not(operation):
    kind, reduce = operation.split("-")
    tried = case(kind, reduce, index="sorted")
    given = given_for(tried)
    assert len(set(given.index.tolist())) < tried.groups, "a group is empty"
    result, gradient = in_python(tried, given)
    assert cases.wrong(tried, given, result, gradient) == ""
    assert cases.wrong(tried, given, result, None) == ""
    for changed in (0, result.numel() - 1):
        other = result.clone().reshape(-1)
        other[changed] += 1e-3
        said = cases.wrong(tried, given, other.reshape(result.shape), gradient)
        assert said.startswith(f"1 of {result.numel()} values are wrong, by up to 0.001"), said
    other = gradient.clone()
    other[3, 1] += 1e-3
    assert " gradients are wrong, by up to 0.001" in cases.wrong(tried, given, result, other)
    nan = torch.full_like(result, math.nan)
    assert f"{result.numel()} of {result.numel()} values are wrong" in cases.wrong(tried, given, nan, gradient)


def test_of_equal_greatest_numbers_any_may_get_the_gradient():
    tried = case("scatter", "max", rows=4, features=1, groups=1)
    source, index = torch.tensor([1.0, 3.0, 3.0, 2.0]), torch.zeros(4, dtype=torch.int64)
    given = cases.Inputs(source, index, index)
    given.slope = torch.tensor([2.0])
    for right in ([0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 1.0, 1.0, 0.0]):
        assert cases.wrong(tried, given, torch.tensor([3.0]), torch.tensor(right)) == ""
    for off in ([0.0, 2.0, 2.0, 0.0], [2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]):
        assert "gradients are wrong" in cases.wrong(tried, given, torch.tensor([3.0]), torch.tensor(off))


def test_a_result_on_another_device_is_none():
    tried = case(backward=False)
    result = torch.zeros(20, 3, device="meta")
    assert cases.wrong(tried, given_for(tried), result, None) == "it computed on meta, not on cpu"


def right(source, index, groups):
    return source.new_zeros(groups, *source.shape[1:]).index_add(0, index, source)


def lost(source, index, groups):
    return right(source[:-1], index[:-1], groups)


def detached(source, index, groups):
    return right(source * 2, index, groups) - right(source, index, groups).detach()


def raises(source, index, groups):
    raise NotImplementedError("no kernel\nand more advice")


@pytest.mark.parametrize(
    ("call", "why", "both"),
    [
        (lost, "values are wrong", True),
        (detached, "gradients are wrong", False),
        (lambda *given: right(*given)[:-1], "shape", True),
        (raises, "NotImplementedError: no kernel", True),
    ],
)
def test_a_wrong_result_has_no_time(fast, call, why, both):
    shown = fast({"torch": {"scatter-sum": right}, "other": {"scatter-sum": call}})
    assert shown.rows and not shown.healthy
    for row in shown.rows:
        good, bad = row.results
        assert good.seconds and good.fraction and not good.why
        if both or row.case.backward:
            assert (bad.seconds, bad.low, bad.high, bad.fraction) == (None, None, None, None)
            assert why in bad.why
            assert row.speed("other", "torch") is None
        else:
            assert bad.seconds
    text = repr(shown)
    assert "NO TIME (1)" in text and why in " ".join(text.split())
    assert why in shown._repr_mimebundle_()["text/html"]


# -- what is measured


@pytest.mark.parametrize(
    ("options", "moved"),
    [
        ({"backward": False}, 10 * 2 * 4 + 10 * 8 + 5 * 2 * 4),
        ({}, (10 * 2 * 4 + 10 * 8 + 5 * 2 * 4) + (5 * 2 * 4 + 10 * 8 + 10 * 2 * 4)),
        ({"kind": "segment", "reduce": "max", "backward": False}, 10 * 2 * 4 + 6 * 8 + 5 * 2 * 4),
        ({"reduce": "softmax", "backward": False}, 10 * 2 * 4 + 10 * 8 + 10 * 2 * 4),
        ({"reduce": "softmax"}, (80 + 80 + 80) + (80 + 80 + 80 + 80)),
    ],
)
def test_bytes_that_must_move(options, moved):
    assert cases.bytes_moved(case(rows=10, features=2, groups=5, **options)) == moved


def test_sizes_of_groups_follow_the_power_law():
    """The maximum-likelihood estimate of Clauset, Shalizi and Newman for the tail."""

    def exponent(index, least):
        sizes = torch.bincount(index).double()
        tail = sizes[sizes >= least]
        return 1 + len(tail) / float((tail / (least - 0.5)).log().sum())

    generator = torch.Generator().manual_seed(0)
    index = cases.power_law(10**6, 10**5, generator)
    assert index.shape == (10**6,) and int(index.min()) >= 0 and int(index.max()) < 10**5
    assert exponent(index, 20) == pytest.approx(cases.EXPONENT, abs=0.1)
    assert exponent(torch.randint(10**5, (10**6,), generator=generator), 20) > 10
    hubs = torch.bincount(index).topk(100).indices.double()
    assert 0.3e5 < float(hubs.mean()) < 0.7e5, "hubs lie anywhere"


def test_inputs_are_the_same_in_every_run_and_as_they_are_called():
    for kind, index in [("scatter", "sorted"), ("segment", "sorted"), ("segment", "power-law")]:
        tried = case(kind, index=index)
        given, again = given_for(tried), given_for(tried)
        assert torch.equal(given.source, again.source) and torch.equal(given.places, again.places)
        assert (given.index.diff() >= 0).all()
    sizes = torch.bincount(given.index, minlength=20)
    assert torch.equal(given.places.diff(), sizes) and given.places[0] == 0
    assert (given_for(case()).index.diff() < 0).any()
    assert given_for(case(features=1)).source.shape == (60,)


def test_no_cache_holds_the_inputs_that_come_next():
    tried = case(rows=1000)
    turns = timing.copies(tried, given_for(tried), cache=10**5)
    assert len({turn.source.data_ptr() for turn in turns}) == len(turns)
    assert len({turn.places.data_ptr() for turn in turns}) == len(turns)
    assert sum(turn.source.nbytes + turn.index.nbytes for turn in turns) >= 2 * 10**5
    assert len(timing.copies(tried, given_for(tried), cache=1)) == 2
    seen = []
    run = timing.step(case(rows=1000, backward=False), lambda source, *_: seen.append(source.data_ptr()), turns, None)
    for _ in range(2 * len(turns)):
        run()
    assert len(set(seen)) == len(turns) and seen[: len(turns)] == seen[len(turns) :]


def test_contenders_take_turns():
    turns = []
    steps = {name: lambda name=name: turns.append(name) for name in ("a", "b")}
    seconds = timing.interleaved(steps, "cpu", 1, rounds=4, least=1e-5)
    order = [name for i, name in enumerate(turns) if i == 0 or turns[i - 1] != name]
    assert order == ["a", "b", "a", "b", "a"], "every other round begins with the one that was last"
    assert all(len(taken) >= 4 for taken in seconds.values())


def test_the_median_and_its_quartiles():
    assert timing.middle([5.0, 1.0, 2.0, 4.0, 3.0]) == (3.0, 2.0, 4.0)
    assert timing.middle([7.0]) == (7.0, 7.0, 7.0)


def test_others_that_compute_are_noticed(monkeypatch):
    readings = iter([(100, 1000), (130, 1100), (100, 1000), (120, 1100), (0, 0), (0, 0)])
    monkeypatch.setattr(timing, "_spent", lambda: next(readings))
    assert [timing.busy() for _ in range(3)] == [True, False, False]


# -- who is timed


def test_every_contender_computes_every_operation_rightly(ran):
    assert [name for name in ran.timed if name != "pyg-lib"][-2:] == ["shim", "torch"]
    for row in ran.rows:
        assert not [result for result in row.results if result.why]
        assert [result.contender for result in row.results] == list(ran.timed)
    assert {row.case.operation for row in ran.rows} == set(cases.OPERATIONS)
    assert {row.case.index for row in ran.rows} == {"uniform", "sorted", "power-law"}
    assert {row.case.groups for row in ran.rows} == {1, 75}


def test_the_compiled_one_is_really_compiled():
    if pytest.importorskip("torch_scatter").__version__.endswith("+kit"):
        pytest.skip("the kit's own stands in for torch_scatter here")
    (found, offered), *_ = contenders.find("cpu")
    assert (found.name, found.state) == ("torch_scatter", "timed")
    assert found.library.startswith("torch_scatter/_") and found.cuda is not None
    assert set(offered) == set(cases.OPERATIONS)


def test_a_torch_scatter_without_a_compiled_library_is_not_timed_as_one(tmp_path, monkeypatch):
    package = tmp_path / "torch_scatter"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '2.1.2+other'\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch_scatter"]:
        monkeypatch.delitem(sys.modules, name)
    found, offered = contenders._compiled("cpu")
    assert (found.state, found.version, offered) == ("unusable", "2.1.2+other", {})
    assert "has loaded no compiled library" in found.why


def test_the_shim_in_place_of_torch_scatter_is_not_timed_as_compiled():
    with kit.shims.enabled("torch_scatter", cover=True):
        found, offered = contenders._compiled("cpu")
    assert (found.state, found.why, offered) == ("absent", "the kit's own stands in its place", {})


def test_a_torch_scatter_that_does_not_load_says_why(tmp_path, monkeypatch):
    (tmp_path / "torch_scatter.py").write_text("raise OSError('undefined symbol: _ZN3c10\\nmore')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch_scatter"]:
        monkeypatch.delitem(sys.modules, name)
    found, offered = contenders._compiled("cpu")
    assert (found.state, found.why, offered) == (
        "unusable",
        "it cannot be imported: OSError: undefined symbol: _ZN3c10",
        {},
    )


def test_pyg_lib_is_timed_from_the_version_on_that_has_the_operators(monkeypatch):
    shim = contenders._load("kit.shims.torch_scatter")[0]
    pyg_lib = SimpleNamespace(__version__="0.9.0", ops=shim, cuda_version=lambda: -1)
    monkeypatch.setattr(contenders, "_load", lambda name: (pyg_lib, ""))
    monkeypatch.setattr(contenders, "_library", lambda module: "pyg_lib/libpyg.so")
    found, offered = contenders._pyg("cpu")
    assert (found.state, found.version, set(offered)) == ("timed", "0.9.0", set(cases.OPERATIONS))
    assert contenders._pyg("cuda")[0].state == "unusable"
    pyg_lib.ops = SimpleNamespace(segment_matmul=None)
    found, offered = contenders._pyg("cpu")
    assert (found.state, found.why, offered) == ("absent", "0.9.0 has no scatter and no segment_csr", {})


def test_an_extension_without_cuda_is_not_timed_on_a_gpu():
    compiled = Contender("torch_scatter", "timed", "2.1.2", "torch_scatter/_scatter_cpu.so", cuda=False)
    found, offered = contenders._on("cuda", compiled, torch)
    assert found.state == "unusable" and not offered
    assert "built without CUDA, so it computes on the CPU alone" in found.why
    assert contenders._on("cpu", compiled, torch)[0] == compiled


@pytest.fixture
def gpu_that_torch_cannot_use(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(benchmark.host, "gpus", lambda: ([{"name": "NVIDIA L4"}], None))


@pytest.mark.parametrize("device", [None, "cuda"])
def test_a_cpu_build_on_a_gpu_machine_times_nothing(gpu_that_torch_cannot_use, device):
    with pytest.raises(kit.KitError, match=r"is a CPU build, and this machine has NVIDIA L4: a GPU cannot be timed"):
        benchmark.bench(device)


def test_a_cpu_that_is_asked_for_is_timed_beside_a_gpu(gpu_that_torch_cannot_use, fast):
    shown = fast({"torch": {"scatter-sum": right}})
    assert "the CPU was timed, as asked; this machine has NVIDIA L4" in shown.notes


def test_a_gpu_that_is_asked_for_and_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(benchmark.host, "gpus", lambda: ([], None))
    with pytest.raises(kit.KitError, match=r"sees no GPU: a GPU cannot be timed"):
        benchmark.bench("cuda")


# -- what is left out


def test_what_memory_does_not_hold_is_left_out(fast, monkeypatch):
    monkeypatch.setattr(timing, "free_memory", lambda kind: 10**5)
    shown = fast({"torch": {"scatter-sum": right}}, sizes="40,1e6")
    assert {row.case.rows for row in shown.rows} == {40}
    assert shown.left_out == ("1000000 rows of 2: about 0.2 GB of memory are needed, 0.0 are free",)


def test_what_time_does_not_allow_is_left_out(fast):
    shown = fast({"torch": {"scatter-sum": right}}, seconds=1e-6)
    assert not shown.rows
    assert shown.left_out == ("4 of 4 cases, since the time was up",)
    assert "left out: 4 of 4 cases" in repr(shown)


def test_progress_names_each_case_and_the_time_left(fast):
    from kit import show

    ticks = []
    shown = fast({"torch": {"scatter-sum": right}}, progress=ticks.append)
    assert [tick.done for tick in ticks] == list(range(len(shown.rows) + 1))
    assert show.tick_text(ticks[0]).startswith("[1/1] timing scatter-sum of 40 x 2, about ")
    assert " left, 0 of 4 cases, 0:0" in show.tick_text(ticks[0])


def test_threads_are_as_before(fast):
    before = torch.get_num_threads()
    assert fast({"torch": {"scatter-sum": right}}, threads=before + 1).threads == before + 1
    assert torch.get_num_threads() == before


# -- what is shown


def test_as_json_and_back(ran):
    data = json.loads(json.dumps(ran.to_dict()))
    assert data["schema"] == 1 and data["date"] and data["versions"]["torch"] == torch.__version__
    assert benchmark.Bench.from_dict(data, "x") == ran
    for broken in ([], {}, {**data, "schema": 2}, {**data, "more": 1}, {**data, "rows": 3}):
        with pytest.raises(kit.KitError, match=r"^x"):
            benchmark.Bench.from_dict(broken, "x")


def test_text_and_html_tell_every_case(ran):
    bundle = ran._repr_mimebundle_()
    text, html = bundle["text/plain"], bundle["text/html"]
    assert text == repr(ran)
    lines = text.splitlines()
    for operation in cases.OPERATIONS:
        told = [line for line in lines if line.split()[:1] == [operation]]
        assert len(told) == sum(row.case.operation == operation for row in ran.rows)
        assert html.count(f">{operation}<") == len(told)
    assert "300 x 3 > 75 power-law, gradient" in text
    assert f"Speed relative to {ran.baseline}" in text
    assert ran.device in lines[0] and torch.__version__ in lines[0]


def made(**speeds):
    """A run in which the contenders take seconds that are given, in one case forward and one backward."""
    rows = tuple(
        results.Row(
            case(backward=backward),
            1000,
            tuple(results.Result(name, s, s * 0.9, s * 1.1, 1e-6 / s) for name, s in speeds.items()),
        )
        for backward in (False, True)
    )
    found = tuple(Contender(name, "timed", "1") for name in speeds)
    versions = {"python": "3.11.7", "torch": "2.13.0"}
    return results.Bench("a CPU", "cpu", 2, "2026-01-01", versions, False, 5, 0.1, 1e9, found, rows)


def test_charts_say_what_they_show():
    shown = made(torch_scatter=2e-5, shim=1e-5, torch=8e-5)
    speed, roofline = shown.chart(), shown.chart("roofline")
    assert speed.png.startswith(b"\x89PNG") and roofline.png.startswith(b"\x89PNG")
    assert speed.words == (
        "Speed relative to torch_scatter on a CPU, by operation and number of rows; geometric means of all: "
        "shim 2 times as fast forward, shim 2 times as fast with gradient, torch 0.25 times as fast forward, "
        "torch 0.25 times as fast with gradient."
    )
    assert roofline.words == (
        "Fraction of a copy's bandwidth on a CPU, over the bytes that each case must move: "
        "torch_scatter up to 5%, shim up to 10%, torch up to 1%."
    )
    assert made(torch=1e-5, shim=1e-5).chart().words.startswith("Speed relative to torch on")
    with pytest.raises(kit.KitError, match="no chart is called 'pie'"):
        shown.chart("pie")


def test_two_runs_side_by_side():
    here, there = made(torch_scatter=2e-5, shim=1e-5), made(torch_scatter=8e-5, shim=1e-5)
    shown = benchmark.compare(here, there)
    last = shown.rows[-1]
    assert (last.contender, last.backward, last.cases) == ("shim", True, 1)
    assert (last.here, last.there, last.seconds) == pytest.approx((2, 8, 1))
    assert "shim           with gradient  1      2x    8x     1x" in repr(shown)
    assert "<td" in shown._repr_mimebundle_()["text/html"]
    other = benchmark.compare(here, made(torch=1e-5))
    assert not other.rows and "no case in common" in repr(other)


def test_recorded_runs_can_be_read():
    for name in benchmark.names():
        shown = benchmark.recorded(name)
        assert shown.rows and shown.baseline == "torch_scatter"
        untimed = {result.contender for row in shown.rows for result in row.results if result.seconds is None}
        assert untimed <= {"torch"}, "torch's own gradient is shared out among equal ones, which is another"
    with pytest.raises(kit.KitError, match="no recorded run is called 'no-such-run'"):
        benchmark.recorded("no-such-run")


@pytest.mark.slow
def test_the_notebook(tmp_path):
    from test_notebooks import run
    from test_notebooks import shown as shown_in

    text = shown_in(
        run(ROOT / "notebooks" / "04_time_scatter.ipynb", tmp_path, sizes="2000", operations="segment-max")
    )
    assert "segment-max  2000 x 16 > 500 sorted, gradient" in text and "scatter-max" not in text
    assert "No module named 'torch_scatter'" in text
    assert "{'version': '2.1.2+kit', 'learned': True}" in text and "learned: True" in text
    assert "applied: repaired and verified, 1 step" in text


# -- the command


def test_the_command_writes_what_it_shows(tmp_path):
    command = [sys.executable, "-m", "kit", "bench", "--device", "cpu", "--quick", "--operations", "scatter-max"]
    command += ["--sizes", "50", "--features", "2", "--threads", "1", "-o", str(tmp_path / "out"), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    assert data == json.loads((tmp_path / "out" / "scatter.json").read_text())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["roofline.png", "scatter.json", "speed.png"]
    assert {row["case"]["reduce"] for row in data["rows"]} == {"max"} and data["threads"] == 1


def test_what_is_wrong_is_found(monkeypatch, capsys):
    wrong = made(torch=1e-5)
    row = results.Row(case(), 1, (results.Result("torch", why="3 of 4 values are wrong"),))
    found = results.Bench(**{**vars(wrong), "rows": (row,)})
    monkeypatch.setattr(benchmark, "bench", lambda *_, **__: found)
    assert main(["bench"]) == 1
    assert "torch, scatter-sum 60 x 3 > 20 uniform, gradient: 3 of 4 values are wrong" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device", "tpu"], "device: 'tpu' is neither cpu nor cuda"),
        (["--operations", "gather"], "no operation is called 'gather'; there are scatter-sum, "),
        (["--sizes", "many"], "sizes: 'many' is not a whole number from 1 to 1000000000"),
        (["--sizes", "0"], "sizes: '0' is not"),
        (["--sizes", "1.5"], "sizes: '1.5' is not"),
        (["--features", "1e9"], "features: '1e9' is not a whole number from 1 to 4096"),
        (["--threads", "0"], "threads: 0 is not from 1 to 1024"),
        (["--threads", "two"], "invalid int value: 'two'"),
        (["--seconds", "0"], "seconds: 0 is not more than 0"),
        (["--seconds", "nan"], "seconds: nan is not more than 0"),
    ],
)
def test_bad_arguments(arguments, said, capsys):
    assert main(["bench", *(["--device", "cpu"] if "--device" not in arguments else []), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and said in err and err.count("\n") == 1


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(kit.KitError, match="cannot be written: "):
        made(torch=1e-5).save(str(tmp_path / "file"))


def test_operations_by_kind_and_by_reduction():
    assert cases.operations("max") == ("scatter-max", "segment-max")
    assert cases.operations(["segment"]) == ("segment-sum", "segment-mean", "segment-min", "segment-max")
    assert cases.operations(None) == cases.operations("") == cases.OPERATIONS
    assert cases.numbers("1e5, 100", "sizes", 10**9) == (100, 10**5)
    assert cases.numbers(None, "sizes", 10**9) == ()
