"""REINFORCE：从抽到的动作估计期望奖励的梯度，基线减去与否期望不变。

三个动作的策略 ``p = softmax(θ)``，θ = [ln 2, 0, 0]，于是 p = [0.5, 0.25, 0.25]；奖励 r = [1, 0, 4]，
期望 J = Σ p r = 1.5。把三个动作列举一遍，``∂J/∂θ_i = p_i (r_i - J)``，即 [-0.25, -0.375, 0.625]。

通常列举不了，只能抽。抽四次，动作是 [0, 1, 0, 2]，恰好合乎概率；``L = -mean((r - b) ln p[a])``，基线 b 取 J。
每抽到一个动作，θ 就得到 ``-(r - b)(onehot - p) / 4``：比基线好的多选一点，比基线差的少选一点。四份相加正是 -∂J/∂θ；
损失 L 的值本身没有意义，有意义的只是它的梯度。

梯度，以及反传走错时的梯度::

    right                theta = [0.25, 0.375, -0.625]
    naive_recursion      theta = [0.5, 0.75, -1.25]
    no_accumulation      theta = [0, 0, 0]
    no_broadcast_sum     theta = [[0.0625, 0, 0], [0, 0.2812, 0], [0.0625, 0, 0], [0, 0, -0.4688]]
    forgotten_zero_grad  theta = [0.5, 0.75, -1.25]


可以试着：把 b 改成 0，抽得恰好合乎概率时梯度不变；再把四行都改成 [1, 0, 0]，看没有基线的梯度偏得多远。
"""

import tinygrad_llm as tg


def reinforce() -> None:
    """三个动作的 softmax 策略，抽四次；与列举全部动作得到的梯度核对。"""
    theta = tg.tensor([0.6931471805599453, 0.0, 0.0], dtype=tg.float64, requires_grad=True)
    reward = tg.tensor([1.0, 0.0, 4.0], dtype=tg.float64)  # 三个动作各得几分
    chosen = tg.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]], dtype=tg.float64)  # 抽四次，各抽到哪个动作
    baseline = 1.5  # 期望奖励；实际用其余样本的均值来估计

    e = tg.exp(theta)
    p = e / e.sum()
    logp = tg.log(p)
    advantage = (chosen * reward).sum(1) - baseline
    loss = -(advantage * (chosen * logp).sum(1)).mean()
    loss.backward()

    with tg.no_grad():
        expected = (p * reward).sum()
        enumerated = p * (reward - expected)  # 把三个动作都列举一遍
    assert tg.allclose(-theta.grad, enumerated, rtol=0.0, atol=1e-12)
