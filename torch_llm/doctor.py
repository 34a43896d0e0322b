"""``python -m torch_llm doctor``：这台机器有什么，选定的模型的每一层在设备上算得对不对。

流入：``DoctorConfig``；流出：打印的表；有一层不对就以非零退出，并指出是哪一层、从几行起。
有的设备会在某些形状上悄悄算错（训练照常进行，损失却降不下去），所以每一层都用模型自己的宽度，换几种行数来试：
前向与 float64 的 NumPy 公式（``common/reference.py``）逐元素相比，反向与它的中心差分沿随机方向相比。
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_llm.common import reference, tiers
from tinygrad_llm.common.config import GPTConfig, preset
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.system import hardware
from tinygrad_llm.common.torch_config import Device, Precision, TorchConfig

ROWS = (1, 8, 9, 64)
DEEP_ROWS = (*range(1, 18), 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257)
BOUNDS = {"float64": 1e-7, "float32": 2e-4, "bfloat16": 6e-2, "float16": 1e-2}
"""误差以输出（梯度）的大小为单位。float64 的界由中心差分定；别的按「一次舍入 × √宽度」放宽到几十倍。"""


class DeviceError(UserError):
    """设备算错了（退出码 1）。"""

    exit_code = 1


@dataclass(frozen=True)
class DoctorConfig:
    """体检的设置。"""

    preset: str = "toy"
    """哪个模型的各层。"""
    device: Device = "auto"
    """检查哪个设备。"""
    precision: Precision = "auto"
    """用什么精度的矩阵乘法。"""
    deep: bool = False
    """多试几十种行数；慢。"""


@dataclass(frozen=True)
class Layer:
    """模型里的一层。

    Attributes:
        name: 在模型里的名字。
        inputs: 各输入，float64。
        ids: 整数的输入；没有则为 ``None``。
        reference: NumPy 的公式，关键字参数是 ``inputs``。
        on_device: torch 的写法，参数同上。
    """

    name: str
    inputs: dict[str, Any]
    reference: Callable[..., Any]
    on_device: Callable[..., Any]


def main(config: DoctorConfig) -> None:
    """打印这台机器的情况，再逐层核对。

    Raises:
        DeviceError: 有一层不对。
    """
    from torch_llm.runtime import pick_runtime

    model = preset(config.preset)
    runtime = pick_runtime(TorchConfig(device=config.device, precision=config.precision))
    for name, value in _findings(runtime.device).items():
        print(f"{name:<10} {value}")
    print(f"{'chosen':<10} {runtime.describe()}")
    print(f"{'advice':<10} {tiers.advice()}\n")
    kind = "float32" if runtime.low is None else str(runtime.low).removeprefix("torch.")
    rows = DEEP_ROWS if config.deep else ROWS
    print(
        f"every layer of {config.preset} on {runtime.device} in {kind}, against float64 NumPy, {len(rows)} row counts"
    )
    print(f"{'layer':<18} {'forward':>9} {'backward':>9}  bound {BOUNDS[kind]:.0e}")
    wrong = [one for one in examine(model, runtime, rows, BOUNDS[kind]) if one]
    if wrong:
        raise DeviceError(
            f"{len(wrong)} of the layers wrong on {runtime.device}; the first: {wrong[0]}",
            where=f"torch_llm doctor --preset {config.preset}",
            fix="use --device cpu, another --precision, or another version of torch; then run the doctor again",
        )
    print("every layer is right")


def examine(model: GPTConfig, runtime: Any, rows: tuple[int, ...], bound: float) -> Iterator[str]:
    """逐层核对，打印一行一层。

    Args:
        model: 模型配置。
        runtime: 设备与精度。
        rows: 试哪些行数。
        bound: 误差的界。

    Yields:
        每层一句：哪里不对、从几行起；对的为空串。
    """
    names = [layer.name for layer in layers(model, 1)]
    for i, name in enumerate(names):
        worst, first = (0.0, 0.0), ""
        for n in rows:
            if name == "wpe" and n > model.context:
                continue
            found = layer_errors(list(layers(model, n))[i], runtime)
            worst = (max(worst[0], found[0]), max(worst[1], found[1]))
            if max(found) > bound and not first:
                which, value = ("forward", found[0]) if found[0] > bound else ("backward", found[1])
                first = f"{name}: {which} is off by {value:.2g} of its size with {n} rows (bound {bound:.0e})"
        print(f"{name:<18} {worst[0]:9.1e} {worst[1]:9.1e}  {'WRONG' if first else 'ok'}")
        yield first


def layer_errors(layer: Layer, runtime: Any) -> tuple[float, float]:
    """一层的前向与反向的误差，以输出与梯度的大小为单位；出了 NaN 则为无穷。"""
    import torch

    rng = np.random.default_rng(0)
    leaves = {
        name: torch.tensor(a, dtype=torch.float32 if a.dtype == np.float64 else None, device=runtime.device)
        for name, a in layer.inputs.items()
    }
    real = {name: leaf.requires_grad_() for name, leaf in leaves.items() if leaf.is_floating_point()}
    with runtime.autocast():
        y = layer.on_device(**leaves)
    g = rng.standard_normal(y.shape)
    (y.double().cpu() * torch.from_numpy(g)).sum().backward()
    exact = {name: a.astype(np.float32).astype(np.float64) if name in real else a for name, a in layer.inputs.items()}
    forward = _relative(y.detach().double().cpu().numpy(), layer.reference(**exact))
    backward = 0.0
    for name, leaf in real.items():
        direction = rng.standard_normal(leaf.shape)
        expected = float((g * reference.directional(layer.reference, exact, name, direction)).sum())
        grad = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.double().cpu().numpy()
        size = max(float(np.linalg.norm(grad)), 1e-3 * float(np.linalg.norm(g)))  # 只有一个键时，q 的梯度恰为 0
        error = abs(float((grad * direction).sum()) - expected) / size
        backward = max(backward, error if np.isfinite(error) else np.inf)
    return forward, backward


def _relative(found: Any, expected: Any) -> float:
    error = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))
    return error if np.isfinite(error) else float("inf")


def layers(model: GPTConfig, rows: int) -> Iterator[Layer]:
    """模型从头到尾的各层，每层 ``rows`` 行（位置）；各块形状相同，只列一块。"""
    from torch.nn import functional as F

    from torch_llm.functional import rotary, token_loss

    make = _Maker(model, rows)
    width, head, hidden, vocab = model.n_embd, model.head_size, model.hidden_size, model.vocab_size
    ids = make.rng.integers(0, vocab, rows)
    yield Layer("wte", {"weight": make.normal(vocab, width), "ids": ids}, reference.embedding,
                lambda weight, ids: F.embedding(ids, weight))  # fmt: skip
    yield make.norm("ln_1", width, model.norm)
    yield make.linear("attn.c_attn", width, (model.n_head + 2 * model.kv_heads) * head)
    if model.qk_norm:
        yield make.norm("attn.q_norm", head, "rmsnorm")
    if model.position == "rope":
        yield Layer("rotary", {"x": make.normal(model.n_head, rows, head)},
                    lambda x: reference.rotary(x, theta=model.rope_theta),
                    lambda x: rotary(x, *_angles(model, rows, x)))  # fmt: skip
    yield make.attention(head)
    yield make.linear("attn.c_proj", model.n_head * head, width)
    yield make.norm("ln_2", width, model.norm)
    yield make.linear("mlp.c_fc", width, hidden)
    if model.mlp == "swiglu":
        yield make.linear("mlp.c_gate", width, hidden)
        yield Layer("mlp.swiglu", {"gate": make.normal(rows, hidden), "x": make.normal(rows, hidden)},
                    reference.swiglu, lambda gate, x: F.silu(gate) * x)  # fmt: skip
    else:
        rough = "tanh" if model.mlp == "gelu_tanh" else "none"
        formula = reference.gelu_tanh if model.mlp == "gelu_tanh" else reference.gelu
        yield Layer("mlp.gelu", {"x": make.normal(rows, hidden)}, formula, lambda x: F.gelu(x, approximate=rough))
    yield make.linear("mlp.c_proj", hidden, width)
    yield make.norm("ln_f", width, model.norm)
    last = {"x": make.normal(rows, width), "weight": make.normal(vocab, width, scale=width**-0.5), "target": ids}
    yield Layer("head and loss", last, reference.token_loss, token_loss)


class _Maker:
    """各种层的随机输入；权重的大小使输出与输入一样大。"""

    def __init__(self, model: GPTConfig, rows: int) -> None:
        self.model, self.rows, self.rng = model, rows, np.random.default_rng(rows)

    def normal(self, *shape: int, scale: float = 1.0) -> Any:
        return self.rng.standard_normal(shape) * scale

    def linear(self, name: str, width: int, out: int) -> Layer:
        from torch.nn import functional as F

        inputs = {"x": self.normal(self.rows, width), "weight": self.normal(out, width, scale=width**-0.5)}
        return Layer(name, inputs | ({"bias": self.normal(out)} if self.model.bias else {}), reference.linear, F.linear)

    def norm(self, name: str, width: int, kind: str) -> Layer:
        from torch.nn import functional as F

        eps = self.model.norm_eps
        inputs = {"x": self.normal(self.rows, width), "weight": 1 + self.normal(width, scale=0.1)}
        if kind == "rmsnorm":
            return Layer(
                name, inputs, lambda **a: reference.rms_norm(**a, eps=eps),
                lambda x, weight: F.rms_norm(x, (width,), weight, eps),
            )  # fmt: skip
        return Layer(
            name, inputs | ({"bias": self.normal(width)} if self.model.bias else {}),
            lambda **a: reference.layer_norm(**a, eps=eps),
            lambda x, weight, bias=None: F.layer_norm(x, (width,), weight, bias, eps),
        )  # fmt: skip

    def attention(self, head: int) -> Layer:
        from torch.nn import functional as F

        from torch_llm.functional import sliding_attention

        model, window = self.model, self.model.window

        def attend(q: Any, k: Any, v: Any) -> Any:
            q, k, v = (a[None] for a in (q, k, v))
            if window is not None:
                return sliding_attention(q, k, v, window)[0]
            return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=model.n_head != model.kv_heads)[0]

        heads = {"q": model.n_head, "k": model.kv_heads, "v": model.kv_heads}
        inputs = {name: self.normal(count, self.rows, head) for name, count in heads.items()}
        return Layer("attention", inputs, lambda **a: reference.attention(**a, window=window), attend)


def _angles(model: GPTConfig, rows: int, like: Any) -> Any:
    from torch_llm.gpt import rope_table

    return rope_table(model, 0, rows, like)


def _findings(device: Any) -> dict[str, str]:
    """机器、版本与各设备的一句话。"""
    import torch

    from torch_llm.runtime import has_bfloat16

    about = hardware()
    cuda = "no"
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        memory = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
        cuda = f"{torch.cuda.device_count()} x {', '.join(sorted(names))}, {memory}"
    compiler = shutil.which("cl" if platform.system() == "Windows" else "c++") or shutil.which("g++")
    return {
        "platform": about["platform"],
        "python": f"{about['python']}, torch {torch.__version__}, numpy {about['numpy']}",
        "cpu": f"{about.get('cpu', '?')}, {about['cpus']} cores, {torch.get_num_threads()} threads",
        "memory": about.get("memory", "?"),
        "cuda": cuda,
        "mps": "yes" if torch.backends.mps.is_available() else "no",
        "bfloat16": f"{'native' if has_bfloat16(device) else 'emulated'} on {device}",
        "compiler": f"{compiler} (--compile can work)" if compiler else "none found (--compile falls back)",
    }
