"""我们的 GPT 与 ``transformers`` 里的 GPT-2、Llama、Qwen3：同样的权重，两个方向，float64。

``families.py`` 写出三家的配置与权重的名字怎样对应；``exact.py`` 让 ``transformers`` 从头到尾用 float64。
"""
