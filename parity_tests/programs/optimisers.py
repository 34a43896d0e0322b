"""自己写的优化器：Muon、Lion、SGD 的子类，参数组、闭包、学习率调度的组合，状态的存取。"""
# mypy: ignore-errors
# ruff: noqa: C408, SIM300

import copy
import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, LRScheduler, SequentialLR


def zeropower_via_newtonschulz5(G, steps=5, eps=1e-7):
    """牛顿–舒尔茨迭代，把矩阵推向正交。"""
    assert len(G.shape) == 2
    a, b, c = (3.4445, -4.7750, 2.0315)
    X = G / (G.norm() + eps)
    if G.size(0) > G.size(1):
        X = X.T
    for _ in range(steps):
        A = X @ X.T
        B = b * A + c * A @ A
        X = a * X + B @ X
    if G.size(0) > G.size(1):
        X = X.T
    return X.type_as(G)


class Muon(Optimizer):
    """矩阵用正交化的动量。"""

    def __init__(self, params, lr=0.02, momentum=0.95, nesterov=True):
        defaults = dict(lr=lr, momentum=momentum, nesterov=nesterov)
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure=None):
        """走一步。"""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                g = p.grad
                if g is None:
                    continue
                state = self.state[p]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(g)
                buf = state["momentum_buffer"]
                buf.lerp_(g, 1 - group["momentum"])
                g = g.lerp_(buf, group["momentum"]) if group["nesterov"] else buf
                g = zeropower_via_newtonschulz5(g)
                g *= max(1, g.size(0) / g.size(1)) ** 0.5
                p.data.add_(g, alpha=-group["lr"])
        return loss


class Lion(torch.optim.Optimizer):
    """只看动量的符号。"""

    def __init__(self, params, lr: float = 1e-4, betas=(0.9, 0.99), weight_decay: float = 0.0):
        if not 0.0 <= lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """走一步。"""
        for group in self.param_groups:
            for p in filter(lambda p: p.grad is not None, group["params"]):
                grad, lr, wd, (beta1, beta2), state = (
                    p.grad,
                    group["lr"],
                    group["weight_decay"],
                    group["betas"],
                    self.state[p],
                )
                if len(state) == 0:
                    state["exp_avg"] = torch.zeros_like(p)
                exp_avg = state["exp_avg"]
                p.data.mul_(1 - lr * wd)
                update = exp_avg.clone().mul_(beta1).add(grad, alpha=1 - beta1).sign_()
                p.add_(update, alpha=-lr)
                exp_avg.mul_(beta2).add_(grad, alpha=1 - beta2)


class HandAdam(Optimizer):
    """照论文写的 Adam。"""

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps))

    def step(self):
        """走一步。"""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                grad = p.grad.data
                state = self.state[p]
                if not state:
                    state["step"] = 0
                    state["m"], state["v"] = torch.zeros_like(p.data), torch.zeros_like(p.data)
                m, v = state["m"], state["v"]
                beta1, beta2 = group["betas"]
                state["step"] += 1
                m.mul_(beta1).add_(grad, alpha=1 - beta1)
                v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
                denom = v.sqrt().add_(group["eps"])
                bias_correction1, bias_correction2 = 1 - beta1 ** state["step"], 1 - beta2 ** state["step"]
                step_size = group["lr"] * math.sqrt(bias_correction2) / bias_correction1
                p.data.addcdiv_(m, denom, value=-step_size)


class Noam(LRScheduler):
    """先升后按根号降。"""

    def __init__(self, optimizer, warmup, last_epoch=-1):
        self.warmup = warmup
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        """各组的学习率。"""
        step = max(1, self.last_epoch)
        return [base * min(step**-0.5, step * self.warmup**-1.5) for base in self.base_lrs]


