"""Tensor 的方法与同名函数：值、形状、dtype 与梯度都与 torch 相同。

表的每一行是一段两边通用的代码；输入是两种 float64 数组，其中一种处处并列。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, same_gradient, table, values
from tinygrad_llm.functions import FUNCTIONS

Case = Callable[[Any, Any], Any]


def _distinct_topk(m: Any, x: Any) -> Any:
    """并列时取哪几个，torch 没有约定；没有并列才比得了下标与梯度。"""
    return (*x.topk(2), *x.topk(1, dim=0, largest=False), x.topk(0).values, m.topk(x, 3, -1).indices)


# x 的形状是 (2, 3, 4)
DIFFERENTIABLE: dict[str, Case] = {
    "neg abs sign": lambda m, x: (-x, x.abs(), abs(x), x.sign(), x.neg()),
    "arithmetic with scalars": lambda m, x: (x + 2, 2 + x, x - 2, 2 - x, x * 2, 2 * x, x / 2, x.add(1), x.sub(1)),
    "alpha": lambda m, x: (x.add(x, alpha=3), x.sub(2, alpha=0.5)),
    "reverse divide": lambda m, x: (2 / (x + 5), (x + 5).reciprocal(), x.div(x + 5), x.mul(x)),
    "powers": lambda m, x: (x**2, x**3, (x + 5) ** 0.5, (x + 5) ** -1, 2.0**x, (x + 5) ** x, x.square(), x.pow(2)),
    "exp log": lambda m, x: (x.exp(), (x + 5).log(), (x + 5).log1p(), (x + 5).sqrt(), (x + 5).rsqrt()),
    "smooth": lambda m, x: (x.sin(), x.cos(), x.tanh(), x.sigmoid(), x.erf()),
    "relu clamp": lambda m, x: (x.relu(), x.clamp(-1, 1), x.clamp(min=0), x.clamp(max=0.5), m.clamp(x, 0, 1)),
    "remainder": lambda m, x: (x % 1.5, (x + 5) % (x + 6)),
    "extremes of two": lambda m, x: (x.maximum(-x), x.minimum(x * 2), m.maximum(x, x), x.max(-x), x.min(-x)),
    "matmul": lambda m, x: (x @ x.mT, x @ x[0].T, x[0] @ x.mT, x @ x[0, 0], x[0, 0] @ x[0].T, x[0, 0] @ x[0, 0]),
    "matmul function": lambda m, x: (m.matmul(x, x.mT), x.matmul(x.transpose(1, 2)), m.outer(x[0, 0], x[0, 1])),
    "sum": lambda m, x: (x.sum(), x.sum(1), x.sum(-1, True), x.sum((0, 2)), x.sum([0, -1], keepdim=True),
        x.sum(dim=())),
    "sum to dtype": lambda m, x: x.sum(0, dtype=m.float32),
    "mean": lambda m, x: (x.mean(), x.mean(-1), x.mean((0, 1), keepdim=True), m.mean(x, dim=1)),
    "var std": lambda m, x: (x.var(), x.var(1), x.var(-1, unbiased=False), x.var((0, 2), keepdim=True)),
    "var correction": lambda m, x: (x.var(1, correction=0), x.var(dim=None, correction=2)),
    "std": lambda m, x: (x + m.arange(24).view(2, 3, 4)).std((0, 1)),
    "norm": lambda m, x: (x.norm(), x.norm(dim=1), x.norm(1, dim=-1), x.norm(float("inf"), 0), x.norm(2, (0, 1), True)),
    "norm at zero": lambda m, x: (x * 0).norm(dim=-1),
    "amax amin": lambda m, x: (x.amax(), x.amax(1), x.amin((0, 2), keepdim=True), x.max(), x.min()),
    "max min with dim": lambda m, x: (*x.max(1), *x.min(-1, keepdim=True), x.max(dim=0).values, x.min(0)[0]),
    "softmax": lambda m, x: (x.softmax(-1), x.softmax(0), x.log_softmax(1), m.softmax(x, dim=1), x.logsumexp(1)),
    "softmax in float32": lambda m, x: (x.softmax(-1, dtype=m.float32), m.log_softmax(x, 0, dtype=m.float32)),
    "logsumexp over two": lambda m, x: (x.logsumexp((0, 2)), x.logsumexp(-1, keepdim=True)),
    "cumsum": lambda m, x: (x.cumsum(0), x.cumsum(-1), m.cumsum(x, dim=1)),
    "sort values": lambda m, x: (x.sort().values, x.sort(0, descending=True)[0], m.sort(x, dim=1).values),
    "topk values": lambda m, x: _distinct_topk(m, x + m.arange(24).view(2, 3, 4) * 1e-3),
    "reshape": lambda m, x: (x.reshape(6, 4), x.reshape((4, -1)), x.view(-1), x.view(2, 12), x.view_as(x.view(24))),
    "flatten": lambda m, x: (x.flatten(), x.flatten(1), x.flatten(0, 1), m.flatten(x, 1, -1), x[0, 0, 0].flatten()),
    "unflatten": lambda m, x: (x.unflatten(2, (2, 2)), x.unflatten(-1, (2, -1))),
    "squeeze": lambda m, x: (x[:1].squeeze(), x[:1].squeeze(0), x.squeeze(1), x.unsqueeze(0), x.unsqueeze(-1)),
    "permute": lambda m, x: (x.permute(2, 0, 1), x.permute((0, -1, 1)), x.transpose(0, -1), x[0].t(), x[0].T, x.mT),
    "expand": lambda m, x: (x[:, :1].expand(2, 3, 4), x[0].expand(5, -1, 4), x[:1].expand_as(x), x.expand(1, *x.shape)),
    "repeat": lambda m, x: (x.repeat(1, 2, 1), x.repeat(2, 1, 1, 1), x.repeat_interleave(2, 1), x.repeat_interleave(3)),
    "repeat counts": lambda m, x: x.repeat_interleave(m.tensor([2, 0, 1]), dim=1),
    "split": lambda m, x: (*x.split(2, -1), *x.split([1, 2], dim=1), *m.split(x, 5), *x.chunk(2, 1), *x.chunk(3, -1)),
    "unbind": lambda m, x: (*x.unbind(), *x.unbind(-1), *m.unbind(x, 1), *list(x)),
    "narrow": lambda m, x: (x.narrow(1, 1, 2), x.narrow(-1, -3, 2), x.narrow(0, 2, 0)),
    "cat stack": lambda m, x: (m.cat([x, x * 2], 1), m.cat((x, x), dim=-1), m.stack([x, x], 0), m.stack([x, x], -1)),
    "cat of empties": lambda m, x: (m.cat([x, x[:, :0]], 1), m.cat([m.zeros(0, dtype=m.float64), x[0, 0]])),
    "gather": lambda m, x: (x.gather(1, m.tensor([[[0, 2, 1, 1]]])), m.gather(x, -1, m.zeros(2, 3, 6, dtype=m.int64))),
    "index_select": lambda m, x: (x.index_select(1, m.tensor([2, 0, 0])), m.index_select(x, -1, m.tensor(1))),
    "masked": lambda m, x: (x.masked_fill(x.detach() > 0, -1.5), x.masked_select(x.detach() > 0)),
    "masked by a tensor": lambda m, x: x.masked_fill(x.detach() > 0, x[0, 0, 0]),
    "masked broadcast": lambda m, x: x.masked_fill(m.tensor([True, False, True, False]), float("-inf")).exp(),
    "where": lambda m, x: (m.where(x.detach() > 0, x, 0.0), m.where(x.detach() > 0, x, x * 2), m.where(x < 0, 1, x)),
    "triangles": lambda m, x: (x.tril(), x.triu(1), m.tril(x, -1), x[0].triu(-1)),
    "flip": lambda m, x: (x.flip(0), x.flip(0, -1), m.flip(x, (1,)), m.flip(x, [0, 2])),
    "clone contiguous": lambda m, x: (x.clone(), x.mT.contiguous(), x.contiguous()),
    "casts": lambda m, x: (x.float(), x.to(m.float32), x.double(), x.half().double(), x.type_as(m.ones(1))),
    "to": lambda m, x: (x.to("cpu"), x.to(m.ones(1)), x.to(dtype=m.float32, copy=True), x.to(device="cpu"), x.cpu()),
}  # fmt: skip


@pytest.mark.parametrize("domain", ["normal", "ties"])
@pytest.mark.parametrize("case", table(DIFFERENTIABLE))
def test_values_and_gradients_equal_torch(case: Case, domain: str) -> None:
    """某个方法的值、形状、dtype 或梯度与 torch 不同。"""
    lossy = case in [DIFFERENTIABLE[name] for name in ("casts", "to", "softmax in float32")]
    same_gradient(case, values(0, 2, 3, 4, domain=domain), "float32" if lossy else "float64")


PLAIN: dict[str, Case] = {
    "sort indices": lambda m, x: (x.sort(stable=True).indices, m.sort(x, dim=0, descending=True, stable=True).indices),
    "comparisons": lambda m, x: (x > 0, x >= 0, x < 0, x <= 0, x == 0, x != 0, x > -x, x > 0, x == None),  # noqa: E711
    "bitwise": lambda m, x: ((x > 0) & (x < 1), (x > 0) | (x < -1), (x > 0) ^ (x < 1), ~(x > 0), True & (x > 0)),
    "integer bitwise": lambda m, x: (x.long() & 3, x.long() | 1, x.long() ^ 5, ~x.long(), x.int() & x.long()),
    "floor division": lambda m, x: (x // 0.7, 3 // (x + 9), x.long() // 2, 7 // (x.long() + 9), x.long() // 1.5),
    "integer remainder": lambda m, x: (x.long() % 3, -x.long() % 3, x % -0.7, 7 % (x.long() + 9)),
    "integer power": lambda m, x: (x.long() ** 2, 2 ** (x.long() + 5), x.long() ** 0.5, 2.5 ** x.long(),
        x.int() ** x.long().abs()),
    "argmax": lambda m, x: (x.argmax(), x.argmax(1), x.argmin(-1, keepdim=True), m.argmax(x, dim=0), m.argmin(x)),
    "argsort": lambda m, x: (m.argsort(x, dim=1, stable=True) if m is torch else x.argsort(1)),
    "all any": lambda m, x: ((x > 0).all(), (x > 0).any(1), (x > -9).all(-1, keepdim=True), m.any(x > 9)),
    "nan": lambda m, x: ((x / 0).isnan(), (x / 0).isfinite(), m.isnan(x), x.logical_not(), m.logical_not(x > 0)),
    "nonzero": lambda m, x: ((x > 0).nonzero(), *(x > 0).nonzero(as_tuple=True), m.nonzero(x), m.tensor(3).nonzero()),
    "unique": lambda m, x: m.unique((x * 2).long()),
    "one element": lambda m, x: (x[0, 0, 0].item(), float(x[0, 0, 0]), int(x[0, 0, 0] * 9), bool(x[0, 0, 0] > 0)),
    "lists": lambda m, x: (x.tolist(), x[0, 0, 0].tolist(), (x > 0).tolist()),
    "shape": lambda m, x: (tuple(x.shape), x.shape.numel(), x.size(1), tuple(x.size()), x.dim(), x.ndim, len(x),
        x.numel()),
    "properties": lambda m, x: (x.dtype, x.element_size(), x.itemsize, x.is_floating_point(), str(x.device),
        x.nelement()),
    "layout": lambda m, x: (x.is_contiguous(), x.mT.is_contiguous(), x[:, :, ::2].is_contiguous(),
        x[0].is_contiguous()),
    "format": lambda m, x: (f"{x[0, 0, 0]:.3f}", f"{x[0, 0, 0].long():04d}"),
    "equal": lambda m, x: (m.equal(x, x * 1), m.equal(x, x[0]), m.allclose(x, x + 1e-9), m.allclose(x, x + 1e-3)),
    "is": lambda m, x: (m.is_tensor(x), m.is_tensor(3), m.numel(x)),
    "new": lambda m, x: (x.new_zeros(2, 3), x.new_ones((2,)), m.zeros_like(x), m.ones_like(x, dtype=m.int64),
        m.full_like(x, 3)),
    "integer sums": lambda m, x: (x.long().sum(), x.int().sum(0), (x > 0).sum(1), x.int().cumsum(0),
        (x > 0).cumsum(-1)),
    "integer extremes": lambda m, x: (x.long().max(), *x.long().max(1), x.long().amax(0), x.long().clamp(0, 1),
        x.long().abs()),
    "integer clamp with floats": lambda m, x: x.long().clamp(-0.5, 0.5),
    "zero dimensions": lambda m, x: (x[0, 0, 0].sum(0), x[0, 0, 0].softmax(0), *x[0, 0, 0].max(0), x[0, 0,
        0].cumsum(-1)),
    "zero-dimensional sort": lambda m, x: (*x[0, 0, 0].sort(), x[0, 0, 0].argmax(0), x[0, 0, 0].squeeze(0), x[0, 0,
        0].t()),
    "empty": lambda m, x: (x[:0].sum(), x[:0].sum(0), x[:0].mean(), x[:0].softmax(-1), x[:0].reshape(0, 12),
        x[:0].amax(1)),
    "masks of integers": lambda m, x: (x.long().masked_fill(x > 0, 7), m.where(x > 0, 1, 2.5), m.where(x > 0, 1, 2)),
    "topk of integers": lambda m, x: (x.long().topk(2, sorted=True).values, m.topk(x, 2, dim=1)[0]),
    "contains": lambda m, x: [1.0 in m.tensor([1.0, 2.0]), 3.0 in m.tensor([1.0, 2.0])],
    "hash": lambda m, x: len({x, x, x * 1}),
    "numpy": lambda m, x: (x.numpy().sum(), np.asarray(x).shape, np.array(x, dtype=np.float32).dtype == np.float32),
    "numpy scalars": lambda m, x: (x.float() * np.float64(2.0), np.float64(2.0) * x.float(),
        x.long() + np.float32(0.5), x.float() ** np.float64(2)),
}  # fmt: skip


@pytest.mark.parametrize("domain", ["normal", "ties"])
@pytest.mark.parametrize("case", table(PLAIN))
def test_results_without_gradients_equal_torch(case: Case, domain: str) -> None:
    """某个方法的值、形状或 dtype 与 torch 不同。"""
    same(lambda m: case(m, m.tensor(values(1, 2, 3, 4, domain=domain))))


def test_every_function_is_also_a_method_and_documented() -> None:
    """门面上有函数不在 torch 里、没有同名方法，或没有文档。"""
    for name, function in FUNCTIONS.items():
        assert hasattr(torch, name), name
        assert getattr(tg, name) is function or name == "trace"  # 不给矩阵时，trace() 打开一份记录
        assert function.__doc__ == getattr(tg.Tensor, name).__doc__
        assert function.__doc__


def test_every_public_name_exists_in_torch() -> None:
    """门面上有 torch 没有的名字：``import tinygrad_llm as torch`` 的承诺反过来也要成立。"""
    ours_only = {"FUNCTIONS", "dtypes", "gradcheck", "gradgradcheck"}
    assert [name for name in tg.__all__ if name not in ours_only and not hasattr(torch, name)] == []
    public = [n for n in dir(tg.Tensor) if not n.startswith("_")]
    inner = {"array", "node", "needs_grad", "base", "base_node", "hooks", "grad_buffer", "kept_grad", "wrap"}
    inner |= {"from_edge", "write", "watch", "refreshed", "view_path", "one_of_many", "is_node", "touch", "untracked"}
    inner |= {"way_back", "detached_at", "viewed_in_no_grad", "settle", "stand_alone"}
    assert [name for name in public if name not in inner and not hasattr(torch.Tensor, name)] == []


def test_a_missing_name_says_so() -> None:
    """没有的名字给出别的错误，或静默返回什么。"""
    with pytest.raises(AttributeError, match="onnx"):
        _ = tg.onnx
    with pytest.raises(AttributeError, match="to_sparse"):
        tg.ones(1).to_sparse()  # type: ignore[attr-defined]


ELSEWHERE: dict[str, Callable[[Any], Any]] = {
    "ones": lambda m: m.ones(1, device="cuda"),
    "tensor": lambda m: m.tensor([1.0], device=m.device("cuda", 0)),
    "arange": lambda m: m.arange(3, device="cuda"),
    "randn": lambda m: m.randn(3, device="cuda"),
    "like": lambda m: m.zeros_like(m.ones(1), device="cuda"),
    "to": lambda m: m.ones(1).to("cuda:0"),
    "to a device": lambda m: m.ones(1).to(device=m.device("cuda"), dtype=m.float64),
    "cuda": lambda m: m.ones(1).cuda(),
    "module": lambda m: m.nn.Linear(1, 1).to("cuda"),
    "module.cuda": lambda m: m.nn.Linear(1, 1).cuda(),
    "layer": lambda m: m.nn.Linear(1, 1, device="cuda"),
    "default": lambda m: _under(m, "cuda"),
    "unknown": lambda m: m.device("gpu"),
    **({} if torch.version.cuda else {"index": lambda m: m.device(0)}),  # 带 CUDA 的 torch 认得出 0 号，只是用不了
    "synchronize": lambda m: m.cuda.synchronize(),
    "get_device_name": lambda m: m.cuda.get_device_name(),
}


def _under(m: Any, name: str) -> Any:
    with m.device(name):
        return m.ones(1)


@pytest.mark.parametrize("use", table(ELSEWHERE))
def test_tensors_on_other_devices_are_refused(use: Callable[[Any], Any]) -> None:
    """要别的设备时悄悄给了 CPU，或报错的类型与用不了 GPU 的 torch 不同。"""
    if torch.cuda.is_available():  # 有显卡的机器上 torch 不报错，我们照样要报
        with pytest.raises(RuntimeError):
            use(tg)
    else:
        same_error(use)


def test_other_devices_can_be_named() -> None:
    """没有 GPU 的机器上，连 ``device("cuda")`` 都写不出：比较设备、读配置的代码跑不起来。"""
    for m in ENGINES:
        found = [m.device(name) for name in ("cpu", "cuda", "cuda:1", "mps", "meta")]
        assert [(d.type, d.index, str(d)) for d in found[:3]] == [
            ("cpu", None, "cpu"), ("cuda", None, "cuda"), ("cuda", 1, "cuda:1"),
        ]  # fmt: skip
        assert m.device("cuda", 1) == found[2] != found[1]
        assert m.ones(1).device == found[0] != found[1]
    assert issubclass(tg.cpu.DeviceError, RuntimeError)  # 两种 except 都接得住
