"""从标量开始：手写的 Value 与张量并排求导，用 ``.data`` 手动下降，多项式拟合与逻辑回归。"""
# mypy: ignore-errors

import math
import random

import numpy as np
import torch


def program():
    """标量引擎与张量引擎的梯度相同。"""

    class Value:
        def __init__(self, data, _children=()):
            self.data, self.grad, self._backward, self._prev = data, 0.0, lambda: None, set(_children)

        def __add__(self, other):
            other = other if isinstance(other, Value) else Value(other)
            out = Value(self.data + other.data, (self, other))

            def _backward():
                self.grad += out.grad
                other.grad += out.grad

            out._backward = _backward
            return out

        def __mul__(self, other):
            other = other if isinstance(other, Value) else Value(other)
            out = Value(self.data * other.data, (self, other))

            def _backward():
                self.grad += other.data * out.grad
                other.grad += self.data * out.grad

            out._backward = _backward
            return out

        def tanh(self):
            t = (math.exp(2 * self.data) - 1) / (math.exp(2 * self.data) + 1)
            out = Value(t, (self,))

            def _backward():
                self.grad += (1 - t**2) * out.grad

            out._backward = _backward
            return out

        def backward(self):
            topo, visited = [], set()

            def build_topo(v):
                if v not in visited:
                    visited.add(v)
                    for child in v._prev:
                        build_topo(child)
                    topo.append(v)

            build_topo(self)
            self.grad = 1.0
            for node in reversed(topo):
                node._backward()

    values = [2.0, 0.0, -3.0, 1.0, 6.8813735870195432]
    a, b, c, d, e = (Value(v) for v in values)
    (a * c + b * d + e).tanh().backward()
    x1, x2, w1, w2, bias = (torch.Tensor([v]).double() for v in values)
    for t in (x1, x2, w1, w2, bias):
        t.requires_grad = True
    n = x1 * w1 + x2 * w2 + bias
    o = torch.tanh(n)
    print(o.data.item(), o.item(), n.requires_grad, n.is_leaf, x1.is_leaf)
    o.backward()
    print("---")
    for name, t in {"x2": x2, "w2": w2, "x1": x1, "w1": w1}.items():
        print(name, round(t.grad.item(), 6))
    scalar = [v.grad for v in (a, b, c, d, e)]
    assert np.allclose(scalar, [t.grad.item() for t in (x1, x2, w1, w2, bias)])

    torch.manual_seed(1)
    x = torch.linspace(-math.pi, math.pi, 50)
    y = torch.sin(x)
    coefficients = [torch.randn((), requires_grad=True) for _ in range(4)]
    p0, p1, p2, p3 = coefficients
    losses = []
    for t in range(6):
        y_pred = p0 + p1 * x + p2 * x**2 + p3 * x**3
        loss = (y_pred - y).pow(2).sum()
        if t % 3 == 2:
            print(t, f"{loss.item():.3f}")
        loss.backward()
        with torch.no_grad():
            for p in coefficients:
                p -= 1e-6 * p.grad
                p.grad = None
        losses.append(loss.item())
    print(f"Result: y = {p0.item():.4f} + {p1.item():.4f} x + {p2.item():.4f} x^2 + {p3.item():.4f} x^3")

    random.seed(7)
    points = [[random.uniform(-1, 1), random.uniform(-1, 1)] for _ in range(30)]
    xs = torch.tensor(points)
    ys = torch.tensor([1.0 if px * py > 0 else 0.0 for px, py in points])
    w = torch.randn(2, 8, requires_grad=True)
    b = torch.zeros(8).requires_grad_()
    v = torch.randn(8, 1, requires_grad=True)
    logistic, accuracy = [], []
    for step in range(8):
        hidden = torch.clamp(xs @ w + b, min=0)
        score = hidden.mm(v).squeeze(-1)
        prob = 1 / (1 + torch.exp(-score))
        loss = -(ys * prob.log() + (1 - ys) * (1 - prob).log()).mean() + 1e-3 * sum((p * p).sum() for p in (w, b, v))
        loss.backward()
        learning_rate = 1.0 - 0.9 * step / 8
        for p in (w, b, v):
            p.data -= learning_rate * p.grad.data
            p.grad.zero_()
        logistic.append(float(loss))
        accuracy.append(((prob > 0.5) == ys.bool()).float().mean().item())
    print(f"{100 * accuracy[-1]:.1f}%", w.grad.abs().sum())

    x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = x * 2
    while y.data.norm() < 100:
        y = y * 2
    y.backward(torch.tensor([0.1, 1.0, 0.0001]))
    first = x.grad.clone()
    x.grad.zero_()
    z = (x**3).sum()
    (gx,) = torch.autograd.grad(z, x, create_graph=True)
    gx.pow(2).sum().backward()
    frozen = (x.detach() * x).sum()
    frozen.backward()
    return {
        "scalar": scalar, "losses": losses, "losses logistic": logistic, "accuracy": accuracy, "prob": prob,
        "coefficients": [p.item() for p in coefficients], "weights": [w, b, v], "first": first, "second": x.grad,
        "numeric": torch.autograd.gradcheck(torch.tanh, torch.randn(3, dtype=torch.float64, requires_grad=True)),
    }  # fmt: skip
