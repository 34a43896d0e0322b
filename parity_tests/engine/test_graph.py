"""图的语义：次序、累加、释放、开关、就地写入，都与 torch 相同。

同一段代码以 ``tinygrad_llm`` 与 ``torch`` 各跑一遍；不同的地方只有内存与引用，单独检查。
"""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

import tinygrad_llm as tg
from parity_tests.tolerances import assert_close

ENGINES = [tg, torch]
each_engine = pytest.mark.parametrize("m", ENGINES, ids=["tinygrad_llm", "torch"])


def _leaf(m: Any, *values: float) -> Any:
    return m.tensor(list(values), dtype=m.float64, requires_grad=True)


@each_engine
def test_a_value_used_twice_gets_both_gradients(m: Any) -> None:
    """菱形图：公共祖先在两条路都到齐之前就反传，梯度少一份或重复计算。"""
    x = _leaf(m, 2.0, 3.0)
    shared = x * x
    calls: list[int] = []
    shared.register_hook(lambda g: calls.append(1))
    deep = shared
    for _ in range(5):
        deep = deep * 2
    (deep + shared + shared.exp() * 0).sum().backward()
    assert x.grad.tolist() == [2 * 2 * 33, 2 * 3 * 33]
    assert calls == [1], "an interior node must run once, when all its gradients have arrived"


def test_nodes_run_in_reverse_creation_order() -> None:
    """反传不按创建次序的倒序：求和次序随内存地址变化，结果就不能逐位复现。"""
    seen: list[int] = []
    x = _leaf(tg, 1.0)
    late = x * 3
    early = [x + i for i in range(4)]
    for i, value in enumerate([late, *early]):
        value.register_hook(lambda g, i=i: seen.append(i))
    (early[2] + late + early[0] + early[3] + early[1]).sum().backward()
    assert seen == [4, 3, 2, 1, 0]


@each_engine
def test_only_leaves_accumulate(m: Any) -> None:
    """中间结果也留下了 ``.grad``，或叶子没有跨次累加。"""
    x = _leaf(m, 1.0, 2.0)
    for times in (1, 2, 3):
        y = x * 3
        y.sum().backward()
        assert x.grad.tolist() == [3.0 * times] * 2
    with pytest.warns(UserWarning, match="not a leaf Tensor"):
        assert y.grad is None


@each_engine
def test_backward_twice_raises_unless_retained(m: Any) -> None:
    """释放过的图再反传一次，静默得到错误的梯度。"""
    x = _leaf(m, 1.0, 2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0, 8.0]
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()
    assert x.grad.tolist() == [4.0, 8.0]


@each_engine
def test_interior_grad_survives_with_retain_grad(m: Any) -> None:
    """``retain_grad`` 没留下中间结果的梯度，或没有排在其它钩子之后。"""
    x = _leaf(m, 1.0, 2.0)
    y = x * 3
    y.retain_grad()
    y.retain_grad()
    y.register_hook(lambda g: g * 10)
    (y * y).sum().backward()
    assert y.grad.tolist() == [60.0, 120.0]
    assert x.grad.tolist() == [180.0, 360.0]
    assert y.retains_grad
    assert not x.retains_grad


@each_engine
def test_hooks_replace_observe_and_come_off(m: Any) -> None:
    """叶子或中间结果上的钩子没有替换梯度，或摘下之后还在执行。"""
    x = _leaf(m, 1.0, 2.0)
    seen: list[Any] = []
    x.register_hook(lambda g: seen.append(g.tolist()))
    doubled = x.register_hook(lambda g: g * 2)
    y = x * 5
    removed = y.register_hook(lambda g: g * 1000)
    removed.remove()
    removed.remove()
    y.register_hook(lambda g: g + 1)
    y.sum().backward()
    assert seen == [[10.0, 10.0]]
    assert x.grad.tolist() == [20.0, 20.0]
    doubled.remove()
    x.grad = None
    (x * 5).sum().backward()
    assert x.grad.tolist() == [5.0, 5.0]
    after: list[Any] = []
    x.register_post_accumulate_grad_hook(lambda t: after.append(t.grad.tolist()))
    (x * 5).sum().backward()
    assert after == [[10.0, 10.0]]


