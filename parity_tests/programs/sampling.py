"""生成的各种办法：KV 缓存与整段重算、温度、top-k、top-p、min-p、重复惩罚、束搜索、投机解码。"""
# mypy: ignore-errors
# ruff: noqa: B905

import math

import torch
import torch.nn as nn
from torch.nn import functional as F


def program():
    """同一个小模型，轮流用各种办法续写。"""

    class Attention(nn.Module):
        def __init__(self, dim, heads):
            super().__init__()
            self.heads = heads
            self.q, self.kv, self.o = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

        def forward(self, x, past=None):
            b, t, c = x.size()
            q = self.q(x).view(b, t, self.heads, -1).transpose(1, 2)
            k, v = self.kv(x).view(b, t, 2, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
            if past is not None:
                k, v = torch.cat((past[0], k), dim=-2), torch.cat((past[1], v), dim=-2)
            S = k.size(-2)
            mask = torch.ones(t, S, dtype=torch.bool, device=x.device).tril(diagonal=S - t)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            return self.o(y.transpose(1, 2).reshape(b, t, c)), (k, v)

    class LM(nn.Module):
        def __init__(self, vocab=26, dim=16, layers=2, context=32):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(vocab, dim), nn.Embedding(context, dim)
            self.layers = nn.ModuleList([Attention(dim, 2) for _ in range(layers)])
            self.norms = nn.ModuleList([nn.LayerNorm(dim) for _ in range(layers)])
            self.head = nn.Linear(dim, vocab, bias=False)
            for p in self.parameters():
                if p.dim() > 1:
                    nn.init.xavier_normal_(p, gain=2.0)

        def forward(self, idx, past_key_values=None):
            start = 0 if past_key_values is None else past_key_values[0][0].shape[-2]
            pos = torch.arange(start, start + idx.size(1)).unsqueeze(0)
            x = self.wte(idx) + self.wpe(pos)
            presents = []
            for i, (layer, norm) in enumerate(zip(self.layers, self.norms)):
                h, present = layer(norm(x), None if past_key_values is None else past_key_values[i])
                x = x + h
                presents.append(present)
            return self.head(x), presents

    def top_k_top_p_filtering(logits, top_k=0, top_p=1.0, filter_value=-float("Inf"), min_tokens_to_keep=1):
        if top_k > 0:
            top_k = min(max(top_k, min_tokens_to_keep), logits.size(-1))
            indices_to_remove = logits < torch.topk(logits, top_k)[0][..., -1, None]
            logits[indices_to_remove] = filter_value
        if top_p < 1.0:
            sorted_logits, sorted_indices = torch.sort(logits, descending=True)
            cumulative_probs = torch.cumsum(F.softmax(sorted_logits, dim=-1), dim=-1)
            sorted_indices_to_remove = cumulative_probs > top_p
            sorted_indices_to_remove[..., 1:] = sorted_indices_to_remove[..., :-1].clone()
            sorted_indices_to_remove[..., 0] = 0
            indices_to_remove = sorted_indices_to_remove.scatter(1, sorted_indices, sorted_indices_to_remove)
            logits[indices_to_remove] = filter_value
        return logits

    def sample_top_p(probs, p, generator=None):
        probs_sort, probs_idx = torch.sort(probs, dim=-1, descending=True)
        probs_sum = torch.cumsum(probs_sort, dim=-1)
        mask = probs_sum - probs_sort > p
        probs_sort[mask] = 0.0
        probs_sort.div_(probs_sort.sum(dim=-1, keepdim=True))
        next_token = torch.multinomial(probs_sort, num_samples=1, generator=generator)
        return torch.gather(probs_idx, -1, next_token)

    def min_p(logits, p):
        probs = torch.softmax(logits, -1)
        return logits.masked_fill(probs < p * probs.amax(-1, keepdim=True), -torch.inf)

    def repetition_penalty(logits, ids, penalty):
        score = torch.gather(logits, 1, ids)
        score = torch.where(score < 0, score * penalty, score / penalty)
        return logits.scatter_(1, ids, score)

    @torch.no_grad()
    def decode(model, idx, n, choose, cached):
        past, inp = None, idx
        for _ in range(n):
            logits, presents = model(inp, past)
            nxt = choose(logits[:, -1, :], idx)
            idx = torch.cat([idx, nxt], dim=1)
            past, inp = (presents, nxt) if cached else (None, idx)
        return idx

    @torch.inference_mode()
    def beam_search(model, prompt, n, width, alpha=0.7):
        beams = prompt.repeat(width, 1)
        scores = torch.full((width,), -float("inf"))
        scores[0] = 0.0
        for _ in range(n):
            logp = F.log_softmax(model(beams)[0][:, -1], dim=-1)
            total = scores[:, None] + logp
            scores, flat = total.view(-1).topk(width)
            beams = torch.cat([beams[flat // logp.size(-1)], (flat % logp.size(-1))[:, None]], dim=1)
        best = (scores / math.pow((5 + beams.size(1)) / 6, alpha)).argmax()
        return beams[best], scores

    def speculative(target, draft, idx, n, gamma=3):
        accepted = 0
        while idx.size(1) < n:
            trial = idx
            qs = []
            for _ in range(gamma):
                q = draft(trial)[0][:, -1].softmax(-1)
                qs.append(q)
                trial = torch.cat([trial, torch.multinomial(q, 1)], 1)
            ps = target(trial)[0].softmax(-1)
            for i in range(gamma):
                token = trial[:, idx.size(1)]
                p, q = ps[0, idx.size(1) - 1], qs[i][0]
                if torch.rand(()) < torch.minimum(torch.ones(()), p[token] / q[token]):
                    idx = torch.cat([idx, token[:, None]], dim=1)
                    accepted += 1
                else:
                    residual = (p - q).clamp_min(0)
                    idx = torch.cat([idx, torch.multinomial(residual / residual.sum(), 1)[None]], dim=1)
                    break
        return idx, accepted

    torch.manual_seed(21)
    model, small = LM(), LM(layers=1)
    model.eval()
    prompt = torch.tensor([[1, 5, 2], [7, 7, 3]])
    greedy = lambda logits, idx: torch.argmax(logits, dim=-1, keepdim=True)
    generator = torch.Generator(device="cpu")
    generator.manual_seed(2147483647)
    ways = {
        "greedy": greedy,
        "temperature": lambda logits, idx: torch.multinomial(F.softmax(logits / 1.7, dim=-1), 1),
        "top k": lambda logits, idx: torch.multinomial(F.softmax(top_k_top_p_filtering(logits, top_k=4), -1), 1),
        "top p": lambda logits, idx: torch.multinomial(F.softmax(top_k_top_p_filtering(logits, 0, 0.8), -1), 1),
        "nucleus": lambda logits, idx: sample_top_p(torch.softmax(logits / 0.9, dim=-1), 0.7, generator),
        "min p": lambda logits, idx: torch.multinomial(min_p(logits, 0.2).softmax(-1), num_samples=1),
        "penalty": lambda logits, idx: greedy(repetition_penalty(logits, idx, 1.8), idx),
        "gumbel": lambda logits, idx: (logits - torch.log(-torch.log(torch.rand_like(logits)))).argmax(-1)[:, None],
        "exponential": lambda logits, idx: (
            (logits.softmax(-1) / torch.empty_like(logits).exponential_(1)).argmax(dim=-1, keepdim=True).to(torch.int64)
        ),
    }
    ids = {name: decode(model, prompt, 12, choose, True) for name, choose in ways.items()}
    again = {name: decode(model, prompt, 12, ways[name], False) for name in ("greedy", "penalty")}
    assert all(torch.equal(ids[name], again[name]) for name in again)
    beams, scores = beam_search(model, prompt[:1], 8, 3)
    with torch.no_grad():
        spec, accepted = speculative(model, small, prompt[:1], 16)
        logits = model(prompt)[0]
        log_probs = torch.log_softmax(logits, dim=-1)
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        labels = (
            torch.distributions.Categorical(logits=logits).entropy() if hasattr(torch, "distributions") else entropy
        )
    print(entropy.mean().item() > 0, ids["greedy"].tolist())
    drawn = [
        torch.multinomial(torch.tensor([0.1, 0.2, 0.3, 0.4]), 6, replacement=True, generator=generator) for _ in "ab"
    ]
    return {
        "ids": ids, "beams": beams, "scores": scores, "speculative": spec, "accepted": accepted, "entropy": entropy,
        "labels": labels, "drawn": drawn, "permutation": torch.randperm(11, generator=generator),
        "distinct": torch.multinomial(torch.ones(3, 7), 5),
    }  # fmt: skip
