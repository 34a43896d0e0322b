"""钩子、``grad_fn``、``.grad`` 与 ``backward``/``grad`` 的参数：每一段程序在两个引擎上结果相同。"""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest

import tinygrad_llm as tg
from parity_tests.engine.function_cases import leaf
from parity_tests.engine.twins import ENGINES, outcome, table

Case = Callable[[Any], Any]


def _ones(m: Any, *shape: int, dtype: str = "float64") -> Any:
    return m.ones(shape, dtype=getattr(m, dtype))


# ---- 钩子


def _hook_returns(build: Callable[[Any], Any], where: str) -> Case:
    """张量的钩子返回 ``build(m)``；挂在叶子、中间结果，或是累加之后。"""

    def case(m: Any) -> Any:
        x = leaf(m, 1.0, 2.0)
        y = x * 2 if where == "interior" else x
        register = y.register_post_accumulate_grad_hook if where == "after" else y.register_hook
        register(lambda g: build(m))
        (y * 3).sum().backward()
        return x.grad

    return case


def _node_hook_returns(build: Callable[[Any], Any], method: str) -> Case:
    """节点的前后钩子返回 ``build(m)``。"""

    def case(m: Any) -> Any:
        x, w, seen = leaf(m, 1.0, 2.0), leaf(m, 3.0, 4.0), []

        def hook(*args: Any) -> Any:
            seen.append(args)
            return build(m)

        y = x * w
        getattr(y.grad_fn, method)(hook)
        y.sum().backward()
        return seen, x.grad, w.grad

    return case


def hooks_added_and_removed_while_running(m: Any) -> Any:
    """执行途中登记或摘下的钩子，下一趟才作数；登记两次就执行两次，摘一个剩一个。"""
    x, seen = leaf(m, 1.0), []

    def first(g: Any) -> None:
        seen.append("first")
        second_handle.remove()

    def second(g: Any) -> None:
        seen.append("second")
        x.register_hook(lambda g: seen.append("third"))

    x.register_hook(first)
    second_handle = x.register_hook(second)
    x.sum().backward()
    x.sum().backward()
    y, double = leaf(m, 1.0), lambda g: g * 2
    one, _ = y.register_hook(double), y.register_hook(double)
    y.sum().backward()
    one.remove()
    y.sum().backward()
    with y.register_hook(lambda g: g * 10):
        y.sum().backward()
    return seen, y.grad


def order_of_all_hooks(m: Any) -> Any:
    """张量的钩子、留下梯度、节点的前钩子、后钩子；叶子上还有累加前后的。"""
    x = leaf(m, 1.0)
    seen: list[Any] = []
    y = x * 2
    y.grad_fn.register_prehook(lambda g: seen.append(("before", y.grad.tolist())))
    y.register_hook(lambda g: seen.append("tensor"))
    y.grad_fn.register_hook(lambda gi, go: seen.append("after"))
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    accumulate = y.grad_fn.next_functions[0][0]
    accumulate.register_hook(lambda gi, go: seen.append(("leaf after", gi, go[0].tolist(), x.grad.tolist())))
    accumulate.register_prehook(lambda go: seen.append(("leaf before", go[0].tolist(), x.grad is None)))
    x.register_post_accumulate_grad_hook(lambda t: seen.append(("accumulated", t.grad.tolist())))
    x.register_hook(lambda g: seen.append("leaf tensor"))
    y.sum().backward()
    return seen, y.grad, x.grad


def hooks_and_autograd_grad(m: Any) -> Any:
    """``autograd.grad`` 只执行途经与所求之处的张量钩子；别的叶子上的、累加之后的都不执行。"""
    x, w, aside = leaf(m, 1.0), leaf(m, 2.0), leaf(m, 3.0) * 2
    seen: list[Any] = []
    y = x * w
    aside.register_hook(lambda g: seen.append("aside"))
    x.register_hook(lambda g: seen.append("x"))
    w.register_hook(lambda g: seen.append("w"))
    y.register_hook(lambda g: g * 5)
    x.register_post_accumulate_grad_hook(lambda t: seen.append("accumulated"))
    z = (y * aside).sum()
    found = [m.autograd.grad(z, targets, retain_graph=True) for targets in ([x], [y], [x, y])]
    return found, seen, x.grad


