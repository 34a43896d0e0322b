"""数据集与加载器：与 ``torch.utils.data`` 同名同义，打乱的次序也与 torch 相同。

流入：数据集；流出：一批批样本。加载在当前进程里完成，``num_workers`` 之类的并行设置不改变结果。
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_llm.creation import as_tensor, randint, randperm, stack, tensor
from tinygrad_llm.random import Generator, default_generator
from tinygrad_llm.tensor import Tensor


class Dataset:
    """按下标取样本的数据集：子类写 ``__getitem__`` 与 ``__len__``。"""

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset):
    """只能依次取的数据集：子类写 ``__iter__``。"""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError("Subclasses of IterableDataset should implement __iter__.")


class TensorDataset(Dataset):
    """几个首轴等长的 Tensor 并排。

    Args:
        *tensors: Tensor。

    Raises:
        AssertionError: 首轴不等长。
    """

    def __init__(self, *tensors: Tensor) -> None:
        if any(len(t) != len(tensors[0]) for t in tensors):
            raise AssertionError("Size mismatch between tensors")
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return len(self.tensors[0])


class ConcatDataset(Dataset):
    """几个数据集首尾相接。"""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        self.cumulative_sizes = list(itertools.accumulate(len(d) for d in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        at = range(len(self))[index]
        which = bisect.bisect_right(self.cumulative_sizes, at)
        return self.datasets[which][at - (self.cumulative_sizes[which - 1] if which else 0)]


class Subset(Dataset):
    """数据集里的若干个样本。"""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


def random_split(dataset: Any, lengths: Sequence[float], generator: Generator | None = None) -> list[Subset]:
    """随机切成几份；``lengths`` 可以是个数，也可以是加起来为 1 的比例。

    Raises:
        ValueError: 个数加起来不等于数据集的大小。
    """
    total = len(dataset)
    if math.isclose(sum(lengths), 1) and sum(lengths) <= 1:
        counts = [math.floor(total * share) for share in lengths]
        for i in range(total - sum(counts)):
            counts[i % len(counts)] += 1
    else:
        counts = [int(n) for n in lengths]
    if sum(counts) != total:
        raise ValueError("Sum of input lengths does not equal the length of the input dataset!")
    order = randperm(total, generator=generator).tolist()
    ends = list(itertools.accumulate(counts))
    return [Subset(dataset, order[end - n : end]) for end, n in zip(ends, counts, strict=True)]


class Sampler:
    """下标的次序：子类写 ``__iter__`` 与 ``__len__``。"""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError("Subclasses of Sampler should implement __iter__.")


class SequentialSampler(Sampler):
    """从头到尾。"""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """打乱的次序；可以放回、可以指定个数。

    Args:
        data_source: 数据集。
        replacement: 是否放回。
        num_samples: 抽多少个；缺省为数据集的大小。
        generator: 生成器。
    """

    def __init__(
        self,
        data_source: Any,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source, self.replacement, self._num_samples = data_source, replacement, num_samples
        self.generator = generator

    @property
    def num_samples(self) -> int:
        """抽多少个。"""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n = len(self.data_source)
        source = self.generator or Generator().manual_seed(draw_seed(None))
        if self.replacement:
            for _ in range(self.num_samples // 32):
                yield from randint(0, n, (32,), generator=source).tolist()
            yield from randint(0, n, (self.num_samples % 32,), generator=source).tolist()
            return
        for _ in range(self.num_samples // n):
            yield from randperm(n, generator=source).tolist()
        yield from randperm(n, generator=source).tolist()[: self.num_samples % n]

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """在给定的下标里打乱。"""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        yield from (self.indices[i] for i in randperm(len(self.indices), generator=self.generator).tolist())

    def __len__(self) -> int:
        return len(self.indices)


class BatchSampler(Sampler):
    """把下标攒成一批批。"""

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool) -> None:
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for index in self.sampler:
            batch.append(index)
            if len(batch) == self.batch_size:
                yield batch
                batch = []
        if batch and not self.drop_last:
            yield batch

    def __len__(self) -> int:
        n = len(self.sampler)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


def draw_seed(generator: Generator | None) -> int:
    """抽一个 63 位的种子，与 torch 的 ``empty((), dtype=int64).random_()`` 相同。"""
    return int((generator or default_generator).words64(1)[0] & np.uint64((1 << 63) - 1))


def default_collate(batch: Sequence[Any]) -> Any:
    """把一批样本叠起来：Tensor 与数组叠一根新轴，数变成 Tensor，元组、列表与字典逐项处理。

    Raises:
        TypeError: 样本是别的类型。
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return stack(list(batch), 0)
    if isinstance(first, (np.ndarray, np.generic)):
        return as_tensor(np.stack(list(batch)))
    if isinstance(first, (bool, int)):
        return tensor(list(batch))
    if isinstance(first, float):
        return tensor(np.array(batch))
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(default_collate(column) for column in zip(*batch, strict=True)))
    if isinstance(first, Sequence):
        if any(len(sample) != len(first) for sample in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return [default_collate(column) for column in zip(*batch, strict=True)]
    raise TypeError(f"default_collate: batch must contain tensors, numbers, dicts or lists; found {type(first)}")


class DataLoader:
    """一批批地取样本。

    Args:
        dataset: 数据集。
        batch_size: 每批几个；``None`` 表示不攒批。
        shuffle: 是否打乱。
        sampler: 自定义次序。
        batch_sampler: 自定义分批。
        num_workers: 与 torch 同名；总在当前进程里加载。
        collate_fn: 把一批样本叠起来的函数。
        pin_memory: 与 torch 同名；CPU 上没有作用。
        drop_last: 丢掉末尾不满的一批。
        timeout: 与 torch 同名。
        worker_init_fn: 与 torch 同名。
        generator: 打乱用的生成器。
        prefetch_factor: 与 torch 同名。
        persistent_workers: 与 torch 同名。

    Raises:
        ValueError: 参数互相矛盾。
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        *,
        generator: Generator | None = None,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
    ) -> None:
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise ValueError(
                "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
            )
        self.dataset, self.generator, self.num_workers = dataset, generator, num_workers
        self.batch_size, self.drop_last, self.pin_memory = batch_size, drop_last, pin_memory
        self.collate_fn = collate_fn or (default_collate if batch_size is not None or batch_sampler else _as_is)
        self.iterable = isinstance(dataset, IterableDataset)
        if not self.iterable and sampler is None and batch_sampler is None:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        self.sampler, self.batch_sampler = sampler, batch_sampler
        if not self.iterable and batch_sampler is None and batch_size is not None:
            self.batch_sampler = BatchSampler(sampler, batch_size, drop_last)

    def __iter__(self) -> Iterator[Any]:
        draw_seed(self.generator)  # torch 在这里为工作进程抽一个种子；抽掉它，后面的次序才相同
        if self.iterable:
            yield from self._from_iterable()
        elif self.batch_sampler is not None:
            for indices in self.batch_sampler:
                yield self.collate_fn([self.dataset[i] for i in indices])
        else:
            for i in self.sampler:
                yield self.collate_fn(self.dataset[i])

    def _from_iterable(self) -> Iterator[Any]:
        source = iter(self.dataset)
        if self.batch_size is None:
            yield from (self.collate_fn(sample) for sample in source)
            return
        while batch := list(itertools.islice(source, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield self.collate_fn(batch)

    def __len__(self) -> int:
        if not self.iterable:
            return len(self.batch_sampler if self.batch_sampler is not None else self.sampler)
        if self.batch_size is None:
            return len(self.dataset)
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


def _as_is(sample: Any) -> Any:
    return sample
