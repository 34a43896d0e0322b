"""打包：与一行一行地排的朴素写法逐段相同，token 一个不重，段与段互不相见。"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_llm.common.batches import IGNORE_INDEX, Packed, Plan, Shuffled, Tokens, Windows, plan_rows
from tinygrad_llm.common.batches.masks import attention_bias, attention_mask, cu_seqlens, positions, segments_by_token
from tinygrad_llm.common.errors import UserError

Lengths = st.lists(st.integers(1, 30), min_size=1, max_size=60)
EOT = 0


def stored(lengths: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """一篇一篇接起来的语料：每篇以 ``EOT`` 开头，其余的 id 就是自己的下标；末尾再有一个 ``EOT``。"""
    sizes = np.array(lengths)
    starts = np.cumsum(sizes) - sizes
    ids = np.arange(sizes.sum() + 1)
    ids[np.append(starts, sizes.sum())] = EOT
    return ids, starts, sizes


def naive_rows(lengths: list[int], context: int, fill: str) -> list[list[tuple[int, int]]]:
    """一行一行、一篇一篇地找：装得下的最长的；没有就裁最短的，或者换行。返回各行的（原长，取用）。"""
    left = sorted(lengths)
    rows: list[list[tuple[int, int]]] = []
    while left:
        room, row = context, []
        while room and left:
            fitting = [length for length in left if length <= room]
            if not fitting and fill == "pad":
                break
            chosen = max(fitting) if fitting else min(left)
            left.remove(chosen)
            row.append((chosen, min(chosen, room)))
            room -= row[-1][1]
        rows.append(row)
    return rows


def pieces(plan: Plan) -> list[list[tuple[int, int]]]:
    """各行的（起点，长度）。"""
    ends = [0, *plan.row_ends.tolist()]
    pairs = list(zip(plan.starts.tolist(), plan.lengths.tolist(), strict=True))
    return [pairs[first:end] for first, end in pairwise(ends)]


@given(Lengths, st.integers(1, 25), st.sampled_from(["crop", "pad"]))
def test_rows_differ_from_the_naive_best_fit(lengths: list[int], context: int, fill: str) -> None:
    """成批排出的行与一行一行地找的不同：组合重复用过了头，或桶空了还在用。"""
    _, starts, sizes = stored(lengths)
    plan = plan_rows(starts, sizes, context, fill=fill)
    wanted = naive_rows([min(length, context) for length in lengths], context, fill)
    found = [sorted(length for _, length in row) for row in pieces(plan)]
    assert sorted(found) == sorted(sorted(used for _, used in row) for row in wanted)
    cropped = sum(length > used for row in wanted for length, used in row) + sum(n > context for n in lengths)
    assert plan.cropped_documents == cropped


@given(Lengths, st.integers(1, 25), st.sampled_from(["crop", "pad"]), st.sampled_from(["crop", "split"]))
def test_a_token_is_packed_twice_or_a_row_overflows(lengths: list[int], context: int, fill: str, long: str) -> None:
    """每段是一篇文档里的一截，互不重叠；行不超长；报告里的三个数与数出来的相同。"""
    _, starts, sizes = stored(lengths)
    plan = plan_rows(starts, sizes, context, fill=fill, long=long)
    rows = pieces(plan)
    covered = Counter(at for row in rows for start, length in row for at in range(start, start + length))
    assert not covered or max(covered.values()) == 1
    assert all(0 < sum(length for _, length in row) <= context for row in rows)
    owners = np.searchsorted(starts, [start for row in rows for start, _ in row], side="right") - 1
    for owner, (start, length) in zip(owners, (piece for row in rows for piece in row), strict=True):
        assert start + length <= starts[owner] + sizes[owner]
    assert plan.used_tokens == len(covered)
    assert plan.utilisation == pytest.approx(len(covered) / (len(rows) * context))
    assert plan.cropped == pytest.approx(1 - len(covered) / sum(lengths))
    if long == "crop":
        assert {start for row in rows for start, _ in row} == set(starts.tolist())  # 每段都从文档开头开始
    if fill == "pad" and long == "split":
        assert len(covered) == sum(lengths)
    if fill == "crop":
        full = [sum(length for _, length in row) == context for row in rows]
        assert all(full) or full.count(False) == 1


@given(Lengths, st.integers(1, 25), st.sampled_from(["crop", "pad"]), st.data())
def test_targets_are_not_the_next_tokens(lengths: list[int], context: int, fill: str, data: st.DataObject) -> None:
    """y 是原文里的下一个 token；文档说完之后是 ``EOT``；填充处不计损失。分片边界不影响结果。"""
    ids, starts, sizes = stored(lengths)
    plan = plan_rows(starts, sizes, context, fill=fill, long="split")
    cut = data.draw(st.integers(0, ids.size))
    tokens = Tokens([ids[:cut], ids[cut:]] if 0 < cut < ids.size else [ids])
    samples = Packed(tokens, plan, pad=7)
    order = np.array(data.draw(st.lists(st.integers(0, plan.rows - 1), min_size=1, max_size=8)))
    x, y = samples.take(order)
    segments = samples.segments(order)
    rows = pieces(plan)
    for i, row in enumerate(order.tolist()):
        spans = [(start, start + length) for start, length in rows[row]]
        wanted_x = [id for start, stop in spans for id in ids[start:stop].tolist()]
        wanted_y = [id for start, stop in spans for id in ids[start + 1 : stop + 1].tolist()]
        wanted_s = [k for k, (start, stop) in enumerate(spans) for _ in range(start, stop)]
        room = context - len(wanted_x)
        assert x[i].tolist() == wanted_x + [7] * room
        assert y[i].tolist() == wanted_y + [IGNORE_INDEX] * room
        assert segments[i].tolist() == wanted_s + [-1] * room
    assert x.dtype == y.dtype == np.int64
    assert x.flags.c_contiguous


@given(Lengths, st.integers(1, 25), st.integers(0, 2**63))
def test_packed_epochs_repeat_or_miss_a_row(lengths: list[int], context: int, seed: int) -> None:
    """打乱之后，一轮里每一行恰好出现一次。"""
    ids, starts, sizes = stored(lengths)
    stream = Shuffled(Packed(Tokens([ids]), plan_rows(starts, sizes, context), pad=0), batch_size=1, seed=seed)
    rows = [int(stream.chosen(step)[0]) for step in range(2 * stream.samples.size)]
    assert sorted(rows[: len(rows) // 2]) == sorted(rows[len(rows) // 2 :]) == list(range(stream.samples.size))


@pytest.mark.parametrize("wrong", [{"fill": "squeeze"}, {"long": "drop"}, {"context": 0}])
def test_unknown_packing_is_accepted(wrong: dict[str, object]) -> None:
    """选项打错、行长为零，都该报错。"""
    with pytest.raises(UserError):
        plan_rows(np.zeros(1, int), np.ones(1, int), **({"context": 4} | wrong))  # type: ignore[arg-type]


# ---- 掩码 ----


def visible_naively(segments: list[int]) -> list[list[bool]]:
    """定义：j 不晚于 i，并且同属一篇。"""
    return [[j <= i and other == own for j, other in enumerate(segments)] for i, own in enumerate(segments)]


Segments = st.lists(st.integers(1, 6), min_size=1, max_size=6).map(
    lambda sizes: [k for k, size in enumerate(sizes) for _ in range(size)]
)


@given(Segments, st.integers(0, 3))
def test_masks_let_documents_see_each_other(segments: list[int], padding: int) -> None:
    """三种写法与定义不符：掩码、位置、边界。"""
    row = [*segments, *[-1] * padding]
    array = np.array([row, row], np.int32)
    mask, bias = attention_mask(array), attention_bias(array)
    assert mask.shape == (2, 1, len(row), len(row))
    assert mask[1, 0].tolist() == visible_naively(row)
    assert np.array_equal(bias == 0, mask)
    assert mask.any(-1).all()  # 没有空行，softmax 不会得到 NaN
    expected = [sum(other == own for other in row[:i]) for i, own in enumerate(row)]
    assert positions(array)[0].tolist() == expected
    edges = cu_seqlens(array)
    flat = [own + 10 * r for r in range(2) for own in row]
    assert [flat[a] for a in edges[:-1]] == list(dict.fromkeys(flat))
    assert np.diff(edges).tolist() == list(Counter(flat).values())


def test_windows_count_documents_wrongly() -> None:
    """由 ``EOT`` 数文档：行首接着上一篇的后半也从 0 起；补齐的结尾是 -1。"""
    ids = np.array([0, 5, 5, 0, 5, 0, 0, 5, 5])
    assert segments_by_token(ids[None, 1:7], 0).tolist() == [[0, 0, 1, 1, 2, 3]]
    windows = Windows(ids, 3, drop_last=False, eot=0)
    assert windows.segments(np.arange(windows.size)).tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, -1]]
