"""torch_llm：同一个 GPT 的 PyTorch 版，用于真正的训练与服务。

本文件不导入 torch：命令行的 ``--help`` 因此立即可答。
阅读次序：``gpt.py`` → ``runtime.py`` → ``loop.py`` → ``pretrain.py``。
"""
