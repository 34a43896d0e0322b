"""Transformer 的种种变化：MLA、差分注意力、nGPT、多词元预测、自适应 softmax、深度混合、寄存器词元、因子分解嵌入。"""
# mypy: ignore-errors

import math
from functools import reduce
from itertools import chain

import torch
from torch import nn
from torch.nn import functional as F


def exists(val):
    """不是 ``None``。"""
    return val is not None


def default(val, d):
    """没有就用缺省。"""
    return val if exists(val) else d


def program():
    """每种变化训练几步。"""

    class MLA(nn.Module):
        def __init__(self, d, heads=2, latent=6, rope=4):
            super().__init__()
            self.h, self.nope, self.rope = heads, d // heads, rope
            self.q = nn.Linear(d, heads * (self.nope + rope), bias=False)
            self.kv_a = nn.Linear(d, latent + rope, bias=False)
            self.kv_norm = nn.RMSNorm(latent, eps=1e-6)
            self.kv_b = nn.Linear(latent, heads * 2 * self.nope, bias=False)
            self.o = nn.Linear(heads * self.nope, d, bias=False)

        def rotate(self, x):
            T, n = x.shape[-2], x.shape[-1] // 2
            angle = torch.arange(T)[:, None] / 100 ** (torch.arange(n)[None] / n)
            a, b = x[..., 0::2], x[..., 1::2]
            return torch.stack((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1).flatten(-2)

        def forward(self, x):
            B, T, _ = x.shape
            q = self.q(x).view(B, T, self.h, -1).transpose(1, 2)
            q_nope, q_pe = torch.split(q, [self.nope, self.rope], dim=-1)
            latent, k_pe = torch.split(self.kv_a(x), [self.kv_b.in_features, self.rope], dim=-1)
            kv = self.kv_b(self.kv_norm(latent)).view(B, T, self.h, -1).transpose(1, 2)
            k_nope, v = kv.tensor_split(2, dim=-1)
            k_pe = self.rotate(k_pe.unsqueeze(1)).expand(-1, self.h, -1, -1)
            q, k = torch.cat([q_nope, self.rotate(q_pe)], -1), torch.cat([k_nope, k_pe], -1)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1 / math.sqrt(q.size(-1)))
            return self.o(y.transpose(1, 2).reshape(B, T, -1))

    class Differential(nn.Module):
        def __init__(self, d, heads=2, depth=1):
            super().__init__()
            self.h, self.hd, self.init = heads, d // heads // 2, 0.8 - 0.6 * math.exp(-0.3 * depth)
            self.qkv = nn.Linear(d, 3 * d, bias=False)
            self.l1, self.l2, self.l3, self.l4 = (nn.Parameter(torch.zeros(self.hd).normal_(0, 0.1)) for _ in range(4))
            self.norm = nn.RMSNorm(2 * self.hd, eps=1e-5, elementwise_affine=False)

        def forward(self, x):
            B, T, C = x.shape
            q, k, v = self.qkv(x).chunk(3, dim=2)
            q, k = (z.view(B, T, 2 * self.h, self.hd).transpose(1, 2) for z in (q, k))
            v = v.view(B, T, self.h, 2 * self.hd).transpose(1, 2)
            weights = torch.matmul(q * self.hd**-0.5, k.transpose(-1, -2))
            weights = torch.nan_to_num(weights)
            weights += torch.triu(torch.zeros([T, T]).fill_(float("-inf")).type_as(weights), 1)
            weights = F.softmax(weights, dim=-1).type_as(weights).view(B, self.h, 2, T, T)
            lam = torch.exp(torch.sum(self.l1 * self.l2, dim=-1)) - torch.exp((self.l3 * self.l4).sum()) + self.init
            y = self.norm((weights[:, :, 0] - lam * weights[:, :, 1]) @ v) * (1 - self.init)
            return y.transpose(1, 2).reshape(B, T, C)

    class Normalised(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.w, self.alpha = nn.Linear(d, d, bias=False), nn.Parameter(torch.full((d,), 0.05))
            self.mix, self.log_temperature = (
                nn.Parameter(torch.eye(d) + 0.1 * torch.randn(d, d)),
                nn.Parameter(torch.zeros(())),
            )

        def forward(self, x):
            x = F.normalize(x, dim=-1)
            y = F.normalize(torch.cummax(self.w(x), dim=1).values @ self.mix.triu(), dim=-1)
            x = F.normalize(torch.lerp(x, y, self.alpha.abs()), dim=-1)
            return x * self.log_temperature.exp() - x

    class DepthMix(nn.Module):
        def __init__(self, d, keep=3):
            super().__init__()
            self.router, self.body, self.keep = nn.Linear(d, 1), nn.Sequential(nn.Linear(d, d), nn.Mish()), keep
            self.register = nn.Parameter(torch.randn(2, d))

        def forward(self, x):
            B, T, d = x.shape
            x = torch.cat([self.register.expand(B, -1, -1), x], dim=1)
            weights = self.router(x).squeeze(-1)
            top, index = torch.topk(weights, self.keep, dim=1)
            index, order = torch.sort(index, dim=1)
            gathered = torch.gather(x, 1, index[..., None].expand(-1, -1, d))
            update = self.body(gathered) * top.gather(1, order).sigmoid().unsqueeze(-1)
            out = torch.scatter_add(torch.zeros_like(x), 1, index.unsqueeze(-1).repeat(1, 1, d), update)
            return out.narrow(1, 2, T)

    class Model(nn.Module):
        def __init__(self, mixer=None, vocab=20, d=8, n_future=2):
            super().__init__()
            self.factor = nn.Sequential(nn.Embedding(vocab, 4), nn.Linear(4, d, bias=False))
            self.mixer = default(mixer, nn.Identity)(d)
            self.norms = nn.ModuleDict({k: nn.LayerNorm(d, bias=False) for k in ("in", "out")})
            self.gate = nn.Parameter(torch.tensor([1.0, 0.0]))
            self.heads = nn.ModuleList(nn.Linear(d, vocab) for _ in range(n_future))

        def forward(self, idx):
            places = torch.arange(idx.size(1)).unsqueeze(-1) * torch.arange(1, self.factor[1].out_features + 1)
            x = x0 = self.factor(idx) + places.sin() * 0.3  # 各维不同，同一个词元的分数才不会并列
            x = self.gate[0] * x + self.gate[1] * x0 + self.mixer(self.norms["in"](x))
            return torch.stack([head(self.norms["out"](x)) for head in self.heads], dim=2)

    torch.manual_seed(12)
    results = {"losses": {}, "grads": {}, "weights": {}}
    for mixer in (MLA, Differential, Normalised, DepthMix, None):
        name = getattr(mixer, "__name__", "none")
        model = Model(mixer)
        groups = reduce(lambda g, p: g[p.ndim >= 2].append(p) or g, chain(model.parameters()), {True: [], False: []})
        optimizer = torch.optim.AdamW([{"params": v, "weight_decay": 0.1 * k} for k, v in groups.items() if v], lr=4e-3)
        losses = []
        for _ in range(3):
            ids = torch.randint(20, (2, 9))
            logits = model(ids[:, :-2])
            targets = torch.stack([ids[:, 1:-1], ids[:, 2:]], dim=-1)
            losses_per_head = F.cross_entropy(logits.movedim(-1, 1), targets, reduction="none").mean((0, 1))
            loss = torch.dot(losses_per_head, torch.tensor([1.0, 0.3])) + 1e-4 * logits.logsumexp(-1).pow(2).mean()
            model.zero_grad(set_to_none=True)
            loss.backward()
            if not losses:
                results["grads"][name] = {n: p.grad.clone() for n, p in model.named_parameters()}
            optimizer.step()
            losses.append(loss.item())
        results["losses"][name], results["weights"][name] = losses, model.state_dict()
    adaptive = nn.AdaptiveLogSoftmaxWithLoss(8, 30, cutoffs=[6, 15], div_value=2.0)
    hidden = torch.randn(5, 8, requires_grad=True)
    out, loss = adaptive(hidden, torch.tensor([1, 7, 20, 3, 29]))
    loss.backward()
    bag = nn.EmbeddingBag(10, 4, mode="mean")(torch.tensor([1, 2, 4, 5, 4, 3]), torch.tensor([0, 2]))
    mixture = torch.logsumexp(torch.log_softmax(torch.randn(3, 1, 4), 0) + F.log_softmax(torch.randn(3, 2, 4), -1), 0)
    print(model, adaptive)
    return results | {
        "loss adaptive": loss.detach(), "adaptive": (out.detach(), hidden.grad, adaptive.predict(hidden)),
        "bag": bag.detach(), "mixture": mixture,
    }  # fmt: skip
