"""与 ``torch.utils`` 同名的小工具。"""

from tinygrad_llm.utils import data

__all__ = ["data"]
