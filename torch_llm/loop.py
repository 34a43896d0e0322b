"""torch 引擎的一步训练：前向、反传、裁剪、更新。

流入：一个全局批次；流出：更新后的参数。循环的其余部分（记录、评估、存档）在 ``tinygrad_llm/common/loop.py``，
与 NumPy 引擎共用。下一站：``pretrain.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.decoding.single import Decoder
from tinygrad_llm.common.decoding.slots import BatchDecoder
from tinygrad_llm.common.engine import (
    Arrays,
    Batch,
    Examined,
    LanguageModelling,
    Method,
    StepResult,
    averaged,
    micro_batches,
    summed,
)
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.guard import is_finite
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.loop import step_seed
from tinygrad_llm.common.system import release_idle_memory
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.update_rules import STATES, make_optimizers, update_rules
from torch_llm.decoding.slots import TorchSlots
from torch_llm.engine import TorchDecoder
from torch_llm.gpt import GPT
from torch_llm.quantization.qat import train_aware
from torch_llm.runtime import pick_runtime

Loss = Callable[..., torch.Tensor]
_COMPILER = ("torch._dynamo", "torch._inductor", "torch.fx")


def recompute_blocks(model: GPT) -> None:
    """各层只留输入，反传到这一层时再前向一遍：激活的内存从「每层十几份」降到「每层一份」。"""
    for block in model.h:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def compiled(function: Loss, note: Callable[[str], None]) -> Loss:
    """编译过的函数；第一次调用时编译不了（没有编译器、不支持的写法），就说明原因，此后照常运行。"""
    fast: list[Loss] = [torch.compile(function)]

    def call(*batch: torch.Tensor) -> torch.Tensor:
        if fast:
            try:
                return fast[0](*batch)
            except RuntimeError as error:
                if is_out_of_memory(error) or not type(error).__module__.startswith(_COMPILER):
                    raise
                fast.clear()
                note(f"torch.compile failed, going on without it: {str(error).splitlines()[0]}")
        return function(*batch)

    return call


def is_out_of_memory(error: RuntimeError) -> bool:
    """是不是内存不够；CPU 与 MPS 上它没有自己的类型。"""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in text or "out of memory" in text


class _NoInitialValues(TorchFunctionMode):
    """``with`` 之内造的层不抽初值；在 ``meta`` 上抽，torch 要先加载几百个模块。"""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """``torch.nn.init`` 的函数什么也不做，别的照常。"""
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def build_model(config: GPTConfig, weights: Arrays, device: torch.device | str = "cpu", *, adopt: bool = False) -> GPT:
    """按给定的权重造一个模型；类型取自权重。

    Args:
        config: 模型配置。
        weights: 参数名到数组。
        device: 放在哪里。
        adopt: 数组从此就是模型的参数，不再拷贝一份；生成时内存里于是只有一份权重。
    """
    if adopt:
        with torch.device("meta"), _NoInitialValues():  # 只有形状，不分配，也不抽初值
            model = GPT(config)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()}, assign=True)
        return model.to(device)
    model = GPT(config).to(dtype=torch.from_numpy(weights["wte.weight"]).dtype)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    return model.to(device)


class TorchEngine:
    """torch 引擎。

    Args:
        config: 模型配置。
        settings: 训练设置。
        note: 要告诉用户的话交给它。
        method: 训练方法；缺省为语言模型。
        model: 现成的模型，例如 LoRA 要冻结的那个；缺省由种子造一个。

    Attributes:
        runtime: 设备与精度。
        model: 模型。
        trained: 参数名到优化器更新的张量；几个进程切开存放时，是这个进程的那一块。
        optimizers: 一个优化器，或 Muon 与 AdamW 两个。
        updates: 更新过几步。
        accepts: 看过损失与梯度范数之后，答应不答应更新。
        accumulate: 每步切成几个微批。
    """

    name = "torch"

    def __init__(
        self,
        config: GPTConfig,
        settings: TorchConfig,
        note: Callable[[str], None] = print,
        method: Method | None = None,
        model: GPT | None = None,
    ) -> None:
        self.config, self.settings, self.note, self.accumulate = config, settings, note, settings.accumulate
        self.method, self.given = method or LanguageModelling(), model
        self.runtime = pick_runtime(settings)
        self.device = self.runtime.device
        self.trained = self.place(config)
        self.plain_loss: Loss = self.model.loss
        if settings.compile:
            self.model.loss = compiled(self.plain_loss, note)  # type: ignore[method-assign]
        self.optimizers = make_optimizers(torch.optim, self.trained.items(), settings)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.runtime.scales_loss)
        self.updates = 0
        self.accepts: Callable[[float, float], bool] = is_finite

    def describe(self) -> str:
        """设备、精度，以及为什么这样选。"""
        return self.runtime.describe()

    def place(self, config: GPTConfig) -> dict[str, torch.nn.Parameter]:
        """造好 ``self.model``；返回优化器要更新的各个参数。"""
        self.model = self.given or build_model(
            config, initial_weights(config, self.settings.seed, self.settings.dtype), self.device
        )
        if self.settings.qat_scheme is not None:
            train_aware(self.model, self.settings.qat_scheme)
        if self.settings.recompute:
            recompute_blocks(self.model)
        return dict(self.method.attach(self.model))

    def train_step(self, step: int, batch: Batch, lr: float) -> StepResult:
        """用一个全局批次更新一步；损失是「和 ÷ 整个批次的单位数（有效 token 数）」，所以怎样切微批都一样。"""
        self.model.train()
        while True:
            try:
                total, figures = self.gradients(step, batch)
                break
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self.too_large(len(batch[0]), error)
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = self.clip()
        updated = self.accepts(total, norm)
        if updated:
            self.updates += 1
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = lr
                self.scaler.step(optimizer)
        self.rescale(is_finite(total, norm))
        return StepResult(total, norm, updated, figures)

    def clip(self) -> float:
        """把梯度的全局范数裁到上限；返回裁剪前的。"""
        return torch.nn.utils.clip_grad_norm_(self.trained.values(), self.settings.grad_clip).item()

    def rescale(self, updated: bool) -> None:
        """一步之后调整 float16 放大损失的倍数。"""
        self.scaler.update()

    def gradients(self, step: int, batch: Batch) -> tuple[float, dict[str, float]]:
        """各微批的梯度之和留在参数上；返回损失与方法另外报告的数字，都已除以单位数。"""
        torch.manual_seed(step_seed(self.settings.seed, step))  # dropout 的掩码也由步号决定，续训因此逐位相同
        units, total, sums = self.method.units(batch), 0.0, list[dict[str, float]]()
        self.model.zero_grad()
        for micro in micro_batches(batch, self.accumulate):
            with self.runtime.autocast():
                loss, figures = self.method.loss(self.model, *map(self.tensor, micro))
                loss = loss / (units or 1)
            self.scaler.scale(loss).backward()
            total += loss.item()
            sums.append({name: float(value) for name, value in figures.items()})
        return total, averaged(summed(sums), units)

    def too_large(self, rows: int, error: RuntimeError) -> None:
        """内存不够：允许的话把微批再切小一档，否则告诉用户怎样切。"""
        smaller = next((n for n in range(self.accumulate + 1, rows + 1) if rows % n == 0), None)
        self.model.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if smaller is None or not self.settings.auto_batch:
            ways = [f"--accumulate {smaller}", "--auto-batch"] if smaller else ["a smaller --context or preset"]
            ways += [] if self.settings.recompute else ["--recompute"]
            raise UserError(
                f"out of memory with micro-batches of {rows // self.accumulate} sequences",
                where=f"device {self.device}",
                fix=f"use {' or '.join(ways)}",
            ) from error
        self.note(f"out of memory: micro-batches of {rows // smaller} sequences from here on (--accumulate {smaller})")
        self.accumulate = smaller

    def evaluate(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
        """一个批次的损失之和（纳特）。"""
        self._stop_training()
        with torch.no_grad(), self.runtime.autocast():
            return float(self.plain_loss(self.tensor(x), self.tensor(y)).item())

    def examine(self, batch: Batch) -> Examined:
        """照训练的方法算一个批次的损失，不求导。"""
        self._stop_training()
        with torch.no_grad(), self.runtime.autocast():
            loss, figures = self.method.loss(self.model, *map(self.tensor, batch))
        sums = {name: float(value) for name, value in figures.items()}
        return Examined(float(loss), sums, self.method.units(batch))

    def _stop_training(self) -> None:
        if self.model.training:
            release_idle_memory()
        self.model.eval()

    def product(self, size: int) -> Callable[[], object]:
        """备好两个 ``size × size`` 的矩阵，返回「以训练的精度乘一次，等它算完」。"""
        dtype = self.runtime.low or getattr(torch, self.settings.dtype)
        generator = torch.Generator(self.device).manual_seed(0)
        a = torch.randn(size, size, generator=generator, device=self.device).to(dtype)
        out = torch.empty_like(a)

        def multiply() -> None:
            torch.mm(a, a, out=out)
            self.runtime.wait()

        return multiply

    def memory_bytes(self) -> int:
        """设备内存至今的峰值；在 CPU 上是本进程的。"""
        return self.runtime.peak_memory_bytes()

    def decoder(self) -> Decoder:
        """带 KV 缓存的生成器。"""
        return TorchDecoder(self.model)

    def slots(self, count: int, context: int | None = None) -> BatchDecoder:
        """同时写几个序列的生成器。"""
        return TorchSlots(self.model, count, context)

    @property
    def loss_scale(self) -> dict[str, float]:
        """float16 放大损失的倍数与它的计数；别的精度为空。"""
        return {name: float(value) for name, value in self.scaler.state_dict().items()}

    @loss_scale.setter
    def loss_scale(self, kept: dict[str, float]) -> None:
        if kept and self.runtime.scales_loss:
            whole = ("growth_interval", "_growth_tracker")
            self.scaler.load_state_dict({name: int(v) if name in whole else v for name, v in kept.items()})

    def export(self) -> tuple[Arrays, Arrays, int]:
        """参数、优化器的状态、更新过几步；尚未更新过时状态为 0。"""
        weights, states = {}, {}
        for name, p, optimizer, kinds in self.owned():
            weights[name] = p.detach().cpu().numpy()
            for kind in kinds:
                state = optimizer.state.get(p, {}).get(kind)
                states[f"{kind}.{name}"] = np.zeros_like(weights[name]) if state is None else state.cpu().numpy()
        return weights, states, self.updates

    def restore(self, model: Arrays, states: Arrays, updates: int) -> None:
        """装回 ``export`` 的结果；不论它出自哪个引擎。"""
        self.updates = updates
        for name, p, optimizer, kinds in self.owned():
            p.data.copy_(self.put(name, model[name]))
            optimizer.state[p] = {kind: self.put(name, states[f"{kind}.{name}"]) for kind in kinds}
            if isinstance(optimizer, torch.optim.AdamW):
                optimizer.state[p]["step"] = torch.tensor(float(updates), device=self.device)

    def put(self, name: str, array: NDArray[Any]) -> torch.Tensor:
        """检查点里的一个数组，抄到设备上。"""
        return torch.tensor(array, device=self.device)

    def owned(self) -> Iterator[tuple[str, torch.nn.Parameter, torch.optim.Optimizer, tuple[str, ...]]]:
        """每个参数的名字、管它的优化器、它留下的状态。"""
        owners = {p: one for one in self.optimizers for group in one.param_groups for p in group["params"]}
        rules = update_rules({name: tuple(p.shape) for name, p in self.trained.items()}, self.settings.optimizer)
        for name, p in self.trained.items():
            yield name, p, owners[p], STATES[rules[name]]

    def tensor(self, ids: NDArray[Any]) -> torch.Tensor:
        """数组搬到设备上。"""
        return torch.from_numpy(ids).to(self.device)
