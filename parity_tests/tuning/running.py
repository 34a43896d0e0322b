"""跑一次微调的命令。"""

from __future__ import annotations

from typing import Any

from parity_tests.whole_runs.commands import Ended, Place, as_flags

FLAGS: dict[str, Any] = {
    "from": "base", "data": "chats.jsonl", "steps": 6, "batch_size": 4, "warmup_steps": 1, "eval_every": 3,
    "dtype": "float64", "quiz": 3, "answer_tokens": 4, "shown": 1, "workers": 1,
}  # fmt: skip
"""六步，留作评估的五条对话里问三条。"""


def tune(place: Place, engine: str, run: str, verb: str = "sft", /, **changes: Any) -> Ended:
    """跑一次微调；``changes`` 覆盖 ``FLAGS``，``from_`` 写作 ``--from``。"""
    settings = {"run": run, "runs_dir": place.runs, **FLAGS, **changes}
    return place.call(engine, verb, *as_flags({name.rstrip("_"): value for name, value in settings.items()}))


def resume(place: Place, engine: str, run: str, verb: str = "sft", /, **changes: Any) -> Ended:
    """续训。"""
    return place.call(engine, verb, *as_flags({"run": run, "runs_dir": place.runs, "resume": True, **changes}))
