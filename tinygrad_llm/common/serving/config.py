"""``serve`` 的设置。

流入：命令行与 TOML；流出：查过的 ``ServeConfig``。下一个文件：``command.py``。
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.run_names import run_folder

__all__ = ["ServeConfig"]


@dataclass(frozen=True)
class ServeConfig:
    """把模型放到 HTTP 后面，接口与 OpenAI 的相同；浏览器打开首页就能聊天。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("UseAppendAction",)

    model: tuple[str, ...] = ()
    """名字=运行名（或文件夹），可以给几次；只写运行名时，名字就是它。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""
    engine: Literal["torch", "numpy"] | None = None
    """用哪个引擎算；缺省是所用的命令的那一个。"""
    host: str = "127.0.0.1"
    """听哪个地址；本机之外的地址必须有钥匙。"""
    port: int = 8000
    """听哪个端口；0 任选一个，印在启动的那一行里。"""
    api_key: tuple[str, ...] = ()
    """钥匙，可以给几次；环境变量 ZERO_ONE_LLM_API_KEY 里的（逗号隔开）也算，而且别人看不见。"""
    allow_host: tuple[str, ...] = ()
    """除本机的名字之外，还认得的主机名；``*`` 都认，须有钥匙。"""
    slots: int = 8
    """每个模型同时写几份回答。"""
    context: int | None = None
    """每份回答连开头至多几个 token；缺省是模型的上下文。"""
    queue: int = 64
    """至多几份回答排队；再多就答 429。"""
    max_tokens: int = 4096
    """一份回答至多写几个 token；请求要得再多也只写这么多。"""
    deadline_s: float = 300.0
    """一个请求至多几秒，排队也算。"""
    drain_s: float = 30.0
    """收到 SIGTERM 之后，给在写的回答这么多秒。"""
    max_body_kib: int = 1024
    """请求体至多这么大。"""
    requests_per_min: int | None = None
    """每把钥匙每分钟至多几个请求。"""
    tokens_per_min: int | None = None
    """每把钥匙每分钟至多几个 token，读的与写的都算。"""
    input_filter: tuple[str, ...] = ()
    """用户的话要过的过滤：words:FILE、regex:PATTERN、python:MODULE:NAME、personal、secrets:FILE、canaries:FILE；几次都行。"""
    output_filter: tuple[str, ...] = ()
    """回答要过的过滤，写法同上。"""
    kv_cache: Literal["plain", "int8"] = "plain"
    """KV 缓存的精度；int8 占四分之一的内存，有误差。"""
    packed: bool = True
    """torch 在 CPU 上另存一份排好次序的权重：几份回答一起写时快得多，多占一份内存。"""
    chunk: int = 128
    """一步里读开头的合起来至多几个 token；越小，别人的回答停顿越短。"""
    threads: int | None = None
    """引擎用几个线程；缺省用全部的核。"""
    log: Literal["text", "json", "none"] = "text"
    """标准错误上每个请求一行；没有人说的话。"""
    log_prompts: bool = False
    """日志里也写请求的内容。"""

    def __post_init__(self) -> None:
        if problems := self.problems():
            raise UserError("; ".join(problems), where="serving settings", fix="correct the flags named above")

    def problems(self) -> list[str]:
        """不对的设置，各一句。"""
        least = {
            "slots": 1, "queue": 0, "max_tokens": 1, "max_body_kib": 1, "chunk": 1, "context": 2, "threads": 1,
            "requests_per_min": 1, "tokens_per_min": 1,
        }  # fmt: skip
        found = ["--model is needed: NAME=RUN, or RUN"] * (not self.model)
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and value < low:
                found.append(f"--{name.replace('_', '-')} must be at least {low}, got {value}")
        if not 0 <= self.port < 65536:
            found.append(f"--port must be from 0 to 65535, got {self.port}")
        if not 0 < self.deadline_s <= 86_400:
            found.append(f"--deadline-s must be above 0 and at most 86400, got {self.deadline_s}")
        if not 0 <= self.drain_s <= 86_400:
            found.append(f"--drain-s must be from 0 to 86400, got {self.drain_s}")
        return found + _name_problems([name for name, _ in self._named_runs()])

    @property
    def models(self) -> dict[str, Path]:
        """名字到运行文件夹；同名的几个由 ``problems`` 报出。"""
        return {name: run_folder(self.runs_dir, run) for name, run in self._named_runs()}

    def _named_runs(self) -> list[tuple[str, str]]:
        parts = [(spec, *spec.partition("=")) for spec in self.model]
        return [(name, run) if equals else (Path(spec).name, spec) for spec, name, equals, run in parts]


def _name_problems(names: Sequence[str]) -> list[str]:
    found = [f"two models are called {name!r}" for name, count in Counter(names).items() if count > 1]
    found += [
        f"the model name {name!r} must be 1 to 100 printable characters without spaces or slashes"
        for name in names
        if not (0 < len(name) <= 100 and name.isprintable() and not set(name) & set(" /\\?#%"))
    ]
    return found
