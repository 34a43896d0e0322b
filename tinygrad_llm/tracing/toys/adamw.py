"""AdamW 的一步：每个中间量都是一个普通的算子。"""

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
