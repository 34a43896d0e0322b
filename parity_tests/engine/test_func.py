"""``torch.func``：变换的值、结构、与外面的图的关系、异常的类型都与 torch 相同。"""

from __future__ import annotations

import functools
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, outcome, table

Case = Callable[[Any], Any]
Pair = namedtuple("Pair", ["a", "b"])


def _x(m: Any, *shape: int, grad: bool = False) -> Any:
    values = m.arange(1.0, 1.0 + functools.reduce(lambda a, b: a * b, shape, 1), dtype=m.float64).reshape(shape) / 4
    return values.requires_grad_(grad)


def _cube(x: Any) -> Any:
    return (x**3).sum()


def _tree(p: Any, k: Any) -> Any:
    return (p["a"] * p["b"][0] * k).sum() + p["b"][1].exp()


def _parts(m: Any) -> dict[str, Any]:
    return {"a": _x(m, 2), "b": [_x(m, 2), _x(m)]}


def _mixed(x: Any, y: Any) -> Any:
    return x * y, {"k": x.sum(), "l": [y.exp(), Pair(x**2, y)]}


def _double(x: Any) -> Any:
    return x**2


def _gradients(m: Any) -> Any:
    f, x, y = m.func, _x(m, 2), _x(m)
    third = f.grad(f.grad(f.grad(lambda t: t**5)))
    return [
        f.grad(_cube)(x),
        f.grad(lambda a, b: (a * b).sum(), argnums=(0, 1))(x, y),
        f.grad(lambda a, b: (a * b).sum(), argnums=-1)(x, x * 2),
        f.grad(lambda a, b: _cube(a), argnums=(1, 0))(x, x),
        f.grad(_tree)(_parts(m), 2),
        f.grad(lambda p: (p.a * p.b).sum())(Pair(x, x + 1))._asdict(),
        f.grad(lambda p: (p["u"] * 2).sum())(OrderedDict(u=x)),
        f.grad_and_value(_cube)(x),
        f.grad_and_value(lambda t: (_cube(t), {"y": t * 2}), has_aux=True)(x),
        f.grad(lambda t: (_cube(t), t * 2), has_aux=True)(x),
        f.grad(lambda t: m.tensor(2.0, dtype=m.float64))(x),
        f.grad(lambda t, *, k: (t * k).sum())(x, k=5),
        third(y + 1),
        f.grad(lambda t: t * f.grad(lambda u: t * u)(t))(y),
    ]


def _tracked(m: Any) -> Any:
    """结果是否还连着外面的图：输入在图上、捕获了叶子、``no_grad`` 之内。"""
    f, x, leaf = m.func, _x(m, 2), _x(m, 2, grad=True)
    quiet = m.no_grad()
    captured = f.grad(lambda t: (t**2 * leaf).sum())
    outputs = [
        f.grad(_cube)(leaf), captured(x), quiet(captured)(x), quiet(f.grad(_cube))(leaf),
        f.grad(lambda t: _cube(t) * float(t.requires_grad))(x),
        f.vjp(_double, leaf)[0], f.vjp(_double, leaf)[1](x)[0], f.vjp(_double, x)[0], f.vjp(_double, x)[1](leaf)[0],
        *f.jvp(_double, (leaf,), (x,)), *f.jvp(_double, (x,), (leaf,)), *f.jvp(_double, (x,), (x,)),
        f.jacrev(_double)(leaf), f.jacfwd(_double)(leaf), f.jacrev(_double)(x), f.jacfwd(_double)(x),
        f.hessian(_cube)(leaf), f.grad_and_value(lambda t: (t * leaf).sum())(x)[1],
    ]  # fmt: skip
    total = sum(t.sum() for t in outputs if t.requires_grad)
    return outputs, m.autograd.grad(total, leaf)


def _products(m: Any) -> Any:
    f, x, y = m.func, _x(m, 2), _x(m)
    one, back = f.vjp(_double, x)
    two, back_two = f.vjp(lambda a, b: (a * b, {"s": a.sum()}), x, y)
    three, back_three, aux = f.vjp(lambda t: (t**2, t * 3), x, has_aux=True)
    line, forward = f.linearize(lambda a, b: (a * b,), x, y)
    return [
        one, back(x), back(x * 2), two, back_two((x, {"s": y})), three, back_three(x), aux,
        f.jvp(_double, (x,), (x,)), f.jvp(lambda a, b: (a * b, {"b": a.sum()}), (x, x), (x, x * 2)),
        f.jvp(lambda t: (t**2, t * 3), (x,), (x,), has_aux=True), f.jvp(lambda t: m.ones(2), (x,), (x,)),
        f.jvp(lambda p: p["a"] * p["b"][0], (_parts(m),), (_parts(m),)), line, forward(x, y), forward(x * 2, y),
    ]  # fmt: skip


