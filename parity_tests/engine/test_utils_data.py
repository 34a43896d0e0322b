"""数据集与加载器：样本、分批、打乱的次序与随机数都与 torch 相同；工作进程也不例外。"""

from __future__ import annotations

import collections
import collections.abc
import itertools
import random
import types
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch.utils.data

import tinygrad_llm as tg
import tinygrad_llm.utils.data.dataloader
import tinygrad_llm.utils.data.distributed
from parity_tests.engine.twins import ENGINES, same, same_error, table

Point = collections.namedtuple("Point", "x y")


def _plain(value: Any) -> Any:
    if hasattr(value, "dtype"):
        return str(value.dtype).removeprefix("torch."), value.tolist()
    if isinstance(value, collections.abc.Mapping):
        return type(value).__name__, {k: _plain(v) for k, v in value.items()}
    return [type(value).__name__, *map(_plain, value)] if isinstance(value, (list, tuple)) else value


def _rows(m: Any) -> Any:
    return m.utils.data.TensorDataset(m.arange(23), m.arange(23) * 2)


class _Batched:
    """会成批取样本的数据集。"""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def __len__(self) -> int:
        return 10

    def __getitem__(self, i: int) -> int:
        return i

    def __getitems__(self, indices: list[int]) -> list[int]:
        self.calls.append(list(indices))
        return [i * 10 for i in indices]


LOADERS: dict[str, Callable[[Any, Any], Any]] = {
    "in order": lambda m, d: d.DataLoader(_rows(m), batch_size=4),
    "shuffled": lambda m, d: d.DataLoader(_rows(m), batch_size=4, shuffle=True, drop_last=True),
    "own generator": lambda m, d: d.DataLoader(_rows(m), 5, shuffle=True, generator=m.Generator().manual_seed(3)),
    "no batches": lambda m, d: d.DataLoader(_rows(m), batch_size=None),
    "no batches of arrays": lambda m, d: d.DataLoader([{"x": np.arange(2), "y": (1.5, "a")}], batch_size=None),
    "sampler": lambda m, d: d.DataLoader(_rows(m), 4, sampler=d.RandomSampler(_rows(m), True, 40)),
    "long sampler": lambda m, d: d.DataLoader(_rows(m), 4, sampler=d.RandomSampler(_rows(m), num_samples=50)),
    "subset sampler": lambda m, d: d.DataLoader(_rows(m), 3, sampler=d.SubsetRandomSampler([1, 5, 7, 9])),
    "weighted": lambda m, d: d.DataLoader(
        _rows(m), 3, sampler=d.WeightedRandomSampler([0.1, 0.0, 3.0, 1.0], 9)),
    "weighted without replacement": lambda m, d: d.DataLoader(
        _rows(m), 3, sampler=d.WeightedRandomSampler(m.tensor([0.1, 0.5, 3.0, 1.0]), 3, replacement=False)),
    "batch sampler": lambda m, d: d.DataLoader(_rows(m), batch_sampler=[[1, 2], [3]]),
    "batches of a sampler": lambda m, d: d.DataLoader(
        _rows(m), batch_sampler=d.BatchSampler(d.SubsetRandomSampler(range(7)), 3, True)),
    "sampler of batches": lambda m, d: d.DataLoader(_rows(m), batch_size=None, sampler=[[1, 2], [3]]),
    "distributed": lambda m, d: d.DataLoader(_rows(m), 4, sampler=d.DistributedSampler(_rows(m), 3, 1)),
    "distributed in order": lambda m, d: d.DataLoader(
        _rows(m), 4, sampler=d.DistributedSampler(_rows(m), 5, 4, shuffle=False, drop_last=True)),
    "collate": lambda m, d: d.DataLoader(_rows(m), 4, collate_fn=lambda batch: [int(b[0]) for b in batch]),
    "concat": lambda m, d: d.DataLoader(_rows(m) + _rows(m), 7),
    "subset": lambda m, d: d.DataLoader(d.Subset(_rows(m), [5, 3, 1]), 2),
    "subset of batches": lambda m, d: d.DataLoader(d.Subset(_Batched(), [5, 3, 1]), 2),
    "stack": lambda m, d: d.DataLoader(d.StackDataset(_rows(m), range(23)), 7),
    "stack by name": lambda m, d: d.DataLoader(d.StackDataset(a=range(10), b=_Batched()), 7),
    "dicts": lambda m, d: d.DataLoader([{"x": 1.5, "y": i, "z": "a"} for i in range(5)], 2),
    "ordered dicts": lambda m, d: d.DataLoader([collections.OrderedDict(b=1, a=i) for i in range(5)], 2),
    "frozen mappings": lambda m, d: d.DataLoader([types.MappingProxyType({"a": i}) for i in range(5)], 2),
    "named tuples": lambda m, d: d.DataLoader([Point(i, [i, "s"]) for i in range(5)], 2),
    "arrays": lambda m, d: d.DataLoader([(np.float32(i), np.arange(2), np.bool_(True)) for i in range(5)], 2),
    "numbers": lambda m, d: d.DataLoader([(i, float(i), i > 1, b"b") for i in range(5)], 2),
    "lists": lambda m, d: d.DataLoader([[i, [i, 2.0]] for i in range(5)], 2),
    "range samples": lambda m, d: d.DataLoader([range(i, i + 2) for i in range(5)], 2),
    "workers": lambda m, d: d.DataLoader(_rows(m), 4, shuffle=True, num_workers=2),
    "workers, last dropped": lambda m, d: d.DataLoader(_rows(m), 4, num_workers=2, drop_last=True, prefetch_factor=1),
    "workers without batches": lambda m, d: d.DataLoader(_rows(m), None, num_workers=2),
    "workers with a late sampler": lambda m, d: d.DataLoader(
        _rows(m), 3, sampler=d.SubsetRandomSampler(range(9)), num_workers=1, timeout=30),
    "workers with a generator": lambda m, d: d.DataLoader(
        _rows(m), 5, shuffle=True, generator=m.Generator().manual_seed(3), num_workers=2, persistent_workers=True),
}  # fmt: skip