def retained_gradients(m: Any) -> Any:
    """两趟相加得到新的 Tensor；``create_graph`` 时连着图；就地改写之后留的是新的。"""
    x = leaf(m, 2.0)
    y = x * x
    y.retain_grad()
    y.sum().backward(retain_graph=True)
    first = y.grad
    y.sum().backward()
    z = x * 1
    z.retain_grad()
    z.mul_(3)
    (z * 5).sum().backward()
    w = x * x
    w.retain_grad()
    grads = m.autograd.grad((w * w).sum(), x, create_graph=True)
    x.retain_grad()
    return first, y.grad, z.grad, x.grad, w.grad, grads, x.retains_grad, w.retains_grad


def hooks_stay_with_the_old_node(m: Any) -> Any:
    """就地改写之后，先前的钩子看到的是改写之前的梯度。"""
    x, seen = leaf(m, 2.0), []
    y = x * 1
    y.register_hook(lambda g: seen.append(("before", g.item())))
    y.mul_(3)
    y.register_hook(lambda g: seen.append(("after", g.item())))
    (y * 5).sum().backward()
    return seen


def backward_inside_a_hook(m: Any) -> Any:
    """钩子里再反传别的图，或同一张图。"""
    x, w = leaf(m, 2.0), leaf(m, 3.0)
    y = x * x
    z = (x * 5).sum()

    def nested(g: Any) -> Any:
        with m.enable_grad():
            (w * w).sum().backward()
            (inner,) = m.autograd.grad(z, x, retain_graph=True)
        return g + inner

    y.register_hook(nested)
    (y * 3).sum().backward()
    return x.grad, w.grad, m.is_grad_enabled()


def a_hook_that_fails(m: Any) -> Any:
    """钩子抛出的异常原样传出；开关恢复，图还能再用。"""
    x, fails = leaf(m, 2.0), [True]
    y = x * x

    def fail(g: Any) -> None:
        if fails:
            raise ValueError("mine")

    y.register_hook(fail)
    with pytest.raises(ValueError, match="mine"):
        y.sum().backward(retain_graph=True)
    fails.clear()
    y.sum().backward()
    return x.grad, m.is_grad_enabled()


# ---- grad_fn


def grad_fn_api(m: Any) -> Any:
    """名字、来处、``metadata``、``AccumulateGrad``。"""
    x, c = leaf(m, 1.0), _ones(m, 1)
    y = x * c
    z = (y + x).exp()
    (adder, number), *_ = z.grad_fn.next_functions
    (times, _), (accumulate, _) = adder.next_functions
    z.grad_fn.metadata["k"] = 1
    return (
        [t.grad_fn.name() for t in (y, z)], number, len(z.grad_fn.next_functions), times.name(), times is y.grad_fn,
        y.grad_fn.next_functions[1], accumulate.name(), accumulate.variable is x, accumulate.next_functions,
        accumulate == y.grad_fn.next_functions[0][0], len({accumulate, y.grad_fn.next_functions[0][0]}),
        z.grad_fn.metadata, y.grad_fn.metadata, isinstance(z.grad_fn, m.autograd.graph.Node), x.grad_fn,
        (x.output_nr, z.output_nr), (z.is_leaf, x.is_leaf, c.is_leaf),
    )  # fmt: skip


def detached_in_place(m: Any) -> Any:
    """``detach_`` 之后成为叶子。"""
    x = leaf(m, 1.0)
    y = x * 2
    z = y.detach_()
    return z is y, y.requires_grad, y.is_leaf, y.grad_fn, x.detach_().requires_grad


