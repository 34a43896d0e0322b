"""数据集与加载器：样本、分批与打乱的次序都与 torch 相同。"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch.utils.data

import tinygrad_llm as tg

ENGINES = (tg, torch)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _rows(m: Any) -> Any:
    return m.utils.data.TensorDataset(m.arange(23), m.arange(23) * 2)


LOADERS: dict[str, Callable[[Any, Any], Any]] = {
    "in order": lambda m, d: d.DataLoader(_rows(m), batch_size=4),
    "shuffled": lambda m, d: d.DataLoader(_rows(m), batch_size=4, shuffle=True, drop_last=True),
    "own generator": lambda m, d: d.DataLoader(_rows(m), 5, shuffle=True, generator=m.Generator().manual_seed(3)),
    "no batches": lambda m, d: d.DataLoader(_rows(m), batch_size=None),
    "sampler": lambda m, d: d.DataLoader(_rows(m), 4, sampler=d.RandomSampler(_rows(m), True, 40)),
    "subset sampler": lambda m, d: d.DataLoader(_rows(m), 3, sampler=d.SubsetRandomSampler([1, 5, 7, 9])),
    "batch sampler": lambda m, d: d.DataLoader(_rows(m), batch_sampler=[[1, 2], [3]]),
    "collate": lambda m, d: d.DataLoader(_rows(m), 4, collate_fn=lambda batch: [int(b[0]) for b in batch]),
    "concat": lambda m, d: d.DataLoader(_rows(m) + _rows(m), 7),
    "dicts": lambda m, d: d.DataLoader([{"x": 1.5, "y": i, "z": "a"} for i in range(5)], 2),
    "arrays": lambda m, d: d.DataLoader([(np.float32(i), np.arange(2)) for i in range(5)], 2),
}


@pytest.mark.parametrize("name", sorted(LOADERS))
def test_batches_differ_from_torch(name: str) -> None:
    """两遍数据、长度，以及此后的随机数流，都与 torch 相同。"""
    seen = []
    for m in ENGINES:
        m.manual_seed(7)
        loader = LOADERS[name](m, m.utils.data)
        seen.append([_plain(list(loader)), _plain(list(loader)), len(loader), m.rand(3).tolist()])
    assert seen[0] == seen[1]


def test_random_split_differs_from_torch() -> None:
    """按个数与按比例切分。"""
    seen = []
    for m in ENGINES:
        m.manual_seed(1)
        parts = [*m.utils.data.random_split(range(10), [7, 3]), *m.utils.data.random_split(range(11), [0.5, 0.3, 0.2])]
        seen.append([list(part) for part in parts])
    assert seen[0] == seen[1]


def test_an_iterable_dataset_loses_samples() -> None:
    """没有长度的数据集也能攒批。"""
    for m in ENGINES:

        class Numbers(m.utils.data.IterableDataset):  # type: ignore[misc, name-defined]
            def __iter__(self) -> Iterator[int]:
                return itertools.islice(itertools.count(), 7)

        assert _plain(list(m.utils.data.DataLoader(Numbers(), batch_size=3))) == [[0, 1, 2], [3, 4, 5], [6]]
        assert _plain(list(m.utils.data.DataLoader(Numbers(), batch_size=3, drop_last=True))) == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    "bad",
    [
        {"sampler": [0], "shuffle": True},
        {"batch_sampler": [[0]], "batch_size": 2},
        {"batch_sampler": [[0]], "drop_last": True},
    ],
)
def test_contradictory_settings_are_accepted(bad: dict[str, Any]) -> None:
    """互相矛盾的参数被收下了。"""
    for m in ENGINES:
        with pytest.raises(ValueError, match="mutually exclusive"):
            m.utils.data.DataLoader(_rows(m), **bad)
