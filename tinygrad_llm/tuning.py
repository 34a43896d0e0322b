"""NumPy 引擎的另一半：任意的训练方法，一个进程，普通的优化器。

流入：模型、方法与批次；流出：更新后的参数。``train.py`` 的引擎只会一件事（语言模型，全部参数），因此快得多；
这里的什么方法都会，与 ``torch_llm/loop.py`` 的引擎一步一步相同。循环在 ``common/loop.py``。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tinygrad_llm as tg
from tinygrad_llm.common.config import GPTConfig
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
from tinygrad_llm.common.session import Session
from tinygrad_llm.common.system import peak_memory_bytes
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.common.tuning.classify_settings import ApplyConfig, GridConfig
from tinygrad_llm.common.tuning.config import ClassifyConfig, SftConfig
from tinygrad_llm.common.tuning.session import Base
from tinygrad_llm.common.update_rules import STATES, make_optimizers, update_rules
from tinygrad_llm.decoding import NumpyDecoder, NumpySlots
from tinygrad_llm.gpt import GPT
from tinygrad_llm.ops import cores
from tinygrad_llm.train import build_model

__all__ = ["MethodEngine", "classify", "classify_apply", "classify_grid", "sft", "tune"]


class MethodEngine:
    """会任意训练方法的 NumPy 引擎；接口见 ``common/engine.py``。

    Args:
        config: 模型配置。
        settings: 训练设置。
        method: 训练方法；缺省为语言模型。
        model: 现成的模型；缺省由种子造一个。

    Attributes:
        model: 模型。
        trained: 要学的参数，名字到参数。
        optimizers: 一个优化器，或 Muon 与 AdamW 两个。
        updates: 更新过几步。
        accepts: 看过损失与梯度范数之后，答应不答应更新。
    """

    name = "numpy"

    def __init__(
        self, config: GPTConfig, settings: TrainConfig, method: Method | None = None, model: GPT | None = None
    ) -> None:
        self.config, self.settings, self.method = config, settings, method or LanguageModelling()
        self.model = model or build_model(config, initial_weights(config, settings.seed, settings.dtype))
        self.trained = dict(self.method.attach(self.model))
        self.optimizers = make_optimizers(tg.optim, self.trained.items(), settings)
        self.updates = 0
        self.loss_scale: dict[str, float] = {}  # float16 才用得着
        self.accepts: Callable[[float, float], bool] = is_finite

    def describe(self) -> str:
        """在哪里、学多少个参数。"""
        count = sum(p.numel() for p in self.trained.values())
        return f"device cpu, {self.settings.dtype}, {count:,} trainable parameters"

    def train_step(self, step: int, batch: Batch, lr: float) -> StepResult:
        """用一个全局批次更新一步；损失是「和 ÷ 整个批次的单位数」，所以怎样切微批都一样。"""
        self.model.train()
        tg.manual_seed(step_seed(self.settings.seed, step))  # dropout 的掩码也由步号决定，续训因此逐位相同
        units, total, sums = self.method.units(batch), 0.0, list[dict[str, float]]()
        for p in self.model.parameters():
            p.grad = None
        for micro in micro_batches(batch, self.settings.accumulate):
            loss, figures = self.method.loss(self.model, *map(tg.from_numpy, micro))
            loss = loss / (units or 1)
            loss.backward()
            total += loss.item()
            sums.append({name: float(value) for name, value in figures.items()})
        norm = tg.nn.utils.clip_grad_norm_(list(self.trained.values()), self.settings.grad_clip).item()
        updated = self.accepts(total, norm)
        if updated:
            self.updates += 1
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = lr
                optimizer.step()
        return StepResult(total, norm, updated, averaged(summed(sums), units))

    def evaluate(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
        """一个批次的语言模型损失之和（纳特）。"""
        self.model.eval()
        with tg.no_grad():
            return float(self.model.loss(tg.from_numpy(x), tg.from_numpy(y)).item())

    def examine(self, batch: Batch) -> Examined:
        """照训练的方法算一个批次的损失，不求导。"""
        self.model.eval()
        with tg.no_grad():
            loss, figures = self.method.loss(self.model, *map(tg.from_numpy, batch))
        sums = {name: float(value) for name, value in figures.items()}
        return Examined(float(loss), sums, self.method.units(batch))

    def product(self, size: int) -> Callable[[], object]:
        """备好两个 ``size × size`` 的矩阵，返回「乘一次」。"""
        a = np.random.default_rng(0).standard_normal((size, size)).astype(self.settings.dtype)
        out = np.empty_like(a)
        return lambda: np.dot(a, a, out=out)

    def memory_bytes(self) -> int:
        """本进程的内存峰值。"""
        return peak_memory_bytes()

    def decoder(self) -> NumpyDecoder:
        """带 KV 缓存的生成器。"""
        return NumpyDecoder(self.model, cores.threads())

    def slots(self, count: int, context: int | None = None) -> NumpySlots:
        """同时写几个序列的生成器。"""
        return NumpySlots(self.model, count, context, threads=cores.threads())

    def export(self) -> tuple[Arrays, Arrays, int]:
        """要学的参数、优化器的状态、更新过几步；尚未更新过时状态为 0。"""
        weights, states = {}, {}
        for name, p, optimizer, kinds in self.owned():
            weights[name] = p.detach().numpy().copy()
            for kind in kinds:
                state = optimizer.state.get(p, {}).get(kind)
                states[f"{kind}.{name}"] = np.zeros_like(weights[name]) if state is None else state.numpy().copy()
        return weights, states, self.updates

    def restore(self, model: Arrays, states: Arrays, updates: int) -> None:
        """装回 ``export`` 的结果；不论它出自哪个引擎。"""
        self.updates = updates
        with tg.no_grad():
            for name, p, optimizer, kinds in self.owned():
                p.copy_(tg.tensor(model[name]))
                optimizer.state[p] = {kind: tg.tensor(states[f"{kind}.{name}"]) for kind in kinds}
                if isinstance(optimizer, tg.optim.AdamW):
                    optimizer.state[p]["step"] = tg.tensor(float(updates))

    def owned(self) -> Iterator[tuple[str, Any, Any, tuple[str, ...]]]:
        """每个参数的名字、管它的优化器、它留下的状态。"""
        owners = {id(p): one for one in self.optimizers for group in one.param_groups for p in group["params"]}
        rules = update_rules({name: tuple(p.shape) for name, p in self.trained.items()}, self.settings.optimizer)
        for name, p in self.trained.items():
            yield name, p, owners[id(p)], STATES[rules[name]]


def sft(config: SftConfig) -> None:
    """``python -m tinygrad_llm sft``：指令微调，只学回答。"""
    from tinygrad_llm.common.tuning.sft import gather, prepare_sft, sft_session
    from tinygrad_llm.train import finish, run_session

    if config.scope.is_partial or config.packing == "bos":  # 那个快的引擎只认得 x 与 y
        return tune(config, LanguageModelling(), lambda base: sft_session(base, gather(base)))
    run_session(prepare_sft(config), config)
    if not config.dry_run:
        finish(config)


def classify(config: ClassifyConfig) -> None:
    """``python -m tinygrad_llm classify``：分类。"""
    from tinygrad_llm.common.tuning.classification import classification_session, prepare_rows
    from tinygrad_llm.common.tuning.session import open_base
    from tinygrad_llm.objectives_classification import Classification

    prepared = prepare_rows(open_base(config))
    method = Classification(prepared.weights)

    def predict(engine: Any, batch: Any) -> Any:
        return method.predict(engine.model, *map(tg.from_numpy, batch))

    tune(config, method, lambda base: classification_session(base, prepared, predict))


def classify_apply(config: ApplyConfig) -> None:
    """``python -m tinygrad_llm classify-apply``：给文字贴标签。"""
    from tinygrad_llm.common.tuning.labelling import Opened, label_texts, load_head
    from tinygrad_llm.loading import load_model
    from tinygrad_llm.objectives_classification import Classification

    head, loaded = load_head(config.folder), load_model(config.folder)
    model, method = loaded.model, Classification([1.0] * len(head.labels))
    method.attach(model, (head.weight, head.bias))

    def predict(batch: Batch) -> Any:
        return method.predict(model, *map(tg.from_numpy, batch))

    label_texts(config, head, Opened(model.config, loaded.tokenizer, predict))


def classify_grid(config: GridConfig) -> None:
    """``python -m tinygrad_llm classify-grid``：分类的消融。"""
    from tinygrad_llm.common.tuning.classify_grid import run_grid

    run_grid(config, ClassifyConfig, classify)


def tune(config: Any, inner: Method, session_of: Callable[[Base[Any]], Session]) -> None:
    """跑完任意一种方法的微调，照设置只学一部分参数，写出报告。

    Args:
        config: 设置，``ScopedConfig`` 一类。
        inner: 方法。
        session_of: 由出发点备好一次训练。

    Raises:
        UserError: 要了 ``--dry-run``。
    """
    from tinygrad_llm.common.loop import train
    from tinygrad_llm.common.tuning.session import open_base
    from tinygrad_llm.scoped import Scoped
    from tinygrad_llm.train import finish

    if config.dry_run:
        raise UserError("the NumPy engine estimates language modelling only", where="--dry-run", fix="use torch_llm")
    base = open_base(config)
    session = session_of(base)
    method, model = Scoped(inner, config.scope, config.seed), build_model(base.model, base.weights())
    train(session, MethodEngine(base.model, config, method, model))
    finish(config)
