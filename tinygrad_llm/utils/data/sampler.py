"""下标的次序：依次、打乱、按权重，以及攒成一批批。

流入：数据集的大小；流出：下标。下一站：``dataloader.py``。
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from tinygrad_llm import dtypes
from tinygrad_llm.creation import as_tensor
from tinygrad_llm.random import Generator, default_generator
from tinygrad_llm.sampling import multinomial, randint, randperm

Index = TypeVar("Index", covariant=True)


class Sampler(Generic[Index]):
    """下标的次序：子类写 ``__iter__``，最好也写 ``__len__``。"""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError("Subclasses of Sampler should implement __iter__.")


class SequentialSampler(Sampler[int]):
    """从头到尾。"""

    def __init__(self, data_source: Any) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """打乱的次序；可以放回、可以指定个数。

    Args:
        data_source: 数据集。
        replacement: 是否放回。
        num_samples: 抽多少个；缺省为数据集的大小。
        generator: 生成器。

    Raises:
        TypeError: ``replacement`` 不是布尔值。
        ValueError: 个数不是正整数。
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
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        _require_positive("num_samples", self.num_samples, bool_is_int=True)

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


class SubsetRandomSampler(Sampler[int]):
    """在给定的下标里打乱。"""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices, self.generator = indices, generator

    def __iter__(self) -> Iterator[int]:
        for i in randperm(len(self.indices), generator=self.generator).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """按权重抽样。

    Args:
        weights: 各下标的权重，一维，不必加起来为 1。
        num_samples: 抽多少个。
        replacement: 是否放回。
        generator: 生成器。

    Raises:
        ValueError: 个数不是正整数，权重不是一维，或 ``replacement`` 不是布尔值。
    """

    def __init__(
        self, weights: Any, num_samples: int, replacement: bool = True, generator: Generator | None = None
    ) -> None:
        _require_positive("num_samples", num_samples)
        _require_bool("replacement", replacement)
        self.weights = as_tensor(weights, dtype=dtypes.float64)
        if self.weights.ndim != 1:
            raise ValueError(
                f"weights should be a 1d sequence but given weights have shape {tuple(self.weights.shape)}"
            )
        self.num_samples, self.replacement, self.generator = num_samples, replacement, generator

    def __iter__(self) -> Iterator[int]:
        drawn = multinomial(self.weights, self.num_samples, self.replacement, generator=self.generator)
        yield from drawn.tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """把下标攒成一批批。

    Args:
        sampler: 下标的次序。
        batch_size: 每批几个。
        drop_last: 丢掉末尾不满的一批。

    Raises:
        ValueError: 个数不是正整数，或 ``drop_last`` 不是布尔值。
    """

    def __init__(self, sampler: Any, batch_size: int, drop_last: bool) -> None:
        _require_positive("batch_size", batch_size)
        _require_bool("drop_last", drop_last)
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[int]]:
        source = iter(self.sampler)
        while batch := list(itertools.islice(source, self.batch_size)):
            if self.drop_last and len(batch) < self.batch_size:
                return
            yield batch

    def __len__(self) -> int:
        n = len(self.sampler)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


def _require_positive(name: str, value: Any, *, bool_is_int: bool = False) -> None:
    if not isinstance(value, int) or (isinstance(value, bool) and not bool_is_int) or value <= 0:
        raise ValueError(f"{name} should be a positive integer value, but got {name}={value}")


def _require_bool(name: str, value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError(f"{name} should be a boolean value, but got {name}={value}")


def draw_seed(generator: Generator | None) -> int:
    """抽一个 63 位的种子，与 torch 的 ``empty((), dtype=int64).random_()`` 相同。"""
    return int((generator or default_generator).words64(1)[0] & np.uint64((1 << 63) - 1))