def deepcopy_and_grad(m: Any) -> Any:
    """深拷贝带走 ``.grad``，不共用内存。"""
    x = leaf(m, 1.0)
    (x * 2).sum().backward()
    twin = copy.deepcopy(x)
    twin.grad.add_(1)
    return x.grad, twin.grad, twin.requires_grad


# ---- .grad


def _assigned(build: Callable[[Any], Any], target: Callable[[Any], Any] = lambda m: leaf(m, 1.0, 2.0)) -> Case:
    def case(m: Any) -> Any:
        x, value = target(m), build(m)
        x.grad = value
        return x.grad is value, x.grad

    return case


def _its_own_grad(m: Any) -> Any:
    x = leaf(m, 1.0)
    x.grad = x


def identity_of_grad(m: Any) -> Any:
    """再次累加写进原来的 ``.grad``；``create_graph`` 时另造一个；不与别人共用内存。"""
    x, given, same = leaf(m, 1.0, 2.0), _ones(m, 2), []
    x.backward(given)
    same.append(x.grad is given)
    kept = x.grad
    (x * x).sum().backward()
    same.append(x.grad is kept)
    (g,) = m.autograd.grad((x * x).sum(), x, create_graph=True)
    x.grad = g
    g.sum().backward()
    same.append(x.grad is g)
    x.grad.mul_(2) if not x.grad.requires_grad else None
    del x.grad
    x.data.add_(1)
    (x * x).sum().backward()
    return same, given, kept, x.grad


# ---- 参数


def _call(run: Callable[[Any, Any], Any]) -> Case:
    """``run(m, x)``，``x`` 是两个数的叶子；返回值与 ``x.grad``。"""

    def case(m: Any) -> Any:
        x = leaf(m, 1.0, 2.0)
        return run(m, x), x.grad

    return case


def interior_inputs(m: Any) -> Any:
    """``backward(inputs=…)`` 里的中间结果此后留着 ``.grad``。"""
    x = leaf(m, 1.0)
    y = x * 2
    (y * 3).sum().backward(inputs=[y], retain_graph=True)
    (y * 3).sum().backward(inputs=(y,))
    return y.grad, y.retains_grad, x.grad


def several_outputs(m: Any) -> Any:
    """几个输出各有各的梯度，有的省略。"""
    x = leaf(m, 1.0, 2.0)
    y, z = x * 2, (x * x).sum()
    m.autograd.backward([y, z], [_ones(m, 2) * 3, None], retain_graph=True)
    found = m.autograd.grad([y, z, x], [x, y], [_ones(m, 2), None, _ones(m, 2)], materialize_grads=True)
    return x.grad, found


def gradients_of_gradients(m: Any) -> Any:
    """``grad_outputs`` 自己也可导。"""
    x, v = leaf(m, 1.0, 2.0), leaf(m, 3.0, 4.0)
    (g,) = m.autograd.grad(x * x, x, v, create_graph=True)
    return m.autograd.grad(g.sum(), [v, x])


def extreme_values(m: Any) -> Any:
    """0 维、没有元素、NaN 与无穷大。"""
    scalar, empty = m.tensor(2.0, requires_grad=True), m.zeros(0, 3, requires_grad=True)
    (scalar**2).backward()
    (empty.exp().sum() * scalar.detach()).backward()
    x = leaf(m, 0.0, float("inf"), float("nan"))
    (g,) = m.autograd.grad(x.log().sum(), x)
    return scalar.grad, empty.grad.shape == empty.shape, [str(v) for v in g.tolist()]


