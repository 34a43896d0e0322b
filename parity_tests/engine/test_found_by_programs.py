"""公开的 PyTorch 程序原样跑起来时撞见过的不同：每行是撞见它的那几句，两个引擎结果相同。"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from parity_tests.engine.twins import same, same_error, table

Program = Callable[[Any], Any]


def _leaf(m: Any, *shape: int) -> Any:
    return m.arange(float(m.tensor(shape).prod())).reshape(shape).div(7).requires_grad_()


def _low_cache(m: Any, kind: str) -> Any:
    """16 位的缓存：取出一层，往里写，再读整块。"""
    cache = m.zeros(2, 3, 4, dtype=getattr(m, kind))
    layer = cache[1]
    layer[:, 1:2] = 5
    layer[0].add_(1)
    return cache.float(), layer.stride(), cache[..., 0].stride()


def _low_write(m: Any, kind: str) -> Any:
    """图上的 16 位张量就地写一段。"""
    x = _leaf(m, 2, 3)
    y = x.to(getattr(m, kind)) * 1
    y[0] = 7
    y[:, 1] += 1
    y.float().square().sum().backward()
    return y.float(), x.grad


def _grouped(m: Any) -> Any:
    """自己写的优化器把参数按类型分组。"""
    tensors = [m.ones(2), m.ones(3, dtype=m.float64), m.zeros(1)]
    group = importlib.import_module(f"{m.__name__}.utils._foreach_utils")._group_tensors_by_device_and_dtype
    groups = group([tensors, [None] * 3, []], with_indices=True)
    return [(str(dtype), lists, at) for (_, dtype), (lists, at) in sorted(groups.items(), key=lambda one: one[1][1])]


def _helped(m: Any) -> Any:
    """自己写的优化器从 optimizer.py 导入的几样。"""
    given = importlib.import_module(f"{m.__name__}.optim.optimizer")
    params, state = [m.ones(2), m.ones(2, dtype=m.complex64)], [m.ones(2), m.ones(2, dtype=m.complex64)]
    given._view_as_real(params, state)
    step = given._use_grad_for_differentiable(lambda self: m.is_grad_enabled())
    return (
        params, state, given._get_value(m.tensor(3.0)), given._get_value(2.0), given._to_scalar(m.tensor([2.0])),
        given._default_to_fused_or_foreach(params, False, False), str(given._get_scalar_dtype()),
        given._stack_if_compiling(1), step(m.optim.SGD([m.ones(1)], lr=0.1)),
    )  # fmt: skip


def _wrapped(m: Any) -> Any:
    """包着另一个优化器的，不经过 ``Optimizer.__init__``；钩子自己备下的也行。"""

    class Wrapper(m.optim.Optimizer):  # type: ignore[misc]
        def __init__(self, inner: Any) -> None:
            self.inner, self.param_groups = inner, inner.param_groups

        def step(self) -> None:
            self.inner.step()

    class Hooked(Wrapper):
        def __init__(self, inner: Any) -> None:
            super().__init__(inner)
            self._optimizer_step_pre_hooks: dict[int, Any] = {}
            self._optimizer_step_post_hooks: dict[int, Any] = {}
            self._patch_step_function()

    p = m.ones(2, requires_grad=True)
    p.grad = m.ones(2)
    for kind in (Wrapper, Hooked):
        kind(m.optim.SGD([p], lr=0.1)).step()
    return p


def _compiled(m: Any) -> Any:
    """为 TorchScript 写的模型照常执行。"""

    class Scripted(m.nn.Module):  # type: ignore[misc]
        doubles: m.jit.Final[bool]

        def __init__(self) -> None:
            super().__init__()
            self.doubles = True

        def forward(self, x: Any) -> Any:
            return m.jit.annotate(m.Tensor, x) * 2

    return Scripted()(m.ones(2)), isinstance(Scripted(), (m.jit.ScriptModule, m.jit.ScriptFunction))


def _reversible(m: Any) -> Any:
    """可逆网络记下随机状态，反传时自己重算。"""
    given = importlib.import_module(f"{m.__name__}.utils.checkpoint")
    x, n = m.ones(2, requires_grad=True), m.arange(2)
    states = given.get_device_states(x)
    given.set_device_states(*states)
    apart = given.detach_variable((x, n, 3))
    given.CheckpointFunction.apply(lambda a, b: a * b, True, x, n).sum().backward()
    return states, apart[0].is_leaf, apart[0].requires_grad, apart[1].requires_grad, x.grad, m.cuda._initialized


def _old_update(m: Any) -> Any:
    """旧的优化器：系数写在张量之前；torch 警告一声，照算。"""
    x, y, w = _leaf(m, 3).detach(), m.full((3,), 3.0), m.eye(3).mul(2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = [
            x.add(2, y), x.clone().sub_(0.5, y), m.add(x, 2, y), m.sub(x, 2, y), x.clone().addcmul_(0.5, y, y),
            m.addcmul(x, 0.5, y, y), x.clone().addcdiv_(-m.tensor(0.5), x, y), m.addcdiv(x, 2, y, y),
            w.addmm(2, w, w), w.addmm(2, 3, w, w), m.addmm(2, w, 3, w, w), m.addmm(2, w, w, w), x.addmv(2, w, y),
            w.clone().addr_(2, 3, x, y), m.baddbmm(2, w[None], 3, w[None], w[None]), w.addbmm(2, w[None], w[None]),
        ]  # fmt: skip
        x.mul_(0.9).add_(0.1, y)
    return made, x


def _kept_gradient(m: Any) -> Any:
    """带着图的梯度就地改写：不是别处的视图，改了也不影响别处。"""
    w, x = m.arange(6.0).reshape(2, 3).requires_grad_(), _leaf(m, 4, 3)
    (m.nn.functional.linear(x, w).square().sum() + (w.T * 1).exp().sum()).backward(create_graph=True)
    second = m.autograd.grad(w.grad.sum(), w, retain_graph=True)
    w.grad.detach_().mul_(2)
    y = w * 1
    y.backward(m.ones(2, 3), create_graph=True)
    return w.grad, second, w.grad.is_leaf


def _numbers_before(m: Any) -> Any:
    """第一个操作数是数。"""
    x, whole, half = _leaf(m, 3), m.arange(1, 4, dtype=m.int32), m.tensor(2.0, dtype=m.float16)
    return (
        m.add(1, x), m.add(1.5, whole), m.add(1.0, half), m.add(1, x, alpha=2), m.sub(1.5, whole, alpha=2),
        m.mul(2, whole), m.mul(2, 3), m.div(1.0, x + 1), m.div(1, whole), m.div(7, whole, rounding_mode="floor"),
        m.true_divide(1, 2), m.floor_divide(7, whole), m.multiply(2.0, half), m.subtract(3.0, 1), m.div(1, other=whole),
    )  # fmt: skip


def _dropped(m: Any, x: Any) -> Any:
    m.manual_seed(0)
    return x.stride(), m.nn.functional.dropout(x, 0.5), m.nn.functional.dropout(x * 2, 0.5)


def _patches(m: Any) -> Any:
    """卷积切出的小块换轴之后加上位置，再丢弃：掩码按内存次序抽。"""
    x = m.arange(48.0).reshape(2, 4, 6).transpose(1, 2)
    position = m.ones(1, 6, 4)
    return [_dropped(m, y) for y in (x + position, position + x, x - x.contiguous(), x / (x.contiguous() + 1), x * 2)]


def _divided(m: Any) -> Any:
    """商可以就地改写：反向用的是被除数与除数。"""
    x = _leaf(m, 2, 3)
    y = (x + 1) / (x + 2)
    y *= 3
    y.sum().backward()
    return y, x.grad


def _floored(m: Any) -> Any:
    x = _leaf(m, 4)
    y = x // 0.3
    y[y > 1] = -1
    return y.detach(), y.requires_grad


def _image(m: Any) -> Any:
    """``channels_last`` 的图像穿过卷积、归一化与池化，次序不变。"""
    F, x = m.nn.functional, m.arange(96.0).reshape(2, 4, 4, 3).permute(0, 3, 1, 2) / 50
    kernel, ones = m.ones(5, 3, 3, 3) / 9, m.ones(3)
    steps = [
        F.conv2d(x, kernel), F.conv_transpose2d(x, m.ones(3, 2, 2, 2)), F.max_pool2d(x, 2), F.avg_pool2d(x, 2),
        F.adaptive_avg_pool2d(x, 2), F.adaptive_max_pool2d(x, 2), F.interpolate(x, scale_factor=2), F.pad(x, (1, 1)),
        F.group_norm(x, 3), F.batch_norm(x, ones * 0, ones, training=True), m.cat([x, x], 1),
        F.max_pool2d(x, 2, return_indices=True)[1].float(),
    ]  # fmt: skip
    return [_dropped(m, y) for y in steps]


def _old_state(m: Any) -> Any:
    """没有 ``num_batches_tracked`` 的旧状态：不算缺；带着版本的新状态缺了才算。"""
    layer = m.nn.BatchNorm1d(2)
    layer(m.arange(6.0).reshape(3, 2))
    state = layer.state_dict()
    old = {k: v for k, v in state.items() if "num" not in k}
    del state["num_batches_tracked"]
    fresh = m.nn.Sequential(m.nn.BatchNorm1d(2), m.nn.BatchNorm1d(2, track_running_stats=False))
    found = fresh.load_state_dict({f"0.{k}": v for k, v in old.items()}, strict=False)
    kept = fresh[0].num_batches_tracked.item(), fresh[0].running_mean
    return found.missing_keys, kept, layer.load_state_dict(state, strict=False).missing_keys


def _sampled(m: Any) -> Any:
    """转置过的概率：指数随机数也按内存次序抽。"""
    m.manual_seed(3)
    p = (m.arange(15.0).reshape(5, 3).sin().abs() + 0.1).t()
    return m.multinomial(p, 1), m.multinomial(p, 3), m.multinomial(p, 4, replacement=True)


def _far(m: Any) -> Any:
    """差到无穷远的目标：梯度是 ±1，不是 NaN。"""
    x = m.tensor([float("inf"), -float("inf"), 0.2, 3.0], requires_grad=True)
    loss = m.nn.functional.smooth_l1_loss(x, m.zeros(4), reduction="sum")
    loss.backward()
    return loss, x.grad


def _heads_joined(m: Any) -> Any:
    """注意力的输出不先复制就合并各头：训练与推理都行。"""
    found = []
    for grad in (True, False):
        x = m.arange(72.0).reshape(2, 3, 12).sin().requires_grad_(grad)
        q, k, v = (t.view(2, 3, 2, 2).transpose(1, 2) for t in x.split(4, dim=2))
        sdpa, mask = m.nn.functional.scaled_dot_product_attention, m.ones(3, 3).tril().bool()
        ys = sdpa(q, k, v, is_causal=True), sdpa(q, k, v, attn_mask=mask)
        found += [y.transpose(1, 2).view(2, 3, 4) for y in ys]
        found += [sdpa(q[0], k[0], v[0]).stride(), sdpa(q, k, v[..., :1]).stride(), sdpa(q.contiguous(), k, v).stride()]
    return found


PROGRAMS: dict[str, Program] = {
    "a bfloat16 cache is written through its layers": lambda m: _low_cache(m, "bfloat16"),
    "a float16 cache is written through its layers": lambda m: _low_cache(m, "float16"),
    "bfloat16 slices are written on the graph": lambda m: _low_write(m, "bfloat16"),
    "float16 slices are written on the graph": lambda m: _low_write(m, "float16"),
    "dropout after adding positions": _patches,
    "an image with its channels last": _image,
    "a recurrent layer lists its weights": lambda m: (
        m.nn.LSTM(2, 3, 2, bidirectional=True)._flat_weights_names,
        [tuple(w.shape) for w in m.nn.GRU(2, 3, 2, bias=False)._flat_weights]),
    "batch statistics of an old file": _old_state,
    "sampling from transposed probabilities": _sampled,
    "a loss at infinity": _far,
    "gates keep the memory order": lambda m: [
        _dropped(m, f(m.arange(12.0).reshape(3, 4).t() / 9)) for f in (
            m.nn.functional.gelu, m.nn.functional.silu, lambda x: m.nn.functional.gelu(x, approximate="tanh"))],
    "heads joined without a copy": _heads_joined,
    "layers without inputs": lambda m: (
        m.nn.functional.linear(m.zeros(2, 0), m.zeros(3, 0), m.ones(3)),
        m.nn.functional.linear(m.ones(2, 0), m.ones(3, 0)),
        m.nn.functional.layer_norm(m.zeros(2, 0), (0,)).shape, m.nn.functional.rms_norm(m.zeros(2, 0), (0,)).shape),
    "a quotient is written in place": _divided,
    "a floored quotient is written in place": _floored,
    "prod along an axis has a name": lambda m: (
        _leaf(m, 2, 3).prod(0).grad_fn.name(), _leaf(m, 2, 3).prod().grad_fn.name()),
    "grouping parameters by type": _grouped,
    "what an optimiser borrows": _helped,
    "an optimiser around another one": _wrapped,
    "a model written for TorchScript": _compiled,
    "what reversible networks borrow": _reversible,
    "numbers before the tensors": _old_update,
    "a number as the first operand": _numbers_before,
    "a gradient with its graph is one's own": _kept_gradient,
    "what other packages ask _C": lambda m: (
        m._C._log_api_usage_once("x"), m._C._get_tracing_state(), m._C.Generator is m.Generator, m._C.Size is m.Size),
    "an embedding says it is not sparse": lambda m: m.nn.Embedding(3, 2).sparse,
    "a convolution with a kernel of one's own": lambda m: m.nn.Conv2d(1, 2, 3, padding=1)._conv_forward(
        m.arange(16.0).reshape(1, 1, 4, 4), m.ones(2, 1, 3, 3), None),
}  # fmt: skip


@pytest.mark.parametrize("program", table(PROGRAMS))
def test_what_programs_do(program: Program) -> None:
    """真实程序里的这几句，结果与 torch 不同。"""
    same(program, "float32")


MISTAKES: dict[str, Program] = {
    "subtracting a mask with alpha": lambda m: m.sub(m.ones(2) > 0, m.ones(2), alpha=2),
    "a convolution to nothing": lambda m: m.nn.Conv2d(3, 0, 1)(m.ones(1, 3, 2, 2)),
    "layer_norm in two types": lambda m: m.nn.LayerNorm(2).double()(m.ones(1, 2)),
    "a tensor in the place of a number": lambda m: m.ones(2).add_(m.ones(2), m.ones(2)),
    "two numbers before the tensor": lambda m: m.ones(2).add_(1, 2, m.ones(2)),
    "a word as the first operand": lambda m: m.add("a", m.ones(2)),
    "detaching a list": lambda m: importlib.import_module(f"{m.__name__}.utils.checkpoint").detach_variable([]),
    "subtracting a mask": lambda m: m.ones(2) - (m.ones(2) > 0),
}


@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_what_programs_get_wrong(mistake: Program) -> None:
    """torch 报错的写法，这里悄悄算出了什么。"""
    same_error(mistake)
