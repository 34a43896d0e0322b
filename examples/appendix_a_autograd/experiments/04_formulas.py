"""softmax、交叉熵与 LayerNorm：推导出来的公式，对照自动微分给出的梯度。

流入：一行 logits、一行激活；流出：各步的数，以及公式与引擎的最大差。
运行：``python examples/appendix_a_autograd/experiments/04_formulas.py``。
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import tinygrad_llm as tg
from tinygrad_llm.nn import functional as F
from tinygrad_llm.ops.op import Array

TOLERANCE = 1e-12


def row(name: str, values: Any) -> None:
    """打印一行数。"""
    print(f"{name:22} " + " ".join(f"{value:8.4f}" for value in np.atleast_1d(values)))


def check(name: str, formula: Array, engine: Any) -> bool:
    """打印公式的值，并与引擎比较。"""
    agrees = bool(np.abs(formula - engine.numpy()).max() < TOLERANCE)
    row(name, formula)
    print(f"{'':22} engine agrees: {agrees}")
    return agrees


def softmax_and_cross_entropy() -> bool:
    """一行 logits，目标是第 0 类。"""
    x, target = np.array([[2.0, 1.0, 0.1]]), 0
    e = np.exp(x - x.max())
    p = e / e.sum()
    onehot = np.eye(3)[[target]]
    leaf = tg.tensor(x, requires_grad=True)
    row("logits x", x[0])
    row("softmax p", p[0])
    row("loss -ln p[target]", -np.log(p[0, target]))
    (engine,) = tg.autograd.grad(F.cross_entropy(leaf, tg.tensor([target])), leaf)
    agrees = check("p - onehot", (p - onehot)[0], engine[0])
    row("sum of the gradient", abs((p - onehot).sum().round(12)))  # 取绝对值，免得印出 -0

    g = np.array([[1.0, 2.0, 3.0]])
    (engine,) = tg.autograd.grad(F.softmax(leaf, -1), leaf, tg.tensor(g))
    jacobian = np.diag(p[0]) - np.outer(p[0], p[0])
    print("\nJacobian diag(p) - p pT")
    for i, line in enumerate(jacobian):
        row(f"  row {i}", line)
    return check("VJP p (g - g.p)", (p * (g - (g * p).sum()))[0], engine[0]) and agrees


def overflow() -> None:
    """logits 到了 1000：先取 exp 会上溢，先减最大值不会。"""
    x = np.array([1000.0, 999.0, 998.1])
    with np.errstate(over="ignore", invalid="ignore"):
        row("\nexp(x) / sum", np.exp(x) / np.exp(x).sum())
    row("minus the maximum", np.exp(x - x.max()) / np.exp(x - x.max()).sum())


def one_row_normalised() -> bool:
    """一行激活，w 与 g 取整齐的数；``eps`` 取 0，便于看清两条正交关系。"""
    x, w, g = np.array([1.0, 2.0, 4.0, 5.0]), np.array([1.0, 0.5, 2.0, 1.0]), np.array([0.3, -0.2, 0.5, 0.1])
    mu, sigma = x.mean(), x.std()
    xhat, u = (x - mu) / sigma, g * w
    dx = (u - u.mean() - xhat * (u * xhat).mean()) / sigma
    print()
    row("mean, sigma", [mu, sigma])
    row("xhat", xhat)
    row("u = g * w", u)
    row("mean(u), mean(u*xhat)", [u.mean(), (u * xhat).mean()])
    leaf = tg.tensor(x, requires_grad=True)
    y = F.layer_norm(leaf, (4,), tg.tensor(w), eps=0.0)
    (engine,) = tg.autograd.grad(y, leaf, tg.tensor(g))
    agrees = check("dx", dx, engine)
    orthogonal = max(abs(dx.sum()), abs((dx * xhat).sum())) < TOLERANCE
    print(f"dx is orthogonal to 1 and to xhat: {orthogonal}")
    return agrees and orthogonal


def main() -> int:
    """全部相符时返回 0。"""
    agrees = softmax_and_cross_entropy()
    overflow()
    return 0 if one_row_normalised() and agrees else 1


if __name__ == "__main__":
    sys.exit(main())
