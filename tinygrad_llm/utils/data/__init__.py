"""数据集与加载器：与 ``torch.utils.data`` 同名同义，打乱的次序也与 torch 相同。

流入：数据集；流出：一批批样本。阅读次序：``dataset`` → ``sampler`` → ``collate`` → ``dataloader``。
"""

from tinygrad_llm.absent import attributes
from tinygrad_llm.utils.data.collate import default_collate, default_convert
from tinygrad_llm.utils.data.dataloader import DataLoader
from tinygrad_llm.utils.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)  # fmt: skip
from tinygrad_llm.utils.data.distributed import DistributedSampler
from tinygrad_llm.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)  # fmt: skip
from tinygrad_llm.utils.data.worker import get_worker_info

__getattr__ = attributes(__name__)

__all__ = [
    "BatchSampler", "ChainDataset", "ConcatDataset", "DataLoader", "Dataset", "DistributedSampler", "IterableDataset",
    "RandomSampler", "Sampler", "SequentialSampler", "StackDataset", "Subset", "SubsetRandomSampler", "TensorDataset",
    "WeightedRandomSampler", "default_collate", "default_convert", "get_worker_info", "random_split",
]  # fmt: skip
