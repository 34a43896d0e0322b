"""线性代数算子的对照，格式同 ``op_table.py``。

分解的因子常差一个正负号（奇异向量乘 -1 还是奇异向量）：``_signs`` 把 torch 的符号调成与我们的一致，再逐元素比较。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from parity_tests.engine.op_cases import Case, Row
from parity_tests.strategies import Draw, array, broadcastable, shapes

Matrix = Callable[[Draw, tuple[int, ...]], Any]


def _dominant(draw: Draw, shape: tuple[int, ...]) -> Any:
    """对角占优：条件数不大，选主元也不会换行。"""
    x = array(draw, shape, "angle")
    x += 4 * np.eye(shape[-2], shape[-1])
    return x


def _spread(draw: Draw, shape: tuple[int, ...]) -> Any:
    """奇异值彼此相距约 2：分解对输入是光滑的。"""
    x = array(draw, shape, "angle")
    x *= 0.3
    x += np.eye(shape[-2], shape[-1]) * (2 + 2 * np.arange(shape[-1]))
    return x


def _symmetric(draw: Draw, shape: tuple[int, ...]) -> Any:
    """特征值彼此相距约 4。"""
    x = _spread(draw, shape)
    x += np.array(x.mT)
    return x


def _positive_definite(draw: Draw, shape: tuple[int, ...]) -> Any:
    x = _dominant(draw, shape)
    x += np.array(x.mT)
    return x


def _contiguous(draw: Draw, shape: tuple[int, ...]) -> Any:
    """``torch.linalg.matrix_exp`` 不接受别的内存布局。"""
    return array(draw, shape, "angle", layout=False)


def _batch(draw: Draw, small: bool) -> tuple[int, ...]:
    return () if small else draw(shapes(0, 2))


def _square(matrix: Matrix, min_side: int = 0) -> Callable[[Draw, bool], Case]:
    def draw(draw: Draw, small: bool) -> Case:
        n = draw(st.integers(1 if small else min_side, 2 if small else 4))
        return [matrix(draw, (*_batch(draw, small), n, n))], {}

    return draw


def _tall(draw: Draw, small: bool) -> Case:
    n = draw(st.integers(1 if small else 0, 2 if small else 3))
    m = n + draw(st.integers(0, 1 if small else 2))
    return [_dominant(draw, (*_batch(draw, small), m, n))], {}


def _any_shape(draw: Draw, small: bool) -> Case:
    m, n = (draw(st.integers(1 if small else 0, 2 if small else 4)) for _ in range(2))
    return [_spread(draw, (*_batch(draw, small), m, n))], {}


def _pinv(draw: Draw, small: bool) -> Case:
    return _any_shape(draw, small)[0], {"atol": 0.0, "rtol": 1e-6}


def _equation(attrs: Callable[[Draw], dict[str, Any]]) -> Callable[[Draw, bool], Case]:
    """``a y = b``，两边的批可以广播。"""

    def draw(draw: Draw, small: bool) -> Case:
        first, second = ((), ()) if small else draw(broadcastable(2, 2))
        n, k = draw(st.integers(1 if small else 0, 2 if small else 4)), draw(st.integers(1, 2))
        return [_dominant(draw, (*first, n, n)), array(draw, (*second, n, k))], attrs(draw)

    return draw


def _triangle(draw: Draw) -> dict[str, Any]:
    return {"upper": draw(st.booleans()), "unitriangular": draw(st.booleans())}


def _differences(draw: Draw, small: bool) -> Case:
    lead = draw(shapes(0, 1 if small else 2, 1))
    domain = "smooth" if small else draw(st.sampled_from(["any", "ties"]))
    x = array(draw, (*lead, draw(st.integers(1, 2 if small else 4))), domain)
    if domain == "smooth":
        x += 0.01  # 一正一负的两个数，绝对值也不再相同
    return [x], {}


def _chebyshev_twin(x: Any) -> Any:
    """并列者各得全部梯度：``cdist`` 的约定，与 ``amax`` 平分不同。"""
    return torch.cdist(x[..., None, :], torch.zeros_like(x)[..., None, :], p=math.inf)[..., 0, 0]


def _point_sets(draw: Draw, small: bool) -> Case:
    lead = () if small else draw(shapes(0, 1, 1))
    p, r, m = (draw(st.integers(1, 2 if small else 3)) for _ in range(3))
    far = array(draw, (*lead, r, m), "angle")
    far += 3.0
    return [array(draw, (*lead, p, m), "angle"), far], {}


def _packed(lead: int, *factors: Any) -> Any:
    return torch.cat([f.reshape(*f.shape[:lead], math.prod(f.shape[lead:])) for f in factors], dim=-1)


def _signs(theirs: Any, ours: Any) -> Any:
    """各列与我们的同向为 1，反向为 -1。"""
    return torch.where((theirs.detach() * torch.from_numpy(ours)).sum(-2) < 0, -1.0, 1.0).to(theirs.dtype)


def _eigh_twin(x: Any) -> Any:
    whole = (x + x.mT) / 2
    values, vectors = torch.linalg.eigh(whole)
    flip = _signs(vectors, np.linalg.eigh(whole.detach().numpy())[1])
    return _packed(x.ndim - 2, values, vectors * flip[..., None, :])


def _svd_twin(x: Any) -> Any:
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    flip = _signs(u, np.linalg.svd(x.detach().numpy(), full_matrices=False)[0])
    return _packed(x.ndim - 2, u * flip[..., None, :], s, vh * flip[..., None])


def _matrix_exp_twin(x: Any) -> Any:
    """torch 的 float32 只有四位准确，神谕用 float64 算。"""
    return torch.linalg.matrix_exp(x.to(torch.promote_types(x.dtype, torch.float64))).to(x.dtype)


def _lu_twin(x: Any) -> Any:
    packed, pivots = torch.linalg.lu_factor(x)
    assert (pivots == torch.arange(1, x.shape[-1] + 1)).all()  # 对角占优，没有换行
    return packed


ROWS: dict[str, Row] = {
    "inv": Row(_square(_dominant), torch.linalg.inv),
    "solve": Row(_equation(lambda draw: {}), lambda a, b: torch.linalg.inv(a) @ b),
    "solve_triangular": Row(_equation(_triangle), torch.linalg.solve_triangular),
    "det": Row(_square(_dominant), torch.linalg.det),
    "cofactor": Row(
        _square(_dominant), lambda x: torch.linalg.det(x)[..., None, None] * torch.linalg.inv(x).mT
    ),
    "logabsdet": Row(_square(_dominant), lambda x: torch.linalg.slogdet(x)[1]),
    "pinv": Row(_pinv, torch.linalg.pinv),
    "matrix_exp": Row(_square(_contiguous), _matrix_exp_twin),
    "cholesky": Row(_square(_positive_definite), lambda x: torch.linalg.cholesky((x + x.mT) / 2)),
    "lu": Row(_square(_dominant), _lu_twin),
    "qr": Row(_tall, lambda x: _packed(x.ndim - 2, *torch.linalg.qr(x))),
    "eigh": Row(_square(_symmetric), _eigh_twin),
    "svd": Row(_any_shape, _svd_twin),
    "chebyshev": Row(_differences, _chebyshev_twin, lambda x: x.abs().amax(-1)),
    "euclidean": Row(_point_sets, lambda a, b: (a[..., :, None, :] - b[..., None, :, :]).square().sum(-1).sqrt()),
}  # fmt: skip
