"""服务的全部状态：模型的登记册、限额、过滤、指标。

流入：启动时的设置与打开了的模型；流出：各条路由要用的东西。下一个文件：``answers.py``。
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tinygrad_llm.common.serving.engine import Engine
from tinygrad_llm.common.serving.errors import ApiError, not_found
from tinygrad_llm.common.serving.filters import Filter, first_reason
from tinygrad_llm.common.serving.limits import Keys, Limits
from tinygrad_llm.common.serving.metrics import Counter, Histogram, gauge_text
from tinygrad_llm.common.serving.served import Served

__all__ = ["Api", "Instruments"]


def package_version() -> str:
    """本包的版本；没有安装、直接在源码里运行时为 ``unknown``。"""
    try:
        return importlib.metadata.version("zero-one-llm")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


class Instruments:
    """各项指标。"""

    def __init__(self) -> None:
        self.requests = Counter("llm_requests_total", "finished requests", ("route", "status"))
        self.tokens = Counter("llm_tokens_total", "tokens read and written", ("model", "kind"))
        self.answers = Counter("llm_answers_total", "answers by why they ended", ("model", "finish"))
        self.first = Histogram("llm_first_token_seconds", "from the request to its first token", ("model",))
        self.between = Histogram("llm_between_tokens_seconds", "between two tokens of an answer", ("model",))
        self.took = Histogram("llm_request_seconds", "from the request to the end of the answer", ("route",))

    def text(self) -> list[str]:
        """Prometheus 的几行。"""
        every = (self.requests, self.tokens, self.answers, self.first, self.between, self.took)
        return [line for one in every for line in one.text()]


@dataclass
class Api:
    """服务的状态；只在事件循环里改。

    Attributes:
        models: 名字到模型；启动时定下，请求里的名字只在这里查。
        keys: 认得的钥匙。
        limits: 各把钥匙的限额。
        input_filters: 用户的话要过的。
        output_filters: 回答要过的。
        budget: 一份回答至多几个 token。
        deadline_s: 一个请求至多几秒。
        instruments: 指标。
        active: 正在写回答的请求。
        is_draining: 正在收场：在写的写完，新来的不收。
    """

    models: Mapping[str, Served]
    keys: Keys
    limits: Limits
    input_filters: Sequence[Filter] = ()
    output_filters: Sequence[Filter] = ()
    budget: int = 4096
    deadline_s: float = 300.0
    instruments: Instruments = field(default_factory=Instruments)
    started_at: float = field(default_factory=time.monotonic)
    active: int = 0
    is_draining: bool = False
    version: str = field(default_factory=package_version)

    def model(self, name: str) -> Served:
        """按名字取模型。

        Raises:
            ApiError: 没有这个名字。
        """
        if name not in self.models:
            raise not_found("model", name)
        return self.models[name]

    def check_input(self, text: str) -> None:
        """用户的话过一遍输入的过滤。

        Raises:
            ApiError: 有一道不许。
        """
        if reason := first_reason(self.input_filters, text):
            raise ApiError(400, f"the request was refused: {reason}", code="content_filter")

    def metrics(self) -> str:
        """``/metrics`` 的内容。"""
        engines = {name: one.engine for name, one in self.models.items()}
        lines = self.instruments.text()
        now: dict[str, tuple[str, Callable[[Engine], float]]] = {
            "llm_waiting": ("answers that wait for a slot", lambda one: one.scheduler.waiting),
            "llm_running": ("answers being written: KV slots in use", lambda one: one.scheduler.running),
            "llm_slots": ("KV slots", lambda one: one.scheduler.slots),
            "llm_prefix_tokens_reused": ("prompt tokens taken from the cache", lambda one: one.scheduler.counts.reused),
            "llm_engine_tokens_written": ("tokens the engine wrote", lambda one: one.scheduler.counts.written),
            "llm_engine_failures": ("failures of the engine", lambda one: one.failures),
        }
        for name, (about, value) in now.items():
            lines += gauge_text(name, about, [({"model": model}, value(one)) for model, one in engines.items()])
        lines += gauge_text("llm_uptime_seconds", "since the start", [({}, time.monotonic() - self.started_at)])
        return "\n".join(lines) + "\n"
