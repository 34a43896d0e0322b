"""存法与舍入：压进去的取得出来，误差不超过半个刻度，比例尺是 bfloat16 能表示的数。"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parity_tests.tolerances import assert_close
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.quantization import Scheme, dequantize, quantize
from tinygrad_llm.common.quantization.packing import pack_nibbles, round_bfloat16, round_up_bfloat16, unpack_nibbles
from tinygrad_llm.common.quantization.rounding import best_grid, choose_scheme, fit_grid, group_errors
from torch_llm.quantization.weight import PackedWeight

SIDES = st.integers(1, 300)
SEEDS = st.integers(0, 2**32 - 1)
SCHEMES = [Scheme("int8"), *(Scheme("int4", group, zero) for group in (32, 64, 128) for zero in (False, True))]


def matrix(seed: int, rows: int, columns: int) -> np.ndarray:
    """各列大小相差几个数量级、偏离 0 的矩阵，间或有整行整段的 0。"""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((rows, columns)) * 10.0 ** rng.uniform(-6, 2, (rows, 1)) + rng.choice([0, 0.1])
    w[rng.random((rows, columns)) < rng.choice([0, 0.3, 1])] = 0
    return np.asarray(w, np.float32)


def spread(packed: object, scheme: Scheme, columns: int) -> np.ndarray:
    """每个元素自己的比例尺 ``(out, in)``。"""
    scale = packed.scale.astype(np.float64)  # type: ignore[attr-defined]
    return scale[:, None] if scheme.format == "int8" else np.repeat(scale, scheme.group, 1)[:, :columns]


@given(SEEDS, SIDES, SIDES)
def test_nibbles_come_back_as_they_went_in(seed: int, rows: int, columns: int) -> None:
    """两个并一个字节，再拆开，逐个相同；列数是奇数也一样。"""
    codes = np.random.default_rng(seed).integers(0, 16, (rows, columns)).astype(np.uint8)
    packed = pack_nibbles(codes)
    assert packed.shape == (rows, (columns + 1) // 2)
    assert np.array_equal(unpack_nibbles(packed, columns), codes)


@given(SEEDS)
def test_bfloat16_is_rounded_as_torch_rounds_it(seed: int) -> None:
    """就近取偶与 torch 逐位相同；向上取的从不变小，至多大一个刻度。"""
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal(200) * 10.0 ** rng.uniform(-30, 30, 200)).astype(np.float32)
    assert np.array_equal(round_bfloat16(x), torch.from_numpy(x).bfloat16().float().numpy())
    up = round_up_bfloat16(np.abs(x))
    assert (up >= np.abs(x)).all()
    assert (up <= np.abs(x) * np.float32(1 + 2.0**-7)).all()
    assert np.array_equal(up, round_bfloat16(up))


@given(SEEDS, st.integers(1, 40), SIDES, st.sampled_from(SCHEMES))
def test_the_error_is_at_most_half_a_step(seed: int, rows: int, columns: int, scheme: Scheme) -> None:
    """盖住整个范围的网格：|w - ŵ| ≤ scale/2，只差 float32 的舍入。"""
    w = matrix(seed, rows, columns)
    packed = quantize(w, scheme, search=False)
    error = np.abs(dequantize(packed).astype(np.float64) - w)
    rounding = 2.0**-22 * (np.abs(w) + spread(packed, scheme, columns) * 16)
    assert (error <= spread(packed, scheme, columns) / 2 + rounding).all()
    for grid in (packed.scale, packed.zero):
        if grid is not None:
            assert np.array_equal(round_bfloat16(grid.astype(np.float32)), grid.astype(np.float32))


@given(SEEDS, st.integers(1, 20), st.integers(1, 200), st.sampled_from(SCHEMES))
def test_searching_never_makes_a_group_worse(seed: int, rows: int, columns: int, scheme: Scheme) -> None:
    """收窄范围的搜索逐组比较，误差平方和从不大于不收窄的；按列加权时亦然。"""
    w = matrix(seed, rows, columns)
    importance = np.random.default_rng(seed).uniform(0, 1, columns)
    plain = group_errors(w, fit_grid(w, scheme), scheme, importance)
    assert (group_errors(w, best_grid(w, scheme, importance), scheme, importance) <= plain).all()


def test_a_zero_point_is_kept_only_where_it_helps() -> None:
    """全为正的矩阵要零点；已经在对称网格上的不要。"""
    rng = np.random.default_rng(0)
    assert choose_scheme(rng.uniform(1, 2, (8, 64)), Scheme("int4", 64)).has_zero
    codes = rng.integers(-8, 8, (8, 64)).astype(np.float32)
    codes[:, 0] = -8
    assert not choose_scheme(codes, Scheme("int4", 64)).has_zero
    assert not choose_scheme(rng.uniform(1, 2, (8, 64)), Scheme("int8")).has_zero


@given(SEEDS, st.integers(1, 15), st.sampled_from([16, 48, 17]), st.sampled_from([32, 40, 96, 128, 344]), st.data())
def test_the_fast_kernels_multiply_by_the_matrix_that_was_stored(
    seed: int, rows: int, out: int, columns: int, data: st.DataObject
) -> None:
    """任何形状，快的路径都等于还原之后再乘，只差 bfloat16 的舍入；还原的与 NumPy 逐位相同。"""
    scheme = data.draw(st.sampled_from(SCHEMES))
    rng = np.random.default_rng(seed)
    packed = quantize(rng.standard_normal((out, columns)).astype(np.float32), scheme)
    whole = dequantize(packed)
    assert np.array_equal(PackedWeight(packed).to(torch.float32).numpy(), whole)
    ids = torch.tensor([[0, out - 1], [0, 0]])
    assert np.array_equal(PackedWeight(packed).rows(ids).numpy(), whole[ids.numpy()])
    x = rng.standard_normal((rows, columns)).astype(np.float32)
    fast = PackedWeight(packed).linear(torch.from_numpy(x)).numpy()
    size = np.abs(x) @ np.abs(whole.T)  # 每项至多差 2⁻⁸，和也再舍入一次
    assert (np.abs(fast - x @ whole.T) <= 2.0**-7 * size).all()


@given(SEEDS, st.integers(1, 9))
def test_integer_activations_are_exact_integer_arithmetic(seed: int, rows: int) -> None:
    """W8A8：与 NumPy 照定义写出的整数算式相同，只差末尾乘比例尺的舍入。"""
    rng = np.random.default_rng(seed)
    packed = quantize(rng.standard_normal((24, 64)).astype(np.float32), Scheme("int8"))
    x = rng.standard_normal((rows, 64)).astype(np.float32)
    scale = np.abs(x).max(1, keepdims=True) / np.float32(127)
    sums = np.rint(x / scale).astype(np.int64) @ packed.codes.T.astype(np.int64)
    ours = PackedWeight(packed, "w8a8").linear(torch.from_numpy(x)).numpy()
    assert_close(ours, (sums.astype(np.float32) * scale * packed.scale).astype(np.float32), "float32")


@pytest.mark.parametrize(
    "values", [{"format": "int3"}, {"format": "int4", "group": 7}, {"format": "int8", "group": 64}]
)
def test_an_impossible_format_is_refused(values: dict[str, object]) -> None:
    """不存在的格式、组大小，在造出来时就拒绝。"""
    with pytest.raises(UserError, match=r"format|group"):
        Scheme(**values)  # type: ignore[arg-type]
