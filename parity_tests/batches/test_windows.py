"""批次：每个 epoch 恰好走遍每个窗口一次，任意切分成进程不改变内容，评估不漏也不重。"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.batches import (
    IGNORE_INDEX,
    TokenDataset,
    Tokens,
    Windows,
    encode_corpus,
    evaluation_batches,
    permute,
)
from tinygrad_llm.common.batches.order import drawn
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers import Tokenizer, train_bpe

GOLDEN_ORDER = [0, 5, 6, 3, 4, 7, 2, 9, 8, 1]
GOLDEN_LARGE = [719869546168, 49782722202, 840798108780]


def counting(size: int, context: int, batch_size: int, seed: int = 0) -> TokenDataset:
    """id 就是下标的数据集：由 x 的首列可认出是哪个窗口。"""
    return TokenDataset(np.arange(size), vocab_size=size, context=context, batch_size=batch_size, seed=seed)


def first_windows(dataset: TokenDataset, context: int, batch_size: int, epochs: int) -> list[int]:
    """前几个 epoch 依次用到的窗口号。"""
    steps = math.ceil(epochs * dataset.windows / batch_size)
    rows = np.concatenate([dataset.batch(step)[0][:, 0] for step in range(steps)])
    return [int(row) // context for row in rows[: epochs * dataset.windows]]


@given(st.integers(2, 300), st.integers(1, 20), st.integers(1, 40), st.integers(0, 2**64 - 1))
def test_every_epoch_visits_every_window_once(size: int, context: int, batch_size: int, seed: int) -> None:
    """连看三个 epoch，每个都是全部窗口的一个排列；批大小可以超过窗口数。"""
    context = min(context, size - 1)
    dataset = counting(size, context, batch_size, seed)
    windows = first_windows(dataset, context, batch_size, epochs=3)
    for epoch in range(3):
        part = windows[epoch * dataset.windows : (epoch + 1) * dataset.windows]
        assert sorted(part) == list(range((size - 1) // context))


@given(st.integers(2, 200), st.integers(1, 9), st.integers(0, 10**12), st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_ranks_together_are_the_whole_batch(size: int, context: int, step: int, world: int) -> None:
    """各进程的份按 rank 接起来，就是单进程的批次；y 是 x 的下一个 token。"""
    dataset = counting(size, min(context, size - 1), 12)
    x, y = dataset.batch(step)
    parts = [dataset.batch(step, rank, world) for rank in range(world)]
    assert np.array_equal(np.concatenate([part[0] for part in parts]), x)
    assert np.array_equal(np.concatenate([part[1] for part in parts]), y)
    assert np.array_equal(y, x + 1)
    assert x.shape == (12, min(context, size - 1))
    assert x.dtype == y.dtype == np.int64
    assert x.flags.c_contiguous
    assert y.flags.c_contiguous


def test_batches_do_not_depend_on_what_was_asked_before() -> None:
    """``batch`` 没有状态：从中间问起与从头问起相同，两个对象也相同。"""
    one, other = counting(1000, 8, 4, seed=3), counting(1000, 8, 4, seed=3)
    later = one.batch(77)
    for step in range(77):
        other.batch(step)
    assert np.array_equal(later[0], other.batch(77)[0])


def test_the_order_is_fixed_across_platforms() -> None:
    """写死的次序：换平台、换 NumPy 版本或改动公式都会被发现。"""
    assert permute(np.arange(10, dtype=np.uint64), 10, seed=1234, epoch=0).tolist() == GOLDEN_ORDER
    assert permute(np.arange(3, dtype=np.uint64), 10**12, seed=1234, epoch=5).tolist() == GOLDEN_LARGE


def test_seeds_and_epochs_give_other_orders() -> None:
    """换种子、换 epoch 都换一个排列，且不是原样。"""
    slots = np.arange(1000, dtype=np.uint64)
    orders = {tuple(permute(slots, 1000, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert (permute(slots, 1000, 0, 0) == slots).sum() < 10


def test_small_permutations_are_all_equally_likely() -> None:
    """三个窗口的六种次序在 3,000 个 epoch 中频率相近：卡方（5 个自由度）低于 0.1% 分位点 20.5。"""
    slots = np.arange(3, dtype=np.uint64)
    counts = Counter(tuple(permute(slots, 3, 7, epoch).tolist()) for epoch in range(3000))
    assert sum((counts[order] - 500) ** 2 / 500 for order in itertools.permutations(range(3))) < 20.5


def test_neighbouring_samples_are_unrelated() -> None:
    """相邻样本的窗口号不相关，位置与窗口号也不相关。"""
    order = permute(np.arange(20_000, dtype=np.uint64), 20_000, 0, 0).astype(np.float64)
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 4 / math.sqrt(order.size)
    assert abs(np.corrcoef(order, np.arange(order.size))[0, 1]) < 4 / math.sqrt(order.size)


def test_a_memory_mapped_file_works(tmp_path: Path) -> None:
    """大语料存成 uint16 文件，按需读取。"""
    path = tmp_path / "ids.npy"
    np.save(path, np.arange(100, dtype=np.uint16))
    ids = np.load(path, mmap_mode="r")
    x, _ = TokenDataset(ids, vocab_size=100, context=9, batch_size=2, seed=0).batch(0)
    assert np.array_equal(x, counting(100, 9, 2).batch(0)[0])


@given(st.integers(2, 200), st.integers(1, 30), st.integers(1, 10))
def test_evaluation_covers_every_target_once_in_order(size: int, context: int, batch_size: int) -> None:
    """不是填充的 y 依次恰为第 1 到最后一个 token，x 是各自的前一个；填充处 x 为 0。"""
    ids = np.arange(1, size + 1, dtype=np.uint16)
    batches = list(evaluation_batches(ids, context, batch_size))
    x, y = (np.concatenate([batch[i] for batch in batches]) for i in range(2))
    real = y != IGNORE_INDEX
    assert y[real].tolist() == list(range(2, size + 1))
    assert x[real].tolist() == list(range(1, size))
    assert not x[~real].any()
    assert x.shape == (math.ceil((size - 1) / context), context)
    assert all(len(batch[0]) <= batch_size for batch in batches)
    assert x.dtype == y.dtype == np.int64


@pytest.mark.parametrize(("vocab_size", "dtype"), [(256, np.uint8), (300, np.uint16), (70_000, np.uint32)])
def test_corpora_are_stored_in_the_smallest_type(vocab_size: int, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """类型由词表大小决定，不由恰好出现的 id 决定。"""
    tokenizer = Tokenizer([], [])
    monkeypatch.setattr(tokenizer, "vocab_size", vocab_size)
    assert encode_corpus("abc", tokenizer).dtype == dtype


def test_an_encoded_corpus_decodes_to_itself() -> None:
    """编码进数组再解码，得到原文；空文本得到空数组。"""
    tokenizer = train_bpe("banana bandana " * 9, 262)
    ids = encode_corpus("banana ban", tokenizer)
    assert tokenizer.decode(ids) == "banana ban"
    assert encode_corpus("", tokenizer).shape == (0,)


def test_too_little_data_names_the_largest_context() -> None:
    """报错里的上限恰好可行。"""
    with pytest.raises(UserError, match="too few") as caught:
        counting(9, 9, 1)
    assert caught.value.exit_code == 2
    assert "context <= 8" in caught.value.fix
    assert counting(9, 8, 1).windows == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"ids": np.zeros((2, 9), np.int64)},
        {"ids": np.zeros(9)},
        {"ids": np.zeros(9, bool)},
        {"ids": np.zeros(0, np.uint16)},
        {"ids": np.full(9, 10)},
        {"ids": np.full(9, -1)},
        {"context": 0},
        {"batch_size": 0},
        {"seed": -1},
        {"seed": 2**64},
    ],
)
def test_wrong_data_is_refused(wrong: dict[str, Any]) -> None:
    """形状、类型、越界的 id 与参数，都在建立时报错。"""
    good: dict[str, Any] = {"ids": np.zeros(9, np.uint16), "vocab_size": 10, "context": 4, "batch_size": 2, "seed": 0}
    TokenDataset(**good)
    with pytest.raises(UserError) as caught:
        TokenDataset(**(good | wrong))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("arguments", [(-1,), (2**63,), (0, 1), (0, -1, 2), (0, 2, 2), (0, 0, 0), (0, 0, 3)])
def test_wrong_steps_and_ranks_are_refused(arguments: tuple[int, ...]) -> None:
    """负的步号、越界的 rank、不能平分的进程数。"""
    with pytest.raises(UserError):
        counting(50, 4, 4).batch(*arguments)


@pytest.mark.parametrize("arguments", [(np.zeros(1, int), 4, 1), (np.zeros(9, int), 0, 1), (np.zeros(9, int), 4, 0)])
def test_wrong_evaluation_is_refused_at_once(arguments: tuple[Any, ...]) -> None:
    """调用时就报错，不等到取第一批。"""
    with pytest.raises(UserError):
        evaluation_batches(*arguments)


# ---- 滑动窗口 ----


@given(st.integers(2, 120), st.integers(1, 20), st.integers(1, 25), st.booleans())
def test_sliding_windows_differ_from_slices(size: int, context: int, stride: int, drop_last: bool) -> None:
    """与教科书的写法对照：``range(0, len(ids) - context, stride)`` 处的切片；不丢结尾时再补一行。"""
    ids = np.arange(1, size + 1)
    starts = list(range(0, size - context, stride))
    if drop_last and not starts:
        with pytest.raises(UserError):
            Windows(ids, context, stride=stride)
        return
    wanted = [(ids[s : s + context].tolist(), ids[s + 1 : s + context + 1].tolist()) for s in starts]
    tail = len(starts) * stride
    if not drop_last and tail < size - 1 and (not starts or starts[-1] + context < size - 1):
        room = context - (size - 1 - tail)
        wanted.append((ids[tail:-1].tolist() + [0] * room, ids[tail + 1 :].tolist() + [IGNORE_INDEX] * room))
    windows = Windows(ids, context, stride=stride, drop_last=drop_last)
    x, y = windows.take(np.arange(windows.size))
    assert list(zip(x.tolist(), y.tolist(), strict=True)) == wanted


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 30), st.data())
def test_shards_read_differently_from_one_array(sizes: list[int], length: int, data: st.DataObject) -> None:
    """几个分片首尾相接，与一个数组读起来完全一样：行、段、任意位置，跨过几个分片也是。"""
    whole = np.arange(sum(sizes), dtype=np.uint16)
    tokens = Tokens(np.split(whole, np.cumsum(sizes)[:-1]))
    length = min(length, whole.size)
    starts = np.array(data.draw(st.lists(st.integers(0, whole.size - length), min_size=1, max_size=9)))
    assert np.array_equal(tokens.rows(starts, length), whole[starts[:, None] + np.arange(length)])
    assert np.array_equal(tokens.at(starts), whole[starts])
    out = np.zeros(starts.size * length, np.int64)
    tokens.copy(starts, np.full(starts.size, length), out, np.arange(starts.size) * length)
    assert out.tolist() == [id for start in starts.tolist() for id in whole[start : start + length].tolist()]
    assert tokens.rows(starts, length).dtype == whole.dtype
    for start in starts.tolist():
        assert np.array_equal(tokens.read(start, start + length), whole[start : start + length])
    assert tokens.read(whole.size, whole.size).size == 0


@given(st.integers(1, 9000), st.integers(0, 2**63), st.integers(1, 50), st.integers(0, 2**64 - 1))
def test_remembered_blocks_change_the_order(size: int, first: int, rows: int, seed: int) -> None:
    """按块算出并记住的次序，与逐个算出的排列相同。"""
    found = drawn(first, np.arange(rows), size, seed)
    wanted = [
        int(permute(np.array([n % size], np.uint64), size, seed, n // size)[0]) for n in range(first, first + rows)
    ]
    assert found.tolist() == wanted


@pytest.mark.parametrize("context", [2047, 2048, 5000])
def test_long_windows_differ_from_slices(context: int) -> None:
    """长窗口逐行复制，短窗口成批取：两条路都与切片相同，跨分片的也是。"""
    ids = np.random.default_rng(0).integers(0, 60_000, 30_000).astype(np.uint16)
    windows = Windows(Tokens(np.split(ids, [9000, 9001, 20_000])), context)
    x, y = windows.take(np.arange(windows.size)[::-1])
    for row, k in enumerate(reversed(range(windows.size))):
        assert np.array_equal(x[row], ids[k * context : (k + 1) * context])
        assert np.array_equal(y[row], ids[k * context + 1 : (k + 1) * context + 1])
    assert x.dtype == y.dtype == np.int64
