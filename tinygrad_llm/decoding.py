"""NumPy 引擎的解码：模型的算式写在数组上，几个序列一起算。

一个 token 只有几十次矩阵乘向量，走自动求导的算子，记账要占去一成多的时间；这里直接写在数组上，与模型自己的前向同义。

流入：各槽的新 token；流出：各槽下一个的 logits。记账与分组在 ``common/decoding/slots.py``，与 PyTorch 那份共用。
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

import tinygrad_llm as tg
from tinygrad_llm import nn
from tinygrad_llm.common.decoding.slots import Group, Ledger, OneSlot, Plan, Rows, untouched
from tinygrad_llm.gpt import GPT, rope_table
from tinygrad_llm.ops import cores
from tinygrad_llm.ops.gelu import gelu, gelu_tanh
from tinygrad_llm.ops.linear import linear
from tinygrad_llm.ops.op import Array

__all__ = ["NumpyDecoder", "NumpySlots"]

_FEW = 32
"""至多这么多行时，算一次线性层的时间就是读一遍权重的时间：让 BLAS 自己用满各核。"""
_CHUNK = 256
"""一行一次至多喂这么多个新 token：注意力的分数矩阵因此有界。"""


class NumpySlots:
    """NumPy 上的 ``BatchDecoder``。

    Args:
        model: 模型；用它的时候处于 ``eval`` 状态。
        slots: 同时写几个序列。
        context: 每个槽的上限；缺省是模型的上下文。
        kv_cache: ``"plain"`` 与激活同类型；``"int8"`` 占四分之一的内存，有误差。
        threads: 用几个线程；缺省不动它。

    Attributes:
        slots: 有几个槽。
        context: 每个槽最多装几个 token。
    """

    def __init__(
        self, model: GPT, slots: int = 1, context: int | None = None, kv_cache: Literal["plain", "int8"] = "plain",
        threads: int | None = None,
    ) -> None:  # fmt: skip
        config, like = model.config, model.ln_f.weight
        self.model, self._ledger, self._threads = model, Ledger(config, slots, context), threads or cores.threads()
        self.slots, self.context = slots, self._ledger.context
        shape = (slots, config.kv_heads, self.context, config.head_size)
        kind: type[PlainCache | Int8Cache] = Int8Cache if kv_cache == "int8" else PlainCache
        self._layers: list[Any] = [kind(shape, like.array.dtype) for _ in range(config.n_layer)]
        self._blocks = [_bound(block) for block in model.h]
        self._last = _bound_norm(model.ln_f)
        self._rope: tuple[Array, ...] | None = None
        if config.position == "rope":
            self._rope = tuple(
                table.array[:, None] for table in rope_table(config, 0, self.context, like)
            )  # (S, 1, D/2)

    def length(self, slot: int) -> int:
        """槽里有几个 token。"""
        return self._ledger.lengths[slot]

    def truncate(self, slot: int, length: int) -> None:
        """只留槽里的前 ``length`` 个 token。"""
        self._ledger.truncate(slot, length)

    def share(self, source: int, target: int, length: int) -> None:
        """把 ``source`` 的前 ``length`` 个 token 的缓存复制给 ``target``。"""
        self._ledger.share(source, target, length)
        if source != target:
            for layer in self._layers:
                layer.share(source, target, length)

    def feed(self, rows: Rows) -> NDArray[Any]:
        """各槽接着喂进新 token；返回各行最后一个位置的 logits ``(n, V)``。

        Raises:
            ContextError: 有一行超出了上下文。
        """
        self._ledger.plan(rows)  # 先查完：半路报错就已经喂进去一截了
        while max(len(ids) for _, ids in rows) > _CHUNK:
            self._features(self._ledger.plan([(slot, ids[:_CHUNK]) for slot, ids in rows if len(ids) > _CHUNK]))
            rows = [(slot, ids[_CHUNK:] if len(ids) > _CHUNK else ids) for slot, ids in rows]
        plan = self._ledger.plan(rows)
        return self._logits(self._features(plan)[plan.last])

    def feed_all(self, rows: Rows) -> list[NDArray[Any]]:
        """与 ``feed`` 相同，但返回每行全部新位置的 logits ``(T, V)``。"""
        plan = self._ledger.plan(rows)
        logits = self._logits(self._features(plan))
        return [logits[span] for span in plan.spans]

    def features(self, rows: Rows) -> list[NDArray[Any]]:
        """与 ``feed_all`` 相同，但返回输出层之前的特征 ``(T, C)``：文字的向量由它而来。"""
        plan = self._ledger.plan(rows)
        found = self._features(plan)
        return [found[span] for span in plan.spans]

    def _features(self, plan: Plan) -> Array:
        """输出层之前的特征 ``(N, C)``；缓存与账都已写好。"""
        model = self.model
        if model.training:  # 逐个模块切换要一两毫秒，不能每步都来
            model.eval()
        x = _rows_of(model.wte, plan.ids)
        rope = None
        if self._rope is None:
            x = x + _rows_of(model.wpe, plan.positions - plan.begins)
        else:
            rope = tuple(table[plan.positions] for table in self._rope)
        few = len(x) <= _FEW
        with tg.no_grad(), cores.blas_threads(self._threads if few else 1):
            for block, layer in zip(self._blocks, self._layers, strict=True):
                x = x + _attend(block, layer, _norm(block.ln_1, x), rope, plan)
                x = x + _feed_forward(block, _norm(block.ln_2, x))
            self._ledger.commit(plan)
            return _norm(self._last, x)

    def _logits(self, x: Array) -> Array:
        model = self.model
        with tg.no_grad(), cores.blas_threads(self._threads if len(x) <= _FEW else 1):
            if "logits" in vars(model) or type(model).logits is not GPT.logits:  # 换过的输出层（如量化的）
                return model.logits(tg.from_numpy(x)).array
            return _product(x, model.head_weight().array)


class NumpyDecoder(OneSlot):
    """只写一个序列：「喂进 token、得到下一个的 logits」。

    Args:
        model: 模型。
        threads: 用几个线程；缺省不动它。

    Attributes:
        context: 最长上下文。
    """

    def __init__(self, model: GPT, threads: int | None = None) -> None:
        super().__init__(NumpySlots(model, threads=threads))


class PlainCache:
    """一层的 KV 缓存，与激活同类型。

    Args:
        shape: ``(slots, Hkv, S, D)``；没有写过的内存不占用。
        dtype: 类型。
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.k, self.v = untouched(shape, dtype), untouched(shape, dtype)

    def write(self, plan: Plan, k: Array, v: Array) -> None:
        """写进 N 个 token 的 k、v ``(N, Hkv, D)``。"""
        self.k[plan.slots, :, plan.positions], self.v[plan.slots, :, plan.positions] = k, v

    def read(self, group: Group) -> tuple[Array, Array]:
        """一组要看的 k、v，各为 ``(rows, Hkv, hi - lo, D)`` 的视图。"""
        rows, at = slice(group.first, group.first + group.rows), slice(group.lo, group.hi)
        return self.k[rows, :, at], self.v[rows, :, at]

    def share(self, source: int, target: int, length: int) -> None:
        """把一个槽的前 ``length`` 个位置复制给另一个。"""
        for held in (self.k, self.v):
            held[target, :, :length] = held[source, :, :length]


