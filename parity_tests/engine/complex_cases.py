"""复数的几十段程序，供 ``test_complex.py`` 以两个引擎各跑一遍。

流入：``m``，即 ``tinygrad_llm`` 或 ``torch``，与复数张量 ``z``，形状 ``(2, 3, 4)``；流出：可以比较的结果。
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Case = Callable[[Any, Any], Any]


def rope(m: Any, z: Any) -> Any:
    """Llama 的旋转位置：实数的输入成对看作复数，乘以模为 1 的数，再看回实数。"""
    x = z.abs()
    freqs = m.outer(m.arange(3).to(x.dtype), 1.0 / 10.0 ** (m.arange(0, 4, 2).to(x.dtype) / 4))
    freqs_cis = m.polar(m.ones_like(freqs), freqs).view(1, 3, 2)
    pairs = m.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return m.view_as_real(pairs * freqs_cis).flatten(2)


def real_meets_complex(m: Any, z: Any) -> Any:
    """实数的叶子参加复数的运算，收到梯度的实部，并还原成自己的形状。"""
    a, b = m.ones(4, dtype=m.float64, requires_grad=True), m.full((3, 1), 2.0, dtype=m.float32, requires_grad=True)
    y = z * a + b - a / z
    grads = m.autograd.grad(y.abs().sum() + y.real.sum(), [a, b], retain_graph=True)
    return y, a * (2 - 1j), *grads


def written_through_views(m: Any, z: Any) -> Any:
    """实部、虚部与 ``view_as_real`` 是视图：写它们就是写原来的复数，也记在图上。"""
    y = z * 1
    y.real[0] = 3.0
    y.imag[1].mul_(2)
    m.view_as_real(y)[0, 1, :, 1].copy_(y[1, 1].real.detach())
    return y * 2j


def hooked(m: Any, z: Any) -> Any:
    """钩子、``retain_grad`` 与自定义算子看到的是复数的梯度。"""
    seen: list[Any] = []
    square: Any = type("Square", (m.autograd.Function,), {
        "forward": staticmethod(lambda ctx, x: (ctx.save_for_backward(x), x * x)[1]),
        "backward": staticmethod(lambda ctx, g: g * (2 * ctx.saved_tensors[0]).conj()),
    })  # fmt: skip
    y = z * 2j
    y.register_hook(lambda g: seen.append(g.clone()))
    y.retain_grad()
    w = square.apply(y)
    w.abs().sum().backward(retain_graph=True)
    return w, seen[0], y.grad


CASES: dict[str, Case] = {
    "rotary positions": rope,
    "a real leaf": real_meets_complex,
    "written views": written_through_views,
    "hooks": hooked,
    "parts": lambda m, z: (z.real, m.imag(z), m.real(z) * 2, m.view_as_real(z), m.view_as_real(z.transpose(0, 2))),
    "conjugates": lambda m, z: (z.conj(), m.conj(z) * z, z.resolve_conj(), m.conj_physical(z), z.mH, z[0].H,
        z.adjoint()),
    "polar form": lambda m, z: (z.abs(), m.angle(z), m.polar(z.abs(), z.angle()), z.sgn(), m.complex(z.real, z.imag)),
    "polar form at zero": lambda m, z: ((z * 0).abs(), (z * 0).angle(), (z * 0).sgn()),
    "arithmetic": lambda m, z: (z + 1j, 2 - z, z * (1 - 2j), z / 3, 1j / z, -z, z * z, z.add(z, alpha=2j),
        m.sub(z, 1j, alpha=3)),
    "powers": lambda m, z: (z**2, z**3, z**-1, z**0.5, z**1j, 2**z, z**z, z.square(), z.float_power(1.5), m.pow(1j, z)),
    "functions": lambda m, z: (z.exp(), z.log(), z.sqrt(), z.rsqrt(), z.reciprocal(), z.sin(), z.cos(), z.tan(),
        z.sinh(), z.cosh(), z.tanh(), z.sigmoid(), z.log2(), z.log10(), z.log1p(), z.expm1(), z.exp2()),
    "inverse functions": lambda m, z: (z.asin(), z.acos(), z.atan(), z.asinh(), z.acosh(), z.atanh(), m.sinc(z)),
    "reductions": lambda m, z: (z.sum(), z.sum(1), z.mean((0, 2), keepdim=True), z.prod(1), z.cumsum(2), z.cumprod(0),
        z.var(), z.std(1), z.norm(), z.norm(1, dim=2), m.linalg.norm(z[0]), z.sum(dtype=m.complex128)),
    "products": lambda m, z: (z @ z.mT, z[0] @ z[1].mH, m.einsum("ijk,ljk->il", z, z.conj()), m.vdot(z[0, 0], z[1, 0]),
        m.dot(z[0, 0], z[1, 0]), m.outer(z[0, 0], z[1, 0]), m.kron(z[0], z[1]), m.nn.functional.linear(z, z[0]),
        m.tensordot(z, z, dims=([0, 1], [0, 1])), m.baddbmm(z[:, :, :3], z, z.mT, beta=2j, alpha=1j)),
    "matrices": lambda m, z: (m.linalg.inv(z[:, :, :3]), m.linalg.solve(z[:, :, :3], z[:, :, 3]),
        m.linalg.det(z[:, :, :3]), m.linalg.matrix_power(z[0, :, :3], 3), m.linalg.matrix_exp(z[0, :, :3]),
        m.linalg.vecdot(z, z * 1j), m.trace(z[0])),
    "moving about": lambda m, z: (z[1, :, ::2], z[:, m.tensor([0, 2])], z[z.real > 0], m.cat([z, z.real]),
        m.stack([z[0], z[1].imag]), z.flip(0), z.roll(1, 2), z[0].tril(), z.gather(2, m.zeros(2, 3, 1, dtype=m.int64)),
        z.view(6, 4).unbind(1), z.repeat(1, 2, 1), z[0].diagonal(), m.nn.functional.pad(z, (1, 1)),
        z.expand(2, 2, 3, 4)),
    "choices": lambda m, z: (m.where(z.imag > 0, z, 0.0), m.where(z.imag > 0, 2j, z), z.lerp(z * 2, 0.25),
        z.masked_fill(z.real > 0, 2j), m.addcmul(z, z, z, value=1j), z.index_put((m.tensor([0]),), z[1]),
        z.scatter_add(0, m.zeros(1, 3, 4, dtype=m.int64), z[:1] * 1j), z.detach().nan_to_num()),
    "convolution": lambda m, z: (m.nn.functional.conv1d(z, z[:, :, :2], m.ones(2, dtype=z.dtype)),
        m.nn.functional.conv_transpose1d(z, z.transpose(0, 1)[:, :, :2])),
    "casts": lambda m, z: (z.to(m.complex64).to(z.dtype), z.real.to(m.complex64), z.cdouble(), z.cfloat(), z.bool(),
        z.real.cfloat(), z.clone(), z.contiguous()),
    "statistics": lambda m, z: (m.cov(z[0]), m.corrcoef(z[0]), m.trapezoid(z), z.diff(), m.nn.functional.normalize(z)),
}  # fmt: skip
"""名字 → ``(m, z)`` → 一个或一串结果；``test_complex.py`` 还比较它们对 ``z`` 的梯度。"""


def _zeros(m: Any) -> Any:
    return m.zeros(3, dtype=m.complex64)


def _leaf(m: Any) -> Any:
    return m.tensor([1 + 2j, 3.0], requires_grad=True)


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "backward of a complex scalar": lambda m: _leaf(m).sum().backward(),
    "real gradient of a complex output": lambda m: _leaf(m).backward(m.ones(2)),
    "complex gradient of a real output": lambda m: _leaf(m).abs().backward(_zeros(m)[:2]),
    "numpy() of a leaf": lambda m: _leaf(m).numpy(),
    "two dtypes in a product": lambda m: m.ones(2, 2) @ m.ones(2, 2, dtype=m.complex64),
    "a complex number in a real tensor": lambda m: m.ones(2).fill_(1j),
    "a complex element": lambda m: m.ones(2).__setitem__(0, 1j),
    "a complex literal of a real dtype": lambda m: m.tensor(1j, dtype=m.float32),
    "a complex mask value": lambda m: m.ones(2).masked_fill(m.ones(2) > 0, 1j),
    "full of another kind": lambda m: m.full((2,), 1j, dtype=m.float32),
    "real in-place product": lambda m: m.ones(2).mul_(1j),
    "complex alpha": lambda m: m.ones(2).add(m.ones(2), alpha=1j),
    "float() of a complex": lambda m: float(m.tensor(1j)),
    "int() of a complex": lambda m: int(m.tensor(1 + 1j)),
    "default dtype": lambda m: m.set_default_dtype(m.complex64),
    "imag of a real": lambda m: m.ones(2).imag,
    "view_as_real of a real": lambda m: m.view_as_real(m.ones(2)),
    "view_as_complex of integers": lambda m: m.view_as_complex(m.ones(2, 2, dtype=m.int64)),
    "view_as_complex of three": lambda m: m.view_as_complex(m.ones(2, 3)),
    "view_as_complex of a scalar": lambda m: m.view_as_complex(m.tensor(1.0)),
    "view_as_complex of a transpose": lambda m: m.view_as_complex(m.ones(2, 2).t()),
    "view_as_complex of odd strides": lambda m: m.view_as_complex(m.ones(3, 5)[:, :2]),
    "view_as_complex from an odd place": lambda m: m.view_as_complex(m.ones(9)[1:].view(4, 2)),
    "complex of two dtypes": lambda m: m.complex(m.ones(2), m.ones(2, dtype=m.float64)),
    "complex of integers": lambda m: m.complex(m.ones(2, dtype=m.int64), m.ones(2, dtype=m.int64)),
    "complex of numbers": lambda m: m.complex(1.0, 2.0),
    "complex of shapes that do not broadcast": lambda m: m.complex(m.ones(2), m.ones(3)),
    "polar of halves": lambda m: m.polar(m.ones(2).half(), m.ones(2).half()),
    "integers of a complex dtype": lambda m: m.arange(3, dtype=m.complex64),
    "iinfo": lambda m: m.iinfo(m.complex64),
    "clipping a complex gradient by value": lambda m: _clipped(m),
}
"""两个引擎都要报错的写法。"""


def _clipped(m: Any) -> None:
    p = m.nn.Parameter(_zeros(m))
    p.grad = _zeros(m)
    m.nn.utils.clip_grad_value_([p], 1.0)


UNORDERED: dict[str, Callable[[Any, Any], Any]] = {
    "less": lambda m, z: z < z, "greater than a number": lambda m, z: z >= 1, "max": lambda m, z: z.max(),
    "max along a dim": lambda m, z: z.max(0), "amin": lambda m, z: z.amin(0), "argmax": lambda m, z: z.argmax(),
    "sort": lambda m, z: z.sort(), "argsort": lambda m, z: z.argsort(), "topk": lambda m, z: z.topk(1),
    "median": lambda m, z: z.median(), "mode": lambda m, z: z.mode(), "cummax": lambda m, z: z.cummax(0),
    "unique": lambda m, z: z.unique(), "kthvalue": lambda m, z: z.kthvalue(1), "clamp": lambda m, z: z.clamp(0, 1),
    "maximum": lambda m, z: m.maximum(z, z), "fmin": lambda m, z: m.fmin(z, z), "floor": lambda m, z: z.floor(),
    "round": lambda m, z: z.round(), "trunc": lambda m, z: z.trunc(), "frac": lambda m, z: z.frac(),
    "sign": lambda m, z: z.sign(), "remainder": lambda m, z: z % 2, "floor division": lambda m, z: z // 2,
    "fmod": lambda m, z: m.fmod(z, 2), "hypot": lambda m, z: m.hypot(z, z), "atan2": lambda m, z: m.atan2(z, z),
    "relu": lambda m, z: z.relu(), "softmax": lambda m, z: z.softmax(0), "erf": lambda m, z: z.erf(),
    "lgamma": lambda m, z: z.lgamma(), "logit": lambda m, z: z.logit(), "heaviside": lambda m, z: m.heaviside(z, z),
    "copysign": lambda m, z: z.copysign(1.0), "signbit": lambda m, z: z.signbit(),
    "isposinf": lambda m, z: z.isposinf(), "bitwise and": lambda m, z: z & 1, "invert": lambda m, z: ~z,
    "deg2rad": lambda m, z: z.deg2rad(),
    "nansum": lambda m, z: z.nansum(), "quantile": lambda m, z: z.quantile(0.5), "histc": lambda m, z: z.histc(),
    "searchsorted": lambda m, z: m.searchsorted(z, z), "isin": lambda m, z: m.isin(z, z),
    "bincount": lambda m, z: z.bincount(), "gelu": lambda m, z: m.nn.functional.gelu(z),
    "layer norm": lambda m, z: m.nn.functional.layer_norm(z, (2,)), "dropout": lambda m, z: m.nn.functional.dropout(z),
    "mse": lambda m, z: m.nn.functional.mse_loss(z, z), "max pool": lambda m, z: m.nn.functional.max_pool1d(z[None], 2),
    "adaptive max pool": lambda m, z: m.nn.functional.adaptive_max_pool1d(z[None], 1),
    "bernoulli": lambda m, z: z.bernoulli(), "random_": lambda m, z: z.random_(),
    "exponential_": lambda m, z: z.exponential_(), "scatter_reduce": lambda m, z: z.scatter_reduce(
        0, m.tensor([0, 1]), z, "amax"),
}  # fmt: skip
"""复数没有大小：torch 拒绝的函数；``z`` 是两个复数。"""
