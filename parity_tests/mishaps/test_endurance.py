"""不丢工作：把各种意外成百次地加在训练上，两个引擎都是。快的几个例子在各自的文件里，这里是长的一遍。

一张表说明次数；每一项都与从未出过意外的训练逐位比较，或要求先前的检查点完好、坏的文件被点名。
"""

from __future__ import annotations

import errno
import json
import math
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parity_tests.mishaps.test_divergence import CLASSES, spoilt
from parity_tests.mishaps.test_interrupts import LONG, interrupted, survive
from parity_tests.whole_runs.commands import ENGINES, TRAIN, Place, assert_bit_equal, finish, wait_for_steps
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.errors import CheckpointError

pytestmark = [pytest.mark.full, pytest.mark.soak, pytest.mark.skipif(os.name == "nt", reason="POSIX signals and files")]

KILLS, SIGNALS, DISK_FAILURES, FUZZED, FLIPS, BAD_STEPS = 200, 50, 100, 20_000, 2_000, 100
"""每个引擎各这么多次；坏文件与引擎无关，只走一遍。"""
AT_MOST_S = 0.2
"""读一个坏文件至多这么久。"""
FILES = ("model.safetensors", "optim.safetensors", "state.json", "MANIFEST.json")


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("engine", ENGINES)
def test_killed_run_differs_from_the_unbroken_one(place: Place, engine: str) -> None:
    """kill -9，落在随机的时刻，也落在保存途中。"""
    inside = survive(place, engine, KILLS, seed=2)
    assert inside >= KILLS // 50, "hardly any kill fell into a save"


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("engine", ENGINES)
def test_signal_costs_more_than_a_step(place: Place, engine: str) -> None:
    """SIGINT 与 SIGTERM 轮流来，时刻随机：个个按时存好，检查点就在最后记录的那一步。"""
    rng = random.Random(3)
    for i in range(SIGNALS):
        run, number = f"a{i}", (signal.SIGINT, signal.SIGTERM)[i % 2]
        changes = {
            "eval_every": rng.choice([0, 3]),
            "sample_every": rng.choice([0, 4]),
            "save_every": rng.randint(1, 5),
        }
        ended = interrupted(place, engine, run, number, after=rng.randint(1, 40), **changes)
        assert (ended.code, len(ended.error)) == (128 + number, 3), ended
        assert load_checkpoint(place.runs / run).step == len(place.curve(run)), i
        shutil.rmtree(place.runs / run)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("engine", ENGINES)
def test_second_signal_is_not_obeyed_at_once(place: Place, engine: str) -> None:
    """两个信号接连而来：立即退出，先前的检查点载得出，续训走得下去。"""
    for i in range(5):
        run = f"a{i}"
        process = place.spawn(engine, TRAIN[engine], *place.flags(run, {**LONG, "save_every": 2, "batch_size": 64}))
        wait_for_steps(process, place.runs / run, 6)
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            time.sleep(0.001)
        assert finish(process).code == 143
        saved = load_checkpoint(place.runs / run).step
        assert place.resume(engine, run, stop_at=saved + 1).code == 0


FAULTS: dict[str, Callable[..., Any]] = {"fsync": os.fsync, "replace": os.replace, "mkdir": os.mkdir}
CODES = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO)


def failing(real: Callable[..., Any], code: int, skip: int) -> Callable[..., Any]:
    """前 ``skip`` 次照常，之后每一次都失败。"""
    calls = iter(range(skip))

    def call(*arguments: Any, **named: Any) -> Any:
        if next(calls, None) is None:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **named)

    return call


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("engine", ENGINES)
def test_disk_failure_spoils_the_previous_checkpoint(place: Place, engine: str) -> None:
    """随机的文件操作从随机的一次起失败，错误码也随机：先前的检查点完好，没有残余，续训与没有失败过的一样。"""
    rng = random.Random(4)
    assert place.train(engine, "base", stop_at=6).code == 0
    assert place.train(engine, "straight", stop_at=8).code == 0
    saved, wanted, failures = place.tensors("base"), place.tensors("straight"), 0
    for i in range(10 * DISK_FAILURES):
        shutil.copytree(place.runs / "base", place.runs / "a")
        name, code = rng.choice(list(FAULTS)), rng.choice(CODES)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(os, name, failing(FAULTS[name], code, rng.randint(0, 14)))
            ended = place.resume(engine, "a", stop_at=7)
        if ended.code:
            failures += 1
            assert (ended.code, len(ended.error)) == (4, 3), (i, ended)
            assert str(place.runs / "a") in ended.error[1]
        assert not [path for path in place.contents() if ".tmp-" in path or ".old-" in path], i
        if (step := load_checkpoint(place.runs / "a").step) == 6:
            assert_bit_equal(place.tensors("a"), saved)
        assert step in (6, 7)
        if i % 10 == 0:
            assert place.resume(engine, "a", stop_at=8).code == 0
            assert_bit_equal(place.tensors("a"), wanted)
        shutil.rmtree(place.runs / "a")
        if failures == DISK_FAILURES:
            return
    pytest.fail(f"only {failures} of the injected failures hit")


