"""菱形：一个值用了两次，为什么要相加，又为什么要等收齐了再走。

``y = s u``，其中 ``s = x²``，``u = s + 1``。s 直接用在 y 里，又经由 u 用了一次；x 取 1.5。

y 先分给 s 一份 u = 3.25，分给 u 一份 s = 2.25；u 再把 2.25 原样交给 s。s 的两份加起来是 5.5，乘 2x 得 ∂y/∂x = 16.5。
引擎总是先走创建得最晚的节点，所以 u 走在 s 前面：轮到 s 时，两份都到了。

梯度，以及反传走错时的梯度::

    right                x = 16.5
    naive_recursion      x = 26.25
    no_accumulation      x = 3.375
    forgotten_zero_grad  x = 33
    wrong_order          x = 9.75

每个错数都说得出来历：26.25 是 3.25 传了两遍，9.75 + 16.5；3.375 是 s 只剩下 2.25，x 又只剩下 x·x 的后一份；
9.75 是 s 只收到 3.25 就走了。

可以试着：把最后一行写成 ``y = u * s``，看哪些走法的结果会变；再加一个用到 s 的节点。
"""

import tinygrad_llm as tg


def diamond() -> None:
    """``y = s u``，其中 ``s = x²``，``u = s + 1``：s 用了两次，x 也用了两次。"""
    x = tg.tensor(1.5, dtype=tg.float64, requires_grad=True)

    s = x * x
    u = s + 1.0
    y = s * u
    y.backward()
