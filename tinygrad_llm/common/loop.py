"""训练循环：记录、评估、采样、存档、停下——与引擎无关的部分只写一遍。

流入：``Session`` 与一个 ``Engine``；流出：运行文件夹。每一步怎样前向、反传、更新，见两边的 ``Engine``：
``tinygrad_llm/train.py`` 与 ``torch_llm/loop.py``。
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.bad_batches import keep_batch
from tinygrad_llm.common.batches import Ids, Prefetch, Tokens
from tinygrad_llm.common.checkpoint import Checkpoint, list_checkpoints, load_checkpoint, save_checkpoint, step_folder
from tinygrad_llm.common.decoding.request import Sampling
from tinygrad_llm.common.decoding.single import decode
from tinygrad_llm.common.engine import Batch, Engine, StepResult
from tinygrad_llm.common.errors import InterruptedRunError, OutOfDiskError
from tinygrad_llm.common.evaluation.validation import Figures, evaluate
from tinygrad_llm.common.guard import Guard
from tinygrad_llm.common.initial import philox
from tinygrad_llm.common.metering import Meter, open_meter, session_record
from tinygrad_llm.common.progress import Progress
from tinygrad_llm.common.ranks import ALONE, Ranks, Silent
from tinygrad_llm.common.runlog import RunLog
from tinygrad_llm.common.schedule import learning_rate
from tinygrad_llm.common.session import TOKENIZER, Session
from tinygrad_llm.common.signals import GracefulStop
from tinygrad_llm.common.standing import EARLY_STOP, Standing, mark_early_stop
from tinygrad_llm.common.toml import dump_toml
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.common.update_rules import Rule, state_shapes

BEFORE = -1
"""训练之前的评估，记在这一步。"""
EVALUATE, SAMPLE = "evaluate", "sample"
FIGURES = ("loss", "perplexity", "bits_per_byte")

Store = Callable[[int, dict[str, Any]], None]


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
        DivergedError: 连续多步没有更新，或退回几次仍然不行。
        InterruptedRunError: 收到信号，已存档。
        OutOfDiskError: 末尾的检查点写不下去。
    """
    settings = session.settings
    if session.checkpoint is not None:
        _restore(engine, session.checkpoint)
    elif session.initial is not None:
        start_from(engine, session.initial, settings.optimizer)
    resume_step = (session.first_step or BEFORE) if settings.resume else None
    new_log = partial(RunLog, settings.folder, resume_step=resume_step, tensorboard=settings.tensorboard)
    opened: Any = ranks.first(new_log) or Silent()
    with opened as log, GracefulStop(settings.stop_within) as stop:
        ranks.first(lambda: _describe_run(log, dump_toml(settings.lasting()), session))
        label = f"{engine.name}:{settings.run}"
        shown: Any = Progress(settings.last_step, label, start=session.first_step) if ranks.is_first else Silent()
        with shown as progress:
            progress.note(engine.describe())
            if session.data_summary:
                progress.note(f"data over {settings.steps} steps: {session.data_summary}")
            meter = ranks.first(lambda: _open_meter(session, engine, log, ranks))
            meter = meter or Meter(session.model, 1.0)  # 别的进程不记，峰值是几都行
            _Loop(session, engine, log, stop, progress, on_step, ranks, store, meter).run()


def _open_meter(session: Session, engine: Engine, log: RunLog, ranks: Ranks) -> Meter:
    """量出峰值，记下这一回的自述。"""
    meter = open_meter(session, engine, ranks.parts)
    log.session(**session_record(session, engine, meter))
    return meter


def _describe_run(log: RunLog, config: str, session: Session) -> None:
    """开训之前写下的两样：配置与分词器。"""
    log.config(config)
    session.tokenizer.save(session.settings.folder / TOKENIZER)


