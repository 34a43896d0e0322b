"""量化：权重存成 8 位或 4 位的整数，两个引擎读同样的文件。

流入：训练好的权重；流出：小几倍的运行文件夹。
先读 ``packing.py`` 与 ``rounding.py``，再看校准舍入的 ``gptq.py`` 与 ``awq.py``。
"""

from .rounding import Packed, dequantize, quantize
from .scheme import GROUPS, Format, Scheme
from .storage import STATE_KEY, dequantized, join, matrices, quantize_tensors, split

__all__ = [
    "GROUPS",
    "STATE_KEY",
    "Format",
    "Packed",
    "Scheme",
    "dequantize",
    "dequantized",
    "join",
    "matrices",
    "quantize",
    "quantize_tensors",
    "split",
]
