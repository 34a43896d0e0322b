"""第 0 层：纯数组上的公式与导数，不认识 Tensor。

``REGISTRY`` 收着已经加载的算子，用到哪个文件才加载哪个；每个算子的求导表就写在它的装饰器里。阅读次序：
``op`` → ``elementwise`` → ``shape`` → ``scan`` → ``reduce`` → ``linear`` → ``activation`` → ``norm`` → ``attention``
→ ``loss``。
"""

import warnings

from tinygrad_llm.ops.op import REGISTRY, Array, Op, op

# 上溢、inf - inf 之类，NumPy 会警告而 torch 不会；逐个算子设 errstate 比算子本身还贵
warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"tinygrad_llm\.")

__all__ = ["REGISTRY", "Array", "Op", "op"]
