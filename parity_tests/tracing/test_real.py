"""真模型的录制：注意力、logit lens、梯度流、运算量与时间线，各与独立算出的相符。

流入：一个当场训练几步的小模型；流出：与 torch、拆开的算子、训练日志或手算不符之处。
"""

from __future__ import annotations

import dataclasses
import gzip
import importlib
import json
import math
import pkgutil
import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_llm as tg
from parity_tests.tolerances import assert_close
from tinygrad_llm.__main__ import VERBS
from tinygrad_llm.common.cli import main as command_line
from tinygrad_llm.common.errors import CheckpointError, UserError
from tinygrad_llm.common.initial import initial_weights
from tinygrad_llm.common.runlog import read_metrics
from tinygrad_llm.common.tokenizers import train_bpe
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.ops.op import REGISTRY
from tinygrad_llm.profiler.flops import forward_flops
from tinygrad_llm.tracing.arrays import Summary
from tinygrad_llm.tracing.real.attention import attention_maps
from tinygrad_llm.tracing.real.flops import backward_flops_of, flops_of, is_counted
from tinygrad_llm.tracing.real.flow import flow_svg
from tinygrad_llm.tracing.real.lens import lens, residual_streams
from tinygrad_llm.tracing.real.overlay import costs, costs_svg, quantity
from tinygrad_llm.tracing.real.residuals import Flow, measure_flow, remove_residuals
from tinygrad_llm.tracing.real.run import load_run, token_text, trace_run, unigram_loss
from tinygrad_llm.tracing.real.svg import Axis, tick_text
from tinygrad_llm.tracing.real.timeline import module_levels, runs, timeline, write_chrome_trace
from tinygrad_llm.train import build_model
from tinygrad_llm.train import main as train
from torch_llm import gpt as torch_gpt

_WORDS = "the value of the expression is the value of the object, and the object is of the type of the expression.\n"
_SHAPE: dict[str, Any] = {"n_layer": 2, "n_head": 2, "n_embd": 32, "context": 32, "batch_size": 2, "vocab_size": 300}


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """放着一个训练了四步的运行 ``tiny``。"""
    folder = tmp_path_factory.mktemp("runs")
    text = folder / "words.txt"
    text.write_text("".join(f"{i} {_WORDS}" for i in range(200)), encoding="utf-8")
    train(TrainConfig(run="tiny", runs_dir=str(folder), corpus=str(text), steps=4, workers=1, dtype="float64",
                      warmup_steps=2, sample_tokens=1, preset="toy-llama", n_kv_head=1, **_SHAPE))  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def traced(runs_dir: Path) -> Any:
    """``tiny`` 的录制。"""
    return trace_run("tiny", "the value of the", runs_dir=str(runs_dir), flow_steps=2)


def _forward(t: Any) -> list[Any]:
    """读提示的那一次前向：最后一趟反传之后的算子调用。"""
    turn = max(i for i, event in enumerate(t.events) if event.kind == "backward")
    return [t.nodes[event.node] for event in t.events[turn:] if event.kind == "forward"]


def test_attention_maps_are_the_weights_the_engine_used(runs_dir: Path, traced: Any) -> None:
    """由 q、k 重算的权重，与拆开的算子里 softmax 的输出不同，或某一行的和不是 1、看见了未来。"""
    maps = attention_maps(traced, _forward(traced))
    composed = trace_run("tiny", "the value of the", runs_dir=str(runs_dir), flow_steps=0, composed=True)
    theirs = attention_maps(composed, _forward(composed))
    assert [one.module for one in maps] == ["h.0.attn", "h.1.attn"] == [one.module for one in theirs]
    for one, other in zip(maps, theirs, strict=True):
        assert_close(one.weights, other.weights, "gpt float64")
        assert one.weights.shape[0] == 2
        np.testing.assert_allclose(one.weights.sum(-1), 1.0, rtol=1e-12)
        assert np.all(np.triu(one.weights, 1) == 0)


