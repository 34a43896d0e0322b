"""位置的几种编法：正弦、ALiBi、T5 的相对位置桶、可学的相对偏置、卷积、线性注意力的递推。"""
# mypy: ignore-errors

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


def program():
    """每种位置各训练几步。"""

    class PositionalEncoding(nn.Module):
        def __init__(self, d_model: int, dropout: float = 0.1, max_len: int = 64):
            super().__init__()
            self.dropout = nn.Dropout(p=dropout)
            position = torch.arange(max_len).unsqueeze(1)
            div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
            pe = torch.zeros(1, max_len, d_model)
            pe[0, :, 0::2] = torch.sin(position * div_term)
            pe[0, :, 1::2] = torch.cos(position * div_term)
            self.register_buffer("pe", pe)

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.pe[:, : x.size(1)]
            return self.dropout(x)

    def get_alibi_slopes(n_heads):
        def power_of_2(n):
            start = 2 ** (-(2 ** -(math.log2(n) - 3)))
            return [start * start**i for i in range(n)]

        if math.log2(n_heads).is_integer():
            return power_of_2(n_heads)
        closest = 2 ** math.floor(math.log2(n_heads))
        return power_of_2(closest) + get_alibi_slopes(2 * closest)[0::2][: n_heads - closest]

    class ALiBi(nn.Module):
        def __init__(self, n_heads, block_size):
            super().__init__()
            slopes = torch.tensor(get_alibi_slopes(n_heads)).view(n_heads, 1, 1)
            distance = torch.arange(block_size)[None, :] - torch.arange(block_size)[:, None]
            bias = slopes * distance.clamp(max=0).unsqueeze(0)
            causal = torch.ones(block_size, block_size).tril().bool()
            self.register_buffer("bias", bias.masked_fill(~causal, float("-inf")))

        def forward(self, att):
            return att + self.bias[:, : att.size(-2), : att.size(-1)]

    class T5Bias(nn.Module):
        def __init__(self, n_heads, block_size, num_buckets=8, max_distance=16):
            super().__init__()
            self.table = nn.Embedding(num_buckets, n_heads)
            q, k = torch.arange(block_size, dtype=torch.long)[:, None], torch.arange(block_size)[None, :]
            n = torch.max(-(k - q), torch.zeros_like(k - q))
            max_exact = num_buckets // 2
            is_small = n < max_exact
            large = max_exact + (
                torch.log(n.float() / max_exact) / math.log(max_distance / max_exact) * (num_buckets - max_exact)
            ).to(torch.long)
            large = torch.min(large, torch.full_like(large, num_buckets - 1))
            self.register_buffer("buckets", torch.where(is_small, n, large), persistent=False)

        def forward(self, att):
            T = att.size(-1)
            bias = self.table(self.buckets[:T, :T]).permute([2, 0, 1]).unsqueeze(0)
            att = att + bias
            return att.masked_fill(torch.triu(torch.ones(T, T, device=att.device), 1) == 1, -1e9)

    class ShawBias(nn.Module):
        def __init__(self, n_heads, block_size):
            super().__init__()
            self.rel = nn.Parameter(torch.randn(n_heads, 2 * block_size - 1) * 0.3)
            coords = torch.arange(block_size)
            self.index = coords.view(-1, 1) - coords.view(1, -1) + block_size - 1

        def forward(self, att):
            T = att.size(-1)
            bias = self.rel[:, self.index[:T, :T].reshape(-1)].view(-1, T, T)
            mask = torch.tril(att.new_ones(T, T))
            return att + bias + (1.0 - mask) * torch.finfo(att.dtype).min

    class Skew(nn.Module):
        def __init__(self, n_heads, block_size):
            super().__init__()
            self.Er = nn.Parameter(torch.randn(block_size, n_heads) * 0.2)

        def forward(self, att):
            T = att.size(-1)
            start = self.Er.size(0) - T
            QEr = self.Er[start:].t()[:, None, :].expand(-1, T, -1)
            padded = F.pad(QEr, (1, 0))
            rows, cols = padded.shape[-2:]
            skewed = padded.reshape(-1, cols, rows)[:, 1:, :]
            return (att + skewed).masked_fill(~torch.ones(T, T).tril().bool(), -torch.inf)

    class Model(nn.Module):
        def __init__(self, position, n_heads=3, dim=12, vocab=21):
            super().__init__()
            self.emb = nn.Embedding(vocab, dim)
            self.sin = PositionalEncoding(dim)
            self.qkv = nn.Linear(dim, 3 * dim)
            self.conv = nn.Conv1d(dim, dim, kernel_size=3, padding=2, groups=dim)
            self.position = position
            self.head = nn.Linear(dim, vocab)
            self.n_heads = n_heads

        def forward(self, x):
            x = self.sin(self.emb(x) * math.sqrt(self.emb.embedding_dim))
            x = x + self.conv(x.transpose(1, 2))[..., : x.size(1)].transpose(-1, -2)
            B, T, C = x.shape
            q, k, v = self.qkv(x).reshape(B, T, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
            att = torch.einsum("bhid,bhjd->bhij", q, k).div(math.sqrt(C // self.n_heads))
            att = self.position(att).softmax(dim=-1)
            out = torch.einsum("b h i j, b h j d -> b h i d", att, v)
            return self.head(out.transpose(1, 2).flatten(2))

    def linear_attention(q, k, v):
        q, k = F.elu(q) + 1, F.elu(k) + 1
        state, norm, outs = torch.zeros(q.size(0), q.size(-1), v.size(-1)), q.new_zeros(q.size(0), q.size(-1)), []
        for t in range(q.size(1)):
            state = state + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
            norm = norm + k[:, t]
            outs.append((q[:, t].unsqueeze(1) @ state).squeeze(1) / (q[:, t] * norm).sum(-1, keepdim=True))
        return torch.stack(outs, dim=1)

    torch.manual_seed(9)
    results = {"losses": [], "grads": {}, "weights": {}}
    for cls in [ALiBi, T5Bias, ShawBias, Skew]:
        model = Model(cls(3, 10))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
        for _ in range(3):
            x = torch.randint(0, 21, (2, 9))
            logits = model(x[:, :-1])
            loss = F.nll_loss(F.log_softmax(logits, dim=-1).view(-1, 21), x[:, 1:].contiguous().view(-1))
            model.zero_grad()
            loss.backward()
            results["grads"][cls.__name__] = {n: p.grad.clone() for n, p in model.named_parameters()}
            optimizer.step()
            results["losses"].append(loss.item())
        results["weights"][cls.__name__] = model.state_dict()
    q, k, v = torch.randn(3, 2, 5, 4, requires_grad=True).unbind(0)
    out = linear_attention(q, k, v)
    S = (F.elu(q) + 1) @ (F.elu(k) + 1).transpose(1, 2)
    parallel = (S.tril() @ v) / S.tril().sum(-1, keepdim=True)
    assert torch.allclose(out, parallel, atol=1e-5)
    results["linear"] = out.detach()
    print(model)
    return results
