"""同一个函数连续调用几次时，里面的随机数怎么办。

流入：若干次调用；流出：它们的结果，或「不许抽随机数」的错误。只看全局生成器。
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tinygrad_llm.random import get_rng_state, set_rng_state
from tinygrad_llm.tensor import Tensor


class Draws:
    """抽随机数的规矩。

    Args:
        randomness: ``"error"`` 不许抽，``"same"`` 每次抽到相同的，``"different"`` 各抽各的。

    Raises:
        RuntimeError: 别的取值。
    """

    def __init__(self, randomness: str) -> None:
        if randomness not in ("error", "different", "same"):
            raise RuntimeError(
                f"Only allowed values for randomness are 'error', 'different', or 'same'. Got {randomness}"
            )
        self._rule = randomness

    def each(self, calls: Iterable[Callable[[], Any]]) -> list[Any]:
        """依次调用。

        Raises:
            RuntimeError: 规矩是 ``"error"`` 而抽了随机数。
        """
        if self._rule == "different":
            return [call() for call in calls]
        start, found = get_rng_state(), []
        for call in calls:
            if self._rule == "same":
                set_rng_state(start)
            found.append(call())
            if self._rule == "error" and not _equal(get_rng_state(), start):
                raise RuntimeError(
                    "vmap: called random operation while in randomness error mode. Please either use the 'same' or "
                    "'different' randomness flags on vmap or perform the randomness operation out of vmap"
                )
        return found


def _equal(a: Any, b: Any) -> bool:
    return bool((a.array == b.array).all()) if isinstance(a, Tensor) else bool(a == b)
