"""每条不变性都成立，每个弄坏的孪生都被抓住；核对的办法自己也要核对。"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from parity_tests.contract import command, runner
from parity_tests.contract.cases import Case, Ids
from parity_tests.contract.forward import CountsPadding
from parity_tests.contract.gaps import Gap, close, close_all, exact, size_of
from parity_tests.contract.implementation import ENGINES, Implementation
from parity_tests.contract.property import Property
from parity_tests.contract.runner import PROPERTIES, catch, prove
from parity_tests.contract.training import PROPERTIES as TRAINING
from tinygrad_llm.common.batches import Batch
from tinygrad_llm.common.config import GPTConfig
from tinygrad_llm.common.errors import UserError

QUICK = settings().derandomize
SEED = 0 if QUICK else secrets.randbelow(2**32)
"""quick 档每次相同，full 档每次不同；失败的消息里有它。"""

each_property = pytest.mark.parametrize("one", PROPERTIES, ids=lambda one: one.name)
each_engine = pytest.mark.parametrize("engine", ENGINES)


def examples_of(one: Property) -> int:
    """full 档两个引擎相符看 200 个随机配置，别的 100 个；训练的例子各要几次完整的训练，25 个。"""
    most = settings().max_examples
    if one in TRAINING:
        return max(2, most // 12)
    return max(10, most * 2 // 3 if one.name == "both engines agree" else most // 3)


def fewer_of(one: Property) -> int:
    """抓孪生、看 float32，一半的例子就够。"""
    return max(min(10, examples_of(one)), examples_of(one) // 2)


@each_engine
@each_property
def test_an_invariance_does_not_hold(one: Property, engine: str) -> None:
    """一条不变性在某个随机的 GPT 上不成立：差得超出了舍入。"""
    found = prove(one, Implementation(engine), examples_of(one), SEED)
    assert not found.failure, f"seed {SEED}: {found.failure}"
    assert found.examples >= examples_of(one)


@each_engine
@each_property
def test_a_broken_twin_passes(one: Property, engine: str) -> None:
    """弄坏的孪生没有被抓住，败在别处，或在它的错不起作用时也失败：这条性质没有在看它该看的东西。"""
    found = catch(one, Implementation(engine), fewer_of(one), SEED)
    assert not found.complaint, f"seed {SEED}: {found.complaint}"
    assert found.gap is not None


@pytest.mark.full
@each_engine
@each_property
def test_an_invariance_does_not_hold_in_float32(one: Property, engine: str) -> None:
    """界不随浮点类型走：float32（有的设备只有它）下，对的实现也过不了，或孪生也过得去。"""
    single, examples = Implementation(engine, dtype="float32"), fewer_of(one)
    assert not prove(one, single, examples, SEED).failure, f"seed {SEED}"
    assert not catch(one, single, examples, SEED).complaint, f"seed {SEED}"


def _named(name: str) -> Property:
    return next(one for one in PROPERTIES if one.name == name)


def test_a_sound_twin_counts_as_caught() -> None:
    """孪生其实没有坏，却算作抓住了。"""
    found = catch(replace(_named("causality"), twin=Implementation), Implementation("numpy"), 3)
    assert found.complaint == "the broken twin was not caught"
    assert found.gap is None


def test_a_twin_that_fails_elsewhere_counts_as_caught() -> None:
    """孪生败在别处（这里少算一行只露在损失与梯度里），却算作抓住了。"""
    one = replace(_named("order of a batch"), symptoms=("logits",))
    assert catch(one, Implementation("numpy"), 3).complaint == "it failed for another reason: loss"


def test_a_twin_that_fails_without_its_mistake_counts_as_caught() -> None:
    """孪生的错起不起作用它都失败：让它失败的不是那个错。"""

    class WorseThanSaid(CountsPadding):
        """不止空位，目标全成了 0。"""

        def pad(self, rows: Sequence[Ids]) -> Batch:
            """目标全是 0。"""
            x, y = super().pad(rows)
            return x, np.zeros_like(y)

    one = replace(_named("padding independence"), twin=WorseThanSaid)
    assert "even where its mistake has no effect" in catch(one, Implementation("numpy"), 3).complaint


def test_a_difference_goes_unnoticed() -> None:
    """非有限的数、不同的类型或形状、最后一位的不同，被当作相等。"""
    one = np.ones(3)
    assert exact("", one, one).is_broken is False
    assert exact("", np.nextafter(one, 2), one).is_broken
    for other in (one * np.nan, one * np.inf, one.astype(np.float32), np.ones(4)):
        assert exact("", other, one).is_broken
        assert close("", other, one, 10**9).is_broken
    assert exact("", one * np.nan, one * np.nan).is_broken
    assert close("", one, one, 9, size_of(one, one * np.inf)).is_broken, "an infinite bound lets everything through"


def test_an_amplified_rounding_counts_as_an_error() -> None:
    """舍入被放大了一千倍的结果，没有按量出的条件数放宽；没有放大的，却放宽了。"""
    one, step = np.ones(3), 2.0**-26.5
    assert size_of(one, one * (1 + 1000 * step)) == pytest.approx(1000)
    assert size_of({"a": one, "b": one * 0}, {"a": one * (1 + step / 2), "b": one * 0}) == 1


def test_a_bound_follows_its_parts() -> None:
    """界不随舍入次数的平方根、结果的大小、类型的舍入单位走；一组数里恒为 0 的那个没有按整组的大小计。"""
    one = np.array([0.5, -2.0])
    assert close("", one, one, 9).bound == 8 * 3 * 2.0**-53 * 2
    assert close("", one.astype("f4"), one.astype("f4"), 9).bound == 8 * 3 * 2.0**-24 * 2
    gaps = close_all("gradient of", {"a": one, "b": one * 1e-17}, {"a": one, "b": one * 0}, 7)
    assert [gap.bound for gap in gaps] == [gaps[0].bound] * 2
    assert not any(gap.is_broken for gap in gaps)


def test_a_failure_cannot_be_repeated(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """性质不成立，命令却以 0 退出，或没有印出缩小之后的例子与重来的命令。"""

    def deep(one: Implementation, case: Case) -> list[Gap]:
        return [Gap("depth", float(case.config.n_layer), 1.5)]

    broken = replace(_named("causality"), gaps=deep)
    monkeypatch.setattr(runner, "PROPERTIES", (broken,))
    with pytest.raises(SystemExit, match="1"):
        command.main(command.Config(examples=30, engine="numpy", seed=5))
    out = capsys.readouterr().out
    assert "depth differs by 2, at most 1.5 is rounding" in out
    assert "n_layer=2" in out, "the example is not the smallest one"
    assert 'python -m parity_tests contract --seed 5 --examples 30 --only "causality"' in out


def test_the_command_says_less_than_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """表里缺一行，或写出的 JSON 与表不同。"""
    path = tmp_path / "new" / "contract.json"
    command.main(command.Config(examples=2, only=("packed", "chunked"), json=path))
    lines = capsys.readouterr().out.splitlines()
    rows = json.loads(path.read_text(encoding="utf-8"))
    assert [(row["property"], row["engine"]) for row in rows] == [
        (name, engine) for name in ("packed = unpacked", "chunked loss = unchunked") for engine in ENGINES
    ]
    for row, line in zip(rows, lines[2:], strict=False):
        assert row["holds"]
        assert re.split(r" {2,}", line)[:2] == [row["property"], row["engine"]]
        assert "caught" in line
    assert lines[-1].startswith("4 of 4 hold")


def test_a_wrong_flag_is_accepted() -> None:
    """用不了的设置没有在动手之前被拒绝，或没有说出怎么办。"""
    with pytest.raises(UserError, match="--dtype float32"):
        command.Config(device="mps")
    with pytest.raises(UserError, match="--write needs every property"):
        command.Config(write=True, only=("causality",))
    with pytest.raises(UserError, match='did you mean "causality"'):
        command.main(command.Config(only=("casuality",)))


def test_the_ledger_is_of_other_properties() -> None:
    """账本里的性质、引擎或孪生的错与现在的不同：改了性质而没有重写账本。"""
    text = command.LEDGER.read_text(encoding="utf-8")
    found = [line.split(" | ") for line in text.splitlines() if line.startswith("| ") and " | 成立 | " in line]
    expected = [(one.name, engine, one.mistake) for one in PROPERTIES for engine in ENGINES]
    assert [(cells[0].removeprefix("| "), cells[1], cells[5]) for cells in found] == expected


def test_a_replayed_case_draws_other_numbers() -> None:
    """例子里的随机数每次取出来都不同，重放就走了样。"""
    case = Case(GPTConfig(vocab_size=5, context=4, n_layer=1, n_head=1, n_embd=4), 2, 7)
    assert case.rng().integers(1 << 62) == case.rng().integers(1 << 62)
