"""2-2-1 网络：用矩阵写出前向与反向，再与自动微分逐个元素对照。

流入：四个样本（异或）与一组固定的权重；流出：每个权重的梯度，三列对照。
运行：``python examples/appendix_a_autograd/main/03_two_layer.py``。下一站：``../experiments/``。
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from three_columns import Numbers, print_comparison

from tinygrad_llm.ops.op import Array

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])  # (N, 2)
T = np.array([[0.0], [1.0], [1.0], [0.0]])  # (N, 1)
PARAMETERS = {
    "W1": np.array([[0.5, -0.3], [0.8, 0.2]]),  # (2 个隐藏单元, 2 个输入)，与 nn.Linear 的摆法相同
    "b1": np.array([0.1, -0.1]),
    "W2": np.array([[0.7, -0.6]]),  # (1 个输出, 2 个隐藏单元)
    "b2": np.array([0.2]),
}


def by_hand() -> Numbers:
    """前向三行、反向六行；每行右边写着形状，形状对得上的写法往往只有一种。"""
    W1, b1, W2, b2 = PARAMETERS.values()
    H = np.tanh(X @ W1.T + b1)  # (N, 2)，b1 广播到每一行
    Y = H @ W2.T + b2  # (N, 1)
    loss = np.mean((Y - T) ** 2)

    dY = 2 * (Y - T) / len(X)  # (N, 1)  均值对每个样本的导数是 1/N
    dW2 = dY.T @ H  # (1, 2) = (1, N)(N, 2)  gᵀ x
    db2 = dY.sum(axis=0)  # (1,)  广播的反向：对样本求和
    dH = dY @ W2  # (N, 2) = (N, 1)(1, 2)  g W
    dZ = dH * (1 - H**2)  # (N, 2)  tanh 的导数用输出表示
    dW1 = dZ.T @ X  # (2, 2) = (2, N)(N, 2)  gᵀ x
    db1 = dZ.sum(axis=0)  # (2,)
    return {"loss": float(loss)} | named({"W1": dW1, "b1": db1, "W2": dW2, "b2": db2})


def by_library(lib: Any) -> Numbers:
    """同一个网络；没有一行反向的代码。"""
    W1, b1, W2, b2 = (lib.tensor(value, requires_grad=True) for value in PARAMETERS.values())
    H = lib.nn.functional.linear(lib.tensor(X), W1, b1).tanh()
    Y = lib.nn.functional.linear(H, W2, b2)
    loss = lib.nn.functional.mse_loss(Y, lib.tensor(T))
    loss.backward()
    grads = {name: p.grad.numpy() for name, p in zip(PARAMETERS, (W1, b1, W2, b2), strict=True)}
    return {"loss": loss.item()} | named(grads)


def named(grads: dict[str, Array]) -> Numbers:
    """把各个数组摊成「名字[下标] → 数」。"""
    return {
        f"d{name}[{','.join(map(str, index))}]": float(value)
        for name, grad in grads.items()
        for index, value in np.ndenumerate(grad)
    }


def main() -> int:
    """打印三列对照；全部相符时返回 0。"""
    return print_comparison(by_hand(), by_library)


if __name__ == "__main__":
    sys.exit(main())
