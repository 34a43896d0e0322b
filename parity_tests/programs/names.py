"""造名字：计数的二元表、手写的 MLP 与 BatchNorm、树状的 WaveNet、手写反向、循环网络的单元。"""
# mypy: ignore-errors
# ruff: noqa: B905, C414, RUF005, RUF007, SIM905

import random

import torch
import torch.nn.functional as F

WORDS = "emma olivia ava isabella sophia charlotte mia amelia harper evelyn abigail emily ella".split()


def program():
    """一路写到手写反向，每一步都与自动求导核对。"""
    chars = sorted(list(set("".join(WORDS))))
    stoi = {s: i + 1 for i, s in enumerate(chars)}
    stoi["."] = 0
    itos = {i: s for s, i in stoi.items()}
    vocab_size = len(itos)
    block_size = 4

    def counting():
        N = torch.zeros((vocab_size, vocab_size), dtype=torch.int32)
        for w in WORDS:
            chs = ["."] + list(w) + ["."]
            for ch1, ch2 in zip(chs, chs[1:]):
                N[stoi[ch1], stoi[ch2]] += 1
        P = (N + 1).to(torch.get_default_dtype())
        P /= P.sum(1, keepdims=True)
        g = torch.Generator().manual_seed(2147483647)
        out = []
        for _ in range(4):
            ix = 0
            while True:
                ix = torch.multinomial(P[ix], num_samples=1, replacement=True, generator=g).item()
                out.append(itos[ix])
                if ix == 0:
                    break
        log_likelihood, n = 0.0, 0
        for w in WORDS[:3]:
            for ch1, ch2 in zip("." + w, w + "."):
                prob = P[stoi[ch1], stoi[ch2]]
                logprob = torch.log(prob)
                log_likelihood += logprob
                n += 1
        print(f"{log_likelihood=:.4f} {-log_likelihood / n:.4f} {N.sum().item()}", "".join(out))
        xs = torch.tensor([stoi[c] for w in WORDS for c in "." + w])
        ys = torch.tensor([stoi[c] for w in WORDS for c in w + "."])
        W = torch.randn((vocab_size, vocab_size), generator=g, requires_grad=True)
        losses = []
        for _ in range(5):
            xenc = F.one_hot(xs, num_classes=vocab_size).to(W.dtype)
            logits = xenc @ W
            counts = logits.exp()
            probs = counts / counts.sum(1, keepdims=True)
            loss = -probs[torch.arange(xs.nelement()), ys].log().mean() + 0.01 * (W**2).mean()
            W.grad = None
            loss.backward()
            W.data += -10 * W.grad
            losses.append(loss.item())
        return P, losses, W

    def build_dataset(words):
        X, Y = [], []
        for w in words:
            context = [0] * block_size
            for ch in w + ".":
                ix = stoi[ch]
                X.append(context)
                Y.append(ix)
                context = context[1:] + [ix]
        X = torch.tensor(X)
        Y = torch.tensor(Y)
        print(X.shape, Y.shape)
        return X, Y

    class Linear:
        def __init__(self, fan_in, fan_out, bias=True):
            self.weight = torch.randn((fan_in, fan_out), generator=g) / fan_in**0.5
            self.bias = torch.zeros(fan_out) if bias else None

        def __call__(self, x):
            self.out = x @ self.weight
            if self.bias is not None:
                self.out += self.bias
            return self.out

        def parameters(self):
            return [self.weight] + ([] if self.bias is None else [self.bias])

    class BatchNorm1d:
        def __init__(self, dim, eps=1e-5, momentum=0.1):
            self.eps, self.momentum, self.training = eps, momentum, True
            self.gamma, self.beta = torch.ones(dim), torch.zeros(dim)
            self.running_mean, self.running_var = torch.zeros(dim), torch.ones(dim)

        def __call__(self, x):
            if self.training:
                dim = 0 if x.ndim == 2 else (0, 1)
                xmean = x.mean(dim, keepdim=True)
                xvar = x.var(dim, keepdim=True)
            else:
                xmean, xvar = self.running_mean, self.running_var
            xhat = (x - xmean) / torch.sqrt(xvar + self.eps)
            self.out = self.gamma * xhat + self.beta
            if self.training:
                with torch.no_grad():
                    self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * xmean
                    self.running_var = (1 - self.momentum) * self.running_var + self.momentum * xvar
            return self.out

        def parameters(self):
            return [self.gamma, self.beta]

    class Tanh:
        def __call__(self, x):
            self.out = torch.tanh(x)
            return self.out

        def parameters(self):
            return []

    class Embedding:
        def __init__(self, num_embeddings, embedding_dim):
            self.weight = torch.randn((num_embeddings, embedding_dim), generator=g)

        def __call__(self, IX):
            self.out = self.weight[IX]
            return self.out

        def parameters(self):
            return [self.weight]

    class FlattenConsecutive:
        def __init__(self, n):
            self.n = n

        def __call__(self, x):
            B, T, C = x.shape
            x = x.view(B, T // self.n, C * self.n)
            if x.shape[1] == 1:
                x = x.squeeze(1)
            self.out = x
            return self.out

        def parameters(self):
            return []

    class Sequential:
        def __init__(self, layers):
            self.layers = layers

        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

        def parameters(self):
            return [p for layer in self.layers for p in layer.parameters()]

    def wavenet(Xtr, Ytr):
        n_hidden = 9
        layers = [Embedding(vocab_size, 5)]
        for fan_in in (5 * 2, n_hidden * 2):
            layers += [FlattenConsecutive(2), Linear(fan_in, n_hidden, bias=False), BatchNorm1d(n_hidden), Tanh()]
        model = Sequential([*layers, Linear(n_hidden, vocab_size)])
        with torch.no_grad():
            model.layers[-1].weight *= 0.1
        parameters = model.parameters()
        print(sum(p.nelement() for p in parameters))
        for p in parameters:
            p.requires_grad = True
        losses, ud = [], []
        for i in range(5):
            ix = torch.randint(0, Xtr.shape[0], (16,), generator=g)
            Xb, Yb = Xtr[ix], Ytr[ix]
            loss = F.cross_entropy(model(Xb), Yb)
            for layer in model.layers:
                layer.out.retain_grad()
            for p in parameters:
                p.grad = None
            loss.backward()
            lr = 0.1 if i < 3 else 0.01
            for p in parameters:
                p.data += -lr * p.grad
            with torch.no_grad():
                ud.append([((lr * p.grad).std() / p.data.std()).log10().item() for p in parameters if p.ndim == 2])
            losses.append(loss.item())
        outs = [layer.out.grad for layer in model.layers]
        saturated = [(layer.out.abs() > 0.97).sum().item() for layer in model.layers if isinstance(layer, Tanh)]
        for layer in model.layers:
            layer.training = False
        with torch.no_grad():
            evaluated = F.cross_entropy(model(Xtr), Ytr)
        names = []
        context = [0] * block_size
        for _ in range(12):
            probs = F.softmax(model(torch.tensor([context])), dim=1)
            ix = torch.multinomial(probs, num_samples=1, generator=g).item()
            context = context[1:] + [ix]
            names.append(itos[ix])
        hist = torch.histc(model.layers[4].out.detach().flatten().float(), bins=5, min=-1, max=1)
        return losses, evaluated, ud, outs, saturated, "".join(names), hist, [p.detach() for p in parameters]

    def cmp(s, dt, t):
        approximate = torch.allclose(dt, t.grad, atol=1e-6)
        maxdiff = (dt - t.grad).abs().max().item()
        print(f"{s:15s} | approximate: {approximate!s:5s} | small: {maxdiff < 1e-5}")
        return dt

    def backprop_ninja(Xb, Yb):
        n, n_embd, n_hidden = Xb.shape[0], 3, 8
        C = torch.randn((vocab_size, n_embd), generator=g)
        W1 = torch.randn((n_embd * block_size, n_hidden), generator=g) * (5 / 3) / ((n_embd * block_size) ** 0.5)
        b1 = torch.randn(n_hidden, generator=g) * 0.1
        W2 = torch.randn((n_hidden, vocab_size), generator=g) * 0.1
        b2 = torch.randn(vocab_size, generator=g) * 0.1
        bngain = torch.randn((1, n_hidden)) * 0.1 + 1.0
        bnbias = torch.randn((1, n_hidden)) * 0.1
        parameters = [C, W1, b1, W2, b2, bngain, bnbias]
        for p in parameters:
            p.requires_grad = True
        emb = C[Xb]
        embcat = emb.view(emb.shape[0], -1)
        hprebn = embcat @ W1 + b1
        bnmeani = 1 / n * hprebn.sum(0, keepdim=True)
        bndiff = hprebn - bnmeani
        bndiff2 = bndiff**2
        bnvar = 1 / (n - 1) * (bndiff2).sum(0, keepdim=True)
        bnvar_inv = (bnvar + 1e-5) ** -0.5
        bnraw = bndiff * bnvar_inv
        hpreact = bngain * bnraw + bnbias
        h = torch.tanh(hpreact)
        logits = h @ W2 + b2
        logit_maxes = logits.max(1, keepdim=True).values
        norm_logits = logits - logit_maxes
        counts = norm_logits.exp()
        counts_sum = counts.sum(1, keepdims=True)
        counts_sum_inv = counts_sum**-1
        probs = counts * counts_sum_inv
        logprobs = probs.log()
        loss = -logprobs[range(n), Yb].mean()
        for p in parameters:
            p.grad = None
        for t in [
            logprobs, probs, counts, counts_sum, counts_sum_inv, norm_logits, logit_maxes, logits, h, hpreact, bnraw,
            bnvar_inv, bnvar, bndiff2, bndiff, hprebn, bnmeani, embcat, emb,
        ]:  # fmt: skip
            t.retain_grad()
        loss.backward()
        dlogprobs = torch.zeros_like(logprobs)
        dlogprobs[range(n), Yb] = -1.0 / n
        dprobs = (1.0 / probs) * dlogprobs
        dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)
        dcounts = counts_sum_inv * dprobs
        dcounts_sum = (-(counts_sum**-2)) * dcounts_sum_inv
        dcounts += torch.ones_like(counts) * dcounts_sum
        dnorm_logits = counts * dcounts
        dlogits = dnorm_logits.clone()
        dlogit_maxes = (-dnorm_logits).sum(1, keepdim=True)
        dlogits += F.one_hot(logits.max(1).indices, num_classes=logits.shape[1]) * dlogit_maxes
        dh = dlogits @ W2.T
        dW2, db2 = h.T @ dlogits, dlogits.sum(0)
        dhpreact = (1.0 - h**2) * dh
        dbngain, dbnbias = (bnraw * dhpreact).sum(0, keepdim=True), dhpreact.sum(0, keepdim=True)
        dhprebn = (
            bngain * bnvar_inv / n * (n * dhpreact - dhpreact.sum(0) - n / (n - 1) * bnraw * (dhpreact * bnraw).sum(0))
        )
        dembcat = dhprebn @ W1.T
        dW1, db1 = embcat.T @ dhprebn, dhprebn.sum(0)
        demb = dembcat.view(emb.shape)
        dC = torch.zeros_like(C)
        for k in range(Xb.shape[0]):
            for j in range(Xb.shape[1]):
                ix = Xb[k, j]
                dC[ix] += demb[k, j]
        pairs = {
            "logprobs": (dlogprobs, logprobs), "probs": (dprobs, probs), "counts": (dcounts, counts),
            "norm_logits": (dnorm_logits, norm_logits),
            "logits": (dlogits, logits), "h": (dh, h), "W2": (dW2, W2), "b2": (db2, b2), "bngain": (dbngain, bngain),
            "bnbias": (dbnbias, bnbias), "hprebn": (dhprebn, hprebn), "W1": (dW1, W1), "b1": (db1, b1), "C": (dC, C),
        }  # fmt: skip
        direct = F.softmax(logits, 1)
        direct[range(n), Yb] -= 1
        direct /= n
        assert torch.allclose(direct, logits.grad, atol=1e-6)
        return loss, {name: cmp(name, dt, t).detach() for name, (dt, t) in pairs.items()}

    def cells(Xb, Yb):
        n_embd, n_hidden = 4, 6
        cell = torch.nn.GRUCell(n_embd, n_hidden)
        emb, start = torch.nn.Embedding(vocab_size, n_embd), torch.nn.Parameter(torch.zeros(1, n_hidden))
        W = torch.nn.Linear(n_embd + n_hidden, 4 * n_hidden)
        head = torch.nn.Linear(2 * n_hidden, vocab_size)
        B, T = Xb.shape
        hprev, h, c = start.expand((B, -1)), torch.zeros(B, n_hidden), torch.zeros(B, n_hidden)
        for t in range(T):
            xt = emb(Xb)[:, t, :]
            hprev = cell(xt, hprev)
            i, f, o, u = W(torch.cat([xt, h], dim=1)).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(u)
            h = torch.sigmoid(o) * torch.tanh(c)
        loss = F.cross_entropy(head(torch.cat((hprev, h), -1)), Yb)
        loss.backward()
        return loss, [p.grad for m in (cell, emb, W, head) for p in m.parameters()] + [start.grad]

    P, bigram_losses, W = counting()
    g = torch.Generator().manual_seed(42)
    random.seed(42)
    words = WORDS[:]
    random.shuffle(words)
    X, Y = build_dataset(words)
    torch.manual_seed(3)
    losses, evaluated, ud, outs, saturated, name, hist, params = wavenet(X, Y)
    ninja, grads = backprop_ninja(X[:20], Y[:20])
    cell_loss, cell_grads = cells(X[:10], Y[:10])
    print(words, name)
    return {
        "loss bigram": bigram_losses, "P": P, "W": W, "losses": losses, "loss evaluated": evaluated, "ud": ud,
        "outs": outs, "saturated": saturated, "hist": hist, "weights": params, "loss by hand": ninja, "grads": grads,
        "loss of cells": cell_loss, "grads of cells": cell_grads,
    }  # fmt: skip
