"""弄坏的反传：每个错数都与另一份算法、手写的公式和玩具文档里的数相同。"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from parity_tests.tolerances import TABLE
from parity_tests.tracing import oracle
from parity_tests.tracing.documented import documented, rounded
from tinygrad_llm.ops.op import Array
from tinygrad_llm.tracing import Trace
from tinygrad_llm.tracing.faults import MAX_LISTED, MAX_VISITS, Fault, faults, faults_json
from tinygrad_llm.tracing.programs import run_program
from tinygrad_llm.tracing.toys import TOYS

_RTOL, _ATOL = TABLE["float64"]
_NAMES = ("naive_recursion", "no_accumulation", "no_broadcast_sum", "forgotten_zero_grad", "wrong_order")


@functools.cache
def _toy(name: str) -> tuple[Trace, dict[str, Fault]]:
    trace = run_program(name, with_torch=False)
    return trace, {fault.name: fault for fault in faults(trace)}


def _record(compute: Callable[[], Any]) -> dict[str, Fault]:
    with tg.trace() as trace:
        compute()
    return {fault.name: fault for fault in faults(trace)}


@pytest.mark.parametrize("walk", oracle.WALKS)
@pytest.mark.parametrize("toy", TOYS)
def test_a_broken_walk_gives_other_numbers_than_the_same_walk_with_torchs_derivatives(toy: str, walk: str) -> None:
    """走错的反传给出的数，与「torch 的导数加上最直白的走法」算出来的不同。"""
    trace, found = _toy(toy)
    expected = oracle.WALKS[walk](trace)
    assert set(found[walk].grads) == set(expected)
    for value, g in expected.items():
        np.testing.assert_allclose(
            found[walk].grads[value], g, rtol=_RTOL, atol=_ATOL, err_msg=trace.values[value].label
        )


@pytest.mark.parametrize("toy", TOYS)
def test_the_toys_text_states_other_numbers_than_the_run_gives(toy: str) -> None:
    """文档里写着的梯度（对的与错的）与算出来的不同，或者漏写、多写了一种错法。"""
    trace, found = _toy(toy)
    stated = documented(toy)
    assert set(stated) == {"right"} | {name for name in _NAMES if found[name].differs}
    for walk, numbers in stated.items():
        for label, number in numbers.items():
            value = trace[label]
            g = value.grad if walk == "right" else found[walk].grads[value.id]
            np.testing.assert_array_equal(rounded(g), number, err_msg=f"{walk}: {label}")
            assert walk == "right" or value.id in found[walk].differs


def test_diamond_goes_wrong_in_other_ways_than_by_hand() -> None:
    """x = 1.5：s = 2.25，u = 3.25；四个错数都能手算。"""
    trace, found = _toy("diamond")
    s, u, ds = 2.25, 3.25, 3.0
    by_hand = {
        "naive_recursion": u * ds + (u + s) * ds,  # 先传 u，再传累计的 u + s
        "no_accumulation": s * ds / 2,  # s 只剩经由 u 的那份，x 又只剩 x·x 的一半
        "no_broadcast_sum": (u + s) * ds,  # 没有广播，不出错
        "forgotten_zero_grad": 2 * (u + s) * ds,
        "wrong_order": u * ds,  # s 没等到经由 u 的那份
    }
    assert {name: float(fault.grads[trace["x"].id]) for name, fault in found.items()} == by_hand
    assert [found[name].total_steps for name in _NAMES] == [4, 3, 3, 3, 3]


def _unsummed_mlp(values: dict[str, Array]) -> dict[str, Array]:
    dY = 2 * (values["Y"] - values["T"]) / 4
    return {"b2": dY, "b1": dY @ values["W2"].T * (1 - values["H"] ** 2)}


def _unsummed_softmax(values: dict[str, Array]) -> dict[str, Array]:
    e, total = values["e"], values["total"]
    dp = np.array([-total / e[0], 0.0, 0.0])
    dtotal = -dp * e / total**2  # 三个数，本该加成一个
    return {"total": dtotal, "z": (dp / total + dtotal) * e}


def _unsummed_layernorm(values: dict[str, Array]) -> dict[str, Array]:
    d, xhat, w = values["d"], values["xhat"], values["w"]
    dy = 2 * (values["y"] - values["target"]) / 6
    std = np.sqrt(values["var"] + 1e-5)
    dstd = -(dy * w) * d / std**2  # (2, 3)，本该是 (2, 1)
    dd = dy * w / std + 2 * d * (dstd / (2 * std) / 3)
    return {"b": dy, "w": dy * xhat, "var": dstd / (2 * std), "mu": -dd, "x": dd - dd / 3}


def _unsummed_broadcast(values: dict[str, Array]) -> dict[str, Array]:
    dh = values["s"] * 2 * values["y"] / 6
    return {"s": 2 * values["y"] / 6 * values["h"], "b": dh, "w": dh * values["x"]}


def _unsummed_reinforce(values: dict[str, Array]) -> dict[str, Array]:
    p, total = values["p"], values["e"].sum()
    dlogp = -values["advantage"][:, None] * values["chosen"] / 4  # (4, 3)：四次抽样各一行，本该加成一行
    dp = dlogp / p
    return {"logp": dlogp, "p": dp, "theta": (dp / total - dp * p / total) * p * total}


_UNSUMMED = {
    "mlp": _unsummed_mlp,
    "softmax": _unsummed_softmax,
    "layernorm": _unsummed_layernorm,
    "broadcast": _unsummed_broadcast,
    "reinforce": _unsummed_reinforce,
}


@pytest.mark.parametrize("toy", TOYS)
def test_without_the_sum_over_broadcast_axes_the_gradient_is_not_the_one_by_hand(toy: str) -> None:
    """不对广播轴求和时，形状与数都与手写的公式不同；没有广播的玩具却变了。"""
    trace, found = _toy(toy)
    fault = found["no_broadcast_sum"]
    if toy not in _UNSUMMED:
        assert not fault.differs
        return
    for label, g in _UNSUMMED[toy]({one.label: np.asarray(one.data) for one in trace.values}).items():
        value = trace[label].id
        assert value in fault.differs
        assert fault.grads[value].shape == g.shape
        np.testing.assert_allclose(fault.grads[value], g, rtol=_RTOL, atol=_ATOL, err_msg=label)


@pytest.mark.parametrize("toy", TOYS)
def test_a_listed_step_does_not_add_up(toy: str) -> None:
    """列出的步骤里，相加之后不等于相加之前加上这一份；或者走完之后的和不是报出的梯度。"""
    for name, fault in _toy(toy)[1].items():
        sums: dict[int, Array] = {}
        for step in fault.steps:
            for edge in step.edges:
                before = edge.before if edge.before is None else np.asarray(edge.before)
                if name != "forgotten_zero_grad" or edge.value in sums:
                    assert (before is None) == (edge.value not in sums)
                if before is None or name == "no_accumulation":
                    np.testing.assert_array_equal(edge.after, edge.contribution)
                else:
                    np.testing.assert_array_equal(edge.after, before + edge.contribution)
                sums[edge.value] = np.asarray(edge.after)
        for value, total in sums.items():
            np.testing.assert_array_equal(fault.grads[value], total)


def test_repeated_rows_are_added_where_nothing_may_be_added() -> None:
    """不累加时，下标取值与 gather 里重复的那一行仍然加了起来。"""
    x = tg.tensor([1.0, 2.0, 3.0], dtype=tg.float64, requires_grad=True)
    c = tg.tensor([10.0, 20.0, 30.0], dtype=tg.float64)
    index = tg.tensor([2, 0, 2])

    def by_index() -> None:
        (x[index] * c).sum().backward()

    def by_gather() -> None:
        (x.gather(0, index) * c).sum().backward()

    for compute in (by_index, by_gather):
        x.grad = None
        found = _record(compute)
        leaf = found["no_accumulation"].differs[0]
        assert found["no_accumulation"].grads[leaf].tolist() == [20.0, 0.0, 30.0]


def test_a_gradient_from_before_the_recording_is_lost() -> None:
    """记录开始之前 ``.grad`` 里已有的，重走时没有算进去。"""
    w = tg.tensor(2.0, dtype=tg.float64, requires_grad=True)
    (w * 5.0).backward()
    found = _record(lambda: (w * w).backward())
    assert [float(found[name].grads[0]) for name in _NAMES] == [9.0, 2.0, 9.0, 13.0, 9.0]


def test_the_program_notices_that_its_backward_was_walked_again() -> None:
    """重走改动了用户的 ``.grad`` 或记录本身。"""
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    with tg.trace() as trace:
        (w * w).sum().backward()
    before = trace.to_json()
    assert len(faults(trace)) == 5
    assert w.grad is not None
    assert w.grad.tolist() == [2.0, 4.0]
    assert trace.to_json() == before


def test_an_optimiser_step_inside_the_recording_spoils_the_replay() -> None:
    """记录之内优化器改写了参数，重走用的就不是原来的数了。"""
    w = tg.tensor([3.0], dtype=tg.float64, requires_grad=True)

    def step() -> None:
        (w * w * w).sum().backward()
        tg.optim.SGD([w], lr=1.0).step()

    found = _record(step)
    (leaf,) = found["forgotten_zero_grad"].differs
    assert found["forgotten_zero_grad"].grads[leaf].tolist() == [54.0]


def test_gradients_kept_on_purpose_count_as_forgotten() -> None:
    """两趟反传之间清零与不清零，正确的结果应当不同；忘了清零总是再加上最后那趟。"""
    for clears, expected in ((True, 3.0), (False, 5.0)):
        w = tg.tensor(1.0, dtype=tg.float64, requires_grad=True)

        def twice(w: Any = w, clears: bool = clears) -> None:
            (2.0 * w).backward()
            if clears:
                w.grad = None
            (3.0 * w).backward()

        found = _record(twice)
        assert float(found["wrong_order"].grads[0 if len(found["wrong_order"].grads) == 1 else 1]) == expected
        (leaf,) = found["forgotten_zero_grad"].differs
        assert float(found["forgotten_zero_grad"].grads[leaf]) == expected + 3.0


def test_recursion_walks_a_graph_it_can_never_finish() -> None:
    """路径成倍增长的图，朴素递归仍去走完，或者没有说明步数。"""
    depth = 30
    x = tg.tensor(1.0, requires_grad=True)

    def doubled() -> None:
        y = x
        for _ in range(depth):
            y = y + y
        y.backward()

    fault = _record(doubled)["naive_recursion"]
    steps = 2**depth - 1
    assert fault.total_steps == 0
    assert not fault.steps
    assert not fault.differs
    assert f"{steps:,}" in fault.note_en
    assert f"{steps:,}" in fault.note_zh
    assert steps > MAX_VISITS


def test_a_long_recursion_lists_every_step() -> None:
    """步数很多时，列出的没有截断，或者没有说明截断了。"""
    x = tg.tensor(1.0, dtype=tg.float64, requires_grad=True)

    def doubled() -> None:
        y = x
        for _ in range(10):
            y = y + y
        y.backward()

    fault = _record(doubled)["naive_recursion"]
    assert fault.total_steps == 2**10 - 1
    assert len(fault.steps) == MAX_LISTED
    assert "1,023" in fault.note_en


def test_a_walk_that_cannot_go_on_pretends_it_did() -> None:
    """不求和使形状对不上、走不下去时，没有说明停在哪里。"""
    a = tg.ones(2, 3, dtype=tg.float64, requires_grad=True)
    b = tg.ones(3, 1, dtype=tg.float64, requires_grad=True)
    x = tg.ones(4, 5, 2, 6, dtype=tg.float64)
    fault = _record(lambda: (x * (a @ b)).sum().backward())["no_broadcast_sum"]
    assert fault.differs
    assert fault.note_en.startswith("It stops here")


def test_an_own_operator_or_a_hook_is_run_again() -> None:
    """自定义算子与钩子可能有副作用，却又被跑了一遍。"""
    calls = []

    class Twice(tg.autograd.Function):
        """加倍，数着反向跑了几次。"""

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            """``y = 2x``。"""
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            """``2g``。"""
            calls.append(1)
            return g * 2

    x = tg.tensor(1.0, requires_grad=True)
    assert not _record(lambda: Twice.apply(x).backward())
    assert calls == [1]
    y = tg.tensor(1.0, requires_grad=True)

    def hooked() -> None:
        z = y * 3.0
        z.register_hook(lambda g: g * 10.0)
        (z * z).backward()

    assert not _record(hooked)


def test_a_recording_without_backward_or_too_large_has_faults() -> None:
    """没有反传，或者大到看不过来的记录，也给出了错法。"""
    assert not _record(lambda: tg.ones(2) + 1.0)
    x = tg.ones(60, 60, requires_grad=True)
    assert not _record(lambda: (x @ x @ x).sum().backward())


@pytest.mark.parametrize("toy", TOYS)
def test_faults_are_not_strict_json_or_not_of_the_documented_form(toy: str) -> None:
    """写成的 JSON 不严格，或与正确的反传的写法不同，或缺了一种语言。"""
    trace, found = _toy(toy)
    document = json.loads(json.dumps(faults_json(trace), allow_nan=False))
    right = json.loads(trace.to_json())["backwards"][-1]["steps"]
    assert [one["name"] for one in document] == list(_NAMES)
    for one in document:
        assert all(one[key] for key in ("title_zh", "title_en", "why_zh", "why_en"))
        assert set(one["steps"][0]) == set(right[0])
        assert set(one["steps"][0]["edges"][0]) == set(right[0]["edges"][0])
        assert {int(key) for key in one["grads"]} == set(found[one["name"]].grads)
        assert one["total_steps"] == len(one["steps"])