@pytest.mark.parametrize("case", table(LOADERS))
def test_batches_differ_from_torch(case: Callable[[Any, Any], Any]) -> None:
    """两遍数据、长度，以及此后的随机数流，都与 torch 相同。"""
    seen = []
    for m in ENGINES:
        m.manual_seed(7)
        loader = case(m, m.utils.data)
        first, second, n = _plain(list(loader)), _plain(list(loader)), len(loader)
        seen.append([first, second, n, len(iter(loader)), m.rand(3).tolist()])
    assert seen[0] == seen[1]


def _random_dataset(m: Any) -> Any:
    class Noise(m.utils.data.Dataset[Any]):  # type: ignore[misc]
        offset = 0

        def __len__(self) -> int:
            return 9

        def __getitem__(self, i: int) -> Any:
            info = m.utils.data.get_worker_info()
            seen = (info.id, info.num_workers) if info else (-1, 0)
            return i + self.offset, *seen, m.rand(1), random.random(), np.random.rand()

    return Noise()


def _stream(m: Any, n: int, *, by_worker: bool = False) -> Any:
    class Stream(m.utils.data.IterableDataset[int]):  # type: ignore[misc]
        start, stop = 0, n

        def __iter__(self) -> Iterator[int]:
            return iter(range(self.start, self.stop))

        def __len__(self) -> int:
            return n

    def split(worker_id: int) -> None:
        info = m.utils.data.get_worker_info()
        info.dataset.start, info.dataset.stop = worker_id * 5, worker_id * 5 + 2 + 4 * worker_id

    return m.utils.data.DataLoader(Stream(), 2, num_workers=3, worker_init_fn=split if by_worker else None)


def _offset(m: Any) -> Callable[[int], None]:
    def init(worker_id: int) -> None:
        info = m.utils.data.get_worker_info()
        info.dataset.offset = worker_id * 100 + (info.seed - worker_id - info.seed + worker_id)
        m.rand(worker_id + 1)

    return init


