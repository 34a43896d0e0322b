"""多头注意力层。

流入：宽度、头数等超参数；流出：Module。函数在 ``multihead.py``。
"""

from __future__ import annotations

from typing import Any

from tinygrad_llm.creation import empty
from tinygrad_llm.nn import init
from tinygrad_llm.nn.layers import Linear
from tinygrad_llm.nn.module import Module, Parameter
from tinygrad_llm.nn.multihead import multi_head_attention_forward
from tinygrad_llm.tensor import Tensor


class NonDynamicallyQuantizableLinear(Linear):
    """就是 ``Linear``；torch 打印多头注意力时，输出投影叫这个名字。"""


class MultiheadAttention(Module):
    """多头注意力层，参数的名字、次序与初始化同 ``torch.nn.MultiheadAttention``。

    Args:
        embed_dim: 宽度 E。
        num_heads: 头数，须整除 E。
        dropout: 注意力权重的 dropout 概率。
        bias: 投影是否有偏置。
        add_bias_kv: 键与值后面接一个学来的位置。
        add_zero_attn: 键与值后面接一个全 0 的位置。
        kdim: 键的宽度，缺省为 E。
        vdim: 值的宽度，缺省为 E。
        batch_first: 批次轴在最前。
        device: 只能是 CPU。
        dtype: 参数类型。

    Attributes:
        in_proj_weight: ``(3E, E)``；键、值的宽度不同时没有，换成下面三个。
        q_proj_weight: ``(E, E)``。
        k_proj_weight: ``(E, kdim)``。
        v_proj_weight: ``(E, vdim)``。
        in_proj_bias: ``(3E,)``。
        out_proj: 输出投影。
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(f"embed_dim and num_heads must be greater than 0, got {embed_dim} and {num_heads}")
        super().__init__()
        if embed_dim % num_heads:
            raise AssertionError(f"embed_dim {embed_dim} must be divisible by num_heads {num_heads}")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        if self._qkv_same_embed_dim:
            shapes = {"in_proj_weight": (3 * embed_dim, embed_dim)}
        else:
            widths = {"q": embed_dim, "k": self.kdim, "v": self.vdim}
            shapes = {f"{name}_proj_weight": (embed_dim, width) for name, width in widths.items()}
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            weight = Parameter(empty(shapes[name], device=device, dtype=dtype)) if name in shapes else None
            self.register_parameter(name, weight)
        in_proj_bias = Parameter(empty(3 * embed_dim, device=device, dtype=dtype)) if bias else None
        self.register_parameter("in_proj_bias", in_proj_bias)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias, device, dtype)
        for name in ("bias_k", "bias_v"):
            extra = Parameter(empty(1, 1, embed_dim, device=device, dtype=dtype)) if add_bias_kv else None
            setattr(self, name, extra)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """投影用 Xavier 均匀，偏置为 0，附加的位置用 Xavier 正态。"""
        for weight in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for extra in (self.bias_k, self.bias_v):
            if extra is not None:
                init.xavier_normal_(extra)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """注意力的输出与权重；参数与形状见 ``multi_head_attention_forward``，``batch_first`` 时批次轴在最前。"""
        flip = self.batch_first and query.array.ndim == 3
        if flip:
            swapped = {id(x): x.transpose(0, 1) for x in (query, key, value)}  # 同一个输入换轴之后仍是同一个
            query, key, value = swapped[id(query)], swapped[id(key)], swapped[id(value)]
        y, shares = multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (y.transpose(0, 1) if flip else y), shares
