"""``utils.checkpoint`` 与 ``saved_tensors_hooks``：梯度、次数、随机数与异常同 torch；内存确实省下来了。"""

from __future__ import annotations

import contextlib
import gc
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch.utils.checkpoint  # noqa: F401  之后才有 torch.utils.checkpoint

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, outcome, table

Case = Callable[[Any], Any]
checkpoints = {m: m.utils.checkpoint for m in ENGINES}


def _leaf(m: Any, *values: float) -> Any:
    return m.tensor(list(values), dtype=m.float64, requires_grad=True)


class _Counted:
    """数一数被调用了几次。"""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.calls = function, 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.function(*args, **kwargs)


def _body(x: Any, w: Any) -> Any:
    return ((x * w).tanh() * x).exp() * w


def _plain_gradients(reentrant: bool) -> Case:
    """一层、两层相连、同一层用两次；函数被调用几次。"""

    def case(m: Any) -> Any:
        x, w, f = _leaf(m, 0.5, 1.5), _leaf(m, 0.3, 0.7), _Counted(_body)
        run = checkpoints[m].checkpoint
        y = run(f, x, w, use_reentrant=reentrant)
        z = run(f, y, w, use_reentrant=reentrant) + run(f, x, y, use_reentrant=reentrant)
        before = f.calls
        z.sum().backward()
        return x.grad, w.grad, z, before, f.calls

    return case


def _outputs(reentrant: bool) -> Case:
    """几个输出、不是 Tensor 的输入与输出、不需要梯度的输入。"""

    def case(m: Any) -> Any:
        x, c = _leaf(m, 0.5, 1.5), m.ones(2, dtype=m.float64)

        def function(x: Any, k: float, text: str, c: Any) -> Any:
            return x.exp() * k, (x * c).sum(), text, None

        a, b, text, nothing = checkpoints[m].checkpoint(function, x, 3.0, "t", c, use_reentrant=reentrant)
        (a.sum() * b).backward()
        return x.grad, c.grad, text, nothing, a.requires_grad

    return case


def _dropout(reentrant: bool, preserve: bool) -> Case:
    """丢弃的掩码：重算时与前向相同；反传前后，外面的随机数列不受影响。"""

    def case(m: Any) -> Any:
        m.manual_seed(0)
        x = m.ones(50, dtype=m.float64, requires_grad=True)
        function = m.nn.functional.dropout
        y = checkpoints[m].checkpoint(
            lambda t: function(t, 0.5) * t, x, use_reentrant=reentrant, preserve_rng_state=preserve
        )
        kept = y.detach() != 0
        y.sum().backward()
        after = m.rand(1).item()
        m.manual_seed(0)
        m.nn.functional.dropout(m.ones(50, dtype=m.float64), 0.5)
        return bool(((x.grad != 0) == kept).all()), after == m.rand(1).item()

    return case


def _second_order(m: Any) -> Any:
    """不可重入的一种可以求二阶导，可以用 ``grad`` 与 ``inputs``，可以再反传一次。"""
    x, w, f = _leaf(m, 0.5, 1.5), _leaf(m, 0.3, 0.7), _Counted(_body)
    y = checkpoints[m].checkpoint(f, x, w, use_reentrant=False).sum()
    (g,) = m.autograd.grad(y, x, create_graph=True)
    (h,) = m.autograd.grad(g.sum(), w, retain_graph=True)
    y.backward(inputs=[w], retain_graph=True)
    y.backward()
    return g, h, x.grad, w.grad


def _no_input_needs_grad(m: Any) -> Any:
    """输入都不需要梯度，函数捕获的权重需要；关键字参数。"""
    x, w = m.ones(2, dtype=m.float64), _leaf(m, 0.3, 0.7)
    y = checkpoints[m].checkpoint(lambda t, *, k: (t * w * k).exp(), x, k=2.0, use_reentrant=False)
    y.sum().backward()
    return w.grad, x.grad


def _nested(reentrant: bool) -> Case:
    """三层相套。"""

    def case(m: Any) -> Any:
        run = checkpoints[m].checkpoint
        inner, middle, outer = _Counted(lambda t: t.exp().sin()), _Counted(lambda t: t), _Counted(lambda t: t)
        middle.function = lambda t: run(inner, t * 2, use_reentrant=reentrant).cos() * t
        outer.function = lambda t: run(middle, t.tanh(), use_reentrant=reentrant).exp()
        x = _leaf(m, 0.5, 1.5)
        run(outer, x, use_reentrant=reentrant).sum().backward()
        return x.grad, inner.calls, middle.calls, outer.calls

    return case