def test_last_row_of_the_lens_is_what_the_model_says(runs_dir: Path, traced: Any) -> None:
    """logit lens 的最后一行不是模型的输出，或第一行不是词嵌入直接过输出层（torch 另算）。"""
    run = load_run("tiny", str(runs_dir))
    nodes = _forward(traced)
    streams = residual_streams(traced, nodes, 2)
    shares = lens(run.model, streams)
    logits = torch.from_numpy(traced.values[nodes[-1].output].data[0])
    assert_close(shares[-1], torch.softmax(logits, -1).numpy(), "gpt float64")
    twin = _twin(run)
    ids = run.tokenizer.encode("the value of the")
    with torch.no_grad():
        x = twin.wte(torch.tensor(ids))
        expected = torch.softmax(twin.ln_f(x) @ twin.wte.weight.T, -1)
    assert_close(streams[0], x.numpy(), "exact")
    assert_close(shares[0], expected.numpy(), "gpt float64")


def _twin(run: Any, weights: Any = None) -> Any:
    """torch 的同一个模型。"""
    model = torch_gpt.GPT(run.config).double()
    weights = {name: value.numpy() for name, value in run.model.state_dict().items()} if weights is None else weights
    model.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    return model


@pytest.mark.parametrize("residual", [True, False])
def test_gradient_norms_of_each_layer_are_torchs(runs_dir: Path, residual: bool) -> None:
    """第一步各层收到的梯度与 torch 的不符；没有残差的模型按定义另写一遍。"""
    run = load_run("tiny", str(runs_dir))
    flow = measure_flow(run.config, run.settings, run.data, residual=residual, steps=1)
    twin = _twin(run, initial_weights(run.config, run.settings.seed, "float64"))
    x, y = (torch.from_numpy(one) for one in run.data.batch(0))
    angle = torch.outer(torch.arange(32.0).double(), 10000.0 ** (-torch.arange(0, 16, 2).double() / 16))
    rope = torch.cos(angle), torch.sin(angle)
    streams = [twin.wte(x)]
    for block in twin.h:
        before = streams[-1]
        if residual:
            before = before + block.attn(block.ln_1(before), rope, None, None)
            streams.append(before + block.mlp(block.ln_2(before)))
        else:
            streams.append(block.mlp(block.ln_2(block.attn(block.ln_1(before), rope, None, None))))
    logits = twin.ln_f(streams[-1]) @ twin.wte.weight.T
    loss = torch.nn.functional.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))
    grads = torch.autograd.grad(loss, streams, retain_graph=True)
    loss.backward()
    assert_close(np.array(flow.losses), np.array([loss.item()]), "gpt training float64")
    assert_close(np.array(flow.stream[0]), np.array([float(g.norm()) for g in grads]), "gpt training float64")
    whole = [math.sqrt(sum(float((p.grad**2).sum()) for p in block.parameters())) for block in twin.h]
    assert_close(np.array(flow.weights[0]), np.array(whole), "gpt training float64")


def test_flow_with_residuals_replays_the_run_itself(runs_dir: Path) -> None:
    """有残差的那次训练，损失与运行日志里的不同：画的就不是这个模型的训练。"""
    run = load_run("tiny", str(runs_dir))
    flow = measure_flow(run.config, run.settings, run.data, residual=True, steps=4)
    logged = [record["loss"] for record in read_metrics(runs_dir / "tiny") if "loss" in record]
    assert_close(np.array(flow.losses), np.array(logged), "gpt training float64")


def test_removing_residuals_keeps_the_weights(runs_dir: Path) -> None:
    """去掉残差时换掉了权重，或仍然加回了残差流。"""
    run = load_run("tiny", str(runs_dir))
    model = build_model(run.config, initial_weights(run.config, 0, "float64"))
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    for block in remove_residuals(model).h:
        block.mlp.c_proj.weight.data.zero_()
    assert {name: value.shape for name, value in model.state_dict().items()} == {n: v.shape for n, v in before.items()}
    np.testing.assert_array_equal(model.state_dict()["h.1.mlp.c_fc.weight"].numpy(), before["h.1.mlp.c_fc.weight"])
    out = model.h[0](tg.ones(1, 3, 32, dtype=tg.float64), None, None, None)
    assert not out.detach().numpy().any()