def _jacobians(m: Any) -> Any:
    f, x, y = m.func, _x(m, 2), _x(m)
    found = []
    for jac in (f.jacrev, f.jacfwd):
        found += [jac(_double)(x), jac(_mixed, argnums=(0, 1))(x, y), jac(_mixed, argnums=1)(x, y)]
        found += [jac(lambda t: (t**2,), argnums=(0,))(x), jac(lambda t: (t**2, t * 3), has_aux=True)(x)]
        found += [jac(lambda p: p["a"] * p["b"][0] * p["b"][1])(_parts(m)), jac(_cube)(_x(m, 2, 2))]
        found += [jac(lambda t: m.ones(2, dtype=m.float64))(x)]
    found += [f.hessian(_cube)(x), f.hessian(_double)(x), f.hessian(lambda a, b: (a**2 * b).sum(), (0, 1))(x, y)]
    return [*found, f.jacrev(_double, chunk_size=1)(x), f.jacfwd(_double, randomness="same")(x)]


def _batches(m: Any) -> Any:
    f, x, w = m.func, _x(m, 3, 2), _x(m, 2, grad=True)
    per_sample = f.vmap(f.grad(lambda p, t: (p * t).sum() ** 2), in_dims=(None, 0))
    return [
        f.vmap(lambda t: t.sum())(x), f.vmap(lambda t: t * 2, in_dims=1, out_dims=1)(x),
        f.vmap(lambda t: (t, {"s": t.sum()}), out_dims=(-1, 0))(x), f.vmap(m.dot)(x, x),
        f.vmap(m.dot, in_dims=(0, None))(x, w), f.vmap(lambda t, k: t * k, in_dims=(-1, None))(x, 3.0),
        f.vmap(lambda p: p["a"] + p["b"], in_dims=({"a": 0, "b": None},))({"a": x, "b": _x(m, 2)}),
        f.vmap(f.vmap(lambda t: t * 2))(x), per_sample(w, x), f.vmap(f.jacrev(_double))(x), f.jacrev(f.vmap(_cube))(x),
        f.vmap(lambda t, *, k: t * k)(x, k=_x(m, 2)), f.vmap(_double, chunk_size=2)(x), m.vmap(_cube)(x),
        m.autograd.grad(f.vmap(lambda t: (t * w).sum())(x).sum(), w), f.vmap(lambda t: t.sum())(m.ones(0, 4)).shape[0],
    ]  # fmt: skip


def _models(m: Any) -> Any:
    """逐模型、逐样本：``stack_module_state``、``functional_call`` 与 ``vmap`` 配合。"""
    f, models = m.func, []
    for i in range(2):
        model = m.nn.Linear(2, 1).double()
        with m.no_grad():
            for p in model.parameters():
                p.copy_(m.arange(p.numel(), dtype=m.float64).reshape(p.shape) + i)
        models.append(model)
    parameters, buffers = f.stack_module_state(models)
    x = _x(m, 3, 2)
    outputs = f.vmap(lambda p, b, t: f.functional_call(models[0], (p, b), (t,)), in_dims=(0, 0, None))(
        parameters, buffers, x
    )
    own = {name: p.detach() for name, p in models[0].named_parameters()}
    per_sample = f.vmap(f.grad(lambda p, t: f.functional_call(models[0], p, (t,)).sum() ** 2), in_dims=(None, 0))
    return parameters, buffers, outputs, per_sample(own, x), [p.grad for p in models[0].parameters()]


def _draws(m: Any) -> Any:
    """``randomness``：同样的抽样、各不相同的抽样，与生成器之后的状态。"""
    found = []
    for rule in ("same", "different"):
        m.manual_seed(0)
        drawn = m.func.vmap(lambda t: t + m.rand(()), randomness=rule)(m.zeros(4))
        found.append((len(set(drawn.tolist())), m.rand(1).item() == drawn[-1].item()))
    return found


CASES: dict[str, Case] = {
    f.__name__: f for f in (_gradients, _tracked, _products, _jacobians, _batches, _models, _draws)
}


def _x2(m: Any) -> Any:
    return _x(m, 2)


