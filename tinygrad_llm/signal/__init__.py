"""``torch.signal``：只有窗函数，在 ``windows`` 里。"""

from tinygrad_llm.absent import attributes
from tinygrad_llm.signal import windows

__getattr__ = attributes(__name__)

__all__ = ["windows"]
