"""Qwen 与 Gemma 的零件：q/k 归一化、滑动窗口、softcap、(1 + w) 的缩放、rotate_half、门控 GELU。"""
# mypy: ignore-errors
# ruff: noqa: RUF059

import torch
import torch.nn as nn


def program():
    """本地与全局注意力交替的小模型。"""
    cfg = {
        "vocab_size": 43, "emb_dim": 20, "n_heads": 4, "n_kv_groups": 2, "head_dim": 6, "hidden_dim": 32,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "sliding_window": 3,
        "attn_logit_softcapping": 20.0, "final_logit_softcapping": 30.0, "query_pre_attn_scalar": 6, "rope_base": 1e4,
        "dtype": torch.get_default_dtype(), "context_length": 12,
    }  # fmt: skip

    class RMSNorm(nn.Module):
        def __init__(self, emb_dim, eps=1e-6, bias=False):
            super().__init__()
            self.eps = eps
            self.scale = nn.Parameter(torch.zeros(emb_dim))
            self.shift = nn.Parameter(torch.zeros(emb_dim)) if bias else None

        def forward(self, x):
            input_dtype = x.dtype
            x_f = x.to(torch.get_default_dtype())
            var = x_f.pow(2).mean(dim=-1, keepdim=True)
            x_norm = x_f * torch.rsqrt(var + self.eps)
            out = x_norm * (1.0 + self.scale)
            if self.shift is not None:
                out = out + self.shift
            return out.to(input_dtype)

    class RotaryEmbedding(nn.Module):
        inv_freq: torch.Tensor

        def __init__(self, dim, base=10000.0):
            super().__init__()
            inv_freq = 1.0 / (base ** (torch.arange(0, dim, 2, dtype=torch.int64).to(cfg["dtype"]) / dim))
            self.register_buffer("inv_freq", inv_freq, persistent=False)
            self.original_inv_freq = self.inv_freq

        @torch.no_grad()
        def forward(self, x, position_ids):
            inv_freq_expanded = self.inv_freq[None, :, None].expand(position_ids.shape[0], -1, 1)
            position_ids_expanded = position_ids[:, None, :].to(x.dtype)
            freqs = (inv_freq_expanded @ position_ids_expanded).transpose(1, 2)
            emb = torch.cat((freqs, freqs), dim=-1)
            return emb.cos().to(dtype=x.dtype), emb.sin().to(dtype=x.dtype)

    def rotate_half(x):
        x1 = x[..., : x.shape[-1] // 2]
        x2 = x[..., x.shape[-1] // 2 :]
        return torch.cat((-x2, x1), dim=-1)

    def apply_rotary_pos_emb(q, k, cos, sin, unsqueeze_dim=1):
        cos = cos.unsqueeze(unsqueeze_dim)
        sin = sin.unsqueeze(unsqueeze_dim)
        return (q * cos) + (rotate_half(q) * sin), (k * cos) + (rotate_half(k) * sin)

    class GroupedQueryAttention(nn.Module):
        def __init__(self, cfg, sliding_window=None):
            super().__init__()
            self.group_size = cfg["n_heads"] // cfg["n_kv_groups"]
            self.head_dim = cfg["head_dim"]
            self.sliding_window = sliding_window
            self.d_out = cfg["n_heads"] * cfg["head_dim"]
            self.q_proj = nn.Linear(cfg["emb_dim"], self.d_out, bias=False, dtype=cfg["dtype"])
            self.k_proj = nn.Linear(cfg["emb_dim"], cfg["n_kv_groups"] * self.head_dim, bias=False, dtype=cfg["dtype"])
            self.v_proj = nn.Linear(cfg["emb_dim"], cfg["n_kv_groups"] * self.head_dim, bias=False, dtype=cfg["dtype"])
            self.o_proj = nn.Linear(self.d_out, cfg["emb_dim"], bias=False, dtype=cfg["dtype"])
            self.q_norm, self.k_norm = RMSNorm(self.head_dim), RMSNorm(self.head_dim, bias=True)
            self.scaling = cfg["query_pre_attn_scalar"] ** -0.5

        def forward(self, x, cos, sin, mask):
            input_shape = x.shape[:-1]
            hidden_shape = (*input_shape, -1, self.head_dim)
            q = self.q_norm(self.q_proj(x).view(hidden_shape)).transpose(1, 2)
            k = self.k_norm(self.k_proj(x).view(hidden_shape)).transpose(1, 2)
            v = self.v_proj(x).view(hidden_shape).transpose(1, 2)
            q, k = apply_rotary_pos_emb(q, k, cos, sin)
            k, v = k.repeat_interleave(self.group_size, dim=1), v.repeat_interleave(self.group_size, dim=1)
            attn = torch.matmul(q, k.mT) * self.scaling
            if cfg["attn_logit_softcapping"] is not None:
                attn = attn / cfg["attn_logit_softcapping"]
                attn = torch.tanh(attn)
                attn = attn * cfg["attn_logit_softcapping"]
            attn = attn.masked_fill(mask, torch.finfo(attn.dtype).min)
            weights = nn.functional.softmax(attn, dim=-1, dtype=torch.get_default_dtype()).to(q.dtype)
            weights = nn.functional.dropout(weights, p=0.0, training=self.training)
            out = (weights @ v).transpose(1, 2).reshape(*input_shape, -1).contiguous()
            return self.o_proj(out), weights

    class FeedForward(nn.Module):
        def __init__(self, cfg):
            super().__init__()
            self.gate_proj = nn.Linear(cfg["emb_dim"], cfg["hidden_dim"], bias=False)
            self.up_proj = nn.Linear(cfg["emb_dim"], cfg["hidden_dim"], bias=False)
            self.down_proj = nn.Linear(cfg["hidden_dim"], cfg["emb_dim"], bias=False)

        def forward(self, x):
            return self.down_proj(nn.functional.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))

    class Block(nn.Module):
        def __init__(self, cfg, attn_type):
            super().__init__()
            self.attn_type = attn_type
            self.att = GroupedQueryAttention(cfg, cfg["sliding_window"] if attn_type == "sliding_attention" else None)
            self.ff = FeedForward(cfg)
            for name in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
                self.add_module(f"{name}_layernorm", RMSNorm(cfg["emb_dim"]))

        def forward(self, x, cos, sin, masks):
            residual = x
            x, weights = self.att(self.input_layernorm(x), cos, sin, masks[self.attn_type])
            x = residual + self.post_attention_layernorm(x)
            return x + self.post_feedforward_layernorm(self.ff(self.pre_feedforward_layernorm(x))), weights

    class Gemma(nn.Module):
        def __init__(self, cfg):
            super().__init__()
            self.tok_emb = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"], dtype=cfg["dtype"])
            self.blocks = nn.ModuleList([Block(cfg, attn_type) for attn_type in cfg["layer_types"]])
            self.rotary = RotaryEmbedding(cfg["head_dim"], cfg["rope_base"])
            self.final_norm = RMSNorm(cfg["emb_dim"])
            self.out_head = nn.Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False, dtype=cfg["dtype"])

        def _create_masks(self, seq_len, device):
            ones = torch.ones((seq_len, seq_len), dtype=torch.bool, device=device)
            mask_global = torch.triu(ones, diagonal=1)
            far_past = torch.triu(ones, diagonal=cfg["sliding_window"]).T
            return {"full_attention": mask_global, "sliding_attention": mask_global | far_past}

        def forward(self, input_ids, labels=None):
            b, seq_len = input_ids.shape
            x = self.tok_emb(input_ids) * (cfg["emb_dim"] ** 0.5)
            position_ids = torch.arange(seq_len, device=x.device).unsqueeze(0)
            cos, sin = self.rotary(x, position_ids)
            masks = self._create_masks(seq_len, x.device)
            attentions = ()
            for block in self.blocks:
                x, weights = block(x, cos, sin, masks)
                attentions += (weights,)
            logits = self.out_head(self.final_norm(x))
            cap = cfg["final_logit_softcapping"]
            logits = cap * torch.tanh(logits / cap)
            loss = None
            if labels is not None:
                shift_logits = logits[..., :-1, :].contiguous()
                shift_labels = labels[..., 1:].contiguous()
                loss_fct = nn.CrossEntropyLoss()
                loss = loss_fct(shift_logits.view(-1, cfg["vocab_size"]), shift_labels.view(-1))
            return {"loss": loss, "logits": logits, "attentions": attentions}

    torch.manual_seed(11)
    model = Gemma(cfg)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3, alpha=0.95, momentum=0.5)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 3))
    losses, grads = [], {}
    for step in range(5):
        ids = torch.randint(cfg["vocab_size"], (2, cfg["context_length"]))
        labels = ids.masked_fill(torch.rand(ids.shape) < 0.2, -100)
        out = model(ids, labels=labels)
        optimizer.zero_grad()
        out["loss"].backward()
        if step == 0:
            grads = {n: p.grad.clone() for n, p in model.named_parameters()}
            attentions = [w.detach() for w in out["attentions"]]
        optimizer.step()
        scheduler.step()
        losses.append(out["loss"].item())
    ids = torch.tensor([[3, 1, 4]])
    model.eval()
    with torch.no_grad():
        for _ in range(8):
            ids = torch.cat([ids, model(ids)["logits"][:, -1].argmax(-1, keepdim=True)], dim=-1)
    print(sum(p.numel() for p in model.parameters()), len(list(model.buffers())), scheduler.get_last_lr())
    return {
        "losses": losses, "grads": grads, "attentions": attentions, "weights": model.state_dict(), "ids": ids,
        "keys": sorted(model.state_dict().keys()),
    }  # fmt: skip
