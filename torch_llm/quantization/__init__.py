"""torch 上的量化：快的内核、校准、量化感知训练与命令。

流入：``tinygrad_llm/common/quantization`` 的 ``Packed``；流出：同一个 ``GPT``，只是各线性层的权重是整数。
先读 ``weight.py``。
"""
