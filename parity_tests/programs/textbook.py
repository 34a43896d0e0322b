"""教科书的写法：手写 LayerNorm 与 GELU、滑动窗口数据集、按批算损失、贪心续写、温度与 top-k。"""
# mypy: ignore-errors
# ruff: noqa: RUF005, RUF059

import torch
import torch.nn as nn
from torch.utils.data import DataLoader, Dataset

TEXT = "In the beginning there was a small model, and the small model had few words. It learned them one by one. " * 3

GPT_CONFIG = {
    "vocab_size": 61, "context_length": 8, "emb_dim": 24, "n_heads": 4, "n_layers": 2, "drop_rate": 0.1,
    "qkv_bias": False,
}  # fmt: skip


def program():
    """数据、模型、训练、生成。"""

    class SimpleTokenizer:
        def __init__(self, text):
            self.words = sorted(set(text.replace(",", " ,").replace(".", " .").split())) + ["<|unk|>"]
            self.str_to_int = {s: i for i, s in enumerate(self.words)}
            self.int_to_str = {i: s for s, i in self.str_to_int.items()}

        def encode(self, text):
            parts = text.replace(",", " ,").replace(".", " .").split()
            return [self.str_to_int.get(s, self.str_to_int["<|unk|>"]) for s in parts]

        def decode(self, ids):
            return " ".join(self.int_to_str.get(i, "?") for i in ids)

    class GPTDatasetV1(Dataset):
        def __init__(self, txt, tokenizer, max_length, stride):
            self.input_ids = []
            self.target_ids = []
            token_ids = tokenizer.encode(txt)
            assert len(token_ids) > max_length, "Number of tokenized inputs must at least be equal to max_length+1"
            for i in range(0, len(token_ids) - max_length, stride):
                input_chunk = token_ids[i : i + max_length]
                target_chunk = token_ids[i + 1 : i + max_length + 1]
                self.input_ids.append(torch.tensor(input_chunk))
                self.target_ids.append(torch.tensor(target_chunk))

        def __len__(self):
            return len(self.input_ids)

        def __getitem__(self, idx):
            return self.input_ids[idx], self.target_ids[idx]

    tokenizer = SimpleTokenizer(TEXT)

    def create_dataloader_v1(txt, batch_size=4, max_length=8, stride=4, shuffle=True, drop_last=True, num_workers=0):
        dataset = GPTDatasetV1(txt, tokenizer, max_length, stride)
        return DataLoader(dataset, batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, num_workers=num_workers)

    class LayerNorm(nn.Module):
        def __init__(self, emb_dim):
            super().__init__()
            self.eps = 1e-5
            self.scale = nn.Parameter(torch.ones(emb_dim))
            self.shift = nn.Parameter(torch.zeros(emb_dim))

        def forward(self, x):
            mean = x.mean(dim=-1, keepdim=True)
            var = x.var(dim=-1, keepdim=True, unbiased=False)
            norm_x = (x - mean) / torch.sqrt(var + self.eps)
            return self.scale * norm_x + self.shift

    class GELU(nn.Module):
        def forward(self, x):
            return (
                0.5 * x * (1 + torch.tanh(torch.sqrt(torch.tensor(2.0 / torch.pi)) * (x + 0.044715 * torch.pow(x, 3))))
            )

    class FeedForward(nn.Module):
        def __init__(self, cfg):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Linear(cfg["emb_dim"], 4 * cfg["emb_dim"]), GELU(), nn.Linear(4 * cfg["emb_dim"], cfg["emb_dim"])
            )

        def forward(self, x):
            return self.layers(x)

    class MultiHeadAttention(nn.Module):
        def __init__(self, d_in, d_out, context_length, dropout, num_heads, qkv_bias=False):
            super().__init__()
            assert d_out % num_heads == 0, "d_out must be divisible by n_heads"
            self.d_out = d_out
            self.num_heads = num_heads
            self.head_dim = d_out // num_heads
            self.W_query = nn.Linear(d_in, d_out, bias=qkv_bias)
            self.W_key = nn.Linear(d_in, d_out, bias=qkv_bias)
            self.W_value = nn.Linear(d_in, d_out, bias=qkv_bias)
            self.out_proj = nn.Linear(d_out, d_out)
            self.dropout = nn.Dropout(dropout)
            self.register_buffer("mask", torch.triu(torch.ones(context_length, context_length), diagonal=1))

        def forward(self, x):
            b, num_tokens, d_in = x.shape
            keys = self.W_key(x)
            queries = self.W_query(x)
            values = self.W_value(x)
            keys = keys.view(b, num_tokens, self.num_heads, self.head_dim)
            values = values.view(b, num_tokens, self.num_heads, self.head_dim)
            queries = queries.view(b, num_tokens, self.num_heads, self.head_dim)
            keys = keys.transpose(1, 2)
            queries = queries.transpose(1, 2)
            values = values.transpose(1, 2)
            attn_scores = queries @ keys.transpose(2, 3)
            mask_bool = self.mask.bool()[:num_tokens, :num_tokens]
            attn_scores.masked_fill_(mask_bool, -torch.inf)
            attn_weights = torch.softmax(attn_scores / keys.shape[-1] ** 0.5, dim=-1)
            attn_weights = self.dropout(attn_weights)
            context_vec = (attn_weights @ values).transpose(1, 2)
            context_vec = context_vec.contiguous().view(b, num_tokens, self.d_out)
            context_vec = self.out_proj(context_vec)
            return context_vec

    class TransformerBlock(nn.Module):
        def __init__(self, cfg):
            super().__init__()
            self.att = MultiHeadAttention(
                d_in=cfg["emb_dim"],
                d_out=cfg["emb_dim"],
                context_length=cfg["context_length"],
                num_heads=cfg["n_heads"],
                dropout=cfg["drop_rate"],
                qkv_bias=cfg["qkv_bias"],
            )
            self.ff = FeedForward(cfg)
            self.norm1 = LayerNorm(cfg["emb_dim"])
            self.norm2 = LayerNorm(cfg["emb_dim"])
            self.drop_shortcut = nn.Dropout(cfg["drop_rate"])

        def forward(self, x):
            shortcut = x
            x = self.norm1(x)
            x = self.att(x)
            x = self.drop_shortcut(x)
            x = x + shortcut
            shortcut = x
            x = self.norm2(x)
            x = self.ff(x)
            x = self.drop_shortcut(x)
            return x + shortcut

    class GPTModel(nn.Module):
        def __init__(self, cfg):
            super().__init__()
            self.tok_emb = nn.Embedding(cfg["vocab_size"], cfg["emb_dim"])
            self.pos_emb = nn.Embedding(cfg["context_length"], cfg["emb_dim"])
            self.drop_emb = nn.Dropout(cfg["drop_rate"])
            self.trf_blocks = nn.Sequential(*[TransformerBlock(cfg) for _ in range(cfg["n_layers"])])
            self.final_norm = LayerNorm(cfg["emb_dim"])
            self.out_head = nn.Linear(cfg["emb_dim"], cfg["vocab_size"], bias=False)

        def forward(self, in_idx):
            batch_size, seq_len = in_idx.shape
            tok_embeds = self.tok_emb(in_idx)
            pos_embeds = self.pos_emb(torch.arange(seq_len, device=in_idx.device))
            x = tok_embeds + pos_embeds
            x = self.drop_emb(x)
            x = self.trf_blocks(x)
            x = self.final_norm(x)
            return self.out_head(x)

    def generate_text_simple(model, idx, max_new_tokens, context_size):
        for _ in range(max_new_tokens):
            idx_cond = idx[:, -context_size:]
            with torch.no_grad():
                logits = model(idx_cond)
            logits = logits[:, -1, :]
            probas = torch.softmax(logits, dim=-1)
            idx_next = torch.argmax(probas, dim=-1, keepdim=True)
            idx = torch.cat((idx, idx_next), dim=1)
        return idx

    def generate(model, idx, max_new_tokens, context_size, temperature=0.0, top_k=None, eos_id=None):
        for _ in range(max_new_tokens):
            idx_cond = idx[:, -context_size:]
            with torch.no_grad():
                logits = model(idx_cond)
            logits = logits[:, -1, :]
            if top_k is not None:
                top_logits, _ = torch.topk(logits, top_k)
                min_val = top_logits[:, -1]
                logits = torch.where(logits < min_val, torch.tensor(float("-inf")).to(logits.device), logits)
            if temperature > 0.0:
                logits = logits / temperature
                logits = logits - logits.max(dim=-1, keepdim=True).values
                probs = torch.softmax(logits, dim=-1)
                idx_next = torch.multinomial(probs, num_samples=1)
            else:
                idx_next = torch.argmax(logits, dim=-1, keepdim=True)
            if idx_next == eos_id:
                break
            idx = torch.cat((idx, idx_next), dim=1)
        return idx

    def text_to_token_ids(text, tokenizer):
        return torch.tensor(tokenizer.encode(text)).unsqueeze(0)

    def token_ids_to_text(token_ids, tokenizer):
        return tokenizer.decode(token_ids.squeeze(0).tolist())

    def calc_loss_batch(input_batch, target_batch, model, device):
        input_batch, target_batch = input_batch.to(device), target_batch.to(device)
        logits = model(input_batch)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), target_batch.flatten())

    def calc_loss_loader(data_loader, model, device, num_batches=None):
        total_loss = 0.0
        if len(data_loader) == 0:
            return float("nan")
        elif num_batches is None:
            num_batches = len(data_loader)
        else:
            num_batches = min(num_batches, len(data_loader))
        for i, (input_batch, target_batch) in enumerate(data_loader):
            if i < num_batches:
                loss = calc_loss_batch(input_batch, target_batch, model, device)
                total_loss += loss.item()
            else:
                break
        return total_loss / num_batches

    def evaluate_model(model, train_loader, val_loader, device, eval_iter):
        model.eval()
        with torch.no_grad():
            train_loss = calc_loss_loader(train_loader, model, device, num_batches=eval_iter)
            val_loss = calc_loss_loader(val_loader, model, device, num_batches=eval_iter)
        model.train()
        return train_loss, val_loss

    def assign(left, right):
        if left.shape != right.shape:
            raise ValueError(f"Shape mismatch. Left: {left.shape}, Right: {right.shape}")
        return torch.nn.Parameter(torch.tensor(right))

    torch.manual_seed(123)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    GPT_CONFIG["vocab_size"] = len(tokenizer.words)
    train_loader = create_dataloader_v1(TEXT[:250], batch_size=2)
    val_loader = create_dataloader_v1(TEXT[200:], batch_size=2, shuffle=False, drop_last=False)
    inputs, targets = next(iter(train_loader))
    print("Inputs:\n", inputs)
    print("\nTargets:\n", targets)
    torch.manual_seed(123)
    model = GPTModel(GPT_CONFIG)
    model.to(device)
    total_params = sum(p.numel() for p in model.parameters())
    print(f"Total number of parameters: {total_params:,}, {total_params * 4 / (1024 * 1024):.2f} MB")
    print("Token embedding layer shape:", model.tok_emb.weight.shape)
    with torch.no_grad():
        train_loss = calc_loss_loader(train_loader, model, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.1)
    train_losses, val_losses, track_tokens_seen, grads = [train_loss], [], [], {}
    tokens_seen, global_step = 0, -1
    for epoch in range(2):
        model.train()
        for input_batch, target_batch in train_loader:
            optimizer.zero_grad()
            loss = calc_loss_batch(input_batch, target_batch, model, device)
            loss.backward()
            if global_step == -1:
                grads = {name: param.grad.clone() for name, param in model.named_parameters()}
            optimizer.step()
            tokens_seen += input_batch.numel()
            global_step += 1
            if global_step % 3 == 0:
                train_loss, val_loss = evaluate_model(model, train_loader, val_loader, device, 2)
                train_losses.append(train_loss)
                val_losses.append(val_loss)
                track_tokens_seen.append(tokens_seen)
                print(f"Ep {epoch + 1} (Step {global_step:06d}): Train loss {train_loss:.2f}, Val loss {val_loss:.2f}")
    model.eval()
    context = "the small model"
    encoded = text_to_token_ids(context, tokenizer).to(device)
    token_ids = generate_text_simple(model, encoded, 10, context_size=model.pos_emb.weight.shape[0])
    print(token_ids_to_text(token_ids, tokenizer).replace("\n", " "))
    torch.manual_seed(7)
    sampled = generate(model, encoded, 12, GPT_CONFIG["context_length"], temperature=1.4, top_k=5)
    model.out_head.weight = assign(model.out_head.weight, model.tok_emb.weight.detach().numpy() * 2)
    tied = generate(model, encoded, 5, GPT_CONFIG["context_length"], eos_id=torch.tensor(3))
    return {
        "losses": train_losses,
        "losses of validation": val_losses,
        "grads": grads,
        "seen": track_tokens_seen,
        "weights": model.state_dict(),
        "ids": [token_ids, sampled.tolist(), tied],
        "model": str(model),
    }
