"""GPT：从 token 下标到下一个 token 的 logits。

流入：``(B, T)`` 的 token 下标；流出：``(B, T, V)`` 的 logits。下一站：``train.py``。
分界线以下与 ``torch_llm/gpt.py`` 逐字相同，有测试逐行比较；两个引擎的差别只在下面这几行导入里。
"""

from __future__ import annotations

from typing import Any

import tinygrad_llm as torch
from tinygrad_llm import Tensor, nn
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.nn import functional as F
from tinygrad_llm.nn.functional import rotary, sliding_attention, token_loss

# ---- 以下两份文件逐字相同 ----


class Attention(nn.Module):
    """因果自注意力：每个位置向自己与过去的位置取信息。

    Args:
        config: 模型配置。

    Attributes:
        c_attn: q、k、v 合成的一次投影 ``C → (H + 2·Hkv)·D``。
        c_proj: 写回残差流的投影 ``H·D → C``。
        q_norm: 每个头的 q 的 RMSNorm（``qk_norm`` 时才有）。
        k_norm: 每个头的 k 的 RMSNorm（``qk_norm`` 时才有）。
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head, self.n_kv_head, self.head_dim = config.n_head, config.kv_heads, config.head_size
        self.dropout_p, self.window = config.dropout, config.window
        heads = self.n_head + 2 * self.n_kv_head
        self.c_attn = nn.Linear(config.n_embd, heads * self.head_dim, bias=config.bias)
        self.c_proj = nn.Linear(self.n_head * self.head_dim, config.n_embd, bias=config.bias)
        if config.qk_norm:
            self.q_norm = nn.RMSNorm(self.head_dim, eps=config.norm_eps)
            self.k_norm = nn.RMSNorm(self.head_dim, eps=config.norm_eps)
        self.qk_norm = config.qk_norm

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor] | None, mask: Tensor | None, cache: LayerCache | None
    ) -> Tensor:
        """``(B, T, C) → (B, T, C)``。

        Args:
            x: 归一化后的残差流。
            rope: 旋转编码的 ``(cos, sin)``，各为 ``(T, D/2)``；不用旋转编码时为 ``None``。
            mask: ``True`` 处可见，``(T, S)`` 或 ``(B, 1, T, S)``；``None`` 为因果的（只有一个新位置时全都可见）。
            cache: 这一层的 KV 缓存；训练时为 ``None``。

        Returns:
            要加回残差流的更新。
        """
        batch, length, _ = x.shape
        q_size, kv_size = self.n_head * self.head_dim, self.n_kv_head * self.head_dim
        q, k, v = self.c_attn(x).split([q_size, kv_size, kv_size], dim=-1)
        q = q.view(batch, length, self.n_head, self.head_dim).transpose(1, 2)  # (B, H, T, D)
        k = k.view(batch, length, self.n_kv_head, self.head_dim).transpose(1, 2)  # (B, Hkv, T, D)
        v = v.view(batch, length, self.n_kv_head, self.head_dim).transpose(1, 2)
        if self.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rotary(q, *rope), rotary(k, *rope)
        dropout_p, gqa = self.dropout_p if self.training else 0.0, self.n_head != self.n_kv_head
        if cache is not None:
            k, v = cache.extend(k, v)
        if mask is None and length == k.shape[2] and self.window is not None:
            y = sliding_attention(q, k, v, self.window, dropout_p)
        else:
            is_causal = mask is None and length == k.shape[2]
            y = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=dropout_p, is_causal=is_causal, enable_gqa=gqa
            )
        return self.c_proj(y.transpose(1, 2).reshape(batch, length, q_size))


class MLP(nn.Module):
    """逐位置的前馈网络：升维、非线性、降维。

    Args:
        config: 模型配置。

    Attributes:
        c_fc: ``C → hidden``。
        c_gate: SwiGLU 的门 ``C → hidden``（``mlp="swiglu"`` 时才有）。
        c_proj: ``hidden → C``。
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.kind = config.mlp
        if self.kind == "swiglu":
            self.c_gate = nn.Linear(config.n_embd, config.hidden_size, bias=config.bias)
        self.c_fc = nn.Linear(config.n_embd, config.hidden_size, bias=config.bias)
        self.c_proj = nn.Linear(config.hidden_size, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, T, C) → (B, T, C)``。"""
        if self.kind == "swiglu":
            return self.c_proj(F.silu(self.c_gate(x)) * self.c_fc(x))
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh" if self.kind == "gelu_tanh" else "none"))


class Block(nn.Module):
    """一层 Transformer：注意力与前馈网络，各自先归一化、再加回残差流（pre-norm）。

    Args:
        config: 模型配置。
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = make_norm(config)
        self.attn = Attention(config)
        self.ln_2 = make_norm(config)
        self.mlp = MLP(config)
        self.drop = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor] | None, mask: Tensor | None, cache: LayerCache | None
    ) -> Tensor:
        """``(B, T, C) → (B, T, C)``；参数与 ``Attention.forward`` 相同。"""
        x = x + self.drop(self.attn(self.ln_1(x), rope, mask, cache))
        return x + self.drop(self.mlp(self.ln_2(x)))


