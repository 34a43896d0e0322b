"""``adapter``：支路并入底座、写成 ``peft`` 的文件夹、由它读进来。

流入：命令行；流出：新的运行，或一个文件夹。三样都只用 NumPy，两个引擎的这个动词相同。
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tinygrad_llm.common.cli import Verb
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.run_names import run_folder

if TYPE_CHECKING:
    from tinygrad_llm.common.checkpoint import Checkpoint
    from tinygrad_llm.common.tokenizers import Tokenizer

__all__ = ["VERBS", "ExportAdapter", "ImportAdapter", "MergeAdapter", "export", "import_adapter", "merge"]

VERBS = {
    "merge": Verb(f"{__name__}:merge", "fold an adapter into its base: an ordinary run"),
    "export": Verb(f"{__name__}:export", "write a folder that peft opens"),
    "import": Verb(f"{__name__}:import_adapter", "a run from a folder that peft wrote"),
}


@dataclass(frozen=True)
class MergeAdapter:
    """支路并入底座，写成普通的运行；此后不再需要底座。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs",)

    source: str
    """LoRA 的运行（或只学了末几层的），名字或文件夹。"""
    run: str = ""
    """新的运行名；缺省为 ``原名-merged``。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""


@dataclass(frozen=True)
class ExportAdapter:
    """把支路写成 ``peft`` 打得开的文件夹。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs",)

    source: str
    """LoRA 的运行，名字或文件夹。"""
    out: Path
    """写到这个文件夹；它须不存在或是空的。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""


@dataclass(frozen=True)
class ImportAdapter:
    """由 ``peft`` 的文件夹得到一个运行，底座是 ``--from``。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs",)
    cli_names: ClassVar[dict[str, str]] = {"from_run": "from"}

    source: Path
    """有 ``adapter_model.safetensors`` 与 ``adapter_config.json`` 的文件夹。"""
    from_run: str = ""
    """底座：运行名，或它的文件夹。"""
    run: str = "adapter"
    """新的运行名。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""


def merge(config: MergeAdapter) -> None:
    """并入，写成普通的运行。"""
    from dataclasses import replace

    from tinygrad_llm.common.partial import is_partial
    from tinygrad_llm.common.session import load_trained

    folder = run_folder(config.runs_dir, config.source)
    if not is_partial(_raw(folder).state):
        raise UserError("this run holds whole weights already", where=str(folder), fix="name a run trained with LoRA")
    _, tokenizer, whole = load_trained(folder)
    kept = {name: value for name, value in whole.state["method"].items() if name not in ("trained", "adapter")}
    target = Path(config.runs_dir) / (config.run or f"{folder.name}-merged")
    _write(target, replace(whole, optim={}, state={**whole.state, "method": kept}), tokenizer)
    print(f"{target}: merged, needs its base no more")


def export(config: ExportAdapter) -> None:
    """写成 ``peft`` 的文件夹。"""
    from tinygrad_llm.common.adapter import LoRAConfig
    from tinygrad_llm.common.config import GPTConfig
    from tinygrad_llm.common.tuning.adapters import write_peft

    folder = run_folder(config.runs_dir, config.source)
    checkpoint = _raw(folder)
    adapter = (checkpoint.state.get("method") or {}).get("adapter")
    if not isinstance(adapter, dict):
        raise UserError("this run holds no LoRA adapter", where=str(folder), fix="train one: sft --lora-rank 8")
    if config.out.exists() and any(config.out.iterdir()):
        raise UserError("this folder is not empty", where=str(config.out), fix="give another one")
    lora = LoRAConfig(**{**adapter, "targets": tuple(adapter["targets"])})
    branches = {name: array for name, array in checkpoint.model.items() if ".lora_" in name}
    write_peft(config.out, GPTConfig.from_dict(checkpoint.state["model"]), branches, lora)
    print(f"{config.out}: rank {lora.rank}, {sum(array.size for array in branches.values()):,} parameters")


def import_adapter(config: ImportAdapter) -> None:
    """读进来，写成一个运行。"""
    from tinygrad_llm.common.checkpoint import Checkpoint
    from tinygrad_llm.common.lineage import load_ancestor
    from tinygrad_llm.common.train_config import TrainConfig
    from tinygrad_llm.common.tuning.adapters import read_peft

    if not config.from_run:
        raise UserError("--from is missing", where="adapter import", fix="name the run that the adapter belongs to")
    base = load_ancestor(TrainConfig(run=config.run, runs_dir=config.runs_dir, from_run=config.from_run))
    branches, lora = read_peft(config.source, base.model)
    state: dict[str, Any] = {
        "engine": "peft",
        "model": base.model.to_dict(),
        "settings": {},
        "source": base.record(),
        "method": {
            "name": "sft",
            "adapter": {**asdict(lora), "targets": list(lora.targets)},
            "trained": {name: list(array.shape) for name, array in branches.items()},
        },
        "tokenizer": base.tokenizer.digest,
    }
    target = Path(config.runs_dir) / config.run
    _write(target, Checkpoint(0, branches, {}, state), base.tokenizer)
    print(f"{target}: rank {lora.rank} on {', '.join(lora.targets)}, base {base.folder}")


def _raw(folder: Path) -> Checkpoint:
    """检查点里原样的内容，不补全。"""
    from tinygrad_llm.common.checkpoint import load_checkpoint

    return load_checkpoint(folder, weights_only=True)


def _write(target: Path, checkpoint: Checkpoint, tokenizer: Tokenizer) -> None:
    from tinygrad_llm.common.checkpoint import save_checkpoint
    from tinygrad_llm.common.runlog import TRACES_OF_A_RUN
    from tinygrad_llm.common.session import TOKENIZER

    if any((target / name).exists() for name in TRACES_OF_A_RUN):
        raise UserError("this folder already holds a run", where=str(target), fix="give another name with --run")
    save_checkpoint(target, checkpoint)
    tokenizer.save(target / TOKENIZER)
