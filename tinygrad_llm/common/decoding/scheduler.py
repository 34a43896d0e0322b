"""连续批处理：许多请求轮流共用几个槽，每一步让在场的各走一个 token，谁写完谁让位。

流入：各线程交来的 ``Request``；流出：每一步里各请求新写出的 ``Step``。这里不认识引擎，只认识 ``BatchDecoder``。

一个线程独用 ``step``；``submit`` 与 ``cancel`` 可以在任何线程里调用。一步做四件事：停下取消的；空槽给排在最前的请求，
与别的槽有公共前缀就从那里接着算；写着的各喂一个 token，还在读开头的合起来至多喂一块，很长的开头因此不会让别人久等；
从 logits 选出各自的下一个 token。选什么只取决于请求自己：批里还有谁，不影响结果。
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.decoding.generation import Generation, Step
from tinygrad_llm.common.decoding.prefixes import Prefixes, common_prefix
from tinygrad_llm.common.decoding.request import MAX_SEED, Request
from tinygrad_llm.common.decoding.slots import BatchDecoder
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["Counts", "Event", "QueueFullError", "Scheduler"]

_WORTH_WAITING = 16
"""等别人读完开头能省下这么多个 token，才值得等。"""


class QueueFullError(UserError):
    """排队的请求太多。"""


@dataclass(frozen=True)
class Event:
    """一个请求的一步。

    Attributes:
        id: ``submit`` 给的号。
        step: 这一步；出错时为 ``None``。
        error: 这个请求走不下去的原因；别的请求不受影响。
    """

    id: int
    step: Step | None
    error: UserError | None = None

    @property
    def is_last(self) -> bool:
        """这个请求到此为止。"""
        return self.step is None or self.step.finish != ""


@dataclass
class Counts:
    """做过多少事。

    Attributes:
        steps: 走过几步。
        prefilled: 读开头时喂过几个 token。
        reused: 从别处的缓存接过几个 token，不必再喂。
        written: 写出几个 token。
    """

    steps: int = 0
    prefilled: int = 0
    reused: int = 0
    written: int = 0


@dataclass
class _Sequence:
    """一个请求；占着槽时，``rest`` 是还没有喂进去的 token。"""

    id: int
    generation: Generation
    prompt: NDArray[np.int64]
    rest: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def is_reading(self) -> bool:
        return not self.generation.tokens


class Scheduler:
    """连续批处理。

    Args:
        decoder: 成批的解码器，此后归它独用。
        tokenizer: 分词器。
        chunk: 一步里读开头的合起来至多喂几个 token。
        max_waiting: 至多几个请求排队；``None`` 不限。

    Attributes:
        counts: 做过多少事。
    """

    def __init__(
        self, decoder: BatchDecoder, tokenizer: TextTokenizer, chunk: int = 256, max_waiting: int | None = None
    ) -> None:
        if chunk < 1:
            raise UserError(f"chunk must be at least 1, got {chunk}", fix="try 256")
        self.counts = Counts()
        self._decoder, self._tokenizer, self._chunk, self._max_waiting = decoder, tokenizer, chunk, max_waiting
        self._prefixes = Prefixes(decoder.slots, decoder.context)
        self._running: dict[int, _Sequence] = {}  # 槽 → 请求
        self._released = dict.fromkeys(range(decoder.slots), 0)  # 空槽 → 第几步让出来的
        self._ids = itertools.count()
        self._changed = threading.Condition()  # 守着下面三样
        self._waiting: deque[_Sequence] = deque()
        self._cancelled: set[int] = set()
        self._live: set[int] = set()

    # ---- 任何线程 ----

    def submit(self, request: Request) -> int:
        """排队。

        Returns:
            这个请求的号。

        Raises:
            UserError: 开头装不进上下文，或约束走不了。
            QueueFullError: 排队的太多。
        """
        return self.submit_copies(request, 1)[0]

    def submit_copies(self, request: Request, count: int) -> list[int]:
        """同一个开头写 ``count`` 份，种子依次加一；开头只读一遍。错误与 ``submit`` 相同。"""
        seeds = [(request.sampling.seed + i) % (MAX_SEED + 1) for i in range(count)]
        requests = [replace(request, sampling=replace(request.sampling, seed=seed)) for seed in seeds]
        made = [Generation(one, self._tokenizer, self._decoder.context) for one in requests]
        prompt = np.array(request.prompt, np.int64)
        with self._changed:
            if self._max_waiting is not None and len(self._waiting) + count > self._max_waiting:
                raise QueueFullError(f"{len(self._waiting)} requests are waiting already", fix="try again later")
            added = [_Sequence(next(self._ids), generation, prompt) for generation in made]
            self._waiting += added
            self._live |= {one.id for one in added}
            self._changed.notify_all()
        return [one.id for one in added]

    def cancel(self, id: int) -> None:
        """不要了；下一步里以 ``"cancelled"`` 停下。已经停下的不受影响。"""
        with self._changed:
            if id in self._live:
                self._cancelled.add(id)
                self._changed.notify_all()

    @property
    def is_idle(self) -> bool:
        """没有在场的，也没有排队的。"""
        with self._changed:
            return not self._live

    @property
    def live(self) -> frozenset[int]:
        """在场的与排队的，各自的号。"""
        with self._changed:
            return frozenset(self._live)

    @property
    def running(self) -> int:
        """占着槽的有几个。"""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """排队的有几个。"""
        return len(self._waiting)

    @property
    def slots(self) -> int:
        """有几个槽。"""
        return self._decoder.slots

    def wait(self, timeout: float | None = None) -> bool:
        """等到有事可做；等了 ``timeout`` 秒仍没有，返回 ``False``。"""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._live), timeout)

    # ---- 独用它的线程 ----

    def step(self) -> list[Event]:
        """走一步。

        Returns:
            各请求的新进展，一个请求至多一条；还在读开头的没有。
        """
        events = self._stop_cancelled()
        self._admit()
        rows = self._rows()
        with self._changed:  # 解码器也许会出错：取消了的已经停下，不能还算在场
            self._live -= {event.id for event in events}
        if rows:
            self.counts.steps += 1
            advanced = self._advance(rows)
            with self._changed:
                self._live -= {event.id for event in advanced if event.is_last}
            events += advanced
        return events

    def run(self) -> Iterator[Event]:
        """一直走到没有事可做。

        Yields:
            各请求的进展。
        """
        while not self.is_idle:
            yield from self.step()

    def _stop_cancelled(self) -> list[Event]:
        with self._changed:
            cancelled, self._cancelled = self._cancelled, set()
            gone = [one for one in self._waiting if one.id in cancelled]
            if gone:
                self._waiting = deque(one for one in self._waiting if one.id not in cancelled)
        for slot, one in list(self._running.items()):
            if one.id in cancelled:
                gone.append(one)
                self._release(slot)
        return [Event(one.id, one.generation.cancel()) for one in gone]

    def _release(self, slot: int) -> None:
        del self._running[slot]
        self._released[slot] = self.counts.steps

    def _admit(self) -> None:
        """空槽给排在前面的；有人正在读同样的开头，就先让后面的进，等他读完再接着他的算。"""
        with self._changed:
            queue = list(self._waiting)
        admitted = set()
        for one in queue:
            if not self._released:
                break
            source, length = self._prefixes.best(one.prompt)
            length = min(length, len(one.prompt) - 1)  # 至少喂一个，才有 logits
            if self._coming(one.prompt) >= length + _WORTH_WAITING:
                continue
            self._start(one, source, length)
            admitted.add(one.id)
        if admitted:
            with self._changed:
                self._waiting = deque(one for one in self._waiting if one.id not in admitted)

    def _coming(self, prompt: NDArray[np.int64]) -> int:
        """在场而还在读开头的，读完之后与 ``prompt`` 至多有多长的公共前缀。"""
        reading = (one.prompt for one in self._running.values() if one.is_reading)
        return min(max((common_prefix(other, prompt) for other in reading), default=0), len(prompt) - 1)

    def _start(self, one: _Sequence, source: int, length: int) -> None:
        loses_nothing = source in self._released and len(self._prefixes.tokens(source)) <= length + 1
        slot = source if loses_nothing and length else min(self._released, key=lambda i: (self._released[i], i))
        if slot == source or not length:
            self._decoder.truncate(slot, length)
        else:
            self._decoder.share(source, slot, length)
        self._prefixes.move(source if length else slot, slot, length)
        one.rest = one.prompt[length:]
        self.counts.reused += length
        del self._released[slot]
        self._running[slot] = one

    def _rows(self) -> list[tuple[int, NDArray[np.int64]]]:
        """写着的各一个 token；读开头的平分一块，零头给先来的。"""
        writing = [(slot, one.rest) for slot, one in self._running.items() if not one.is_reading]
        reading = sorted(((slot, one) for slot, one in self._running.items() if one.is_reading), key=lambda x: x[1].id)
        rows, left = writing, self._chunk
        for i, (slot, one) in enumerate(reading):
            share = -(-left // (len(reading) - i))
            ids = one.rest[:share]
            left -= len(ids)
            if len(ids):
                rows.append((slot, ids))
        return rows

    def _advance(self, rows: list[tuple[int, NDArray[np.int64]]]) -> list[Event]:
        try:
            logits = self._decoder.feed(rows)
        except BaseException:
            self._abandon()
            raise
        events = []
        for (slot, ids), row in zip(rows, logits, strict=True):
            one = self._running[slot]
            self._prefixes.extend(slot, ids)
            self.counts.prefilled += len(ids) if one.is_reading else 0
            one.rest = one.rest[len(ids) :]
            if not len(one.rest):
                events.append(self._next(slot, one, row))
        return events

    def _next(self, slot: int, one: _Sequence, logits: NDArray[np.floating]) -> Event:
        try:
            step = one.generation.advance(logits)
        except UserError as error:  # 只是这个请求走不下去
            self._release(slot)
            return Event(one.id, None, error)
        self.counts.written += 1
        one.rest = np.array(one.generation.pending, np.int64)
        if step.finish:
            self._release(slot)
        return Event(one.id, step)

    def _abandon(self) -> None:
        """解码器出了错，各槽里是什么已经说不准：全部清空，在场的都不算了。"""
        with self._changed:
            self._live -= {one.id for one in self._running.values()}
        for slot in list(self._running):
            self._release(slot)
        for slot in range(self._decoder.slots):
            self._decoder.truncate(slot, 0)
            self._prefixes.move(slot, slot, 0)
