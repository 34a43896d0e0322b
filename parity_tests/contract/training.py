"""真正的一步训练：累积窗口里的次序、切成几个微批、断点续训。

流入：实现与例子；流出：各处的误差与界。下一站：``decoding.py``。

AdamW 除以 ``√v + ε``：在数学上为 0 的梯度（如 k 的偏置）只剩舍入，除以自己就成了 ±1。这里取 ``ε = 1``，
更新对梯度的放大于是至多一倍，参数也能按舍入的界来比；续训逐位相同，与 ε 无关。
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from parity_tests.contract.cases import Case, Ids, ids_of, masked
from parity_tests.contract.gaps import Gap, backward_roundings, close, close_all, exact, exact_all, size_of
from parity_tests.contract.implementation import Implementation, State
from parity_tests.contract.property import Property
from tinygrad_llm.common.batches import IGNORE_INDEX
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.engine import StepResult
from tinygrad_llm.common.train_config import TrainConfig

STEPS = 3
RATE = 0.05


class _OtherLoss(Implementation):
    """训练一步时，模型的损失换成 ``micro_loss`` 的孪生。"""

    def step(self, engine: Any, step: int, x: Ids, y: Ids, lr: float) -> StepResult:
        """换掉损失，走一步，再换回来。"""
        loss, valid = engine.model.loss, int((y != IGNORE_INDEX).sum())
        engine.model.loss = lambda ids, targets: self.micro_loss(engine, loss, valid, ids, targets)
        try:
            return super().step(engine, step, x, y, lr)
        finally:
            del engine.model.loss

    def micro_loss(self, engine: Any, loss: Callable[..., Any], valid: int, ids: Any, targets: Any) -> Any:
        """一个微批的损失之和；``valid`` 是整个批次的有效 token 数。"""
        raise NotImplementedError


class ClearsEachMicroBatch(_OtherLoss):
    """``zero_grad`` 写进了微批的循环里：只有最后一个微批的梯度留了下来。"""

    def micro_loss(self, engine: Any, loss: Callable[..., Any], valid: int, ids: Any, targets: Any) -> Any:
        """先清掉已经累积的梯度。"""
        if self.engine == "numpy":
            engine.state.clear_gradients()
        else:
            engine.model.zero_grad()
        return loss(ids, targets)


class AveragesMicroBatches(_OtherLoss):
    """各微批先各自求平均、再平均：有效 token 少的微批分量过重。"""

    def micro_loss(self, engine: Any, loss: Callable[..., Any], valid: int, ids: Any, targets: Any) -> Any:
        """除以微批自己的有效 token 数；外面除以 ``valid`` 的那一下先乘回去。"""
        mine = max(int((targets != IGNORE_INDEX).sum()), 1)
        return loss(ids, targets) * (valid / (mine * engine.settings.accumulate))


class ForgetsStepCount(Implementation):
    """续训时没有装回优化器的步数：偏差修正从头来过。"""

    def restore(self, engine: Any, state: State) -> None:
        """步数成了 0。"""
        super().restore(engine, (*state[:2], 0))


class _Run(NamedTuple):
    losses: list[float]
    norms: list[float]
    state: State

    @property
    def arrays(self) -> dict[str, Any]:
        return {**self.state[0], **self.state[1]}


def _settings(one: Implementation, rows: int, accumulate: int, rng: np.random.Generator, eps: float = 1.0) -> Any:
    return TrainConfig(
        batch_size=rows,
        accumulate=accumulate,
        workers=1,
        dtype="float64" if one.dtype == "float64" else "float32",
        eps=eps,
        grad_clip=float(rng.choice([0.05, 1e6])),  # 裁剪与不裁剪都要走到
        weight_decay=float(rng.choice([0.0, 0.1])),
    )


def _run(
    one: Implementation,
    config: GPTConfig,
    settings: TrainConfig,
    batches: list[tuple[Ids, Ids]],
    state: State | None = None,
    first: int = 0,
    *,
    to_disk: bool = False,
) -> _Run:
    """从 ``state`` 起，逐批训练；``to_disk`` 时最后的状态存盘再读回。"""
    engine = one.start(config, settings, state)
    with closing(engine) if hasattr(engine, "close") else nullcontext():
        found = [one.step(engine, first + i, x, y, RATE) for i, (x, y) in enumerate(batches)]
        final = one.saved(engine, first + len(batches)) if to_disk else one.state(engine)
    return _Run([f.loss for f in found], [f.grad_norm for f in found], final)


def _batches(case: Case, rng: np.random.Generator, rows: int) -> list[tuple[Ids, Ids]]:
    config = case.config
    batches = []
    for _ in range(STEPS):
        x, y = (ids_of(rng, config, rows, config.context) for _ in range(2))
        batches.append((x, masked(rng, y)))
    return batches


def _same_training(
    one: Implementation, case: Case, settings: TrainConfig, batches: list[tuple[Ids, Ids]], found: list[_Run]
) -> list[Gap]:
    """``found`` 里的各次训练与照原样的一次只差舍入；每一步的误差经参数传到下一步，按步数累加。"""
    config, rows = case.config, settings.batch_size
    expected = _run(one, config, settings, batches)
    near = _run(one, config, settings, batches, one.fresh(config, nudged=True))
    roundings = STEPS**2 * backward_roundings(config, rows * config.context, config.context)
    gaps = []
    for run in found:
        for name in ("losses", "norms"):
            a, b, c = (np.array(getattr(r, name), one.dtype) for r in (run, expected, near))
            gaps.append(close({"losses": "loss", "norms": "gradient norm"}[name], a, b, roundings, size_of(b, c)))
        size = size_of(expected.arrays, near.arrays)
        gaps += close_all("after training,", run.arrays, expected.arrays, roundings, size)
    return gaps


def window_order(one: Implementation, case: Case) -> list[Gap]:
    """打乱累积窗口里各行的次序，哪一行落在哪个微批里无关：损失、梯度范数与训练后的参数、矩都不变。"""
    rng = case.rng()
    accumulate = 1 if case.harmless else int(rng.integers(2, 4))
    rows = accumulate * case.batch
    settings, batches = _settings(one, rows, accumulate, rng), _batches(case, rng, rows)
    order = rng.permutation(rows)
    other = _run(one, case.config, settings, [(x[order], y[order]) for x, y in batches])
    return _same_training(one, case, settings, batches, [other])


def accumulation(one: Implementation, case: Case) -> list[Gap]:
    """一次反传 N 行 = 每次一行、累积 N 次，掩码参差不齐也一样。"""
    rng = case.rng()
    rows = case.batch * int(rng.integers(1, 3))
    whole, batches = _settings(one, rows, 1, rng), _batches(case, rng, rows)
    if case.harmless:  # 各行有效的 token 一样多：平均的平均也就是平均
        batches = [(x, np.where(np.arange(y.shape[1]) % 2, abs(y) % case.config.vocab_size, -100)) for x, y in batches]
    parts = [n for n in range(2, rows + 1) if rows % n == 0]
    cut = [_run(one, case.config, replace(whole, accumulate=n), batches) for n in {parts[0], rows}]
    return _same_training(one, case, whole, batches, cut)


def resume(one: Implementation, case: Case) -> list[Gap]:
    """走 k 步、存盘、换一个新引擎装回、走完其余各步，与不停地走到底逐位相同；有 dropout 也一样。"""
    rng = case.rng()
    config = replace(case.config, dropout=float(rng.choice([0.0, 0.3])))
    settings = _settings(one, case.batch, 1, rng, eps=1e-8)
    batches = _batches(case, rng, case.batch)
    k = 0 if case.harmless else int(rng.integers(1, STEPS))
    straight = _run(one, config, settings, batches)
    before = _run(one, config, settings, batches[:k], to_disk=True)
    after = _run(one, config, settings, batches[k:], before.state, k)
    return [
        exact("loss", np.array(before.losses + after.losses), np.array(straight.losses)),
        exact("gradient norm", np.array(before.norms + after.norms), np.array(straight.norms)),
        *exact_all("after training,", after.arrays, straight.arrays),
        exact("optimizer steps", np.array(after.state[2]), np.array(straight.state[2])),
    ]


PROPERTIES = (
    Property(
        "order within an accumulation window",
        "which row falls into which micro-batch is of no matter to the training step",
        window_order,
        ClearsEachMicroBatch,
        "gradients cleared inside the micro-batch loop",
        ("gradient norm", "after training,"),
    ),
    Property(
        "accumulate 1xN = Nx1",
        "one batch of N rows = N micro-batches of one, with ragged masks",
        accumulation,
        AveragesMicroBatches,
        "mean per micro-batch instead of the global count of valid tokens",
        ("loss", "gradient norm", "after training,"),
    ),
    Property(
        "resume(k) + rest = straight run",
        "k steps, a checkpoint on disk, a new engine, the rest: bit for bit the straight run",
        resume,
        ForgetsStepCount,
        "the optimizer's step count is not restored",
        ("after training,", "loss", "gradient norm", "optimizer steps"),
    ),
)
