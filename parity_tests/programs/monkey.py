"""边生成边改的小模型：就地加掩码与残差、YaRN、KV 缓存、专家混合，再用改写 ``forward`` 的办法装上 LoRA。"""
# mypy: ignore-errors
# ruff: noqa: B010, B905, E401, I001

import math, torch, torch.nn.functional as F
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
from torch import nn, optim

ACT2FN = {"silu": nn.SiLU(), "gelu": nn.GELU(approximate="tanh"), "relu2": lambda x: F.relu(x).square()}
Output = namedtuple("Output", ["loss", "aux_loss", "logits", "past"], defaults=[None])


def program():
    """预训练几步，装上 LoRA 再训几步，带缓存生成。"""
    float_type = torch.get_default_dtype()
    config = SimpleNamespace(
        hidden_size=16, num_hidden_layers=3, vocab_size=33, num_attention_heads=4, num_key_value_heads=2, dropout=0.1,
        act="silu", max_position=32, rope_theta=1e4, num_experts=4, num_experts_per_tok=2, aux_coef=1e-2,
        rope_scaling={"original": 8, "factor": 4, "beta_fast": 4, "beta_slow": 1},
    )  # fmt: skip

    class RMSNorm(torch.nn.Module):
        def __init__(self, dim: int, eps: float = 1e-5):
            super().__init__()
            self.eps, self.weight = eps, nn.Parameter(torch.ones(dim))

        def forward(self, x):
            return (self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps))).type_as(x)

    def precompute(dim, end, base, scaling=None):
        freqs = 1.0 / (base ** (torch.arange(0, dim, 2)[: dim // 2].to(float_type) / dim))
        if scaling is not None and end / scaling["original"] > 1.0:
            inv_dim = lambda b: (dim * math.log(scaling["original"] / (b * 2 * math.pi))) / (2 * math.log(base))
            low, high = (
                max(math.floor(inv_dim(scaling["beta_fast"])), 0),
                min(math.ceil(inv_dim(scaling["beta_slow"])), dim // 2 - 1),
            )
            ramp = torch.clamp((torch.arange(dim // 2).to(float_type) - low) / max(high - low, 0.001), 0, 1)
            freqs = freqs * (1 - ramp + ramp / scaling["factor"])
        freqs = torch.outer(torch.arange(end), freqs)
        return torch.cat([torch.cos(freqs), torch.cos(freqs)], dim=-1), torch.cat([freqs.sin(), freqs.sin()], -1)

    def rotary(q, k, cos, sin):
        half = lambda x: torch.cat((-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]), dim=-1)
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        return (q * cos + half(q) * sin).to(q.dtype), (k * cos + half(k) * sin).to(k.dtype)

    class Attention(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.heads, self.kv_heads, self.head_dim = c.num_attention_heads, c.num_key_value_heads, c.hidden_size // 4
            self.q_proj = nn.Linear(c.hidden_size, c.hidden_size, bias=False)
            self.k_proj = nn.Linear(c.hidden_size, self.kv_heads * self.head_dim, bias=False)
            self.v_proj = nn.Linear(c.hidden_size, self.kv_heads * self.head_dim, bias=False)
            self.o_proj = nn.Linear(c.hidden_size, c.hidden_size, bias=False)
            self.q_norm, self.k_norm, self.drop = RMSNorm(self.head_dim), RMSNorm(self.head_dim), nn.Dropout(c.dropout)

        def forward(self, x, position, past=None, use_cache=False, attention_mask=None):
            b, t, _ = x.shape
            q, k, v = (p(x).view(b, t, -1, self.head_dim) for p in (self.q_proj, self.k_proj, self.v_proj))
            q, k = rotary(self.q_norm(q), self.k_norm(k), *position)
            if past is not None:
                k, v = torch.cat([past[0], k], dim=1), torch.cat([past[1], v], dim=1)
            present = (k, v) if use_cache else None
            n = self.heads // self.kv_heads
            k, v = (z[:, :, :, None, :].expand(-1, -1, -1, n, -1).flatten(2, 3).transpose(1, 2) for z in (k, v))
            scores = (q.transpose(1, 2) @ k.transpose(-2, -1)) / math.sqrt(self.head_dim)
            scores[:, :, :, -t:] += torch.full((t, t), float("-inf"), device=scores.device).triu(1)
            if attention_mask is not None:
                scores += (1.0 - attention_mask.unsqueeze(1).unsqueeze(2)) * -1e9
            out = self.drop(F.softmax(scores, dim=-1).type_as(q)) @ v
            return self.o_proj(out.transpose(1, 2).reshape(b, t, -1)), present

    class FeedForward(nn.Module):
        def __init__(self, c):
            super().__init__()
            size = 8 * ((int(c.hidden_size * math.pi) + 7) // 8)
            self.gate_proj, self.up_proj = (nn.Linear(c.hidden_size, size, bias=False) for _ in range(2))
            self.down_proj, self.act_fn = nn.Linear(size, c.hidden_size, bias=False), ACT2FN[c.act]

        def forward(self, x):
            return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))

    class MoE(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.c, self.gate = c, nn.Linear(c.hidden_size, c.num_experts, bias=False)
            self.experts = nn.ModuleList([FeedForward(c) for _ in range(c.num_experts)])
            self.shared = FeedForward(c)

        def forward(self, x):
            flat = x.view(-1, x.shape[-1])
            scores = F.softmax(self.gate(flat), dim=-1)
            weight, idx = torch.topk(scores, k=self.c.num_experts_per_tok, dim=-1, sorted=False)
            weight = weight / (weight.sum(dim=-1, keepdim=True) + 1e-20)
            y = torch.zeros_like(flat)
            for i, expert in enumerate(self.experts):
                mask = idx == i
                if mask.any():
                    token_idx = mask.any(dim=-1).nonzero().flatten()
                    y.index_add_(0, token_idx, (expert(flat[token_idx]) * weight[mask].view(-1, 1)).to(y.dtype))
                elif self.training:
                    y[0, 0] += 0 * sum(p.sum() for p in expert.parameters())
            load = F.one_hot(idx, self.c.num_experts).to(scores.dtype).mean(0)
            self.aux_loss = (load * scores.mean(0)).sum() * self.c.num_experts * self.c.aux_coef
            if not self.training:
                self.aux_loss = scores.new_zeros(1).squeeze()
                y = self.infer(flat, idx.view(-1), weight.view(-1, 1))
            return (y + self.shared(flat)).view(*x.shape)

        @torch.no_grad()
        def infer(self, x, flat_idx, weights):
            cache = torch.zeros_like(x)
            order = flat_idx.argsort(stable=True)
            counts = flat_idx.bincount(minlength=self.c.num_experts).cpu().numpy().cumsum(0)
            token_idx = order // self.c.num_experts_per_tok
            for i, end in enumerate(counts):
                start = 0 if i == 0 else counts[i - 1]
                if start == end:
                    continue
                here = token_idx[start:end]
                out = self.experts[i](x[here]).to(cache.dtype)
                out.mul_(weights[order[start:end]])
                cache.scatter_add_(0, here.view(-1, 1).repeat(1, x.shape[-1]), out)
            return cache

    class Block(nn.Module):
        def __init__(self, layer_id, c):
            super().__init__()
            self.self_attn, self.mlp = Attention(c), MoE(c) if layer_id % 2 else FeedForward(c)
            self.input_layernorm, self.post_layernorm = RMSNorm(c.hidden_size), RMSNorm(c.hidden_size)

        def forward(self, h, position, past, use_cache, mask):
            residual = h
            h, present = self.self_attn(self.input_layernorm(h), position, past, use_cache, mask)
            h += residual
            h = h + self.mlp(self.post_layernorm(h))
            return h, present

    class LM(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.c, self.embed_tokens = c, nn.Embedding(c.vocab_size, c.hidden_size)
            self.layers = nn.ModuleList([Block(i, c) for i in range(c.num_hidden_layers)])
            self.norm, self.lm_head = RMSNorm(c.hidden_size), nn.Linear(c.hidden_size, c.vocab_size, bias=False)
            self.embed_tokens.weight = self.lm_head.weight
            cos, sin = precompute(c.hidden_size // 4, c.max_position, c.rope_theta, c.rope_scaling)
            self.register_buffer("cos", cos, persistent=False)
            self.register_buffer("sin", sin, persistent=False)

        def forward(self, ids, mask=None, past=None, use_cache=False, keep=0, labels=None):
            past = past or [None] * len(self.layers)
            start = past[0][0].shape[1] if past[0] is not None else 0
            h = self.embed_tokens(ids)
            position = (self.cos[start : start + ids.shape[1]], self.sin[start : start + ids.shape[1]])
            presents = []
            for layer, p in zip(self.layers, past):
                h, present = layer(h, position, p, use_cache, mask)
                presents.append(present)
            aux = sum([l.mlp.aux_loss for l in self.layers if isinstance(l.mlp, MoE)], h.new_zeros(1).squeeze())
            logits = self.lm_head(self.norm(h)[:, slice(-keep, None), :])
            loss = None
            if labels is not None:
                x, y = logits[..., :-1, :].contiguous(), labels[..., 1:].contiguous()
                loss = F.cross_entropy(x.view(-1, x.size(-1)), y.view(-1), ignore_index=-100)
            return Output(loss, aux, logits, presents)

        @torch.inference_mode()
        def generate(self, ids, mask, n, temperature=0.85, top_p=0.85, top_k=12, rp=1.1, eos=2):
            past, finished = None, torch.zeros(ids.shape[0], dtype=torch.bool)
            for _ in range(n):
                done = past[0][0].shape[1] if past else 0
                out = self(ids[:, done:], mask, past, use_cache=True, keep=1)
                mask = torch.cat([mask, mask.new_ones(mask.shape[0], 1)], -1)
                logits = out.logits[:, -1, :] / temperature
                for i in range(ids.shape[0]):
                    seen = torch.unique(ids[i])
                    score = logits[i, seen]
                    logits[i, seen] = torch.where(score > 0, score / rp, score * rp)
                logits[logits < torch.topk(logits, top_k)[0][..., -1, None]] = -float("inf")
                sorted_logits, sorted_indices = torch.sort(logits, descending=True)
                drop = torch.cumsum(torch.softmax(sorted_logits, dim=-1), dim=-1) > top_p
                drop[..., 1:], drop[..., 0] = drop[..., :-1].clone(), 0
                logits[drop.scatter(1, sorted_indices, drop)] = -float("inf")
                token = torch.multinomial(torch.softmax(logits, dim=-1), num_samples=1)
                token = torch.where(finished.unsqueeze(-1), token.new_full((token.shape[0], 1), eos), token)
                ids, past = torch.cat([ids, token], dim=-1), out.past
                finished |= token.squeeze(-1).eq(eos)
                if finished.all():
                    break
            return ids

    class LoRA(nn.Module):
        def __init__(self, i, o, rank):
            super().__init__()
            self.A, self.B = nn.Linear(i, rank, bias=False), nn.Linear(rank, o, bias=False)
            self.A.weight.data.normal_(mean=0.0, std=0.02)
            self.B.weight.data.zero_()

        def forward(self, x):
            return self.B(self.A(x))

    def apply_lora(model, rank=3):
        for _, module in model.named_modules():
            if isinstance(module, nn.Linear) and module.weight.shape[0] == module.weight.shape[1]:
                lora = LoRA(module.weight.shape[0], module.weight.shape[1], rank=rank)
                setattr(module, "lora", lora)
                original_forward = module.forward

                def forward_with_lora(x, layer1=original_forward, layer2=lora):
                    return layer1(x) + layer2(x)

                module.forward = forward_with_lora

    def batch(rows, length):
        ids = torch.from_numpy(np.random.randint(3, config.vocab_size, (rows, length)))
        mask = (torch.arange(length)[None] >= torch.tensor([[0], [2], [1]])[:rows]).long()
        return ids, mask, torch.where(mask == 0, -100, ids)

    def train(model, parameters, steps, lr):
        optimizer, seen, losses = optim.AdamW(parameters, lr=lr), {}, []
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = lr * (0.1 + 0.45 * (1 + math.cos(math.pi * step / steps)))
            ids, mask, labels = batch(3, 7)
            res = model(ids, mask=mask, labels=labels)
            loss = (res.loss + res.aux_loss) / 2
            loss.backward()
            if step == 0:
                seen = {n: None if p.grad is None else p.grad.clone() for n, p in model.named_parameters()}
            if (step + 1) % 2 == 0:
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item() * 2)
        return losses, seen

    torch.manual_seed(42)
    model = LM(config)
    results = dict(zip(("losses", "grads"), train(model, list(model.parameters()), 6, 5e-3)))
    apply_lora(model)
    names = [n for n, _ in model.named_parameters() if "lora" in n]
    for name, p in model.named_parameters():
        p.requires_grad = "lora" in name
    print(len(names), sum(p.numel() for n, p in model.named_parameters() if "lora" in n), names[0])
    lora_params = [p for n, p in model.named_parameters() if "lora" in n]
    results |= dict(zip(("losses of lora", "grads of lora"), train(model, lora_params, 4, 1e-2)))
    model.eval()
    ids, mask, _ = batch(2, 4)
    results["ids"] = model.generate(ids, mask, 12)
    results["whole"] = model(results["ids"], torch.cat([mask, mask.new_ones(2, results["ids"].shape[1] - 4)], 1)).logits
    results["weights"] = {k: v for k, v in model.state_dict().items() if "lora" in k}
    return results