def _backward_inside(m: Any) -> Any:
    """函数里面自己求了一次梯度。"""

    def function(x: Any) -> Any:
        y = (x * 2).sin()
        (g,) = m.autograd.grad(y.exp().sum(), x, retain_graph=True)
        return y * x.cos() * g

    x = _leaf(m, 0.5, 1.5)
    checkpoints[m].checkpoint(function, x, use_reentrant=False).sum().backward()
    return x.grad


def _early_stop(m: Any) -> Any:
    """需要的都算出来之后，后面的不再执行；可以关掉。"""
    found = []
    for stop in (True, False):
        seen: list[str] = []

        def function(x: Any, seen: list[str] = seen) -> Any:
            y = x.exp()
            seen.append("exp")
            y = y + 1
            seen.append("add")
            return y

        x = _leaf(m, 0.5)
        checkpoints[m].checkpoint(function, x, use_reentrant=False, early_stop=stop).sum().backward()
        with checkpoints[m].set_checkpoint_early_stop(stop):
            y = checkpoints[m].checkpoint(function, x, use_reentrant=False)
        y.sum().backward()
        found.append(seen)
    return found


def _contexts(m: Any) -> Any:
    """前向与重算各自的环境。"""
    seen: list[str] = []

    @contextlib.contextmanager
    def noted(name: str) -> Any:
        seen.append(f"enter {name}")
        yield
        seen.append(f"leave {name}")

    x = _leaf(m, 0.5)
    y = checkpoints[m].checkpoint(
        lambda t: t.exp() + 1, x, use_reentrant=False, early_stop=False,
        context_fn=lambda: (noted("forward"), noted("again")),
    )  # fmt: skip
    y.sum().backward()
    return seen, x.grad


def _sequential(reentrant: bool) -> Case:
    """分段的 ``nn.Sequential`` 与普通的函数列表。"""

    def case(m: Any) -> Any:
        x, calls = _leaf(m, 0.5, 1.5), [_Counted(lambda t, i=i: (t * (i + 1)).tanh()) for i in range(5)]
        run = checkpoints[m].checkpoint_sequential
        (run(calls, 2, x, use_reentrant=reentrant) * run(calls[:3], 3, x, use_reentrant=reentrant)).sum().backward()
        model = m.nn.Sequential(m.nn.Tanh(), m.nn.Sigmoid(), m.nn.Tanh())
        run(model, 2, x, use_reentrant=reentrant, preserve_rng_state=False).sum().backward()
        return x.grad, [c.calls for c in calls]

    return case


def _changes(how: str) -> Case:
    """重算与前向对不上：多了、少了、形状变了。"""

    def case(m: Any) -> Any:
        calls: list[int] = []

        def function(x: Any) -> Any:
            calls.append(1)
            again = len(calls) > 1
            if how == "shape":
                return (x[:1] if again else x).exp().sum() * x.sum()
            y = x.exp()
            return y if again == (how == "fewer") else y.sin().exp()

        x = _leaf(m, 0.5, 1.5)
        y = checkpoints[m].checkpoint(function, x, use_reentrant=False, early_stop=False)
        with pytest.raises(checkpoints[m].CheckpointError):
            y.sum().backward()

    return case


def _input_written(m: Any) -> Any:
    """前向之后输入被就地改写：重算不能用新的值。"""
    x = m.ones(2, dtype=m.float64)
    w = _leaf(m, 0.3, 0.7)
    y = checkpoints[m].checkpoint(lambda t: (t * w).exp(), x, use_reentrant=False)
    x.add_(1)
    y.sum().backward()


def _run(*args: Any, reentrant: Any = False, **kwargs: Any) -> Case:
    return lambda m: checkpoints[m].checkpoint(lambda t: t.exp(), *args, use_reentrant=reentrant, **kwargs)


def _reentrant_with(backward: Callable[[Any, Any, Any], Any], function: Any = lambda t: t.exp()) -> Case:
    def case(m: Any) -> Any:
        x = _leaf(m, 0.5)
        return backward(m, checkpoints[m].checkpoint(function, x, use_reentrant=True).sum(), x)

    return case


