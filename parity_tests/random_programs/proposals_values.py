"""改变数值、不改变布局的提议：逐元素、归约、矩阵乘法、神经网络里的函数。

流入：``Builder``；流出：它多出来的几步。定义域由前置的一步保证，例如取对数之前先 ``abs() + 0.5``。
"""

from __future__ import annotations

from typing import Any

from parity_tests.random_programs.building import Builder, Family, Proposal, RejectedError, like
from parity_tests.random_programs.program import Dtype, Ref

ANYWHERE = [
    ".exp", ".tanh", ".sigmoid", ".sin", ".cos", ".relu", ".abs", ".square", ".neg", ".erf", ".expm1", ".atan",
    ".sinh", ".asinh", ".sign", ".floor", ".ceil", ".round", ".trunc", ".frac", ".sinc", ".erfc", ".exp2",
    ".cosh", ".positive", ".nan_to_num", "nn.functional.gelu", "nn.functional.softplus", "nn.functional.silu",
    "nn.functional.leaky_relu", "nn.functional.elu", "nn.functional.selu", "nn.functional.mish",
    "nn.functional.logsigmoid", "nn.functional.softsign", "nn.functional.hardtanh", "nn.functional.relu6",
    "nn.functional.hardswish", "nn.functional.hardsigmoid", "nn.functional.celu", "nn.functional.tanhshrink",
    "nn.functional.softshrink", "nn.functional.hardshrink", "nn.functional.relu", "special.expit",
]  # fmt: skip
LEAST_SPREAD = 1e-2
POSITIVE = [".log", ".sqrt", ".rsqrt", ".reciprocal", ".log2", ".log10", ".log1p", "special.entr"]
UNIT = [".asin", ".acos", ".atanh", ".logit", ".erfinv", ".log1p"]


def anywhere(b: Builder) -> None:
    """处处有定义的一元函数。"""
    b.step(b.rng.choice(ANYWHERE), b.pick())


def gelu_tanh(b: Builder) -> None:
    """GELU 的 tanh 近似。"""
    b.step("nn.functional.gelu", b.pick(), approximate="tanh")


def positive(b: Builder) -> None:
    """先变成正数，再取对数、开方、求倒数。"""
    x = b.pick()
    kind = b.rng.randrange(3)
    if kind == 0:
        x = b.step("+", b.step(".abs", x), 0.5)
    elif kind == 1:
        x = b.step(".exp", b.step(".tanh", x))
    else:
        x = b.step("+", b.step("*", x, x), 0.25)
    b.step(b.rng.choice(POSITIVE), x)


def unit(b: Builder) -> None:
    """先压进 (-0.9, 0.9)，再取反三角函数一类。"""
    name = b.rng.choice(UNIT)
    x = b.step(".sigmoid" if name == ".logit" else ".tanh", b.pick())
    b.step(name, b.step("*", x, 0.9))


def arithmetic(b: Builder) -> None:
    """两个张量的加减乘、取大取小。"""
    x = b.pick()
    targets = [
        "+",
        "-",
        "*",
        ".add",
        ".mul",
        ".sub",
        "maximum",
        "minimum",
        "fmax",
        "fmin",
        "atan2",
        "logaddexp",
        "hypot",
    ]
    y = b.partner(x)
    pair = (x, y) if b.chance(0.5) else (y, x)
    target = b.rng.choice([*targets, "+", "-", "*", "*"])
    if target == "hypot" and bool((b.value(x) == 0).any()) and bool((b.value(y) == 0).any()):
        raise RejectedError  # 斜边为 0 处没有导数，两边都得 NaN，往前传到哪里没有约定
    b.step(target, *pair)


def scaled_sum(b: Builder) -> None:
    """``add`` 与 ``sub`` 的 ``alpha``。"""
    x = b.pick()
    b.step(b.rng.choice((".add", ".sub")), x, b.partner(x), alpha=b.rng.choice((2, -0.5)))


def with_number(b: Builder) -> None:
    """张量与 Python 的数，数在左边或右边。"""
    x, number = b.pick(), b.rng.choice((2, -1, 0.5, 3, 1.7))
    target = b.rng.choice(["+", "-", "*", "/", "**"])
    if target == "**":
        number = b.rng.choice((2, 3, 2.0, 1, 0, 4))
    pair: tuple[Any, Any] = (x, number)
    if b.chance(0.3) and target in "+ - *":
        pair = (number, x)
    b.step(target, *pair)


