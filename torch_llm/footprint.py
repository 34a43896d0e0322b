"""训练一步要多少内存：用没有数据的张量（``FakeTensorMode``）走一遍同样的代码，记下每块内存何时申请、何时放掉。

流入：模型配置与设置；流出：各阶段的峰值，与总的峰值那一刻各占多少。不在这台机器上的设备也照样能算。
记的是张量：算子内部的临时缓冲、分配器留着不还的空闲块不在其中，由 ``dry_run.py`` 另计。
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.torch_config import TorchConfig
from tinygrad_llm.common.update_rules import make_optimizers
from torch_llm.functional import token_loss
from torch_llm.gpt import GPT, KVCache
from torch_llm.runtime import Runtime

WEIGHTS, GRADIENTS, STATES = "weights", "gradients", "optimizer state"
ACTIVATIONS, LOGITS, TEMPORARY = "activations", "logits and loss", "temporaries of backward"
KV, RESTORED = "KV cache", "restored matrices"
_MICRO_BATCHES = 2
"""第二个微批起，梯度已经在了；后面的都与第二个一样。"""


@dataclass(frozen=True)
class Footprint:
    """张量占的内存。

    Attributes:
        parts: 峰值那一刻各占多少字节。
        phases: 各阶段的峰值，字节。
    """

    parts: dict[str, int]
    phases: dict[str, int]

    @property
    def peak(self) -> int:
        """峰值，字节。"""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Scene:
    """一次训练里的形状。

    Attributes:
        width: 训练的行有多长。
        evaluated: 评估的各种批次，（行数，行长）。
        slots: 采样时同时写几个、每个至多多长。
        method: 训练方法；``None`` 表示学全部参数的语言模型。
        spared: 底座是整数的，权重比浮点数省下几个字节。
        restored: 底座是整数的，用到一层才还原，还原的最大一份几个字节。
        varies: 各步的行是不是有长有短。
    """

    width: int
    evaluated: tuple[tuple[int, int], ...]
    slots: tuple[int, int]
    method: Any = None
    spared: int = 0
    restored: int = 0
    varies: bool = False

    @staticmethod
    def of(config: GPTConfig, settings: TorchConfig) -> Scene:
        """预训练：行行都是整个上下文，评估与训练的批一样大，一次写一个样本。"""
        return Scene(config.context, ((settings.batch_size, config.context),), (1, config.context))


class _Tracker(TorchDispatchMode):
    """记下每块内存的申请与释放；一块内存只记一次，视图不另记。

    Attributes:
        label: 此刻申请的算在哪一项。
        phase: 此刻是哪个阶段。
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.label, self.phase = WEIGHTS, "build"
        self._known: dict[int, int] = {}
        self._labels: list[str] = []
        self._changes: list[tuple[int, int, str]] = []  # 第几块、增减多少、在哪个阶段

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.note(one for one in tree_leaves(found) if isinstance(one, torch.Tensor))
        return found

    def note(self, tensors: Iterable[torch.Tensor]) -> None:
        """记下还不认识的内存。"""
        for tensor in tensors:
            self._note(tensor)

    def _note(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key, nbytes, block = storage._cdata, storage.nbytes(), len(self._labels)
        if key in self._known:
            return
        self._known[key] = block
        self._labels.append(self.label)
        self._changes.append((block, nbytes, self.phase))

        def gone() -> None:
            self._known.pop(key, None)
            self._changes.append((block, -nbytes, self.phase))

        weakref.finalize(storage, gone)

    def relabel(self, tensors: Any, label: str) -> None:
        """这些张量其实属于哪一项；梯度与优化器的状态要到算出来之后才认得。"""
        for tensor in tensors:
            block = self._known.get(tensor.untyped_storage()._cdata)
            if block is not None:
                self._labels[block] = label

    @contextmanager
    def during(self, phase: str, label: str) -> Iterator[None]:
        """``with`` 之内是哪个阶段、算在哪一项。"""
        before = self.phase, self.label
        self.phase, self.label = phase, label
        try:
            yield
        finally:
            self.phase, self.label = before

    def footprint(self) -> Footprint:
        """回放一遍，找出各阶段的峰值。"""
        live: Counter[str] = Counter()
        parts: dict[str, int] = {}
        phases: dict[str, int] = {}
        total = most = 0
        for block, change, phase in self._changes:
            live[self._labels[block]] += change
            total += change
            phases[phase] = max(phases.get(phase, 0), total)
            if total > most:
                most, parts = total, {name: count for name, count in live.items() if count}
        phases.pop("build")
        return Footprint(parts, phases)


def footprint(config: GPTConfig, settings: TorchConfig, runtime: Runtime, scene: Scene | None = None) -> Footprint:
    """一次训练里张量的内存。

    Args:
        config: 模型配置。
        settings: 训练设置；看 ``batch_size``、``accumulate``、``recompute``、``optimizer``、``dtype`` 等。
        runtime: 设备与精度；设备可以不在这台机器上。
        scene: 形状与方法；缺省为预训练的。

    Returns:
        两步训练、一批评估、一个样本走下来的峰值。
    """
    device = runtime.device.type
    if device != "cpu" and not has_device(device):
        device = "cpu"  # 张量的形状与大小在哪里都一样
    tracker, scene = _Tracker(), scene or Scene.of(config, settings)
    with FakeTensorMode(allow_non_fake_inputs=True):  # LoRA 的初值是真的数组
        model = _fake_model(config, settings, device)
        trained = dict(model.named_parameters() if scene.method is None else scene.method.attach(model))
        with tracker:
            tracker.note(model.parameters())
            _run(tracker, model, settings, replace(runtime, device=torch.device(device)), scene, trained)
    return _with_integers(tracker.footprint(), scene)


def _with_integers(found: Footprint, scene: Scene) -> Footprint:
    """底座是整数的：权重小了，另有一份用到才还原的。"""
    if not scene.spared:
        return found
    change = scene.restored - scene.spared
    parts = {**found.parts, WEIGHTS: found.parts[WEIGHTS] - scene.spared, RESTORED: scene.restored}
    return Footprint(parts, {name: count + change for name, count in found.phases.items()})


def _run(
    tracker: _Tracker, model: GPT, settings: TorchConfig, runtime: Runtime, scene: Scene, trained: dict[str, Any]
) -> None:
    """两步训练（第二步起优化器的状态才在），评估一批（整个批次一起，不切微批），再采样。"""
    optimizers = make_optimizers(torch.optim, trained.items(), settings)
    for _ in range(2):
        _step(tracker, model, optimizers, settings, runtime, scene.width)
    model.eval()
    for rows, width in scene.evaluated:
        with torch.no_grad(), runtime.autocast(), tracker.during("evaluation", ACTIVATIONS):
            ids = _ids(model, rows, width)
            model.loss(ids, ids)
    slots, length = scene.slots
    with torch.no_grad(), tracker.during("sampling", KV):
        cache = KVCache(model, slots, length)
        with tracker.during("sampling", ACTIVATIONS):
            model(_ids(model, slots, 1), cache)


def has_device(kind: str) -> bool:
    """这台机器有没有这种设备。"""
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.get(kind, kind == "cpu")


def _fake_model(config: GPTConfig, settings: TorchConfig, device: str) -> GPT:
    from torch_llm.loop import recompute_blocks

    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, settings.dtype))  # 造好之后再换类型，没有数据的参数换不了
    try:
        with torch.device(device):
            model = GPT(config)
    finally:
        torch.set_default_dtype(before)
    if settings.recompute:
        recompute_blocks(model)
    return model.train()


