"""真的设备算得对不对：torch 在那个设备上，对 torch 在 CPU 上，也对我们的引擎；再逐层走一遍 GPT。

流入：设备名；流出：打印的表与退出码。float32 以 torch 在 CPU 上的 float64 为准，与 ``measure.py`` 的第二意见相同；
GPT 不合格时指出前向里第一个、反向里第一个分了家的地方。
"""

from __future__ import annotations

import math
import warnings
import zlib
from dataclasses import dataclass, field
from typing import Any

import hypothesis
import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import tinygrad_llm as tg
from parity_tests.contract.cases import weights
from parity_tests.engine.op_table import TABLE
from parity_tests.ledger.measure import (
    FORWARD,
    Case,
    Error,
    compare,
    differentiable,
    doubled,
    engine_side,
    like,
    tolerance,
    torch_side,
    worst,
)
from parity_tests.ledger.shrink import captured
from parity_tests.ledger.survey import in_dtype
from parity_tests.tolerances import TABLE as TOLERANCES
from parity_tests.tolerances import as_array
from tinygrad_llm import gpt as our_gpt
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import UserError
from torch_llm import gpt as torch_gpt

CONFIGS = {
    "GPT-2": GPTConfig(vocab_size=61, context=16, n_layer=3, n_head=4, n_embd=32),
    "Llama": GPTConfig(
        vocab_size=61, context=16, n_layer=3, n_head=4, n_kv_head=2, n_embd=32, norm="rmsnorm", position="rope",
        mlp="swiglu", bias=False, qk_norm=True, tie_head=False,
    ),
}  # fmt: skip
"""逐层走的两个小模型，合起来用到每一种零件。"""


@dataclass
class Row:
    """一个算子在设备上的成绩。

    Attributes:
        op: 算子名。
        examples: 量过的例子数。
        errors: 比较的名字到最大的误差。
        refused: 设备不肯做的例子各是什么错。
    """

    op: str
    examples: int = 0
    errors: dict[str, Error] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)

    def keep(self, name: str, error: Error) -> None:
        """记下更大的误差。"""
        if name not in self.errors or error.share > self.errors[name].share:
            self.errors[name] = error

    @property
    def passed(self) -> bool:
        """全部合格；引擎与设备之差只供参考。"""
        return all(error.passed for error in self.errors.values())


def main(device: str, ops: list[str], examples: int, seed: int) -> int:
    """设备上的总账。

    Args:
        device: torch 的设备名。
        ops: 算子。
        examples: 每个算子几个例子。
        seed: 种子。

    Returns:
        退出码：全部合格为 0，否则为 1。

    Raises:
        UserError: 没有这个设备。
    """
    usable(device)
    dtypes = ["float32"] if device.startswith("mps") else ["float64", "float32"]
    print(f"torch {torch.__version__} on {described(device)}; the judge is torch on the CPU (float64)")
    rows = [on_device(op, device, dtypes, examples, seed) for op in ops]
    print(table(rows))
    diverged = [line for name in CONFIGS for dtype in dtypes for line in _layers(name, device, dtype)]
    failed = [row for row in rows if not row.passed]
    refused = [f"{row.op} ({'; '.join(sorted(row.refused))})" for row in rows if row.refused]
    if refused:
        print("not run on this device:", *refused, sep="\n  ")
    print(
        f"{len(rows)} ops, {sum(r.examples for r in rows):,} examples on {device}: {len(failed)} ops outside the bounds"
    )
    for row in failed:
        for name, error in row.errors.items():
            if not error.passed and not name.endswith("engine"):
                print(f"FAILED {row.op}, {name}: {error.where}, device {error.ours}, expected {error.theirs}")
    return 1 if failed or diverged else 0


def usable(device: str) -> None:
    """确认这个设备在，否则说清楚。"""
    try:
        torch.ones(1, device=device).sum().item()
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f'torch cannot use the device "{device[:40]}": {str(error).splitlines()[0][:120]}',
            fix="--device cpu, mps or cuda, and a torch built for it",
        ) from None


def described(device: str) -> str:
    """设备的名字。"""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.startswith("cuda") else device


def on_device(op: str, device: str, dtypes: list[str], examples: int, seed: int) -> Row:
    """一个算子在设备上。"""
    row = Row(op)

    @hypothesis.seed(zlib.crc32(f"{op} device {seed}".encode()))
    @settings(max_examples=examples, database=None, deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.data())
    def look(data: st.DataObject) -> None:
        args, attrs = TABLE[op].draw(data.draw, True)
        for dtype in dtypes:
            case = captured(op, *in_dtype(args, attrs, dtype))
            row.examples += 1
            try:
                found = _compared(case, device, dtype)
            except (NotImplementedError, RuntimeError, TypeError) as error:
                row.refused.add(str(error).splitlines()[0][:80])
                continue
            for name, largest in found.items():
                row.keep(name, largest)

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        look()
    return row


