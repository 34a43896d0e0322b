"""不用 softmax 注意力的语言模型：RWKV、Mamba、RetNet、minGRU、因果卷积、delta 规则；每个训练几步。"""
# mypy: ignore-errors

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def program():
    """同一个外壳，换六种混合时间的办法。"""

    class TimeMix(nn.Module):
        def __init__(self, d, layer_id=0, n_layer=2):
            super().__init__()
            ratio = 1.0 - layer_id / n_layer
            decay_speed = torch.ones(d)
            for h in range(d):
                decay_speed[h] = -5 + 8 * (h / (d - 1)) ** (0.7 + 1.3 * (1 - ratio))
            self.time_decay = nn.Parameter(decay_speed)
            zigzag = torch.tensor([(i + 1) % 3 - 1 for i in range(d)]) * 0.5
            self.time_first = nn.Parameter(torch.ones(d) * math.log(0.3) + zigzag)
            x = torch.ones(1, 1, d)
            for i in range(d):
                x[0, 0, i] = i / d
            self.time_mix_k = nn.Parameter(torch.pow(x, ratio))
            self.time_mix_r = nn.Parameter(torch.pow(x, 0.5 * ratio))
            self.time_shift = nn.ZeroPad2d((0, 0, 1, -1))
            self.key, self.value, self.receptance, self.output = (nn.Linear(d, d, bias=False) for _ in range(4))

        def forward(self, x):
            B, T, C = x.size()
            xx = self.time_shift(x)
            xk = x * self.time_mix_k + xx * (1 - self.time_mix_k)
            xr = x * self.time_mix_r + xx * (1 - self.time_mix_r)
            k, v, r = self.key(xk), self.value(xk), torch.sigmoid(self.receptance(xr))
            w, u = -torch.exp(self.time_decay), self.time_first
            aa, bb = torch.zeros(B, C), torch.zeros(B, C)
            pp = torch.full((B, C), -1e38)
            out = torch.empty(B, T, C)
            rows = []
            for t in range(T):
                ww = u + k[:, t]
                qq = torch.maximum(pp, ww)
                e1, e2 = torch.exp(pp - qq), torch.exp(ww - qq)
                rows.append((e1 * aa + e2 * v[:, t]) / (e1 * bb + e2))
                ww = pp + w
                qq = torch.maximum(ww, k[:, t])
                e1, e2 = torch.exp(ww - qq), torch.exp(k[:, t] - qq)
                aa, bb, pp = e1 * aa + e2 * v[:, t], e1 * bb + e2, qq
            out = torch.stack(rows, dim=1, out=None) if False else torch.stack(rows, dim=1)
            return self.output(r * out)

    class Mamba(nn.Module):
        def __init__(self, d, state=4, conv=3, expand=2):
            super().__init__()
            inner, self.rank, self.state = d * expand, math.ceil(d / 16), state
            self.in_proj = nn.Linear(d, inner * 2, bias=False)
            self.conv1d = nn.Conv1d(inner, inner, bias=True, kernel_size=conv, groups=inner, padding=conv - 1)
            self.x_proj = nn.Linear(inner, self.rank + state * 2, bias=False)
            self.dt_proj = nn.Linear(self.rank, inner, bias=True)
            dt = torch.exp(torch.rand(inner) * (math.log(0.1) - math.log(0.001)) + math.log(0.001)).clamp(min=1e-4)
            with torch.no_grad():
                self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))
            A = torch.arange(1, state + 1).to(dt.dtype).repeat(inner, 1)
            self.A_log, self.D = nn.Parameter(torch.log(A)), nn.Parameter(torch.ones(inner))
            self.out_proj = nn.Linear(inner, d, bias=False)

        def forward(self, x):
            b, l, _ = x.shape
            x, res = self.in_proj(x).chunk(2, dim=-1)
            x = F.silu(self.conv1d(x.transpose(1, 2))[:, :, :l].transpose(1, 2))
            delta, B, C = self.x_proj(x).split([self.rank, self.state, self.state], dim=-1)
            delta = F.softplus(self.dt_proj(delta))
            A = -torch.exp(self.A_log)
            deltaA = torch.exp(torch.einsum("b l d, d n -> b l d n", delta, A))
            deltaB_u = torch.einsum("bld,bln,bld->bldn", delta, B, x)
            h, ys = torch.zeros((b, x.size(-1), self.state), device=x.device), []
            for i in range(l):
                h = deltaA[:, i] * h + deltaB_u[:, i]
                ys.append(torch.einsum("bdn,bn->bd", h, C[:, i, :]))
            y = torch.stack(ys, dim=1) + x * self.D
            return self.out_proj(y * F.silu(res))

    class Retention(nn.Module):
        def __init__(self, d, heads=2):
            super().__init__()
            self.heads, self.qkv, self.g = heads, nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
            self.norm, self.out = nn.GroupNorm(heads, d), nn.Linear(d, d, bias=False)
            self.register_buffer("decay", torch.log(1 - 2 ** (-5 - torch.arange(heads).to(torch.get_default_dtype()))))

        def forward(self, x):
            B, T, C = x.shape
            q, k, v = (z.view(B, T, self.heads, -1).transpose(1, 2) for z in self.qkv(x).chunk(3, -1))
            n = torch.arange(T)
            mask = torch.tril(torch.exp((n[:, None] - n[None, :]) * self.decay[:, None, None]))
            mask = mask / mask.sum(dim=-1, keepdim=True).sqrt()
            scores = (q @ k.mT) * (C // self.heads) ** -0.5 * mask
            scores = scores / scores.detach().sum(dim=-1, keepdim=True).abs().clamp(min=1)
            y = (scores @ v).transpose(1, 2).contiguous().view(B * T, C)
            return self.out(F.silu(self.g(x)) * self.norm(y).view(B, T, C))

    class MinGRU(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.to_hidden_and_gate = nn.Linear(d, 2 * d, bias=False)

        def forward(self, x):
            hidden, gate = self.to_hidden_and_gate(x).chunk(2, dim=-1)
            log_coeffs = -F.softplus(gate)
            log_g = torch.where(hidden >= 0, (F.relu(hidden) + 0.5).log(), -F.softplus(-hidden))
            log_values = -F.softplus(-gate) + log_g
            a_star = log_coeffs.cumsum(dim=1)
            return (a_star + (log_values - a_star).logcumsumexp(dim=1)).exp()

    class CausalConv(nn.Module):
        def __init__(self, d, kernel=3):
            super().__init__()
            self.layers = nn.ModuleList([nn.Conv1d(d, 2 * d, kernel, dilation=2**i) for i in range(2)])
            self.kernel = kernel

        def forward(self, x):
            h = x.permute(0, 2, 1)
            for i, conv in enumerate(self.layers):
                h = h + F.glu(conv(F.pad(h, ((self.kernel - 1) * 2**i, 0))), dim=1)
            return h.permute(0, 2, 1)

    class DeltaRule(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.q, self.k, self.v, self.beta = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, 1)

        def forward(self, x):
            q, k = F.normalize(F.silu(self.q(x)), p=2, dim=-1), F.normalize(F.silu(self.k(x)), p=2, dim=-1)
            v, beta = self.v(x), self.beta(x).sigmoid()
            S, out = x.new_zeros(x.size(0), x.size(-1), x.size(-1)), torch.zeros_like(x)
            for t in range(x.size(1)):
                old = torch.bmm(S, k[:, t].unsqueeze(-1)).squeeze(-1)
                S = S + torch.bmm((beta[:, t] * (v[:, t] - old)).unsqueeze(2), k[:, t].unsqueeze(1))
                out[:, t] = torch.baddbmm(torch.zeros_like(v[:, t]).unsqueeze(-1), S, q[:, t, :, None]).squeeze(-1)
            return out

    class LM(nn.Module):
        def __init__(self, mixer, vocab=18, d=8):
            super().__init__()
            self.emb, self.ln1, self.ln2 = nn.Embedding(vocab, d), nn.LayerNorm(d), nn.LayerNorm(d)
            self.mixer = mixer(d)
            self.up, self.down = nn.Linear(d, 3 * d), nn.Linear(3 * d, d)
            self.head = nn.Linear(d, vocab, bias=False)

        def forward(self, idx):
            x = self.emb(idx)
            x = x + self.mixer(self.ln1(x))
            x = x + self.down(torch.square(torch.relu(self.up(self.ln2(x)))))
            return self.head(x)

    torch.manual_seed(1)
    results = {"losses": {}, "grads": {}, "weights": {}}
    for mixer in (TimeMix, Mamba, Retention, MinGRU, CausalConv, DeltaRule):
        model = LM(mixer)
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        losses = []
        for _ in range(3):
            ids = torch.randint(0, 18, (3, 8))
            loss = F.cross_entropy(model(ids[:, :-1]).reshape(-1, 18), ids[:, 1:].reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            if not losses:
                results["grads"][mixer.__name__] = {n: p.grad.clone() for n, p in model.named_parameters()}
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        results["losses"][mixer.__name__] = losses
        results["weights"][mixer.__name__] = model.state_dict()
        with torch.no_grad():
            causal = model(ids)[:, :4] - model(torch.cat([ids[:, :4], ids[:, 4:].flip(1)], 1))[:, :4]
        print(mixer.__name__, sum(p.numel() for p in model.parameters()), causal.abs().max() < 1e-5)
    return results
