"""指令微调与偏好对：该学的一个不少、不该学的一个不多，怎样填充、打包、裁剪都不改变别的样本。"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.batches import IGNORE_INDEX, Example, Examples, Padded, PreferencePair, Preferences, Shuffled
from tinygrad_llm.common.corpora import Faults
from tinygrad_llm.common.errors import DataError, UserError

VOCAB, PAD = 50, 49
Samples = st.lists(
    st.lists(st.tuples(st.integers(0, VOCAB - 1), st.booleans()), min_size=2, max_size=12), min_size=1, max_size=12
)


def examples(samples: list[list[tuple[int, bool]]]) -> list[Example]:
    """（id，要不要学）的列表 → 样本。"""
    return [Example([id for id, _ in one], [m for _, m in one], f"data:{i}") for i, one in enumerate(samples)]


def wanted(sample: list[tuple[int, bool]]) -> tuple[list[int], list[int]]:
    """朴素的写法：逐个位置看下一个要不要学。"""
    x = [id for id, _ in sample[:-1]]
    return x, [id if learn else IGNORE_INDEX for id, learn in sample[1:]]


@given(Samples, st.integers(1, 5), st.integers(0, 2**64 - 1), st.integers(1, 4), st.integers(0, 9))
def test_padding_changes_a_sample(
    samples: list[list[tuple[int, bool]]], batch_size: int, seed: int, multiple: int, step: int
) -> None:
    """去掉填充，就是原来的样本；行长是这一步里最长的，取整到倍数；一轮里每条恰好一次。"""
    stored = Examples(examples(samples), vocab_size=VOCAB, context=12)
    padded = Padded(stored, batch_size=batch_size, seed=seed, pad=PAD, multiple=multiple)
    x, y = padded.batch(step)
    known = [wanted(sample) for sample in samples]
    longest = 0
    for row_x, row_y in zip(x.tolist(), y.tolist(), strict=True):
        matches = [
            (a, b)
            for a, b in known
            if row_x == a + [PAD] * (len(row_x) - len(a)) and row_y == b + [IGNORE_INDEX] * (len(row_y) - len(b))
        ]
        assert matches
        longest = max(longest, min(len(a) for a, _ in matches))
    assert x.shape[1] % multiple == 0 or x.shape[1] == 12
    assert longest <= x.shape[1] < longest + multiple + 11
    single = Padded(stored, batch_size=1, seed=seed, pad=PAD)
    seen = sorted(tuple(single.batch(i)[0][0].tolist()) for i in range(len(samples)))
    assert seen == sorted(tuple(a) for a, _ in known)


@given(Samples, st.integers(12, 30))
def test_packing_cuts_or_mixes_samples(samples: list[list[tuple[int, bool]]], context: int) -> None:
    """打包的行里每一段恰是一条完整的样本，x、y 都是；一轮里每条恰好一次。"""
    packed = Examples(examples(samples), vocab_size=VOCAB, context=context).packed(pad=PAD)
    x, y = packed.take(np.arange(packed.size))
    segments = packed.segments(np.arange(packed.size))
    found = []
    for row in range(packed.size):
        for k in range(segments[row].max() + 1):
            here = segments[row] == k
            found.append((x[row][here].tolist(), y[row][here].tolist()))
        assert (x[row][segments[row] == -1] == PAD).all()
        assert (y[row][segments[row] == -1] == IGNORE_INDEX).all()
    assert sorted(found) == sorted(wanted(sample) for sample in samples)


@given(Samples, st.integers(1, 11))
def test_long_samples_are_miscounted(samples: list[list[tuple[int, bool]]], context: int) -> None:
    """超长的：报错指名样本，或略过，或裁掉结尾；计数与数出来的相同。"""
    long = [sample for sample in samples if len(sample) > context + 1]
    short = [sample for sample in samples if len(sample) <= context + 1]
    made = examples(samples)
    if long:
        with pytest.raises(DataError, match="context") as caught:
            Examples(made, vocab_size=VOCAB, context=context)
        assert caught.value.where == f"data:{samples.index(long[0])}"
    if short:
        skipped = Examples(made, vocab_size=VOCAB, context=context, overflow="skip")
        assert (skipped.counts["skipped"], skipped.counts["kept"]) == (len(long), len(short))
        assert skipped.x.tolist() == [id for sample in short for id in wanted(sample)[0]]
    cropped = Examples(made, vocab_size=VOCAB, context=context, overflow="crop")
    assert cropped.counts["cropped"] == len(long)
    assert cropped.y.tolist() == [id for sample in samples for id in wanted(sample[: context + 1])[1]]
    silent = sum(not any(learn for _, learn in sample[1 : context + 1]) for sample in samples)
    assert cropped.counts["silent"] == silent


def test_all_masked_rows_are_nan() -> None:
    """没有一处要学的样本照样进批次：y 全是 ``IGNORE_INDEX``，按「和 ÷ 有效数」贡献零。"""
    silent = Examples([Example([1, 2, 3], [True, False, False])], vocab_size=VOCAB, context=4)
    _, y = Padded(silent, batch_size=2, seed=0, pad=PAD).batch(0)
    assert (y == IGNORE_INDEX).all()
    assert silent.counts["silent"] == 1


BAD = {
    "mask": (Example([1, 2, 3], [True]), "loss mask"),
    "short": (Example([1], [True]), "fewer than two"),
    "empty": (Example([], []), "fewer than two"),
    "large": (Example([1, 50], [True, True]), "token id 50"),
    "negative": (Example([-1, 3], [True, True]), "token id -1"),
}


@pytest.mark.parametrize("case", BAD)
def test_broken_samples_are_trained_on(case: str) -> None:
    """掩码不等长、太短、id 越界：停下时指名出处，略过时按原因计数。"""
    bad, said = BAD[case]
    named = Example(bad.ids, bad.loss_mask, "file.jsonl:7")
    good = Example([1, 2], [False, True])
    with pytest.raises(DataError, match=said) as caught:
        Examples([good, named], vocab_size=VOCAB, context=8)
    assert caught.value.where == "file.jsonl:7"
    assert caught.value.exit_code == 4
    faults = Faults("skip")
    assert Examples([good, named, good], vocab_size=VOCAB, context=8, faults=faults).size == 2
    assert list(faults.counts.values()) == [1]
    with pytest.raises(DataError, match="no samples"):
        Examples([named], vocab_size=VOCAB, context=8, faults=Faults("skip"))


# ---- 偏好对 ----

Ids = st.lists(st.integers(0, VOCAB - 2), min_size=1, max_size=9)
Pairs = st.lists(st.tuples(Ids, Ids, Ids), min_size=1, max_size=8)


def pairs(some: list[tuple[list[int], list[int], list[int]]]) -> list[PreferencePair]:
    """三段 id → 偏好对。"""
    return [PreferencePair(p, c, r, f"pairs:{i}") for i, (p, c, r) in enumerate(some)]


def side(prompt: list[int], answer: list[int], width: int) -> tuple[list[int], list[int]]:
    """朴素的写法：一边的 x 与 y。"""
    ids = prompt + answer
    y = [IGNORE_INDEX] * (len(prompt) - 1) + answer
    room = width - len(y)
    return ids[:-1] + [PAD] * room, y + [IGNORE_INDEX] * room


@given(Pairs, st.integers(0, 2**64 - 1))
def test_sides_of_a_pair_differ_in_width(some: list[tuple[list[int], list[int], list[int]]], seed: int) -> None:
    """两边同样的提示、同样的行长；只有回答计损失；一轮里每对恰好一次。"""
    made = Preferences(pairs(some), vocab_size=VOCAB, context=20, batch_size=len(some), seed=seed, pad=PAD)
    x, y = made.batch(0)
    width = max(len(p) + max(len(c), len(r)) - 1 for p, c, r in some)
    assert x.shape == y.shape == (2, len(some), width)
    rows = [(x[0, i].tolist(), y[0, i].tolist(), x[1, i].tolist(), y[1, i].tolist()) for i in range(len(some))]
    assert sorted(rows) == sorted((*side(p, c, width), *side(p, r, width)) for p, c, r in some)


@given(Pairs, st.integers(1, 12))
def test_long_pairs_lose_their_answers(some: list[tuple[list[int], list[int], list[int]]], context: int) -> None:
    """裁剪时先裁提示的开头，两边一样；只有回答自己超长才裁回答的结尾。"""
    long = [i for i, (p, c, r) in enumerate(some) if len(p) + max(len(c), len(r)) > context + 1]
    settings: dict[str, Any] = {"vocab_size": VOCAB, "context": context, "batch_size": len(some), "pad": PAD}
    if long:
        with pytest.raises(DataError, match="context") as caught:
            Preferences(pairs(some), seed=None, **settings)
        assert caught.value.where == f"pairs:{long[0]}"
    cropped = Preferences(pairs(some), seed=None, overflow="crop", **settings)
    x, y = cropped.batch(0)
    assert cropped.counts["cropped"] == len(long)
    assert x.shape[2] <= context
    for i, (p, c, r) in enumerate(some):
        keep = max(context + 1 - max(len(c), len(r)), 1) if i in long else len(p)
        for k, answer in enumerate((c, r)):
            wanted_x, wanted_y = side(p[-keep:], answer[:context] if i in long else answer, x.shape[2])
            assert (x[k, i].tolist(), y[k, i].tolist()) == (wanted_x, wanted_y)
    if len(long) < len(some):
        skipped = Preferences(pairs(some), seed=None, overflow="skip", **settings)
        assert (skipped.size, skipped.counts["skipped"]) == (len(some) - len(long), len(long))


@pytest.mark.parametrize("empty", ["prompt", "chosen", "rejected"])
def test_empty_parts_are_trained_on(empty: str) -> None:
    """提示或回答是空的：停下时指名，略过时计数。"""
    parts: dict[str, Any] = {"prompt": [1], "chosen": [2], "rejected": [3], empty: []}
    settings: dict[str, Any] = {"vocab_size": VOCAB, "context": 8, "batch_size": 1, "seed": 0, "pad": PAD}
    with pytest.raises(DataError, match=f"empty {empty}") as caught:
        Preferences([PreferencePair(**parts, source="p:3")], **settings)
    assert caught.value.where == "p:3"
    faults = Faults("skip")
    both = [PreferencePair(**parts), PreferencePair([1], [2], [3])]
    assert Preferences(both, faults=faults, **settings).size == 1
    assert sum(faults.counts.values()) == 1


def test_unknown_overflow_is_accepted() -> None:
    """选项打错：报错。"""
    with pytest.raises(UserError):
        Examples([Example([1, 2], [True, True])], vocab_size=9, context=4, overflow="drop")
    with pytest.raises(UserError):
        Shuffled(Examples([Example([1, 2], [True, True])], vocab_size=9, context=4).packed(pad=0), batch_size=0, seed=0)
