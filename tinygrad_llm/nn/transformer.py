"""Transformer 的编码层与解码层（Vaswani 等，2017）。

流入：宽度、头数等超参数；流出：Module。叠成整个网络的 ``TransformerEncoder`` 等在 ``transformer_stacks.py``。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_llm.nn.activations import gelu, relu
from tinygrad_llm.nn.dropout_layers import Dropout
from tinygrad_llm.nn.layers import Linear
from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.multihead_layers import MultiheadAttention
from tinygrad_llm.nn.norm_layers import LayerNorm
from tinygrad_llm.tensor import Tensor

Activation = str | Callable[[Tensor], Tensor]


def _activation(given: Activation) -> Callable[[Tensor], Tensor]:
    """名字换成函数。

    Raises:
        RuntimeError: 未知的名字。
    """
    if not isinstance(given, str):
        return given
    if given not in ("relu", "gelu"):
        raise RuntimeError(f"activation should be relu/gelu, not {given}")
    return relu if given == "relu" else gelu


class _Layer(Module):
    """编码层与解码层共有的部分：自注意力、两层的前馈网络。"""

    def _build(
        self,
        attentions: tuple[str, ...],
        d_model: int,
        nhead: int,
        dim_feedforward: int,
        dropout: float,
        activation: Activation,
        layer_norm_eps: float,
        batch_first: bool,
        norm_first: bool,
        bias: bool,
        device: Any,
        dtype: Any,
    ) -> None:
        place = {"device": device, "dtype": dtype}
        for name in attentions:
            attention = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **place)
            self.register_module(name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **place)
        self.norm_first = norm_first
        steps = range(1, len(attentions) + 2)
        for i in steps:
            self.register_module(f"norm{i}", LayerNorm(d_model, layer_norm_eps, bias=bias, **place))
        for i in steps:
            self.register_module(f"dropout{i}", Dropout(dropout))
        self.activation = _activation(activation)

    def _add(self, x: Tensor, step: int, block: Callable[[Tensor], Tensor]) -> Tensor:
        """一个残差块：``norm_first`` 时先归一化再进块，否则加完再归一化。"""
        norm, dropout = getattr(self, f"norm{step}"), getattr(self, f"dropout{step}")
        if self.norm_first:
            return x + dropout(block(norm(x)))  # type: ignore[no-any-return]
        return norm(x + dropout(block(x)))  # type: ignore[no-any-return]

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))  # type: ignore[no-any-return]

    def _look_at_self(self, mask: Tensor | None, padding: Tensor | None, causal: bool) -> Callable[[Tensor], Tensor]:
        """自注意力块；只要输出，不要权重。"""
        return lambda x: self.self_attn(x, x, x, padding, False, mask, is_causal=causal)[0]


class TransformerEncoderLayer(_Layer):
    """编码层：自注意力，然后前馈网络。

    Args:
        d_model: 宽度。
        nhead: 头数。
        dim_feedforward: 前馈网络中间的宽度。
        dropout: 各处 dropout 的概率。
        activation: ``"relu"``、``"gelu"`` 或任一函数。
        layer_norm_eps: 归一化的小数。
        batch_first: 批次轴在最前。
        norm_first: 先归一化（Pre-LN）还是后归一化。
        bias: 各线性层与归一化是否有偏置。
        device: 只能是 CPU。
        dtype: 参数类型。
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        sizes = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps)
        self._build(("self_attn",), *sizes, batch_first, norm_first, bias, device, dtype)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """形状不变；掩码见 ``MultiheadAttention``。"""
        x = self._add(src, 1, self._look_at_self(src_mask, src_key_padding_mask, is_causal))
        return self._add(x, 2, self._feed_forward)


class TransformerDecoderLayer(_Layer):
    """解码层：自注意力、对编码结果的注意力，然后前馈网络；参数同 ``TransformerEncoderLayer``。"""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        sizes = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps)
        self._build(("self_attn", "multihead_attn"), *sizes, batch_first, norm_first, bias, device, dtype)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """``tgt`` 形状不变；``memory`` 是编码结果，掩码见 ``MultiheadAttention``。"""

        def look_at_memory(x: Tensor) -> Tensor:
            rest = (memory_key_padding_mask, False, memory_mask)
            return self.multihead_attn(x, memory, memory, *rest, is_causal=memory_is_causal)[0]  # type: ignore[no-any-return]

        x = self._add(tgt, 1, self._look_at_self(tgt_mask, tgt_key_padding_mask, tgt_is_causal))
        return self._add(self._add(x, 2, look_at_memory), 3, self._feed_forward)
