"""评测：训练中量验证损失，训练后量困惑度、选择题、作答、裁判、校准与泄题，写成成绩单。

流入：引擎、文本与题目；流出：带区间的成绩。``validation.py`` 是训练循环用的一遍评估，其余按这个次序读：
``likelihood.py``（一批序列逐 token 的对数概率，两个引擎各有一份）、``texts.py`` 与 ``sources.py``（困惑度与每字节的
比特，文本从哪里来）、``items.py`` 与 ``stories.py``（题从哪里来）、``prompts.py``（题怎样写成 id）、``choosing.py``
（选择题）、``rules.py`` 与 ``answering.py``（自由作答、pass@k、写程序）、``judging.py``（模型当裁判）、
``contamination.py``（考题漏进训练数据了吗）、``results.py`` 与 ``storage.py``（成绩收成 JSON，存起来）、
``pairing.py``（两次成绩逐题相比）、``card.py``（成绩单）、``settings.py`` 与 ``command.py``（``evaluate`` 命令）。
"""
