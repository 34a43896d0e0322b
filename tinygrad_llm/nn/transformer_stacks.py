"""编码器、解码器与整个 Transformer：把同一层叠若干遍。

流入：一层（或超参数）与层数；流出：Module。单独的一层在 ``transformer.py``。
"""

from __future__ import annotations

import copy
from typing import Any

from tinygrad_llm.autograd import is_grad_enabled
from tinygrad_llm.creation import full
from tinygrad_llm.nn import init
from tinygrad_llm.nn.activation_layers import GELU
from tinygrad_llm.nn.activations import gelu, relu
from tinygrad_llm.nn.containers import ModuleList
from tinygrad_llm.nn.module import Module
from tinygrad_llm.nn.multihead import canonical_mask
from tinygrad_llm.nn.norm_layers import LayerNorm
from tinygrad_llm.nn.piecewise_layers import ReLU
from tinygrad_llm.nn.transformer import Activation, TransformerDecoderLayer, TransformerEncoderLayer
from tinygrad_llm.tensor import Tensor


def _copies(layer: Module, count: int) -> ModuleList:
    return ModuleList([copy.deepcopy(layer) for _ in range(count)])


def _is_causal(mask: Tensor | None, hint: bool | None, x: Tensor, batch_first: bool) -> bool:
    """没有声明时，看掩码是不是恰好等于因果掩码。"""
    if hint is not None or mask is None:
        return hint is True
    length = x.array.shape[1 if batch_first and x.array.ndim == 3 else 0]
    causal = Transformer.generate_square_subsequent_mask(length, dtype=mask.dtype)
    return mask.array.shape == causal.array.shape and bool((mask.array == causal.array).all())


class TransformerEncoder(Module):
    """编码器：``num_layers`` 个同样的编码层。

    Args:
        encoder_layer: 一层，复制若干份，初值相同。
        num_layers: 层数。
        norm: 最后的归一化。
        enable_nested_tensor: 推理时跳过补齐的位置；这里只照它的约定，把那些位置置 0。
        mask_check: 只在补齐的位置都在末尾时才跳过。
    """

    def __init__(
        self,
        encoder_layer: Any,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check
        self.use_nested_tensor = enable_nested_tensor and _allows_skipping(encoder_layer)

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """形状不变；掩码见 ``MultiheadAttention``，``is_causal`` 缺省由 ``mask`` 判断。"""
        padding = canonical_mask(src_key_padding_mask, "src_key_padding_mask", src.dtype, mask)
        mask = canonical_mask(mask, "mask", src.dtype)
        causal = _is_causal(mask, is_causal, src, self.layers[0].self_attn.batch_first)
        x = src
        for layer in self.layers:
            x = layer(x, src_mask=mask, src_key_padding_mask=padding, is_causal=causal)
        if padding is not None and mask is None and self._skips(src, padding):
            x = x.masked_fill((padding != 0).unsqueeze(-1), 0.0)
        return x if self.norm is None else self.norm(x)

    def _skips(self, src: Tensor, padding: Tensor) -> bool:
        """torch 此时是否会跳过补齐的位置：推理、不求梯度、补齐都在末尾。"""
        first = self.layers[0]
        if not self.use_nested_tensor or first.training or src.array.ndim != 3:
            return False
        seen = padding.array == 0
        if self.mask_check and (seen[:, 1:] > seen[:, :-1]).any():
            return False
        return not (is_grad_enabled() and any(t.requires_grad for t in (src, *first.parameters())))


def _allows_skipping(layer: Module) -> bool:
    """torch 的快路只认这样的层。"""
    if not isinstance(layer, TransformerEncoderLayer) or layer.norm_first or not layer.self_attn.batch_first:
        return False
    plain = layer.activation in (relu, gelu) or isinstance(layer.activation, (ReLU, GELU))
    return plain and layer.self_attn.in_proj_bias is not None and layer.self_attn.num_heads % 2 == 0


class TransformerDecoder(Module):
    """解码器：``num_layers`` 个同样的解码层。

    Args:
        decoder_layer: 一层，复制若干份，初值相同。
        num_layers: 层数。
        norm: 最后的归一化。
    """

    def __init__(self, decoder_layer: Any, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers, self.norm = num_layers, norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """``tgt`` 形状不变；``tgt_is_causal`` 缺省由 ``tgt_mask`` 判断。"""
        causal = _is_causal(tgt_mask, tgt_is_causal, tgt, self.layers[0].self_attn.batch_first)
        x = tgt
        for layer in self.layers:
            x = layer(
                x,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=causal,
                memory_is_causal=memory_is_causal,
            )
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """编码器加解码器，参数同 ``torch.nn.Transformer``；所有矩阵用 Xavier 均匀初始化。"""

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = relu,
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        place = {"device": device, "dtype": dtype}
        sizes = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)
        if custom_encoder is None:
            layer: Module = TransformerEncoderLayer(*sizes, **place)
            last = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
            custom_encoder = TransformerEncoder(layer, num_encoder_layers, last)
        self.encoder = custom_encoder
        if custom_decoder is None:
            layer = TransformerDecoderLayer(*sizes, **place)
            last = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
            custom_decoder = TransformerDecoder(layer, num_decoder_layers, last)
        self.decoder = custom_decoder
        for parameter in self.parameters():
            if parameter.array.ndim > 1:
                init.xavier_uniform_(parameter)
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """``src (S, N, E)``、``tgt (T, N, E)`` → ``(T, N, E)``。

        Raises:
            RuntimeError: 批大小或宽度不合。
        """
        a, b = src.array.shape, tgt.array.shape
        batch_axis = 0 if self.batch_first else 1
        if len(a) == 3 and a[batch_axis] != b[batch_axis]:
            raise RuntimeError(f"the batch number of src and tgt must be equal, got {a} and {b}")
        if a[-1] != self.d_model or b[-1] != self.d_model:
            raise RuntimeError(f"the feature number of src {a} and tgt {b} must be equal to d_model {self.d_model}")
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(  # type: ignore[no-any-return]
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """因果掩码 ``(sz, sz)``：未来处为 -inf，其余为 0。"""
        return full((sz, sz), float("-inf"), dtype=dtype, device=device).triu(1)  # type: ignore[no-any-return]
