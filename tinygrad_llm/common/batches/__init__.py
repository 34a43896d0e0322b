"""批次：id 怎样切成训练与评估用的数组，第几步取什么由公式算出。

流入：语料的 id；流出：逐步的批次。先读 ``order.py``。
"""

from tinygrad_llm.common.batches.mixture import Mixture, Source, schedule, whole_weights
from tinygrad_llm.common.batches.order import permute
from tinygrad_llm.common.batches.packed import Packed
from tinygrad_llm.common.batches.packing import Plan, plan_rows
from tinygrad_llm.common.batches.preferences import PreferencePair, Preferences
from tinygrad_llm.common.batches.prefetch import Prefetch
from tinygrad_llm.common.batches.store import Split, Store, open_store
from tinygrad_llm.common.batches.stream import IGNORE_INDEX, Batch, Samples, Segments, Shuffled, Stream
from tinygrad_llm.common.batches.supervised import Example, Examples, Padded
from tinygrad_llm.common.batches.tokens import Ids, Tokens
from tinygrad_llm.common.batches.windows import TokenDataset, Windows, encode_corpus, evaluation_batches

__all__ = [
    "IGNORE_INDEX",
    "Batch",
    "Example",
    "Examples",
    "Ids",
    "Mixture",
    "Packed",
    "Padded",
    "Plan",
    "PreferencePair",
    "Preferences",
    "Prefetch",
    "Samples",
    "Segments",
    "Shuffled",
    "Source",
    "Split",
    "Store",
    "Stream",
    "TokenDataset",
    "Tokens",
    "Windows",
    "encode_corpus",
    "evaluation_batches",
    "open_store",
    "permute",
    "plan_rows",
    "schedule",
    "whole_weights",
]
