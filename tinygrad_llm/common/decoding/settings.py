"""生成与对话的 flag：两个动词共用的一半，和 ``generate`` 自己的一半。

流入：命令行与 TOML；流出：一次校验完毕的冻结 dataclass，以及由它而来的 ``Sampling`` 与约束。下一站：``single.py``。
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tinygrad_llm.common.checkpoint import step_folder
from tinygrad_llm.common.decoding.request import MAX_LOGPROBS, Constraint, Sampling, penalises, sampling_problems
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.run_names import run_folder

if TYPE_CHECKING:
    from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["NGRAM", "GenerateConfig", "TextConfig"]

NGRAM = "ngram"
"""``--draft`` 的这个值不是运行，而是在已有的文字里找。"""


@dataclass(frozen=True)
class TextConfig:
    """用哪个模型，怎样挑 token，何时停。"""

    run: str = "toy"
    """运行名，或运行文件夹、检查点文件夹的路径。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""
    checkpoint: str = "latest"
    """用哪个检查点：``latest``、``best``（验证损失最低的），或步数。"""
    prompt: str = ""
    """开头；留空则从文本起始符开始。"""
    tokens: int = 200
    """至多生成几个 token。"""
    temperature: float = 0.8
    """温度；0 表示总取概率最大的。"""
    top_k: int | None = None
    """只在概率最大的 k 个里抽。"""
    top_p: float | None = None
    """只在累计概率达到 p 的最小集合里抽。"""
    min_p: float | None = None
    """只在概率不小于「最大的概率 × p」的里抽。"""
    repetition_penalty: float = 1.0
    """出现过的 token（含开头）正的分数除以它、负的乘以它；1 不罚。"""
    presence_penalty: float = 0.0
    """写出过的 token 的分数一律减去它。"""
    frequency_penalty: float = 0.0
    """token 每写出过一次，分数减去它。"""
    seed: int = 0
    """抽样的种子；同一种子在两个引擎上得到同样的 token。"""
    stop: tuple[str, ...] = ()
    """停止串：写出其中一个就停，它本身不显示。"""
    regex: str = ""
    """只写整段匹配这个正则的文字。"""
    schema: Path | None = None
    """只写合这份 JSON schema 的 JSON。"""
    grammar: Path | None = None
    """只写合这份语法（GBNF 式的 EBNF）的文字。"""
    kv_cache: Literal["plain", "int8"] = "plain"
    """KV 缓存：``plain`` 与激活同类型；``int8`` 占四分之一的内存，有误差，短的上下文里也慢一些。"""
    draft: str = ""
    """谁来抢先猜：一个分词器相同的小运行，或 ``ngram``（在已有的文字里找）；写出的与不猜时相同，只是快。"""
    guesses: int = 4
    """一次至多猜几个 token。"""

    def __post_init__(self) -> None:
        if problems := self.problems():
            raise UserError("; ".join(problems), where="generation settings", fix="correct the flags named above")

    def problems(self) -> list[str]:
        """不对的设置，各一句。"""
        found = sampling_problems(self, "--")
        if self.tokens < 1:
            found.append(f"--tokens must be at least 1, got {self.tokens}")
        if not all(self.stop):
            found.append("--stop takes strings that are not empty")
        if sum(map(bool, (self.regex, self.schema, self.grammar))) > 1:
            found.append("--regex, --schema and --grammar exclude each other")
        if self.kv_cache not in ("plain", "int8"):
            found.append(f"--kv-cache must be plain or int8, got {self.kv_cache!r}")
        if self.guesses < 1:
            found.append(f"--guesses must be at least 1, got {self.guesses}")
        return found

    @property
    def folder(self) -> Path:
        """运行名对应的文件夹，或其中点名的检查点；本身就是现成的路径时原样返回。"""
        folder = run_folder(self.runs_dir, self.run)
        return folder if self.checkpoint == "latest" else step_folder(folder, self.checkpoint)

    @property
    def draft_folder(self) -> Path:
        """``--draft`` 的运行文件夹。"""
        return run_folder(self.runs_dir, self.draft)

    @property
    def sampling(self) -> Sampling:
        """怎样挑。"""
        return Sampling(
            self.temperature, self.top_k, self.top_p, self.min_p, self.repetition_penalty, self.presence_penalty,
            self.frequency_penalty, self.seed,
        )  # fmt: skip

    def constraint(self, tokenizer: TextTokenizer) -> Constraint | None:
        """语法约束；没有要就是 ``None``。

        Raises:
            DataError: 文件读不了，或不是 JSON。
            UserError: 写法不对。
        """
        if not (self.regex or self.schema or self.grammar):
            return None
        from tinygrad_llm.common.decoding.grammar import constraint

        if self.regex:
            return constraint.regex_constraint(self.regex, tokenizer)
        if self.schema:
            try:
                schema = json.loads(_read(self.schema))
            except (ValueError, RecursionError) as error:
                raise DataError("the schema is not JSON", where=str(self.schema), fix="correct the file") from error
            return constraint.schema_constraint(schema, tokenizer)
        assert self.grammar is not None
        return constraint.grammar_constraint(_read(self.grammar), tokenizer)


@dataclass(frozen=True)
class GenerateConfig(TextConfig):
    """生成文字的设置。"""

    beams: int = 1
    """大于 1 时不抽样，用这么宽的 beam search 找概率最大的文字。"""
    best: int = 1
    """beam search 的结果印出最好的几个。"""
    length_penalty: float = 1.0
    """beam search 以「对数概率之和 ÷ 长度的这么多次方」排名；越大越偏爱长的。"""
    logprobs: Literal["none", "colour", "json"] = "none"
    """逐个 token 的对数概率：不报；按把握大小着色；或每个 token 一行 JSON。"""
    top_logprobs: int = 5
    """JSON 里每一步列出几个概率最大的候选。"""
    slide: bool = False
    """上下文用满时，只留下后一半接着写；不给就停下。"""

    def problems(self) -> list[str]:
        """不对的设置，各一句。"""
        found = super().problems()
        if self.beams < 1 or not 1 <= self.best <= self.beams:
            found.append(f"--best must be from 1 to --beams, got {self.best} of {self.beams}")
        if not 0 <= self.top_logprobs <= MAX_LOGPROBS:
            found.append(f"--top-logprobs must be from 0 to {MAX_LOGPROBS}, got {self.top_logprobs}")
        limited = self.stop or self.regex or self.schema or self.grammar or penalises(self)
        if self.slide and (limited or self.beams > 1 or self.logprobs != "none" or self.draft):
            found.append("--slide goes without --stop, constraints, penalties, --beams, --logprobs and --draft")
        if self.beams > 1 and (self.logprobs != "none" or penalises(self)):
            found.append("--beams goes without --logprobs and penalties")
        if self.beams > 1 and self.draft:
            found.append("--beams goes without --draft")
        return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the file: {error}", where=str(path), fix="check the path") from error