class Int8Cache:
    """每个头、每个位置一个比例：``x ≈ scale · q``，``scale = max|x| / 127``；误差不超过半个 ``scale``。

    Args:
        shape: ``(slots, Hkv, S, D)``。
        dtype: 读的时候还原成的类型。
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.dtype = dtype
        self.held = [(untouched(shape, np.int8), untouched((*shape[:3], 1), np.float32)) for _ in range(2)]

    def write(self, plan: Plan, k: Array, v: Array) -> None:
        """见 ``PlainCache``。"""
        for (q, scale), x in zip(self.held, (k, v), strict=True):
            exact = x.astype(np.float32)
            size = np.abs(exact).max(-1, keepdims=True) / np.float32(127)
            q[plan.slots, :, plan.positions] = np.rint(exact / np.maximum(size, np.finfo(np.float32).tiny))
            scale[plan.slots, :, plan.positions] = size

    def read(self, group: Group) -> tuple[Array, Array]:
        """见 ``PlainCache``；是新的数组。"""
        rows, at = slice(group.first, group.first + group.rows), slice(group.lo, group.hi)
        k, v = ((q[rows, :, at] * scale[rows, :, at]).astype(self.dtype) for q, scale in self.held)
        return k, v

    def share(self, source: int, target: int, length: int) -> None:
        """见 ``PlainCache``。"""
        for pair in self.held:
            for held in pair:
                held[target, :, :length] = held[source, :, :length]


def _rows_of(table: Any, ids: NDArray[np.int64]) -> Array:
    """词嵌入的几行；换过的模块照它自己的算法。"""
    found: Array = table.weight.array[ids] if type(table) is nn.Embedding else table(tg.from_numpy(ids)).array
    return found


def _product(x: Array, weight: Array) -> Array:
    """``x Wᵀ``，``(N, C) → (N, V)``；行数少时写成 ``W xᵀ``，OpenBLAS 算它快两成。"""
    if len(x) == 1:
        return weight.dot(x[0])[None]  # type: ignore[no-any-return]
    if len(x) <= _FEW:
        return (weight @ x.T).T
    return linear(x, weight, None)  # type: ignore[no-any-return]


class _Linear(NamedTuple):
    """一个线性层；模块的属性要查几张表，逐个 token 地算时，事先取出来省下一毫秒多。"""

    module: Any
    weight: Any
    bias: Any

    def __call__(self, x: Array) -> Array:
        """``x Wᵀ + b``；换过的模块照它自己的算法。"""
        if self.weight is None:
            return self.module(tg.from_numpy(x)).array  # type: ignore[no-any-return]
        y = _product(x, self.weight.array)
        if self.bias is not None:
            y += self.bias.array
        return y


class _Norm(NamedTuple):
    """一个归一化层。"""

    weight: Any
    bias: Any
    is_centred: bool
    eps: float


class _Block(NamedTuple):
    """一层里要用的东西。"""

    ln_1: _Norm
    ln_2: _Norm
    c_attn: _Linear
    c_proj: _Linear
    c_gate: _Linear | None
    c_fc: _Linear
    mlp_proj: _Linear
    head_norms: tuple[_Norm, ...]
    heads: int
    shared: int
    width: int
    mlp: str


def _bound(block: Any) -> _Block:
    attn, mlp = block.attn, block.mlp
    norms = tuple(_bound_norm(norm) for norm in ((attn.q_norm, attn.k_norm) if attn.qk_norm else ()))
    gate = _bound_linear(mlp.c_gate) if mlp.kind == "swiglu" else None
    return _Block(
        _bound_norm(block.ln_1), _bound_norm(block.ln_2), _bound_linear(attn.c_attn), _bound_linear(attn.c_proj), gate,
        _bound_linear(mlp.c_fc), _bound_linear(mlp.c_proj), norms, attn.n_head, attn.n_kv_head, attn.head_dim, mlp.kind,
    )  # fmt: skip


def _bound_linear(module: Any) -> _Linear:
    return _Linear(module, module.weight, module.bias) if type(module) is nn.Linear else _Linear(module, None, None)


def _bound_norm(module: Any) -> _Norm:
    return _Norm(module.weight, getattr(module, "bias", None), hasattr(module, "bias"), module.eps)


def _norm(norm: _Norm, x: Array) -> Array:
    width = x.dtype.type(x.shape[-1])
    if len(x) == 1 and x.ndim == 2 and not norm.is_centred:  # 一行：比例是一个数，少几次小数组的运算
        row: Array = x * norm.weight.array
        row *= 1 / np.sqrt(x[0].dot(x[0]) / width + x.dtype.type(norm.eps))
        return row
    if norm.is_centred:
        x = x - np.add.reduce(x, axis=-1, keepdims=True) / width
    y: Array = x * (1 / np.sqrt(np.vecdot(x, x) / width + x.dtype.type(norm.eps)))[..., None]
    y *= norm.weight.array
    if norm.bias is not None:
        y += norm.bias.array
    return y


def _rotated(x: Array, cos: Array, sin: Array) -> Array:
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    return np.concatenate((first * cos - second * sin, second * cos + first * sin), -1)


def _attend(block: _Block, layer: Any, x: Array, rope: tuple[Array, ...] | None, plan: Plan) -> Array:
    """一层的注意力 ``(N, C) → (N, C)``：新的 k、v 写进缓存，各组的 q 与各自的缓存相比。"""
    heads, shared, width = block.heads, block.shared, block.width
    qkv = block.c_attn(x).reshape(len(x), heads + 2 * shared, width)
    qk, v = qkv[:, : heads + shared], qkv[:, heads + shared :]
    if block.head_norms:
        q_norm, k_norm = block.head_norms
        qk = np.concatenate((_norm(q_norm, qk[:, :heads]), _norm(k_norm, qk[:, heads:])), 1)
    if rope is not None:
        qk = _rotated(qk, *rope)
    layer.write(plan, qk[:, heads:], v)
    q = qk[:, :heads] * x.dtype.type(1 / math.sqrt(width))
    outs = [_attend_group(q[group.tokens], layer.read(group), group) for group in plan.groups]
    return block.c_proj((outs[0] if len(outs) == 1 else np.concatenate(outs)).reshape(len(x), -1))


def _attend_group(q: Array, held: tuple[Array, Array], group: Group) -> Array:
    """一组 ``(n·width, H, D)``；共用 K/V 头的查询并成一组的几行，K/V 不必复制（GQA）。"""
    k, v = held
    shared, size, length = k.shape[1], k.shape[2], group.width
    q = q.reshape(len(group.members), length, shared, -1, q.shape[-1]).transpose(0, 2, 3, 1, 4)  # (n, Hkv, G, T, D)
    if len(group.members) < group.rows:
        padded = np.zeros((group.rows, *q.shape[1:]), q.dtype)
        padded[group.members] = q
        q = padded
    rows, _, per, _, width = q.shape
    scores = (q.reshape(rows, shared, per * length, width) @ k.swapaxes(2, 3)).reshape(rows, shared, per, length, size)
    visible = np.tri(size, dtype=np.bool_)[None] if group.is_causal else group.visible
    if visible is not None:
        scores = np.where(visible[:, None, None], scores, -np.inf)
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= np.add.reduce(scores, axis=-1, keepdims=True)
    y = (scores.reshape(rows, shared, per * length, size) @ v).reshape(rows, shared, per, length, width)
    if len(group.members) < group.rows:
        y = y[group.members]
    return y.transpose(0, 3, 1, 2, 4).reshape(-1, shared * per, width)


def _feed_forward(block: _Block, x: Array) -> Array:
    if block.c_gate is not None:
        return block.mlp_proj(_silu(block.c_gate(x)) * block.c_fc(x))
    activation = gelu_tanh if block.mlp == "gelu_tanh" else gelu
    return block.mlp_proj(activation(block.c_fc(x)))


def _silu(x: Array) -> Array:
    """``x σ(x) = h (1 + tanh h)``，``h = x/2``：不会溢出，几行的小数组上比分块的 ``silu`` 省一半时间。"""
    half = x * x.dtype.type(0.5)
    y: Array = np.tanh(half)
    y += 1
    y *= half
    return y
