"""批次：id 怎样切成训练与评估用的数组，第几步取什么由公式算出。

流入：语料的 id；流出：逐步的批次。先读 ``windows.py``。
"""

from tinygrad_llm.common.batches.windows import (
    IGNORE_INDEX,
    Batch,
    Ids,
    TokenDataset,
    encode_corpus,
    evaluation_batches,
    permute,
)

__all__ = ["IGNORE_INDEX", "Batch", "Ids", "TokenDataset", "encode_corpus", "evaluation_batches", "permute"]
