"""独占一个模型的线程：别的线程只交来请求、取走进展，从不碰模型。

流入：``Request`` 与要向量的 id；流出：各请求的 ``Event``，送回交来请求的那个事件循环。
排队有上限，满了当场拒绝；取消、到期在下一个 token 之前生效；线程里出的错只算在场的请求，后来的照常。
下一个文件：``answers.py``。
"""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinygrad_llm.common.decoding.request import Request
from tinygrad_llm.common.decoding.scheduler import Event, QueueFullError, Scheduler
from tinygrad_llm.common.errors import UserError
from tinygrad_llm.common.serving.errors import ApiError, as_api_error
from tinygrad_llm.common.serving.served import FeatureDecoder

__all__ = ["Arrival", "Engine", "EngineFailedError", "Ticket"]

_CHUNK = 128
"""算向量时一次喂几个 token；两次之间别的请求走一步。"""


class EngineFailedError(Exception):
    """引擎线程里出了错，与这个请求无关。"""


@dataclass(frozen=True)
class Arrival:
    """一份回答的一点进展。

    Attributes:
        index: 是第几份。
        event: 进展；引擎出错时为 ``None``。
        at: 走完这一步的时刻，``time.monotonic()``。
    """

    index: int
    event: Event | None
    at: float


@dataclass
class Ticket:
    """交上去的一次请求。

    Attributes:
        ids: 各份的号。
        loop: 交来请求的事件循环。
        deadline: 期限，``time.monotonic()``。
        arrivals: 进展由此取走；只在那个事件循环里用。
        is_late: 是因为到期才停下的。
    """

    ids: list[int]
    loop: asyncio.AbstractEventLoop
    deadline: float
    arrivals: asyncio.Queue[Arrival]
    is_late: bool = False


@dataclass
class _Encoding:
    """一段要向量的文字。"""

    ids: tuple[int, ...]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[NDArray[np.float64]]
    fed: int = 0
    total: NDArray[np.float64] | None = None


