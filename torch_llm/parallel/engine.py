"""几个进程合做一步训练：各算各的一份批次，梯度加起来，更新各自手里的那块参数。

流入：全局批次里自己的一份；流出：与一个进程相同的损失、范数与权重。与 ``torch_llm/loop.py`` 的引擎只差四处：
模型怎样摆放、梯度何时相加、范数怎样对各块求、权重怎样拼成整个的存出去。循环在 ``tinygrad_llm/common/loop.py``。

优化器看到的是普通张量：每个参数在这个进程里的那一块。更新公式逐个元素地算，切开算与整个算相同。
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from tinygrad_llm.common.config import GPTConfig, parameter_shapes
from tinygrad_llm.common.decoding.single import Decoder
from tinygrad_llm.common.decoding.slots import BatchDecoder, Rows
from tinygrad_llm.common.engine import Arrays, Batch, Method, averaged, micro_batches, summed
from tinygrad_llm.common.errors import WorkerError
from tinygrad_llm.common.initial import each_initial_weight
from tinygrad_llm.common.loop import step_seed
from tinygrad_llm.common.torch_config import TorchConfig
from torch_llm.gpt import GPT, KVCache
from torch_llm.loop import TorchEngine, recompute_blocks
from torch_llm.parallel.layout import check_model
from torch_llm.parallel.ranks import TorchRanks
from torch_llm.parallel.shards import assembled, cut_dim, piece
from torch_llm.parallel.tensor import split_matrices
from torch_llm.quantization.qat import train_aware


class ParallelEngine(TorchEngine):
    """合训的几个进程里的一个。

    Args:
        config: 整个模型的配置。
        settings: 训练设置。
        ranks: 几个进程。
        note: 要告诉用户的话交给它。
        method: 训练方法，须学模型的全部参数；缺省为语言模型。

    Attributes:
        layout: 这个进程在网格里的位置。
    """

    def __init__(
        self,
        config: GPTConfig,
        settings: TorchConfig,
        ranks: TorchRanks,
        note: Callable[[str], None] = print,
        method: Method | None = None,
    ) -> None:
        self.ranks, self.layout = ranks, ranks.layout
        check_model(config, self.layout)
        super().__init__(config, settings, note, method)
        self._wrapped = self._data_parallel() if self.layout.kind == "ddp" else None

    def describe(self) -> str:
        """设备、精度与怎样并行。"""
        return f"{super().describe()}, {self.layout.describe()}"

    # ---- 摆放 ----

    def place(self, config: GPTConfig) -> dict[str, nn.Parameter]:
        """造好模型，每个进程只装自己的那一块；参数先不占内存，切好了再按名字一个个填。"""
        self.mesh = self.ranks.mesh(self.device)
        with torch.device("meta"):
            self.model = GPT(config).to(dtype=getattr(torch, self.settings.dtype))
        if self.layout.tp > 1:
            split_matrices(self.model, self.mesh["tensor"], self.layout.lane)
        if self.settings.qat_scheme is not None:
            train_aware(self.model, self.settings.qat_scheme)
        if self.settings.recompute:
            recompute_blocks(self.model)
        if self.layout.shards_data:
            self._shard_over_data()
        self.model.to_empty(device=self.device)
        trained = {name: _own_piece(p) for name, p in self.model.named_parameters()}
        for name, array in each_initial_weight(config, self.settings.seed, self.settings.dtype):
            trained[name].data.copy_(piece(name, torch.from_numpy(array), config, self.layout))
        return trained

    def _shard_over_data(self) -> None:
        """FSDP2：每层一组，用到时才拼起来；嵌入、末尾的归一化与输出层合成一组。"""
        parts, low = self.mesh["data"], self.runtime.low
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")  # 这里没有就地的运算
        blocks: Any = self.model.h
        for block in blocks:
            if low is not None:
                # 注意力与前馈的参数以低精度拼起来，省一半通信，梯度仍按 float32 相加；别的照 autocast 的规矩不降
                policy = MixedPrecisionPolicy(low, reduce_dtype=torch.float32, cast_forward_inputs=False)
                fully_shard([block.attn, block.mlp], mesh=parts, mp_policy=policy)
            fully_shard(block, mesh=parts)
        fully_shard(self.model, mesh=parts)
        register_fsdp_forward_method(self.model, "loss")

    def _data_parallel(self) -> DistributedDataParallel:
        inner = _LossModule(self.model, self.method)
        return DistributedDataParallel(inner, process_group=self.mesh["data"].get_group())

    # ---- 一步 ----

    def gradients(self, step: int, batch: Batch) -> tuple[float, dict[str, float]]:
        """各进程、各微批的梯度之和留在参数上；返回整个全局批次的损失与方法另外报告的数字。"""
        torch.manual_seed(step_seed(self.settings.seed, step, self.layout.part))
        units = self.ranks.total([float(self.method.units(batch))])[0]
        self.model.zero_grad()
        total, count, sums = 0.0, self.accumulate, list[dict[str, float]]()
        for i, micro in enumerate(micro_batches(batch, count)):
            with self._summing(last=i == count - 1):
                with self.runtime.autocast():
                    loss, figures = self._loss(*map(self.tensor, micro))
                    loss = loss / (units or 1)
                # DDP 与 FSDP2 把各份的梯度平均，而这里要的是和
                self.scaler.scale(loss * self.layout.parts).backward()
            total += loss.item()
            sums.append({name: float(value) for name, value in figures.items()})
        for name, p in self.model.named_parameters():
            if self.trained[name] is not p:
                self.trained[name].grad = None if p.grad is None else _local(p.grad)
        found = summed(sums)
        total, *figures_total = self.ranks.total([total, *found.values()])
        return total, averaged(dict(zip(found, figures_total, strict=True)), units)

    def _loss(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        found: tuple[Tensor, dict[str, Tensor]] = (
            self._wrapped(*batch) if self._wrapped is not None else self.method.loss(self.model, *batch)
        )
        return found

    def _summing(self, *, last: bool) -> contextlib.AbstractContextManager[None]:
        """DDP 只在末一个微批通信；切开存放的每个微批都通信：攒着不发，每个进程就要留下整个模型的梯度。"""
        return contextlib.nullcontext() if last or self._wrapped is None else self._wrapped.no_sync()

    def clip(self) -> float:
        """全局范数：各块的平方和加起来；张量并行里没有切开的参数处处相同，只数一次。"""
        if self.layout.kind == "ddp":
            return super().clip()
        grads = {name: p.grad for name, p in self.trained.items() if p.grad is not None}
        squares = torch.zeros((), dtype=torch.float64, device=self.device)
        for name, grad in grads.items():
            if self.layout.lane == 0 or cut_dim(name) is not None:
                squares += grad.norm().double() ** 2
        dist.all_reduce(squares)
        norm = squares.sqrt().item()
        scale = min(1.0, self.settings.grad_clip / (norm + 1e-6)) if np.isfinite(norm) else 1.0
        if scale < 1:
            torch._foreach_mul_(list(grads.values()), scale)
        return norm

    def rescale(self, updated: bool) -> None:
        """float16 的倍数各进程一致：有一个进程溢出，大家一起减半。"""
        if updated or not self.runtime.scales_loss:
            self.scaler.update()
            return
        self.scaler.update(self.scaler.get_scale() * self.scaler.get_backoff_factor())
        self.scaler.load_state_dict({**self.scaler.state_dict(), "_growth_tracker": 0})

    def too_large(self, rows: int, error: RuntimeError) -> None:
        """内存不够：别的进程还在等它，不能自己改切法，只好停下来告诉用户。"""
        raise WorkerError(
            f"process {self.layout.rank} ran out of memory with micro-batches of {rows // self.accumulate} sequences",
            where=f"device {self.device}, {self.layout.describe()}",
            fix="give a larger --accumulate" + ("" if self.settings.recompute else ", or --recompute"),
        ) from error

    # ---- 生成、存出与装回 ----

    def decoder(self) -> Decoder:
        """带 KV 缓存的生成器；几个进程一道生成同样的 token，谁也不必装下整个模型。"""
        return super().decoder() if self.layout.kind == "ddp" else _ForwardDecoder(self)

    def slots(self, count: int, context: int | None = None) -> BatchDecoder:
        """同时写几个序列的生成器；切开存放的模型只能走自己的 ``forward``，一个序列一个序列地算。"""
        if self.layout.kind == "ddp":
            return super().slots(count, context)
        return _ForwardSlots(self, count, context)

    def export(self) -> tuple[Arrays, Arrays, int]:
        """拼成整个的参数与状态；每个进程都要来，只有头一个拿到。"""
        weights, states = {}, {}
        for name, p, optimizer, kinds in self.owned():
            weights[name] = self._whole(name, p.detach())
            for kind in kinds:
                state = optimizer.state.get(p, {}).get(kind)
                states[f"{kind}.{name}"] = self._whole(name, torch.zeros_like(p) if state is None else state)
        return (weights, states, self.updates) if self.ranks.is_first else ({}, {}, self.updates)

    def _whole(self, name: str, mine: Tensor) -> Any:
        """一个参数拼成整个的；一次只拼一个，别的进程用过就丢。"""
        shape = parameter_shapes(self.config)[name]
        whole = assembled(name, mine, shape, self.config, self.mesh, self.layout)
        return whole.cpu().numpy() if self.ranks.is_first else None

    def put(self, name: str, array: NDArray[Any]) -> Tensor:
        """整个数组里归这个进程的一块，搬到设备上。"""
        return piece(name, torch.from_numpy(array), self.config, self.layout).to(self.device, copy=True)

    def restore(self, model: Arrays, states: Arrays, updates: int) -> None:
        """装回整个的检查点，各取各的一块；它可以出自任意多的进程、任一个引擎。"""
        if isinstance(self.model, FSDPModule):
            self.model.reshard()  # 评估之后，根上的参数还是拼好的：那是旧的
        super().restore(model, states, updates)


class _LossModule(nn.Module):
    """把「算损失」包成 ``forward``：DDP 只认它。"""

    def __init__(self, model: GPT, method: Method) -> None:
        super().__init__()
        self.model, self.method = model, method

    def forward(self, *batch: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """损失之和，与另外要报告的数字之和。"""
        return self.method.loss(self.model, *batch)


class _ForwardDecoder:
    """走模型自己的 ``forward``：拼好参数、各块相加，都挂在各层的 ``forward`` 上，不能绕开它去用里面的线性层。

    Args:
        engine: 合训的引擎；参数是低精度的，就在 autocast 里生成，logits 换回 float32。

    Attributes:
        context: 最长上下文。
    """

    def __init__(self, engine: ParallelEngine) -> None:
        self.engine, self.context = engine, engine.model.config.context
        self.reset()

    def reset(self) -> None:
        """换一个空缓存。"""
        self.cache = KVCache(self.engine.model, 1, self.context)

    def feed(self, ids: NDArray[np.int64]) -> NDArray[Any]:
        """喂进 ``(n,)`` 个 token，返回最后一个位置的 logits ``(V,)``。"""
        engine = self.engine
        low = engine.layout.shards_data and engine.runtime.low is not None
        engine.model.eval()
        with torch.no_grad(), engine.runtime.autocast() if low else contextlib.nullcontext():
            logits = engine.model(engine.tensor(ids[None]), self.cache)[0, -1]
        found: NDArray[Any] = (logits.float() if low else logits).cpu().numpy()
        return found


class _ForwardSlots:
    """几个 ``_ForwardDecoder`` 充当成批的解码器；退回到中途时，留下的一段重新喂一遍。

    Args:
        engine: 合训的引擎。
        slots: 几个槽。
        context: 每个槽的上限；缺省为模型的上下文。

    Attributes:
        slots: 有几个槽。
        context: 每个槽最多装几个 token。
    """

    def __init__(self, engine: ParallelEngine, slots: int, context: int | None) -> None:
        self._decoders = [_ForwardDecoder(engine) for _ in range(slots)]
        self.slots, self.context = slots, context or engine.model.config.context
        self._ids: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * slots
        self._is_cut = [False] * slots

    def feed(self, rows: Rows) -> NDArray[Any]:
        """各槽接着喂进新 token；返回各行最后一个位置的 logits ``(n, V)``。"""
        return np.stack([self._feed(slot, ids) for slot, ids in rows])

    def feed_all(self, rows: Rows) -> list[NDArray[Any]]:
        """与 ``feed`` 相同，但返回每行全部新位置的 logits ``(T, V)``。"""
        return [np.stack([self._feed(slot, ids[i : i + 1]) for i in range(len(ids))]) for slot, ids in rows]

    def length(self, slot: int) -> int:
        """槽里有几个 token。"""
        return len(self._ids[slot])

    def truncate(self, slot: int, length: int) -> None:
        """只留槽里的前 ``length`` 个 token。"""
        self._ids[slot], self._is_cut[slot] = self._ids[slot][:length], True

    def share(self, source: int, target: int, length: int) -> None:
        """``target`` 换成 ``source`` 的前 ``length`` 个 token。"""
        self._ids[target], self._is_cut[target] = self._ids[source][:length], True

    def _feed(self, slot: int, ids: NDArray[np.int64]) -> NDArray[Any]:
        self._ids[slot] = np.concatenate((self._ids[slot], ids))
        if self._is_cut[slot]:
            self._decoders[slot].reset()
            self._is_cut[slot], ids = False, self._ids[slot]
        return self._decoders[slot].feed(ids)


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _own_piece(p: nn.Parameter) -> nn.Parameter:
    """参数在这个进程里的那一块，作为普通的参数；与原来的共用内存。"""
    return nn.Parameter(p.to_local().detach()) if isinstance(p, DTensor) else p
