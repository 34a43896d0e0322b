"""强化学习：题目与奖励（``problems.py``、``rewards.py``）、采样（``rollouts.py``）、设置与开训（``settings.py``、``session.py``）。

流入：训练好的运行与可以核对的题目；流出：``rl`` 这个动词。损失在两边的 ``objectives_policy.py``。
"""
