"""DataLoader：一批批地取样本。

流入：数据集与次序；流出：叠好的一批。总在当前进程里加载：``num_workers`` 不开进程，但样本、次序与随机数都同 torch。
"""

from __future__ import annotations

import itertools
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from tinygrad_llm.random import Generator
from tinygrad_llm.utils.data.collate import default_collate, default_convert
from tinygrad_llm.utils.data.dataset import IterableDataset, fetch_many
from tinygrad_llm.utils.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, draw_seed
from tinygrad_llm.utils.data.worker import Worker, get_worker_info

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]

Batch = TypeVar("Batch", covariant=True)
_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class _EndlessSampler(Sampler[None]):
    """只能依次取的数据集没有下标。"""

    def __iter__(self) -> Iterator[None]:
        return itertools.repeat(None)


class DataLoader(Generic[Batch]):
    """一批批地取样本。

    Args:
        dataset: 数据集。
        batch_size: 每批几个；``None`` 表示不攒批。
        shuffle: 是否打乱。
        sampler: 自定义次序。
        batch_sampler: 自定义分批。
        num_workers: 由几个「工作进程」轮流加载；这里都在当前进程里。
        collate_fn: 把一批样本叠起来的函数。
        pin_memory: 与 torch 同名；没有 GPU，只给提醒。
        drop_last: 丢掉末尾不满的一批。
        timeout: 与 torch 同名；在当前进程里加载时必须为 0。
        worker_init_fn: 每个「工作进程」起步时以它的编号调用。
        multiprocessing_context: 与 torch 同名；不开进程，只检查写法。
        generator: 打乱与派生种子用的生成器。
        prefetch_factor: 每个「工作进程」预先取几批下标。
        persistent_workers: 各遍之间保留「工作进程」。
        pin_memory_device: 与 torch 同名；没有 GPU。
        in_order: 与 torch 同名；这里总是按次序。

    Raises:
        ValueError: 参数不合法或互相矛盾。
    """

    _initialized = False

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
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers, multiprocessing_context)
        self.dataset, self.num_workers, self.timeout, self.in_order = dataset, num_workers, timeout, in_order
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.worker_init_fn, self.multiprocessing_context = worker_init_fn, multiprocessing_context
        self._is_iterable = isinstance(dataset, IterableDataset)
        _check_order(self._is_iterable, batch_size, shuffle, sampler, batch_sampler, drop_last)
        if batch_sampler is not None:
            batch_size, drop_last = None, False
        if sampler is None and self._is_iterable:
            sampler = _EndlessSampler()
        elif sampler is None:
            sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size, self.drop_last, self.sampler = batch_size, drop_last, sampler
        self.batch_sampler, self.generator, self.persistent_workers = batch_sampler, generator, persistent_workers
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        self._IterableDataset_len_called: int | None = None
        self._iterator: _LoaderIterator | None = None
        self._initialized = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self._initialized and name in _FIXED:
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        object.__setattr__(self, name, value)

    @property
    def _index_sampler(self) -> Any:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def __iter__(self) -> Iterator[Any]:
        if not self.persistent_workers:
            return _LoaderIterator(self)
        if self._iterator is None:
            self._iterator = _LoaderIterator(self)
        else:
            self._iterator.reset()
        return self._iterator

    def __len__(self) -> int:
        if not self._is_iterable:
            return len(self._index_sampler)
        n = self._IterableDataset_len_called = len(self.dataset)
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


class _Fetcher:
    """从数据集取一批，叠好。"""

    def __init__(self, loader: DataLoader[Any], dataset: Any) -> None:
        self.dataset, self.collate_fn, self.drop_last = dataset, loader.collate_fn, loader.drop_last
        self.batched = loader.batch_sampler is not None
        self.source = iter(dataset) if loader._is_iterable else None

    def fetch(self, index: Any) -> Any:
        """``index`` 是一个下标，或一批下标。

        Raises:
            StopIteration: 只能依次取的数据集取完了。
        """
        if self.source is None:
            return self.collate_fn(fetch_many(self.dataset, index) if self.batched else self.dataset[index])
        if not self.batched:
            return self.collate_fn(next(self.source))
        samples = list(itertools.islice(self.source, len(index)))
        if not samples or (self.drop_last and len(samples) < len(index)):
            raise StopIteration
        return self.collate_fn(samples)


