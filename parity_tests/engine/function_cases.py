"""自定义算子的几十段程序，供 ``test_function.py`` 以两个引擎各跑一遍。

流入：``m``，即 ``tinygrad_llm`` 或 ``torch``；流出：可以比较的结果。每段的文档说明它考的是什么。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Case = Callable[[Any], Any]


def leaf(m: Any, *values: float) -> Any:
    """一维的 float64 叶子。"""
    return m.tensor(list(values), dtype=m.float64, requires_grad=True)


def new_function(m: Any, forward: Any, backward: Any, **more: Any) -> Any:
    """现造一个 ``Function`` 子类。"""
    members = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type("MyFn", (m.autograd.Function,), members | {k: staticmethod(v) for k, v in more.items()})


def _split(m: Any, **more: Any) -> Any:
    """两个输出：``2x`` 与 ``x²``。"""

    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * 2, x * x

    def backward(ctx: Any, g1: Any, g2: Any) -> Any:
        (x,) = ctx.saved_tensors
        return g1 * 2 + g2 * 2 * x

    return new_function(m, forward, backward, **more)


def two_outputs(m: Any) -> Any:
    """两个输出都用、只用一个、用两次。"""
    x, found = leaf(m, 1.0, 2.0), []
    for weights in ((1, 1), (1, 0), (0, 1), (3, 5)):
        a, b = _split(m).apply(x)
        loss = sum(w * t.sum() for w, t in zip(weights, (a, b), strict=True) if w) + (a * 0).sum()
        found += m.autograd.grad(loss, x)
    a, b = _split(m).apply(x)
    found += m.autograd.grad((a * b).sum() + a.sum(), [x, a, b])
    return found, a.output_nr, b.output_nr, a.grad_fn is b.grad_fn, type(b.grad_fn).__name__, a.grad_fn.name()


def outputs_of_every_kind(m: Any) -> Any:
    """Tensor、整数、字符串、``None``、整数 Tensor、不可导的 Tensor 混在一起。"""
    seen: list[Any] = []

    def forward(ctx: Any, x: Any, n: int) -> Any:
        constant = x * 7
        ctx.mark_non_differentiable(constant)
        return x * n, n, "text", None, m.tensor([3]), constant, [x]

    def backward(ctx: Any, *g: Any) -> Any:
        seen.extend(g)
        return g[0] * 3, None

    x = leaf(m, 1.0, 2.0)
    result = new_function(m, forward, backward).apply(x, 3)
    result[0].sum().backward()
    return type(result).__name__, result[:6], result[6][0] is x, seen, x.grad


def tuple_of_one(m: Any) -> Any:
    """元组还是元组，列表不拆开。"""
    one = new_function(m, lambda ctx, x: (x * 2,), lambda ctx, g: g * 2)
    several = new_function(m, lambda ctx, x: [x * 2, x], lambda ctx, g: g * 2)
    x = leaf(m, 1.0)
    found = several.apply(x)
    return type(one.apply(x)).__name__, one.apply(x)[0], type(found).__name__, found[0]


def materialize(m: Any) -> Any:
    """没有收到梯度的输出：缺省补零，声明之后是 ``None``。"""
    found: list[Any] = []
    for wanted in (True, False):

        def forward(ctx: Any, x: Any, wanted: bool = wanted) -> Any:
            ctx.set_materialize_grads(wanted)
            return x * 1, (x * 1).sum()

        def backward(ctx: Any, g1: Any, g2: Any) -> Any:
            found.extend([g1, g2])
            return g1 if g2 is None else g2.expand(2)

        x = leaf(m, 1.0, 2.0)
        new_function(m, forward, backward).apply(x)[0].sum().backward()
        found.append(x.grad)
    return found


def needs_and_attributes(m: Any) -> Any:
    """便签上的属性、``needs_input_grad``，以及从 ``grad_fn`` 看到它们。"""

    def forward(ctx: Any, a: Any, b: Any, k: float, flag: bool) -> Any:
        ctx.k, ctx.dim, ctx.shape, ctx.time = k, 3, tuple(a.shape), "now"
        ctx.save_for_backward(a, None, b)
        return a * k + b

    def backward(ctx: Any, g: Any) -> Any:
        _, nothing, _ = ctx.saved_tensors
        assert nothing is None
        assert (ctx.dim, ctx.shape, ctx.time, ctx.needs_input_grad) == (3, (2,), "now", (True, False, False, False))
        return g * ctx.k, g, None, None

    x, b = leaf(m, 1.0, 2.0), m.ones(2, dtype=m.float64)
    y = new_function(m, forward, backward).apply(x, b, 2.5, True)
    kept = [t is s for t, s in zip(y.grad_fn.saved_tensors, (x, None, b), strict=True)]
    y.sum().backward()
    return x.grad, b.grad, y.grad_fn.k, y.grad_fn.needs_input_grad, kept


def setup_context(m: Any) -> Any:
    """分开写的 ``setup_context``：缺省值与关键字参数排成位置参数。"""
    seen: list[Any] = []

    def forward(x: Any, w: Any = 2.0) -> Any:
        return x * w

    def context(ctx: Any, inputs: Any, output: Any) -> None:
        seen.append((len(inputs), inputs[1:], output.requires_grad, m.is_grad_enabled()))
        ctx.save_for_backward(inputs[0], output)
        ctx.w = inputs[1]

    def backward(ctx: Any, g: Any) -> Any:
        return g * ctx.w * ctx.saved_tensors[1] / ctx.saved_tensors[1], None

    function = new_function(m, forward, backward, setup_context=context)
    x = leaf(m, 1.0, 2.0)
    (function.apply(x).sum() + function.apply(x, w=5.0).sum() + function.apply(w=1.0, x=x).sum()).backward()
    return seen, x.grad


def vjp_is_backward(m: Any) -> Any:
    """反向也可以叫 ``vjp``；两个都写就报错。"""
    x = leaf(m, 1.0)
    members = {"forward": staticmethod(lambda ctx, x: x * 2), "vjp": staticmethod(lambda ctx, g: g * 2)}
    named: Any = type("Named", (m.autograd.Function,), members)
    named.apply(x).sum().backward()
    both: Any = type("Both", (m.autograd.Function,), members | {"backward": staticmethod(lambda ctx, g: g)})
    y = both.apply(x).sum()
    with pytest.raises(RuntimeError, match="both 'backward' and 'vjp'"):
        y.backward()
    return x.grad


def keywords(m: Any) -> Any:
    """没有 ``setup_context`` 时，关键字参数按签名接在位置参数之后。"""

    def forward(ctx: Any, x: Any, a: Any = 1, w: Any = None) -> Any:
        return x * a

    x, w, found = leaf(m, 1.0), leaf(m, 3.0), []
    function = new_function(m, forward, lambda ctx, g: (g, g * 5)[: len(ctx.needs_input_grad)])
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {"x": x}), ((x,), {"a": w}), ((), {"a": w, "x": x}), ((x,), {"w": w}), ((x,), {"x": x}),
        ((x,), {"nothing": 1}), ((x,), {"ctx": 1}),
    ]  # fmt: skip
    for args, kwargs in calls:
        try:
            found.append(m.autograd.grad(function.apply(*args, **kwargs).sum(), [x, w], allow_unused=True))
        except TypeError:
            found.append("TypeError")
    return found


def keyword_only(m: Any) -> Any:
    """``forward`` 的仅关键字参数没有位置，不能用。"""
    return new_function(m, lambda x, *, k=0: x, lambda ctx, g: g, setup_context=lambda *a: None).apply(leaf(m, 1.0))


def no_backward(m: Any) -> Any:
    """没有写反向。"""
    members = {"forward": staticmethod(lambda ctx, x: x * 2)}
    half: Any = type("Half", (m.autograd.Function,), members)
    return half.apply(leaf(m, 1.0)).sum().backward()


def _returned(gradients: Any, *inputs: Any) -> Case:
    """``backward`` 交回 ``gradients(m)`` 时的结果。"""

    def case(m: Any) -> Any:
        x = leaf(m, 1.0, 2.0)
        function = new_function(m, lambda ctx, *a: a[0] * 1, lambda ctx, g: gradients(m))
        function.apply(x, *inputs).sum().backward()
        return x.grad

    return case


def input_returned_as_is(m: Any) -> Any:
    """原样返回输入：得到的是它的视图，不许就地改写；不记图时也不是同一个。"""
    function = new_function(m, lambda ctx, x: x, lambda ctx, g: g * 3)
    x = leaf(m, 1.0, 2.0)
    y = function.apply(x)
    y.sum().backward()
    with m.no_grad():
        z = function.apply(x)
    with pytest.raises(RuntimeError, match="view and is being modified inplace"):
        y.add_(1)
    return y is x, z is x, z.requires_grad, x.grad, x.is_leaf


def view_output(m: Any) -> Any:
    """返回输入的视图：梯度按用户的公式，不按视图。"""
    function = new_function(m, lambda ctx, x: x[1:], lambda ctx, g: m.cat([g * 0, g * 5]))
    x = leaf(m, 1.0, 2.0)
    y = function.apply(x)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="view and is being modified inplace"):
        y.mul_(2)
    return y, x.grad


def dirty(m: Any) -> Any:
    """就地改写并返回的输入：还是同一个对象，接到了新的节点上。"""

    def forward(ctx: Any, x: Any) -> Any:
        x.mul_(3)
        ctx.mark_dirty(x)
        return x

    function = new_function(m, forward, lambda ctx, g: g * 3)
    x = leaf(m, 1.0, 2.0)
    y = x * 2
    z = function.apply(y)
    (z * z).sum().backward()
    w = x * 2
    v = function.apply(w[:1])
    (w * w).sum().backward()
    return z is y, z, x.grad, v, type(y.grad_fn).__name__


def dirty_is_seen_by_earlier_savers(m: Any) -> Any:
    """改写之前已经留下它的节点，反向时要报错。"""

    def forward(ctx: Any, x: Any) -> Any:
        x.mul_(3)
        ctx.mark_dirty(x)
        return x

    y = leaf(m, 1.0, 2.0) * 2
    z = (y * y).sum()
    new_function(m, forward, lambda ctx, g: g * 3).apply(y)
    z.backward()


def dirty_leaf(m: Any) -> Any:
    """就地改写需要梯度的叶子。"""

    def forward(ctx: Any, x: Any) -> Any:
        ctx.mark_dirty(x)
        return x

    return new_function(m, forward, lambda ctx, g: g).apply(leaf(m, 1.0))


def dirty_not_returned(m: Any) -> Any:
    """声明改写过的输入没有返回。"""

    def forward(ctx: Any, x: Any) -> Any:
        ctx.mark_dirty(x)
        return x * 1

    return new_function(m, forward, lambda ctx, g: g).apply(leaf(m, 1.0) * 1)


def same_output_twice(m: Any) -> Any:
    """同一个 Tensor 占了两个输出的位置。"""

    def forward(ctx: Any, x: Any) -> Any:
        y = x * 2
        return y, y

    function = new_function(m, forward, lambda ctx, a, b: a * 2 + b * 20)
    x = leaf(m, 1.0)
    a, b = function.apply(x)
    return m.autograd.grad((a + b).sum(), x)[0].requires_grad


def second_order(m: Any) -> Any:
    """穿过多输出的二阶导、三阶导；留的是输入、输出或两者。"""
    found: list[Any] = []
    for keep in ("x", "y", "xy"):

        def forward(ctx: Any, x: Any, keep: str = keep) -> Any:
            y, z = x.exp(), x * x
            ctx.save_for_backward(*([x] if keep == "x" else [y] if keep == "y" else [y, x]))
            return y, z

        def backward(ctx: Any, g1: Any, g2: Any, keep: str = keep) -> Any:
            saved = ctx.saved_tensors
            y = saved[0].exp() if keep == "x" else saved[0]
            x = saved[-1] if "x" in keep else y.log()
            return g1 * y + g2 * 2 * x

        x = leaf(m, 0.5, 1.5)
        a, b = new_function(m, forward, backward).apply(x)
        (g,) = m.autograd.grad((a * b).sum(), x, create_graph=True)
        (h,) = m.autograd.grad((g * g).sum(), x, create_graph=True)
        (t,) = m.autograd.grad(h.sum(), x)
        found.append((g, h, t))
    return found


def once(m: Any) -> Any:
    """``once_differentiable``：一阶照常，二阶报错而不是给出错误的值。"""

    def backward(ctx: Any, g: Any) -> Any:
        assert not m.is_grad_enabled()
        return g * 2, None

    function = new_function(m, lambda ctx, x, k: x * k, m.autograd.function.once_differentiable(backward))
    x = leaf(m, 1.0)
    (plain,) = m.autograd.grad(function.apply(x, 2).sum(), x)
    (g,) = m.autograd.grad((function.apply(x, 2) ** 2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()
    return plain, g.requires_grad


def freed(m: Any) -> Any:
    """图释放之后再反传：取留下的值时才报错。"""
    function = new_function(m, lambda ctx, x: x * 2, lambda ctx, g: g * 2)
    x = leaf(m, 1.0)
    y = function.apply(x)
    y.backward(m.ones(1, dtype=m.float64))
    y.backward(m.ones(1, dtype=m.float64))
    a, b = _split(m).apply(x)
    (a + b).sum().backward(retain_graph=True)
    (a + b).sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        (a + b).sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        _ = a.grad_fn.saved_tensors
    return x.grad


def saved_and_then_written(m: Any) -> Any:
    """留下的输入、输出被就地改写之后，取用时报错；没有取用就不管。"""
    found: list[Any] = []
    for which in ("input", "output", "unused"):

        def forward(ctx: Any, x: Any) -> Any:
            y = x * 2
            ctx.save_for_backward(x, y)
            return y

        def backward(ctx: Any, g: Any, which: str = which) -> Any:
            return g * 2 if which == "unused" else g * ctx.saved_tensors[0]

        x = leaf(m, 1.0) * 1
        y = new_function(m, forward, backward).apply(x)
        z = y * 1
        with m.no_grad():
            (y if which == "output" else x).add_(1)
        try:
            z.sum().backward()
            found.append("fine")
        except RuntimeError as error:
            found.append("modified by an inplace operation" in str(error))
    return found


def saving_a_number(m: Any) -> Any:
    """``save_for_backward`` 只收 Tensor。"""

    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(3)
        return x * 1

    return new_function(m, forward, lambda ctx, g: g).apply(leaf(m, 1.0))


def hooks_on_outputs(m: Any) -> Any:
    """各输出的钩子、节点的前后钩子都执行，次序相同。"""
    seen: list[Any] = []
    x = leaf(m, 1.0, 2.0)
    a, b = _split(m).apply(x)
    a.register_hook(lambda g: seen.append(("a", g.tolist())))
    b.register_hook(lambda g: g * 10)
    b.retain_grad()
    a.grad_fn.register_prehook(lambda g: seen.append(("before", [t.tolist() for t in g])))
    a.grad_fn.register_prehook(lambda g: (g[0] * 2, g[1]))
    a.grad_fn.register_hook(lambda gi, go: seen.append(("after", [t.tolist() for t in (*gi, *go)])))
    (a + b).sum().backward()
    return seen, b.grad, x.grad


def same_leaf_twice(m: Any) -> Any:
    """同一个输入给了两次，梯度相加。"""
    function = new_function(m, lambda ctx, a, b: a * b, lambda ctx, g: (g * 2, g * 3))
    x = leaf(m, 1.0)
    function.apply(x, x).sum().backward()
    return x.grad


def nothing_recorded(m: Any) -> Any:
    """不需要梯度时：输出不连图，便签照样可用。"""
    seen: list[Any] = []

    def forward(ctx: Any, x: Any) -> Any:
        seen.append(ctx.needs_input_grad)
        ctx.save_for_backward(x)
        return x * 2, x

    function = new_function(m, forward, lambda ctx, a, b: a)
    with m.no_grad():
        found = function.apply(leaf(m, 1.0))
    return found, function.apply(m.ones(1)), seen


def error_inside_backward(m: Any) -> Any:
    """``backward`` 里抛出的异常原样传出，之后同一张图还能再用。"""
    calls: list[int] = []

    def backward(ctx: Any, a: Any, b: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("mine")
        return a * 2 + b * 3

    x = leaf(m, 1.0)
    a, b = new_function(m, lambda ctx, x: (x * 2, x * 3), backward).apply(x)
    with pytest.raises(ValueError, match="mine"):
        (a + b).sum().backward(retain_graph=True)
    a.sum().backward()
    return x.grad


CASES: dict[str, Case] = {
    f.__name__: f
    for f in (
        two_outputs, outputs_of_every_kind, tuple_of_one, materialize, needs_and_attributes, setup_context,
        vjp_is_backward, keywords, keyword_only, no_backward, input_returned_as_is, view_output, dirty,
        dirty_is_seen_by_earlier_savers, dirty_leaf, dirty_not_returned, same_output_twice, second_order, once, freed,
        saved_and_then_written, saving_a_number, hooks_on_outputs, same_leaf_twice, nothing_recorded,
        error_inside_backward,
    )
} | {
    "too few gradients": _returned(lambda m: (), 1),
    "too many gradients": _returned(lambda m: (m.ones(2), m.ones(2))),
    "None to spare": _returned(lambda m: (m.ones(2, dtype=m.float64), None, None)),
    "gradient for a number": _returned(lambda m: (m.ones(2), m.ones(2)), 3),
    "gradient that is a number": _returned(lambda m: 1.0),
    "gradients in a list": _returned(lambda m: [m.ones(2, dtype=m.float64)]),
    "no gradient": _returned(lambda m: None),
    "gradient too small": _returned(lambda m: m.ones(1)),
    "gradient of another size": _returned(lambda m: m.ones(3)),
    "gradient broadcast over a row": _returned(lambda m: m.ones(3, 2)),
    "gradient of float32": _returned(lambda m: m.ones(2)),
}  # fmt: skip
