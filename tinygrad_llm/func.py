"""与 ``torch.func`` 同一路径：以给定的参数调用 Module。

流入：Module 与参数；流出：前向的结果。求导的变换（``grad``、``vmap`` 等）没有，用 ``autograd.grad``。
"""

from tinygrad_llm.absent import attributes
from tinygrad_llm.nn.utils.stateless import functional_call

__getattr__ = attributes(__name__)

__all__ = ["functional_call"]
