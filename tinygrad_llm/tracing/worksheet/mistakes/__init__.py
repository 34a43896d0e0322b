"""目录里的各行，一族一个文件；导入这个包就登记好了全部错误。

从 ``chain.py`` 读起：链式法则本身的错；然后是各类算子的，最后是哪里都可能犯的。
"""

from tinygrad_llm.tracing.worksheet.mistakes import (
    anywhere,
    chain,
    elementwise,
    heads,
    products,
    reductions,
    selection,
    sums,
)

__all__ = ["anywhere", "chain", "elementwise", "heads", "products", "reductions", "selection", "sums"]