MISTAKES: dict[str, Case] = {
    "grad of a vector": lambda m: m.func.grad(_double)(_x2(m)),
    "grad of a number": lambda m: m.func.grad(lambda t: 3)(_x2(m)),
    "grad of integers": lambda m: m.func.grad(lambda t: t.sum())(m.ones(2, dtype=m.int64)),
    "grad of a float": lambda m: m.func.grad(_double)(3.0),
    "argnums too large": lambda m: m.func.grad(_cube, argnums=1)(_x2(m)),
    "argnums empty": lambda m: m.func.grad(_cube, argnums=())(_x2(m)),
    "argnums repeated": lambda m: m.func.grad(_cube, argnums=(0, 0))(_x2(m)),
    "argnums text": lambda m: m.func.grad(_cube, argnums="a")(_x2(m)),
    "number among the inputs": lambda m: m.func.grad(lambda p: p["a"].sum())({"a": _x2(m), "k": 3}),
    "aux missing": lambda m: m.func.grad(_cube, has_aux=True)(_x2(m)),
    "aux not tensors": lambda m: m.func.grad(lambda t: (_cube(t), 3), has_aux=True)(_x2(m)),
    "vjp of a number": lambda m: m.func.vjp(lambda t: 3, _x2(m)),
    "cotangents of another structure": lambda m: m.func.vjp(lambda t: (t,), _x2(m))[1](_x2(m)),
    "cotangents of another shape": lambda m: m.func.vjp(_double, _x2(m))[1](_x(m)),
    "jvp without a tuple": lambda m: m.func.jvp(_double, _x2(m), _x2(m)),
    "jvp structures": lambda m: m.func.jvp(_double, (_x2(m),), (_x2(m), _x2(m))),
    "jvp shapes": lambda m: m.func.jvp(_double, (_x2(m),), (_x(m),)),
    "jvp of nothing": lambda m: m.func.jvp(lambda: 1, (), ()),
    "jvp strict": lambda m: m.func.jvp(lambda t: m.ones(2), (_x2(m),), (_x2(m),), strict=True),
    "jacrev chunk": lambda m: m.func.jacrev(_double, chunk_size=0),
    "jacrev of a number": lambda m: m.func.jacrev(lambda t: 3)(_x2(m)),
    "jacfwd draws": lambda m: m.func.jacfwd(lambda t: t * m.rand(2))(_x2(m)),
    "jacfwd rule": lambda m: m.func.jacfwd(_double, randomness="maybe")(_x2(m)),
    "vmap draws": lambda m: m.func.vmap(lambda t: t + m.rand(()))(_x2(m)),
    "vmap rule": lambda m: m.func.vmap(_double, randomness="maybe")(_x2(m)),
    "vmap chunk": lambda m: m.func.vmap(_double, chunk_size=0),
    "vmap of nothing": lambda m: m.func.vmap(lambda: 1)(),
    "vmap over a float": lambda m: m.func.vmap(_double)(3.0),
    "vmap over a 0-d": lambda m: m.func.vmap(_double)(_x(m)),
    "vmap in_dims text": lambda m: m.func.vmap(_double, in_dims="a")(_x2(m)),
    "vmap in_dims float": lambda m: m.func.vmap(_double, in_dims=(0.5,))(_x2(m)),
    "vmap in_dims structure": lambda m: m.func.vmap(_double, in_dims=(0, 0))(_x2(m)),
    "vmap in_dims too large": lambda m: m.func.vmap(_double, in_dims=1)(_x2(m)),
    "vmap over nothing": lambda m: m.func.vmap(_double, in_dims=None)(_x2(m)),
    "vmap all shared": lambda m: m.func.vmap(_double, in_dims=(None,))(_x2(m)),
    "vmap sizes": lambda m: m.func.vmap(lambda a, b: a)(_x2(m), _x(m, 3)),
    "vmap returns a number": lambda m: m.func.vmap(lambda t: 3)(_x2(m)),
    "vmap out_dims structure": lambda m: m.func.vmap(_double, out_dims=(0, 1))(_x2(m)),
    "vmap out_dims text": lambda m: m.func.vmap(_double, out_dims="a")(_x2(m)),
    "vmap out_dims none": lambda m: m.func.vmap(_double, out_dims=None)(_x2(m)),
    "no models": lambda m: m.func.stack_module_state([]),
    "models of two classes": lambda m: m.func.stack_module_state([m.nn.Linear(1, 1), m.nn.Identity()]),
    "models in two modes": lambda m: m.func.stack_module_state([m.nn.Linear(1, 1), m.nn.Linear(1, 1).eval()]),
}


@pytest.mark.filterwarnings("ignore:Attempted to insert a get_attr Node")  # torch 的 linearize
@pytest.mark.parametrize("case", table(CASES | MISTAKES))
def test_transforms_differ_from_torch(case: Case) -> None:
    """变换的值、结构、要不要梯度，或异常的类型与 torch 不同。"""
    ours, theirs = (outcome(m, case) for m in ENGINES)
    assert ours == theirs


def test_functions_may_branch_on_data_inside_vmap() -> None:
    """循环的好处：函数里可以有依赖数据的分支；各样本的结果不同而只留一份时报错。"""
    x = tg.tensor([-1.0, 2.0])
    assert tg.func.vmap(lambda t: t * 2 if t > 0 else t)(x).tolist() == [-1.0, 4.0]
    with pytest.raises(ValueError, match="different Tensor per sample"):
        tg.func.vmap(lambda t: t * 2, out_dims=None)(x)
    with pytest.raises(NotImplementedError, match="evaluates the function once"):
        tg.func.jacfwd(lambda t: t, randomness="different")