def quotient(b: Builder) -> None:
    """除法：分母先离开 0。"""
    x = b.pick()
    below = b.step("+", b.step(".abs", b.partner(x)), 0.5)
    b.step(b.rng.choice(("/", ".div", ".true_divide")), x, below)


def power(b: Builder) -> None:
    """幂：底是正数，指数任意。"""
    base = b.step("+", b.step(".abs", b.pick()), 0.5)
    if b.chance(0.3):
        b.step("**", base, b.rng.choice((-1, 0.5, -0.5, 1.5)))
    elif b.chance(0.2):
        b.step("**", 2.0, b.step(".tanh", base))
    else:
        b.step("**", base, b.step(".tanh", b.partner(base)))


def three(b: Builder) -> None:
    """三个张量的函数。"""
    x = b.pick()
    y, z = b.partner(x), b.partner(x)
    name = b.rng.choice(("addcmul", "lerp", "where", "addcdiv", "clamp"))
    if name == "clamp" and not b.value(x).shape == b.value(y).shape == b.value(z).shape:
        raise RejectedError  # 上下限的形状不同时，torch 自己的反向报错
    if name == "where":
        b.step("where", b.step(b.rng.choice((">", "<", ">=")), x, y, pooled=False), x, z)
    elif name == "addcdiv":
        b.step(name, x, y, b.step("+", b.step(".abs", z), 0.5), value=b.rng.choice((1, 0.5)))
    elif name == "addcmul":
        b.step(name, x, y, z, value=b.rng.choice((1, -0.5)))
    else:
        b.step(name, x, y, z)


def clamped(b: Builder) -> None:
    """夹到一个区间里，或者只夹一边。"""
    low = b.rng.choice((-0.5, None, 0))
    b.step(".clamp", b.pick(), min=low, max=b.rng.choice((0.7, 1) if low is None else (0.7, None)))


def converted(b: Builder) -> None:
    """换一个浮点 dtype。"""
    name = b.rng.choice(("float32", "float64")) if b.low else "float64"
    b.step(".to", b.pick(), Dtype(name))


def _reduced(b: Builder, name: str, tuples: bool) -> Ref:
    x = b.pick_dims(0)
    if b.chance(0.25) or not b.value(x).ndim:
        return b.step(name, x)
    dim: Any = b.dim(x)
    if tuples and b.chance(0.3):
        ndim = b.value(x).ndim
        dim = tuple(sorted(b.rng.sample(range(ndim), b.rng.randint(1, ndim))))
    return b.step(name, x, dim, **({"keepdim": True} if b.chance(0.4) else {}))


def reduced(b: Builder) -> None:
    """沿一维、几维或全部求和、求平均、取最大。"""
    _reduced(b, b.rng.choice((".sum", ".mean", ".amax", ".amin", ".sum", ".mean")), tuples=True)


def reduced_once(b: Builder) -> None:
    """连乘只沿一维。"""
    _reduced(b, ".prod", tuples=False)


def spread(b: Builder) -> None:
    """方差与标准差：先保证不止一个元素，也不全相等。"""
    x = b.pick(lambda value: value.ndim > 0 and value.numel() > 1)
    dim = b.dim(x)
    _need_variety(b.value(x).movedim(dim, -1))
    name = b.rng.choice((".var", ".std", "var_mean"))
    y = b.step(name, x, dim=dim, correction=b.rng.choice((0, 1)), keepdim=b.chance(0.5), pooled=name != "var_mean")
    if name == "var_mean":
        b.step("[]", y, 1)
        b.step("[]", y, 0)


def with_places(b: Builder) -> None:
    """值与位置一起给出的归约与排序。"""
    x = b.pick_dims(1)
    name = b.rng.choice((".max", ".min", ".median", ".sort", ".cummax", ".topk", ".kthvalue"))
    if len(set(b.value(x).detach().flatten().tolist())) < b.value(x).numel():
        raise RejectedError  # 相等的元素里挑中哪一个没有约定
    dim = b.dim(x)
    extra = (1,) if name in (".topk", ".kthvalue") else ()
    pair = b.step(name, x, *extra, dim=dim, pooled=False)
    b.step("[]", pair, 0)