def _ids(model: GPT, rows: int, width: int) -> torch.Tensor:
    return torch.empty(rows, width, dtype=torch.int64, device=model.ln_f.weight.device)


def _step(
    tracker: _Tracker, model: GPT, optimizers: list[Any], settings: TorchConfig, runtime: Runtime, width: int
) -> None:
    """与 ``TorchEngine.train_step`` 同样的次序：各微批前向、反传，裁剪，更新。"""
    model.zero_grad()
    rows = settings.batch_size // settings.accumulate
    for _ in range(min(settings.accumulate, _MICRO_BATCHES)):
        with runtime.autocast():
            with tracker.during("forward", ACTIVATIONS):
                ids = _ids(model, rows, width)
                hidden = model.hidden(ids)
            with tracker.during("head and loss", LOGITS):
                loss = token_loss(hidden, model.head_weight(), ids)
                del hidden
        with tracker.during("backward", TEMPORARY):
            loss.backward()
        tracker.relabel((p.grad for p in model.parameters() if p.grad is not None), GRADIENTS)
        del loss
    with tracker.during("optimizer", TEMPORARY):
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], settings.grad_clip)
        for optimizer in optimizers:
            optimizer.step()
            states = (one for state in optimizer.state.values() for one in state.values())
            tracker.relabel((one for one in states if isinstance(one, torch.Tensor)), STATES)