def _restore(engine: Engine, kept: Checkpoint) -> None:
    """引擎回到检查点的样子。"""
    engine.restore(kept.model, kept.optim, int(kept.state["optimizer_step"]))
    if kept.state.get("loss_scale"):
        engine.loss_scale = kept.state["loss_scale"]


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
        meter: Meter,
    ) -> None:
        self.store = store
        self.session, self.settings, self.engine, self.ranks = session, session.settings, engine, ranks
        self.meter = meter
        self.log, self.stop, self.progress, self.on_step = log, stop, progress, on_step
        state = session.checkpoint.state if session.checkpoint is not None else {}
        self.guard = Guard.of_state(state, watches_spikes=self.settings.skip_spikes)
        self.standing = Standing.of_state(state)
        self.owed: tuple[str, ...] = tuple(state.get("owed", ()))  # 信号来时还没做完的评估与采样，续训时先补上
        self.disk_is_full = False
        engine.accepts = lambda loss, norm: self.guard.accepts(loss, norm)

    def run(self) -> None:
        step, last = self.session.first_step, self.settings.last_step
        self.ranks.first(lambda: (self.settings.folder / EARLY_STOP).unlink(missing_ok=True))
        session = self.session
        if not step and (session.watched or session.examine is not None):
            self.evaluate(BEFORE + 1, must=True)  # 训练之前的样子，学会与忘了多少都由此量起
        if not step and session.show is not None:
            self.sample(BEFORE + 1)
        if self.owed and self.after(step, self.owed):
            return
        while step < last:
            step = self.stretch(step)

    def stretch(self, first: int) -> int:
        """从第 ``first`` 步走到末尾，或走到要退回、提前停下的地方；返回接着该走的步号。"""
        last, ahead = self.settings.last_step, self.guard.offset
        mine = partial(self.session.train.batch, rank=self.ranks.part, world=self.ranks.parts)
        with self.batches(mine, range(first + ahead, last + ahead)) as batches:
            for step in range(first, last):
                self.one_step(step, batches)
                if self.guard.must_roll_back and self.has_anchor():
                    return self.roll_back(step + 1)
                tasks = [(EVALUATE, self.settings.eval_every), (SAMPLE, self.settings.sample_every)]
                due = [name for name, every in tasks if step + 1 == last or _due(step + 1, every)]
                if self.after(step + 1, due):
                    break
        return last

    def batches(self, mine: Callable[[int], Batch], steps: range) -> contextlib.AbstractContextManager[Iterator[Batch]]:
        """训练这一步时，后台已在取下一步的数据；数据要由眼下的模型写出来的，轮到时才取。"""
        return Prefetch(mine, steps) if self.session.prefetches else contextlib.nullcontext(map(mine, steps))

    def after(self, done: int, tasks: Sequence[str]) -> bool:
        """做完 ``done`` 步之后该做的：评估、采样、停下、存档；返回是否提前停下。"""
        last, before, late = done == self.settings.last_step, self.standing, bool(self.owed)
        if done % self.session.pace and not last:
            return False
        self.owed = self.look(done, tasks, must=last)
        signal = self.signal()
        if signal and not last:
            self.save(done, must=True)
            raise InterruptedRunError(
                f"stopped by a signal after step {done}; the checkpoint is saved",
                where=str(self.settings.folder),
                fix=f"continue with {self.settings.resume_flags}",
                exit_code=128 + signal,
            )
        early = not last and self.standing.is_exhausted(self.settings.patience)
        is_best = self.standing.best_step not in (None, before.best_step)
        if last or early or is_best or late or _due(done, self.settings.save_every):
            self.save(done, must=last or early)
        if early:
            self.stop_early(done)
        return early

    def look(self, done: int, tasks: Sequence[str], *, must: bool) -> tuple[str, ...]:
        """评估与采样；信号来了就先存档要紧，返回还没做的几样，留给续训。"""
        for i, task in enumerate(tasks):
            is_stopped = not must and self.signal() > 0
            if is_stopped or not (self.evaluate(done, must=must) if task == EVALUATE else self.sample(done)):
                return tuple(tasks[i:])
        return ()

    def signal(self) -> int:
        """收到的信号，没有为 0；一个进程收到，大家一起停在同一步。"""
        return self.ranks.highest(self.stop.requested or 0)

    def one_step(self, step: int, batches: Iterator[Batch]) -> None:
        settings = self.settings
        started_at = time.perf_counter()
        batch = next(batches)
        lr = self.session.rate(step) if self.session.rate is not None else rate(settings, step)
        with np.errstate(over="ignore", invalid="ignore"):  # 溢出由 guard 处理，不必再警告
            result = self.engine.train_step(step, batch, lr)
        elapsed_s = time.perf_counter() - started_at
        width = batch[0].shape[-1]
        rows = batch[0].size // width * self.ranks.parts
        figures, memory = self.meter.figures(elapsed_s, rows, width), self.engine.memory_bytes()
        kind = self.guard.observe(step, result.loss, result.grad_norm, updated=result.updated)
        self.record(
            self.log.metric,
            step,
            loss=result.loss,
            lr=lr,
            grad_norm=result.grad_norm,
            **result.figures,
            **figures,
            elapsed_s=elapsed_s,
            memory_bytes=memory,
            **({"skipped": kind} if kind else {}),
        )
        self.progress.update(step + 1, loss=result.loss, **figures, lr=lr, memory_bytes=memory)
        if self.on_step is not None:
            self.on_step(step, result)
        if kind:
            self.skip(step, result, kind)

    def skip(self, step: int, result: StepResult, kind: str) -> None:
        """说一声，存下这一批；连续太多步就停下。"""
        why = f"{kind} loss {result.loss}, gradient norm {result.grad_norm}: update skipped"
        self.progress.note(f"step {step}: {why}")
        self.ranks.first(lambda: self.keep(step, why))
        self.guard.check(step, str(self.settings.folder))

    def keep(self, step: int, why: str) -> None:
        """存下第 ``step`` 步的整个全局批次；写不进去也不要紧。"""
        try:
            x, y, *_ = self.session.train.batch(step + self.guard.offset)
            keep_batch(self.settings.folder, step, why, x, y, self.session.tokenizer)
        except OSError as error:
            self.progress.note(f"warning: the batch could not be kept: {error.strerror}")

    def has_anchor(self) -> bool:
        """可以退回的检查点还在不在；只有头一个进程看得到文件夹也行。"""
        return bool(self.ranks.highest(int(self.guard.anchor in list_checkpoints(self.settings.folder))))

    def roll_back(self, done: int) -> int:
        """退回守卫记着的检查点，之后的数据换成还没有用过的；返回那里的步号。"""
        folder = self.settings.folder
        kept = load_checkpoint(step_folder(folder, str(self.guard.anchor)))
        then = Guard.of_state(kept.state, watches_spikes=self.settings.skip_spikes)
        self.guard = self.guard.rolled_back(then, kept.step, done, str(folder))
        self.standing = Standing.of_state(kept.state)
        _restore(self.engine, kept)
        self.record(self.log.rewind, kept.step)
        start, stop = self.guard.windows[-1]
        self.progress.note(
            f"step {done - 1}: the loss spikes again and again: back to step {kept.step}, "
            f"past the batches {start} to {stop - 1}"
        )
        return kept.step

    def evaluate(self, step: int, *, must: bool) -> bool:
        """在各个验证集上评估一遍，记下最好的；半途来了信号就放下，返回做完了没有。"""
        started_at, shown, notes = time.perf_counter(), dict[str, float](), list[str]()
        for name, ids in {"": self.session.validation, **self.session.watched}.items():
            if not ids.size:
                continue
            found = self.measure(ids, must=must)
            if found is None:
                return False
            tail = f"_{name}" if name else ""
            shown |= {f"val_{key}{tail}": value for key, value in zip(FIGURES, found, strict=False)}
            notes.append(
                f"{name or 'validation loss'} {found.loss:.4f} nats/token, {found.bits_per_byte:.4f} bits/byte"
            )
        if self.session.examine is not None:
            examined = self.session.examine(self.engine)
            shown |= examined
            notes += [f"{name} {value:.4g}" for name, value in examined.items()]
        self.record(self.log.metric, step - 1, **shown, eval_s=time.perf_counter() - started_at)
        perplexity = f", perplexity {shown['val_perplexity']:.4g}" if "val_perplexity" in shown else ""
        self.progress.note(f"step {step}: {'; '.join(notes)}{perplexity}")
        if step == self.settings.steps or (step and _due(step, self.settings.eval_every)):
            self.standing = self.standing.after(step, shown["val_loss"])  # --stop-at 额外的一次不算，续训才与不停一样
        return True

    def measure(self, ids: Ids | Tokens, *, must: bool) -> Figures | None:
        """一个验证集上的各项；半途放下为 ``None``。"""
        return evaluate(
            self.engine,
            ids,
            self.session.model.context,
            self.session.tokenizer.byte_lengths,
            ranks=self.ranks,
            is_stopped=lambda: not must and self.signal() > 0,
        )

    def sample(self, step: int) -> bool:
        """每个开头写一段；没有给开头，就从文本起始符写起。"""
        if self.session.show is not None:
            self.record(self.log.sample, step - 1, self.session.show(self.engine))
            return True
        tokenizer, texts = self.session.tokenizer, []
        for prompt in self.settings.sample_prompts or ("",):
            ids = tokenizer.encode(prompt) or [tokenizer.eot]
            sampling = Sampling(seed=self.settings.seed)
            found = decode(self.engine.decoder(), ids, self.settings.sample_tokens, sampling)
            texts.append(prompt + tokenizer.decode(list(found)))
        self.record(self.log.sample, step - 1, "\n\n".join(texts))
        return True

    def stop_early(self, step: int) -> None:
        """留下标记：停在哪里、最好的是哪一步。"""
        self.ranks.first(lambda: mark_early_stop(self.settings.folder, step, self.standing))
        self.progress.note(
            f"stopped early after step {step}: {self.standing.stale} evaluations without improvement on step "
            f"{self.standing.best_step}; go on with {self.settings.resume_flags} --patience 0"
        )

    def save(self, step: int, *, must: bool) -> None:
        """存一个检查点；盘满时先接着训练、到点再试，末尾或停下时仍写不下才报错。"""
        before = self.guard.anchor
        if _due(step, self.settings.save_every):
            self.guard.anchor = step
        state: dict[str, Any] = {
            "engine": self.engine.name,
            "model": self.session.model.to_dict(),
            "settings": asdict(replace(self.settings, profile=None)),
            "source": dict(self.session.source),
            **({"method": dict(self.session.method)} if self.session.method else {}),
            **({"chat_template": self.session.method["template"]} if self.session.method.get("template") else {}),
            "tokenizer": self.session.tokenizer.digest,
            "text": self.session.text_digest,
            "loss_scale": self.engine.loss_scale,
            "data_step": step + self.guard.offset,
            "skipped_steps": self.guard.skipped,
            "guard": self.guard.to_state(),
            "standing": self.standing.to_state(),
            "owed": list(self.owed),
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
            self.guard.anchor = before
            if must:
                raise
            self.progress.note(f"warning: step {step}: {error.problem}; training goes on, the next save tries again")

    def write(self, checkpoint: Checkpoint) -> None:
        """日志先落盘：断电之后它才不会短于检查点。"""
        self.log.sync()
        best, anchor = self.standing.best_step, self.guard.anchor
        save_checkpoint(self.settings.folder, checkpoint, keep=self.settings.keep, best=best, anchor=anchor)

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
