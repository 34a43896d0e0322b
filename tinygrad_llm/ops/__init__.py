"""第 0 层：纯数组上的公式与导数，不认识 Tensor。

``REGISTRY`` 收着已经加载的算子，用到哪个文件才加载哪个；每个算子的求导表就写在它的装饰器里。阅读次序：
``op`` → ``elementwise`` → ``shape`` → ``scan`` → ``reduce`` → ``linear`` → ``activation`` → ``norm`` → ``attention``
→ ``loss``。
"""

from tinygrad_llm.ops.op import REGISTRY, Array, Op, op

__all__ = ["REGISTRY", "Array", "Op", "op"]
