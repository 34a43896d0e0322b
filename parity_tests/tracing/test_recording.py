"""记录：引擎做了什么就记下什么，一位不差；不记时什么也不花。

随机的程序在 float64 里跑两遍：一遍不记，一遍记。梯度要逐位相同，每次相加的前后也要与引擎自己的和相同。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.tolerances import assert_close
from tinygrad_llm import nn
from tinygrad_llm.tracing import Trace

F = nn.functional


def _same(a: Any, b: Any) -> bool:
    """两个数组是否逐位相同；NaN 与 NaN 相同。"""
    return np.array_equal(a, b, equal_nan=True)


def _leaf(*values: float) -> Any:
    return tg.tensor(list(values), dtype=tg.float64, requires_grad=True)


# ---- 随机的程序：几个叶子，十来步，每步取一两个已有的值

_UNARY: list[Callable[[Any], Any]] = [
    lambda x: x.tanh(),
    lambda x: x.sigmoid(),
    lambda x: x.exp() * 0.1,
    lambda x: x * x,
    lambda x: -x,
    lambda x: x.relu(),
    lambda x: x.sum(-1, keepdim=True),
    lambda x: x.mean(),
    lambda x: x.transpose(-1, -2),
    lambda x: x[..., :1],
    lambda x: x.softmax(-1),
    lambda x: F.layer_norm(x, x.shape[-1:]),
]
_BINARY: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / (b * b + 1),
    lambda a, b: a @ b.transpose(-1, -2) if a.shape[-1:] == b.shape[-1:] and min(a.dim(), b.dim()) > 1 else a + b,
]


def _program(choices: list[tuple[int, int, int]], seed: int) -> tuple[list[Any], Any]:
    """搭出一个程序；返回叶子与损失。"""
    rng = np.random.default_rng(seed)
    leaves = [
        tg.tensor(rng.standard_normal(shape), dtype=tg.float64, requires_grad=True)
        for shape in ((2, 3), (3,), (2, 1), (1, 3), (2, 3))
    ]
    values = list(leaves)
    for op, first, second in choices:
        a, b = values[first % len(values)], values[-1 - second % len(values)]
        try:
            values.append(_UNARY[op](a) if op < len(_UNARY) else _BINARY[op - len(_UNARY)](a, b))
        except (RuntimeError, IndexError):  # 形状不合的一步就不要了
            continue
    loss = sum((one.sum() for one in values[len(leaves) - 1 :]), tg.tensor(0.0, dtype=tg.float64))
    return leaves, loss


_programs = st.tuples(
    st.lists(
        st.tuples(st.integers(0, len(_UNARY) + len(_BINARY) - 1), st.integers(0, 30), st.integers(0, 5)),
        min_size=1,
        max_size=14,
    ),
    st.integers(0, 10_000),
)


def _check_sums(t: Trace) -> None:
    """每一步收到的梯度等于前面流向它的各份之和；每次相加前后相接。"""
    for one in t.backwards:
        so_far: dict[int, Any] = dict(one.roots)
        for step in one.steps:
            assert _same(step.incoming, so_far.pop(t.nodes[step.node].output))
            for edge in step.edges:
                before = so_far.get(edge.value)
                assert (edge.before is None) == (before is None)
                if before is not None:
                    assert _same(edge.before, before)
                    assert _same(edge.after, before + edge.contribution)
                else:
                    assert _same(edge.after, edge.contribution)
                so_far[edge.value] = edge.after
        for added in one.accumulated:
            assert _same(added.added, so_far[added.value])


@given(_programs)
def test_recorded_sums_are_the_engine_s_own_bit_for_bit(program: tuple[list[tuple[int, int, int]], int]) -> None:
    """记录改变了梯度，或记下的相加次序不是引擎真正的次序。"""
    plain, loss = _program(*program)
    loss.backward()
    with tg.trace() as t:
        leaves, loss = _program(*program)
        loss.backward()
    _check_sums(t)
    last = {edge.value: edge.after for step in t.backwards[0].steps for edge in step.edges}
    ids = {id(leaf): value for leaf, value in zip(leaves, _values_of(t, leaves), strict=True)}
    for leaf, expected in zip(leaves, plain, strict=True):
        value = ids[id(leaf)]
        if expected.grad is None:
            assert value is None or value.grad is None
            continue
        assert value is not None
        assert np.array_equal(leaf.grad.array, expected.grad.array), "recording must not change a single bit"
        assert np.array_equal(value.grad, expected.grad.array)
        assert np.array_equal(last[value.id], expected.grad.array)


def _values_of(t: Trace, leaves: list[Any]) -> list[Any]:
    """各叶子在记录里的值；没有用到的为 ``None``。"""
    found = []
    for leaf in leaves:
        same = [v for v in t.values if v.kind == "leaf" and _same(v.data, leaf.array)]
        found.append(same[0] if same else None)
    return found


@given(_programs)
@example(([(16, 8, 0), (0, 17, 0)], 0))  # 收到的梯度按列存放：拷贝若改了存放次序，BLAS 的末位就不同
def test_every_node_can_run_its_derivative_again(program: tuple[list[tuple[int, int, int]], int]) -> None:
    """重算一步的 VJP 与当时的不同，或反传之后就不能重算了。"""
    with tg.trace() as t:
        _, loss = _program(*program)
        loss.backward()
    for step in t.backwards[0].steps:
        again = dict(t.nodes[step.node].vjp(step.incoming))
        for edge in step.edges:
            assert _same(again[edge.input], edge.raw)
            assert again[edge.input].shape == edge.raw_shape


@given(_programs)
def test_unfolded_fused_ops_give_the_same_gradients(program: tuple[list[tuple[int, int, int]], int]) -> None:
    """``composed=True`` 记下的是另一个函数，或还剩下融合算子。"""
    plain, loss = _program(*program)
    loss.backward()
    with tg.trace(composed=True) as t:
        leaves, loss = _program(*program)
        loss.backward()
    assert not {"layer_norm", "linear"} & {node.op for node in t.nodes}
    _check_sums(t)
    for leaf, expected in zip(leaves, plain, strict=True):
        if expected.grad is not None:
            assert_close(leaf.grad.array, expected.grad.array, "float64")


# ---- 广播、形状与名字


def test_broadcast_axes_are_named_and_summed() -> None:
    """广播出来的轴没有记对：是哪些轴、求和之前与之后。"""
    x = tg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=tg.float64)
    w, b, s = _leaf(0.5, -1.0, 2.0), tg.tensor([[1.0], [-1.0]], dtype=tg.float64, requires_grad=True), _leaf(2.0)
    with tg.trace() as t:
        loss = (s * (x * w + b)).sum()
        loss.backward()
    found = {t.values[e.value].name: e for step in t.backwards[0].steps for e in step.edges if t.values[e.value].name}
    assert (found["w"].raw_shape, found["w"].summed_axes, found["w"].contribution.shape) == ((2, 3), (0,), (3,))
    assert (found["b"].raw_shape, found["b"].summed_axes, found["b"].contribution.shape) == ((2, 3), (1,), (2, 1))
    assert (found["s"].summed_axes, found["s"].contribution.tolist()) == ((0, 1), [float((x * w + b).sum())])
    assert found["w"].text == "[2×3] ⊙ [2×3] = [2×3], sum over axis 0 = [10, 14, 18]"


def test_values_carry_the_names_in_the_program() -> None:
    """变量名不对：只看了最后的局部变量，或把一行里的中间结果当成了结果。"""
    points = [_leaf(1.0), _leaf(2.0)]
    table = {"bias": _leaf(3.0)}
    with tg.trace() as t:
        h = points[0] * points[1] + table["bias"]
        for _ in range(2):
            h = h.tanh()
        up, down = h.chunk(1)[0], h * 2
        loss = F.mse_loss(up, down)
        loss.backward()
    labels = [value.label for value in t.values]
    assert [v.label for v in t.values if v.kind == "leaf"] == ["points[0]", "points[1]", "table['bias']"]
    assert {"mul_1", "h", "h_2", "h_3", "up", "down", "loss"} <= set(labels)
    assert len(set(labels)) == len(labels)
    assert t["h_2"].producer is not None
    source = t.nodes[t["h_2"].producer].source
    assert source is not None
    assert (source["file"], source["text"]) == ("test_recording.py", "h = h.tanh()")


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 3)

    def forward(self, x: Any) -> Any:
        h = self.fc(x)
        return h.relu()


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([_Block(), _Block()])

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return x


def test_modules_give_paths_to_ops_and_parameters() -> None:
    """算子不知道自己在哪个模块里，参数没有路径，或钩子在记录之后还留着。"""
    net, head, x = _Net(), nn.Linear(3, 1), tg.ones(2, 3)
    with tg.trace() as t:
        loss = head(net(x)).sum()
        loss.backward()
    assert [(node.op, node.module) for node in t.nodes] == [
        ("linear", "blocks.0.fc"), ("relu", "blocks.0"), ("linear", "blocks.1.fc"), ("relu", "blocks.1"),
        ("linear", "head"), ("sum_all", ""),
    ]  # fmt: skip
    assert [v.label for v in t.values if v.kind == "leaf"] == [
        "blocks.0.fc.weight", "blocks.0.fc.bias", "blocks.1.fc.weight", "blocks.1.fc.bias", "head.weight", "head.bias",
    ]  # fmt: skip
    assert t["blocks.1.fc.bias"].module == "blocks.1.fc"
    from tinygrad_llm.nn import module_hooks

    assert not module_hooks.FORWARD
    assert not module_hooks.FORWARD_PRE
