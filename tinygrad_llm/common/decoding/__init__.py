"""解码：模型给出一行行 logits，这里决定写出什么；两个引擎共用，谁也不认识。

流入：下一个 token 的 logits；流出：token 与可以显示的文字。依次读 ``request.py``（要什么）、``sampling.py``
（怎样挑一个）、``penalties.py``（挑之前怎样改分数）、``text.py``（token 怎样变成文字）、``generation.py``
（一个序列的进行中状态）、``single.py``（一个序列从头走到尾）、``beam.py``（找概率最大的文字）、
``grammar/``（只写合格式的文字）。
"""
