"""证明：同一个 GPT 在 NumPy 与 PyTorch 两个引擎上，输出、梯度与训练过程彼此一致。

流入：``tinygrad_llm`` 与 ``torch_llm`` 两个包；流出：通过或失败，失败时给出可重放的最小例子。
测试的公共设定在 ``conftest.py``；仓库自身的规矩由 ``house/`` 检查。
"""