PROGRAMS = (
    hooks_added_and_removed_while_running, order_of_all_hooks, hooks_and_autograd_grad, retained_gradients,
    hooks_stay_with_the_old_node, backward_inside_a_hook, a_hook_that_fails, grad_fn_api, detached_in_place,
    deepcopy_and_grad, identity_of_grad, interior_inputs, several_outputs, gradients_of_gradients, extreme_values,
)  # fmt: skip
RETURNS: dict[str, Callable[[Any], Any]] = {
    "a number": lambda m: 3,
    "another shape": lambda m: _ones(m, 3),
    "a broadcast shape": lambda m: _ones(m, 1),
    "another dtype": lambda m: _ones(m, 2, dtype="float32"),
    "a tuple": lambda m: (_ones(m, 2),),
    "a pair": lambda m: (_ones(m, 2), _ones(m, 2)),
    "half a pair": lambda m: (_ones(m, 2), None),
    "a list": lambda m: [_ones(m, 2)],
    "a tensor": lambda m: _ones(m, 2),
    "nothing": lambda m: None,
}
CASES: dict[str, Case] = {
    **{f.__name__: f for f in PROGRAMS},
    **{f"hook {w} {name}": _hook_returns(r, w) for name, r in RETURNS.items() for w in ("leaf", "interior", "after")},
    **{f"{h} {n}": _node_hook_returns(r, h) for n, r in RETURNS.items() for h in ("register_hook", "register_prehook")},
    "hook without grad": lambda m: m.ones(2).register_hook(lambda g: g),
    "hook after without grad": lambda m: m.ones(2).register_post_accumulate_grad_hook(lambda g: g),
    "hook after interior": lambda m: (leaf(m, 1.0) * 2).register_post_accumulate_grad_hook(lambda g: g),
    "retain without grad": lambda m: m.ones(2).retain_grad(),
    "detach_ of a view": lambda m: (leaf(m, 1.0, 2.0) * 2)[:1].detach_(),
    "requires_grad = 1": lambda m: setattr(leaf(m, 1.0), "requires_grad", 1),
    "requires_grad_ of integers": lambda m: m.ones(1, dtype=m.int64).requires_grad_(),
    "requires_grad_ of interior": lambda m: (leaf(m, 1.0) * 2).requires_grad_(False),
    "requires_grad_ chains": lambda m: (leaf(m, 1.0) * 2).requires_grad_().detach().requires_grad_(True),
    "grad = 3": _assigned(lambda m: 3),
    "grad = tensor": _assigned(lambda m: _ones(m, 2)),
    "grad = None": _assigned(lambda m: None),
    "grad of another shape": _assigned(lambda m: _ones(m, 3)),
    "grad of another dtype": _assigned(lambda m: m.ones(2)),
    "grad of integers": _assigned(lambda m: m.ones(2, dtype=m.int64)),
    "grad of a constant": _assigned(lambda m: m.ones(2), lambda m: m.zeros(2)),
    "grad of an interior": _assigned(lambda m: _ones(m, 2), lambda m: leaf(m, 1.0, 2.0) * 2),
    "grad of itself": _its_own_grad,
    "implicit grad of a vector": _call(lambda m, x: (x * 2).backward()),
    "backward of a constant": _call(lambda m, x: m.ones(1).backward()),
    "backward of integers": _call(lambda m, x: m.ones(1, dtype=m.int64).backward()),
    "gradient of another shape": _call(lambda m, x: (x * 2).backward(_ones(m, 3))),
    "gradient to broadcast": _call(lambda m, x: (x * 2).backward(_ones(m, 1))),
    "gradient of another dtype": _call(lambda m, x: (x * 2).backward(m.ones(2))),
    "gradient a number": _call(lambda m, x: x.sum().backward(2.0)),
    "gradients a number": _call(lambda m, x: m.autograd.backward([x.sum()], [2.0])),
    "backward of a leaf": _call(lambda m, x: x.backward(_ones(m, 2))),
    "too few gradients": _call(lambda m, x: m.autograd.backward([x.sum(), x.sum()], [None])),
    "too many gradients": _call(lambda m, x: m.autograd.backward([x.sum()], [None, None])),
    "no outputs": _call(lambda m, x: m.autograd.backward([])),
    "one output is a constant": _call(lambda m, x: m.autograd.backward([x.sum(), m.ones(1)])),
    "inputs empty": _call(lambda m, x: x.sum().backward(inputs=[])),
    "inputs without grad": _call(lambda m, x: x.sum().backward(inputs=[m.ones(2)])),
    "inputs a dict": _call(lambda m, x: x.sum().backward(inputs={"a": x})),
    "inputs another mapping": _call(lambda m, x: x.sum().backward(inputs=MappingProxyType({"a": x}))),
    "inputs elsewhere": _call(lambda m, x: x.sum().backward(inputs=[leaf(m, 1.0)])),
    "both names": _call(lambda m, x: m.autograd.backward([x], [_ones(m, 2)], None, False, [_ones(m, 2)])),
    "grad of nothing": _call(lambda m, x: m.autograd.grad(x.sum(), [])),
    "grad unused": _call(lambda m, x: m.autograd.grad(x.sum(), [x, leaf(m, 1.0)])),
    "grad unused allowed": _call(lambda m, x: m.autograd.grad(x.sum(), [x, leaf(m, 1.0)], allow_unused=True)),
    "grad unused zero": _call(lambda m, x: m.autograd.grad(x.sum(), [x, leaf(m, 1.0)], materialize_grads=True)),
    "grad zero not allowed": _call(
        lambda m, x: m.autograd.grad(x.sum(), x, materialize_grads=True, allow_unused=False)
    ),
    "grad dict": _call(lambda m, x: m.autograd.grad(x.sum(), {"a": x})),
    "grad without grad": _call(lambda m, x: m.autograd.grad(x.sum(), m.ones(2))),
    "grad twice": _call(lambda m, x: m.autograd.grad([x.sum(), x.sum()], [x, x])),
    "grad of itself wrt itself": _call(lambda m, x: m.autograd.grad(x, x, _ones(m, 2))),
    "grad more grad_outputs": _call(lambda m, x: m.autograd.grad(x.sum(), x, [None, None])),
    "grad with a number": _call(lambda m, x: m.autograd.grad(x.sum(), 3)),
    "grad no outputs": _call(lambda m, x: m.autograd.grad([], x, allow_unused=True)),
    "variable": _call(lambda m, x: (m.autograd.Variable(x), m.autograd.Variable(x * 2, requires_grad=True))),
    "variable of a number": _call(lambda m, x: m.autograd.Variable(3)),
    "variable instances": _call(lambda m, x: [isinstance(v, m.autograd.Variable) for v in (x, 3)]),
}


