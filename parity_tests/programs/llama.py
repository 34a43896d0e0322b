"""Llama 的一家：RMSNorm、cos/sin 表的旋转位置、分组查询、SwiGLU、KV 缓存；配置里带着 dtype。"""
# mypy: ignore-errors
# ruff: noqa: RUF005, RUF059, UP045

import math
from dataclasses import dataclass, field
from typing import Optional

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class ModelArgs:
    """模型的形状。"""

    dim: int = 24
    n_layers: int = 2
    n_heads: int = 4
    n_kv_heads: Optional[int] = 2
    vocab_size: int = 37
    multiple_of: int = 8
    ffn_dim_multiplier: Optional[float] = None
    norm_eps: float = 1e-5
    max_batch_size: int = 3
    max_seq_len: int = 16
    dtype: torch.dtype = torch.float32
    rope: dict = field(default_factory=lambda: {"factor": 8.0, "low": 1.0, "high": 4.0, "original": 8})


class RMSNorm(nn.Module):
    """均方根归一化。"""

    def __init__(self, dim: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def _norm(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)

    def forward(self, x):
        """归一化再缩放。"""
        output = self._norm(x).type_as(x)
        return output * self.weight


def compute_rope_params(head_dim, theta_base=10_000, context_length=16, freq_config=None, dtype=None):
    """角度的 cos 与 sin 表；``freq_config`` 给出时拉长低频。"""
    assert head_dim % 2 == 0, "Embedding dimension must be even"
    inv_freq = 1.0 / (
        theta_base ** (torch.arange(0, head_dim, 2)[: (head_dim // 2)].to(torch.get_default_dtype()) / head_dim)
    )
    if freq_config is not None:
        low_freq_wavelen = freq_config["original"] / freq_config["low"]
        high_freq_wavelen = freq_config["original"] / freq_config["high"]
        wavelen = 2 * torch.pi / inv_freq
        inv_freq_llama = torch.where(wavelen > low_freq_wavelen, inv_freq / freq_config["factor"], inv_freq)
        smooth_factor = (freq_config["original"] / wavelen - freq_config["low"]) / (
            freq_config["high"] - freq_config["low"]
        )
        smoothed_inv_freq = (1 - smooth_factor) * (inv_freq / freq_config["factor"]) + smooth_factor * inv_freq
        is_medium_freq = (wavelen <= low_freq_wavelen) & (wavelen >= high_freq_wavelen)
        inv_freq = torch.where(is_medium_freq, smoothed_inv_freq, inv_freq_llama)
    positions = torch.arange(context_length)
    angles = positions[:, None] * inv_freq[None, :]
    assert torch.equal(angles, torch.outer(positions.to(inv_freq.dtype), inv_freq))
    angles = torch.cat([angles, angles], dim=1)
    return torch.cos(angles), torch.sin(angles)


def apply_rope(x, cos, sin, offset=0):
    """旋转：前一半与后一半配对。"""
    batch_size, num_heads, seq_len, head_dim = x.shape
    x1 = x[..., : head_dim // 2]
    x2 = x[..., head_dim // 2 :]
    cos = cos[offset : offset + seq_len, :].unsqueeze(0).unsqueeze(0)
    sin = sin[offset : offset + seq_len, :].unsqueeze(0).unsqueeze(0)
    rotated = torch.cat((-x2, x1), dim=-1)
    x_rotated = (x * cos) + (rotated * sin)
    return x_rotated.to(dtype=x.dtype)


def apply_rotary_pairs(x, freqs_cos, freqs_sin):
    """另一种旋转：相邻两个配对。"""
    xr, xi = x.to(torch.get_default_dtype()).reshape(x.shape[:-1] + (-1, 2)).unbind(-1)
    shape = [d if i in (1, xr.ndim - 1) else 1 for i, d in enumerate(xr.shape)]
    c, s = freqs_cos.view(shape), freqs_sin.view(shape)
    return torch.stack([xr * c - xi * s, xr * s + xi * c], dim=-1).flatten(3).type_as(x)


def repeat_kv(x: torch.Tensor, n_rep: int) -> torch.Tensor:
    """把每个 KV 头重复 ``n_rep`` 次。"""
    bs, slen, n_kv_heads, head_dim = x.shape
    if n_rep == 1:
        return x
    return (
        x[:, :, :, None, :]
        .expand(bs, slen, n_kv_heads, n_rep, head_dim)
        .reshape(bs, slen, n_kv_heads * n_rep, head_dim)
    )


class Attention(nn.Module):
    """分组查询注意力，带 KV 缓存。"""

    def __init__(self, args: ModelArgs):
        super().__init__()
        self.n_kv_heads = args.n_heads if args.n_kv_heads is None else args.n_kv_heads
        self.n_rep = args.n_heads // self.n_kv_heads
        self.n_heads = args.n_heads
        self.head_dim = args.dim // args.n_heads
        self.wq = nn.Linear(args.dim, args.n_heads * self.head_dim, bias=False)
        self.wk = nn.Linear(args.dim, self.n_kv_heads * self.head_dim, bias=False)
        self.wv = nn.Linear(args.dim, self.n_kv_heads * self.head_dim, bias=False)
        self.wo = nn.Linear(args.n_heads * self.head_dim, args.dim, bias=False)
        shape = (args.max_batch_size, args.max_seq_len, self.n_kv_heads, self.head_dim)
        self.register_buffer("cache_k", torch.zeros(shape), persistent=False)
        self.register_buffer("cache_v", torch.zeros(shape), persistent=False)

    def forward(self, x: torch.Tensor, start_pos: int, cos, sin, mask: Optional[torch.Tensor], use_cache=False):
        """(B, T, C) → (B, T, C)。"""
        bsz, seqlen, _ = x.shape
        xq, xk, xv = self.wq(x), self.wk(x), self.wv(x)
        xq = xq.view(bsz, seqlen, self.n_heads, self.head_dim)
        xk = xk.view(bsz, seqlen, self.n_kv_heads, self.head_dim)
        xv = xv.view(bsz, seqlen, self.n_kv_heads, self.head_dim)
        xq = apply_rope(xq.transpose(1, 2), cos, sin, start_pos).transpose(1, 2)
        xk = apply_rope(xk.transpose(1, 2), cos, sin, start_pos).transpose(1, 2)
        if use_cache:
            self.cache_k = self.cache_k.to(xq)
            self.cache_v = self.cache_v.to(xq)
            self.cache_k[:bsz, start_pos : start_pos + seqlen] = xk
            self.cache_v[:bsz, start_pos : start_pos + seqlen] = xv
            keys, values = self.cache_k[:bsz, : start_pos + seqlen], self.cache_v[:bsz, : start_pos + seqlen]
        else:
            keys, values = xk, xv
        keys = repeat_kv(keys, self.n_rep)
        values = values.repeat_interleave(self.n_rep, dim=2)
        xq, keys, values = xq.transpose(1, 2), keys.transpose(1, 2), values.transpose(1, 2)
        scores = torch.matmul(xq, keys.transpose(2, 3)) / math.sqrt(self.head_dim)
        if mask is not None:
            scores = scores + mask
        scores = F.softmax(scores.to(torch.get_default_dtype()), dim=-1).type_as(xq)
        output = torch.matmul(scores, values)
        output = output.transpose(1, 2).contiguous().view(bsz, seqlen, -1)
        return self.wo(output)


class FeedForward(nn.Module):
    """SwiGLU。"""

    def __init__(self, dim, hidden_dim, multiple_of, ffn_dim_multiplier):
        super().__init__()
        hidden_dim = int(2 * hidden_dim / 3)
        if ffn_dim_multiplier is not None:
            hidden_dim = int(ffn_dim_multiplier * hidden_dim)
        hidden_dim = multiple_of * ((hidden_dim + multiple_of - 1) // multiple_of)
        self.w1 = nn.Linear(dim, hidden_dim, bias=False)
        self.w2 = nn.Linear(hidden_dim, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden_dim, bias=False)

    def forward(self, x):
        """(B, T, C) → (B, T, C)。"""
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class TransformerBlock(nn.Module):
    """一层。"""

    def __init__(self, layer_id: int, args: ModelArgs):
        super().__init__()
        self.layer_id = layer_id
        self.attention = Attention(args)
        self.feed_forward = FeedForward(args.dim, 4 * args.dim, args.multiple_of, args.ffn_dim_multiplier)
        self.attention_norm = RMSNorm(args.dim, eps=args.norm_eps)
        self.ffn_norm = RMSNorm(args.dim, eps=args.norm_eps)

    def forward(self, x, start_pos, cos, sin, mask, use_cache):
        """(B, T, C) → (B, T, C)。"""
        h = x + self.attention(self.attention_norm(x), start_pos, cos, sin, mask, use_cache)
        return h + self.feed_forward(self.ffn_norm(h))


class Transformer(nn.Module):
    """整个模型。"""

    last_loss: Optional[torch.Tensor]

    def __init__(self, params: ModelArgs):
        super().__init__()
        self.params = params
        self.n_layers = params.n_layers
        self.tok_embeddings = nn.Embedding(params.vocab_size, params.dim)
        self.layers = torch.nn.ModuleList()
        for layer_id in range(params.n_layers):
            self.layers.append(TransformerBlock(layer_id, params))
        self.norm = RMSNorm(params.dim, eps=params.norm_eps)
        self.output = nn.Linear(params.dim, params.vocab_size, bias=False)
        self.tok_embeddings.weight = self.output.weight
        cos, sin = compute_rope_params(params.dim // params.n_heads, 500_000.0, params.max_seq_len, params.rope)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.apply(self._init_weights)
        for pn, p in self.named_parameters():
            if pn.endswith(("w3.weight", "wo.weight")):
                torch.nn.init.normal_(p, mean=0.0, std=0.02 / math.sqrt(2 * params.n_layers))
        self.last_loss = None

    def _init_weights(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            torch.nn.init.trunc_normal_(module.weight, mean=0.0, std=0.2, a=-0.6, b=0.6)

    def forward(self, tokens, targets=None, start_pos: int = 0, use_cache: bool = False):
        """给了 ``targets`` 就记下损失，返回 logits。"""
        _bsz, seqlen = tokens.shape
        h = self.tok_embeddings(tokens)
        mask = None
        if seqlen > 1:
            mask = torch.full((seqlen, seqlen), float("-inf"), device=tokens.device)
            mask = torch.triu(mask, diagonal=1)
            mask = torch.hstack([torch.zeros((seqlen, start_pos), device=tokens.device), mask]).type_as(h)
        for layer in self.layers:
            h = layer(h, start_pos, self.cos, self.sin, mask, use_cache)
        h = self.norm(h)
        logits = self.output(h)
        if targets is not None:
            self.last_loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.reshape(-1), ignore_index=-1)
        return logits


def program():
    """训练几步，再用缓存与不用缓存各生成一次。"""
    torch.manual_seed(1337)
    args = ModelArgs(dtype=torch.get_default_dtype())
    print(args.n_kv_heads, args.dtype == torch.get_default_dtype(), ModelArgs().dtype)
    model = Transformer(args).to(args.dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), eps=1e-5, fused=False)
    losses, grads = [], {}
    for step in range(4):
        tokens = torch.randint(0, args.vocab_size, (3, 11))
        X, Y = tokens[:, :-1], tokens[:, 1:]
        model(X, Y)
        loss = model.last_loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if step == 0:
            grads = {n: p.grad.clone() for n, p in model.named_parameters()}
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    prompt_tokens = [[5, 6, 7], [1, 2, 3, 4, 9]]
    min_prompt_len = min(len(t) for t in prompt_tokens)
    total_len = 14
    tokens = torch.full((2, total_len), -1, dtype=torch.long)
    for k, t in enumerate(prompt_tokens):
        tokens[k, : len(t)] = torch.tensor(t, dtype=torch.long)
    prev_pos = 0
    eos_reached = torch.tensor([False] * 2)
    input_text_mask = tokens != -1
    with torch.inference_mode():
        for cur_pos in range(min_prompt_len, total_len):
            logits = model(tokens[:, prev_pos:cur_pos], None, prev_pos, use_cache=True)
            next_token = torch.argmax(logits[:, -1], dim=-1)
            next_token = next_token.reshape(-1)
            next_token = torch.where(input_text_mask[:, cur_pos], tokens[:, cur_pos], next_token)
            tokens[:, cur_pos] = next_token
            eos_reached |= (~input_text_mask[:, cur_pos]) & (next_token == 2)
            prev_pos = cur_pos
            if all(eos_reached):
                break
        whole = model(tokens[:, :-1]).argmax(-1)
    x = torch.randn(2, 5, 3, 8)
    freqs = torch.arange(5).unsqueeze(1) * torch.rand(4).unsqueeze(0)
    return {
        "losses": losses,
        "grads": grads,
        "weights": model.state_dict(),
        "names": list(model.state_dict()),
        "ids": tokens,
        "again": whole,
        "pairs": apply_rotary_pairs(x, freqs.cos(), freqs.sin()),
        "text": str(model),
    }
