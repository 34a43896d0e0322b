"""``flex_attention``：小函数改过的分数、按块的掩码，值与 torch 相同。"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

import pytest

import tinygrad_llm as tg
from parity_tests.engine.twins import same, same_error, table

DOCUMENTS = [0, 0, 0, 1, 1, 2, 2, 2]


def _flex(m: Any) -> Any:
    return importlib.import_module(f"{m.__name__}.nn.attention.flex_attention")


def _causal(b: Any, h: Any, q: Any, kv: Any) -> Any:
    return q >= kv


def _inputs(m: Any, heads: int = 2, grad: bool = False) -> list[Any]:
    """``(2, 头数, 8, 3)`` 的查询、键、值。"""
    shapes = [(2, 2, 8, 3), (2, heads, 8, 3), (2, heads, 8, 3)]
    made = [m.arange(float(math.prod(s)), dtype=m.float64).reshape(s) for s in shapes]
    return [(x * (0.7 + i)).sin().requires_grad_(grad) for i, x in enumerate(made)]


def _attended(m: Any, heads: int = 2, blocks: Callable[[Any], Any] | None = None, **options: Any) -> Any:
    mask = None if blocks is None else blocks(_flex(m))
    return _flex(m).flex_attention(*_inputs(m, heads), block_mask=mask, **options)


def _masked(m: Any, mask_mod: Callable[..., Any], **options: Any) -> Any:
    return _attended(m, blocks=lambda f: f.create_block_mask(mask_mod, None, None, 8, 8, device="cpu", **options))


def _slopes(m: Any) -> Any:
    slopes = m.tensor([0.5, 0.25], dtype=m.float64)
    return _attended(m, score_mod=lambda score, b, h, q, kv: score - slopes[h] * (q - kv).abs())


def _documents(m: Any) -> Any:
    ids = m.tensor(DOCUMENTS)
    return _masked(m, _flex(m).and_masks(_causal, lambda b, h, q, kv: ids[q] == ids[kv]), BLOCK_SIZE=2)


def _batched(m: Any) -> Any:
    """每批每头的掩码不同。"""
    lengths = m.tensor([3, 8])

    def shown(b: Any, h: Any, q: Any, kv: Any) -> Any:
        return (kv < lengths[b]) & (q - kv < 3 + h)

    return _attended(m, blocks=lambda f: f.create_block_mask(shown, 2, 2, 8, 8, device="cpu", BLOCK_SIZE=(4, 2)))


def _by_blocks(m: Any) -> Any:
    """由块号造的掩码。"""
    counts = m.tensor([[[1, 2, 3, 4]]], dtype=m.int32)
    indices = m.arange(4, dtype=m.int32).expand(1, 1, 4, 4).contiguous()
    blocks = _flex(m).BlockMask.from_kv_blocks(counts, indices, BLOCK_SIZE=2, mask_mod=_causal)
    return _attended(m, blocks=lambda f: blocks), blocks.shape, blocks.sparsity()


def _counted(m: Any) -> Any:
    """各行有几块、是哪几块。"""
    mask = _flex(m).create_block_mask(lambda b, h, q, kv: (q >= kv) & (q - kv < 5), 1, 2, 7, 9, "cpu", 2)
    listed = [mask.kv_num_blocks, mask.full_kv_num_blocks, mask.to_dense()]
    return [t.tolist() for t in listed], mask.shape, round(mask.sparsity(), 6), mask.numel(), mask.BLOCK_SIZE


PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "plain": lambda m: _attended(m),
    "scale": lambda m: _attended(m, scale=0.3),
    "slopes": _slopes,
    "soft cap": lambda m: _attended(m, score_mod=lambda score, b, h, q, kv: 2.0 * m.tanh(score / 2.0)),
    "masked by scores": lambda m: _attended(
        m, score_mod=lambda score, b, h, q, kv: m.where(q >= kv, score, -float("inf"))),
    "causal": lambda m: _masked(m, _causal),
    "documents": _documents,
    "batched": _batched,
    "blind rows": lambda m: _masked(m, lambda b, h, q, kv: q > kv + 1, BLOCK_SIZE=4),
    "grouped": lambda m: _attended(m, heads=1, enable_gqa=True),
    "lse": lambda m: _attended(m, return_lse=True),
    "aux": lambda m: _flex(m).flex_attention(
        *_inputs(m), return_aux=_flex(m).AuxRequest(lse=True))[1].lse,
    "by blocks": _by_blocks,
    "counted": _counted,
    "create_mask": lambda m: (
        _flex(m).create_mask(_flex(m).or_masks(_causal, lambda b, h, q, kv: kv == 0), 2, None, 3, 4, "cpu"),
        _flex(m).create_mask(lambda s, b, h, q, kv: m.where(q > kv, s, -float("inf")), None, 2, 3, 3, "cpu")),
    "half precision": lambda m: _flex(m).flex_attention(*(x.bfloat16() for x in _inputs(m))).dtype,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # torch 不编译就用它时给警告
@pytest.mark.parametrize("program", table(PROGRAMS))
def test_flex_attention_is_torchs(program: Callable[[Any], Any]) -> None:
    """分数改得不同，或看见的位置不同。"""
    same(program)


def test_the_gradient_is_that_of_plain_attention() -> None:
    """torch 的 CPU 版没有反向；这里的反向与同样掩码的 ``scaled_dot_product_attention`` 不同。"""
    flex, plain = _inputs(tg, grad=True), _inputs(tg, grad=True)
    mask = _flex(tg).create_block_mask(_causal, None, None, 8, 8)
    (_flex(tg).flex_attention(*flex, block_mask=mask) ** 2).sum().backward()
    q, k, v = plain
    (tg.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True) ** 2).sum().backward()
    for ours, theirs in zip(flex, plain, strict=True):
        assert ours.grad is not None
        assert tg.allclose(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


MISTAKES: dict[str, Callable[[Any], Any]] = {
    "three axes": lambda m: _flex(m).flex_attention(*(x[0] for x in _inputs(m))),
    "heads": lambda m: _flex(m).flex_attention(*_inputs(m, 1)),
    "width": lambda m: _flex(m).flex_attention(*(x[..., :2] if i else x for i, x in enumerate(_inputs(m)))),
    "another length": lambda m: _flex(m).flex_attention(
        *_inputs(m), block_mask=_flex(m).create_block_mask(_causal, None, None, 4, 4, device="cpu")),
    "not callable": lambda m: _flex(m).and_masks(_causal, 3),
    "arguments": lambda m: _flex(m).create_mask(lambda q, kv: q >= kv, None, None, 2, 2, "cpu"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mistake", table(MISTAKES))
def test_mistakes_are_torchs(mistake: Callable[[Any], Any]) -> None:
    """大小不合却算出了什么，或报错的类型不同。"""
    same_error(mistake)
