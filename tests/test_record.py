"""kit/record.py: a record is what ``@dataclass(frozen=True)`` makes, in everything that can be observed."""

import copy
import dataclasses
import inspect
import pickle
from dataclasses import dataclass, field
from typing import Optional

import pytest

import kit
from kit.findings import Fix
from kit.record import Record


class Engine(Record):
    """As a record."""

    name: str
    valves: Optional[int] = None
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if self.name == "":
            raise ValueError("an engine has a name")


Ours = Engine


@dataclass(frozen=True)
class Engine:
    """As the standard library makes it."""

    name: str
    valves: Optional[int] = None
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if self.name == "":
            raise ValueError("an engine has a name")


BOTH = pytest.mark.parametrize("kind", [Ours, Engine], ids=["record", "dataclass"])


class Plain(Record):
    """All of it can be hashed, and pickle finds it by its name."""

    name: str
    parts: tuple[str, ...] = ()


@BOTH
def test_it_is_made_as_a_dataclass_is(kind):
    assert str(inspect.signature(kind)) == str(inspect.signature(Engine))
    one, other = kind("a"), kind(name="a", valves=None, notes={})
    assert one == other and one.notes is not other.notes
    for wrong in (
        lambda: kind(),
        lambda: kind("a", colour="red"),
        lambda: kind("a", 1, {}, 2),
        lambda: kind("a", name="a"),
    ):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(ValueError, match="has a name"):
        kind("")


@BOTH
def test_it_is_shown_as_a_dataclass_is(kind):
    assert repr(kind("a", 4, {"b": "c"})) == "Engine(name='a', valves=4, notes={'b': 'c'})"


@BOTH
def test_it_does_not_change(kind):
    engine = kind("a")
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'name'"):
        engine.name = "b"
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'colour'"):
        engine.colour = "red"
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot delete field 'name'"):
        del engine.name
    assert engine == kind("a")


@BOTH
def test_it_is_equal_to_its_like_alone(kind):
    engine = kind("a", 4)
    assert engine == kind("a", 4) and engine != kind("a", 5)
    assert engine != Ours("a", 4) or kind is Ours
    assert engine != Engine("a", 4) or kind is Engine
    assert engine != ("a", 4, {}) and engine != "a" and engine is not None


@BOTH
def test_it_is_hashed_by_its_values(kind):
    with pytest.raises(TypeError, match="unhashable type: 'dict'"):
        hash(kind("a"))
    assert hash(kind("a", 4, ())) == hash(("a", 4, ()))
    assert len({kind("a", 4, ()), kind("a", 4, ()), kind("b", 4, ())}) == 2


@BOTH
def test_the_standard_librarys_functions_take_it(kind):
    engine = kind("a", 4, {"b": "c"})
    assert dataclasses.is_dataclass(kind)
    assert [(f.name, f.type) for f in dataclasses.fields(engine)] == [
        (f.name, f.type) for f in dataclasses.fields(Engine)
    ]
    assert dataclasses.asdict(engine) == {"name": "a", "valves": 4, "notes": {"b": "c"}} == vars(engine)
    assert dataclasses.replace(engine, valves=5) == kind("a", 5, {"b": "c"})
    assert getattr(kind, "__match_args__", None) == getattr(Engine, "__match_args__", None)
    with pytest.raises(ValueError, match="has a name"):
        dataclasses.replace(engine, name="")


@pytest.mark.parametrize("kind", [copy.copy, copy.deepcopy, lambda record: pickle.loads(pickle.dumps(record))])
def test_a_copy_is_equal(kind):
    for record in (Plain("a", ("b",)), kit.machine("torch-broken"), Fix("nothing", "It works.", env={"A": "b"})):
        twin = kind(record)
        assert twin == record and type(twin) is type(record)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(twin, next(iter(vars(twin))), None)


def test_a_method_of_its_own_is_kept():
    class Shown(Plain):
        def __repr__(self):
            return "shown"

    assert repr(Shown("a")) == "shown" and Shown("a") == Shown("a") != Plain("a")