def test_every_op_has_its_formula_for_flops() -> None:
    """有算子没有写运算次数：录制会把它记成 0。"""
    package = importlib.import_module("tinygrad_llm")
    for module in pkgutil.walk_packages(package.__path__, "tinygrad_llm."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    own = [
        name for name, op in REGISTRY.items() if getattr(op.forward, "__module__", "numpy").startswith("tinygrad_llm.")
    ]
    assert [name for name in own if not is_counted(name)] == []


@pytest.mark.parametrize(
    ("name", "shapes", "output", "attrs", "by_hand"),
    [
        ("mul", [(), ()], (), {}, 1),
        ("add", [(4, 3), (3,)], (4, 3), {}, 12),
        ("sigmoid", [(5,)], (5,), {}, 20),  # 取反、指数、加、除
        ("sum", [(4, 3)], (4,), {"dim": 1}, 8),
        ("mean", [(4, 3)], (), {}, 12),
        ("softmax", [(2, 3)], (2, 3), {"dim": "-1"}, 2 * (2 + 3 + 3 + 2 + 3)),
        ("matmul", [(4, 3), (3, 5)], (4, 5), {}, 2 * 4 * 3 * 5),
        ("linear", [(4, 3), (5, 3), (5,)], (4, 5), {}, 2 * 4 * 3 * 5 + 20),
        ("linear", [(4, 3), (5, 3), None], (4, 5), {}, 2 * 4 * 3 * 5),
        ("attention", [(1, 2, 4, 3), (1, 2, 4, 3), (1, 2, 4, 3)], (1, 2, 4, 3), {}, 2 * 32 * 6 + 6 * 32),
        ("reshape", [(4, 3)], (12,), {}, 0),
        ("rotary", [(1, 2, 4, 6), (4, 3), (4, 3)], (1, 2, 4, 6), {}, 48 // 2 * 6),
        ("embedding", [(9, 3), (4,)], (4, 3), {}, 0),
        ("no such op", [(4,)], (4,), {}, 0),
    ],
)
def test_flops_of_small_ops_are_those_counted_by_hand(
    name: str, shapes: Any, output: Any, attrs: Any, by_hand: int
) -> None:
    """公式数出的次数与手数的不同。"""
    assert flops_of(name, shapes, output, attrs) == by_hand


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm", "softmax", "cross_entropy", "attention", "gelu_tanh"])
def test_flops_of_fused_ops_are_near_those_of_their_parts(name: str) -> None:
    """融合算子的次数与它拆成普通算子之后的总和相差太远。"""
    functional = importlib.import_module("tinygrad_llm.nn.functional")
    x = tg.ones(1, 2, 16, 64, requires_grad=True)
    w = tg.ones(64, requires_grad=True)
    calls: dict[str, Any] = {
        "layer_norm": lambda: functional.layer_norm(x, (64,), w, w),
        "rms_norm": lambda: functional.rms_norm(x, (64,), w),
        "softmax": lambda: functional.softmax(x, -1),
        "cross_entropy": lambda: functional.cross_entropy(x.view(-1, 64), tg.zeros(32, dtype=tg.int64)),
        "attention": lambda: functional.scaled_dot_product_attention(x, x, x, is_causal=True),
        "gelu_tanh": lambda: functional.gelu(x, approximate="tanh"),
    }
    totals = []
    for composed in (False, True):
        with tg.trace(composed=composed) as t:
            calls[name]()
        totals.append(sum(node.flops for node in t.nodes))
        assert (name in [node.op for node in t.nodes]) or composed or name == "softmax"
    fused, parts = totals
    assert 0.6 * parts <= fused <= 1.5 * parts


def test_backward_products_cost_twice_the_forward() -> None:
    """两个因子都要梯度时，矩阵乘法的反向不是前向的两倍；只要一个时不是一倍。"""
    shapes, output = [(4, 3), (5, 3), (5,)], (4, 5)
    forward = forward_flops("linear", [(4, 3), (5, 3), (5,)], output)
    assert backward_flops_of("linear", shapes, output, [True, True, True]) == 2 * forward
    assert backward_flops_of("linear", shapes, output, [False, True, True]) == forward
    assert backward_flops_of("add", [(4,), (4,)], (4,), [True, True]) == 0


def test_timeline_adds_up_to_the_recording(traced: Any) -> None:
    """时间线漏了或多算了时间，各段没有首尾相接，或反向走完之后还留着东西。"""
    turn = max(i for i, event in enumerate(traced.events) if event.kind == "backward") + 1
    spans = timeline(traced, last=turn)
    steps = [step for one in traced.backwards for step in one.steps]
    nodes = [traced.nodes[event.node] for event in traced.events[:turn] if event.kind == "forward"]
    assert len(spans) == len(steps) + len(nodes)
    assert all(a.end_ns == b.start_ns for a, b in pairwise(spans))
    assert spans[-1].end_ns == sum(node.time_ns for node in nodes) + sum(step.time_ns for step in steps)
    assert max(span.held_bytes for span in spans) == sum(node.saved_bytes for node in nodes)
    assert spans[-1].held_bytes == 0


def test_costs_are_the_sum_of_the_spans(traced: Any) -> None:
    """各种算子的合计与各段之和不同。"""
    spans = timeline(traced)
    rows = costs(spans)
    assert sum(row.total_ns for row in rows) == spans[-1].end_ns
    assert sum(row.calls for row in rows) == len(traced.nodes)
    assert sum(row.forward_flops for row in rows) == sum(node.flops for node in traced.nodes)
    assert [row.total_ns for row in rows] == sorted((row.total_ns for row in rows), reverse=True)
    linear = next(row for row in rows if row.op == "linear")
    assert linear.calls == 2 * 2 * 5 + 1  # 两层，每层五个线性层，训练一步、读一遍提示；提示还要过输出层
    assert f">{linear.calls}</text>" in costs_svg(spans)


def test_chrome_trace_holds_every_step_inside_its_module(traced: Any, tmp_path: Path) -> None:
    """Chrome trace 不是合法的 JSON，漏了算子，算子落在模块之外，或前向没有指向反向的箭头。"""
    path = tmp_path / "trace.json"
    write_chrome_trace(traced, path)
    rows = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    spans = [row for row in rows if row["ph"] == "X"]
    ops = [row for row in spans if row["cat"] == "cpu_op"]
    steps = sum(len(one.steps) for one in traced.backwards)
    assert len(ops) == len(traced.nodes) + steps
    modules = [row for row in spans if row["name"] in ("h.0.attn", "h.1.attn")]
    attention = [row for row in ops if row["name"].startswith("attention")]
    assert len(modules) == len(attention) == 6  # 两层：前向、反向，再一次前向
    assert [row["name"] for row in spans if row["cat"] == "user_annotation"] == ["forward", "backward", "forward"]
    for row in attention:
        assert any(m["ts"] <= row["ts"] and row["ts"] + row["dur"] <= m["ts"] + m["dur"] + 1e-6 for m in modules)
    assert sum(row["ph"] == "s" for row in rows) == steps == sum(row["ph"] == "f" for row in rows)
    assert any(row["args"].get("FLOPs") for row in ops)


def test_modules_are_split_into_layers_and_parts(traced: Any) -> None:
    """模块的路径没有按层切开，或同一层被切成了几段。"""
    assert module_levels("h.0.attn.c_attn") == ["h.0", "attn", "c_attn"]
    assert module_levels("") == []
    layers = [name for name, is_backward, _, _ in runs(timeline(traced), 1) if is_backward and name.startswith("h")]
    assert layers == ["h.1", "h.0"]


def test_panels_are_self_contained_drawings(traced: Any) -> None:
    """附加的图不是合法的 XML，引用了外部的东西，缺一种语言，或写进了 NaN。"""
    panels = traced.to_dict()["panels"]
    assert [one["id"] for one in panels] == ["gradient-flow", "attention", "logit-lens", "op-costs", "timeline"]
    for one in panels:
        root = ElementTree.fromstring(one["svg"])  # noqa: S314  自己写的
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        said = {lang: len(root.findall(f".//*[@class='{lang}']")) for lang in ("zh", "en")}
        assert said["zh"] == said["en"] > 0
        assert "href" not in one["svg"]
        assert not re.search(r'="[^"]*\bnan\b', one["svg"])
        assert one["title_zh"] != one["title_en"]
        width, height = map(float, root.attrib["viewBox"].split()[2:])
        texts = [e for e in root.iter("{http://www.w3.org/2000/svg}text") if "transform" not in e.attrib]
        outside = [
            e.text for e in texts if not (0 <= float(e.attrib["x"]) <= width and 0 <= float(e.attrib["y"]) <= height)
        ]
        assert outside == []


def test_the_recording_holds_one_step_and_one_forward(runs_dir: Path, traced: Any) -> None:
    """训练的那一步不是接下来的那个批次，损失不对，或读提示时改动了权重与梯度。"""
    run = load_run("tiny", str(runs_dir))
    x, y = run.data.batch(run.step)
    root = traced.values[traced.backwards[0].root]
    with tg.no_grad():
        expected = run.model.loss(tg.from_numpy(x), tg.from_numpy(y)).item() / y.size
    assert root.data == pytest.approx(expected, rel=1e-12)
    assert len(traced.backwards) == 1
    kept = traced["h.1.attn.c_proj.weight"].data
    np.testing.assert_array_equal(kept, run.model.state_dict()["h.1.attn.c_proj.weight"].numpy())
    assert traced.title == "tiny, step 4"


@pytest.mark.parametrize(("prompt", "message"), [("", "0 tokens"), ("object " * 40, "1 to 32")])
def test_prompts_that_do_not_fit_are_refused(runs_dir: Path, prompt: str, message: str) -> None:
    """空的、比上下文长的提示没有被拒绝，或没有说明长度。"""
    with pytest.raises(UserError, match=message) as caught:
        trace_run("tiny", prompt, runs_dir=str(runs_dir), flow_steps=0)
    assert len(str(caught.value).splitlines()) <= 3


def test_the_prompt_is_kept_whole_whatever_the_limit(runs_dir: Path, traced: Any) -> None:
    """``limit`` 很小时，读提示的前向也只剩概要，注意力与 logit lens 画不出来，或画的是别的。"""
    small = trace_run("tiny", "the value of the", runs_dir=str(runs_dir), flow_steps=0, limit=4)
    assert small.limit == 4
    for i in (0, 1):
        assert small.extensions["panels"][i]["svg"] == traced.extensions["panels"][i + 1]["svg"]
    assert sum(isinstance(value.data, Summary) for value in small.values) > 50
    assert not any(isinstance(small.values[node.output].data, Summary) for node in _forward(small))


def test_a_missing_run_is_named(runs_dir: Path) -> None:
    """没有的运行抛出了 traceback。"""
    with pytest.raises(CheckpointError, match="no such run"):
        trace_run("nowhere", runs_dir=str(runs_dir))


def test_without_a_prompt_the_validation_text_is_read(runs_dir: Path) -> None:
    """没有给提示时不能用，或没有梯度流时仍画了它。"""
    t = trace_run(str(runs_dir / "tiny"), runs_dir=str(runs_dir), flow_steps=0)
    assert [one["id"] for one in t.extensions["panels"]] == ["attention", "logit-lens", "op-costs", "timeline"]
    assert traced_tokens(t) > 1


def traced_tokens(t: Any) -> int:
    """读提示的那次前向有几个 token。"""
    embedding = next(node for node in _forward(t) if node.op == "embedding")
    return int(t.values[embedding.output].shape[1])


def test_unigram_loss_is_the_entropy() -> None:
    """一元熵算错：四个等概率的 token 应为 ln 4。"""
    assert unigram_loss(np.array([0, 1, 2, 3] * 5)) == pytest.approx(math.log(4))
    assert unigram_loss(np.array([7, 7])) == 0.0


def test_tokens_are_shown_so_that_blanks_can_be_seen() -> None:
    """图上的空格、换行看不见，或不成字的字节弄乱了图。"""
    tokenizer = train_bpe("a b      b      b", 257 + 2)
    shown = [token_text(tokenizer, i) for i in (ord("a"), ord(" "), ord("\n"), 0xFF, 0x00)]
    assert shown == ["a", "·", "↵", "\\xff", "\\x00"]
    assert token_text(tokenizer, tokenizer.eot) == "<|endoftext|>"


def test_axes_put_ticks_at_round_numbers() -> None:
    """刻度不是好读的数，落在轴外，或对数轴的刻度不是 10 的幂。"""
    assert Axis(0, 299, 0, 1).ticks() == [0, 100, 200]
    assert Axis(1e-6, 10, 0, 1, log=True).ticks(7) == [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1, 10]
    assert [tick_text(value, log=True) for value in (1e-6, 0.1, 1, 10, 1e12)] == ["10⁻⁶", "10⁻¹", "1", "10", "10¹²"]
    axis = Axis(1e-3, 10, 100, 0, log=True)
    assert [axis(value) for value in (1e-3, 10, 0.0, 99.0)] == [100, 0, 100, 0]
    assert [quantity(x, "B") for x in (0, 999, 1500, 2.5e6, 3e9)] == ["0 B", "999 B", "1.5 kB", "2.5 MB", "3 GB"]


def test_flow_is_drawn_even_when_training_blew_up() -> None:
    """损失或梯度里有无穷与 NaN 时画不出来。"""
    bad = Flow(False, [0, 1], [6.0, math.inf], [[1.0, 2.0], [math.inf, math.nan]], [[1.0], [math.nan]])
    svg = flow_svg([dataclasses.replace(bad, residual=True, losses=[6.0, 5.0]), bad])
    ElementTree.fromstring(svg)  # noqa: S314  自己写的


def test_the_command_traces_a_run(runs_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """命令行不能用：没有写出网页与 Chrome trace，网页里没有那几张图，或没有人看图时仍去训练。"""
    common = ["trace", "--run", "tiny", "--runs-dir", str(runs_dir), "--prompt", "the value"]
    page, times = tmp_path / "run.html", tmp_path / "times.json.gz"
    files = ["--html", str(page), "--chrome", str(times), "--flow-steps", "1"]
    assert command_line("python -m tinygrad_llm", "", VERBS, [*common, *files]) == 0
    text = page.read_text(encoding="utf-8")
    assert [name for name in ("gradient-flow", "attention", "logit-lens") if f'"id":"{name}"' not in text] == []
    assert json.loads(gzip.decompress(times.read_bytes()))["title"] == "tiny, step 4"
    assert "residuals" in capsys.readouterr().err
    assert command_line("python -m tinygrad_llm", "", VERBS, common) == 0
    written = capsys.readouterr()
    assert "h.1.mlp.c_proj.weight" in written.out
    assert "residuals" not in written.err


@pytest.mark.parametrize("flags", [["neuron", "--flow-steps", "3"], ["--run", "tiny", "--flow-steps", "-1"]])
def test_flags_that_make_no_sense_are_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """不该有的 flag 没有被拒绝，或没有说是哪一个。"""
    assert command_line("python -m tinygrad_llm", "", VERBS, ["trace", *flags]) == 2
    assert "--flow-steps" in capsys.readouterr().err
