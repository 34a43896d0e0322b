"""容器：下标、切片、增删、拼接、遍历、打印与报错都与 torch 相同。"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest

from parity_tests.engine.twins import both, same, same_error, table, values


def _kinds(modules: Any) -> list[str]:
    return [type(module).__name__ for module in modules]


def _look(container: Any) -> Any:
    """看得见的一切：长度、种类、名字、打印。"""
    return len(container), _kinds(container), [name for name, _ in container.named_children()], repr(container)


def _sequential(m: Any) -> Any:
    return m.nn.Sequential(m.nn.Linear(2, 3), m.nn.ReLU(), m.nn.Linear(3, 2))


def _module_list(m: Any) -> Any:
    return m.nn.ModuleList([m.nn.Tanh(), m.nn.ReLU(), m.nn.ReLU()])


CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "append": lambda m, c: c.append(m.nn.Tanh()),
    "extend": lambda m, c: c.extend([m.nn.Tanh(), m.nn.GELU()]),
    "extend by itself": lambda m, c: c.extend(list(c)),
    "insert first": lambda m, c: c.insert(0, m.nn.Tanh()),
    "insert last": lambda m, c: c.insert(3, m.nn.Tanh()),
    "set": lambda m, c: c.__setitem__(-2, m.nn.Tanh()),
    "set index like": lambda m, c: c.__setitem__(m.tensor(1), m.nn.GELU()),
    "delete": lambda m, c: c.__delitem__(1),
    "delete from the end": lambda m, c: c.__delitem__(-1),
    "delete a slice": lambda m, c: c.__delitem__(slice(0, 2)),
    "pop": lambda m, c: _kinds([c.pop(0)]),
    "pop a slice": lambda m, c: _kinds(c.pop(slice(1, None))),
    "slice": lambda m, c: (_look(c[1:]), _look(c[::-1]), _look(c[5:])),
    "index": lambda m, c: _kinds([c[0], c[-1], c[m.tensor(1)]]),
    "deepcopy": lambda m, c: _look(copy.deepcopy(c)),
}  # fmt: skip


@pytest.mark.parametrize("build", [_sequential, _module_list], ids=["Sequential", "ModuleList"])
@pytest.mark.parametrize("change", table(CHANGES))
def test_lists_of_modules_change_as_in_torch(build: Callable[[Any], Any], change: Callable[[Any, Any], Any]) -> None:
    """增删改查之后，长度、次序、名字或打印与 torch 不同。"""

    def run(m: Any) -> Any:
        container = build(m)
        result = change(m, container)
        return ("itself" if result is container else result), _look(container)

    same(run)


SUMS: dict[str, Callable[[Any], Any]] = {
    "sequential + sequential": lambda m: _sequential(m) + _sequential(m),
    "sequential * 2": lambda m: _sequential(m) * 2,
    "3 * sequential": lambda m: 3 * _sequential(m),
    "module list + list": lambda m: _module_list(m).__add__([m.nn.GELU()]),
    "named": lambda m: m.nn.Sequential(OrderedDict(x=m.nn.ReLU(), y=m.nn.Tanh()))[:1],
    "empty": lambda m: m.nn.Sequential(),
    "empty list": lambda m: m.nn.ModuleList(),
    "runs": lambda m: m.nn.ModuleList([_sequential(m), _sequential(m), m.nn.ReLU()]),
}  # fmt: skip


@pytest.mark.parametrize("build", table(SUMS))
def test_sums_of_modules_equal_torchs(build: Callable[[Any], Any]) -> None:
    """相加、相乘、命名的写法，或连续几个相同的层的打印与 torch 不同。"""
    same(lambda m: _look(build(m)))


def test_growing_in_place_keeps_the_container() -> None:
    """``+=`` 或 ``*=`` 换掉了容器，或共用的层重复登记了参数。"""

    def run(m: Any) -> Any:
        one, two, three = _sequential(m), _sequential(m), _module_list(m)
        kept = one, two, three
        one += _sequential(m)
        two *= 2
        three += [m.nn.GELU()]
        assert all(a is b for a, b in zip(kept, (one, two, three), strict=True))
        return _look(one), _look(two), _look(three), len(list(two.parameters())), list(two.state_dict())

    same(run)


def test_sequential_runs_its_modules_in_order() -> None:
    """前向的次序错了，或空的 Sequential 改变了输入。"""

    def run(m: Any) -> Any:
        x = m.tensor(values(0, 3))
        return m.nn.Sequential(m.nn.Tanh(), m.nn.ReLU())(x), m.nn.Sequential()(x)

    same(run)


def test_module_dict_behaves_as_in_torch() -> None:
    """ModuleDict 的增删改查、遍历、更新的各种写法或打印与 torch 不同。"""

    def run(m: Any) -> Any:
        nn = m.nn
        d = nn.ModuleDict({"b": nn.ReLU(), "a": nn.Linear(1, 1)})
        d["c"] = nn.Tanh()
        d.update([("e", nn.GELU()), ("b", nn.SiLU())])
        d.update(nn.ModuleDict(OrderedDict(f=nn.Mish())))
        seen = [
            list(d),
            list(d.keys()),
            _kinds(d.values()),
            [k for k, _ in d.items()],
            "a" in d,
            "z" in d,
            len(d),
            repr(d),
        ]
        popped = type(d.pop("c")).__name__
        del d["e"]
        left = list(d), list(d.state_dict())
        d.clear()
        return seen, popped, left, len(d), repr(d), repr(nn.ModuleDict())

    same(run)


def test_parameter_list_behaves_as_in_torch() -> None:
    """ParameterList 没有登记参数，或它的增改、切片、打印与 torch 不同。"""

    def run(m: Any) -> Any:
        p = m.nn.ParameterList([m.nn.Parameter(m.ones(2, 3)), m.zeros(2)])
        p.append(m.full((1,), 5.0)).extend([7, m.nn.Parameter(m.zeros(()), requires_grad=False)])
        p += (m.ones(1),)
        p[-1] = m.full((2,), 3.0)
        names = [n for n, _ in p.named_parameters()]
        return len(p), names, list(p.state_dict()), repr(p), p[0], p[3], list(p[1:3]), type(p[1:3]).__name__, p[-1]

    same(run)


def test_parameter_dict_behaves_as_in_torch() -> None:
    """ParameterDict 没有登记参数，或它的增删改查、合并与 torch 不同。"""

    def run(m: Any) -> Any:
        nn = m.nn
        d = nn.ParameterDict({"b": m.ones(2), "a": nn.Parameter(m.zeros(1))})
        d["c"] = m.full((1,), 2.0)
        d.update([("e", 5)])
        d.update(OrderedDict(g=m.ones(1), f=m.ones(2)))
        seen = [list(d), list(reversed(d)), list(d.keys()), len(d), "a" in d, [n for n, _ in d.named_parameters()]]
        found = d.get("z"), d.get("z", 3), d.get("e"), d.setdefault("b", m.zeros(9)), d.setdefault("h"), d.pop("e")
        last = d.popitem()
        del d["f"]
        merged = d | {"z": m.ones(1)}, d.copy()
        d |= nn.ParameterDict({"w": m.ones(1)})
        fresh = d.fromkeys(["p", "q"], m.ones(1))
        return (
            seen, found, last, [list(x) for x in merged], list(d), list(fresh), type(d["w"]).__name__,
            [type(v).__name__ for v in d.values()], [k for k, _ in d.items()], (d.clear(), len(d)),
        )  # fmt: skip

    same(run)


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "list index": lambda m: _module_list(m)[3],
    "list negative index": lambda m: _module_list(m)[-4],
    "list index of text": lambda m: _module_list(m)["0"],
    "list of a number": lambda m: m.nn.ModuleList(3),
    "list append of a number": lambda m: _module_list(m).append(3),
    "list set beyond": lambda m: _module_list(m).__setitem__(3, m.nn.ReLU()),
    "list call": lambda m: _module_list(m)(m.ones(1)),
    "sequential index": lambda m: _sequential(m)[3],
    "sequential insert beyond": lambda m: _sequential(m).insert(5, m.nn.ReLU()),
    "sequential insert of a number": lambda m: _sequential(m).insert(0, 3),
    "sequential + list": lambda m: _sequential(m).__add__([m.nn.ReLU()]),
    "sequential * 0": lambda m: _sequential(m) * 0,
    "sequential * text": lambda m: _sequential(m) * "2",
    "sequential of a dict": lambda m: m.nn.Sequential({"a": m.nn.ReLU()}),
    "dict key": lambda m: m.nn.ModuleDict()["a"],
    "dict of a number": lambda m: m.nn.ModuleDict(3),
    "dict of numbers": lambda m: m.nn.ModuleDict([3]),
    "dict of triples": lambda m: m.nn.ModuleDict([("a", m.nn.ReLU(), 1)]),
    "dict value": lambda m: m.nn.ModuleDict({"a": 1}),
    "parameter list index": lambda m: m.nn.ParameterList()[0],
    "parameter list of a tensor": lambda m: m.nn.ParameterList(m.ones(2)),
    "parameter list call": lambda m: m.nn.ParameterList()(),
    "parameter dict key": lambda m: m.nn.ParameterDict()["a"],
    "parameter dict number": lambda m: m.nn.ParameterDict().__setitem__(1, m.ones(1)),
    "parameter dict call": lambda m: m.nn.ParameterDict()(1),
    "parameter dict pop of nothing": lambda m: m.nn.ParameterDict().popitem(),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any], Any]) -> None:
    """用错的容器不报错，或报了 torch 不会报的那一类。"""
    same_error(mistake)


def test_printing_nests_as_in_torch() -> None:
    """一层套一层的打印、缩进与 torch 不同。"""

    def run(m: Any) -> str:
        nn = m.nn
        inner = nn.ModuleDict({"a": nn.ModuleList([_sequential(m), _sequential(m)]), "b": nn.Sequential()})
        return repr(nn.Sequential(inner, nn.Linear(1, 1), nn.ModuleList([nn.ParameterList([m.ones(1)])])))

    ours, theirs = both(run)
    assert ours == theirs
