"""练习：补完六个函数，再用 ``grade.py`` 判分。

流入：NumPy 数组（float64）与 Python 数；流出：每个函数的返回值。答案在 ``solution.py``，请先自己做。
判分：``python examples/appendix_a_autograd/exercises/grade.py``；也可以另存一份，把文件名写在命令后面。
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinygrad_llm.ops.op import Array


def softmax_vjp(g: Array, y: Array) -> Array:
    """练习 1（10 分）：``y = softmax(x)``，沿最后一轴。

    Args:
        g: 损失对 ``y`` 的梯度，``(N, C)``。
        y: softmax 的输出，``(N, C)``。

    Returns:
        损失对 ``x`` 的梯度，``(N, C)``。
    """
    raise NotImplementedError


def cross_entropy_vjp(logits: Array, target: Array) -> Array:
    """练习 2（10 分）：平均交叉熵 ``L = (1/N) Σₙ (ln Σⱼ eˣⁿʲ - x[n, target[n]])``。

    Args:
        logits: ``(N, C)``；数值可能大到上千，注意上溢。
        target: 整数类别，``(N,)``。

    Returns:
        损失对 ``logits`` 的梯度，``(N, C)``。
    """
    raise NotImplementedError


def matmul_vjp(g: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """练习 3（20 分）：``y = a @ b``，最后两轴相乘，前面的轴按 NumPy 规则广播。

    Args:
        g: 损失对 ``y`` 的梯度，``(..., n, m)``。
        a: ``(..., n, k)``。
        b: ``(..., k, m)``；前面的轴可以比 ``a`` 少，也可以是 1。

    Returns:
        损失对 ``a`` 与对 ``b`` 的梯度，形状分别与 ``a``、``b`` 相同。
    """
    raise NotImplementedError


def layer_norm_vjp(g: Array, x: Array, weight: Array, eps: float) -> tuple[Array, Array, Array]:
    """练习 4（20 分）：``y = (x - μ)/√(σ² + eps) ⊙ weight + bias``，μ 与 σ² 沿最后一轴，σ² 除以 D。

    Args:
        g: 损失对 ``y`` 的梯度，``(N, D)``。
        x: ``(N, D)``。
        weight: ``(D,)``。
        eps: 加在方差上的小数。

    Returns:
        损失对 ``x``、``weight``、``bias`` 的梯度，形状为 ``(N, D)``、``(D,)``、``(D,)``。
    """
    raise NotImplementedError


def backpropagate(output: str, inputs: Mapping[str, Sequence[tuple[str, float]]]) -> dict[str, float]:
    """练习 5（20 分）：在一张标量图上做反向传播。

    图里有几万个节点时也要在一秒左右算完，且不能递归。

    Args:
        output: 输出节点的名字。
        inputs: 节点名 → 它的各个输入 ``(名字, 局部导数)``；叶子对应空列表。同一个输入可以出现两次（如 ``x * x``），
            字典的次序不代表任何拓扑序，图里也可能有与 ``output`` 无关的节点。

    Returns:
        ``output`` 对每个有关节点的导数，含 ``output`` 自己（为 1）。
    """
    raise NotImplementedError


def adamw_step(
    theta: Array,
    g: Array,
    m: Array,
    v: Array,
    t: int,
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> tuple[Array, Array, Array]:
    """练习 6（20 分）：AdamW 的一步（公式见 ``tinygrad_llm/optim/adamw.py`` 的模块文档）。

    Args:
        theta: 参数。
        g: 梯度，与 ``theta`` 同形状。
        m: 一阶矩，初值为 0。
        v: 二阶矩，初值为 0。
        t: 第几步，从 1 开始。
        lr: 学习率。
        betas: 两个矩的衰减率。
        eps: 分母里的小数。
        weight_decay: 解耦的权重衰减系数。

    Returns:
        更新后的 ``theta``、``m``、``v``。
    """
    raise NotImplementedError
