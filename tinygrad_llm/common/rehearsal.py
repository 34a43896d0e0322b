"""``--dry-run`` 的实测：用一份用完就扔的模型真的走几步，量出一步、一批评估、一个样本 token、一次存档各要多久。

流入：``Session`` 与一个引擎；流出：一个 ``Time``。磁盘上什么也不留：存档的速度用一个没有名字的临时文件来量，
进程一走它就没了。下一站：``estimate.py``。
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import statistics
import tempfile
import time
from collections.abc import Iterable
from typing import IO

import numpy as np

from tinygrad_llm.common.batches import Ids, Tokens, evaluation_batches
from tinygrad_llm.common.decoding.request import Sampling
from tinygrad_llm.common.decoding.single import decode
from tinygrad_llm.common.engine import Engine
from tinygrad_llm.common.errors import DivergedError, OutOfDiskError
from tinygrad_llm.common.estimate import Time, events, existing_folder
from tinygrad_llm.common.evaluation.validation import EVALUATION_TOKENS
from tinygrad_llm.common.loop import rate
from tinygrad_llm.common.safetensors import encode_safetensors
from tinygrad_llm.common.session import Session
from tinygrad_llm.common.system import process_age_s

STEPS = 3
"""预热一步之后，至少量这么多步。"""
LEAST_S = 1.0
"""小模型一步只有几毫秒，三步说明不了什么：量满这么久为止。"""
SAMPLE_TOKENS = 24
DISK_BYTES = 1 << 27
"""量存档的速度至多写这么多字节，再按比例放大。"""


def rehearse(session: Session, engine: Engine) -> Time:
    """走几步，推出整次训练的时间。

    Args:
        session: ``session.prepare`` 的结果。
        engine: 为这次测量造的引擎；它的参数会被更新，之后就该扔掉。

    Returns:
        各项的秒数；进程启动至今的时间就是训练要花的启动时间。

    Raises:
        DivergedError: 头几步就出了非有限的数。
        OutOfDiskError: 运行文件夹那里写不下去。
    """
    start_s = process_age_s()
    settings, remaining = session.settings, session.settings.last_step - session.first_step
    first_s, steps_s = _step_times(session, engine)
    step_s = statistics.median(steps_s)
    counts = events(settings, session.first_step)
    looks, shows = counts["evaluations"], counts["samples"]
    if not session.first_step:  # 训练之前另有一次
        looks += bool(session.watched) or session.examine is not None
        shows += session.show is not None
    return Time(
        parts={
            "start": start_s,
            f"{remaining:,} steps": first_s + step_s * (remaining - 1),
            f"{looks} evaluations": looks * _evaluations_s(session, engine),
            f"{shows} samples": shows * _sample_s(session, engine),
            f"{counts['saves']} checkpoints": counts["saves"] * _save_s(session, engine),
        },
        step=step_s,
        spread=max(abs(one / step_s - 1) for one in steps_s),
        source=f"measured here: {len(steps_s)} steps after one to warm up",
    )


def _step_times(session: Session, engine: Engine) -> tuple[float, list[float]]:
    """第一步（申请内存、建立缓存）与其后各步的秒数。"""
    found: list[float] = []
    began_at = time.perf_counter()
    while len(found) < STEPS + 1 or time.perf_counter() - began_at < LEAST_S:
        step = session.first_step + len(found)
        batch = session.train.batch(step)
        at = time.perf_counter()
        with np.errstate(over="ignore", invalid="ignore"):
            engine.train_step(step, batch, rate(session.settings, min(step, session.settings.steps - 1)))
        found.append(time.perf_counter() - at)
    return found[0], found[1:]


def _evaluations_s(session: Session, engine: Engine) -> float:
    """评估一遍要多久：各个验证集，加上方法自己的。"""
    context = session.model.context
    spent = _evaluation_s(session.validation, engine, context, session.settings.batch_size)
    rows = max(1, EVALUATION_TOKENS // context)
    spent += sum(_evaluation_s(ids, engine, context, rows) for ids in session.watched.values())
    if session.examine is None:
        return spent
    at = time.perf_counter()
    session.examine(engine)
    return spent + time.perf_counter() - at


def _evaluation_s(ids: Ids | Tokens, engine: Engine, context: int, rows: int) -> float:
    """一个验证集评估一遍要多久：量两批，按行数放大。"""
    if not ids.size:
        return 0.0
    total = math.ceil((int(ids.size) - 1) / context)
    spent, done = 0.0, 0
    for i, (x, y) in enumerate(evaluation_batches(ids, context, rows)):
        at = time.perf_counter()
        engine.evaluate(x, y)
        elapsed_s = time.perf_counter() - at
        if i == 0 and total > len(x):  # 头一批要申请内存
            continue
        spent, done = spent + elapsed_s, done + len(x)
        if i == 2:
            break
    return spent / done * total


def _sample_s(session: Session, engine: Engine) -> float:
    if session.show is not None:
        at = time.perf_counter()
        session.show(engine)
        return time.perf_counter() - at
    count = min(SAMPLE_TOKENS, session.settings.sample_tokens)
    if not count:
        return 0.0
    at = time.perf_counter()
    for _ in decode(engine.decoder(), [session.tokenizer.eot], count, Sampling(seed=session.settings.seed)):
        pass
    return (time.perf_counter() - at) / count * session.settings.sample_tokens


def _save_s(session: Session, engine: Engine) -> float:
    """存一次检查点要多久：与真的存档一样检查、算摘要、写、落盘。"""
    at = time.perf_counter()
    model, states, _ = engine.export()
    arrays = [*model.values(), *states.values()]
    exported_s = time.perf_counter() - at
    at = time.perf_counter()
    try:
        with tempfile.TemporaryFile(dir=existing_folder(session.settings.folder)) as file:
            written = _write(file, itertools.chain(encode_safetensors(model), encode_safetensors(states)))
        finite = all(np.isfinite(array).all() for array in arrays)
    except OSError as error:
        raise OutOfDiskError(
            f"cannot write there: {error.strerror}",
            where=str(session.settings.folder),
            fix="make the folder writable, free some space, or choose another --runs-dir",
        ) from error
    if not finite:
        raise DivergedError("the first steps already end in NaN or infinity", fix="use a lower --lr")
    total = sum(array.nbytes for array in arrays)
    return exported_s + (time.perf_counter() - at) * max(1.0, total / max(written, 1))


def _write(file: IO[bytes], chunks: Iterable[bytes | memoryview]) -> int:
    """写下开头的若干段并落盘；返回写了多少字节。"""
    digest, written = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        written += file.write(chunk)
        if written >= DISK_BYTES:
            break
    file.flush()
    os.fsync(file.fileno())
    return written
