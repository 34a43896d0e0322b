"""线性代数，名字与 ``torch.linalg`` 相同。

流入与流出：Tensor。阅读次序：``solving`` → ``factoring`` → ``symmetric`` → ``spectrum`` → ``norms`` → ``products``。
特征值可能是复数的 ``eig`` 与 ``eigvals`` 没有。
"""

# ruff: noqa: I001  名单一行排满，不逐行拆开

from typing import TYPE_CHECKING

from tinygrad_llm.absent import attributes
from tinygrad_llm.ops.inverses import LinAlgError

if TYPE_CHECKING:
    from tinygrad_llm.linalg.factoring import householder_product, lu, lu_factor, lu_factor_ex, lu_solve, qr
    from tinygrad_llm.linalg.ldl import ldl_factor, ldl_factor_ex, ldl_solve
    from tinygrad_llm.linalg.norms import cond, matrix_norm, norm, vector_norm
    from tinygrad_llm.linalg.products import cross, diagonal, matmul, multi_dot, vander, vecdot
    from tinygrad_llm.linalg.solving import (
        det, inv, inv_ex, matrix_exp, matrix_power, slogdet, solve, solve_ex, solve_triangular, tensorinv, tensorsolve,
    )  # fmt: skip
    from tinygrad_llm.linalg.spectrum import lstsq, matrix_rank, pinv, svd, svdvals
    from tinygrad_llm.linalg.symmetric import cholesky, cholesky_ex, eigh, eigvalsh

_HOMES = {
    name: home
    for home, names in {
        "factoring": "householder_product lu lu_factor lu_factor_ex lu_solve qr",
        "ldl": "ldl_factor ldl_factor_ex ldl_solve",
        "norms": "cond matrix_norm norm vector_norm",
        "products": "cross diagonal matmul multi_dot vander vecdot",
        "solving": "det inv inv_ex matrix_exp matrix_power slogdet solve solve_ex solve_triangular "
        "tensorinv tensorsolve",
        "spectrum": "lstsq matrix_rank pinv svd svdvals",
        "symmetric": "cholesky cholesky_ex eigh eigvalsh",
    }.items()
    for name in names.split()
}
"""名字到它所在的文件：用到哪个文件才加载哪个。"""
__getattr__ = attributes(__name__, (), _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eigh", "eigvalsh",
    "householder_product", "inv", "inv_ex", "ldl_factor",
    "ldl_factor_ex", "ldl_solve", "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "matmul",
    "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve",
    "solve_ex", "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot", "vector_norm",
]  # fmt: skip
