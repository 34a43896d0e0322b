"""教程的写法：nn.TransformerEncoder 的语言模型、编码器–解码器翻译玩具、手写的编码器–解码器。"""
# mypy: ignore-errors
# ruff: noqa: B905, PTH118, UP006, UP035

import copy
import math
import os
import time
from tempfile import TemporaryDirectory
from typing import Tuple

import torch
from torch import Tensor, nn
from torch.nn import Transformer, TransformerEncoder, TransformerEncoderLayer
from torch.nn.functional import log_softmax


def program():
    """两个模型各训练几步，再贪心解码。"""

    class PositionalEncoding(nn.Module):
        def __init__(self, d_model: int, dropout: float = 0.1, max_len: int = 50):
            super().__init__()
            self.dropout = nn.Dropout(p=dropout)
            position = torch.arange(max_len).unsqueeze(1)
            div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
            pe = torch.zeros(max_len, 1, d_model)
            pe[:, 0, 0::2] = torch.sin(position * div_term)
            pe[:, 0, 1::2] = torch.cos(position * div_term)
            self.register_buffer("pe", pe)

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.pe[: x.size(0)]
            return self.dropout(x)

    class TransformerModel(nn.Module):
        def __init__(self, ntoken: int, d_model: int, nhead: int, d_hid: int, nlayers: int, dropout: float = 0.5):
            super().__init__()
            self.model_type = "Transformer"
            self.pos_encoder = PositionalEncoding(d_model, dropout)
            encoder_layers = TransformerEncoderLayer(d_model, nhead, d_hid, dropout)
            self.transformer_encoder = TransformerEncoder(encoder_layers, nlayers)
            self.embedding = nn.Embedding(ntoken, d_model)
            self.d_model = d_model
            self.linear = nn.Linear(d_model, ntoken)
            self.init_weights()

        def init_weights(self) -> None:
            initrange = 0.1
            self.embedding.weight.data.uniform_(-initrange, initrange)
            self.linear.bias.data.zero_()
            self.linear.weight.data.uniform_(-initrange, initrange)

        def forward(self, src: Tensor, src_mask: Tensor = None) -> Tensor:
            src = self.embedding(src) * math.sqrt(self.d_model)
            src = self.pos_encoder(src)
            if src_mask is None:
                src_mask = nn.Transformer.generate_square_subsequent_mask(len(src))
            output = self.transformer_encoder(src, src_mask)
            output = self.linear(output)
            return output

    def batchify(data: Tensor, bsz: int) -> Tensor:
        seq_len = data.size(0) // bsz
        data = data[: seq_len * bsz]
        data = data.view(bsz, seq_len).t().contiguous()
        return data

    def get_batch(source: Tensor, i: int, bptt: int = 7) -> Tuple[Tensor, Tensor]:
        seq_len = min(bptt, len(source) - 1 - i)
        data = source[i : i + seq_len]
        target = source[i + 1 : i + 1 + seq_len].reshape(-1)
        return data, target

    def language_model(results):
        ntokens = 23
        train_data, val_data = batchify(torch.randint(ntokens, (120,)), 4), batchify(torch.randint(ntokens, (45,)), 3)
        print(train_data.shape, train_data[:2])
        model = TransformerModel(ntokens, 12, 2, 20, 2, 0.2).to("cpu")
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1.0, gamma=0.95)
        best_val_loss = float("inf")
        with TemporaryDirectory() as tempdir:
            best_model_params_path = os.path.join(tempdir, "best_model_params.pt")
            for epoch in range(1, 3):
                model.train()
                total_loss, start_time = 0.0, time.time()
                for batch, i in enumerate(range(0, train_data.size(0) - 1, 7)):
                    data, targets = get_batch(train_data, i)
                    output = model(data)
                    loss = criterion(output.view(-1, ntokens), targets)
                    optimizer.zero_grad()
                    loss.backward()
                    if epoch == 1 and batch == 0:
                        results["grads"] = {n: p.grad.clone() for n, p in model.named_parameters()}
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                    optimizer.step()
                    total_loss += loss.item()
                    assert time.time() >= start_time
                results["losses"].append(total_loss / (batch + 1))
                model.eval()
                val = 0.0
                with torch.no_grad():
                    for i in range(0, val_data.size(0) - 1, 7):
                        data, targets = get_batch(val_data, i)
                        val += len(data) * criterion(model(data).view(-1, ntokens), targets).item()
                val /= len(val_data) - 1
                print(f"| end of epoch {epoch:3d} | lr {scheduler.get_last_lr()[0]:.3f} | ppl {math.exp(val):8.2f}")
                results["losses of validation"].append(val)
                if val < best_val_loss:
                    best_val_loss = val
                    torch.save(model.state_dict(), best_model_params_path)
                scheduler.step()
            model.load_state_dict(torch.load(best_model_params_path))
        results["weights"] = model.state_dict()
        results["text"] = str(model)

    class Seq2SeqTransformer(nn.Module):
        def __init__(self, vocab=17, d=12):
            super().__init__()
            self.transformer = Transformer(
                d_model=d, nhead=2, num_encoder_layers=2, num_decoder_layers=1, dim_feedforward=16, dropout=0.0,
                batch_first=True,
            )  # fmt: skip
            self.generator = nn.Linear(d, vocab)
            self.src_tok_emb, self.tgt_tok_emb = nn.Embedding(vocab, d), nn.Embedding(vocab, d)
            for p in self.parameters():
                if p.dim() > 1:
                    nn.init.xavier_uniform_(p)

        def forward(self, src, tgt):
            tgt_mask = self.transformer.generate_square_subsequent_mask(tgt.size(1))
            src_pad, tgt_pad = src == 0, (tgt == 0).float().masked_fill(tgt == 0, float("-inf"))
            src_emb, tgt_emb = self.src_tok_emb(src), self.tgt_tok_emb(tgt)
            outs = self.transformer(
                src_emb, tgt_emb, tgt_mask=tgt_mask, src_key_padding_mask=src_pad,
                tgt_key_padding_mask=tgt_pad.to(tgt_mask.dtype), memory_key_padding_mask=src_pad,
            )  # fmt: skip
            return self.generator(outs)

        def greedy_decode(self, src, max_len):
            memory = self.transformer.encoder(self.src_tok_emb(src))
            ys = torch.ones(src.size(0), 1).fill_(1).type(torch.long)
            for _ in range(max_len - 1):
                tgt_mask = torch.triu(torch.ones(ys.size(1), ys.size(1)), diagonal=1).bool()
                out = self.transformer.decoder(self.tgt_tok_emb(ys), memory, tgt_mask)
                _, next_word = torch.max(self.generator(out[:, -1]), dim=1)
                ys = torch.cat([ys, next_word.unsqueeze(1)], dim=1)
            return ys

    def translation(results):
        model = Seq2SeqTransformer()
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.9, 0.98), eps=1e-9)
        loss_fn = torch.nn.CrossEntropyLoss(ignore_index=0)
        for _ in range(3):
            src = torch.randint(2, 17, (3, 6))
            tgt = torch.cat([torch.ones(3, 1, dtype=torch.long), src.flip(1)], dim=1)
            src[1, 4:], tgt[1, 5:] = 0, 0
            logits = model(src, tgt[:, :-1])
            optimizer.zero_grad()
            loss = loss_fn(logits.reshape(-1, logits.shape[-1]), tgt[:, 1:].reshape(-1))
            loss.backward()
            results["losses of translation"].append(loss.item())
            results["grads of translation"] = {n: p.grad.clone() for n, p in model.named_parameters()}
            optimizer.step()
        model.eval()
        with torch.no_grad():
            results["ids"] = model.greedy_decode(src, 7)

    def clones(module, N):
        return nn.ModuleList([copy.deepcopy(module) for _ in range(N)])

    def subsequent_mask(size):
        attn_shape = (1, size, size)
        return torch.triu(torch.ones(attn_shape), diagonal=1).type(torch.uint8) == 0

    def attention(query, key, value, mask=None, dropout=None):
        d_k = query.size(-1)
        scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(d_k)
        if mask is not None:
            scores = scores.masked_fill(mask == 0, -1e9)
        p_attn = scores.softmax(dim=-1)
        if dropout is not None:
            p_attn = dropout(p_attn)
        return torch.matmul(p_attn, value), p_attn

    class MultiHeadedAttention(nn.Module):
        def __init__(self, h, d_model, dropout=0.1):
            super().__init__()
            self.d_k, self.h = d_model // h, h
            self.linears = clones(nn.Linear(d_model, d_model), 4)
            self.attn = None
            self.dropout = nn.Dropout(p=dropout)

        def forward(self, query, key, value, mask=None):
            if mask is not None:
                mask = mask.unsqueeze(1)
            nbatches = query.size(0)
            query, key, value = [
                lin(x).view(nbatches, -1, self.h, self.d_k).transpose(1, 2)
                for lin, x in zip(self.linears, (query, key, value))
            ]
            x, self.attn = attention(query, key, value, mask=mask, dropout=self.dropout)
            x = x.transpose(1, 2).contiguous().view(nbatches, -1, self.h * self.d_k)
            del query
            return self.linears[-1](x)

    class LayerNorm(nn.Module):
        def __init__(self, features, eps=1e-6):
            super().__init__()
            self.a_2, self.b_2, self.eps = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features)), eps

        def forward(self, x):
            mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
            return self.a_2 * (x - mean) / (std + self.eps) + self.b_2

    class LabelSmoothing(nn.Module):
        def __init__(self, size, padding_idx, smoothing=0.0):
            super().__init__()
            self.criterion = nn.KLDivLoss(reduction="sum")
            self.padding_idx, self.confidence, self.smoothing, self.size = padding_idx, 1.0 - smoothing, smoothing, size

        def forward(self, x, target):
            assert x.size(1) == self.size
            true_dist = x.data.clone()
            true_dist.fill_(self.smoothing / (self.size - 2))
            true_dist.scatter_(1, target.data.unsqueeze(1), self.confidence)
            true_dist[:, self.padding_idx] = 0
            mask = torch.nonzero(target.data == self.padding_idx)
            if mask.dim() > 0:
                true_dist.index_fill_(0, mask.squeeze(), 0.0)
            return self.criterion(x, true_dist.clone().detach())

    def annotated(results):
        attn, norm, head = MultiHeadedAttention(2, 8), LayerNorm(8), nn.Linear(8, 11)
        emb, smoothing = nn.Embedding(11, 8), LabelSmoothing(11, 0, 0.1)
        model = nn.ModuleList([attn, norm, head, emb])
        optimizer = torch.optim.Adam(model.parameters(), lr=0.5, betas=(0.9, 0.98), eps=1e-9)
        rate = lambda step: 8 ** (-0.5) * min(max(step, 1) ** (-0.5), max(step, 1) * 4 ** (-1.5))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer=optimizer, lr_lambda=rate)
        for _ in range(3):
            y = torch.randint(1, 11, size=(3, 6))
            y[0, 4:] = 0
            mask = (y != 0).unsqueeze(-2) & subsequent_mask(y.size(-1)).type_as((y != 0).unsqueeze(-2).data)
            x = emb(y) * math.sqrt(8)
            logp = log_softmax(head(norm(x + attn(x, x, x, mask))), dim=-1)
            loss = smoothing(logp.contiguous().view(-1, 11), y.roll(-1, 1).contiguous().view(-1)) / (y != 0).data.sum()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            scheduler.step()
            results["losses annotated"].append(loss.data.item())
        results["attention"] = attn.attn.detach()
        results["rates"] = [rate(s) for s in range(3)] + scheduler.get_last_lr()

    torch.manual_seed(0)
    results = {key: [] for key in ("losses", "losses of validation", "losses of translation", "losses annotated")}
    language_model(results)
    translation(results)
    annotated(results)
    return results
