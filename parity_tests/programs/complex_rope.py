"""Llama 的另一种写法：旋转位置由复数乘法完成，``freqs_cis`` 是复数缓冲区；后面再接一个 FNet 的傅里叶混合层。"""
# mypy: ignore-errors

import math

import torch
import torch.nn.functional as F
from torch import nn

DIM, HEADS, KV_HEADS, LAYERS, VOCAB, LENGTH = 16, 4, 2, 2, 29, 12


def precompute_freqs_cis(dim: int, end: int, theta: float = 10000.0):
    """模为 1、幅角为「位置 × 频率」的复数表。"""
    freqs = 1.0 / (theta ** (torch.arange(0, dim, 2)[: (dim // 2)].to(torch.get_default_dtype()) / dim))
    t = torch.arange(end, device=freqs.device)
    freqs = torch.outer(t, freqs).to(torch.get_default_dtype())
    freqs_cis = torch.polar(torch.ones_like(freqs), freqs)  # complex64
    return freqs_cis


def reshape_for_broadcast(freqs_cis: torch.Tensor, x: torch.Tensor):
    """换成能与 ``x`` 广播的形状。"""
    ndim = x.ndim
    assert 0 <= 1 < ndim
    assert freqs_cis.shape == (x.shape[1], x.shape[-1])
    shape = [d if i == 1 or i == ndim - 1 else 1 for i, d in enumerate(x.shape)]
    return freqs_cis.view(*shape)


def apply_rotary_emb(
    xq: torch.Tensor,
    xk: torch.Tensor,
    freqs_cis: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """相邻两个数看作复数，乘以 ``freqs_cis``。"""
    wide = torch.get_default_dtype()
    xq_ = torch.view_as_complex(xq.to(wide).reshape(*xq.shape[:-1], -1, 2))
    xk_ = torch.view_as_complex(xk.to(wide).reshape(*xk.shape[:-1], -1, 2))
    freqs_cis = reshape_for_broadcast(freqs_cis, xq_)
    xq_out = torch.view_as_real(xq_ * freqs_cis).flatten(3)
    xk_out = torch.view_as_real(xk_ * freqs_cis).flatten(3)
    return xq_out.type_as(xq), xk_out.type_as(xk)


class RMSNorm(nn.Module):
    """均方根归一化。"""

    def __init__(self, dim, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        """归一化再缩放。"""
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class Attention(nn.Module):
    """分组查询注意力。"""

    def __init__(self):
        super().__init__()
        self.head_dim = DIM // HEADS
        self.wq = nn.Linear(DIM, HEADS * self.head_dim, bias=False)
        self.wk = nn.Linear(DIM, KV_HEADS * self.head_dim, bias=False)
        self.wv = nn.Linear(DIM, KV_HEADS * self.head_dim, bias=False)
        self.wo = nn.Linear(DIM, DIM, bias=False)

    def forward(self, x, freqs_cis, mask):
        """(B, T, C) → (B, T, C)。"""
        bsz, seqlen, _ = x.shape
        xq = self.wq(x).view(bsz, seqlen, HEADS, self.head_dim)
        xk = self.wk(x).view(bsz, seqlen, KV_HEADS, self.head_dim)
        xv = self.wv(x).view(bsz, seqlen, KV_HEADS, self.head_dim)
        xq, xk = apply_rotary_emb(xq, xk, freqs_cis=freqs_cis)
        keys = torch.repeat_interleave(xk, HEADS // KV_HEADS, dim=2).transpose(1, 2)
        values = torch.repeat_interleave(xv, HEADS // KV_HEADS, dim=2).transpose(1, 2)
        scores = torch.matmul(xq.transpose(1, 2), keys.transpose(2, 3)) / math.sqrt(self.head_dim)
        scores = F.softmax(scores + mask, dim=-1)
        output = torch.matmul(scores, values).transpose(1, 2).contiguous().view(bsz, seqlen, -1)
        return self.wo(output)


class FourierMixing(nn.Module):
    """FNet：两根轴的傅里叶变换取实部；再学一个频率上的滤波器。"""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(DIM)
        self.filter = nn.Parameter(torch.view_as_complex(torch.randn(DIM // 2 + 1, 2) * 0.1))

    def forward(self, x):
        """(B, T, C) → (B, T, C)。"""
        mixed = torch.fft.fft(torch.fft.fft(self.norm(x), dim=-1), dim=-2).real
        spectrum = torch.fft.rfft(mixed, dim=-1, norm="ortho") * self.filter
        return x + torch.fft.irfft(spectrum, n=x.shape[-1], dim=-1, norm="ortho")


class Block(nn.Module):
    """一层。"""

    def __init__(self):
        super().__init__()
        self.attention = Attention()
        self.mixing = FourierMixing()
        self.w1, self.w2, self.w3 = (nn.Linear(*shape, bias=False) for shape in ((DIM, 24), (24, DIM), (DIM, 24)))
        self.attention_norm, self.ffn_norm = RMSNorm(DIM), RMSNorm(DIM)

    def forward(self, x, freqs_cis, mask):
        """(B, T, C) → (B, T, C)。"""
        h = x + self.attention(self.attention_norm(x), freqs_cis, mask)
        y = self.ffn_norm(h)
        return self.mixing(h + self.w2(F.silu(self.w1(y)) * self.w3(y)))


class Transformer(nn.Module):
    """整个模型；``freqs_cis`` 随模型存取。"""

    def __init__(self):
        super().__init__()
        self.tok_embeddings = nn.Embedding(VOCAB, DIM)
        self.layers = nn.ModuleList([Block() for _ in range(LAYERS)])
        self.norm = RMSNorm(DIM)
        self.output = nn.Linear(DIM, VOCAB, bias=False)
        self.register_buffer("freqs_cis", precompute_freqs_cis(DIM // HEADS, LENGTH * 2))

    def forward(self, tokens, start_pos=0):
        """(B, T) → (B, T, V)。"""
        _bsz, seqlen = tokens.shape
        h = self.tok_embeddings(tokens)
        self.freqs_cis = self.freqs_cis.to(h.device)
        freqs_cis = self.freqs_cis[start_pos : start_pos + seqlen]
        mask = torch.triu(torch.full((seqlen, seqlen), float("-inf"), device=tokens.device), diagonal=1)
        for layer in self.layers:
            h = layer(h, freqs_cis, mask)
        return self.output(self.norm(h))


def program():
    """训练三步。"""
    torch.manual_seed(3)
    model = Transformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    losses, grads = [], {}
    for step in range(3):
        tokens = torch.randint(0, VOCAB, (4, LENGTH + 1))
        logits = model(tokens[:, :-1])
        loss = F.cross_entropy(logits.reshape(-1, VOCAB), tokens[:, 1:].reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if step == 0:
            grads = {name: p.grad.clone() for name, p in model.named_parameters()}
        optimizer.step()
        losses.append((loss.item(), norm.item()))
    print(model.freqs_cis[:3])
    print(model.layers[0].mixing.filter.dtype == model.freqs_cis.dtype, torch.is_complex(model.freqs_cis))
    model.eval()
    with torch.no_grad():
        shifted = model(tokens[:, :5], start_pos=4)
    angles = torch.angle(model.freqs_cis) - torch.atan2(model.freqs_cis.imag, model.freqs_cis.real)
    return {
        "losses": losses,
        "grads": grads,
        "weights": model.state_dict(),
        "dtypes": [str(v.dtype) for v in model.state_dict().values()],
        "logits": shifted,
        "sizes": model.freqs_cis.abs(),
        "zero": (angles.abs() < 1e-6).all(),
    }
