"""强化学习：REINFORCE 带基线、PPO 的截断、GAE、GRPO 的组内优势、k3 估计的 KL、奖励模型。"""
# mypy: ignore-errors
# ruff: noqa: B905

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F


def program():
    """一个小语言模型当策略，奖励是「尾数变大」。"""

    class Policy(nn.Module):
        def __init__(self, vocab=11, dim=12):
            super().__init__()
            self.emb = nn.Embedding(vocab, dim)
            self.gru = nn.GRU(dim, dim, batch_first=True)
            self.lm_head = nn.Linear(dim, vocab)
            self.v_head = nn.Linear(dim, 1)

        def forward(self, ids):
            h = self.gru(self.emb(ids))[0]
            return self.lm_head(h), self.v_head(h).squeeze(-1)

    @torch.no_grad()
    def rollout(model, prompts, n):
        ids = prompts
        for _ in range(n):
            logits, _ = model(ids)
            ids = torch.cat([ids, torch.multinomial(logits[:, -1].softmax(-1), 1)], dim=1)
        return ids

    def get_per_token_logps(logits, ids):
        per_token_logps = []
        for logits_row, input_ids_row in zip(logits[:, :-1], ids[:, 1:]):
            log_probs = logits_row.log_softmax(dim=-1)
            token_log_prob = torch.gather(log_probs, dim=1, index=input_ids_row.unsqueeze(1)).squeeze(1)
            per_token_logps.append(token_log_prob)
        return torch.stack(per_token_logps)

    def reward_fn(completions):
        return torch.tensor([float(c[-1]) - 0.5 * len(set(c)) for c in completions.tolist()])

    def gae(rewards, values, gamma=0.99, lam=0.95):
        lastgaelam, reversed_ = 0, []
        T = rewards.shape[1]
        for t in reversed(range(T)):
            nextvalues = values[:, t + 1] if t < T - 1 else 0.0
            delta = rewards[:, t] + gamma * nextvalues - values[:, t]
            lastgaelam = delta + gamma * lam * lastgaelam
            reversed_.append(lastgaelam)
        advantages = torch.stack(reversed_[::-1]).transpose(0, 1)
        return advantages, (advantages + values).detach()

    def whiten(values, mask):
        mean = (values * mask).sum() / mask.sum()
        var = ((values - mean) ** 2 * mask).sum() / mask.sum()
        return (values - mean) * torch.rsqrt(var + 1e-8)

    torch.manual_seed(8)
    policy = Policy()
    reference = copy.deepcopy(policy).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2, amsgrad=True)
    G, P, n = 4, 3, 5
    results = {"losses": [], "grads": {}, "stats": [], "ids": []}

    def step(name, loss):
        optimizer.zero_grad()
        loss.backward()
        results["grads"].setdefault(name, [None if p.grad is None else p.grad.clone() for p in policy.parameters()])
        norm = nn.utils.clip_grad_norm_(policy.parameters(), max_norm=0.5)
        optimizer.step()
        results["losses"].append(loss.item())
        results["stats"].append(norm.item())

    baseline = 0.0
    for _ in range(2):
        ids = rollout(policy, torch.randint(0, 11, (6, 2)), n)
        returns = reward_fn(ids[:, 2:])
        baseline = 0.9 * baseline + 0.1 * returns.mean().item()
        logps = get_per_token_logps(policy(ids)[0], ids)[:, 1:]
        step("reinforce", -(logps.sum(-1) * (returns - baseline)).mean())

    for _ in range(2):
        prompts = torch.randint(0, 11, (P, 2)).repeat_interleave(G, dim=0)
        ids = rollout(policy, prompts, n)
        completion = ids[:, 2:]
        is_eos = completion == 0
        eos_idx = torch.full((is_eos.size(0),), is_eos.size(1), dtype=torch.long)
        eos_idx[is_eos.any(dim=1)] = is_eos.int().argmax(dim=1)[is_eos.any(dim=1)]
        sequence_indices = torch.arange(is_eos.size(1)).expand(is_eos.size(0), -1)
        completion_mask = (sequence_indices <= eos_idx.unsqueeze(1)).int()
        rewards = reward_fn(completion)
        mean_grouped = rewards.view(-1, G).mean(dim=1).repeat_interleave(G, dim=0)
        std_grouped = rewards.view(-1, G).std(dim=1).repeat_interleave(G, dim=0)
        advantages = (rewards - mean_grouped) / (std_grouped + 1e-4)
        with torch.no_grad():
            ref = get_per_token_logps(reference(ids)[0], ids)[:, 1:]
            old = get_per_token_logps(policy(ids)[0], ids)[:, 1:]
        for _ in range(2):
            logps = get_per_token_logps(policy(ids)[0], ids)[:, 1:]
            per_token_kl = torch.exp(ref - logps) - (ref - logps) - 1
            coef_1 = torch.exp(logps - old)
            coef_2 = torch.clamp(coef_1, 1 - 0.2, 1 + 0.28)
            per_token_loss = -torch.min(coef_1 * advantages.unsqueeze(1), coef_2 * advantages.unsqueeze(1))
            per_token_loss = per_token_loss + 0.04 * per_token_kl
            loss = ((per_token_loss * completion_mask).sum(dim=1) / completion_mask.sum(dim=1)).mean()
            step("grpo", loss)
        results["ids"].append(ids)
        results["stats"] += [advantages.abs().mean().item(), ((coef_1 - 1).abs() > 0.2).float().mean().item()]

    ids = rollout(policy, torch.randint(0, 11, (5, 2)), n)
    with torch.no_grad():
        logits, values = policy(ids)
        old = get_per_token_logps(logits, ids)[:, 1:]
        ref = get_per_token_logps(reference(ids)[0], ids)[:, 1:]
        kl = old - ref
        rewards = -0.1 * kl
        rewards[torch.arange(5), -1] += reward_fn(ids[:, 2:])
        old_values = values[:, 1:-1]
        advantages, returns = gae(rewards, old_values)
        mask = (ids[:, 2:] != 10).to(advantages.dtype)
        advantages = whiten(advantages, mask)
    for _ in range(2):
        logits, values = policy(ids)
        logps, vpred = get_per_token_logps(logits, ids)[:, 1:], values[:, 1:-1]
        ratio = (logps - old).exp()
        pg_losses = torch.max(-advantages * ratio, -advantages * ratio.clamp(0.8, 1.2))
        vclipped = old_values + (vpred - old_values).clamp(-0.2, 0.2)
        vf_losses = 0.5 * torch.maximum((vpred - returns).square(), (vclipped - returns).square())
        pd = torch.nn.functional.softmax(logits, dim=-1)
        entropy = torch.logsumexp(logits, dim=-1) - torch.sum(pd * logits, dim=-1)
        loss = (pg_losses * mask).sum() / mask.sum() + 0.1 * (vf_losses * mask).mean() - 0.01 * entropy.mean()
        step("ppo", loss)

    reward_model = nn.Sequential(nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 1))
    features = policy.emb.weight.detach()[ids].mean(1)
    chosen, rejected = reward_model(features[:2]), reward_model(features[2:4])
    ranking = -F.logsigmoid(chosen - rejected).mean() + torch.where(chosen > 0, chosen**2, -chosen).mean()
    ranking.backward()
    results["loss ranking"] = ranking.detach()
    results["grads"]["reward"] = [p.grad for p in reward_model.parameters()]
    results["weights"] = policy.state_dict()
    results["advantages"], results["returns"] = advantages, returns
    print(torch.quantile(advantages.flatten(), torch.tensor([0.25, 0.5, 0.75]).to(advantages.dtype)).shape)
    return results