@pytest.mark.filterwarnings("ignore:`grad_variables` is deprecated:FutureWarning")
@pytest.mark.parametrize("case", table(CASES))
def test_the_autograd_interface_differs_from_torch(case: Case) -> None:
    """结果、执行的次序、要不要梯度或异常的类型与 torch 不同。"""
    ours, theirs = (outcome(m, case) for m in ENGINES)
    assert ours == theirs


@pytest.mark.parametrize("m", ENGINES, ids=["tinygrad_llm", "torch"])
def test_old_names_do_not_warn(m: Any) -> None:
    """``grad_variables``、``only_inputs`` 已弃用，用了却没有警告。"""
    x = leaf(m, 1.0, 2.0)
    with pytest.warns(FutureWarning, match="grad_variables"):
        m.autograd.backward([x * 2], grad_variables=[_ones(m, 2)])
    with pytest.warns(FutureWarning, match="only_inputs"):
        m.autograd.grad(x.sum(), x, only_inputs=False)


def test_a_batch_of_gradients_is_accepted() -> None:
    """一次反传只走一个向量，却收下了一批。"""
    x = leaf(tg, 1.0, 2.0)
    with pytest.raises(NotImplementedError, match="call grad once per vector"):
        tg.autograd.grad(x * 2, x, tg.eye(2, dtype=tg.float64), is_grads_batched=True)