@pytest.mark.parametrize("options", [
    {"num_workers": 0}, {"num_workers": 2}, {"num_workers": 2, "batch_size": 2, "shuffle": True},
    {"num_workers": 2, "batch_size": 2, "persistent_workers": True},
], ids=repr)  # fmt: skip
def test_workers_draw_the_numbers_torchs_processes_draw(options: dict[str, Any]) -> None:
    """各工作进程的随机数、编号或数据集副本与 torch 的进程不同，或主进程的随机数流被搅乱。"""
    seen = []
    for m in ENGINES:
        m.manual_seed(3)
        random.seed(1)
        np.random.seed(2)
        init = _offset(m) if options["num_workers"] else None
        loader = m.utils.data.DataLoader(_random_dataset(m), worker_init_fn=init, **options)
        passes = [_plain(list(loader)), _plain(list(loader))]
        seen.append([passes, m.rand(2).tolist(), random.random(), np.random.rand(), m.utils.data.get_worker_info()])
        assert loader.dataset.offset == 0
    assert seen[0] == seen[1]


@pytest.mark.parametrize("by_worker", [False, True])
def test_streams_are_dealt_out_as_torch_deals_them(by_worker: bool) -> None:
    """只能依次取的数据集由几个工作进程加载时，批的次序与 torch 不同。"""
    found = []
    for m in ENGINES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch 会说核数不够
            found.append(_plain(list(_stream(m, 5, by_worker=by_worker))))
    assert found[0] == found[1]


def test_an_iterable_dataset_loses_samples() -> None:
    """没有长度的数据集也能攒批。"""
    for m in ENGINES:

        class Numbers(m.utils.data.IterableDataset):  # type: ignore[misc, name-defined]
            def __iter__(self) -> Iterator[int]:
                return itertools.islice(itertools.count(), 7)

        load = m.utils.data.DataLoader
        assert [b.tolist() for b in load(Numbers(), batch_size=3)] == [[0, 1, 2], [3, 4, 5], [6]]
        assert [b.tolist() for b in load(Numbers(), batch_size=3, drop_last=True)] == [[0, 1, 2], [3, 4, 5]]
        assert list(load(Numbers(), batch_size=None)) == [0, 1, 2, 3, 4, 5, 6]
        assert [b.tolist() for b in load(Numbers() + Numbers(), batch_size=9)] == [[*range(7), 0, 1], [2, 3, 4, 5, 6]]
        with pytest.raises(TypeError):
            len(load(Numbers()))


def test_a_stream_longer_than_it_says_is_reported() -> None:
    """``__len__`` 报少了，没有提醒。"""
    for m in ENGINES:

        class Short(m.utils.data.IterableDataset):  # type: ignore[misc, name-defined]
            def __iter__(self) -> Iterator[int]:
                return iter(range(3))

            def __len__(self) -> int:
                return 2

        loader = m.utils.data.DataLoader(Short(), batch_size=None)
        assert len(loader) == 2
        assert len(m.utils.data.DataLoader(Short(), batch_size=3)) == 1
        assert len(m.utils.data.DataLoader(Short(), batch_size=3, drop_last=True)) == 0
        with pytest.warns(UserWarning, match="Length of IterableDataset"):
            assert list(loader) == [0, 1, 2]


def test_pinning_without_an_accelerator_is_reported() -> None:
    """没有 GPU 而要锁页，没有提醒。"""
    for m in ENGINES:
        with pytest.warns(UserWarning, match="pin_memory"):
            assert len(list(m.utils.data.DataLoader(_rows(m), 23, pin_memory=True))) == 1


def test_random_split_differs_from_torch() -> None:
    """按个数与按比例切分。"""
    seen = []
    for m in ENGINES:
        m.manual_seed(1)
        split = m.utils.data.random_split
        parts = [*split(range(10), [7, 3]), *split(range(11), [0.5, 0.3, 0.2])]
        parts += split(range(5), [2, 3], generator=m.Generator().manual_seed(4))
        with pytest.warns(UserWarning, match="empty dataset"):
            parts += split(range(2), [0.5, 0.5, 0.0])
        seen.append([list(part) for part in parts] + [[type(part).__name__] for part in parts])
    assert seen[0] == seen[1]


PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    "concat": lambda m, d: [_plain((_rows(m) + _rows(m))[i]) for i in (0, 22, 23, -1, -46)]
        + [(_rows(m) + _rows(m)).cumulative_sizes, len(_rows(m) + _rows(m))],
    "slice of tensors": lambda m, d: _plain(_rows(m)[2:4]),
    "stack": lambda m, d: [_plain(d.StackDataset(_rows(m), range(23))[3]), _plain(d.StackDataset(a=range(3))[1]),
        len(d.StackDataset(a=range(3))), d.StackDataset(range(3), _Batched_of(3)).__getitems__([2, 0])],
    "subset": lambda m, d: [d.Subset(range(9), [5, 3])[1], len(d.Subset(range(9), [5, 3])),
        d.Subset(range(9), [5, 3]).__getitems__([1, 0]), d.Subset(np.arange(9), [5, 3])[[0, 1]].tolist()],
    "distributed": lambda m, d: [
        [list(s), len(s), s.num_samples, s.total_size] for s in _sharded(d)],
    "epochs of a distributed sampler": lambda m, d: _epochs(d),
    "lengths": lambda m, d: [len(d.BatchSampler(range(7), 3, False)), len(d.BatchSampler(range(7), 3, True)),
        len(d.RandomSampler(range(4))), len(d.RandomSampler(range(4), True, 9)), len(d.SubsetRandomSampler([1]))],
    "converting": lambda m, d: _plain([d.default_convert(x) for x in _samples(m)]),
    "collating": lambda m, d: _plain([d.default_collate([x, x]) for x in _samples(m)[:-2]]),
    "attributes": lambda m, d: _attributes(d.DataLoader(_rows(m), 4, num_workers=1, timeout=3)),
    "paths": lambda m, d: [MODULES[m].DataLoader is d.DataLoader, MODULES[m].default_collate is d.default_collate],
}  # fmt: skip

MODULES: dict[Any, Any] = {tg: tinygrad_llm.utils.data.dataloader, torch: torch.utils.data.dataloader}


def _Batched_of(n: int) -> list[int]:
    return list(range(100, 100 + n))


def _sharded(d: Any) -> Any:
    for n, replicas, drop in itertools.product((7, 8, 2), (1, 3, 4), (False, True)):
        for rank in range(replicas):
            yield d.DistributedSampler(range(n), replicas, rank, shuffle=False, drop_last=drop)


def _epochs(d: Any) -> Any:
    sampler = d.DistributedSampler(range(7), 2, 1, seed=5)
    first = list(sampler)
    sampler.set_epoch(1)
    return first, list(sampler), list(sampler)


def _samples(m: Any) -> Any:
    return [
        m.ones(2), np.float64(1.5), np.arange(2), 3, 2.5, "s", b"s", (1, "a"), [1.0, [2]], Point(1, np.ones(1)),
        {"k": np.int32(3)}, collections.OrderedDict(z=1), None, np.array(["s"]),
    ]  # fmt: skip


def _attributes(loader: Any) -> Any:
    names = ("batch_size", "num_workers", "prefetch_factor", "drop_last", "timeout", "pin_memory", "in_order",
        "persistent_workers", "generator", "pin_memory_device", "multiprocessing_context")  # fmt: skip
    kinds = [type(getattr(loader, n)).__name__ for n in ("dataset", "sampler", "batch_sampler")]
    return [getattr(loader, n) for n in names] + kinds


@pytest.mark.parametrize("program", table(PROGRAMS))
def test_datasets_and_samplers_equal_torch(program: Callable[[Any, Any], Any]) -> None:
    """样本、长度、属性或转换的结果与 torch 不同。"""
    same(lambda m: program(m, m.utils.data))


