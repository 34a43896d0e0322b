"""训练循环：记录、评估、采样、存档、停下——与引擎无关的部分只写一遍。

流入：``Session`` 与一个 ``Engine``；流出：运行文件夹。每一步怎样前向、反传、更新，见两边的 ``Engine``：
``tinygrad_llm/train.py`` 与 ``torch_llm/loop.py``。
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.batches import IGNORE_INDEX, Batch, Ids, Prefetch, Tokens, evaluation_batches
from tinygrad_llm.common.checkpoint import Checkpoint, save_checkpoint
from tinygrad_llm.common.decoding.request import Sampling
from tinygrad_llm.common.decoding.single import Decoder, decode
from tinygrad_llm.common.errors import DivergedError, InterruptedRunError, OutOfDiskError
from tinygrad_llm.common.initial import philox
from tinygrad_llm.common.progress import Progress
from tinygrad_llm.common.ranks import ALONE, Ranks, Silent, shared_out
from tinygrad_llm.common.runlog import RunLog
from tinygrad_llm.common.schedule import learning_rate
from tinygrad_llm.common.session import TOKENIZER, Session, bits_per_byte
from tinygrad_llm.common.signals import GracefulStop
from tinygrad_llm.common.system import peak_memory_bytes
from tinygrad_llm.common.toml import dump_toml
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.common.update_rules import Rule, state_shapes

BEFORE = -1
"""训练之前的评估，记在这一步。"""
MAX_SKIPPED = 10
"""连续这么多步的损失或梯度非有限，就认定训练已经发散。"""

Arrays = dict[str, NDArray[Any]]
Store = Callable[[int, dict[str, Any]], None]


@dataclass(frozen=True)
class StepResult:
    """一步训练的结果。

    Attributes:
        loss: 全局批次上每个有效 token 的平均损失。
        grad_norm: 裁剪前的梯度全局范数。
        updated: 参数是否更新了；损失或梯度非有限时跳过更新。
    """

    loss: float
    grad_norm: float
    updated: bool


class Engine(Protocol):
    """一个引擎：会训练一步、会评估、会生成、会交出与装回状态。

    Attributes:
        name: ``"numpy"`` 或 ``"torch"``。
        loss_scale: float16 放大损失的倍数与它的计数；不放大则为空。
    """

    name: str
    loss_scale: dict[str, float]

    def describe(self) -> str:
        """给人看的一行：在哪里、怎样算。"""

    def train_step(self, step: int, x: NDArray[np.int64], y: NDArray[np.int64], lr: float) -> StepResult:
        """用一个全局批次更新一步。"""

    def evaluate(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> float:
        """一个批次的损失之和（纳特）。"""

    def decoder(self) -> Decoder:
        """带 KV 缓存的生成器。"""

    def export(self) -> tuple[Arrays, Arrays, int]:
        """交出参数、优化器的状态、更新过几步。"""

    def restore(self, model: Arrays, states: Arrays, updates: int) -> None:
        """装回 ``export`` 的结果。"""


def train(
    session: Session,
    engine: Engine,
    on_step: Callable[[int, StepResult], None] | None = None,
    ranks: Ranks = ALONE,
    store: Store | None = None,
) -> None:
    """跑完一次训练。

    几个进程合训时，每个进程都调用它，走同样的步、做同样的决定；只有头一个写文件与进度。

    Args:
        session: ``session.prepare`` 的结果。
        engine: 引擎；续训时其状态由这里装回。
        on_step: 每步之后调用，参数是步号与结果。
        ranks: 合训的几个进程。
        store: 另一种存法，代替普通的检查点；参数是做完了几步与其余的状态，``optimizer_step`` 由它补上。

    Raises:
        DivergedError: 连续多步非有限。
        InterruptedRunError: 收到信号，已存档。
        OutOfDiskError: 末尾的检查点写不下去。
    """
    settings = session.settings
    if session.checkpoint is not None:
        kept = session.checkpoint
        engine.restore(kept.model, kept.optim, int(kept.state["optimizer_step"]))
        if kept.state.get("loss_scale"):
            engine.loss_scale = kept.state["loss_scale"]
    elif session.initial is not None:
        start_from(engine, session.initial, settings.optimizer)
    resume_step = (session.first_step or BEFORE) if settings.resume else None
    opened: Any = ranks.first(lambda: RunLog(settings.folder, resume_step=resume_step)) or Silent()
    with opened as log, GracefulStop() as stop:
        ranks.first(lambda: _describe_run(log, dump_toml(settings.lasting()), session))
        label = f"{engine.name}:{settings.run}"
        shown: Any = Progress(settings.last_step, label, start=session.first_step) if ranks.is_first else Silent()
        with shown as progress:
            progress.note(engine.describe())
            if session.data_summary:
                progress.note(f"data over {settings.steps} steps: {session.data_summary}")
            _Loop(session, engine, log, stop, progress, on_step, ranks, store).run()


def _describe_run(log: RunLog, config: str, session: Session) -> None:
    """开训之前写下的两样：配置与分词器。"""
    log.config(config)
    session.tokenizer.save(session.settings.folder / TOKENIZER)


class _Loop:
    """一次训练的进行中状态。"""

    def __init__(
        self,
        session: Session,
        engine: Engine,
        log: RunLog,
        stop: GracefulStop,
        progress: Progress,
        on_step: Callable[[int, StepResult], None] | None,
        ranks: Ranks,
        store: Store | None,
    ) -> None:
        self.store = store
        self.session, self.settings, self.engine, self.ranks = session, session.settings, engine, ranks
        self.log, self.stop, self.progress, self.on_step = log, stop, progress, on_step
        state = session.checkpoint.state if session.checkpoint is not None else {}
        self.skipped = int(state.get("skipped_steps", 0))
        self.skipped_in_a_row = 0
        self.disk_is_full = False

    def run(self) -> None:
        steps = range(self.session.first_step, self.settings.last_step)
        if self.session.watched and not self.session.first_step:
            self.evaluate(BEFORE + 1)  # 训练之前的样子，忘了多少由此量起
        mine = partial(self.session.train.batch, rank=self.ranks.part, world=self.ranks.parts)
        with Prefetch(mine, steps) as batches:  # 训练这一步时，后台已在取下一步的数据
            for step in steps:
                self.one_step(step, batches)
                self.after(step + 1)

    def after(self, done: int) -> None:
        """做完 ``done`` 步之后该做的：评估、采样、停下、存档。"""
        last = done == self.settings.last_step
        if last or _due(done, self.settings.eval_every):
            self.evaluate(done)
        if last or _due(done, self.settings.sample_every):
            self.sample(done)
        signal = self.ranks.highest(self.stop.requested or 0)  # 一个进程收到，大家一起停在同一步
        if signal and not last:
            self.save(done, must=True)
            raise InterruptedRunError(
                f"stopped by a signal after step {done}; the checkpoint is saved",
                where=str(self.settings.folder),
                fix=f"continue with {self.settings.resume_flags}",
                exit_code=128 + signal,
            )
        if last or _due(done, self.settings.save_every):
            self.save(done, must=last)

    def one_step(self, step: int, batches: Iterator[Batch]) -> None:
        settings = self.settings
        started_at = time.perf_counter()
        x, y = next(batches)
        lr = self.session.rate(step) if self.session.rate is not None else rate(settings, step)
        with np.errstate(over="ignore", invalid="ignore"):  # 溢出由 guard 处理，不必再警告
            result = self.engine.train_step(step, x, y, lr)
        elapsed_s = time.perf_counter() - started_at
        tokens_per_s = x.size * self.ranks.parts / elapsed_s
        memory = peak_memory_bytes()
        self.record(
            self.log.metric,
            step,
            loss=result.loss,
            lr=lr,
            grad_norm=result.grad_norm,
            tokens_per_s=tokens_per_s,
            elapsed_s=elapsed_s,
            memory_bytes=memory,
        )
        self.progress.update(step + 1, loss=result.loss, tokens_per_s=tokens_per_s, lr=lr, memory_bytes=memory)
        if self.on_step is not None:
            self.on_step(step, result)
        self.guard(step, result)

    def guard(self, step: int, result: StepResult) -> None:
        if result.updated:
            self.skipped_in_a_row = 0
            return
        self.skipped += 1
        self.skipped_in_a_row += 1
        self.progress.note(f"step {step}: loss {result.loss}, gradient norm {result.grad_norm}: update skipped")
        if self.skipped_in_a_row >= MAX_SKIPPED:
            raise DivergedError(
                f"training diverged: {MAX_SKIPPED} steps in a row gave a non-finite loss or gradient",
                where=f"step {step} of {self.settings.folder}",
                fix="resume with a lower --lr, or train in --dtype float64 to find the cause",
            )

    def evaluate(self, step: int) -> None:
        loss, bits = self.measure(self.session.validation)
        figures = {"val_loss": loss, "val_bits_per_byte": bits}
        text = f"step {step}: validation loss {loss:.4f} nats/token, {bits:.4f} bits/byte"
        for name, ids in self.session.watched.items():
            figures[f"val_loss_{name}"], figures[f"val_bits_per_byte_{name}"] = loss, bits = self.measure(ids)
            text += f"; {name} {loss:.4f}, {bits:.4f}"
        self.record(self.log.metric, step - 1, **figures)
        self.progress.note(text)

    def measure(self, ids: Ids | Tokens) -> tuple[float, float]:
        """一个验证集上的损失（纳特每 token）与 bits per byte。"""
        nats, tokens, n_bytes = 0.0, 0.0, 0.0
        lengths = self.session.tokenizer.byte_lengths
        batches = evaluation_batches(ids, self.session.model.context, self.settings.batch_size)
        for x, y in shared_out(batches, self.ranks):
            nats += self.engine.evaluate(x, y)
            valid = y[y != IGNORE_INDEX]
            tokens += valid.size
            n_bytes += int(lengths[valid].sum())
        nats, tokens, n_bytes = self.ranks.total([nats, tokens, n_bytes])
        return nats / tokens, bits_per_byte(nats, n_bytes)

    def sample(self, step: int) -> None:
        tokenizer = self.session.tokenizer
        sampling = Sampling(seed=self.settings.seed)
        ids = decode(self.engine.decoder(), [tokenizer.eot], self.settings.sample_tokens, sampling)
        text = tokenizer.decode(list(ids))
        self.record(self.log.sample, step - 1, text)

    def save(self, step: int, *, must: bool) -> None:
        """存一个检查点；盘满时先接着训练、到点再试，末尾或停下时仍写不下才报错。"""
        state: dict[str, Any] = {
            "engine": self.engine.name,
            "model": self.session.model.to_dict(),
            "settings": asdict(replace(self.settings, profile=None)),
            "source": dict(self.session.source),
            "tokenizer": self.session.tokenizer.digest,
            "text": self.session.text_digest,
            "loss_scale": self.engine.loss_scale,
            "data_step": step,
            "skipped_steps": self.skipped,
            "versions": {"python": platform.python_version(), "numpy": np.__version__},
        }
        try:
            if self.store is not None:
                self.ranks.first(self.log.sync)
                self.store(step, state)
                return
            model, states, state["optimizer_step"] = self.engine.export()
            self.ranks.first(lambda: self.write(Checkpoint(step, model, states, state)))
        except OutOfDiskError as error:
            if must:
                raise
            self.progress.note(f"warning: step {step}: {error.problem}; training goes on, the next save tries again")

    def write(self, checkpoint: Checkpoint) -> None:
        """日志先落盘：断电之后它才不会短于检查点。"""
        self.log.sync()
        save_checkpoint(self.settings.folder, checkpoint, keep=self.settings.keep)

    def record(self, append: Callable[..., None], *values: Any, **named: Any) -> None:
        """记一笔日志；盘满时 ``RunLog`` 先替我们记着，只在刚满时说一声。"""
        try:
            append(*values, **named)
            self.disk_is_full = False
        except OutOfDiskError as error:
            if not self.disk_is_full:
                self.progress.note(f"warning: {error.problem}; training goes on, the log is kept in memory meanwhile")
            self.disk_is_full = True


def start_from(engine: Engine, weights: Mapping[str, NDArray[Any]], optimizer: Rule) -> None:
    """从现成的权重起步：优化器的状态全是 0，一步也没有更新过。"""
    shapes = {name: array.shape for name, array in weights.items()}
    dtype = next(iter(weights.values())).dtype
    states = {name: np.zeros(shape, dtype) for name, shape in state_shapes(shapes, optimizer).items()}
    engine.restore(dict(weights), states, 0)


def step_seed(seed: int, step: int, part: int = 0) -> int:
    """第 ``step`` 步里第 ``part`` 份数据的随机数（dropout）的种子：由步号决定，续训不必保存随机数状态。"""
    return int(philox(seed, f"step {step}" + (f" part {part}" if part else "")).integers(1 << 63))


def rate(settings: TrainConfig, step: int) -> float:
    """第 ``step`` 步的学习率。"""
    return learning_rate(
        step,
        peak=settings.lr,
        minimum=settings.lr * settings.min_lr_ratio,
        warmup_steps=settings.warmup_steps,
        total_steps=settings.steps,
        shape=settings.schedule,
        decay_fraction=settings.decay_fraction,
    )


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
