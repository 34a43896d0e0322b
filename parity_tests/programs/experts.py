"""专家混合：top-k 路由的几种写法，index_add_、one_hot 与 where、负载均衡损失。"""
# mypy: ignore-errors

import torch
import torch.nn as nn
import torch.nn.functional as F


def program():
    """三种路由写法给出同样的结果，再一起训练。"""

    class Expert(nn.Module):
        def __init__(self, n_embd):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(n_embd, 2 * n_embd), nn.SiLU(), nn.Linear(2 * n_embd, n_embd))

        def forward(self, x):
            return self.net(x)

    class NoisyTopkRouter(nn.Module):
        def __init__(self, n_embed, num_experts, top_k):
            super().__init__()
            self.top_k = top_k
            self.topkroute_linear = nn.Linear(n_embed, num_experts)
            self.noise_linear = nn.Linear(n_embed, num_experts)

        def forward(self, mh_output):
            logits = self.topkroute_linear(mh_output)
            noise_logits = self.noise_linear(mh_output)
            noise = torch.randn_like(logits) * F.softplus(noise_logits)
            noisy_logits = logits + noise
            top_k_logits, indices = noisy_logits.topk(self.top_k, dim=-1)
            zeros = torch.full_like(noisy_logits, float("-inf"))
            sparse_logits = zeros.scatter(-1, indices, top_k_logits)
            router_output = F.softmax(sparse_logits, dim=-1)
            return router_output, indices

    class SparseMoE(nn.Module):
        def __init__(self, n_embed, num_experts, top_k):
            super().__init__()
            self.router = NoisyTopkRouter(n_embed, num_experts, top_k)
            self.experts = nn.ModuleList([Expert(n_embed) for _ in range(num_experts)])
            self.top_k = top_k

        def forward(self, x):
            gating_output, indices = self.router(x)
            final_output = torch.zeros_like(x)
            flat_x = x.view(-1, x.size(-1))
            flat_gating_output = gating_output.view(-1, gating_output.size(-1))
            for i, expert in enumerate(self.experts):
                expert_mask = (indices == i).any(dim=-1)
                flat_mask = expert_mask.view(-1)
                if flat_mask.any():
                    expert_input = flat_x[flat_mask]
                    expert_output = expert(expert_input)
                    gating_scores = flat_gating_output[flat_mask, i].unsqueeze(1)
                    weighted_output = expert_output * gating_scores
                    final_output[expert_mask] += weighted_output.squeeze(1)
            return final_output

    class MixtralBlock(nn.Module):
        def __init__(self, hidden_dim, num_experts, top_k):
            super().__init__()
            self.num_experts = num_experts
            self.top_k = top_k
            self.gate = nn.Linear(hidden_dim, num_experts, bias=False)
            self.experts = nn.ModuleList([Expert(hidden_dim) for _ in range(num_experts)])

        def route(self, hidden_states):
            router_logits = self.gate(hidden_states)
            routing_weights = F.softmax(router_logits, dim=1)
            routing_weights, selected_experts = torch.topk(routing_weights, self.top_k, dim=-1)
            routing_weights /= routing_weights.sum(dim=-1, keepdim=True)
            return router_logits, routing_weights, selected_experts

        def forward(self, hidden_states):
            batch_size, sequence_length, hidden_dim = hidden_states.shape
            hidden_states = hidden_states.view(-1, hidden_dim)
            router_logits, routing_weights, selected_experts = self.route(hidden_states)
            final_hidden_states = torch.zeros(
                (batch_size * sequence_length, hidden_dim), dtype=hidden_states.dtype, device=hidden_states.device
            )
            expert_mask = F.one_hot(selected_experts, num_classes=self.num_experts).permute(2, 1, 0)
            for expert_idx in range(self.num_experts):
                idx, top_x = torch.where(expert_mask[expert_idx])
                current_state = hidden_states[None, top_x].reshape(-1, hidden_dim)
                current_hidden_states = self.experts[expert_idx](current_state) * routing_weights[top_x, idx, None]
                final_hidden_states.index_add_(0, top_x, current_hidden_states.to(hidden_states.dtype))
            final_hidden_states = final_hidden_states.reshape(batch_size, sequence_length, hidden_dim)
            return final_hidden_states, router_logits

    def dense_forward(block, x):
        flat = x.flatten(0, 1)
        _, weights, chosen = block.route(flat)
        every = torch.stack([expert(flat) for expert in block.experts], dim=1)
        gates = torch.zeros(flat.size(0), block.num_experts).scatter_(1, chosen, weights)
        return torch.einsum("te,ted->td", gates, every).view_as(x)

    def nonzero_forward(block, x):
        flat = x.reshape(-1, x.shape[-1])
        _, weights, chosen = block.route(flat)
        out = torch.zeros_like(flat)
        for expert_id in torch.unique(chosen).tolist():
            mask = chosen == expert_id
            token_mask = mask.any(dim=-1)
            selected_idx = token_mask.nonzero(as_tuple=False).squeeze(-1)
            if selected_idx.numel() == 0:
                continue
            expert_input = flat.index_select(0, selected_idx)
            slot = mask[selected_idx].int().argmax(dim=-1, keepdim=True)
            prob = torch.gather(weights.index_select(0, selected_idx), dim=-1, index=slot)
            out.index_add_(0, selected_idx, block.experts[expert_id](expert_input) * prob)
        return out.reshape_as(x)

    def load_balancing_loss(router_logits, top_k):
        num_experts = router_logits.size(-1)
        routing_weights = torch.nn.functional.softmax(router_logits, dim=-1)
        _, selected_experts = torch.topk(routing_weights, top_k, dim=-1)
        expert_mask = torch.nn.functional.one_hot(selected_experts, num_experts)
        tokens_per_expert = torch.mean(expert_mask.to(routing_weights.dtype), dim=0)
        router_prob_per_expert = torch.mean(routing_weights, dim=0)
        aux = torch.sum(tokens_per_expert * router_prob_per_expert.unsqueeze(0)) * num_experts
        z_loss = torch.logsumexp(router_logits, dim=-1).square().mean()
        counts = torch.bincount(selected_experts.flatten(), minlength=num_experts)
        return aux, z_loss, counts

    torch.manual_seed(5)
    block, sparse = MixtralBlock(8, 5, 2), SparseMoE(8, 4, 2)
    x = torch.randn(3, 6, 8)
    out, logits = block(x)
    assert torch.allclose(out, dense_forward(block, x), atol=1e-6)
    assert torch.allclose(out, nonzero_forward(block, x), atol=1e-6)
    aux, z_loss, counts = load_balancing_loss(logits, 2)
    print(counts, counts.sum().item())
    optimizer = torch.optim.Adam([*block.parameters(), *sparse.parameters()], lr=1e-2)
    target = torch.roll(x, shifts=1, dims=1)
    losses, grads = [], None
    for _ in range(4):
        out, logits = block(x)
        aux, z_loss, counts = load_balancing_loss(logits, 2)
        loss = F.mse_loss(out + sparse(x), target) + 0.01 * aux + 1e-3 * z_loss
        optimizer.zero_grad()
        loss.backward()
        if grads is None:
            grads = [{n: p.grad for n, p in m.named_parameters()} for m in (block, sparse)]
            grads = [{n: g if g is None else g.clone() for n, g in group.items()} for group in grads]
        optimizer.step()
        losses.append(loss.item())
    capacity = torch.cumsum(F.one_hot(logits.argmax(-1), 5), dim=0) * F.one_hot(logits.argmax(-1), 5)
    kept = capacity.le(4) & capacity.gt(0)
    return {
        "losses": losses, "loss aux": aux, "loss z": z_loss, "counts": counts, "grads": grads,
        "weights": [block.state_dict(), sparse.state_dict()], "kept": kept, "dropped": (~kept.any(-1)).sum(),
        "order": torch.argsort(logits.argmax(-1), stable=True),
    }  # fmt: skip
