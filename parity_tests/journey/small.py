"""每一站都小得很的全程：``python -m parity_tests.journey.small ENGINE RUN FOLDER``，几分钟走完，不问成绩。

流入：引擎、名字与文件夹；流出：一次完整的全程。
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from tinygrad_llm.common.journey import command, settings
from tinygrad_llm.common.journey.settings import JourneyConfig


def small(engine: Any) -> settings.Scale:
    """这个引擎的各站，缩到几步、几条。"""
    scale = settings.SCALES[engine]
    flags = {"preset": "toy", "n-embd": 32, "n-head": 2, "n-layer": 2, "context": 256}
    return dataclasses.replace(
        scale,
        corpus_mb=0.3,
        shape=tuple(word for name, value in flags.items() for word in (f"--{name}", str(value))),
        quiz=8,
        attack={"count": 12, "prompts": 1, "budget": 30, "steps": 400, "harden-steps": 10},
        steps=dict.fromkeys(scale.steps, 8),
        batches={**dict.fromkeys(scale.batches, 4), "grpo": 16},
        items=dict.fromkeys(scale.items, 120),
    )


def main(engine: Any, run: str, folder: str) -> None:
    """走一遍；这么小的模型答不对题，没有达到基线不算错。"""
    settings.SCALES[engine] = small(engine)
    try:
        command.main(JourneyConfig(engine=engine, run=run, runs_dir=folder, workers=1))
    except command.MissedError as missed:
        print(missed)


if __name__ == "__main__":
    main(*sys.argv[1:])
