"""一次一个 token 的快路：与 ``slots.py`` 算的是同一回事，省下一切不是读权重的时间。

流入：一个 token、它的槽与位置；流出：输出层之前的特征 ``(C,)``。

批大小为 1 时，一个 token 只是一百来次矩阵乘向量，每次不到 0.2 ms；其余几百次小运算各要几微秒，合起来占三成。
所以这里：中间结果写进预先分配的缓冲，视图事先切好；残差并进矩阵乘法（``addmv``；oneDNN 除外）；没有掩码，
注意力只看活着的长度。
CPU 上、float32 或 float64、线性层都没有换过的模型走得了它，其余照 ``slots.py``。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from torch_llm.decoding.cache import PlainCache, SlotCache
from torch_llm.decoding.products import onednn, prefers_onednn
from torch_llm.gpt import GPT, MLP

__all__ = ["OneToken"]


class _Matrix(NamedTuple):
    """一个线性层或归一化层的权重与偏置；模块的属性要查几张表，逐个 token 地算时，事先取出来省下不少。"""

    weight: Tensor
    bias: Tensor | None


class _Layer(NamedTuple):
    """一层要用的权重与缓存。"""

    ln_1: _Matrix
    c_attn: _Matrix
    c_proj: _Matrix
    ln_2: _Matrix
    c_gate: _Matrix
    c_fc: _Matrix
    mlp_proj: _Matrix
    cache: PlainCache


class OneToken:
    """一个模型的快路；权重可以照常更新，模块不能再换。

    Args:
        model: 模型。
        layers: 各层的缓存。
        rope: 旋转的 ``(cos, sin)``，各为 ``(S, D/2)``；不用旋转编码时为 ``None``。
    """

    def __init__(self, model: GPT, layers: Sequence[PlainCache], rope: tuple[Tensor, Tensor] | None) -> None:
        config, like, blocks = model.config, model.ln_f.weight, list[Any](model.h)
        heads, shared, width, half = config.n_head, config.kv_heads, config.head_size, config.head_size // 2
        self._model, self._rope, self._config = model, rope, config
        self._is_onednn = prefers_onednn(like)
        self._layers = [_layer(block, cache) for block, cache in zip(blocks, layers, strict=True)]
        self._last, self._table = _matrix(model.ln_f), model.wte.weight
        self._head_norms = [(b.attn.q_norm, b.attn.k_norm) if config.qk_norm else () for b in blocks]
        self._normed = torch.empty(config.n_embd, dtype=like.dtype)
        self._epsilon = torch.tensor(config.norm_eps, dtype=like.dtype)
        self._qkv = torch.empty((heads + 2 * shared) * width, dtype=like.dtype)
        split = self._qkv.view(-1, width)
        qk, self._v = split[: heads + shared], split[heads + shared :]
        self._raw_q, self._raw_k = qk[:heads], qk[heads:]
        turned = qk if rope is None else torch.empty_like(qk)
        self._q, self._k = turned[:heads].view(1, shared, -1, width), turned[heads:]
        self._from, self._to = (qk[:, :half], qk[:, half:]), (turned[:, :half], turned[:, half:])
        self._up, self._gate = (torch.empty(config.hidden_size, dtype=like.dtype) for _ in range(2))

    @staticmethod
    def fits(model: GPT, layers: Sequence[SlotCache]) -> bool:
        """这个模型走得了快路吗。"""
        like, blocks = model.ln_f.weight, list[Any](model.h)
        linears = [one for block in blocks for one in (block.attn.c_attn, block.attn.c_proj, *block.mlp.children())]
        return (
            like.device.type == "cpu"
            and like.dtype in (torch.float32, torch.float64)
            and type(model.wte) is nn.Embedding
            and all(type(layer) is PlainCache for layer in layers)
            and all(type(block.mlp) is MLP for block in blocks)
            and all(type(module) is nn.Linear for module in linears)
        )

    def features(self, token: int, slot: int, position: int, begin: int, first: int) -> Tensor:
        """输出层之前的特征 ``(C,)``；k、v 已写进缓存。结果在下一次调用时被盖掉。

        Args:
            token: 下标。
            slot: 它的槽。
            position: 它在序列里的位置。
            begin: 它所在的文档从哪个位置开始。
            first: 它看得见的第一个位置。
        """
        model, mlp_kind = self._model, self._config.mlp
        x = self._table[token]
        if self._rope is None:
            x = x + model.wpe.weight[position - begin]
        for layer, norms in zip(self._layers, self._head_norms, strict=True):
            self._product(layer.c_attn, self._norm(layer.ln_1, x), self._qkv)
            for norm, rows in zip(norms, (self._raw_q, self._raw_k), strict=False):
                rows.copy_(norm(rows))
            x = self._added(x, layer.c_proj, self._attend(layer.cache, slot, position, first))
            h = self._norm(layer.ln_2, x)
            up = self._product(layer.c_fc, h, self._up)
            if mlp_kind == "swiglu":
                up.mul_(F.silu(self._product(layer.c_gate, h, self._gate), inplace=True))
            else:
                up = F.gelu(up, approximate="tanh" if mlp_kind == "gelu_tanh" else "none")
            x = self._added(x, layer.mlp_proj, up)
        return self._norm(self._last, x)

    def _product(self, layer: _Matrix, x: Tensor, out: Tensor) -> Tensor:
        """``W x + b``，写进 ``out``。"""
        if self._is_onednn:
            return out.copy_(onednn(x[None], layer.weight, layer.bias)[0])
        if layer.bias is None:
            return torch.mv(layer.weight, x, out=out)
        return torch.addmv(layer.bias, layer.weight, x, out=out)

    def _added(self, x: Tensor, layer: _Matrix, y: Tensor) -> Tensor:
        """``x + W y + b``。"""
        if self._is_onednn:
            return onednn(y[None], layer.weight, layer.bias)[0].add_(x)
        z = torch.addmv(x, layer.weight, y)
        return z if layer.bias is None else z.add_(layer.bias)

    def _norm(self, norm: _Matrix, x: Tensor) -> Tensor:
        if self._config.norm == "layernorm":
            return F.layer_norm(x, x.shape, norm.weight, norm.bias, self._config.norm_eps)
        scale = self._epsilon.add(torch.dot(x, x), alpha=1 / len(x)).rsqrt_()
        return torch.mul(x, norm.weight, out=self._normed).mul_(scale)

    def _attend(self, cache: PlainCache, slot: int, position: int, first: int) -> Tensor:
        """``qkv`` 缓冲里的这个位置与缓存里看得见的各位置相比，``(H·D,)``。"""
        if self._rope is not None:
            (x, y), (to_x, to_y), cos, sin = self._from, self._to, self._rope[0][position], self._rope[1][position]
            torch.mul(x, cos, out=to_x).addcmul_(y, sin, value=-1)
            torch.mul(y, cos, out=to_y).addcmul_(x, sin)
        k, v = cache.k[slot], cache.v[slot]
        k.select(1, position).copy_(self._k)
        v.select(1, position).copy_(self._v)
        k, v = k[None, :, first : position + 1], v[None, :, first : position + 1]
        return F.scaled_dot_product_attention(self._q, k, v).view(-1)


def _matrix(module: Any) -> _Matrix:
    return _Matrix(module.weight, getattr(module, "bias", None))


def _layer(block: Any, cache: PlainCache) -> _Layer:
    attn, mlp = block.attn, block.mlp
    gate = mlp.c_gate if mlp.kind == "swiglu" else mlp.c_fc
    first, second = (
        (_matrix(block.ln_1), _matrix(attn.c_attn), _matrix(attn.c_proj)),
        (_matrix(block.ln_2), _matrix(gate)),
    )
    return _Layer(*first, *second, _matrix(mlp.c_fc), _matrix(mlp.c_proj), cache)
