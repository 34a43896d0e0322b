"""LoRA：递归替换线性层，低秩分支，合并权重；只存适配器的权重。"""
# mypy: ignore-errors
# ruff: noqa: C416

import copy
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


def program():
    """冻住原来的权重，只训练低秩的两片。"""

    class LoRALayer(torch.nn.Module):
        def __init__(self, in_dim, out_dim, rank, alpha):
            super().__init__()
            self.A = torch.nn.Parameter(torch.empty(in_dim, rank))
            torch.nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
            self.B = torch.nn.Parameter(torch.zeros(rank, out_dim))
            self.alpha = alpha
            self.scaling = self.alpha / rank

        def forward(self, x):
            return self.scaling * (x @ self.A @ self.B)

    class LinearWithLoRA(torch.nn.Module):
        def __init__(self, linear, rank, alpha):
            super().__init__()
            self.linear = linear
            self.lora = LoRALayer(linear.in_features, linear.out_features, rank, alpha)

        def forward(self, x):
            return self.linear(x) + self.lora(x)

    class LinearWithDoRA(nn.Module):
        def __init__(self, linear, rank, alpha):
            super().__init__()
            self.linear = linear
            self.lora = LoRALayer(linear.in_features, linear.out_features, rank, alpha)
            self.m = nn.Parameter(linear.weight.norm(p=2, dim=0, keepdim=True))

        def forward(self, x):
            numerator = self.linear.weight + self.lora.scaling * (self.lora.A @ self.lora.B).T
            denominator = numerator.norm(p=2, dim=0, keepdim=True)
            return F.linear(x, self.m * (numerator / denominator), self.linear.bias)

    def replace_linear_with_lora(model, rank, alpha, kind=LinearWithLoRA):
        for name, module in model.named_children():
            if isinstance(module, torch.nn.Linear):
                setattr(model, name, kind(module, rank, alpha))
            else:
                replace_linear_with_lora(module, rank, alpha, kind)

    class LoRAParametrized(nn.Linear):
        def __init__(self, in_features, out_features, r=2, lora_alpha=4, lora_dropout=0.0, **kwargs):
            super().__init__(in_features, out_features, **kwargs)
            self.lora_A = nn.Parameter(self.weight.new_zeros((r, in_features)))
            self.lora_B = nn.Parameter(self.weight.new_zeros((out_features, r)))
            self.scaling = lora_alpha / r
            self.lora_dropout = nn.Dropout(p=lora_dropout) if lora_dropout > 0.0 else lambda x: x
            self.weight.requires_grad = False
            self.merged = False
            self.reset_lora_parameters()

        def reset_lora_parameters(self):
            nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
            nn.init.zeros_(self.lora_B)

        def train(self, mode: bool = True):
            nn.Linear.train(self, mode)
            delta = (self.lora_B @ self.lora_A) * self.scaling
            if mode and self.merged:
                self.weight.data -= delta
                self.merged = False
            elif not mode and not self.merged:
                self.weight.data += delta
                self.merged = True

        def forward(self, x: torch.Tensor):
            result = F.linear(x, self.weight, bias=self.bias)
            if not self.merged:
                result += (
                    self.lora_dropout(x) @ self.lora_A.transpose(0, 1) @ self.lora_B.transpose(0, 1)
                ) * self.scaling
            return result

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.emb = nn.Embedding(19, 12)
            self.blocks = nn.Sequential(
                nn.Sequential(nn.Linear(12, 20), nn.GELU(), nn.Linear(20, 12)),
                nn.Sequential(nn.LayerNorm(12), nn.Linear(12, 12, bias=False), nn.Tanh()),
            )
            self.head = nn.Linear(12, 19)

        def forward(self, x):
            return self.head(self.blocks(self.emb(x)).mean(1))

    def train(model, steps=4, lr=2e-2):
        params = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(params, lr=lr, weight_decay=0.01)
        losses, grads = [], None
        for _ in range(steps):
            x, y = torch.randint(0, 19, (6, 5)), torch.randint(0, 19, (6,))
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            if grads is None:
                grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
            optimizer.step()
            losses.append(loss.item())
        return losses, grads

    torch.manual_seed(123)
    base = Net()
    results = {"probe": torch.randint(0, 19, (3, 5))}
    for kind in (LinearWithLoRA, LinearWithDoRA):
        model = copy.deepcopy(base)
        for param in model.parameters():
            param.requires_grad = False
        before = sum(p.numel() for p in model.parameters() if p.requires_grad)
        replace_linear_with_lora(model, rank=3, alpha=6, kind=kind)
        after = sum(p.numel() for p in model.parameters() if p.requires_grad)
        print(f"{kind.__name__}: trainable before {before:,} and after {after:,}")
        assert torch.allclose(model(results["probe"]), base(results["probe"]), atol=1e-5)
        name = kind.__name__
        results[f"losses {name}"], results[f"grads {name}"] = train(model)
        results[f"weights {name}"] = {k: v for k, v in model.state_dict().items() if "lora" in k or k.endswith(".m")}
        print(model)
        for module in model.modules():
            if isinstance(module, LinearWithLoRA):
                with torch.no_grad():
                    module.linear.weight += (module.lora.scaling * module.lora.A @ module.lora.B).T
                    module.lora.B.zero_()
        results[f"merged {name}"] = model(results["probe"]).detach()
    layer = LoRAParametrized(6, 4, r=2, lora_alpha=8, lora_dropout=0.25)
    optimizer = torch.optim.SGD([p for n, p in layer.named_parameters() if "lora_" in n], lr=0.5)
    x = torch.randn(5, 6)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = (layer(x) - 1.0).pow(2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    training = layer(x) if layer.lora_dropout.p == 0 else None
    layer.eval()
    print(layer, training, layer.merged)
    results |= {"losses layer": losses, "layer": layer(x).detach(), "weights layer": layer.state_dict()}
    layer.train()
    results["unmerged"] = layer.weight.detach()
    base.load_state_dict({k: v for k, v in results["weights LinearWithLoRA"].items()}, strict=False)
    return results