@each_engine
def test_autograd_grad_leaves_grad_alone(m: Any) -> None:
    """``autograd.grad`` 对叶子、中间结果、输出自身、无关输入给错了值，或动了 ``.grad``。"""
    x, unused = _leaf(m, 1.0, 2.0), _leaf(m, 1.0)
    y = x * x
    z = (y * 3).sum()
    gx, gy, gz, nothing = m.autograd.grad(z, [x, y, z, unused], retain_graph=True, allow_unused=True)
    assert (gx.tolist(), gy.tolist(), gz.item(), nothing) == ([6.0, 12.0], [3.0, 3.0], 1.0, None)
    assert x.grad is None
    with pytest.raises(RuntimeError, match="not have been used"):
        m.autograd.grad(z, [x, unused], retain_graph=True)
    (again,) = m.autograd.grad([z, y], x, grad_outputs=[None, m.ones_like(y)])
    assert again.tolist() == [8.0, 16.0]


@each_engine
def test_pruned_part_of_the_graph_is_neither_run_nor_freed(m: Any) -> None:
    """只求中间结果的梯度时，更上游的节点也被执行、被释放。"""
    x = _leaf(m, 2.0)
    calls: list[int] = []
    x.register_hook(lambda g: calls.append(1))
    y = x * x
    z = y * y
    m.autograd.grad(z, y)
    assert not calls
    y.backward()
    assert x.grad.tolist() == [4.0]


@each_engine
def test_backward_with_inputs_touches_only_those(m: Any) -> None:
    """``backward(inputs=…)`` 也累加到了别的叶子，或漏了中间结果。"""
    x, w = _leaf(m, 2.0), _leaf(m, 5.0)
    y = x * w
    (y * 3).backward(inputs=[x, y])
    assert x.grad.tolist() == [15.0]
    assert w.grad is None
    assert y.grad.tolist() == [3.0]
    assert y.retains_grad


@each_engine
def test_detach_and_data_cut_the_graph_but_share_memory(m: Any) -> None:
    """``detach`` 之后还有梯度流过，或内存不再共享。"""
    x = _leaf(m, 1.0, 2.0)
    (x * x.detach()).sum().backward()
    assert x.grad.tolist() == [1.0, 2.0]
    cut = x.detach()
    assert (cut.requires_grad, cut.is_leaf, cut.grad_fn) == (False, True, None)
    cut[0] = 7.0
    x.data[1] = 8.0
    assert x.tolist() == [7.0, 8.0]


@each_engine
def test_in_place_on_a_saved_value_raises(m: Any) -> None:
    """反向要用的值被就地改写，却照常给出错误的梯度。"""
    x = _leaf(m, 1.0, 2.0)
    y = x * 1
    z = (y * y).sum()
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()
    y = x * 1
    out = y.exp()
    out[0] = 5.0
    assert out.requires_grad
    y2 = x * 1
    saved = y2.exp().sum()
    y2.view(-1).detach().add_(1)
    saved.backward()  # exp 留的是输出，改写输入无妨


@each_engine
def test_view_shares_the_version_of_its_base(m: Any) -> None:
    """经由视图改写留下的值，没有被发现。"""
    x = _leaf(m, 1.0, 2.0)
    y = x * 1
    z = (y * y).sum()
    y.detach().view(2, 1)[0] = 9.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


@each_engine
def test_in_place_on_a_leaf_raises_and_works_without_grad(m: Any) -> None:
    """图上的叶子被就地改写却不报错；或 ``no_grad`` 之内的正当写入被拒绝。"""
    x = _leaf(m, 1.0, 2.0)
    writes: list[Callable[[], Any]] = [
        lambda: x.add_(1), lambda: x.__setitem__(0, 1.0), lambda: x[0].add_(1), lambda: x.zero_()
    ]  # fmt: skip
    for write in writes:
        with pytest.raises(RuntimeError):
            write()
    assert x.tolist() == [1.0, 2.0]
    with m.no_grad():
        x.add_(1)
        x[0] = 5.0
        x[1].fill_(6.0)
        x[:1].mul_(2)
    assert (x.tolist(), x.is_leaf, x.requires_grad) == ([10.0, 6.0], True, True)


