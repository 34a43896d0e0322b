"""线性代数：值、一阶导与二阶导都与 torch 相同；写错的代码报同一类错误。

流入：表里的一行（函数与输入）；流出：第一处不同。奇异向量的正负号不定，比较之前取绝对值。
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, table, values
from parity_tests.tolerances import assert_close

Array = np.ndarray[Any, Any]
Case = tuple[Callable[..., Any], list[Array]]

A = values(0, 3, 3) + 3 * np.eye(3)
AB = values(1, 2, 3, 3) + 3 * np.eye(3)
S, SB = A @ A.T, AB @ AB.transpose(0, 2, 1)
TALL, WIDE, T3 = values(2, 4, 3), values(2, 3, 4), values(3, 2, 3, 4)
B, v, w = values(4, 3, 2), values(5, 3), values(6, 3)
ZEROS = np.array([[0.0, 0.0, 1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0]])
SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])


def _leaves(m: Any, arrays: list[Array]) -> list[Any]:
    return [m.tensor(np.array(a), requires_grad=True) for a in arrays]


def _weighted(m: Any, outputs: Any) -> Any:
    """浮点输出的加权和，权重各不相同。"""
    listed = outputs if isinstance(outputs, (tuple, list)) else [outputs]
    kept = [y for y in listed if y.is_floating_point() and y.requires_grad]
    weights = [m.tensor(np.cos(np.arange(y.numel()) + 1.0).reshape(tuple(y.shape))) for y in kept]
    return sum((y * c).sum() for y, c in zip(kept, weights, strict=True))


def _grads(m: Any, y: Any, inputs: list[Any], create_graph: bool) -> list[Any]:
    found = m.autograd.grad(y, inputs, create_graph=create_graph, allow_unused=True)
    return [m.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]


def _first(m: Any, f: Callable[..., Any], arrays: list[Array]) -> Any:
    inputs = _leaves(m, arrays)
    outputs = f(m, *inputs)
    return outputs, _grads(m, _weighted(m, outputs), inputs, False)


def _second(m: Any, f: Callable[..., Any], arrays: list[Array]) -> Any:
    inputs = _leaves(m, arrays)
    first = [g for g in _grads(m, _weighted(m, f(m, *inputs)), inputs, True) if g.requires_grad]
    if not first:
        return []
    return [g.detach() for g in _grads(m, sum((g * g).sum() + g.sum() for g in first), inputs, False)]


def _abs(found: Any) -> list[Any]:
    return [part.abs() for part in found]


PRODUCTS: dict[str, Case] = {
    "mm": (lambda m, a, b: m.mm(a, b), [A, B]),
    "bmm": (lambda m, a, b: a.bmm(b), [AB, T3[:, :, :2]]),
    "mv": (lambda m, a, b: a.mv(b), [TALL, v]),
    "dot": (lambda m, a, b: a.dot(b), [v, w]),
    "vdot": (lambda m, a, b: m.vdot(a, b), [v, w]),
    "inner": (lambda m, a, b: m.inner(a, b), [T3, values(7, 2, 5, 4)]),
    "inner of a vector": (lambda m, a, b: a.inner(b), [v, A]),
    "inner of a scalar": (lambda m, a, b: a.inner(b), [np.array(2.0), A]),
    "outer": (lambda m, a, b: m.outer(a, b), [v, values(7, 2)]),
    "ger": (lambda m, a, b: a.ger(b), [v, w]),
    "addmm": (lambda m, x, a, b: m.addmm(x, a, b, beta=0.5, alpha=2), [values(8, 2), A, B]),
    "addmm without input": (lambda m, x, a, b: x.addmm(a, b, beta=0), [np.full(2, np.nan), A, B]),
    "addmm without product": (lambda m, x, a, b: x.addmm(a, b, alpha=0), [values(8, 1, 2), A * np.nan, B]),
    "addmv": (lambda m, x, a, b: x.addmv(a, b, beta=2, alpha=0.3), [v, A, w]),
    "addr": (lambda m, x, a, b: x.addr(a, b, beta=2, alpha=0.3), [A, v, w]),
    "addbmm": (lambda m, x, a, b: x.addbmm(a, b, beta=2, alpha=0.3), [A, AB, SB]),
    "baddbmm": (lambda m, x, a, b: x.baddbmm(a, b, beta=2, alpha=0.3), [A, AB, SB]),
    "addmm_": (lambda m, x, a, b: (x * 1).addmm_(a, b, beta=0.5, alpha=2), [B, A, B]),
    "addmv_": (lambda m, x, a, b: (x * 1).addmv_(a, b, alpha=2), [v, A, w]),
    "addr_": (lambda m, x, a, b: (x * 1).addr_(a, b, alpha=2), [A, v, w]),
    "addbmm_": (lambda m, x, a, b: (x * 1).addbmm_(a, b, alpha=2), [A, AB, SB]),
    "baddbmm_": (lambda m, x, a, b: (x * 1).baddbmm_(a, b, alpha=2), [AB, AB, SB]),
    "trace": (lambda m, a: a.trace(), [TALL]),
    "kron": (lambda m, a, b: m.kron(a, b), [B, T3]),
    "cross": (lambda m, a, b: m.cross(a, b), [A, S]),
    "cross along an axis": (lambda m, a, b: m.linalg.cross(a, b, dim=0), [WIDE, values(9, 3, 1)]),
    "chain_matmul": (lambda m, a, b, c: m.chain_matmul(a, b, c), [A, S, B]),
    "multi_dot": (lambda m, a, b, c, d: m.linalg.multi_dot([a, b, c, d]), [v, A, B, values(9, 2)]),
    "vecdot": (lambda m, a, b: m.linalg.vecdot(a, b, dim=0), [A, v[:, None]]),
    "vander": (lambda m, a: m.linalg.vander(a, N=4), [A]),
    "tensordot": (lambda m, a, b: m.tensordot(a, b, dims=([0, 2], [1, 0])), [T3, values(9, 4, 2, 5)]),
    "tensordot of one axis": (lambda m, a, b: m.tensordot(a, b, 1), [T3, values(9, 4, 2)]),
    "tensordot of no axis": (lambda m, a, b: m.tensordot(a, b, 0), [v, A]),
    "matrix_exp": (lambda m, a: m.matrix_exp(a), [AB]),
    "matrix_exp of zero": (lambda m, a: m.linalg.matrix_exp(a), [np.zeros((2, 2))]),
    **{f"matrix_power {n}": (lambda m, a, n=n: a.matrix_power(n), [AB]) for n in (-2, -1, 0, 1, 2, 3, 6)},
}  # fmt: skip

EINSUM: dict[str, list[Array]] = {
    "ij,jk": [A, B], "ij,jk->ki": [A, B], "ii": [A], "ii->i": [A], "ij->": [A], "i,j->ij": [v, w], "i,i,i->": [v, w, v],
    "ijk->kij": [T3], "ij,ij->": [A, S], "bij,jk,kl->bil": [AB, A, B], "...ij,...jk->...ik": [AB, A],
    "...->...": [T3], "a...a->...": [T3[:, :2, :2]], "iij->j": [AB[:, :2]], "...,...": [A, v], "Aa,aB": [A, A],
    "ij,i->j": [A, v], "ij,kj->ik": [np.ones((3, 1)), A],
    "bhid,bhjd->bhij": [values(1, 2, 2, 3, 2), values(2, 2, 2, 4, 2)], " i j , j k ": [A, B],
    "ijk,ilm,njm,nlk,abc->": [T3, values(7, 2, 5, 3), values(8, 6, 3, 3), values(9, 6, 5, 4), values(1, 2, 1, 2)],
}  # fmt: skip

SUBLISTS: dict[str, Case] = {
    "sublists": (lambda m, a, b: m.einsum(a, [0, 1], b, [1, 2], [2, 0]), [A, B]),
    "sublists with an ellipsis": (lambda m, a, b: m.einsum(a, [..., 1], b, [1, 27]), [AB, B]),
    "sublists without output": (lambda m, a, b: m.einsum(a, [30, 1], b, [1, 2]), [A, B]),
    "operands in a list": (lambda m, a, b: m.einsum("ij,jk", [a, b]), [A, B]),
}

SYSTEMS: dict[str, Case] = {
    "inv": (lambda m, a: m.linalg.inv(a), [AB]),
    "inverse": (lambda m, a: a.inverse(), [A]),
    "inv_ex": (lambda m, a: m.linalg.inv_ex(a), [AB]),
    "det": (lambda m, a: m.det(a), [AB]),
    "logdet": (lambda m, a: a.logdet(), [SB]),
    "slogdet": (lambda m, a: m.slogdet(a), [AB]),
    "solve": (lambda m, a, b: m.linalg.solve(a, b), [AB, B]),
    "solve for a vector": (lambda m, a, b: m.linalg.solve(a, b), [A, v]),
    "solve for a batch of vectors": (lambda m, a, b: m.linalg.solve(a, b), [AB, values(7, 2, 3)]),
    "solve from the right": (lambda m, a, b: m.linalg.solve(a, b, left=False), [A, TALL]),
    "solve_ex": (lambda m, a, b: m.linalg.solve_ex(a, b), [A, B]),
    "cholesky_solve": (lambda m, a, b: m.cholesky_solve(b, a), [A, B]),
    "cholesky_solve upper": (lambda m, a, b: b.cholesky_solve(a, upper=True), [A, B]),
    "cholesky_inverse": (lambda m, a: m.cholesky_inverse(a), [A]),
    "cholesky_inverse upper": (lambda m, a: a.cholesky_inverse(True), [A]),
    "lu_solve": (lambda m, a, b: m.lu_solve(b, *m.lu(a)), [A, B]),
    "tensorinv": (lambda m, a: m.linalg.tensorinv(a, ind=2), [values(7, 2, 3, 6)]),
    "tensorsolve": (lambda m, a, b: m.linalg.tensorsolve(a, b), [values(7, 2, 3, 6), values(8, 2, 3)]),
    "tensorsolve of axes": (lambda m, a, b: m.linalg.tensorsolve(a, b, (0, 2)), [values(7, 3, 6, 2), values(8, 6)]),
    **{
        f"solve_triangular {upper:d}{left:d}{unit:d}": (
            lambda m, a, b, u=upper, l=left, n=unit: m.linalg.solve_triangular(a, b, upper=u, left=l, unitriangular=n),
            [AB, B if left else TALL],
        )
        for upper in (False, True) for left in (False, True) for unit in (False, True)
    },
    **{
        f"triangular_solve {upper:d}{transpose:d}": (
            lambda m, a, b, u=upper, t=transpose: m.triangular_solve(b, a, u, t), [A, B]
        )
        for upper in (False, True) for transpose in (False, True)
    },
    **{
        f"linalg.lu_solve {left:d}{adjoint:d}": (
            lambda m, a, b, l=left, t=adjoint: m.linalg.lu_solve(*m.linalg.lu_factor(a), b, left=l, adjoint=t),
            [AB, B if left else TALL],
        )
        for left in (False, True) for adjoint in (False, True)
    },
}  # fmt: skip

FACTORS: dict[str, Case] = {
    "cholesky": (lambda m, a: m.linalg.cholesky(a), [SB]),
    "cholesky reads one triangle": (lambda m, a: m.cholesky(a), [S + np.triu(A, 1)]),
    "cholesky upper": (lambda m, a: a.cholesky(True), [S + np.tril(A, -1)]),
    "cholesky_ex": (lambda m, a: m.linalg.cholesky_ex(a), [S]),
    "qr": (lambda m, a: m.linalg.qr(a), [TALL]),
    "qr of a wide matrix": (lambda m, a: m.qr(a), [WIDE]),
    "complete qr of a wide matrix": (lambda m, a: m.linalg.qr(a, mode="complete"), [WIDE]),
    "eigh": (lambda m, a: _abs(m.linalg.eigh(a)), [SB]),
    "eigh reads one triangle": (lambda m, a: _abs(m.linalg.eigh(a, UPLO="U")), [A]),
    "eigvalsh": (lambda m, a: m.linalg.eigvalsh(a), [SB]),
    "eigvalsh of equal eigenvalues": (lambda m, a: m.linalg.eigvalsh(a), [np.eye(3)]),
    "svd": (lambda m, a: _abs(m.linalg.svd(a, full_matrices=False)), [TALL]),
    "svd of a wide matrix": (lambda m, a: _abs(m.svd(a)), [WIDE]),
    "full svd": (lambda m, a: _abs([x[..., :3] for x in m.linalg.svd(a)]), [TALL]),
    "product of singular vectors": (lambda m, a: (lambda u, s, vh: u @ vh)(*m.linalg.svd(a, False)), [AB]),
    "svdvals": (lambda m, a: m.linalg.svdvals(a), [T3]),
    "svdvals of equal singular values": (lambda m, a: m.linalg.svdvals(a), [np.eye(3)]),
    "pinv": (lambda m, a: m.linalg.pinv(a), [T3]),
    "pinv of low rank": (lambda m, a, b: m.linalg.pinv(a @ b), [B, values(7, 2, 3)]),
    "pinv with a tolerance": (lambda m, a: m.linalg.pinv(a, atol=1.5), [WIDE]),
    "pinv of a symmetric matrix": (lambda m, a: m.linalg.pinv(a, hermitian=True), [S]),
    "pinverse": (lambda m, a: a.pinverse(), [TALL]),
    "lu": (lambda m, a: m.linalg.lu(a), [AB]),
    "lu of a tall matrix": (lambda m, a: m.linalg.lu(a), [TALL]),
    "lu of a wide matrix": (lambda m, a: m.linalg.lu(a), [WIDE]),
    "lu_factor": (lambda m, a: m.linalg.lu_factor(a), [AB]),
    "lu with info": (lambda m, a: a.lu(get_infos=True), [TALL]),
    "lu_unpack": (lambda m, a: m.lu_unpack(*m.lu(a)), [WIDE]),
    "householder_product": (lambda m, a, t: m.linalg.householder_product(a, t), [TALL, v]),
    "orgqr": (lambda m, a, t: m.orgqr(a, t), [T3.transpose(0, 2, 1), values(7, 2, 3)]),
    "ormqr": (lambda m, a, t, x: m.ormqr(a, t, x), [TALL, v, values(7, 4, 2)]),
    "ormqr from the right": (lambda m, a, t, x: m.ormqr(a, t, x, False, True), [TALL, v, values(7, 2, 4)]),
}

_VECTOR_ORDERS = (-math.inf, -2, -1, 0, 0.5, 1, 1.5, 2, 2.5, 3, math.inf)
_MATRIX_ORDERS = ("fro", "nuc", -math.inf, -2, -1, 1, 2, math.inf)
NORMS: dict[str, Case] = {
    "norm": (lambda m, a: m.linalg.norm(a), [T3]),
    "cond": (lambda m, a: m.linalg.cond(a), [TALL]),
    **{f"vector_norm {p}": (lambda m, a, p=p: m.linalg.vector_norm(a, p, (0, -1), True), [T3]) for p in _VECTOR_ORDERS},
    **{f"norm {p} of a vector": (lambda m, a, p=p: m.linalg.norm(a, p), [v]) for p in _VECTOR_ORDERS},
    **{f"matrix_norm {p}": (lambda m, a, p=p: m.linalg.matrix_norm(a, p, (2, 0), True), [T3]) for p in _MATRIX_ORDERS},
    **{f"norm {p} of a matrix": (lambda m, a, p=p: m.linalg.norm(a, p), [WIDE]) for p in _MATRIX_ORDERS},
}

FIRST_ORDER: dict[str, Case] = {
    "lstsq": (lambda m, a, b: m.linalg.lstsq(a, b)[:2], [TALL, values(7, 4, 2)]),
    "lstsq for a vector": (lambda m, a, b: m.linalg.lstsq(a, b, driver="gelsd"), [TALL, values(7, 4)]),
    "lstsq gels": (lambda m, a, b: m.linalg.lstsq(a, b, driver="gels"), [T3.transpose(0, 2, 1), values(7, 2, 4, 2)]),
    **{f"cond {p}": (lambda m, a, p=p: m.linalg.cond(a, p), [AB]) for p in (2, -2, "nuc")},
    **{f"vector_norm {p} at zero": (lambda m, a, p=p: m.linalg.vector_norm(a, p, 1), [ZEROS]) for p in _VECTOR_ORDERS},
    **{f"matrix_norm {p} at zero": (lambda m, a, p=p: m.linalg.matrix_norm(a, p), [ZEROS * 0]) for p in _MATRIX_ORDERS},
    **{f"cdist {p}": (lambda m, a, b, p=p: m.cdist(a, b, p), [T3, WIDE]) for p in (0, 0.5, 1, 1.5, 2, 3, math.inf)},
    **{
        f"cdist {p} of equal points": (lambda m, a, b, p=p: m.cdist(a, b, p), [SINGULAR, SINGULAR - [[0, 0], [1, 1]]])
        for p in (0.5, 1, 1.5, 2, math.inf)
    },
    "cdist of many points": (lambda m, a, b: m.cdist(a, b), [values(7, 2, 30, 4), values(8, 7, 4)]),
}  # fmt: skip

SMOOTH: dict[str, Case] = {
    **PRODUCTS, **SUBLISTS, **SYSTEMS, **FACTORS, **NORMS,
    **{f"einsum {e}": (lambda m, *x, e=e: m.einsum(e, *x), arrays) for e, arrays in EINSUM.items()},
}  # fmt: skip


@pytest.mark.parametrize("case", table({**SMOOTH, **FIRST_ORDER}))
def test_values_and_gradients_equal_torch(case: Case) -> None:
    """某个函数的值、dtype、requires_grad 或梯度与 torch 不同。"""
    same(lambda m: _first(m, *case), "float64 second order")


@pytest.mark.parametrize("case", table(SMOOTH))
def test_second_derivatives_equal_torch(case: Case) -> None:
    """某个函数的二阶导与 torch 不同。"""
    same(lambda m: _second(m, *case), "float64 second order")


PLAIN: dict[str, Callable[[Any], Any]] = {
    "integers": lambda m: (
        m.arange(4).reshape(2, 2).mm(m.ones(2, 2, dtype=m.int64)), m.arange(3).dot(m.arange(3)),
        m.arange(3).outer(m.arange(3)), m.arange(4).reshape(2, 2).trace(), m.arange(4).reshape(2, 2).matrix_power(3),
        m.linalg.cross(m.arange(3), m.arange(3) + 1), m.linalg.vander(m.arange(3)),
        m.einsum("i,j->", m.arange(3), m.arange(2)),
    ),
    "integral coefficients of integers": lambda m: (
        m.ones(2, 2, dtype=m.int64).addmm(*[m.arange(4).reshape(2, 2)] * 2, alpha=1.5, beta=2.5),
        m.ones(2, dtype=m.int64).addmv(m.arange(4).reshape(2, 2), m.arange(2), alpha=2),
    ),
    "mixed dtypes": lambda m: (
        m.outer(m.ones(2), m.ones(2, dtype=m.float64)), m.ones(2, 2).addr(m.ones(2, dtype=m.float64), m.arange(2)),
        m.einsum("i,i->i", m.ones(2), m.ones(2, dtype=m.float64)), m.kron(m.arange(2), m.ones(2)),
        m.inner(m.tensor(2), m.ones(2)),
    ),
    "booleans": lambda m: (
        m.outer(m.tensor([True]), m.tensor([False])), m.addr(m.tensor([[True]]), m.tensor([True]), m.tensor([False])),
    ),
    "empty": lambda m: (
        m.inner(m.ones(2, 2, 0), m.ones(3, 0)), m.einsum("ij,kj->ik", m.ones(2, 0), m.ones(3, 0)),
        m.ones(0).dot(m.ones(0)), m.ones(2, 0).mm(m.ones(0, 3)), m.det(m.ones(0, 0)), m.slogdet(m.ones(3, 0, 0)),
        m.linalg.inv(m.ones(0, 2, 2)), m.linalg.cholesky(m.ones(0, 0)), m.linalg.svdvals(m.ones(0, 3)),
        m.linalg.eigvalsh(m.ones(0, 0)), m.linalg.qr(m.ones(0, 2)), m.linalg.qr(m.ones(2, 0), mode="complete"),
        m.linalg.pinv(m.ones(0, 3)), m.linalg.lstsq(m.ones(0, 2), m.ones(0, 3)), m.linalg.vector_norm(m.ones(0)),
        m.linalg.matrix_norm(m.ones(0, 2), 2), m.linalg.cond(m.ones(0, 0)), m.linalg.matrix_rank(m.ones(2, 0, 3)),
        m.linalg.matrix_exp(m.ones(0, 0)), m.linalg.lu(m.ones(0, 2)), m.cdist(m.ones(2, 0), m.ones(3, 0)),
        m.cdist(m.ones(0, 2), m.ones(3, 2)), m.einsum("ij,jk", m.ones(2, 0), m.ones(0, 3)), m.ones(0, 0).trace(),
    ),
    "singular": lambda m: (
        m.det(m.tensor(SINGULAR)), m.slogdet(m.tensor(SINGULAR)), m.logdet(m.tensor(SINGULAR)),
        m.linalg.inv_ex(m.tensor(SINGULAR)).info, m.linalg.solve_ex(m.tensor(SINGULAR), m.tensor(v[:2])).info,
        m.linalg.lu(m.tensor(SINGULAR)), m.linalg.lu_factor_ex(m.tensor(SINGULAR)), m.lu(m.zeros(2, 2)),
        m.linalg.cond(m.tensor(np.stack([SINGULAR, np.eye(2)])), 1), m.linalg.matrix_rank(m.tensor(SINGULAR)),
        m.linalg.cholesky_ex(m.tensor(-SINGULAR)).info, m.linalg.pinv(m.tensor(SINGULAR)),
        m.linalg.solve_triangular(m.zeros(1, 1), m.ones(1, 1), upper=True),
    ),
    "NaN": lambda m: (
        m.det(m.tensor([[math.nan]])), m.slogdet(m.tensor([[math.nan]])), m.linalg.inv(m.tensor([[math.nan]])),
        m.linalg.eigvalsh(m.full((2, 2), math.nan)), m.linalg.matrix_exp(m.full((2, 2), math.nan)),
        m.linalg.qr(m.full((2, 2), math.nan)), m.linalg.lu(m.full((2, 2), math.nan)),
        m.logdet(m.tensor([[-1.0]])), m.cdist(m.tensor([[math.nan]]), m.ones(1, 1)),
    ),
    "rank": lambda m: (
        m.linalg.matrix_rank(m.tensor(A), 3.0), m.linalg.matrix_rank(m.tensor(AB), atol=m.tensor([1.0, 9.0])),
        m.linalg.matrix_rank(m.tensor(S), hermitian=True), m.linalg.matrix_rank(m.tensor(TALL), rtol=0.5),
    ),
    "dtypes of norms": lambda m: (
        m.linalg.vector_norm(m.ones(3), dtype=m.float64), m.linalg.matrix_norm(m.ones(2, 2), 2, dtype=m.float64),
        m.linalg.vector_norm(m.ones(3).half() * 300), m.linalg.norm(m.ones(2, 2).half()),
    ),
    "geqrf": lambda m: m.geqrf(m.tensor(T3)),
    "ldl": lambda m: [
        (m.linalg.ldl_factor_ex(m.tensor(x)), m.linalg.ldl_solve(*m.linalg.ldl_factor(m.tensor(x)), m.tensor(B)))
        for x in (A, A.T, S, SB, A - 3 * np.eye(3), np.array([[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]]))
    ],
    "ldl of zero": lambda m: m.linalg.ldl_factor_ex(m.zeros(2, 2)),
    "only the triangle": lambda m: m.linalg.qr(m.tensor(WIDE), mode="r"),
    "svd without vectors": lambda m: m.svd(m.tensor(TALL), compute_uv=False),
    "permutation without factors": lambda m: m.lu_unpack(*m.lu(m.tensor(TALL)), unpack_data=False),
    "names of the parts": lambda m: [
        (type(r).__name__, *r._fields) if hasattr(r, "_fields") else _torch_names(r)
        for r in (
            m.linalg.svd(m.eye(2)), m.svd(m.eye(2)), m.linalg.eigh(m.eye(2)), m.linalg.qr(m.eye(2)), m.qr(m.eye(2)),
            m.linalg.slogdet(m.eye(2)), m.slogdet(m.eye(2)), m.linalg.lu(m.eye(2)), m.linalg.lu_factor(m.eye(2)),
            m.linalg.lu_factor_ex(m.eye(2)), m.linalg.inv_ex(m.eye(2)), m.linalg.solve_ex(m.eye(2), m.eye(2)),
            m.linalg.cholesky_ex(m.eye(2)), m.linalg.lstsq(m.eye(2), m.eye(2)), m.geqrf(m.eye(2)),
            m.triangular_solve(m.eye(2), m.eye(2)), m.lu_unpack(*m.lu(m.eye(2))), m.lu(m.eye(2), get_infos=True),
        )
    ],
}  # fmt: skip


def _torch_names(result: Any) -> tuple[str, ...]:
    """torch 的结果类型没有 ``_fields``：名字写在它的 repr 里。"""
    text = repr(result)
    parts = [line.split("=")[0] for line in text.splitlines()[1:] if "=" in line and line[0].isalpha()]
    return type(result).__name__, *parts


@pytest.mark.parametrize("case", table(PLAIN))
def test_results_without_gradients_equal_torch(case: Callable[[Any], Any]) -> None:
    """整数、空矩阵、奇异矩阵、NaN 或结果的名字与 torch 不同。"""
    same(case, "float32")


def _backward(m: Any, y: Any) -> None:
    y.sum().backward()


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "mm of two dtypes": lambda m: m.ones(2, 2).mm(m.ones(2, 2).double()),
    "mm of a batch": lambda m: m.ones(1, 2, 2).mm(m.ones(2, 2)),
    "mm of unequal sizes": lambda m: m.ones(2, 3).mm(m.ones(2, 3)),
    "mm of booleans": lambda m: m.ones(2, 2).bool().mm(m.ones(2, 2).bool()),
    "bmm of unequal batches": lambda m: m.ones(2, 2, 2).bmm(m.ones(3, 2, 2)),
    "bmm of matrices": lambda m: m.ones(2, 2).bmm(m.ones(2, 2)),
    "mv of a matrix": lambda m: m.ones(2, 2).mv(m.ones(2, 2)),
    "dot of matrices": lambda m: m.ones(2, 2).dot(m.ones(2, 2)),
    "dot of unequal lengths": lambda m: m.ones(2).dot(m.ones(3)),
    "outer of matrices": lambda m: m.outer(m.ones(2, 2), m.ones(2)),
    "inner of unequal lengths": lambda m: m.inner(m.ones(2), m.ones(2, 3)),
    "addmm of an input that does not broadcast": lambda m: m.ones(3).addmm(m.ones(2, 2), m.ones(2, 2)),
    "addmm of two dtypes": lambda m: m.ones(2, 2).double().addmm(m.ones(2, 2), m.ones(2, 2)),
    "addmm_ into a smaller tensor": lambda m: m.ones(2).addmm_(m.ones(2, 2), m.ones(2, 2)),
    "addr with a fractional coefficient": lambda m: m.arange(1).addr(m.arange(1), m.arange(1), alpha=1.5),
    "trace of a batch": lambda m: m.ones(2, 2, 2).trace(),
    "cross of unequal dims": lambda m: m.linalg.cross(m.ones(2, 3), m.ones(3)),
    "cross of length two": lambda m: m.linalg.cross(m.ones(2, 2), m.ones(2, 2)),
    "cross without an axis of three": lambda m: m.cross(m.ones(2, 2), m.ones(2, 2)),
    "multi_dot of one": lambda m: m.linalg.multi_dot([m.ones(2, 2)]),
    "multi_dot of a batch": lambda m: m.linalg.multi_dot([m.ones(1, 2, 2), m.ones(2, 2)]),
    "multi_dot of unequal sizes": lambda m: m.linalg.multi_dot([m.ones(2, 2), m.ones(3, 2)]),
    "chain_matmul of nothing": lambda m: m.chain_matmul(),
    "vecdot of integers": lambda m: m.linalg.vecdot(m.arange(3), m.arange(3)),
    "vander of one column": lambda m: m.linalg.vander(m.ones(3), N=1),
    "einsum without operands": lambda m: m.einsum("ij"),
    "einsum of too few subscripts": lambda m: m.einsum("i", m.ones(2, 2)),
    "einsum of too many subscripts": lambda m: m.einsum("ijk", m.ones(2, 2)),
    "einsum of unequal sizes": lambda m: m.einsum("ij,jk", m.ones(2, 2), m.ones(3, 2)),
    "einsum of an unknown output": lambda m: m.einsum("ij->k", m.ones(2, 2)),
    "einsum of a repeated output": lambda m: m.einsum("ij->ii", m.ones(2, 2)),
    "einsum of a wrong letter": lambda m: m.einsum("i1", m.ones(2, 2)),
    "einsum of a missing operand": lambda m: m.einsum("ij,jk", m.ones(2, 2)),
    "einsum of a diagonal that is none": lambda m: m.einsum("ii", m.ones(2, 3)),
    "einsum of booleans": lambda m: m.einsum("i,i", m.ones(2).bool(), m.ones(2).bool()),
    "einsum of two ellipses": lambda m: m.einsum("......", m.ones(2, 3)),
    "tensordot of unequal sizes": lambda m: m.tensordot(m.ones(2, 2), m.ones(3, 2), 1),
    "tensordot of unequal lists": lambda m: m.tensordot(m.ones(2, 2), m.ones(2, 2), ([0], [0, 1])),
    "tensordot of too many axes": lambda m: m.tensordot(m.ones(2, 2), m.ones(2, 2), 3),
    "tensordot of one axis twice": lambda m: m.tensordot(m.ones(2, 2), m.ones(2, 2), ([0, 0], [0, 0])),
    "tensordot of two dtypes": lambda m: m.tensordot(m.ones(2), m.ones(2).double(), 1),
    "cdist of vectors": lambda m: m.cdist(m.ones(2), m.ones(2)),
    "cdist of unequal widths": lambda m: m.cdist(m.ones(2, 2), m.ones(2, 3)),
    "cdist of a negative p": lambda m: m.cdist(m.ones(2, 2), m.ones(2, 2), -1),
    "cdist of an unknown mode": lambda m: m.cdist(m.ones(2, 2), m.ones(2, 2), 2.0, "fast"),
    "cdist of two dtypes": lambda m: m.cdist(m.ones(2, 2), m.ones(2, 2).double()),
    "cdist of integers": lambda m: m.cdist(m.ones(2, 2).long(), m.ones(2, 2).long()),
    "inverse of integers": lambda m: m.inverse(m.ones(2, 2).long()),
    "inverse of half": lambda m: m.inverse(m.ones(2, 2).half()),
    "inverse of a vector": lambda m: m.linalg.inv(m.ones(2)),
    "inverse of a wide matrix": lambda m: m.linalg.inv(m.ones(2, 3)),
    "solve of unequal sizes": lambda m: m.linalg.solve(m.ones(2, 2), m.ones(3, 1)),
    "solve of two dtypes": lambda m: m.linalg.solve(m.eye(2), m.ones(2).double()),
    "solve for a vector from the right": lambda m: m.linalg.solve(m.eye(2), m.ones(2), left=False),
    "cholesky_solve for a vector": lambda m: m.cholesky_solve(m.ones(2), m.eye(2)),
    "eigh of an unknown triangle": lambda m: m.linalg.eigh(m.eye(2), UPLO="x"),
    "svd with a driver": lambda m: m.linalg.svd(m.eye(2), driver="gesvd"),
    "qr of an unknown mode": lambda m: m.linalg.qr(m.eye(2), mode="x"),
    "gradient of a complete qr": lambda m: _backward(m, m.linalg.qr(m.ones(3, 2, requires_grad=True), "complete").Q),
    "gradient of an incomplete qr": lambda m: _backward(m, m.linalg.qr(m.ones(2, 2, requires_grad=True), "r").R),
    "gradient of ldl": lambda m: _backward(m, m.linalg.ldl_factor(m.ones(1, 1, requires_grad=True)).LD),
    "ldl_solve of unequal sizes": lambda m: m.linalg.ldl_solve(m.eye(2), m.tensor([1, 2]).int(), m.ones(3, 1)),
    "lu_factor of a singular matrix": lambda m: m.linalg.lu_factor(m.zeros(2, 2)),
    "lu without pivots": lambda m: m.linalg.lu(m.eye(2), pivot=False),
    "lu_solve with long pivots": lambda m: m.linalg.lu_solve(m.eye(2), m.tensor([1, 2]), m.ones(2, 1)),
    "householder_product of a wide matrix": lambda m: m.linalg.householder_product(m.ones(2, 3), m.ones(2)),
    "lstsq with an unknown driver": lambda m: m.linalg.lstsq(m.eye(2), m.eye(2), driver="x"),
    "lstsq of unequal sizes": lambda m: m.linalg.lstsq(m.ones(3, 2), m.ones(2, 2)),
    "lstsq with a batch missing": lambda m: m.linalg.lstsq(m.ones(2, 3, 2), m.ones(3, 1)),
    "tensorinv of no axis": lambda m: m.linalg.tensorinv(m.eye(2), ind=0),
    "tensorinv of a wide tensor": lambda m: m.linalg.tensorinv(m.ones(2, 3), ind=1),
    "tensorsolve of a wide tensor": lambda m: m.linalg.tensorsolve(m.ones(2, 3), m.ones(2)),
    "fractional matrix_power": lambda m: m.matrix_power(m.eye(2), 2.0),
    "negative matrix_power of integers": lambda m: m.matrix_power(m.ones(2, 2).long(), -1),
    "vector_norm of integers": lambda m: m.linalg.vector_norm(m.arange(3)),
    "vector_norm of a string": lambda m: m.linalg.vector_norm(m.ones(3), "fro"),
    "vector_norm of one axis twice": lambda m: m.linalg.vector_norm(m.ones(3, 3), 2, (0, -2)),
    "vector_norm out of range": lambda m: m.linalg.vector_norm(m.ones(3), 2, 1),
    "infinite norm of nothing": lambda m: m.linalg.vector_norm(m.ones(0), math.inf),
    "norm in a narrower dtype": lambda m: m.linalg.vector_norm(m.ones(3).double(), dtype=m.float32),
    "matrix_norm of a vector": lambda m: m.linalg.matrix_norm(m.ones(3)),
    "matrix_norm of order three": lambda m: m.linalg.matrix_norm(m.ones(3, 3), 3),
    "matrix_norm of one axis": lambda m: m.linalg.matrix_norm(m.ones(3, 3), dim=(0, 0)),
    "norm of a batch": lambda m: m.linalg.norm(m.ones(2, 2, 2), 2),
    "norm of three axes": lambda m: m.linalg.norm(m.ones(2, 2, 2), 2, (0, 1, 2)),
    "cond of an unknown norm": lambda m: m.linalg.cond(m.eye(2), 3),
    "cond of a wide matrix": lambda m: m.linalg.cond(m.ones(2, 3), "fro"),
    "matrix_rank of a vector": lambda m: m.linalg.matrix_rank(m.ones(2)),
    "pca of too many components": lambda m: m.pca_lowrank(m.ones(3, 3), 4),
}  # fmt: skip


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_the_same_mistake_raises_the_same_kind_of_error(mistake: Callable[[Any], Any]) -> None:
    """写错的代码在这里不报错，或报了 torch 不会报的那一类。"""
    same_error(mistake)


FAILURES: dict[str, Callable[[Any], Any]] = {
    "inverse of a singular matrix": lambda m: m.linalg.inv(m.zeros(2, 2)),
    "inv_ex that checks": lambda m: m.linalg.inv_ex(m.zeros(2, 2), check_errors=True),
    "solve of a singular matrix": lambda m: m.linalg.solve(m.zeros(2, 2), m.ones(2)),
    "cholesky of an indefinite matrix": lambda m: m.linalg.cholesky(-m.eye(2)),
    "cholesky of NaN": lambda m: m.linalg.cholesky(m.full((2, 2), math.nan)),
    "cholesky_inverse of zero": lambda m: m.cholesky_inverse(m.zeros(2, 2)),
    "svd of NaN": lambda m: m.linalg.svd(m.full((2, 2), math.nan)),
}


@pytest.mark.parametrize("failure", table(FAILURES))
def test_failed_factorizations_raise_linalgerror(failure: Callable[[Any], Any]) -> None:
    """分解失败抛出的不是 ``linalg.LinAlgError``，``except`` 接不住；或消息没有写明形状。"""
    for m, message in zip(ENGINES, (r"shape \(2, 2\)", None), strict=True):
        with pytest.raises(m.linalg.LinAlgError, match=message):
            failure(m)


def test_determinant_of_a_singular_matrix_has_its_adjugate_as_gradient() -> None:
    """奇异处行列式的梯度不是伴随矩阵的转置；二阶导不是 ±1。"""
    x = tg.tensor(SINGULAR, requires_grad=True)
    (g,) = tg.autograd.grad(tg.det(x), x, create_graph=True)
    assert_close(g, np.array([[4.0, -2.0], [-2.0, 1.0]]), "float64")
    (h,) = tg.autograd.grad(g[0, 1], x)
    assert_close(h, np.array([[0.0, 0.0], [-1.0, 0.0]]), "float64")


@pytest.mark.parametrize("n", [40, 100])
def test_large_triangular_systems_and_lu(n: int) -> None:
    """分块的代入或消元在块的接缝处出错：小矩阵的测试碰不到那里。"""
    x = values(0, 2, n, n)
    for upper in (False, True):
        y = tg.linalg.solve_triangular(tg.tensor(x + n * np.eye(n)), tg.tensor(x), upper=upper).array
        triangle = (np.triu if upper else np.tril)(x + n * np.eye(n))
        np.testing.assert_allclose(triangle @ y, x, rtol=1e-9, atol=1e-9)
    p, lower, above = (part.array for part in tg.linalg.lu(tg.tensor(x)))
    np.testing.assert_allclose(p @ lower @ above, x, rtol=1e-9, atol=1e-9)
    theirs = torch.linalg.lu(torch.tensor(x))
    np.testing.assert_array_equal(p, theirs[0].numpy())


def test_low_rank_svd_recovers_a_low_rank_matrix() -> None:
    """低秩矩阵的近似不等于它自己。"""
    x = values(0, 2, 7, 2) @ values(1, 2, 2, 5)
    for u, s, v in (tg.svd_lowrank(tg.tensor(x), 3), tg.pca_lowrank(tg.tensor(x), 3, center=False)):
        np.testing.assert_allclose(((u * s[..., None, :]) @ v.mT).array, x, atol=1e-10)
