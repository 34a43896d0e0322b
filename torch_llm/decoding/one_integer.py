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

    def onto(self, out: Tensor, x: Tensor) -> None:
        """``W x + b`` 加进 ``out``。"""
        out.add_(self.multiply(x))
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
        self._rope = None if rope is None else tuple(one.view(-1, 2, width // 2) for one in rope)
        self._is_rms = config.norm == "rmsnorm"
        self._pair = torch.empty(1, (2 if self._is_rms else 1) * config.n_embd)
        self._x, self._minus = self._pair[:, : config.n_embd], self._pair[:, config.n_embd :]
        low = torch.empty_like(self._pair, dtype=LOW)
        self._low_pair, self._low = low, low[:, : config.n_embd]
        self._qkv = torch.empty(1, (heads + 2 * shared) * width)
        split = self._qkv.view(-1, width)
        self._raw = split[:heads], split[heads : heads + shared]
        self._halves = split[: heads + shared].view(-1, 2, width // 2) if rope is not None else split
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
        model, x = self._model, self._x
        x.copy_(model.wte(torch.tensor([token])))
        if self._rope is None:
            x.add_(model.wpe.weight[position - begin])
        turn = None if self._rope is None else [one[position] for one in self._rope]
        mine = self._cache[:, :, slot]
        seen = mine[:, :, None, :, first : position + 1]
        attended = zip(mine[..., position, :].unbind(0), seen[:, 0].unbind(0), seen[:, 1].unbind(0), strict=True)
        halves, q, kv, by_heads, mixed = self._halves, self._q, self._kv, self._by_heads, self._mixed
        for layer, (place, k, v) in zip(self._layers, attended, strict=True):
            layer.c_attn.into(self._qkv, self._normed(layer.ln_1))
            for norm, rows in zip(layer.head_norms, self._raw, strict=False):
                rows.copy_(norm(rows))
            if turn is not None:  # 前后两半互换，符号在 sin 里
                swapped = torch.flip(halves, (1,))
                halves.mul_(turn[0]).addcmul_(swapped, turn[1])
            place.copy_(kv)
            by_heads.copy_(F.scaled_dot_product_attention(q, k, v))
            layer.c_proj.onto(x, mixed)
            layer.mlp_proj.onto(x, self._risen(layer))
        features: Tensor = model.ln_f(x)[0]
        return features

    def _normed(self, norm: _Norm) -> Tensor:
        """归一化、舍入了的 ``(1, C)``。"""
        pair = self._pair
        if self._is_rms:
            torch.neg(self._x, out=self._minus)
        y = torch.layer_norm(pair, norm.weight.shape, norm.weight, norm.bias, self._config.norm_eps)
        self._low_pair.copy_(y)
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
