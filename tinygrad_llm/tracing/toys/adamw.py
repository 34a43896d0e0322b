"""AdamW 的一步：每个中间量都是一个普通的算子，最后与库里的优化器核对。

两个参数，``L = Σ c p²``，p = [1, -2]，c = [0.01, 10]：梯度 g = [0.02, -40]，大小相差两千倍；L = 40.01。

一阶矩 m 是 g 的滑动平均，二阶矩 v 是 g² 的。它们从 0 开始，第一步只有 0.1 g 与 0.001 g²，偏小；除以 1 - βᵗ 正好补回来：
m_hat = g，v_hat = g²。于是更新 ``m_hat / (√v_hat + ε)`` = [1, -1]：只剩下符号，与梯度的大小无关。
权重衰减另外乘在参数上，不经过 m 与 v，这就是 AdamW 的 W。结果 p_new = [0.899, -1.898]，两个参数都走了约 lr = 0.1。

梯度，以及反传走错时的梯度::

    right                p = [0.02, -40]
    no_accumulation      p = [0.01, -20]
    forgotten_zero_grad  p = [0.04, -80]

梯度错了一倍，第一步的更新却还是 [1, -1]：优化器会掩盖反传的错，光看损失在降是不够的。

可以试着：把 m_old、v_old 改成上一步留下的矩，step 改成 2；把 eps 改成 0.02，看小梯度的那个参数走得慢了。
"""

import tinygrad_llm as tg


def adamw() -> None:
    """两个参数，梯度相差两千倍；第一步移动的距离却几乎相同。"""
    lr, beta1, beta2, eps, weight_decay = 0.1, 0.9, 0.999, 1e-8, 0.01
    step = 1  # 第几步，从 1 数起
    p = tg.tensor([1.0, -2.0], dtype=tg.float64, requires_grad=True)
    c = tg.tensor([0.01, 10.0], dtype=tg.float64)
    m_old = tg.tensor([0.0, 0.0], dtype=tg.float64)  # 上一步留下的一阶矩；第一步之前是 0
    v_old = tg.tensor([0.0, 0.0], dtype=tg.float64)  # 二阶矩

    loss = (c * p * p).sum()
    loss.backward()

    with tg.no_grad():
        g = p.grad
        m = beta1 * m_old + (1 - beta1) * g
        v = beta2 * v_old + (1 - beta2) * (g * g)
        m_hat = m / (1 - beta1**step)
        v_hat = v / (1 - beta2**step)
        update = m_hat / (tg.sqrt(v_hat) + eps)
        decay = weight_decay * p
        p_new = p - lr * decay - lr * update

    optimizer = tg.optim.AdamW([p], lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=weight_decay)
    optimizer.state[p] = {"step": tg.tensor(step - 1.0), "exp_avg": m_old, "exp_avg_sq": v_old}
    optimizer.step()  # 库里的优化器走同一步：此后 p 就是 p_new
    assert tg.allclose(p, p_new, rtol=0.0, atol=1e-12)