_BOTH = (False, True)
CASES: dict[str, Case] = {
    **{f"{f.__name__} reentrant={r}": f(r) for f in (_plain_gradients, _outputs, _nested, _sequential) for r in _BOTH},
    **{f"dropout {r} {p}": _dropout(r, p) for r in _BOTH for p in _BOTH},
    **{f"changes {how}": _changes(how) for how in ("more", "fewer", "shape")},
    "second order": _second_order,
    "no input needs grad": _no_input_needs_grad,
    "backward inside": _backward_inside,
    "early stop": _early_stop,
    "contexts": _contexts,
    "input written": _input_written,
    "under no_grad": lambda m: m.no_grad()(lambda: _run(_leaf(m, 1.0))(m))().requires_grad,
    "reentrant and grad": _reentrant_with(lambda m, y, x: m.autograd.grad(y, x)),
    "reentrant and inputs": _reentrant_with(lambda m, y, x: y.backward(inputs=[x])),
    "reentrant detached": _reentrant_with(lambda m, y, x: y.backward(), lambda t: t.detach()),
    "reentrant keyword": lambda m: _run(_leaf(m, 1.0), reentrant=True, k=1)(m),
    "reentrant contexts": lambda m: _run(_leaf(m, 1.0), reentrant=True, context_fn=lambda: None)(m),
    "determinism text": lambda m: _run(_leaf(m, 1.0), determinism_check="maybe")(m),
    "sequential keyword": lambda m: checkpoints[m].checkpoint_sequential([], 1, m.ones(1), use_reentrant=False, k=1),
}


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")  # 相套时，里面的一层看到的输入都不连图
@pytest.mark.parametrize("case", table(CASES))
def test_checkpointing_differs_from_torch(case: Case) -> None:
    """重算之后的梯度、函数被调用的次数、随机数的状态或异常的类型与 torch 不同。"""
    ours, theirs = (outcome(m, case) for m in ENGINES)
    assert ours == theirs


@pytest.mark.parametrize("m", ENGINES, ids=["tinygrad_llm", "torch"])
def test_leaving_out_use_reentrant_warns(m: Any) -> None:
    """不写 ``use_reentrant`` 没有警告；或输入都不需要梯度时，可重入的一种没有警告。"""
    with pytest.warns(UserWarning, match="use_reentrant parameter should be passed explicitly"):
        checkpoints[m].checkpoint(lambda t: t, _leaf(m, 1.0))
    with pytest.warns(UserWarning, match="use_reentrant parameter should be passed explicitly"):
        checkpoints[m].checkpoint_sequential([lambda t: t], 1, _leaf(m, 1.0))
    with pytest.warns(UserWarning, match="None of the inputs have requires_grad=True"):
        checkpoints[m].checkpoint(lambda t: t, m.ones(1), use_reentrant=True)


def _products(t: Any, w: Any) -> Any:
    return (t @ w).exp() @ w


