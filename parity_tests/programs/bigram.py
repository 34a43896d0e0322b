"""二元模型：下一个字符只看当前字符；训练脚本里常见的写法都在这里。"""
# mypy: ignore-errors
# ruff: noqa: C414, C416, RUF059

import torch
import torch.nn as nn
from torch.nn import functional as F

TEXT = "the cat sat on the mat.\nthe dog sat on the log.\nA bird sang; nobody heard it!\n" * 4


def program():
    """训练二元模型，估计损失，再生成一段。"""
    batch_size, block_size, max_iters, eval_interval, learning_rate, eval_iters = 8, 6, 25, 10, 1e-2, 4
    device = "cuda" if torch.cuda.is_available() else "cpu"

    torch.manual_seed(1337)

    chars = sorted(list(set(TEXT)))
    vocab_size = len(chars)
    stoi = {ch: i for i, ch in enumerate(chars)}
    itos = {i: ch for i, ch in enumerate(chars)}
    encode = lambda s: [stoi[c] for c in s]
    decode = lambda l: "".join([itos[i] for i in l])

    data = torch.tensor(encode(TEXT), dtype=torch.long)
    print(data.shape, data.dtype)
    print(data[:40])
    n = int(0.9 * len(data))
    train_data = data[:n]
    val_data = data[n:]

    x, y = train_data[:block_size], train_data[1 : block_size + 1]
    for t in range(3):
        context, target = x[: t + 1], y[t]
        print(f"when input is {context} the target: {target}")

    def get_batch(split):
        data = train_data if split == "train" else val_data
        ix = torch.randint(len(data) - block_size, (batch_size,))
        x = torch.stack([data[i : i + block_size] for i in ix])
        y = torch.stack([data[i + 1 : i + block_size + 1] for i in ix])
        x, y = x.to(device), y.to(device)
        return x, y

    @torch.no_grad()
    def estimate_loss():
        out = {}
        model.eval()
        for split in ["train", "val"]:
            losses = torch.zeros(eval_iters)
            for k in range(eval_iters):
                X, Y = get_batch(split)
                logits, loss = model(X, Y)
                losses[k] = loss.item()
            out[split] = losses.mean()
        model.train()
        return out

    class BigramLanguageModel(nn.Module):
        def __init__(self, vocab_size):
            super().__init__()
            self.token_embedding_table = nn.Embedding(vocab_size, vocab_size)

        def forward(self, idx, targets=None):
            logits = self.token_embedding_table(idx)
            if targets is None:
                loss = None
            else:
                B, T, C = logits.shape
                logits = logits.view(B * T, C)
                targets = targets.view(B * T)
                loss = F.cross_entropy(logits, targets)
            return logits, loss

        def generate(self, idx, max_new_tokens):
            for _ in range(max_new_tokens):
                logits, loss = self(idx)
                logits = logits[:, -1, :]
                probs = F.softmax(logits, dim=-1)
                idx_next = torch.multinomial(probs, num_samples=1)
                idx = torch.cat((idx, idx_next), dim=1)
            return idx

    model = BigramLanguageModel(vocab_size)
    m = model.to(device)
    xb, yb = get_batch("train")
    print(xb.shape, yb)
    first_logits, first = m(xb, yb)
    optimizer = torch.optim.AdamW(m.parameters(), lr=learning_rate)
    print(sum(p.numel() for p in m.parameters()) / 1e6, "M parameters")

    best_val_loss = float("inf")
    losses, estimates, lossi = [], [], []
    for iter in range(max_iters):
        if iter % eval_interval == 0 or iter == max_iters - 1:
            estimate = estimate_loss()
            estimates.append(estimate)
            print(f"step {iter}: train loss {estimate['train']:.4f}, val loss {estimate['val']:.4f}")
            if estimate["val"] < best_val_loss:
                best_val_loss = estimate["val"]
        xb, yb = get_batch("train")
        logits, loss = model(xb, yb)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        lossi.append(loss.log10().item())

    context = torch.zeros((1, 1), dtype=torch.long, device=device)
    sampled = decode(m.generate(context, max_new_tokens=40)[0].tolist())
    print(sampled)
    return {
        "losses": losses,
        "losses estimated": estimates,
        "losses best": best_val_loss,
        "losses smoothed": torch.tensor(lossi).view(-1, 5).mean(1),
        "logits": first_logits,
        "perplexity": torch.exp(first),
        "gradient": m.token_embedding_table.weight.grad,
        "weights": m.state_dict(),
        "repr": repr(m),
    }
