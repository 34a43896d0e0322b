"""对模型动手术：EMA、深拷贝、参数拉成向量、挑着装权重、改名、钩子、共享、初始化的各种办法、随机数的状态。"""
# mypy: ignore-errors
# ruff: noqa: B905, C416

import copy
from collections import OrderedDict

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters


class EMA:
    """权重的滑动平均。"""

    def __init__(self, model, decay):
        self.decay = decay
        self.shadow = {name: p.data.clone() for name, p in model.named_parameters() if p.requires_grad}
        self.backup = {}

    def update(self, model):
        """并入现在的权重。"""
        for name, p in model.named_parameters():
            if p.requires_grad:
                self.shadow[name] = (1.0 - self.decay) * p.data + self.decay * self.shadow[name].clone()

    def apply_shadow(self, model):
        """换上平均的权重。"""
        for name, p in model.named_parameters():
            self.backup[name] = p.data
            p.data = self.shadow[name]

    def restore(self, model):
        """换回来。"""
        for name, p in model.named_parameters():
            p.data = self.backup[name]


def program():
    """一个小模型，翻来覆去地改。"""

    class Net(nn.Module):
        version = 1

        def __init__(self, d=6, vocab=9):
            super().__init__()
            self.emb = nn.Embedding(vocab, d)
            self.layers = nn.ModuleList([nn.Linear(d, d) for _ in range(3)])
            self.extra = nn.ParameterDict({"gain": nn.Parameter(torch.ones(d)), "shift": nn.Parameter(torch.zeros(d))})
            self.list = nn.ParameterList([nn.Parameter(torch.rand(d)) for _ in range(2)])
            self.head = nn.Linear(d, vocab, bias=False)
            self.register_buffer("steps", torch.tensor(0))
            self.register_buffer("cache", torch.zeros(2), persistent=False)
            self.register_parameter("missing", None)
            self.plain = torch.ones(3)

        def forward(self, x):
            if self.training:
                self.steps += 1
            h = self.emb(x)
            for i, layer in enumerate(self.layers):
                h = h + torch.relu(layer(h)) * self.list[i % len(self.list)]
            return self.head(h * self.extra["gain"] + self.extra["shift"])

    torch.manual_seed(10)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = Net().to(device)
    print(model)
    print([n for n, _ in model.named_parameters()], [n for n, _ in model.named_buffers()])
    print([n for n, _ in model.named_modules()], [type(m).__name__ for m in model.children()])
    print({k: tuple(v.shape) for k, v in model.state_dict().items()})
    ema, target = EMA(model, 0.9), copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    averaged = torch.optim.swa_utils.AveragedModel(model) if hasattr(torch.optim, "swa_utils_") else None
    activations, gradients, handles = {}, [], []

    def hook(name):
        def fn(module, args, output):
            activations[name] = output.detach()

        return fn

    for i, layer in enumerate(model.layers):
        handles.append(layer.register_forward_hook(hook(f"layer {i}")))
    handles.append(model.head.register_forward_pre_hook(lambda m, args: (args[0] * 1.5,)))
    handles.append(model.layers[0].register_full_backward_hook(lambda m, gi, go: gradients.append(go[0].clone())))
    handles.append(model.emb.weight.register_hook(lambda g: g * 2))
    results = {"losses": [], "grads": {}}
    for step in range(4):
        x = torch.randint(9, (2, 5), device=device)
        logits = model(x)
        loss = F.cross_entropy(logits.view(-1, 9), x.roll(-1, dims=1).view(-1))
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            results["grads"] = {n: p.grad.clone() for n, p in model.named_parameters()}
            print({n: p.grad.norm() > 0 for n, p in model.named_parameters()})
        optimizer.step()
        ema.update(model)
        for p, t in zip(model.parameters(), target.parameters()):
            t.data.mul_(0.99).add_(p.data, alpha=0.01)
        results["losses"].append(loss.item())
        if step == 2:
            for handle in handles:
                handle.remove()
    results |= {"activations": activations, "gradients": gradients, "steps": model.steps, "averaged": averaged}
    ema.apply_shadow(model)
    results["shadow"] = model(x).detach()
    ema.restore(model)
    with torch.no_grad():
        vector = parameters_to_vector(model.parameters())
        vector_to_parameters(vector * 0.5, model.parameters())
    results["vector"], results["halved"] = vector, copy.deepcopy(model.state_dict())

    state = model.state_dict()
    renamed = OrderedDict((k.replace("layers.", "blocks."), v) for k, v in state.items() if not k.startswith("list."))
    renamed["head.weight"] = state["head.weight"].clone()
    other = Net()
    outcome = other.load_state_dict(renamed, strict=False)
    print(outcome.missing_keys, outcome.unexpected_keys)
    try:
        other.load_state_dict({"head.weight": torch.zeros(2, 2)}, strict=True)
    except RuntimeError as error:
        print("RuntimeError", "size mismatch for head.weight" in str(error), "Missing key(s)" in str(error))
    print(other.load_state_dict(state))
    own = other.state_dict()
    pretrained = {k: v for k, v in state.items() if k in own and v.size() == own[k].size()}
    own.update(pretrained)
    other.load_state_dict(own)
    for (n, p), (_, q) in zip(model.named_parameters(), other.named_parameters()):
        assert torch.equal(p, q), n
    arrays = {k: v.cpu().numpy() for k, v in state.items()}
    twin = Net()
    twin.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in arrays.items()})
    assert torch.equal(twin(x), other(x))
    with torch.no_grad():
        twin.emb.weight.copy_(torch.from_numpy(arrays["emb.weight"]) * 2)
        twin.head.weight[0].fill_(0.25)
        twin.layers[0].weight[:, 1] = 0
    new_embeddings = nn.Embedding(12, 6)
    new_embeddings.weight.data[:9, :] = twin.emb.weight.data
    new_embeddings.weight.data[9:] = twin.emb.weight.data.mean(0, keepdim=True)
    twin.emb = new_embeddings
    del twin.layers[2]
    twin.layers.append(nn.Identity())
    twin.layers.insert(0, nn.Bilinear(6, 6, 6)) if False else None
    twin.head.weight = nn.Parameter(twin.emb.weight.data[:9].clone(), requires_grad=False)
    results["twin"] = twin(x)
    print(len(twin.layers), twin.layers[-1], twin.layers[0:2], twin.get_submodule("layers.1"), "gain" in twin.extra)
    for name, p in list(twin.named_parameters()):
        p.requires_grad_("layers" in name)
    print(sum(p.numel() for p in twin.parameters() if p.requires_grad), twin.training, twin.eval().training)

    inits = {
        "uniform": lambda w: nn.init.uniform_(w, -0.2, 0.3), "normal": lambda w: nn.init.normal_(w, 0.1, 0.5),
        "constant": lambda w: nn.init.constant_(w, 0.7), "eye": nn.init.eye_, "xavier": nn.init.xavier_uniform_,
        "glorot": lambda w: nn.init.xavier_normal_(w, gain=nn.init.calculate_gain("relu")),
        "kaiming": lambda w: nn.init.kaiming_uniform_(w, a=5**0.5), "orthogonal": nn.init.orthogonal_,
        "he": lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"),
        "trunc": lambda w: nn.init.trunc_normal_(w, std=0.02), "sparse": lambda w: nn.init.sparse_(w, 0.2),
    }  # fmt: skip
    torch.manual_seed(77)
    results["inits"] = {name: init(torch.empty(8, 5)) for name, init in inits.items()}
    layers = [
        nn.Linear(4, 3), nn.Embedding(5, 4), nn.Conv1d(2, 3, 3), nn.LSTM(3, 4), nn.GRU(2, 3), nn.Bilinear(2, 3, 2),
        nn.MultiheadAttention(6, 2), nn.TransformerEncoderLayer(4, 2, 8), nn.BatchNorm1d(3), nn.PReLU(),
    ]  # fmt: skip
    results["layers"] = [dict(layer.state_dict()) for layer in layers]
    rng = torch.get_rng_state()
    first = torch.rand(3), torch.randperm(7), torch.randint(0, 100, (4,)), torch.bernoulli(torch.full((6,), 0.3))
    torch.set_rng_state(rng)
    again = torch.rand(3), torch.randperm(7), torch.randint(0, 100, (4,)), torch.bernoulli(torch.full((6,), 0.3))
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    results["draws"] = (
        first,
        F.dropout(torch.ones(20), 0.4),
        torch.randn(17),
        torch.normal(0.0, 1.0, (3,)),
        torch.randn(2, 3),
    )
    results["more draws"] = (
        torch.randn_like(torch.zeros(4)),
        torch.empty(3).uniform_(-1, 1),
        torch.multinomial(torch.ones(9), 4),
    )
    results["model"] = {k: v for k, v in model.state_dict().items()}
    return results
