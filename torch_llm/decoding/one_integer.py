"""量化了的模型一次一个 token 的快路；浮点的见 ``one.py``。

流入：一个 token、它的槽与位置；流出：输出层之前的特征 ``(C,)``。

整数的权重读得快了，权重之外的小运算便占去一半时间：每个几微秒，一层几十个。所以这里尽量少派发：各层的缓存一次切好；
激活只在进内核之前舍入一次；RMSNorm 借用一次算完的 LayerNorm：``x`` 与 ``-x`` 接在一起，均值为 0，方差就是均方。
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from torch_llm.gpt import GPT
from torch_llm.quantization.kernels import LOW, Kernel
from torch_llm.quantization.model import PackedEmbedding, PackedGatedMLP, PackedLinear

__all__ = ["OneInteger"]


class _Matrix(NamedTuple):
    """一个线性层。"""

    multiply: Kernel
    bias: Tensor | None

    def into(self, out: Tensor, x: Tensor) -> None:
        """``W x + b`` 写进 ``out``。"""
        out.copy_(self.multiply(x))
        if self.bias is not None:
            out.add_(self.bias)


class _Norm(NamedTuple):
    """一个归一化层；RMSNorm 的权重后面接着同样多个 0。"""

    weight: Tensor
    bias: Tensor | None


class _Layer(NamedTuple):
    """一层要用的权重；``rise`` 是升维的各个矩阵与各自写到哪里。"""

    ln_1: _Norm
    c_attn: _Matrix
    c_proj: _Matrix
    ln_2: _Norm
    rise: tuple[tuple[_Matrix, Tensor], ...]
    mlp_proj: _Matrix
    head_norms: tuple[Any, ...]


class OneInteger:
    """一个量化了的模型的快路；模块不能再换。

    Args:
        model: 模型。
        cache: 各层的缓存 ``(layers, 2, slots, Hkv, S, D)``。
        rope: 旋转的 ``(cos, ±sin)``，各为 ``(S, 1, D)``；不用旋转编码时为 ``None``。
    """

    def __init__(self, model: GPT, cache: Tensor, rope: tuple[Tensor, Tensor] | None) -> None:
        config = model.config
        heads, shared, width = config.n_head, config.kv_heads, config.head_size
        self._model, self._config, self._cache = model, config, cache
        self._rope = None if rope is None else tuple(one[:, 0] for one in rope)
        self._is_rms = config.norm == "rmsnorm"
        self._pair = torch.empty(1, (2 if self._is_rms else 1) * config.n_embd)
        self._x = self._pair[:, : config.n_embd]
        self._streams = self._pair.view(-1, config.n_embd)
        self._signs = torch.tensor([[1.0], [-1.0]])[: len(self._streams)]
        self._low_pair = torch.empty_like(self._pair, dtype=LOW)
        self._low = self._low_pair[:, : config.n_embd]
        self._qkv = torch.empty(1, (heads + 2 * shared) * width)
        split = self._qkv.view(-1, width)
        self._raw = split[:heads], split[heads : heads + shared]
        self._qk = split[: heads + shared]
        if rope is not None:  # 前后两半，与各自要加上的
            turned = torch.empty_like(self._qk)
            self._turned, half = turned, width // 2
            self._from, self._to = (self._qk[:, half:], self._qk[:, :half]), (turned[:, :half], turned[:, half:])
        self._q, self._kv = split[:heads].view(1, shared, -1, width), split[heads:].view(2, shared, width)
        self._mixed = torch.empty(1, heads * width, dtype=LOW)
        self._by_heads = self._mixed.view(self._q.shape)
        self._both = torch.empty(1, 2 * config.hidden_size)
        self._gate, self._up = self._both[:, : config.hidden_size], self._both[:, config.hidden_size :]
        self._hidden = torch.empty(1, config.hidden_size, dtype=LOW)
        self._layers = [self._layer(block) for block in model.h]
        self._last = self._norm_of(model.ln_f)

    @staticmethod
    def fits(model: GPT) -> bool:
        """这个模型走得了快路吗：在 CPU 上，词嵌入与各线性层都换成了整数的，且要快的内核。"""
        modules: list[Any] = [module for block in model.h for module in _linears(block)]
        table: Any = model.wte
        return isinstance(table, PackedEmbedding) and all(
            isinstance(one, PackedLinear) and one.weight.is_fast for one in modules
        )

    def features(self, token: int, slot: int, position: int, begin: int, first: int) -> Tensor:
        """输出层之前的特征 ``(C,)``；k、v 已写进缓存。

        Args:
            token: 下标。
            slot: 它的槽。
            position: 它在序列里的位置。
            begin: 它所在的文档从哪个位置开始。
            first: 它看得见的第一个位置。
        """
        self._start(token, position - begin)
        turn = None if self._rope is None else self._turn(position)
        mine = self._cache[:, :, slot]
        seen = mine[:, :, None, :, first : position + 1]
        attended = zip(mine[..., position, :].unbind(0), seen[:, 0].unbind(0), seen[:, 1].unbind(0), strict=True)
        q, kv, by_heads, mixed = self._q, self._kv, self._by_heads, self._mixed
        for layer, (place, k, v) in zip(self._layers, attended, strict=True):
            layer.c_attn.into(self._qkv, self._normed(layer.ln_1))
            for norm, rows in zip(layer.head_norms, self._raw, strict=False):
                rows.copy_(norm(rows))
            if turn is not None:
                self._rotate(*turn)
            place.copy_(kv)
            by_heads.copy_(F.scaled_dot_product_attention(q, k, v))
            self._add(layer.c_proj, mixed)
            self._add(layer.mlp_proj, self._risen(layer))
        return self._norm(self._last)[0, : self._config.n_embd]

    def _start(self, token: int, place: int) -> None:
        """词嵌入与位置嵌入。"""
        table: Any = self._model.wte
        self._streams.copy_(table.weight.row(token))
        if self._rope is None:
            self._streams.add_(self._model.wpe.weight[place])
        self._streams.mul_(self._signs)

    def _add(self, matrix: _Matrix, x: Tensor) -> None:
        """``W x + b`` 加进残差流，与它的相反数。"""
        self._streams.addcmul_(self._signs, matrix.multiply(x))
        if matrix.bias is not None:
            self._streams.addcmul_(self._signs, matrix.bias)

    def _turn(self, position: int) -> tuple[Tensor, Tensor, Tensor]:
        assert self._rope is not None
        low, high = self._rope[1][position].view(2, -1).unbind(0)
        return self._rope[0][position], low, high

    def _rotate(self, cos: Tensor, low_sin: Tensor, high_sin: Tensor) -> None:
        """就地旋转 q、k：``x·cos + (后一半, 前一半)·(-sin, sin)``。"""
        (high, low), (to_low, to_high) = self._from, self._to
        torch.mul(high, low_sin, out=to_low)
        torch.mul(low, high_sin, out=to_high)
        self._qk.mul_(cos).add_(self._turned)

    def _norm(self, norm: _Norm) -> Tensor:
        """归一化了的残差流，后面也许接着 0。"""
        return torch.layer_norm(self._pair, norm.weight.shape, norm.weight, norm.bias, self._config.norm_eps)

    def _normed(self, norm: _Norm) -> Tensor:
        """归一化、舍入了的 ``(1, C)``。"""
        self._low_pair.copy_(self._norm(norm))
        return self._low

    def _risen(self, layer: _Layer) -> Tensor:
        """升维与非线性，舍入了的 ``(1, hidden)``。"""
        x = self._normed(layer.ln_2)
        for matrix, out in layer.rise:
            matrix.into(out, x)
        kind = self._config.mlp
        if kind == "swiglu":
            return torch.mul(F.silu(self._gate, inplace=True), self._up, out=self._hidden)
        return self._hidden.copy_(F.gelu(self._up, approximate="tanh" if kind == "gelu_tanh" else "none"))

    def _norm_of(self, module: Any) -> _Norm:
        weight = module.weight.detach()
        if self._is_rms:
            return _Norm(torch.cat((weight, torch.zeros_like(weight))), None)
        return _Norm(weight, module.bias)

    def _layer(self, block: Any) -> _Layer:
        attn, mlp = block.attn, block.mlp
        if isinstance(mlp, PackedGatedMLP):
            rise = [(_matrix(mlp.c_both), self._both)]
        else:
            rise = [(_matrix(mlp.c_gate), self._gate)] if mlp.kind == "swiglu" else []
            rise.append((_matrix(mlp.c_fc), self._up))
        norms = (attn.q_norm, attn.k_norm) if attn.qk_norm else ()
        first = self._norm_of(block.ln_1), _matrix(attn.c_attn), _matrix(attn.c_proj)
        return _Layer(*first, self._norm_of(block.ln_2), tuple(rise), _matrix(mlp.c_proj), norms)


def _linears(block: Any) -> list[Any]:
    """一层里的各个线性层。"""
    attn, mlp = block.attn, block.mlp
    names = ("c_both", "c_gate", "c_fc", "c_proj")
    return [attn.c_attn, attn.c_proj, *(getattr(mlp, name) for name in names if hasattr(mlp, name))]


def _matrix(module: PackedLinear) -> _Matrix:
    return _Matrix(module.weight.kernel, module.bias)