MISTAKES: dict[str, Callable[[Any, Any], Any]] = {
    "sampler and shuffle": lambda m, d: d.DataLoader(_rows(m), sampler=[0], shuffle=True),
    "batch sampler and size": lambda m, d: d.DataLoader(_rows(m), batch_sampler=[[0]], batch_size=2),
    "batch sampler and drop_last": lambda m, d: d.DataLoader(_rows(m), batch_sampler=[[0]], drop_last=True),
    "no batches and drop_last": lambda m, d: d.DataLoader(_rows(m), None, drop_last=True),
    "batch of 0": lambda m, d: d.DataLoader(_rows(m), 0),
    "batch of True": lambda m, d: d.BatchSampler(range(3), True, False),
    "drop_last of 1": lambda m, d: d.BatchSampler(range(3), 1, 1),
    "negative workers": lambda m, d: d.DataLoader(_rows(m), num_workers=-1),
    "negative timeout": lambda m, d: d.DataLoader(_rows(m), timeout=-1),
    "timeout without workers": lambda m, d: iter(d.DataLoader(_rows(m), timeout=1)),
    "prefetch without workers": lambda m, d: d.DataLoader(_rows(m), prefetch_factor=2),
    "negative prefetch": lambda m, d: d.DataLoader(_rows(m), num_workers=1, prefetch_factor=-2),
    "persistent without workers": lambda m, d: d.DataLoader(_rows(m), persistent_workers=True),
    "context without workers": lambda m, d: d.DataLoader(_rows(m), multiprocessing_context="spawn"),
    "context unknown": lambda m, d: d.DataLoader(_rows(m), num_workers=1, multiprocessing_context="x"),
    "context that is a number": lambda m, d: d.DataLoader(_rows(m), num_workers=1, multiprocessing_context=3),
    "stream shuffled": lambda m, d: d.DataLoader(d.ChainDataset([]), shuffle=True),
    "stream with a sampler": lambda m, d: d.DataLoader(d.ChainDataset([]), sampler=[0]),
    "stream with a batch sampler": lambda m, d: d.DataLoader(d.ChainDataset([]), batch_sampler=[[0]]),
    "changing the batch size": lambda m, d: setattr(d.DataLoader(_rows(m)), "batch_size", 3),
    "empty shuffle": lambda m, d: d.DataLoader([], shuffle=True),
    "samples of nothing": lambda m, d: d.default_collate([None]),
    "samples of strings": lambda m, d: d.default_collate([np.array(["a"])]),
    "samples of two lengths": lambda m, d: d.default_collate([[1], [1, 2]]),
    "tensors of two lengths": lambda m, d: d.TensorDataset(m.ones(2), m.ones(3)),
    "concat of nothing": lambda m, d: d.ConcatDataset([]),
    "concat of a stream": lambda m, d: d.ConcatDataset([d.ChainDataset([])]),
    "chain of a list": lambda m, d: list(d.ChainDataset([[1]])),
    "concat too far back": lambda m, d: (_rows(m) + _rows(m))[-47],
    "stack of nothing": lambda m, d: d.StackDataset(),
    "stack of both kinds": lambda m, d: d.StackDataset(range(2), a=range(2)),
    "stack of two lengths": lambda m, d: d.StackDataset(range(2), range(3)),
    "dataset without items": lambda m, d: d.Dataset()[0],
    "sampler without order": lambda m, d: iter(d.Sampler()),
    "split of another size": lambda m, d: d.random_split(range(3), [1, 1]),
    "split by a negative share": lambda m, d: d.random_split(range(3), [1.5, -0.5]),
    "sampling 0": lambda m, d: d.RandomSampler(range(3), num_samples=0),
    "replacement of 1": lambda m, d: d.RandomSampler(range(3), replacement=1),
    "weights of two axes": lambda m, d: d.WeightedRandomSampler([[1.0]], 1),
    "weighted 0": lambda m, d: d.WeightedRandomSampler([1.0], 0),
    "weighted replacement": lambda m, d: d.WeightedRandomSampler([1.0], 1, replacement=2),
    "rank too high": lambda m, d: d.DistributedSampler(range(3), 2, 2),
    "subset of its own": lambda m, d: _own_subset(d),
}  # fmt: skip


def _own_subset(d: Any) -> None:
    class Own(d.Subset):  # type: ignore[misc]
        def __getitem__(self, index: Any) -> Any:
            return 0

    Own(range(3), [0])


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any, Any], Any]) -> None:
    """互相矛盾或不合法的参数被收下了，或报错的类型与 torch 不同。"""
    same_error(lambda m: mistake(m, m.utils.data))


def test_a_worker_that_fails_reports_its_own_error() -> None:
    """工作进程里的异常换了类型。"""

    def run(m: Any) -> Any:
        class Broken(m.utils.data.Dataset):  # type: ignore[misc]
            def __len__(self) -> int:
                return 3

            def __getitem__(self, i: int) -> Any:
                raise KeyError("no such sample")

        list(m.utils.data.DataLoader(Broken(), num_workers=1))

    same_error(run)
    assert tg.utils.data.get_worker_info() is None
