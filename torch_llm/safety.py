"""``python -m torch_llm redteam`` 与 ``canary``：在 torch 上检查一个运行。

流入：设置；流出：``tinygrad_llm/common/safety/`` 写下的表、JSON 与网页。引擎用到才加载。
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinygrad_llm.common.cli import Verb
from tinygrad_llm.common.safety.settings import (
    DataConfig,
    DemonstrationConfig,
    LeaksConfig,
    MeasureConfig,
    PlantConfig,
    RedteamConfig,
    SearchConfig,
)

if TYPE_CHECKING:
    from tinygrad_llm.common.config import GPTConfig
    from tinygrad_llm.common.safety.demonstration import Bench
    from tinygrad_llm.common.safety.subject import Subject

__all__ = ["CANARY", "REDTEAM", "open_bench", "open_subject"]

REDTEAM = {
    "": Verb("torch_llm.safety:attack_run", "attack a run with every mutation of its questions"),
    "search": Verb("torch_llm.safety:search", "gradient-guided token search beside random search"),
    "leaks": Verb("torch_llm.safety:leaks", "personal data in what a run writes"),
    "demo": Verb("torch_llm.safety:demonstrate", "a toy gatekeeper: break it, train on the attacks, break it again"),
    "data": Verb("torch_llm.safety:write_refusals", "write refusal data: SFT and preference pairs"),
}
CANARY = {
    "plant": Verb("torch_llm.safety:plant", "plant random numbers in a training text"),
    "measure": Verb("torch_llm.safety:measure_canaries", "how well a run has memorised them"),
}


def attack_run(config: RedteamConfig) -> None:
    """红队一个运行。"""
    from tinygrad_llm.common.safety import command

    command.attack_run(config, open_subject)


def search(config: SearchConfig) -> None:
    """按梯度找，与随机地找比。"""
    from tinygrad_llm.common.safety import command

    command.search_run(config, open_subject)


def leaks(config: LeaksConfig) -> None:
    """扫描一个运行写出的文字。"""
    from tinygrad_llm.common.safety import command

    command.leaks(config, open_subject)


def demonstrate(config: DemonstrationConfig) -> None:
    """造一个守门人，攻破它，从找到的攻击里学，再攻一次。"""
    from tinygrad_llm.common.safety import command

    command.demonstration(config, open_bench)


def write_refusals(config: DataConfig) -> None:
    """写出拒绝的数据。"""
    from tinygrad_llm.common.safety import command

    command.write_refusals(config)


def plant(config: PlantConfig) -> None:
    """埋金丝雀。"""
    from tinygrad_llm.common.safety import canary_command

    canary_command.plant(config)


def measure_canaries(config: MeasureConfig) -> None:
    """量一个运行把金丝雀背得有多牢。"""
    from tinygrad_llm.common.safety import canary_command

    canary_command.measure_canaries(config, open_subject)


def open_subject(folder: Path) -> Subject:
    """打开一个运行文件夹，在 torch 上。"""
    from tinygrad_llm.common.safety.subject import Subject
    from torch_llm.attack import Attackable
    from torch_llm.decoding.slots import TorchSlots
    from torch_llm.loading import load_model

    loaded = load_model(folder)
    return Subject(
        folder.name,
        loaded.tokenizer,
        lambda slots: TorchSlots(loaded.model, slots),
        lambda: Attackable(loaded.model),
        str(loaded.state.get("chat_template", "")),
    )


def open_bench(config: GPTConfig, seed: int) -> Bench:
    """造一个玩具模型；它太小，在 CPU 上最快。"""
    from tinygrad_llm.common.loop import start_from
    from tinygrad_llm.common.safety.demonstration import Bench
    from tinygrad_llm.common.torch_config import TorchConfig
    from torch_llm.attack import Attackable
    from torch_llm.decoding.slots import TorchSlots
    from torch_llm.loop import TorchEngine

    engine = TorchEngine(config, TorchConfig(device="cpu", weight_decay=0.01, seed=seed))
    model = engine.model
    return Bench(
        engine,
        lambda slots: TorchSlots(model, slots),
        lambda: Attackable(model),
        lambda: engine.export()[0],
        lambda: start_from(engine, engine.export()[0], "adamw"),
        lambda: None,
    )