def along(b: Builder) -> None:
    """沿一维的累加、对数和、范数、softmax。"""
    x = b.pick_dims(1)
    names = ".cumsum .logsumexp .softmax .log_softmax .cumprod .logcumsumexp nn.functional.normalize .norm"
    name = b.rng.choice(names.split())
    if name == ".norm":
        b.step(name, x, b.rng.choice((2, 1)), b.dim(x))
    else:
        b.step(name, x, dim=b.dim(x))


def matrix_product(b: Builder) -> None:
    """矩阵乘法：右边是新的叶子，或者是自己的转置；批的维度有时广播。"""
    x = b.pick_dims(1)
    shape = tuple(b.value(x).shape)
    if len(shape) >= 2 and b.chance(0.2):
        b.step("@", x, b.step(".transpose", x, -1, -2))
        return
    inner, outer = shape[-1], b.rng.randint(1, 4)
    batch = [1 if b.chance(0.3) else size for size in shape[:-2]][b.rng.randint(0, max(len(shape) - 2, 0)) :]
    wanted = [inner] if b.chance(0.15) else [*batch, inner, outer]
    b.step(b.rng.choice(("@", "matmul", ".matmul")), x, b.leaf(wanted))


def named_product(b: Builder) -> None:
    """有名字的乘法：``bmm``、``mm``、``addmm``、``outer``、``einsum``、``linear``。"""
    if b.no_grad:
        raise RejectedError  # torch 的 einsum 交出的是换过轴的视图；no_grad 里取的视图，之后不许在图上写
    x = b.pick_dims(1, 3)
    shape = tuple(b.value(x).shape)
    outer = b.rng.randint(1, 4)
    if len(shape) == 1:
        kind = b.rng.choice(("outer", "dot", "einsum"))
        wanted = [outer if kind == "outer" else shape[0]]
        other = (
            like(b, x, wanted) if kind == "einsum" else b.leaf(wanted)
        )  # 收缩的一维长 1 时 torch 的 einsum 不查 dtype
        b.step(*(("einsum", "i,i->", x, other) if kind == "einsum" else (kind, x, other)))
    elif len(shape) == 2:
        kind = b.rng.choice(("mm", "addmm", "linear", "einsum", "mv", "tensordot"))
        if kind == "addmm":
            b.step("addmm", b.leaf([outer]), x, b.leaf([shape[1], outer]), beta=b.rng.choice((1, 0.5)), alpha=2)
        elif kind == "linear":
            b.step("nn.functional.linear", x, b.leaf([outer, shape[1]]), b.leaf([outer]))
        elif kind == "einsum":
            if shape[1] == 1:
                raise RejectedError  # 收缩的一维长 1：结果的内存次序与 torch 不同，见 ``API.md`` 第 2 节
            b.step("einsum", b.rng.choice(("ij,jk->ki", "ij,jk->i", "ij,jk->ik")), x, like(b, x, [shape[1], outer]))
        elif kind == "tensordot":
            b.step("tensordot", x, b.leaf([shape[1], outer]), dims=1)
        else:
            b.step(kind, x, b.leaf([shape[1], outer] if kind == "mm" else [shape[1]]))
    else:
        kind = b.rng.choice(("bmm", "baddbmm", "einsum" if shape[2] > 1 else "bmm"))  # 见上
        wanted = [shape[0], shape[2], outer]
        y = like(b, x, wanted) if kind == "einsum" else b.leaf(wanted)
        if kind == "baddbmm":
            b.step("baddbmm", b.leaf([shape[1], outer]), x, y)
        else:
            b.step(*(("einsum", "bij,bjk->bik", x, y) if kind == "einsum" else ("bmm", x, y)))


def _need_variety(rows: Any) -> None:
    """各行的元素不全相等：相等时方差恰为 0，归一化只是把舍入误差放大 ``1/√ε`` 倍。"""
    if rows.shape[-1] < 2 or not bool((rows.detach().std(-1) > LEAST_SPREAD).all()):
        raise RejectedError


def layer_norm(b: Builder) -> None:
    """``layer_norm`` 与 ``rms_norm``，带或不带权重。"""
    x = b.pick_dims(1)
    shape = tuple(b.value(x).shape)
    kept = shape[-b.rng.randint(1, len(shape)) :]
    _need_variety(b.value(x).flatten(len(shape) - len(kept)))
    name = b.rng.choice(("layer_norm", "rms_norm"))
    weights = [b.leaf(kept) for _ in range(b.rng.randint(0, 2 if name == "layer_norm" else 1))]
    b.step(f"nn.functional.{name}", x, kept, *weights)