@pytest.mark.parametrize("m", ENGINES, ids=["tinygrad_llm", "torch"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_recomputation_forgets_autocast(m: Any, reentrant: bool) -> None:
    """前向在 autocast 之内，重算却用了全精度：梯度与不重算时不同，或类型对不上而报错。"""
    found = []
    for again in (False, True):
        x = (m.arange(6, dtype=m.float32).reshape(2, 3) / 7).requires_grad_()
        w = (m.arange(9, dtype=m.float32).reshape(3, 3) / 11).requires_grad_()
        with m.autocast("cpu", dtype=m.bfloat16):
            y = checkpoints[m].checkpoint(_products, x, w, use_reentrant=reentrant) if again else _products(x, w)
        y.float().sum().backward()
        found.append((str(y.dtype), x.grad.tolist(), w.grad.tolist()))
    assert found[0] == found[1]
    assert "bfloat16" in found[0][0]


# ---- 换一种方式存放


def _hooked(m: Any, body: Callable[[Any, Any], Any], **hooks: Any) -> Any:
    """``body(x, w)`` 在钩子之内前向，在外面反传。"""
    x, w, seen = _leaf(m, 0.5, 1.5), _leaf(m, 0.3, 0.7), []

    def pack(t: Any) -> Any:
        seen.append("pack")
        return t.detach().tolist()

    def unpack(values: Any) -> Any:
        seen.append("unpack")
        return m.tensor(values, dtype=m.float64)

    with m.autograd.graph.saved_tensors_hooks(hooks.get("pack", pack), hooks.get("unpack", unpack)):
        y = body(x, w).sum()
    y.backward()
    return x.grad, w.grad, seen


def _innermost(m: Any) -> Any:
    x, seen = _leaf(m, 0.5), []

    def hooks(name: str) -> Any:
        def pack(t: Any) -> Any:
            seen.append(name)
            return t.detach()

        return m.autograd.graph.saved_tensors_hooks(pack, lambda t: t)

    with hooks("outer"):
        y = x.exp()
        with hooks("inner"):
            y = y.exp()
        y = y.exp()
    y.backward(m.ones(1, dtype=m.float64))
    return seen, x.grad


def _function_saves(m: Any) -> Any:
    class Cube(m.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            y = x * x
            ctx.save_for_backward(x, y)
            return y

        @staticmethod
        def backward(ctx: Any, *g: Any) -> Any:
            x, _ = ctx.saved_tensors
            return g[0] * 2 * x

    return _hooked(m, lambda x, w: Cube.apply(x))


HOOKED: dict[str, Case] = {
    "mul": lambda m: _hooked(m, lambda x, w: x * w),
    "several": lambda m: _hooked(m, lambda x, w: (x * w).exp().sin() + x)[:2],
    "function": _function_saves,
    "changed": lambda m: _hooked(m, lambda x, w: x * w, unpack=lambda v: m.tensor([10.0, 20.0], dtype=m.float64))[:2],
    "not a tensor": lambda m: _hooked(m, lambda x, w: x * w, unpack=lambda v: 3),
    "innermost": _innermost,
}


@pytest.mark.parametrize("case", table(HOOKED))
def test_packed_tensors_differ_from_torch(case: Case) -> None:
    """存放的次数、取回的值或异常的类型与 torch 不同。"""
    ours, theirs = (outcome(m, case) for m in ENGINES)
    assert ours == theirs


def test_save_on_cpu_changes_nothing() -> None:
    """原样存放却改了梯度；或 ``increment_version`` 之后没有发现改写。"""
    x = _leaf(tg, 0.5)
    with tg.autograd.graph.save_on_cpu():
        y = x.exp() * x
    (g,) = tg.autograd.grad(y.sum(), x, create_graph=True)
    (h,) = tg.autograd.grad(g.sum(), x)
    assert h.item() == pytest.approx(2.5 * 2.718281828459045**0.5)
    z = (x * 1).exp()
    w = z * z
    tg.autograd.graph.increment_version([z])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        w.sum().backward()


# ---- 内存


def _peak(use_checkpoint: bool) -> int:
    """一叠 20 层的前向与反传，最多占多少字节。"""
    x = tg.ones(50_000, requires_grad=True)

    def layer(t: Any) -> Any:
        for _ in range(5):
            t = (t * 0.5).tanh()
        return t

    gc.collect()
    tracemalloc.start()
    y = x
    for _ in range(20):
        y = tg.utils.checkpoint.checkpoint(layer, y, use_reentrant=False) if use_checkpoint else layer(y)
    y.sum().backward()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.usefixtures("young_heap")
def test_memory_really_drops() -> None:
    """重算之后最多占的内存没有明显少下来。"""
    plain, saving = _peak(False), _peak(True)
    assert saving < plain / 3, (plain, saving)


@pytest.mark.usefixtures("young_heap")
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint_leaves_a_reference_cycle(reentrant: bool) -> None:
    """反传之后（或没有反传就丢开），图与重算的结果不靠垃圾回收就释放。"""
    x = _leaf(tg, 0.5, 1.5)
    gc.collect()
    gc.disable()
    try:
        for runs_backward in (True, False):
            y = tg.utils.checkpoint.checkpoint(lambda t: (t * t).exp().sin(), x, use_reentrant=reentrant)
            z = y.exp()
            alive = [weakref.ref(t) for t in (y, z, y.array, z.array, y.grad_fn)]
            if runs_backward:
                z.sum().backward()
            del y, z
            assert [ref() for ref in alive if ref() is not None] == []
        assert gc.collect() == 0
    finally:
        gc.enable()
