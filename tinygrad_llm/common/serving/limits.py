"""每把钥匙的限额：每分钟几个请求、几个 token，以及钥匙本身对不对。

流入：钥匙与用量；流出：放行，或还要等几秒。没有设钥匙时，按对方的地址分开算。下一个文件：``gate.py``。
"""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

from tinygrad_llm.common.serving.errors import ApiError

__all__ = ["Bucket", "Keys", "Limits"]

_CALLERS = 10_000
"""至多记得这么多个调用者；再多就忘掉最久没来的。"""


class Keys:
    """认得的钥匙；只留摘要，比较的时间与内容无关。

    Args:
        keys: 钥匙；空的表示不要钥匙。
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    @property
    def are_needed(self) -> bool:
        """要不要钥匙。"""
        return bool(self._digests)

    def name_of(self, key: str) -> str | None:
        """这把钥匙在日志里的名字；不认得则为 ``None``。"""
        digest = _digest(key)
        found = [known for known in self._digests if hmac.compare_digest(known, digest)]  # 逐把比完，不早退
        return "key-" + digest.hex()[:8] if found else None


class Bucket:
    """漏桶：容量是一分钟的量，均匀地补。

    Args:
        per_minute: 每分钟补多少，也是容量。
        now: 钟。
    """

    def __init__(self, per_minute: float, now: Callable[[], float] = time.monotonic) -> None:
        self._per_minute, self._now = per_minute, now
        self._level, self._at = per_minute, now()

    def wait_s(self, amount: float) -> float:
        """还要等几秒才够 ``amount``；够了为 0。"""
        now = self._now()
        self._level = min(self._per_minute, self._level + (now - self._at) * self._per_minute / 60)
        self._at = now
        return max(0.0, (min(amount, self._per_minute) - self._level) * 60 / self._per_minute)

    def take(self, amount: float) -> None:
        """用掉；可以欠着，欠的要先补上。"""
        self.wait_s(0)
        self._level -= amount


class Limits:
    """各个调用者的用量。

    Args:
        requests_per_min: 每分钟几个请求；``None`` 不限。
        tokens_per_min: 每分钟几个 token，读的与写的都算；``None`` 不限。
    """

    def __init__(self, requests_per_min: int | None, tokens_per_min: int | None) -> None:
        self._sizes = requests_per_min, tokens_per_min
        self._callers: OrderedDict[str, tuple[Bucket | None, Bucket | None]] = OrderedDict()

    def admit(self, caller: str) -> None:
        """又来一个请求。

        Raises:
            ApiError: 用完了。
        """
        requests, tokens = self._of(caller)
        waits = {
            "requests": requests.wait_s(1) if requests else 0.0,
            "tokens": tokens.wait_s(1) if tokens else 0.0,
        }
        for what, wait in waits.items():
            if wait > 0:
                raise ApiError(
                    429, f"the limit of {what} per minute is used up", code="rate_limit_exceeded",
                    headers={"Retry-After": str(math.ceil(wait))},
                )  # fmt: skip
        if requests:
            requests.take(1)

    def charge(self, caller: str, tokens: int) -> None:
        """记下用掉的 token。"""
        if bucket := self._of(caller)[1]:
            bucket.take(tokens)

    def _of(self, caller: str) -> tuple[Bucket | None, Bucket | None]:
        if caller not in self._callers:
            requests, tokens = self._sizes
            self._callers[caller] = (Bucket(requests) if requests else None, Bucket(tokens) if tokens else None)
            if len(self._callers) > _CALLERS:
                self._callers.popitem(last=False)
        self._callers.move_to_end(caller)
        return self._callers[caller]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
