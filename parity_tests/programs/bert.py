"""BERT：随机遮盖，八成换成 [MASK]、一成换成别的词；段落嵌入、padding 掩码、池化、两个头的损失相加。"""
# mypy: ignore-errors
# ruff: noqa: B905, RUF005, RUF046

import math
from random import randint, random, shuffle

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


def gelu(x):
    """用误差函数写的 GELU。"""
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def program():
    """遮盖、训练、填空。"""
    PAD, CLS, SEP, MASK, vocab_size, maxlen = 0, 1, 2, 3, 32, 14

    def make_batch(batch_size, sentences):
        batch, positive, negative = [], 0, 0
        while positive != batch_size / 2 or negative != batch_size / 2:
            a, b = randint(0, len(sentences) - 2), randint(0, len(sentences) - 2)
            tokens_a, tokens_b = sentences[a], sentences[b]
            input_ids = [CLS] + tokens_a + [SEP] + tokens_b + [SEP]
            segment_ids = [0] * (1 + len(tokens_a) + 1) + [1] * (len(tokens_b) + 1)
            n_pred = min(3, max(1, int(round(len(input_ids) * 0.15))))
            cand = [i for i, token in enumerate(input_ids) if token not in (CLS, SEP)]
            shuffle(cand)
            masked_tokens, masked_pos = [], []
            for pos in cand[:n_pred]:
                masked_pos.append(pos)
                masked_tokens.append(input_ids[pos])
                if random() < 0.8:
                    input_ids[pos] = MASK
                elif random() < 0.5:
                    input_ids[pos] = randint(4, vocab_size - 1)
            n_pad = maxlen - len(input_ids)
            input_ids.extend([PAD] * n_pad)
            segment_ids.extend([0] * n_pad)
            masked_tokens.extend([0] * (3 - n_pred))
            masked_pos.extend([0] * (3 - n_pred))
            if a + 1 == b and positive < batch_size / 2:
                batch.append([input_ids, segment_ids, masked_tokens, masked_pos, True])
                positive += 1
            elif a + 1 != b and negative < batch_size / 2:
                batch.append([input_ids, segment_ids, masked_tokens, masked_pos, False])
                negative += 1
        return batch

    def mask_tokens(inputs, mlm_probability=0.3):
        labels = inputs.clone()
        probability_matrix = torch.full(labels.shape, mlm_probability)
        special_tokens_mask = (labels == CLS) | (labels == SEP) | labels.eq(PAD)
        probability_matrix.masked_fill_(special_tokens_mask, value=0.0)
        masked_indices = torch.bernoulli(probability_matrix).bool()
        labels[~masked_indices] = -100
        indices_replaced = torch.bernoulli(torch.full(labels.shape, 0.8)).bool() & masked_indices
        inputs[indices_replaced] = MASK
        indices_random = torch.bernoulli(torch.full(labels.shape, 0.5)).bool() & masked_indices & ~indices_replaced
        random_words = torch.randint(4, vocab_size, labels.shape, dtype=torch.long)
        inputs[indices_random] = random_words[indices_random]
        return inputs, labels

    class Embedding(nn.Module):
        def __init__(self, d):
            super().__init__()
            self.tok_embed, self.pos_embed, self.seg_embed = (
                nn.Embedding(vocab_size, d, PAD), nn.Embedding(maxlen, d), nn.Embedding(2, d)
            )  # fmt: skip
            self.norm = nn.LayerNorm(d, eps=1e-12)

        def forward(self, x, seg):
            seq_len = x.size(1)
            pos = torch.arange(seq_len, dtype=torch.long)
            pos = pos.unsqueeze(0).expand_as(x)
            return self.norm(self.tok_embed(x) + self.pos_embed(pos) + self.seg_embed(seg))

    class BERT(nn.Module):
        def __init__(self, d=12, heads=2, layers=2):
            super().__init__()
            self.embedding = Embedding(d)
            self.heads = heads
            self.layers = nn.ModuleList(
                [
                    nn.ModuleDict(
                        {
                            "q": nn.Linear(d, d), "k": nn.Linear(d, d), "v": nn.Linear(d, d), "o": nn.Linear(d, d),
                            "n1": nn.LayerNorm(d), "n2": nn.LayerNorm(d), "up": nn.Linear(d, 2 * d),
                            "down": nn.Linear(2 * d, d),
                        }
                    )
                    for _ in range(layers)
                ]
            )  # fmt: skip
            self.fc, self.activ1 = nn.Linear(d, d), nn.Tanh()
            self.linear, self.activ2 = nn.Linear(d, d), gelu
            self.classifier = nn.Linear(d, 2)
            embed_weight = self.embedding.tok_embed.weight
            n_vocab, n_dim = embed_weight.size()
            self.decoder = nn.Linear(n_dim, n_vocab, bias=False)
            self.decoder.weight = embed_weight
            self.decoder_bias = nn.Parameter(torch.zeros(n_vocab))

        def forward(self, input_ids, segment_ids, masked_pos=None):
            output = self.embedding(input_ids, segment_ids)
            B, T, d = output.shape
            pad = input_ids.data.eq(PAD).unsqueeze(1).expand(B, T, T).unsqueeze(1).repeat(1, self.heads, 1, 1)
            for layer in self.layers:
                q, k, v = (layer[n](output).view(B, -1, self.heads, d // self.heads).transpose(1, 2) for n in "qkv")
                scores = torch.matmul(q, k.transpose(-1, -2)) / (d // self.heads) ** 0.5
                scores.masked_fill_(pad, -1e9)
                context = torch.matmul(nn.Softmax(dim=-1)(scores), v).transpose(1, 2).contiguous().view(B, -1, d)
                output = layer["n1"](layer["o"](context) + output)
                output = layer["n2"](layer["down"](gelu(layer["up"](output))) + output)
            h_pooled = self.activ1(self.fc(output[:, 0]))
            logits_clsf = self.classifier(h_pooled)
            if masked_pos is not None:
                masked_pos = masked_pos[:, :, None].expand(-1, -1, output.size(-1))
                output = torch.gather(output, 1, masked_pos)
            h_masked = self.activ2(self.linear(output))
            return self.decoder(h_masked) + self.decoder_bias, logits_clsf

    torch.manual_seed(0)
    sentences = [torch.randint(4, vocab_size, (n,)).tolist() for n in (4, 5, 3, 5, 4, 3)]
    batch = make_batch(6, sentences)
    input_ids, segment_ids, masked_tokens, masked_pos, is_next = map(torch.LongTensor, zip(*batch))
    print(input_ids[0], masked_tokens, is_next)
    model = BERT()
    criterion = nn.CrossEntropyLoss(ignore_index=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, weight_decay=1e-2)
    losses, grads = [], None
    for _ in range(4):
        optimizer.zero_grad()
        logits_lm, logits_clsf = model(input_ids, segment_ids, masked_pos)
        loss_lm = criterion(logits_lm.transpose(1, 2), masked_tokens)
        loss_lm = (loss_lm.float()).mean() if logits_lm.dtype == torch.float32 else loss_lm.mean()
        loss = loss_lm + nn.CrossEntropyLoss()(logits_clsf, is_next)
        loss.backward()
        grads = grads or {n: p.grad.clone() for n, p in model.named_parameters()}
        optimizer.step()
        losses.append(loss.item())
    print(model.embedding.tok_embed.weight[PAD].abs().sum() >= 0, model.embedding.tok_embed)
    dynamic = []
    for ids, seg in DataLoader(TensorDataset(input_ids, segment_ids), batch_size=4, shuffle=True):
        inputs, labels = mask_tokens(ids.clone())
        logits, _ = model(inputs, seg)
        dynamic.append((inputs, labels, F.cross_entropy(logits.view(-1, vocab_size), labels.view(-1)).item()))
    probs = logits_lm.detach().softmax(-1)
    top = torch.topk(probs[0], 3)
    hidden = model.embedding(input_ids, segment_ids)
    weights = input_ids.ne(PAD).unsqueeze(-1).expand(hidden.size()).to(hidden.dtype)
    pooled = torch.sum(hidden * weights, 1) / torch.clamp(weights.sum(1), min=1e-9)
    pooled = F.normalize(pooled, p=2, dim=1)
    return {
        "losses": losses, "loss dynamic": [d[2] for d in dynamic], "masks": [d[:2] for d in dynamic], "grads": grads,
        "weights": model.state_dict(), "filled": logits_lm.data.max(2)[1][0].data.numpy(), "top": list(top),
        "similarity": (pooled @ pooled.T).detach(), "cosine": F.cosine_similarity(pooled[0], pooled[1], dim=0).item(),
    }  # fmt: skip
