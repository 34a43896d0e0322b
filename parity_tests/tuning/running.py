"""跑一次微调的命令。"""

from __future__ import annotations

from typing import Any

from parity_tests.whole_runs.commands import Ended, Place, as_flags, assert_bit_equal

FLAGS: dict[str, Any] = {
    "from": "base", "data": "chats.jsonl", "steps": 6, "batch_size": 4, "warmup_steps": 1, "eval_every": 3,
    "dtype": "float64", "quiz": 3, "answer_tokens": 4, "shown": 1, "workers": 1,
}  # fmt: skip
"""六步，留作评估的五条对话里问三条。"""


def tune(place: Place, engine: str, run: str, verb: str = "sft", /, **changes: Any) -> Ended:
    """跑一次微调；``changes`` 覆盖 ``FLAGS``，``from_`` 写作 ``--from``。"""
    settings = {"run": run, "runs_dir": place.runs, **FLAGS, **changes}
    return place.call(engine, verb, *as_flags({name.rstrip("_"): value for name, value in settings.items()}))


def assert_resumes_exactly(place: Place, engine: str, **flags: Any) -> Ended:
    """走四步停下再续完的 ``broken``，日志、权重与两个矩都与一气走完的 ``straight`` 逐位相同；返回后者。"""
    straight = tune(place, engine, "straight", **flags)
    assert straight.code == 0, straight.err
    assert tune(place, engine, "broken", **flags, stop_at=4).code == 0
    done = resume(place, engine, "broken")
    assert done.code == 0, done.err
    assert_bit_equal(place.tensors("broken"), place.tensors("straight"))
    assert place.columns("broken") == place.columns("straight")
    return straight


def resume(place: Place, engine: str, run: str, verb: str = "sft", /, **changes: Any) -> Ended:
    """续训。"""
    return place.call(engine, verb, *as_flags({"run": run, "runs_dir": place.runs, "resume": True, **changes}))
