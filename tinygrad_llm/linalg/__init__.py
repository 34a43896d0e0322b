"""线性代数，名字与 ``torch.linalg`` 相同。

流入与流出：Tensor。阅读次序：``solving`` → ``factoring`` → ``symmetric`` → ``spectrum`` → ``norms`` → ``products``。
特征值可能是复数的 ``eig`` 与 ``eigvals`` 没有。
"""

# ruff: noqa: I001  名单一行排满，不逐行拆开

from tinygrad_llm.absent import attributes
from tinygrad_llm.linalg.factoring import householder_product, lu, lu_factor, lu_factor_ex, lu_solve, qr
from tinygrad_llm.linalg.ldl import ldl_factor, ldl_factor_ex, ldl_solve
from tinygrad_llm.linalg.norms import cond, matrix_norm, norm, vector_norm
from tinygrad_llm.linalg.products import cross, diagonal, matmul, multi_dot, vander, vecdot
from tinygrad_llm.linalg.solving import (
    det, inv, inv_ex, matrix_exp, matrix_power, slogdet, solve, solve_ex, solve_triangular, tensorinv, tensorsolve,
)  # fmt: skip
from tinygrad_llm.linalg.spectrum import lstsq, matrix_rank, pinv, svd, svdvals
from tinygrad_llm.linalg.symmetric import cholesky, cholesky_ex, eigh, eigvalsh
from tinygrad_llm.ops.inverses import LinAlgError

__getattr__ = attributes(__name__)

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eigh", "eigvalsh",
    "householder_product", "inv", "inv_ex", "ldl_factor",
    "ldl_factor_ex", "ldl_solve", "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "matmul",
    "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve",
    "solve_ex", "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot", "vector_norm",
]  # fmt: skip
