"""五个难度的题各怎样出：标量的链，用了几次的值，广播，矩阵乘，softmax 与注意力。

流入：草稿；流出：写好的草稿，最后一行总是 ``loss``。下一站：``desk.py``。
"""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_llm.tracing.worksheet.exercises import Draft

_HALVES = (-3.0, -2.5, -2.0, -1.5, -0.5, 0.5, 1.5, 2.0, 2.5, 3.0, 4.0)
_SMALL = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 3.0)
_INTEGERS = (-2.0, -1.0, 1.0, 2.0, 3.0)
_TENTHS = (-0.8, -0.5, -0.2, 0.2, 0.4, 0.6, 1.0)


def _chain(draft: Draft) -> None:
    """一条链：乘、加，一个函数，再与目标相比。"""
    rng = draft.rng
    x, w, b = (draft.given(name, choices=_HALVES) for name in "xwb")
    z = draft.let("z", rng.choice([w * x + b, w * x - b, (x - b) * w, x / w + b, x / w - b]))
    a = draft.let("a", rng.choice([z.squared(), *(z.function(f) for f in ("sigmoid", "tanh", "exp", "log", "sqrt"))]))
    c = draft.given("c", choices=_HALVES, needs_grad=False)
    draft.let("loss", rng.choice([(a - c).squared(), a * c, a / c, c - a.squared()]))


def _shared(draft: Draft) -> None:
    """几个值各用了不止一次：每一处都有一份梯度。"""
    rng = draft.rng
    pool = [draft.given(name, choices=_HALVES) for name in ("x", "y")]
    uses = dict.fromkeys(("x", "y"), 0)
    for name in ("u", "v", "w"):
        left, right = rng.choice(pool), rng.choice(pool)
        uses[left.text] += 1
        uses[right.text] += 1
        pool.append(draft.let(name, rng.choice([left + right, left - right, left * right, left * right])))
        uses[name] = 0
    unused = [one for one in pool if not uses[one.text]]
    first, *rest = [*unused, rng.choice(pool[:-1])]
    total = first
    for one in rest:
        uses[one.text] += 1
        total = rng.choice([total * one, total + one])
    uses[first.text] += 1
    draft.is_rejected = sum(count > 1 for count in uses.values()) < 2  # 至少两个值用了不止一次，才算这一级的题
    draft.let("loss", total)


def _broadcast(draft: Draft) -> None:
    """小的张量广播到大的，反向时把广播的轴加起来。"""
    rng = draft.rng
    x = draft.given("x", 2, 3, choices=_INTEGERS, needs_grad=rng.random() < 0.3)
    shapes = [("w", (3,)), ("b", (2, 1)), ("s", ())]
    rng.shuffle(shapes)
    h = x
    for i, (name, shape) in enumerate(shapes[: rng.choice([2, 3])]):
        one = draft.given(name, *shape, choices=_SMALL)
        h = draft.let(f"h{i + 1}", rng.choice([h * one, h + one, h - one] if i else [h * one]))
    last = rng.choice([h * h, h.squared(), (h - rng.choice(_INTEGERS)).squared()])
    draft.let("loss", last.method(rng.choice(["sum", "mean"])))


def _products(draft: Draft) -> None:
    """一两层线性层：矩阵乘、偏置、ReLU，均方误差。"""
    rng = draft.rng
    rows, inner = rng.choice([2, 3]), rng.choice([2, 3])
    x = draft.given("X", rows, inner, choices=_INTEGERS, needs_grad=rng.random() < 0.5)
    if rng.random() < 0.5:
        product = x @ draft.given("W", inner, 2, choices=_INTEGERS)
    else:
        product = x @ draft.given("W", 2, inner, choices=_INTEGERS).turned()
    z = draft.let("Z", product + draft.given("b", 2, choices=_INTEGERS) if rng.random() < 0.7 else product)
    h = draft.let("H", rng.choice([z.function("relu"), z.function("tanh")])) if rng.random() < 0.6 else z
    y = draft.let("Y", h @ draft.given("V", 2, 1, choices=_INTEGERS)) if rng.random() < 0.5 else h
    target = draft.given("T", *y.tensor.shape, choices=_INTEGERS, needs_grad=False)
    draft.let("loss", (y - target).squared().method(rng.choice(["mean", "sum"])))


def _attention(draft: Draft) -> None:
    """softmax 的分类，或两三个词的注意力。"""
    if draft.rng.random() < 0.4:
        _classify(draft)
    else:
        _attend(draft)


def _classify(draft: Draft) -> None:
    rng = draft.rng
    x = draft.given("X", 2, 2, choices=_SMALL, needs_grad=False)
    z = draft.let("Z", x @ draft.given("W", 2, 3, choices=_TENTHS))
    p = draft.let("P", z.function("softmax", "dim=-1", dim=-1))
    if rng.random() < 0.5:
        draft.let("loss", (p * draft.given("C", 2, 3, choices=_INTEGERS, needs_grad=False)).method("sum"))
        return
    hot = [[0.0] * 3 for _ in range(2)]
    for row in hot:
        row[rng.randrange(3)] = -1.0
    c = draft.fixed("C", hot)
    draft.let("loss", (p.function("log") * c).method("sum") / 2.0)


def _attend(draft: Draft) -> None:
    rng = draft.rng
    length = rng.choice([2, 3])
    q, k, v = (draft.given(name, length, 2, choices=_SMALL) for name in "QKV")
    scores = draft.let("S", q @ k.turned() / 2.0)
    if rng.random() < 0.6:
        future = draft.mask("future", [[j > i for j in range(length)] for i in range(length)])
        scores = draft.masked("S", scores, future)
    p = draft.let("P", scores.function("softmax", "dim=-1", dim=-1))
    o = draft.let("O", p @ v)
    c = draft.given("C", length, 2, choices=_INTEGERS, needs_grad=False)
    draft.let("loss", rng.choice([(o * c).method("sum"), (o - c).squared().method("mean")]))


LEVELS: dict[int, tuple[str, Callable[[Draft], None]]] = {
    1: ("标量的链", _chain),
    2: ("用了几次的值", _shared),
    3: ("广播", _broadcast),
    4: ("矩阵乘", _products),
    5: ("softmax 与注意力", _attention),
}
"""难度到（题目的名字，怎样出）。"""
