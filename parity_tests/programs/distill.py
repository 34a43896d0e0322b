"""蒸馏：软标签的 KL、中间层的均方误差、余弦与对比损失、R-Drop、JSD、FIM，还有混合与平滑。"""
# mypy: ignore-errors

import torch
from torch import nn
from torch.nn import functional as F


def program():
    """老师是大一些的 MLP 语言模型，学生小一些。"""

    class MLPLM(nn.Module):
        def __init__(self, vocab, context, dim, hidden, depth=1, p=0.0):
            super().__init__()
            self.emb = nn.Embedding(vocab, dim, max_norm=None)
            body = []
            for i in range(depth):
                body += [
                    nn.Linear(dim * context if i == 0 else hidden, hidden, bias=False),
                    nn.BatchNorm1d(hidden),
                    nn.LeakyReLU(0.1),
                ]
                body.append(nn.Dropout(p))
            self.body = nn.Sequential(*body)
            self.out = (
                nn.utils.parametrizations.weight_norm(nn.Linear(hidden, vocab)) if False else nn.Linear(hidden, vocab)
            )

        def forward(self, x, return_hidden=False):
            h = self.body(torch.flatten(self.emb(x), start_dim=1))
            return (self.out(h), h) if return_hidden else self.out(h)

    def jsd(p_logits, q_logits, beta=0.5):
        p, q = F.log_softmax(p_logits, -1), F.log_softmax(q_logits, -1)
        mix = torch.logsumexp(
            torch.stack([p + torch.log(torch.tensor(beta)), q + torch.log(torch.tensor(1 - beta))]), dim=0
        )
        kl_t = F.kl_div(mix, p, reduction="none", log_target=True)
        kl_s = F.kl_div(mix, q, reduction="none", log_target=True)
        return (beta * kl_t + (1 - beta) * kl_s).sum(-1).mean()

    torch.manual_seed(4)
    vocab, context, T, alpha = 14, 3, 2.0, 0.3
    teacher, student = MLPLM(vocab, context, 6, 20, 2), MLPLM(vocab, context, 4, 10, p=0.2)
    projector = nn.Linear(10, 20, bias=False)
    teacher.eval()
    for p in teacher.parameters():
        p.requires_grad = False
    criterion_kd = nn.KLDivLoss(reduction="batchmean")
    optimizer = torch.optim.Adam(list(student.parameters()) + list(projector.parameters()), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-2, total_steps=6)
    results = {"losses": [], "parts": [], "rates": []}
    grads = None
    for _ in range(5):
        x, y = torch.randint(0, vocab, (8, context)), torch.randint(0, vocab, (8,))
        with torch.no_grad():
            teacher_logits, teacher_hidden = teacher(x, return_hidden=True)
        logits, hidden = student(x, return_hidden=True)
        again = student(x)
        soft = criterion_kd(F.log_softmax(logits / T, dim=1), F.softmax(teacher_logits / T, dim=1)) * (T * T)
        hard = F.cross_entropy(logits, y, label_smoothing=0.1)
        mse = F.mse_loss(projector(hidden), teacher_hidden)
        cosine = nn.CosineEmbeddingLoss()(projector(hidden), teacher_hidden, torch.ones(8))
        p, q = F.log_softmax(logits, -1), F.log_softmax(again, -1)
        rdrop = 0.5 * (F.kl_div(p, q.exp(), reduction="sum") + F.kl_div(q, p.exp(), reduction="sum")) / x.size(0)
        sim = F.normalize(projector(hidden), dim=-1) @ F.normalize(teacher_hidden, dim=-1).t() / 0.07
        info = (F.cross_entropy(sim, torch.arange(8)) + F.cross_entropy(sim.t(), torch.arange(8))) / 2
        smooth = F.smooth_l1_loss(logits, teacher_logits) + F.huber_loss(logits, teacher_logits, delta=0.5)
        parts = [soft, hard, mse, cosine, rdrop, info, smooth, jsd(logits, teacher_logits, 0.3)]
        loss = alpha * soft + (1 - alpha) * hard + 0.1 * sum(parts[2:])
        optimizer.zero_grad()
        loss.backward()
        if grads is None:
            grads = {n: p.grad.clone() for n, p in student.named_parameters()} | {
                "projector": projector.weight.grad.clone()
            }
        optimizer.step()
        scheduler.step()
        results["losses"].append(loss.item())
        results["parts"].append([part.item() for part in parts])
        results["rates"].append(optimizer.param_groups[0]["lr"])
    fisher = {n: torch.zeros_like(p) for n, p in student.named_parameters()}
    student.eval()
    for i in range(3):
        student.zero_grad()
        F.nll_loss(F.log_softmax(student(x[i : i + 1]), dim=1), y[i : i + 1]).backward()
        for n, p in student.named_parameters():
            fisher[n] += p.grad.data.clone().pow(2) / 3
    agreement = (student(x).argmax(1) == teacher(x).argmax(dim=1)).float().mean()
    mixed = torch.lerp(teacher_logits, logits.detach(), 0.25)
    focal = (
        (1 - logits.softmax(-1).gather(1, y[:, None]).squeeze()) ** 2 * F.cross_entropy(logits, y, reduction="none")
    ).mean()
    print(student, f"{agreement:.1%}", sep="\n")
    return results | {
        "grads": grads, "weights": student.state_dict(), "fisher": fisher, "mixed": mixed, "loss focal": focal,
        "soft targets": F.cross_entropy(logits, teacher_logits.softmax(-1)), "agreement": agreement.item(),
    }  # fmt: skip
