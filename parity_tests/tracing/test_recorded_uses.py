"""记录：引擎的各种用法——几趟反传、二阶导、钩子、自定义算子、就地写入、检查点、线程——都照实记下。"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm import nn
from tinygrad_llm.autograd.mode import switch
from tinygrad_llm.ops.bfloat16 import extras
from tinygrad_llm.utils.checkpoint import checkpoint


def _leaf(*values: float) -> Any:
    return tg.tensor(list(values), dtype=tg.float64, requires_grad=True)


def test_several_backwards_accumulate_in_grad() -> None:
    """第二次反传的前后接到了第一次上，或没有记下 ``.grad`` 的累加。"""
    w = _leaf(2.0)
    with tg.trace() as t:
        (w * 3).sum().backward()
        (w * 4).sum().backward()
    assert [one.accumulated[0].before for one in t.backwards] == [None, np.array([3.0])]
    assert [one.accumulated[0].after.tolist() for one in t.backwards] == [[3.0], [7.0]]
    assert [one.steps[-1].edges[0].before for one in t.backwards] == [None, None]
    assert t["w"].grad.tolist() == [7.0] == w.grad.tolist()


def test_grad_leaves_dot_grad_alone() -> None:
    """``autograd.grad`` 的一趟没有记，或记成了累加到 ``.grad``。"""
    x, y = _leaf(2.0), _leaf(5.0)
    with tg.trace() as t:
        h = x * y
        found = tg.autograd.grad((h * h).sum(), [h, x])
    assert [g.tolist() for g in found] == [[20.0], [100.0]]
    assert (t["x"].grad.tolist(), t["h"].grad.tolist(), x.grad) == ([100.0], [20.0], None)
    assert t.backwards[0].accumulated == []


def test_second_derivatives_go_through_recorded_nodes() -> None:
    """``create_graph`` 的反传里新建的节点没有记下，第二次反传就走不到头。"""
    x = _leaf(2.0)
    with tg.trace() as t:
        y = (x**3).sum()
        (g,) = tg.autograd.grad(y, x, create_graph=True)
        (g * g).sum().backward()
    assert len(t.backwards) == 2
    assert t["x"].grad.tolist() == [288.0] == x.grad.tolist()
    assert t["g"].grad.tolist() == [24.0]


def test_hooks_are_seen_before_and_after() -> None:
    """钩子换掉的梯度没有记，或钩子里的运算混进了图里。"""
    x = _leaf(1.0, 2.0)
    with tg.trace() as t:
        h = x * 2
        h.register_hook(lambda g: g * 10)
        x.register_hook(lambda g: g + 1)
        h.sum().backward()
    step = t.backwards[0].steps[1]
    assert (step.arrived.tolist(), step.incoming.tolist()) == ([1.0, 1.0], [10.0, 10.0])
    assert t["x"].grad.tolist() == [21.0, 21.0] == x.grad.tolist()
    assert [node.op for node in t.nodes] == ["mul", "sum_all"]


class _Both(tg.autograd.Function):
    """积与和。"""

    @staticmethod
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        ctx.save_for_backward(x, y)
        return x * y, x + y

    @staticmethod
    def backward(ctx: Any, product: Any, total: Any) -> Any:
        x, y = ctx.saved_tensors
        return product * y + total, product * x + total


def test_custom_functions_are_one_node() -> None:
    """自定义算子的几个输出、它里面的运算、它的源码。"""
    x, y = _leaf(1.0, 2.0), _leaf(3.0, 4.0)
    with tg.trace() as t:
        p, q = _Both.apply(x, y)
        (p * q).sum().backward()
    assert [node.op for node in t.nodes] == ["_Both", "mul", "sum_all"]
    node, step = t.nodes[0], t.backwards[0].steps[-1]
    assert [t.values[i].label for i in node.outputs] == ["p", "q"]
    assert step.incoming_all is not None
    assert [g.tolist() for g in step.incoming_all] == [[4.0, 6.0], [3.0, 8.0]]
    assert "return product * y + total, product * x + total" in node.vjps["*"]
    assert [t["x"].grad.tolist(), t["y"].grad.tolist()] == [x.grad.tolist(), y.grad.tolist()]


class _Square(tg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return 2 * g * x


def test_custom_functions_can_run_again() -> None:
    """单输出的自定义算子重算不出同样的梯度。"""
    x = _leaf(1.0, -3.0)
    with tg.trace() as t:
        _Square.apply(x).sum().backward()
    assert [(i, g.tolist()) for i, g in t.nodes[0].vjp(np.array([1.0, 10.0]))] == [(0, [2.0, -60.0])]


def test_in_place_writes_make_new_values() -> None:
    """就地写入之后仍记作原来的值，或名字丢了。"""
    x = _leaf(1.0, 2.0, 3.0)
    with tg.trace() as t:
        y = x * 2
        y[1] = 0.0
        y *= 3
        y.sum().backward()
        with tg.no_grad():
            x -= 0.1 * x.grad
        z = x * x
    assert t["x"].data.tolist() == [1.0, 2.0, 3.0]
    assert np.allclose(t["x_2"].data, [0.4, 2.0, 2.4])
    assert (t["y"].data.tolist(), t["y_2"].data.tolist()) == ([2.0, 4.0, 6.0], [6.0, 0.0, 18.0])
    assert t.nodes[t["z"].producer or 0].inputs == [t["x_2"].id, t["x_2"].id]
    assert t["x"].grad.tolist() == [6.0, 0.0, 6.0]
    assert z.requires_grad


def test_an_optimizer_step_is_noticed() -> None:
    """优化器绕过算子改写参数，下一步却仍被当成原来的值。"""
    layer = nn.Linear(2, 1)
    optimizer = tg.optim.SGD(layer.parameters(), lr=0.1)
    with tg.trace() as t:
        for _ in range(2):
            optimizer.zero_grad()
            layer(tg.ones(3, 2)).sum().backward()
            optimizer.step()
    first, second = t["layer.weight"], t["layer.weight_2"]
    assert np.allclose(second.data, first.data - 0.1 * first.grad)
    assert t.nodes[0].vjp(np.ones((3, 1)))[0][1].shape == (1, 2)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpoints_are_recorded(use_reentrant: bool) -> None:
    """重算的一段没有记，里面的参数就没有梯度。"""
    layer, x = nn.Linear(2, 2), tg.ones(3, 2, requires_grad=True)
    with tg.trace() as t:
        checkpoint(layer, x, use_reentrant=use_reentrant).sum().backward()
    assert np.array_equal(t["x"].grad, x.grad.array)
    assert np.array_equal(t["layer.weight"].grad, layer.weight.grad.array)


def test_no_grad_results_are_values_without_gradients() -> None:
    """``no_grad`` 里的运算没有记，或被当成叶子。"""
    x = _leaf(1.0)
    with tg.trace() as t, tg.no_grad():
        y = x * 2
        z = y + 1
    assert [(v.label, v.kind, v.requires_grad) for v in t.values] == [
        ("x", "leaf", True), ("constant_1", "constant", False), ("y", "result", False),
        ("constant_2", "constant", False), ("z", "result", False),
    ]  # fmt: skip
    assert [node.needs for node in t.nodes] == [[False, False], [False, False]]
    assert float(z) == 3.0


def test_a_graph_from_before_ends_at_its_values() -> None:
    """记录之前建的图没有节点可记；流到那里的梯度仍要记下。"""
    x = _leaf(3.0)
    h = x * x
    with tg.trace() as t:
        loss = (h * 2).sum()
        loss.backward()
    assert (t["h"].kind, [len(one.steps) for one in t.backwards]) == ("leaf", [2])
    assert x.grad.tolist() == [12.0]


def test_saved_tensor_hooks_and_anomaly_mode_still_work() -> None:
    """记录与别的旁观者互相挤掉。"""
    packed: list[Any] = []

    def pack(tensor: Any) -> Any:
        packed.append(tensor)
        return tensor

    x = _leaf(2.0)
    hooks = tg.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with tg.trace() as t, hooks, tg.autograd.detect_anomaly():
        (x * x).sum().backward()
    assert len(packed) > 0
    assert t["x"].grad.tolist() == [4.0]
    assert [(i, g.tolist()) for i, g in t.nodes[0].vjp(np.array([1.0]))] == [(0, [2.0]), (1, [2.0])]


def test_an_error_inside_leaves_everything_as_it_was() -> None:
    """记录途中出错，引擎还以为有人在记；已经记下的应当仍可看。"""
    users, x = extras.users, _leaf(1.0)
    recording = tg.trace(composed=True)
    with pytest.raises(RuntimeError, match="grad can be implicitly created"), recording as t:
        (x * 2).expand(3).backward()
    assert (extras.users, switch.recorder, switch.composed) == (users, None, False)
    assert [node.op for node in t.nodes] == ["mul", "expand"]
    x.sum().backward()


def test_other_threads_are_not_recorded() -> None:
    """别的线程的运算混进了记录。"""
    x = _leaf(1.0)
    with tg.trace() as t:
        thread = threading.Thread(target=lambda: (x * 2).exp())
        thread.start()
        thread.join()
        x + 1
    assert [node.op for node in t.nodes] == ["add"]


def test_nested_recordings_are_separate() -> None:
    """里层的记录结束之后，外层不再记。"""
    x = _leaf(1.0)
    with tg.trace() as outer:
        a = x * 2
        with tg.trace() as inner:
            b = a + 1
        b.sum().backward()
    assert [node.op for node in inner.nodes] == ["add"]
    assert [node.op for node in outer.nodes] == ["mul", "sum_all"]