REUSED: dict[str, Callable[[Any, Any, Any], Any]] = {
    "embedding": lambda m, ids, w: m.nn.functional.embedding(ids, w),
    "cross_entropy": lambda m, ids, w: m.nn.functional.cross_entropy(w, ids),
    "gather": lambda m, ids, w: w.gather(1, ids.unsqueeze(1)),
    "index": lambda m, ids, w: w[ids],
    "masked_fill": lambda m, ids, w: w.masked_fill(ids.unsqueeze(1) > 1, 0.0),
}


@pytest.mark.parametrize("name", sorted(REUSED))
@pytest.mark.fused  # 拆开的交叉熵抄了一份下标，不会报错
def test_reusing_the_index_buffer_never_gives_a_wrong_gradient(name: str) -> None:
    """前向之后、反向之前把装下标的缓冲区换成了下一批：梯度加到了别的行上。"""
    w = tg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]], requires_grad=True)
    ids = tg.tensor([0, 0, 2])
    (expected,) = tg.autograd.grad((REUSED[name](tg, ids, w) ** 2).sum(), w)
    y = (REUSED[name](tg, ids, w) ** 2).sum()
    ids.fill_(1)
    if name in ("index", "masked_fill"):  # 留的是拷贝，或由它算出的掩码：不受影响
        y.backward()
        assert w.grad is not None
        assert_close(w.grad, expected, "exact")
        return
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


IN_PLACE: dict[str, Callable[[Any, Any, Any], Any]] = {
    "add_": lambda m, y, b: y.add_(b, alpha=3),
    "sub_": lambda m, y, b: y.sub_(b),
    "mul_": lambda m, y, b: y.mul_(b),
    "div_": lambda m, y, b: y.div_(b),
    "iadd": lambda m, y, b: y.__iadd__(b),
    "imul": lambda m, y, b: y.__imul__(b),
    "itruediv": lambda m, y, b: y.__itruediv__(b),
    "ipow": lambda m, y, b: y.__ipow__(2),
    "addcmul_": lambda m, y, b: y.addcmul_(b, b, value=0.5),
    "addcdiv_": lambda m, y, b: y.addcdiv_(b, b + 1, value=0.5),
    "lerp_": lambda m, y, b: y.lerp_(b, 0.3),
    "clamp_": lambda m, y, b: y.clamp_(1.5, 2.5),
    "masked_fill_": lambda m, y, b: y.masked_fill_(y.detach() > 2.5, 0.0),
    "setitem": lambda m, y, b: y.__setitem__(slice(0, 2), b[:2]),
    "setitem mask": lambda m, y, b: y.__setitem__(y.detach() > 1.5, 0.5),
    "setitem list": lambda m, y, b: y.__setitem__([2, 0], b[1:]),
    "copy_": lambda m, y, b: y.copy_(b),
    "relu inplace": lambda m, y, b: m.nn.functional.relu(y, inplace=True),
    "silu inplace": lambda m, y, b: m.nn.functional.silu(y, inplace=True),
}


@pytest.mark.parametrize("case", sorted(IN_PLACE))
def test_in_place_results_and_gradients_equal_torch(case: str) -> None:
    """就地运算的值或梯度与 torch 不同。"""
    found = []
    for m in ENGINES:
        x, b = _leaf(m, 1.0, 2.0, 3.0), _leaf(m, 4.0, 5.0, 6.0)
        y = x * 1
        IN_PLACE[case](m, y, b)
        (y * y).sum().backward()
        found.append((y, *(m.zeros_like(t) if t.grad is None else t.grad for t in (x, b))))
    for ours, theirs in zip(*found, strict=True):
        assert_close(ours, theirs, "float64", case)


@pytest.mark.usefixtures("young_heap")
def test_fifty_thousand_nodes_need_no_recursion() -> None:
    """长链在反传或析构时撑爆 C 栈或 Python 栈。"""
    x = _leaf(tg, 1.0)
    y = x
    for _ in range(50_000):
        y = y + 1.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0]
    del y
    gc.collect()


@contextmanager
def _no_cyclic_gc() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _network(x: Any, w: Any) -> Any:
    """经过普通、融合、视图、多输出与自定义算子的一小段图。"""
    h = tg.nn.functional.layer_norm(tg.nn.functional.linear(x, w), (4,))
    a, b = h.split(2, -1)
    h = tg.cat([a.exp(), _Square.apply(b)], -1).softmax(-1)
    q = h.view(1, 1, *h.shape)
    return tg.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True).sum()


