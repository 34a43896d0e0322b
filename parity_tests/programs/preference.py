"""DPO：选中与落选的回答，策略与参考模型的对数概率之差；再加几种变体的损失。"""
# mypy: ignore-errors
# ruff: noqa: B905

import copy

import torch
import torch.nn.functional as F
from torch import nn


def program():
    """两份模型，一份冻住。"""

    class Policy(nn.Module):
        def __init__(self, vocab=31, dim=16):
            super().__init__()
            self.wte = nn.Embedding(vocab, dim)
            self.wpe = nn.Embedding(12, dim)
            self.block = nn.MultiheadAttention(dim, 2, dropout=0.0, bias=False, batch_first=True)
            self.ln = nn.LayerNorm(dim)
            self.lm_head = nn.Linear(dim, vocab, bias=False)

        def forward(self, idx):
            x = self.wte(idx) + self.wpe.weight[None, : idx.shape[1]]
            causal = torch.ones(idx.shape[1], idx.shape[1], dtype=torch.bool).triu(1)
            h, _ = self.block(x, x, x, attn_mask=causal, need_weights=False)
            return self.lm_head(self.ln(x + h))

    def compute_logprobs(logits, labels, selection_mask=None):
        labels = labels[:, 1:].clone()
        logits = logits[:, :-1, :]
        log_probs = F.log_softmax(logits, dim=-1)
        selected_log_probs = torch.gather(input=log_probs, dim=-1, index=labels.unsqueeze(-1)).squeeze(-1)
        if selection_mask is not None:
            mask = selection_mask[:, 1:].clone()
            selected_log_probs = selected_log_probs * mask
            return selected_log_probs.sum(-1) / mask.sum(-1)
        return selected_log_probs.mean(-1)

    def compute_dpo_loss(pc, pr, rc, rr, beta=0.1, label_smoothing=0.0, kind="sigmoid"):
        model_logratios = pc - pr
        reference_logratios = rc - rr
        logits = model_logratios - reference_logratios
        if kind == "sigmoid":
            losses = (
                -F.logsigmoid(beta * logits) * (1 - label_smoothing) - F.logsigmoid(-beta * logits) * label_smoothing
            )
        elif kind == "ipo":
            losses = (logits - 1 / (2 * beta)) ** 2
        elif kind == "hinge":
            losses = torch.relu(1 - beta * logits)
        elif kind == "kto":
            chosen_KL = (pc - rc).mean().clamp(min=0)
            rejected_KL = (pr - rr).mean().clamp(min=0)
            losses = torch.cat(
                (1 - F.sigmoid(beta * (pc - rc - rejected_KL)), 1 - F.sigmoid(beta * (chosen_KL - (pr - rr)))), 0
            )
        elif kind == "orpo":
            log_odds = (pc - pr) - (torch.log1p(-torch.exp(pc)) - torch.log1p(-torch.exp(pr)))
            losses = -pc - 0.25 * F.logsigmoid(log_odds)
        chosen_rewards = (pc - rc).detach()
        rejected_rewards = (pr - rr).detach()
        return losses.mean(), chosen_rewards.mean(), rejected_rewards.mean()

    def collate(n, pad=0, device="cpu"):
        batch = {"chosen": [], "rejected": [], "chosen_mask": [], "rejected_mask": []}
        for _ in range(n):
            prompt = torch.randint(1, 31, (3,)).tolist()
            for key in ["chosen", "rejected"]:
                sequence = prompt + torch.randint(1, 31, (int(torch.randint(2, 7, (1,))),)).tolist()
                padded = sequence + [pad] * (9 - len(sequence))
                mask = torch.ones(len(padded)).bool()
                mask[len(sequence) :] = False
                mask[: len(prompt) + 2] = False
                batch[key].append(torch.tensor(padded))
                batch[f"{key}_mask"].append(mask)
        return {key: torch.stack(value).to(device) for key, value in batch.items()}

    torch.manual_seed(0)
    policy_model = Policy()
    reference_model = copy.deepcopy(policy_model)
    reference_model.eval()
    for p in reference_model.parameters():
        p.requires_grad_(False)
    optimizer = torch.optim.AdamW(policy_model.parameters(), lr=5e-3, weight_decay=0.01)
    results = {"losses": [], "grads": {}, "rewards": []}
    for kind in ["sigmoid", "sigmoid", "ipo", "hinge", "kto", "orpo"]:
        batch = collate(4)
        pc = compute_logprobs(policy_model(batch["chosen"]), batch["chosen"], batch["chosen_mask"])
        pr = compute_logprobs(policy_model(batch["rejected"]), batch["rejected"], batch["rejected_mask"])
        with torch.no_grad():
            rc = compute_logprobs(reference_model(batch["chosen"]), batch["chosen"], batch["chosen_mask"])
            rr = compute_logprobs(reference_model(batch["rejected"]), batch["rejected"], batch["rejected_mask"])
        loss, chosen, rejected = compute_dpo_loss(pc, pr, rc, rr, kind=kind, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        results["grads"][kind] = [p.grad.clone() for p in policy_model.parameters()]
        torch.nn.utils.clip_grad_value_(policy_model.parameters(), clip_value=0.05)
        optimizer.step()
        results["losses"].append(loss.item())
        results["rewards"].append((chosen.item(), rejected.item(), (chosen - rejected).item()))
        print(f"{kind:>8}: {(chosen > rejected).item()} {tuple(pc.shape)}")
    results["weights"] = policy_model.state_dict()
    results["unchanged"] = all(
        torch.equal(a, b) for a, b in zip(reference_model.parameters(), copy.deepcopy(reference_model).parameters())
    )
    return results
