"""写测试用的工具，与 ``torch.testing`` 同名：``assert_close`` 与 ``make_tensor``。"""

from tinygrad_llm.absent import attributes
from tinygrad_llm.testing.comparison import assert_allclose, assert_close
from tinygrad_llm.testing.creation import make_tensor

__getattr__ = attributes(__name__)

__all__ = ["assert_allclose", "assert_close", "make_tensor"]
