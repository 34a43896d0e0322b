"""多头注意力与 Transformer 的层：参数名、初值、输出、梯度、掩码的约定与报错都与 torch 相同。"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel

import tinygrad_llm as tg
from parity_tests.engine.twins import ENGINES, same, same_error, table, values


def _filled(m: Any, layer: Any) -> Any:
    """参数换成固定的 float64 数。"""
    layer = layer.to(m.float64)
    with m.no_grad():
        for i, p in enumerate(layer.parameters()):
            p.copy_(m.tensor(values(i + 1, *p.shape) / 2))
    return layer


def _mask(kind: str, seed: int, *shape: int) -> Any:
    """一个掩码；``none`` 时没有，布尔的每行至少留一个看得见的位置。"""
    if kind == "none":
        return None
    if kind == "float":
        return values(seed, *shape)
    if kind == "causal":
        return np.triu(np.ones(shape, bool), 1)
    hidden = values(seed, *shape) > 0.3
    hidden[..., 0] = False
    return hidden


def _tensor(m: Any, array: Any) -> Any:
    return None if array is None else m.tensor(array)


def _attention_settings(draw: Any) -> dict[str, Any]:
    flags = st.booleans()
    settings = {name: draw(flags) for name in ("bias", "add_bias_kv", "add_zero_attn", "batch_first")}
    if draw(flags):
        settings.update(kdim=5, vdim=draw(st.sampled_from([None, 4])))
    return settings


@given(data=st.data())
def test_multihead_attention_equals_torch(data: st.DataObject) -> None:
    """随机的设定、形状与掩码之下，注意力的输出、权重或任一梯度与 torch 不同。"""
    settings, flags = _attention_settings(data.draw), st.booleans()
    heads, batch = data.draw(st.sampled_from([1, 2])), data.draw(st.sampled_from([None, 1, 3]))
    t, s = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    widths = (4, settings.get("kdim") or 4, settings.get("vdim") or 4)
    self_attention = len(set(widths)) == 1 and data.draw(flags)
    s = t if self_attention else s
    lead = [() if batch is None else (batch,)] * 3
    shapes = [
        (*b, n, w) if settings["batch_first"] else (n, *b, w) for b, n, w in zip(lead, (t, s, s), widths, strict=True)
    ]
    kind = data.draw(st.sampled_from(["none", "bool", "float", "causal"]))
    causal = kind == "causal" and t == s and data.draw(flags)
    deep = kind != "causal" and data.draw(flags)
    mask = _mask(kind, 7, *((batch or 1) * heads,) * deep, t, s)
    padding = _mask("bool" if data.draw(flags) else "none", 8, *lead[0], s)
    call = {"need_weights": data.draw(flags), "average_attn_weights": data.draw(flags), "is_causal": causal}

    def run(m: Any) -> Any:
        layer = _filled(m, m.nn.MultiheadAttention(4, heads, **settings))
        q, k, v = (m.tensor(values(i, *shape), requires_grad=True) for i, shape in enumerate(shapes))
        inputs = (q, q, q) if self_attention else (q, k, v)
        y, shares = layer(*inputs, key_padding_mask=_tensor(m, padding), attn_mask=_tensor(m, mask), **call)
        total = (y * y.cos()).sum() if shares is None else (y * y.cos()).sum() + (shares**3).sum()
        total.backward()
        return y, 0 if shares is None else shares, [x.grad for x in inputs], [p.grad for p in layer.parameters()]

    same(run, "float64 second order", f"{settings} {shapes} {kind} {call}")


def test_static_keys_and_values_replace_the_projected_ones() -> None:
    """函数形式的 ``static_k``、``static_v`` 没有被用上，或输出与 torch 不同。"""

    def run(m: Any) -> Any:
        q, k, v = (m.tensor(values(i, n, 2, 4)) for i, n in enumerate((3, 5, 5)))
        static = [m.tensor(values(i, 4, 6, 2), requires_grad=True) for i in (3, 4)]
        weights = [m.tensor(values(i, *shape)) for i, shape in ((5, (12, 4)), (6, (12,)), (7, (4, 4)), (8, (4,)))]
        y, shares = m.nn.functional.multi_head_attention_forward(
            q, k, v, 4, 2, weights[0], weights[1], None, None, False, 0.0, weights[2], weights[3],
            static_k=static[0], static_v=static[1],
        )  # fmt: skip
        (y.sum() + (shares * shares).sum()).backward()
        return y, shares, [x.grad for x in static]

    same(run)


def test_rows_that_see_nothing_follow_torch() -> None:
    """什么也看不见的行：要权重时是 NaN，不要权重时是 0，与 torch 相同。"""
    for need_weights in (True, False):

        def run(m: Any, need_weights: bool = need_weights) -> Any:
            layer, x = _filled(m, m.nn.MultiheadAttention(4, 2)), m.tensor(values(0, 3, 1, 4), requires_grad=True)
            mask = m.tensor([[False, True, True], [True, True, True], [False, False, True]])
            return layer(x, x, x, attn_mask=mask, need_weights=need_weights)[0]

        same(run, what=f"need_weights={need_weights}")


LAYERS: dict[str, Callable[[Any], Any]] = {
    "attention": lambda nn: nn.MultiheadAttention(6, 3, add_bias_kv=True),
    "attention of other widths": lambda nn: nn.MultiheadAttention(6, 2, kdim=4, vdim=5, bias=False),
    "encoder layer": lambda nn: nn.TransformerEncoderLayer(6, 2, 10, activation="gelu", norm_first=True),
    "decoder layer": lambda nn: nn.TransformerDecoderLayer(6, 2, 10, 0.3, bias=False, batch_first=True),
    "encoder": lambda nn: nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 10), 2, nn.LayerNorm(6)),
    "decoder": lambda nn: nn.TransformerDecoder(nn.TransformerDecoderLayer(6, 2, 10), 2),
    "transformer": lambda nn: nn.Transformer(6, 2, 2, 1, 10, activation=nn.GELU()),
}


@pytest.mark.parametrize("build", table(LAYERS))
def test_initial_weights_and_names_equal_torch(build: Callable[[Any], Any]) -> None:
    """同一种子之下，参数的名字、次序、初值或打印与 torch 不同。"""

    def run(m: Any) -> Any:
        m.manual_seed(8)
        layer = build(m.nn)
        return list(layer.state_dict()), list(layer.state_dict().values()), repr(layer)

    same(run, "random normal")


@given(data=st.data())
def test_transformers_equal_torch(data: st.DataObject) -> None:
    """随机的设定与掩码之下，编码器、解码器或整个 Transformer 的输出或梯度与 torch 不同，训练与评估都一样。"""
    flags, draw = st.booleans(), data.draw
    settings: dict[str, Any] = {name: draw(flags) for name in ("batch_first", "norm_first", "bias")}
    settings |= {"dim_feedforward": 5, "dropout": 0.0, "activation": draw(st.sampled_from(["relu", "gelu"]))}
    kind, training = draw(st.sampled_from(["encoder", "decoder", "both"])), draw(flags)
    batch, s, t = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    src, tgt = ((batch, n, 4) if settings["batch_first"] else (n, batch, 4) for n in (s, t))
    padding = np.arange(s) >= np.arange(batch)[:, None] % s + 1 if draw(flags) else None  # 补齐都在末尾
    masked = draw(flags)

    def run(m: Any) -> Any:
        nn = m.nn
        builds = {
            "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, **settings), 2, nn.LayerNorm(4)),
            "decoder": lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 2, **settings), 2),
            "both": lambda: nn.Transformer(4, 2, 1, 2, **settings),
        }
        net = _filled(m, builds[kind]()).train(training)
        x, y = m.tensor(values(0, *src), requires_grad=True), m.tensor(values(1, *tgt), requires_grad=True)
        shade, causal = _tensor(m, padding), m.nn.Transformer.generate_square_subsequent_mask
        future = [causal(n, dtype=m.float64) if masked else None for n in (s, t)]
        calls = {
            "encoder": lambda: net(x, future[0], shade),
            "decoder": lambda: net(y, x, future[1], memory_key_padding_mask=shade),
            "both": lambda: net(x, y, *future, None, shade, None, shade),
        }
        with m.no_grad():
            plain = calls[kind]()
        found = calls[kind]()
        (found * found.cos()).sum().backward()
        leaves = [leaf for leaf in (x, y, *net.parameters()) if leaf.grad is not None]
        return plain, found, [leaf.grad for leaf in leaves]

    same(run, "float64 second order", f"{kind} {settings} {training} {src} {tgt}")


def test_causal_hint_is_found_in_the_mask() -> None:
    """编码器没有认出因果掩码，或认错了：两种走法的结果应当相同。"""
    layer = tg.nn.TransformerEncoder(tg.nn.TransformerEncoderLayer(4, 2, 6, 0.0), 1)
    x, mask = tg.randn(5, 2, 4), tg.nn.Transformer.generate_square_subsequent_mask(5)
    hinted, plain = layer(x, mask), layer(x, mask, is_causal=False)
    np.testing.assert_allclose(hinted.detach().array, plain.detach().array, rtol=1e-5, atol=1e-6)
    other = mask.clone()
    other[0, 4] = 0.0
    assert (layer(x, other) != hinted).any().item()


def test_second_derivatives_equal_torch() -> None:
    """经过编码层与解码层的二阶导与 torch 不同。"""

    def run(m: Any) -> Any:
        layers = [m.nn.TransformerEncoderLayer(4, 2, 5, 0.0), m.nn.TransformerDecoderLayer(4, 1, 5, 0.0, "gelu")]
        encoder, decoder = (_filled(m, layer) for layer in layers)
        x, y = m.tensor(values(0, 3, 2, 4), requires_grad=True), m.tensor(values(1, 2, 2, 4), requires_grad=True)
        mask = m.tensor(_mask("float", 5, 3, 3))
        first = m.autograd.grad((decoder(y, encoder(x, mask)) ** 2).sum(), [x, y], create_graph=True)
        return first, m.autograd.grad(sum((g * g).sum() for g in first), [x, y])

    with sdpa_kernel(SDPBackend.MATH):  # torch 的融合注意力没有二阶导
        same(run, "float64 second order")


def test_mismatched_masks_warn() -> None:
    """两种掩码类型不同时没有像 torch 那样警告。"""
    for m in ENGINES:
        layer, x = m.nn.MultiheadAttention(2, 1), m.ones(2, 1, 2)
        with pytest.warns(UserWarning, match="mismatched"):
            layer(x, x, x, key_padding_mask=m.zeros(1, 2) > 1, attn_mask=m.zeros(2, 2))


WRONG: dict[str, Callable[[Any], Any]] = {
    "heads": lambda m: m.nn.MultiheadAttention(4, 3),
    "no heads": lambda m: m.nn.MultiheadAttention(4, 0),
    "rank": lambda m: m.nn.MultiheadAttention(4, 2)(*[m.ones(1, 1, 2, 4)] * 3),
    "mixed ranks": lambda m: m.nn.MultiheadAttention(4, 2)(m.ones(2, 4), m.ones(2, 1, 4), m.ones(2, 1, 4)),
    "width": lambda m: m.nn.MultiheadAttention(4, 2)(*[m.ones(2, 1, 6)] * 3),
    "key length": lambda m: m.nn.MultiheadAttention(4, 2)(m.ones(2, 1, 4), m.ones(3, 1, 4), m.ones(2, 1, 4)),
    "mask shape": lambda m: m.nn.MultiheadAttention(4, 2)(*[m.ones(2, 1, 4)] * 3, attn_mask=m.ones(3, 2)),
    "mask depth": lambda m: m.nn.MultiheadAttention(4, 2)(*[m.ones(2, 1, 4)] * 3, attn_mask=m.ones(1, 2, 2)),
    "mask type": lambda m: m.nn.MultiheadAttention(4, 2)(*[m.ones(2, 1, 4)] * 3, attn_mask=m.ones(2, 2).long()),
    "padding shape": lambda m: m.nn.MultiheadAttention(4, 2)(*[m.ones(2, 1, 4)] * 3, key_padding_mask=m.ones(1, 3)),
    "padding rank": lambda m: m.nn.MultiheadAttention(4, 2)(*[m.ones(2, 1, 4)] * 3, key_padding_mask=m.ones(2)),
    "hint alone": lambda m: m.nn.MultiheadAttention(4, 2)(*[m.ones(2, 1, 4)] * 3, is_causal=True),
    "activation": lambda m: m.nn.TransformerEncoderLayer(4, 2, activation="swish"),
    "batches": lambda m: m.nn.Transformer(4, 2, 1, 1, 8)(m.ones(2, 1, 4), m.ones(2, 2, 4)),
    "features": lambda m: m.nn.Transformer(4, 2, 1, 1, 8)(m.ones(2, 1, 4), m.ones(2, 1, 6)),
}


@pytest.mark.parametrize("mistake", table(WRONG))
def test_wrong_attention_raises_as_in_torch(mistake: Callable[[Any], Any]) -> None:
    """写错的注意力没有报错，或报错的类型与 torch 不同。"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same_error(mistake)