def _compared(case: Case, device: str, dtype: str) -> dict[str, Error]:
    """设备对 CPU（float32 对 CPU 的 float64），设备对引擎。"""
    args = case.inputs()
    wanted = differentiable(case.op, args)
    y, gradients, seed = engine_side(case, args, wanted)
    place = doubled if dtype == "float32" else torch.as_tensor
    judge = _flat(torch_side(case, args, wanted, seed, place))
    with torch.device(device):
        mine = _flat(torch_side(case, args, wanted, seed, lambda x: x.to(device)))
    truth = [like(exact, found) for exact, found in zip(judge, mine, strict=True)]
    limit = tolerance(FORWARD, dtype)
    names = ["output", *(f"gradient of input {i}" for i in wanted)]
    return {
        f"{dtype} vs {who}": worst(compare(a, b, limit, name) for name, a, b in zip(names, mine, theirs, strict=True))
        for who, theirs in (("torch on the CPU", truth), ("the engine", [y, *gradients]))
    }


def _flat(side: tuple[Any, list[Any]]) -> list[Any]:
    return [side[0], *side[1]]


def table(rows: list[Row]) -> str:
    """终端的表，最坏的在下面。"""
    heads = sorted({name for row in rows for name in row.errors})
    lines = [["op", "examples", *heads]]
    for row in sorted(rows, key=lambda r: max((e.share for e in r.errors.values()), default=0.0)):
        values = [f"{row.errors[h].relative:.1e}" if h in row.errors else "" for h in heads]
        lines.append([row.op, str(row.examples), *values])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)) for line in lines)


# ---- 逐层走一遍 GPT ----


def _layers(name: str, device: str, dtype: str) -> list[str]:
    """打印一个模型逐层的结果，返回分了家的几句话。"""
    config = CONFIGS[name]
    reference = walked(torch, config, dtype, "cpu")
    sides = {f"torch on {device}": walked(torch, config, dtype, device), "engine": walked(tg, config, dtype, "cpu")}
    found = []
    for who, steps in sides.items():
        where, largest = first_divergence(steps, reference, dtype)
        verdict = f"DIVERGES FIRST AT {where}" if where else "no layer diverges"
        print(f"{name} {dtype}, {who} vs torch on the CPU: {verdict} (largest {largest:.1e} in {len(steps)} steps)")
        found += [verdict] if where else []
    return found


def walked(engine: Any, config: GPTConfig, dtype: str, device: str, spoil: str = "") -> dict[str, Any]:
    """走一遍：各层的输出按算出的次序，然后是各参数的梯度，从输出走回输入。

    Args:
        engine: ``torch`` 或 ``tinygrad_llm``。
        config: 模型配置。
        dtype: 权重的 dtype。
        device: torch 的设备；引擎只在 CPU 上。
        spoil: 把这一层的输出乘以 1.001：检查「第一个分了家的」是否指得对。

    Returns:
        名字到数组，按计算的次序。
    """
    package: Any = torch_gpt if engine is torch else our_gpt
    model = package.GPT(config).to(getattr(engine, dtype))
    model.load_state_dict({name: engine.tensor(w) for name, w in weights(config, dtype).items()})
    model = model.to(device) if engine is torch else model
    steps: dict[str, Any] = {}
    calls: dict[str, int] = {}

    def hook(name: str) -> Any:
        def keep(module: Any, args: Any, y: Any) -> Any:
            y = y * 1.001 if name == spoil else y
            calls[name] = calls.get(name, 0) + 1  # 一层里的 drop 用两次
            again = f" (call {calls[name]})" if calls[name] > 1 else ""
            steps[f"output of {name}{again}"] = as_array(y.detach())
            return y

        return keep

    for name, module in model.named_modules():
        if name:
            module.register_forward_hook(hook(name))
    rng = np.random.default_rng(0)
    ids, targets = (engine.tensor(rng.integers(0, config.vocab_size, (2, config.context))) for _ in range(2))
    ids, targets = (x.to(device) if engine is torch else x for x in (ids, targets))
    loss = model.loss(ids, targets)
    steps["loss"] = as_array(loss.detach())
    loss.backward()
    for name, parameter in reversed(list(model.named_parameters())):
        steps[f"gradient of {name}"] = as_array(parameter.grad)
    return steps


def first_divergence(steps: dict[str, Any], reference: dict[str, Any], dtype: str) -> tuple[str, float]:
    """第一处超出容差的名字（没有则为空），与全程最大的相对误差。

    每一步的误差以那个数组里最大的数为单位：深处的层与梯度大小悬殊，单个元素接近 0 不算分家。
    """
    bound = TOLERANCES[f"gpt {dtype}"].rtol
    first, largest = "", 0.0
    for name, expected in reference.items():
        found = steps.get(name)
        error = math.inf
        if found is not None and found.shape == expected.shape:
            gap = float(np.max(np.abs(found.astype(np.float64) - expected), initial=0.0))
            error = gap / max(float(np.max(np.abs(expected), initial=0.0)), 1e-30)
        error = error if error == error else math.inf
        largest = max(largest, error)
        if not first and error > bound:
            first = name
    return first, largest
