"""KV 缓存：分块喂进去与整段前向相同，成批与逐行相同。

流入：实现与例子；流出：各处的误差与界。下一站：``pieces.py``。
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity_tests.contract.cases import Case, Ids, ids_of
from parity_tests.contract.gaps import Gap, close, forward_roundings, size_of
from parity_tests.contract.implementation import Implementation
from parity_tests.contract.property import Property


class ForgetsToAdvance(Implementation):
    """喂完一块之后，缓存的位置没有往前走完：下一块盖掉最后一个 token，位置编码也全都早了一格。"""

    def feed(self, model: Any, cache: Any, ids: Ids) -> NDArray[Any]:
        """位置少走一格，各层的长度也是。"""
        logits = super().feed(model, cache, ids)
        for one in (cache, *cache.layers):
            one.length -= 1
        return logits


class SharesFirstRow(Implementation):
    """成批生成时，各行的缓存都指着第一行的。"""

    def feed(self, model: Any, cache: Any, ids: Ids) -> NDArray[Any]:
        """喂完之后，别的行的键与值被第一行盖掉。"""
        logits = super().feed(model, cache, ids)
        with self.m.no_grad():
            for layer in cache.layers:
                for held in (layer.k, layer.v):
                    held[1:] = held[:1].clone()
        return logits


def _cuts(rng: np.random.Generator, length: int) -> list[slice]:
    """把一段切成若干块；至少两块。"""
    inner = rng.choice(np.arange(1, length), int(rng.integers(1, length)), replace=False)
    ends = [0, *sorted(inner.tolist()), length]
    return [slice(a, b) for a, b in itertools.pairwise(ends)]


def _fed(one: Implementation, model: Any, ids: Ids, cuts: list[slice]) -> NDArray[Any]:
    """分块喂进一个新的缓存，各位置的 logits。"""
    cache = one.cache(model, len(ids))
    return np.concatenate([one.feed(model, cache, ids[:, cut]) for cut in cuts], 1)


def cached(one: Implementation, case: Case) -> list[Gap]:
    """分块喂进缓存，每个位置的 logits 都与整段前向的相同；产品的逐个生成也一样。"""
    config, rng = case.config, case.rng()
    model = one.model(config)
    ids = ids_of(rng, config, case.batch, config.context)
    cuts = [slice(0, config.context)] if case.harmless else _cuts(rng, config.context)
    whole, roundings = one.logits(model, ids), forward_roundings(config, config.context)
    decoder = one.decoder(model)
    last = [decoder.feed(ids[0, cut]) for cut in cuts]
    ends, size = [cut.stop - 1 for cut in cuts], size_of(whole, one.logits(one.model(config, nudged=True), ids))
    return [
        close("logits from the cache", _fed(one, model, ids, cuts), whole, roundings, size),
        close("logits of the decoder", np.array(last), whole[0, ends], roundings, size),
    ]


def batched(one: Implementation, case: Case) -> list[Gap]:
    """成批的前向、成批的缓存，与逐行单独算、逐行单独生成的相同。"""
    config, rng = case.config, case.rng()
    model = one.model(config)
    ids = ids_of(rng, config, case.batch, config.context)
    if case.harmless:
        ids[:] = ids[:1]  # 各行相同：用了别人的缓存也看不出来
    cuts = _cuts(rng, config.context)
    together, roundings = _fed(one, model, ids, cuts), forward_roundings(config, config.context)
    whole = one.logits(model, ids)
    size = size_of(whole, one.logits(one.model(config, nudged=True), ids))
    gaps = []
    for row, its in enumerate(ids):
        decoder = one.decoder(model)
        single = np.array([decoder.feed(its[cut]) for cut in cuts])
        ends = [cut.stop - 1 for cut in cuts]
        gaps.append(close("logits of a row from the cache", together[row, ends], single, roundings, size))
        alone = one.logits(model, its[None])[0]
        gaps.append(close("logits of a row", whole[row], alone, roundings, size))
    return gaps


PROPERTIES = (
    Property(
        "cached = uncached",
        "fed in any chunks, every position has the logits of the whole forward pass",
        cached,
        ForgetsToAdvance,
        "the cache's position falls one behind after each chunk",
        ("logits from the cache",),
    ),
    Property(
        "batched = single",
        "rows decoded together = each row decoded alone",
        batched,
        SharesFirstRow,
        "every row's cache is the first row's",
        ("logits of a row from the cache",),
    ),
)