class Engine:
    """一个模型的线程。

    Args:
        scheduler: 连续批处理；此后归这个线程独用。
        encoder: 供向量的解码器。
        name: 线程的名字。

    Attributes:
        scheduler: 连续批处理；别的线程只读它的计数。
        failures: 引擎出过几次错。
    """

    def __init__(self, scheduler: Scheduler, encoder: FeatureDecoder, name: str = "engine") -> None:
        self.scheduler, self._encoder = scheduler, encoder
        self.failures = 0
        self._changed = threading.Condition()  # 守着下面四样
        self._tickets: dict[int, tuple[Ticket, int]] = {}
        self._encodings: deque[_Encoding] = deque()
        self._is_stopping = False
        self._late: set[int] = set()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """开工。"""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """走完眼下这一步就停；没有写完的不再写。"""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join(timeout_s)

    # ---- 事件循环里调用 ----

    def submit(
        self, request: Request, copies: int, deadline: float, arrivals: asyncio.Queue[Arrival], first: int = 0
    ) -> Ticket:
        """排队。

        Args:
            request: 要求。
            copies: 写几份。
            deadline: 到这一刻（``time.monotonic()``）还没写完就停下。
            arrivals: 进展放进这里；几张票可以共用一个。
            first: 头一份在 ``arrivals`` 里是第几份。

        Raises:
            ApiError: 排队的太多，或这个请求走不了。
        """
        ticket = Ticket([], asyncio.get_running_loop(), deadline, arrivals)
        with self._changed:  # 拿着锁：线程送出进展之前，票已经登记
            try:
                ticket.ids = self.scheduler.submit_copies(request, copies)
            except QueueFullError as error:
                headers = {"Retry-After": "1"}
                raise ApiError(429, "too many requests are waiting", code="queue_full", headers=headers) from error
            except UserError as error:
                raise as_api_error(error) from error
            self._tickets |= {id: (ticket, index) for index, id in enumerate(ticket.ids, first)}
            self._changed.notify_all()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """不要了；还没有写完的各份在下一个 token 之前停下。"""
        with self._changed:
            for id in ticket.ids:
                if id in self._tickets:
                    self.scheduler.cancel(id)
            self._changed.notify_all()

    def cancel_all(self) -> None:
        """全都不要了。"""
        with self._changed:
            for id in self._tickets:
                self.scheduler.cancel(id)
            self._changed.notify_all()

    async def encode(self, ids: tuple[int, ...]) -> NDArray[np.float64]:
        """一段文字的向量 ``(C,)``：末层隐藏状态的平均，长度归一。"""
        loop = asyncio.get_running_loop()
        encoding = _Encoding(ids, loop, loop.create_future())
        with self._changed:
            self._encodings.append(encoding)
            self._changed.notify_all()
        try:
            return await encoding.future
        except asyncio.CancelledError:
            with self._changed:
                if encoding in self._encodings:
                    self._encodings.remove(encoding)
            raise

    @property
    def encoding(self) -> int:
        """有几段文字在等向量。"""
        return len(self._encodings)

    @property
    def live(self) -> int:
        """有几份回答没有写完。"""
        return len(self._tickets)

    # ---- 引擎线程 ----

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopping or bool(self._tickets) or bool(self._encodings))
                if self._is_stopping:
                    self._fail_all()
                    return
            self._cancel_late()
            self._guarded(self._step)
            self._guarded(self._encode_some)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # 一个请求引出的错不能让线程死去，后来的请求还要它
            traceback.print_exc()
            self.failures += 1
            self._recover()

    def _step(self) -> None:
        if not self._tickets:
            return
        events = self.scheduler.step()
        if events:
            self._deliver(events)

    def _cancel_late(self) -> None:
        now = time.monotonic()
        with self._changed:
            for id, (ticket, _) in self._tickets.items():
                if ticket.deadline < now and id not in self._late:
                    ticket.is_late = True
                    self._late.add(id)
                    self.scheduler.cancel(id)

    def _deliver(self, events: list[Event]) -> None:
        """一步里的全部进展，每个事件循环叫醒一次。"""
        now, batches = time.monotonic(), dict[asyncio.AbstractEventLoop, list[tuple[Ticket, Arrival]]]()
        with self._changed:
            for event in events:
                found = self._tickets.get(event.id)
                if found is None:
                    continue
                ticket, index = found
                batches.setdefault(ticket.loop, []).append((ticket, Arrival(index, event, now)))
                if event.is_last:
                    del self._tickets[event.id]
                    self._late.discard(event.id)
        for loop, batch in batches.items():
            _call(loop, _spread, batch)

    def _encode_some(self) -> None:
        """最早的一段文字再喂一块；喂完了交出向量。"""
        with self._changed:
            if not self._encodings:
                return
            one = self._encodings[0]
        if one.fed == 0:
            self._encoder.truncate(0, 0)
        part = np.array(one.ids[one.fed : one.fed + _CHUNK], np.int64)
        found = self._encoder.features([(0, part)])[0].astype(np.float64).sum(0)
        one.total = found if one.total is None else one.total + found
        one.fed += len(part)
        if one.fed < len(one.ids):
            return
        with self._changed:
            if one in self._encodings:
                self._encodings.remove(one)
        mean = one.total / len(one.ids)
        _call(one.loop, _resolve, one.future, mean / max(float(np.linalg.norm(mean)), 1e-12))

    def _recover(self) -> None:
        """在场的各份都不算了，排队的留着；正在算的向量也不算了。"""
        live = self.scheduler.live
        with self._changed:
            lost = {id: found for id, found in self._tickets.items() if id not in live}
            self._tickets = {id: found for id, found in self._tickets.items() if id in live}
            encoding = self._encodings.popleft() if self._encodings and self._encodings[0].fed else None
        self._tell_failed(lost)
        if encoding is not None:
            _call(encoding.loop, _reject, encoding.future)

    def _fail_all(self) -> None:
        lost, self._tickets = self._tickets, {}
        self._tell_failed(lost)
        for one in self._encodings:
            _call(one.loop, _reject, one.future)

    def _tell_failed(self, lost: dict[int, tuple[Ticket, int]]) -> None:
        for ticket, index in lost.values():
            _call(ticket.loop, _spread, [(ticket, Arrival(index, None, time.monotonic()))])


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, *arguments)
    except RuntimeError:  # 事件循环已经关了：没有人等着了
        return


def _spread(batch: list[tuple[Ticket, Arrival]]) -> None:
    for ticket, arrival in batch:
        ticket.arrivals.put_nowait(arrival)


def _resolve(future: asyncio.Future[NDArray[np.float64]], vector: NDArray[np.float64]) -> None:
    if not future.done():
        future.set_result(vector)


def _reject(future: asyncio.Future[NDArray[np.float64]]) -> None:
    if not future.done():
        future.set_exception(EngineFailedError("the engine failed"))