def classified(b: Builder) -> None:
    """交叉熵与 ``nll_loss``：有时忽略一类，有时平滑。"""
    x = b.pick_dims(2, 3)
    shape = tuple(b.value(x).shape)
    target = b.integers((shape[0], *shape[2:]), shape[1])
    reduction = b.rng.choice(("mean", "sum", "none"))
    if b.chance(0.3):
        b.step("nn.functional.nll_loss", b.step(".log_softmax", x, dim=1), target, reduction=reduction)
    else:
        smoothing = b.rng.choice((0.0, 0.1))
        b.step("nn.functional.cross_entropy", x, target, reduction=reduction, label_smoothing=smoothing)


def compared(b: Builder) -> None:
    """两个同形张量的损失。"""
    x = b.pick_dims(1)
    y = like(b, x, b.value(x).shape)  # 混着用时 torch 的反向报错
    names = (
        "mse_loss",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "binary_cross_entropy_with_logits",
    )
    if b.chance(0.2):
        inputs = (b.step(".log_softmax", x, dim=-1), b.step(".softmax", y, dim=-1))
        b.step("nn.functional.kl_div", *inputs, reduction=b.rng.choice(("sum", "batchmean", "none")))
        return
    b.step(f"nn.functional.{b.rng.choice(names)}", x, y, reduction=b.rng.choice(("mean", "sum", "none")))


def attention(b: Builder) -> None:
    """注意力：因果的、带掩码的，键与值的长度任意。

    进出融合算子的都是副本：torch 与这里反传时留下的不是同样几个张量，就地改写其中一个，一边能反传而另一边不能。
    至少两个键：只有一个键时梯度恰为 0，两边各剩下自己的舍入误差。
    """
    x = b.pick_dims(3, 4)
    shape = tuple(b.value(x).shape)
    if shape[-2] < 2:
        raise RejectedError
    keys = b.rng.randint(2, 4)
    k, v = b.leaf([*shape[:-2], keys, shape[-1]]), b.leaf([*shape[:-2], keys, b.rng.randint(1, 3)])
    if b.chance(0.5):
        options = {"is_causal": True} if b.chance(0.5) else {"attn_mask": b.leaf([shape[-2], keys])}
        copies = [b.step(".clone", one, pooled=False) for one in (x, k, v)]
        b.step(".clone", b.step("nn.functional.scaled_dot_product_attention", *copies, pooled=False, **options))
    else:
        scores = b.step("/", b.step("@", x, b.step(".transpose", k, -2, -1)), float(shape[-1]) ** 0.5)
        mask = b.step(".tril", b.step("ones", shape[-2], keys, pooled=False), pooled=False)
        scores = b.step(".masked_fill", scores, b.step("==", mask, 0, pooled=False), -100.0)
        b.step("@", b.step(".softmax", scores, dim=-1), v)


def convolved(b: Builder) -> None:
    """卷积与池化。"""
    x = b.pick_dims(3, 3)
    _, channels, length = b.value(x).shape
    kind = b.rng.choice(("conv1d", "avg_pool1d", "max_pool1d", "group_norm"))
    if kind == "conv1d":
        width = b.rng.randint(1, int(length))
        weight = b.leaf([b.rng.randint(1, 3), int(channels), width])
        b.step("nn.functional.conv1d", x, weight, stride=b.rng.randint(1, 2), padding=b.rng.randint(0, 1))
    elif kind == "group_norm":
        groups = b.rng.choice((1, int(channels)))
        _need_variety(b.value(x).reshape(b.value(x).shape[0], groups, -1))
        b.step("nn.functional.group_norm", x, groups)
    else:
        b.step(f"nn.functional.{kind}", x, b.rng.randint(1, int(length)), stride=b.rng.randint(1, 2))


ELEMENTWISE: tuple[Proposal, ...] = (
    anywhere, anywhere, anywhere, gelu_tanh, positive, unit, arithmetic, arithmetic, arithmetic, arithmetic, scaled_sum,
    with_number, with_number, quotient, power, three, three, clamped, converted,
)  # fmt: skip
FAMILIES = (
    Family(5, ELEMENTWISE),
    Family(1.6, (reduced, reduced, reduced_once, spread, with_places, along, along)),
    Family(1.2, (matrix_product, matrix_product, named_product)),
    Family(1.2, (layer_norm, classified, compared, convolved)),
    Family(0.3, (attention,)),
)
