"""与 ``torch.utils`` 同名的小工具。"""

from tinygrad_llm.absent import attributes
from tinygrad_llm.utils import data

__getattr__ = attributes(
    __name__, ("_foreach_utils", "_pytree", "benchmark", "checkpoint", "cpp_extension", "dlpack", "tensorboard")
)

__all__ = ["data"]