# ---- 坏文件 ----


def mutated(data: bytes, rng: random.Random) -> bytes:
    """改坏一个文件：翻位、改字节、截断、插入、重复、清空、换成另一种东西。"""
    raw = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(raw)) if raw else 0
        kind = rng.randrange(7)
        if kind == 0 and raw:
            raw[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and raw:
            raw[at] = rng.randrange(256)
        elif kind == 2:
            del raw[at:]
        elif kind == 3:
            raw[at:at] = rng.randbytes(rng.randint(1, 40))
        elif kind == 4:
            raw[at:at] = raw[at : at + rng.randint(1, 400)]
        elif kind == 5:
            raw[at : at + 1] = rng.choice([b"9" * 400, b"[" * 5000, b"null", b"-1", b"1e999", b'"', b"}", b"\x00"])
        else:
            del raw[at : at + rng.randint(1, 16)]
    return bytes(raw)


@pytest.mark.timeout(3600)
def test_fuzzed_checkpoint_crashes_or_hangs(place: Place) -> None:
    """改坏的文件：只有 CheckpointError 一种错，都在时限之内；命令行上没有 traceback。"""
    assert place.train("numpy", "a").code == 0
    run, rng = place.runs / "a", random.Random(5)
    folder = run / "checkpoints" / "step_000012"
    contents = {path: path.read_bytes() for path in [*(folder / name for name in FILES), run / "latest"]}
    slowest_s, refused = 0.0, 0
    for i in range(FUZZED):
        path = rng.choice(list(contents))
        while (bad := mutated(contents[path], rng)) == contents[path]:
            pass
        path.write_bytes(bad)
        started_at = time.thread_time()
        try:
            load_checkpoint(run)
        except CheckpointError as error:
            refused += len(str(error).splitlines()) <= 3
        slowest_s = max(slowest_s, time.thread_time() - started_at)
        if i % 100 == 0:
            ended = place.generate("numpy", "a", tokens=1)
            assert ended.code in (0, 4), ended
            assert "Traceback" not in ended.err
        path.write_bytes(contents[path])
    assert refused > 0.9 * FUZZED  # latest 末尾多一个换行之类，仍然读得出同样的内容
    assert slowest_s <= AT_MOST_S


@pytest.mark.timeout(3600)
def test_flipped_bit_goes_unnoticed(place: Place) -> None:
    """翻一个比特：次次发现，次次点名那个文件。"""
    assert place.train("torch", "a").code == 0
    folder, rng = place.runs / "a" / "checkpoints" / "step_000012", random.Random(6)
    contents = {name: (folder / name).read_bytes() for name in FILES}
    for _ in range(FLIPS):
        name = rng.choice(FILES)
        raw = bytearray(contents[name])
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        (folder / name).write_bytes(raw)
        with pytest.raises(CheckpointError) as caught:
            load_checkpoint(place.runs / "a")
        assert name in caught.value.where
        (folder / name).write_bytes(contents[name])
    load_checkpoint(place.runs / "a")


# ---- 坏数 ----


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("engine", ENGINES)
def test_injected_number_reaches_the_weights(place: Place, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """随机的一百步里损失成了 NaN、正负无穷：个个跳过、计数、存下批次（至多二十批），别的步照常更新，权重处处有限。"""
    rng, steps = random.Random(7), 4 * BAD_STEPS
    bad: dict[int, float] = {}
    while len(bad) < BAD_STEPS:
        step = rng.randrange(steps)
        if sum(near in bad for near in range(step - 8, step + 9)) < 8:  # 不到连续十步
            bad[step] = rng.choice([math.nan, math.inf, -math.inf])
    plain = CLASSES[engine].train_step
    monkeypatch.setattr(
        CLASSES[engine],
        "train_step",
        lambda self, step, *rest: spoilt(plain, bad, bad.get(step, 1.0))(self, step, *rest),
    )
    assert place.train(engine, "a", steps=steps, eval_every=0, sample_every=0, save_every=50).code == 0
    state = load_checkpoint(place.runs / "a").state
    assert (state["guard"]["non_finite"], state["optimizer_step"]) == (BAD_STEPS, steps - BAD_STEPS)
    assert [i for i, loss in enumerate(place.curve("a")) if not math.isfinite(loss)] == sorted(bad)
    assert len(list((place.runs / "a" / "bad_batches").glob("*.safetensors"))) == 20
    report = json.loads((Path(place.runs) / "a" / "report.json").read_text(encoding="utf-8"))
    assert report["guard"]["non_finite"] == BAD_STEPS