def program():
    """每个优化器训练同一个小网络。"""

    def make():
        torch.manual_seed(2)
        net = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 10, bias=False), nn.ReLU(), nn.Linear(10, 5))
        return net, torch.randn(12, 6), torch.randint(0, 5, (12,))

    def train(build, steps=4, closure=False, schedule=None):
        net, x, y = make()
        optimizer = build(net)
        scheduler = schedule(optimizer) if schedule else None
        losses, rates = [], []

        def compute():
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            return loss

        for _ in range(steps):
            if closure:
                loss = optimizer.step(compute)
            else:
                loss = compute()
                optimizer.step()
            if scheduler is not None:
                scheduler.step()
            losses.append(loss.item())
            rates.append([group["lr"] for group in optimizer.param_groups])
        return losses, rates, net.state_dict(), optimizer

    split = lambda net, decay: [
        {"params": [p for p in net.parameters() if p.ndim >= 2], "weight_decay": decay},
        {"params": [p for p in net.parameters() if p.ndim < 2], "weight_decay": 0.0, "lr": 1e-2},
    ]
    warm = lambda o: SequentialLR(
        o, [LinearLR(o, start_factor=0.1, total_iters=2), CosineAnnealingLR(o, T_max=4)], milestones=[2]
    )
    optim = torch.optim
    runs = {
        "muon": train(lambda n: Muon([p for p in n.parameters() if p.ndim == 2], lr=0.02), closure=True),
        "lion": train(lambda n: Lion(split(n, 0.1), lr=3e-3)),
        "adam by hand": train(lambda n: HandAdam(n.parameters(), lr=1e-2)),
        "adam": train(lambda n: optim.Adam(n.parameters(), lr=1e-2)),
        "adamw groups": train(lambda n: optim.AdamW(split(n, 0.1), lr=3e-3, foreach=False), schedule=warm),
        "adamw": train(lambda n: optim.AdamW(n.parameters(), lr=5e-3, maximize=False, amsgrad=True)),
        "sgd": train(lambda n: optim.SGD(n.parameters(), 0.1, 0.9, weight_decay=1e-2, nesterov=True)),
        "noam": train(lambda n: optim.SGD(n.parameters(), lr=0.5), schedule=lambda o: Noam(o, 2)),
        "lambda": train(
            lambda n: optim.NAdam(split(n, 0.0), lr=1e-2),
            schedule=lambda o: LambdaLR(o, lr_lambda=[lambda e: 0.9**e, lambda e: 1 / (1 + e)]),
        ),
        "lbfgs": train(lambda n: optim.LBFGS(n.parameters(), lr=0.5, max_iter=4), steps=2, closure=True),
        "adagrad": train(lambda n: optim.Adagrad(n.parameters(), lr=0.05)),
        "adafactor": train(lambda n: optim.Adafactor(n.parameters(), lr=0.01)),
        "rmsprop": train(lambda n: optim.RMSprop(n.parameters(), lr=3e-3, centered=True)),
        "built-in muon": train(lambda n: optim.Muon([p for p in n.parameters() if p.ndim == 2], lr=0.02)),
    }
    results = {}
    for name, (losses, rates, weights, _) in runs.items():
        results[f"losses {name}"], results[f"rates {name}"], results[f"weights {name}"] = losses, rates, weights
    optimizer = runs["adamw groups"][3]
    print(optimizer)
    print(runs["muon"][3])
    state = optimizer.state_dict()
    print(state["param_groups"][1]["lr"], list(state["state"][0]), state["state"][0]["step"], len(optimizer.state))
    results["state"] = copy.deepcopy(state)  # torch 装入时不复制，两个优化器会共用同一份动量
    optimizer.add_param_group({"params": nn.Parameter(torch.ones(2))})
    print(len(optimizer.param_groups), optimizer.param_groups[2]["weight_decay"], optimizer.defaults["lr"])
    net, x, y = make()
    resumed = torch.optim.AdamW(split(net, 0.1), lr=3e-3)
    resumed.load_state_dict(state)
    F.cross_entropy(net(x), y).backward()
    resumed.step()
    results["resumed"] = net.state_dict()
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(resumed, "min", factor=0.5, patience=1)
    for value in (1.0, 0.9, 0.95, 0.95, 0.95):
        plateau.step(value)
    results["plateau"] = [g["lr"] for g in resumed.param_groups]
    for group in resumed.param_groups:
        for p in group["params"]:
            assert p.grad is not None
    return results