class _LoaderIterator:
    """一遍数据。"""

    def __init__(self, loader: DataLoader[Any]) -> None:
        if loader.pin_memory:
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be "
                "used.",
                stacklevel=3,
            )
        if loader.timeout and not loader.num_workers:
            raise AssertionError("DataLoader with num_workers=0 requires timeout == 0")
        self.loader = loader
        self.indices = iter(loader._index_sampler)
        seed = draw_seed(loader.generator)
        init, count = loader.worker_init_fn, loader.num_workers
        self.workers = [Worker(loader.dataset, (i, count), seed, init) for i in range(count)]
        self._begin()

    def reset(self) -> None:
        """再来一遍，沿用原来的「工作进程」。"""
        self.indices = iter(self.loader._index_sampler)
        self._begin()

    def _begin(self) -> None:
        loader, self.fetchers, self.yielded = self.loader, list[_Fetcher](), 0
        for worker in self.workers:
            worker.is_alive = True
            with worker.entered() as dataset:
                self.fetchers.append(_Fetcher(loader, dataset))
        if not self.workers:
            self.fetchers.append(_Fetcher(loader, loader.dataset))
        self.turn = -1
        ahead = (loader.prefetch_factor or 0) * loader.num_workers
        self.ahead = deque(itertools.islice(self.indices, ahead))  # 与 torch 一样，下标先取下几批的

    def __iter__(self) -> Iterator[Any]:
        return self

    def __len__(self) -> int:
        return len(self.loader._index_sampler)

    def __next__(self) -> Any:
        data = self._by_workers() if self.workers else self.fetchers[0].fetch(next(self.indices))
        self.yielded += 1
        promised = self.loader._IterableDataset_len_called
        if self.loader._is_iterable and promised is not None and self.yielded > promised:
            warnings.warn(
                f"Length of IterableDataset {self.loader.dataset} was reported to be {promised} (when accessing "
                f"len(dataloader)), but {self.yielded} samples have been fetched.",
                stacklevel=2,
            )
        return data

    def _by_workers(self) -> Any:
        """轮到谁就由谁取；只能依次取的数据集，取完的「工作进程」退出轮换。"""
        while True:
            worker = self._next_worker()
            self.ahead.extend(itertools.islice(self.indices, 1))
            if worker is None or not self.ahead:
                raise StopIteration
            index = self.ahead.popleft()
            with worker.entered():
                found = self._fetched(worker, index)
            if found:
                return found[0]

    def _next_worker(self) -> Worker | None:
        count = len(self.workers)
        for step in range(1, count + 1):
            worker = self.workers[(self.turn + step) % count]
            if worker.is_alive:
                self.turn = worker.info.id
                return worker
        return None

    def _fetched(self, worker: Worker, index: Any) -> list[Any]:
        """取到的一批装在列表里；取完了就是空列表。"""
        try:
            return [self.fetchers[worker.info.id].fetch(index)]
        except StopIteration:
            if not self.loader._is_iterable:
                raise
            worker.is_alive = False
            return []


def _check_workers(workers: int, timeout: float, prefetch: int | None, persistent: bool, context: Any) -> None:
    """加载方式的参数要合法。"""
    problems = {
        "num_workers option should be non-negative": workers < 0,
        "timeout option should be non-negative": timeout < 0,
        "prefetch_factor option could only be specified with num_workers > 0": not workers and prefetch is not None,
        "prefetch_factor option should be non-negative": prefetch is not None and prefetch < 0,
        "persistent_workers option needs num_workers > 0": persistent and not workers,
        "multiprocessing_context can only be used with num_workers > 0": context is not None and not workers,
    }
    for message, is_wrong in problems.items():
        if is_wrong:
            raise ValueError(message)
    if context is not None:
        _check_context(context)


def _check_context(context: Any) -> None:
    import multiprocessing  # 只有给了它才用得着，不为它拖慢 import

    methods = multiprocessing.get_all_start_methods()
    if isinstance(context, str) and context not in methods:
        raise ValueError(f"multiprocessing_context should be one of {methods}, got {context!r}")
    if not isinstance(context, (str, multiprocessing.context.BaseContext)):
        raise TypeError(f"multiprocessing_context should be a context or the name of a start method, got {context!r}")


def _check_order(
    is_iterable: bool, batch_size: Any, shuffle: Any, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    """次序与分批的参数不能互相矛盾。"""
    given = {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}
    for name, value in given.items() if is_iterable else ():
        if value is not None:
            raise ValueError(f"DataLoader with IterableDataset: expected unspecified {name} option, but got {value}")
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None:
        if batch_size != 1 or shuffle or sampler is not None or drop_last:
            raise ValueError(
                "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
            )
    elif batch_size is None and drop_last:
        raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