class _Square(tg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        """平方，留下输入与输出。"""
        y = x * x
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """``2x g``。"""
        return ctx.saved_tensors[0] * 2 * grad_outputs[0]


@pytest.mark.usefixtures("young_heap")
@pytest.mark.parametrize("mode", ["forward only", "backward", "create_graph"])
def test_graph_is_freed_at_once_without_the_garbage_collector(mode: str) -> None:
    """图里有引用环：关掉循环垃圾回收之后，中间结果的内存还占着。"""
    x, w = tg.randn(3, 4, dtype=tg.float64), tg.randn(4, 4, dtype=tg.float64, requires_grad=True)
    with _no_cyclic_gc():
        loss = _network(x, w)
        if mode == "create_graph":
            (g,) = tg.autograd.grad(loss, w, create_graph=True)
            (h,) = tg.autograd.grad((g * g).sum(), w)
            del g, h
        elif mode == "backward":
            loss.backward()
        node = loss.node
        arrays = [weakref.ref(loss), weakref.ref(loss.array)]
        while node is not None:
            arrays += [weakref.ref(s) for s in node.saved or () if type(s).__name__ == "ndarray" and s.base is None]
            node = next((e for e in node.edges if isinstance(e, tg.autograd.graph.Node)), None)
        arrays = [ref for ref in arrays if ref() is not w.array and ref() is not x.array]
        del loss, node
        assert [ref() for ref in arrays if ref() is not None] == []
        assert gc.collect() == 0, "reference cycles were left behind"


@pytest.mark.usefixtures("young_heap")
def test_number_of_live_tensors_is_constant_over_steps() -> None:
    """每一步多留几个 Tensor：长训练会把内存吃光。"""
    w = tg.randn(4, 4, dtype=tg.float64, requires_grad=True)
    x = tg.randn(3, 4, dtype=tg.float64)
    optimizer = tg.optim.AdamW([w])
    counts = []
    with _no_cyclic_gc():
        for _ in range(30):
            optimizer.zero_grad()
            _network(x, w).backward()
            optimizer.step()
            counts.append(sum(type(o) is tg.Tensor for o in gc.get_objects()))
    assert len(set(counts[2:])) == 1, counts


def test_saved_values_are_dropped_by_backward() -> None:
    """反传之后节点仍占着前向留下的数组。"""
    x = _leaf(tg, 1.0)
    y = x * 2
    z = y * y
    z.backward(retain_graph=True)
    assert z.node is not None
    assert z.node.saved is not None
    z.backward()
    assert z.node.saved is None


SCRIPT = """
import hashlib
import tinygrad_llm as torch
torch.manual_seed(0)
x = torch.randn(16, 8, requires_grad=True)
w = torch.randn(8, 8, requires_grad=True)
h = x
for _ in range(6):
    h = (h @ w).tanh() + h * h.softmax(-1) + h.sin()
h.logsumexp(-1).sum().backward()
print(hashlib.sha256(x.grad.array.tobytes() + w.grad.array.tobytes()).hexdigest())
"""


def test_gradients_are_bit_identical_across_processes() -> None:
    """换一个进程（因而换了哈希种子与内存地址），梯度有一位不同。"""
    found = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    ]
    assert len(found[0].strip()) == 64
    assert found[0] == found[1]


@pytest.mark.parametrize("split", [1, 2, 3, 6])
def test_accumulating_micro_batches_equals_the_whole_batch(split: int) -> None:
    """一个大批次与累加 N 个小批次的梯度不同。"""
    x, w = tg.randn(6, 3, dtype=tg.float64), tg.randn(3, 3, dtype=tg.float64, requires_grad=True)
    ((x @ w) ** 2).sum().backward()
    whole, w.grad = w.grad, None
    for part in x.chunk(split):
        ((part @ w) ** 2).sum().backward()
    assert_close(w.grad, whole, "float64")


def test_gradients_of_two_leaves_never_share_memory() -> None:
    """两个叶子的 ``.grad`` 是同一块内存：就地裁剪会缩两次。"""
    a, b, out = _leaf(tg, 1.0), _leaf(tg, 2.0), tg.ones(1, dtype=tg.float64)
    (a + b).backward(out)
    a.grad.mul_(5)
    assert (b.grad.tolist(), out.tolist()) == ([1.0], [1.0])
