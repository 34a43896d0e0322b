"""一个神经元的前向与反向：链式法则的每一个因子都打印出来。

流入：w = 2.2，x = 1.1，b = 0，目标 y = 1；流出：各节点的值、局部导数、沿链的乘积，以及三列对照。
运行：``python examples/appendix_a_autograd/main/01_neuron.py``。下一个文件：``02_shared_value.py``。
"""

from __future__ import annotations

import math
import sys
from typing import Any

from three_columns import Numbers, print_comparison

W, X, B = 2.2, 1.1, 0.0


def forward_by_hand() -> Numbers:
    """前向：z = w x + b，a = σ(z)；目标 y = 1 时交叉熵只剩一项 L = -ln a。"""
    z = W * X + B
    a = 1 / (1 + math.exp(-z))
    return {"z": z, "a": a, "L": -math.log(a)}


def local_derivatives(a: float) -> Numbers:
    """每条边的局部导数：只看这一步运算，不管前后是什么。"""
    return {
        "dL/da": -1 / a,  # L = -ln a
        "da/dz": a * (1 - a),  # a = σ(z)，导数用输出表示
        "dz/dw": X,  # z = w x + b
        "dz/dx": W,
        "dz/db": 1.0,
    }


def chain_by_hand(local: Numbers) -> Numbers:
    """沿链相乘：从损失出发，走到谁就得到损失对谁的导数。"""
    dL_dz = local["dL/da"] * local["da/dz"]
    return {
        "dL/dz": dL_dz,
        "dL/dw": dL_dz * local["dz/dw"],
        "dL/dx": dL_dz * local["dz/dx"],
        "dL/db": dL_dz * local["dz/db"],
    }


def by_library(lib: Any) -> Numbers:
    """同样的数交给自动微分；``lib`` 是 tinygrad_llm 或 torch，写法一字不差。"""
    w, x, b = (lib.tensor(value, dtype=lib.float64, requires_grad=True) for value in (W, X, B))
    z = w * x + b
    a = z.sigmoid()
    loss = -a.log()

    def derivative(output: Any, wrt: Any) -> float:
        (found,) = lib.autograd.grad(output, wrt, retain_graph=True)  # 留着图：下面还要从别的节点出发
        return float(found.item())

    numbers = {"z": z.item(), "a": a.item(), "L": loss.item()}
    numbers |= {"dL/da": derivative(loss, a), "da/dz": derivative(a, z)}
    numbers |= {"dz/dw": derivative(z, w), "dz/dx": derivative(z, x), "dz/db": derivative(z, b)}
    numbers["dL/dz"] = derivative(loss, z)
    loss.backward()  # 真正训练时只需要这一句：一趟得到全部叶子的梯度
    return numbers | {"dL/dw": w.grad.item(), "dL/dx": x.grad.item(), "dL/db": b.grad.item()}


def print_chain(values: Numbers, local: Numbers, chain: Numbers) -> None:
    """把链条摊开：左边是因子，右边是走到这里为止的乘积。"""
    print(f"forward   z = {W} * {X} + {B} = {values['z']:.4f}")
    print(f"          a = sigmoid(z) = {values['a']:.4f}")
    print(f"          L = -ln a = {values['L']:.4f}")
    print(f"backward  dL/da = -1/a = {local['dL/da']:.4f}")
    print(f"          da/dz = a(1 - a) = {local['da/dz']:.4f}")
    print(f"          dL/dz = {local['dL/da']:.4f} * {local['da/dz']:.4f} = {chain['dL/dz']:.4f}")
    for name in ("w", "x", "b"):
        print(f"          dL/d{name} = {chain['dL/dz']:.4f} * {local[f'dz/d{name}']:.1f} = {chain[f'dL/d{name}']:.4f}")
    print()


def main() -> int:
    """打印链条与对照表；三列相符时返回 0。"""
    values = forward_by_hand()
    local = local_derivatives(values["a"])
    chain = chain_by_hand(local)
    print_chain(values, local, chain)
    return print_comparison({**values, **local, **chain}, by_library)


if __name__ == "__main__":
    sys.exit(main())
