"""零件：拼在一行里的几篇文档与各自单独算相同，分块的损失与不分块的相同。

流入：实现与例子；流出：各处的误差与界。下一站：``runner.py``。

模型还不收文档掩码，所以「拼接 = 不拼接」说的是注意力本身：块对角的掩码经 ``scaled_dot_product_attention``。
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity_tests.contract.cases import Case, ids_of, masked
from parity_tests.contract.gaps import BACKWARD, Gap, close, close_all
from parity_tests.contract.implementation import Implementation
from parity_tests.contract.property import Property
from parity_tests.tolerances import as_array
from tinygrad_llm.common.batches import IGNORE_INDEX


class SeesPreviousEnd(Implementation):
    """文档的边界差一格：每篇的开头还看得见前一篇的最后一个 token。"""

    def document_mask(self, lengths: Sequence[int]) -> NDArray[np.bool_]:
        """起点早了一格。"""
        seen = super().document_mask(lengths)
        starts = np.cumsum([0, *lengths[:-1]])
        for start, length in zip(starts[1:], lengths[1:], strict=True):
            seen[start : start + length, start - 1] = True
        return seen


class DropsLastChunk(Implementation):
    """块数取了整除：不足一块的结尾没有算。"""

    def chunks(self, total: int, size: int) -> list[slice]:
        """只有满的块。"""
        return [part for part in super().chunks(total, size) if part.stop - part.start == size]


def packed(one: Implementation, case: Case) -> list[Gap]:
    """几篇文档拼成一行，掩码按文档分块：输出与 q、k、v 的梯度都与逐篇单独算的相同。"""
    rng, config = case.rng(), case.config
    lengths = rng.integers(1, 5, 1 if case.harmless else int(rng.integers(2, 5))).tolist()
    total, head = sum(lengths), config.head_size
    heads = (config.n_head, config.kv_heads, config.kv_heads)
    q, k, v = (rng.standard_normal((case.batch, n, total, head)).astype(one.dtype) for n in heads)
    upstream = rng.standard_normal(q.shape).astype(one.dtype)
    gqa = config.n_head != config.kv_heads
    attend = one.functional.scaled_dot_product_attention

    def run(part: slice, **options: Any) -> list[NDArray[Any]]:
        leaves = [one.leaf(x[:, :, part]) for x in (q, k, v)]
        y = attend(*leaves, enable_gqa=gqa, **options)
        (y * one.tensor(upstream[:, :, part])).sum().backward()
        return [np.array(as_array(y)), *map(one.gradient, leaves)]

    together = run(slice(None), attn_mask=one.tensor(one.document_mask(lengths)))
    stops = np.cumsum(lengths)
    apart = [run(slice(stop - n, stop), is_causal=True) for n, stop in zip(lengths, stops, strict=True)]
    expected = [np.concatenate(parts, 2) for parts in zip(*apart, strict=True)]
    roundings = 2 * (2 * head + 3 * total + 2 * config.n_head // config.kv_heads)
    names = ("q", "k", "v")
    return [
        close("output", together[0], expected[0], roundings),
        *close_all(
            "gradient of",
            dict(zip(names, together[1:], strict=True)),
            dict(zip(names, expected[1:], strict=True)),
            BACKWARD * roundings,
        ),
    ]


def chunked(one: Implementation, case: Case) -> list[Gap]:
    """输出层与损失分块算再相加，与一次算完的损失、特征的梯度、输出层的梯度相同；引擎自己的分块也一样。"""
    rng, config = case.rng(), case.config
    total = case.batch * config.context
    size = int(rng.choice([n for n in range(1, total) if (total % n == 0) == case.harmless]))
    hidden, weight = (rng.standard_normal((n, config.n_embd)) for n in (total, config.vocab_size))
    targets = masked(rng, ids_of(rng, config, case.batch, config.context)).reshape(-1)
    targets[-1] = 0  # 结尾有话要说
    y = one.tensor(targets)

    def run(loss_of: Any) -> tuple[NDArray[Any], dict[str, Any]]:
        x, w = one.leaf(hidden), one.leaf(weight)
        loss = loss_of(x, w)
        loss.backward()
        return as_array(loss), {"the features": one.gradient(x), "the head": one.gradient(w)}

    def in_parts(x: Any, w: Any) -> Any:
        return sum(one.chunk_loss(x[part][None], w, y[part][None]) for part in one.chunks(total, size))

    loss, gradients = run(lambda x, w: one.chunk_loss(x[None], w, y[None]))
    roundings = 2 * (2 * config.n_embd + 2 * config.vocab_size + total)
    found = {"": in_parts}
    options = getattr(one.m.nn, "LinearCrossEntropyOptions", None)  # torch 2.10 还没有它
    if options is not None:
        function, settings = one.functional.linear_cross_entropy, {"reduction": "sum", "ignore_index": IGNORE_INDEX}
        found["linear_cross_entropy, "] = lambda x, w: function(
            x, w, y, **settings, options=options(batch_chunk_size=size, chunking_method=None)
        )
    gaps = []
    for name, loss_of in found.items():
        other, its = run(loss_of)
        gaps += [close(f"{name}loss", other, loss, roundings)]
        gaps += close_all(f"{name}gradient of", its, gradients, BACKWARD * roundings)
    return gaps


PROPERTIES = (
    Property(
        "packed = unpacked",
        "documents side by side under a block-diagonal mask attend as each one alone (attention itself)",
        packed,
        SeesPreviousEnd,
        "document boundary off by one",
        ("output", "gradient of"),
    ),
    Property(
        "chunked loss = unchunked",
        "head and loss in chunks of rows: the same loss and gradients",
        chunked,
        DropsLastChunk,
        "the last, incomplete chunk is left out",
        ("loss", "gradient of"),
    ),
)