class GPT(nn.Module):
    """GPT 语言模型；参数名沿用 GPT-2。

    Args:
        config: 模型配置。

    Attributes:
        wte: 词嵌入 ``(V, C)``。
        wpe: 位置嵌入 ``(context, C)``（``position="learned"`` 时才有）。
        h: 各层。
        ln_f: 最后的归一化。
        lm_head: 输出层（``tie_head=False`` 时才有；否则与 ``wte`` 共用权重）。
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        if config.position == "learned":
            self.wpe = nn.Embedding(config.context, config.n_embd)
        self.drop = nn.Dropout(config.dropout)
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = make_norm(config)
        if not config.tie_head:
            self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """``(B, T) → (B, T, V)``。

        Args:
            ids: token 下标。
            cache: KV 缓存；给了就接在缓存之后，不给则从位置 0 开始。

        Returns:
            logits。

        Raises:
            ValueError: 超出模型的上下文长度。
        """
        return self.logits(self.hidden(ids, cache))

    def logits(self, x: Tensor) -> Tensor:
        """输出层 ``(..., C) → (..., V)``。"""
        return F.linear(x, self.head_weight())

    def hidden(
        self, ids: Tensor, cache: KVCache | None = None, begins: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """输出层之前的特征 ``(B, T) → (B, T, C)``。

        Args:
            ids: 同 ``forward``。
            cache: 同 ``forward``。
            begins: 每个位置所在的文档从哪个位置开始 ``(B, T)``；缺省由 ``document_start`` 数出。
            mask: 代替因果的掩码，``True`` 处可见，``(B, 1, T, T)``。

        Raises:
            ValueError: 同 ``forward``。
        """
        start = 0 if cache is None else cache.length
        stop = start + ids.shape[1]
        if stop > self.config.context:
            raise ValueError(f"sequence of {stop} tokens is longer than the model's context of {self.config.context}")
        begins = self.document_begins(ids, cache) if begins is None else begins
        x, rope = self.wte(ids), None
        if self.config.position == "rope":  # 只与相对位置有关，不必随文档重新数起
            rope = rope_table(self.config, start, stop, x)
        elif begins is None:
            x = x + self.wpe(torch.arange(start, stop, device=ids.device))
        else:
            x = x + self.wpe(torch.arange(start, stop, device=ids.device) - begins)
        x = self.drop(x)
        mask = attention_mask(self.config, start, stop, begins, ids.device) if mask is None else mask
        for i, block in enumerate(self.h):
            x = block(x, rope, mask, None if cache is None else cache.layers[i])
        if cache is not None:
            cache.length = stop
        return self.ln_f(x)

    def document_begins(self, ids: Tensor, cache: KVCache | None) -> Tensor | None:
        """每个位置所在的文档从哪个位置开始 ``(B, T)``；配置没有 ``document_start`` 时为 ``None``。"""
        if self.config.document_start is None:
            return None
        start = 0 if cache is None else cache.length
        position = torch.arange(start, start + ids.shape[1], device=ids.device)
        begins = torch.where(ids == self.config.document_start, position, 0)
        if cache is not None:
            begins[:, 0] = torch.maximum(begins[:, 0], cache.begins)
        begins = begins.cummax(dim=1).values
        if cache is not None:
            cache.begins = begins[:, -1]
        return begins

    def head_weight(self) -> Tensor:
        """输出层的权重 ``(V, C)``。"""
        return self.wte.weight if self.config.tie_head else self.lm_head.weight

    def loss(self, ids: Tensor, targets: Tensor, begins: Tensor | None = None) -> Tensor:
        """全部有效位置的交叉熵**之和**；除以整个全局批次的有效 token 数由训练循环来做。

        Args:
            ids: ``(B, T)``。
            targets: ``(B, T)``，-100 表示不计。
            begins: 一行装着几篇文档时，同 ``hidden``。

        Returns:
            标量。
        """
        return token_loss(self.hidden(ids, begins=begins), self.head_weight(), targets)


class LayerCache:
    """一层的 KV 缓存：预先分配，就地写入。

    Args:
        k: ``(B, Hkv, S, D)`` 的空张量。
        v: 同上。

    Attributes:
        length: 已写入的长度。
    """

    def __init__(self, k: Tensor, v: Tensor) -> None:
        self.k, self.v, self.length = k, v, 0

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """写入新的 k、v ``(B, Hkv, T, D)``；返回到目前为止的全部 ``(B, Hkv, S, D)``。"""
        start, stop = self.length, self.length + k.shape[2]
        self.k[:, :, start:stop] = k
        self.v[:, :, start:stop] = v
        self.length = stop
        return self.k[:, :, :stop], self.v[:, :, :stop]


class KVCache:
    """整个模型的 KV 缓存。

    Args:
        model: 模型，决定形状、类型与设备。
        batch: 批大小 B。
        size: 最长的序列。

    Attributes:
        layers: 各层的缓存。
        length: 已写入的长度。
        begins: 各行眼下这篇文档从哪个位置开始 ``(B,)``；模型分文档时才用到。
    """

    def __init__(self, model: GPT, batch: int, size: int) -> None:
        config, like = model.config, model.wte.weight
        shape = (batch, config.kv_heads, size, config.head_size)
        self.layers = [LayerCache(*(torch.zeros(shape, dtype=like.dtype, device=like.device) for _ in range(2)))
                       for _ in range(config.n_layer)]  # fmt: skip
        self.length, self.begins = 0, torch.zeros(batch, dtype=torch.int64, device=like.device)


def attention_mask(config: GPTConfig, start: int, stop: int, begins: Tensor | None, device: Any) -> Tensor | None:
    """位置 ``start`` 到 ``stop`` 看得见哪些位置。

    Args:
        config: 模型配置。
        start: 第一个新位置；它之前的在 KV 缓存里。
        stop: 末一个新位置之后。
        begins: 每个新位置所在的文档从哪里开始 ``(B, T)``；不分文档时为 ``None``。
        device: 掩码所在的设备。

    Returns:
        ``(T, S)`` 或（分文档时）``(B, 1, T, S)``，``True`` 可见；不需要掩码时为 ``None``：从头开始的因果注意力，
        或只有一个新位置而它全都看得见。
    """
    hidden_by_window = config.window is not None and stop > config.window
    if begins is None and (start == 0 or (stop - start == 1 and not hidden_by_window)):
        return None
    query = torch.arange(start, stop, device=device)[:, None]
    key = torch.arange(stop, device=device)
    mask = key <= query
    if config.window is not None:
        mask = mask & (key > query - config.window)
    return mask if begins is None else (mask & (key >= begins[:, :, None]))[:, None]


def make_norm(config: GPTConfig) -> Any:
    """配置指定的归一化层。"""
    if config.norm == "rmsnorm":
        return nn.RMSNorm(config.n_embd, eps=config.norm_eps)
    return nn.LayerNorm(config.n_embd, eps=config.norm_eps, bias=config.bias)


def rope_table(config: GPTConfig, start: int, stop: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """旋转编码的角度表：位置 t 的第 i 对分量旋转 ``t · θ^(-2i/D)``（Su 等，2021）。

    Args:
        config: 模型配置。
        start: 起始位置。
        stop: 终止位置（不含）。
        like: 决定结果的类型与设备。

    Returns:
        ``(cos, sin)``，各为 ``(T, D/2)``；角度以 float64 计算。
    """
    pair = torch.arange(0, config.head_size, 2, dtype=torch.float64, device=like.device)
    position = torch.arange(start, stop, dtype=torch.float64, device=like.device)
    angle = torch.outer(position, config.rope_theta ** (-pair / config.head_size))
    return torch.cos(angle).to(like.dtype), torch.sin(angle).to(like.dtype)
