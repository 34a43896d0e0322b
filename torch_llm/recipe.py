"""``python -m torch_llm recipe storyworld``：一条命令，从语料到读得懂的文字。

流入：配方（``recipes/NAME.toml``，或自己的 TOML 文件）；流出：``RUNS_DIR/RUN/`` 下的语料、分词器、分片与训练好的运行，
``recipe.json`` 里的用时与数字，``recipe.md`` 里的样本与曲线。停下之后再跑一次就接着走，做完的步骤不重做。
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from tinygrad_llm.common.errors import InterruptedRunError, UserError
from tinygrad_llm.common.torch_config import TorchConfig

__all__ = ["Recipe", "RecipeOptions", "main"]

FOLDER = Path(__file__).parent / "recipes"
CLEAN, TOKENIZER, SHARDS, MODEL, RESULT = "clean", "tokenizer.json", "shards", "model", "recipe"
BASELINE_ORDER = 5
SAMPLE_TEMPERATURE = 0.7


@dataclass(frozen=True)
class Recipe:
    """一份配方。"""

    corpus: str
    """语料，见 data list。"""
    vocab_size: int
    """词表大小；对话用的特殊 token 也在其中，以后可以接着做中段训练与微调。"""
    val_fraction: float
    """留作验证的文档的比例。"""
    prompts: tuple[str, ...]
    """样本的开头；空的从文档的开头写起。"""
    train: TorchConfig = field(default_factory=TorchConfig)
    """训练的设置。"""


@dataclass(frozen=True)
class RecipeOptions:
    """跑一份配方的选项。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs", "FlagCreatePairsOff")

    recipe: str
    """配方的名字（storyworld），或自己的 TOML 文件。"""
    run: str = ""
    """放结果的文件夹的名字；缺省与配方同名。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""
    steps: int = 0
    """训练几步；0 表示照配方。"""
    workers: int | None = None
    """用几个 CPU 核；缺省为可用的核数。"""


def main(options: RecipeOptions) -> None:
    """依次做完各步，最后印出用时、bits per byte、5-gram 的 bits per byte 与样本。

    Args:
        options: 选项。

    Raises:
        UserError: 没有这份配方，或文件夹里是另一份配方的结果。
        InterruptedRunError: 训练被打断；同样的命令再跑一次就接着走。
    """
    from tinygrad_llm.common.toml import dump_toml, load_toml
    from torch_llm.recipe_results import show

    path = FOLDER / f"{options.recipe}.toml" if "." not in options.recipe else Path(options.recipe)
    if not path.is_file():
        known = ", ".join(sorted(one.stem for one in FOLDER.glob("*.toml")))
        raise UserError(f"no such recipe: {options.recipe[:60]!r}", where="recipe", fix=f"use {known}, or a .toml file")
    recipe = load_toml(path, Recipe)
    if options.steps:
        recipe = replace(recipe, train=replace(recipe.train, steps=options.steps))
    folder = Path(options.runs_dir) / (options.run or path.stem)
    steps = _Steps(folder, dump_toml(recipe))
    steps.run(CLEAN, lambda: _clean(recipe, folder, options.workers))
    steps.run("tokenizer", lambda: _tokenizer(recipe, folder))
    steps.run(SHARDS, lambda: _shards(recipe, folder, options.workers))
    steps.run(MODEL, lambda: _train(recipe, folder, options.workers))
    steps.run("baseline", lambda: _baseline(folder))
    steps.run("samples", lambda: _samples(recipe, folder))
    show(folder, steps.record, recipe.prompts)


class _Steps:
    """各步的记录：做完一步就记下结果与用时，再跑时跳过。"""

    def __init__(self, folder: Path, recipe: str) -> None:
        import json

        self.path = folder / f"{RESULT}.json"
        self.record: dict[str, Any] = {"recipe": recipe, "steps": {}, "unfinished_s": {}}
        if self.path.is_file():
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if found.get("recipe") != recipe:
                raise UserError(
                    "this folder holds the results of another recipe, or of other settings",
                    where=str(folder),
                    fix="choose another --run NAME, or remove the folder",
                )
            self.record = found

    def run(self, name: str, work: Callable[[], Any]) -> None:
        """做一步；做过就跳过。"""
        from tinygrad_llm.common.study.cells import save_json

        if name in self.record["steps"]:
            print(f"{name}: done before")
            return
        print(f"{name} ...", flush=True)
        save_json(self.path, self.record)
        started_at, before_s = time.monotonic(), float(self.record["unfinished_s"].pop(name, 0.0))
        try:
            result = work() or {}
        except BaseException:
            self.record["unfinished_s"][name] = before_s + time.monotonic() - started_at
            save_json(self.path, self.record)
            raise
        self.record["steps"][name] = {"elapsed_s": before_s + time.monotonic() - started_at, **result}
        save_json(self.path, self.record)


def _clean(recipe: Recipe, folder: Path, workers: int | None) -> None:
    from tinygrad_llm.common.cleaning.command import CleanOptions, clean_corpus

    clean_corpus(CleanOptions(source=recipe.corpus, out=folder / CLEAN, workers=workers or 0))


def _tokenizer(recipe: Recipe, folder: Path) -> None:
    from tinygrad_llm.common.chat import CHAT_SPECIALS
    from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT
    from tinygrad_llm.common.tokenizers.command import TrainConfig, train

    source = (str(folder / CLEAN),)
    train(TrainConfig(source, folder / TOKENIZER, recipe.vocab_size, specials=(END_OF_TEXT, *CHAT_SPECIALS)))


def _shards(recipe: Recipe, folder: Path, workers: int | None) -> None:
    from tinygrad_llm.common.batches.shard import ShardConfig
    from tinygrad_llm.common.batches.shard import main as shard

    if not (folder / SHARDS).exists():  # 分片要么整个写好，要么没有
        source, fraction = str(folder / CLEAN), recipe.val_fraction
        shard(ShardConfig(source, folder / TOKENIZER, folder / SHARDS, val_fraction=fraction, workers=workers))


def _train(recipe: Recipe, folder: Path, workers: int | None) -> dict[str, Any]:
    """训练；停下过就接着走。"""
    import torch

    from tinygrad_llm.common.checkpoint import list_checkpoints
    from tinygrad_llm.common.config import parameter_count
    from tinygrad_llm.common.runlog import CONFIG, read_metrics
    from tinygrad_llm.common.session import load_trained
    from torch_llm import pretrain
    from torch_llm.runtime import has_bfloat16

    settings = replace(
        recipe.train, run=MODEL, runs_dir=str(folder), data=str(folder / SHARDS), workers=workers,
    )  # fmt: skip
    if settings.precision == "auto" and has_bfloat16(torch.device("cpu")):
        settings = replace(settings, precision="bfloat16")
    if settings.steps not in list_checkpoints(settings.folder):
        try:
            pretrain.main(replace(settings, resume=(settings.folder / CONFIG).is_file()))
        except InterruptedRunError as error:
            error.fix = "run the same recipe again: it goes on from here"
            raise
    measured = [record for record in read_metrics(settings.folder) if "val_bits_per_byte" in record]
    config, *_ = load_trained(settings.folder)
    return {
        "bits_per_byte": measured[-1]["val_bits_per_byte"],
        "parameters": parameter_count(config),
        "tokens": settings.steps * settings.batch_size * config.context,
        "precision": settings.precision,
    }


def _baseline(folder: Path) -> dict[str, Any]:
    """同样的文本上，5-gram 的 bits per byte。"""
    from tinygrad_llm.common.batches import open_store
    from tinygrad_llm.common.ngram import fit_byte_ngram

    store = open_store(folder / SHARDS)
    train, validation = (store.raw_text(name) for name in ("train", "val"))
    return {"bits_per_byte": fit_byte_ngram(train, BASELINE_ORDER).bits_per_byte(validation)}


def _samples(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """每个开头写一篇，写到文档的结尾为止。"""
    from tinygrad_llm.common.decoding.request import Sampling
    from tinygrad_llm.common.session import load_trained
    from torch_llm.engine import TorchDecoder
    from torch_llm.loop import build_model
    from torch_llm.recipe_results import story

    config, tokenizer, checkpoint = load_trained(folder / MODEL)
    decoder = TorchDecoder(build_model(config, checkpoint.model))
    return {
        "texts": [
            story(decoder, tokenizer, prompt, Sampling(temperature=SAMPLE_TEMPERATURE, seed=seed))
            for seed, prompt in enumerate(recipe.prompts)
        ]
    }
