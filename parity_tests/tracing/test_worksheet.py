"""练习：写出来、填满、判分；沿用前面的错不再扣分；改坏的文件说得清错在哪里。"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_llm as tg
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.tracing.programs import run_program
from tinygrad_llm.tracing.toys import TOYS
from tinygrad_llm.tracing.trace import Trace
from tinygrad_llm.tracing.worksheet import check_worksheet, fill_worksheet, make_exercise, write_worksheet
from tinygrad_llm.tracing.worksheet.cells import Sheet
from tinygrad_llm.tracing.worksheet.grading import Grader
from tinygrad_llm.tracing.worksheet.reading import filled
from tinygrad_llm.tracing.worksheet.report import Report


def sheet_of(name: str) -> Sheet:
    """一个玩具的练习。"""
    return Sheet(run_program(name, with_torch=False))


def graded(sheet: Sheet, **texts: str) -> Report:
    """只填了这几格的练习的判分。"""
    return Grader(sheet, texts).report()


def cell(sheet: Sheet, kind: str, label: str) -> str:
    """某个张量的某一种格（取最先的）的编号。"""
    return next(c.id for c in sheet.cells.values() if c.kind == kind and sheet.trace.values[c.value].label == label)


# ---- 写、填、判


@pytest.mark.parametrize("name", TOYS)
def test_the_answer_sheet_scores_full_and_the_blank_one_nothing(name: str, tmp_path: Path) -> None:
    """填满答案的练习得 100 分，空白的得 0 分；答案只改了最后一列。"""
    path = write_worksheet(run_program(name, with_torch=False), tmp_path / "sheet.md")
    answers = fill_worksheet(path)
    assert answers == tmp_path / "sheet.answers.md"
    report = check_worksheet(answers)
    assert report.ok
    assert (report.score, report.exit_code) == (100.0, 0)
    empty = check_worksheet(path)
    assert empty.counts()["blank"] == len(empty.cells)
    assert (empty.score, empty.exit_code) == (0.0, 1)
    changed = [
        (a, b) for a, b in zip(path.read_text().splitlines(), answers.read_text().splitlines(), strict=True) if a != b
    ]
    assert len(changed) == len(report.cells)
    assert all(a.rpartition("| `")[0] == b.rpartition("| `")[0] for a, b in changed)


@pytest.mark.parametrize("name", ["neuron", "broadcast", "gpt"])
def test_the_answers_are_the_engines_own_numbers(name: str) -> None:
    """每一格的正确答案与记录里的数相同；局部导数与中心差分相同。"""
    sheet = sheet_of(name)
    trace = sheet.trace
    wanted: Any
    for one in sheet.cells.values():
        if one.kind == "F":
            wanted = trace.values[one.value].data
        elif one.kind == "G":
            wanted = trace.values[one.value].grad
        else:
            assert one.place is not None
            step = trace.backwards[one.place[0]].steps[one.place[1]]
            edge = step.edges[one.place[2]]
            wanted = {"C": edge.contribution, "S": edge.after, "D": None}[one.kind]
            if wanted is None:
                call, h = sheet.call[step.node], 1e-6
                assert call is not None
                x = np.broadcast_to(call.inputs[edge.input], one.expected.shape)
                up, down = (
                    call.with_inputs([x + d if i == edge.input else v for i, v in enumerate(call.inputs)]).forward()
                    for d in (h, -h)
                )
                assert up is not None
                assert down is not None
                slope = np.subtract(up, down, where=up != down, out=np.zeros(up.shape)) / (2 * h)  # 被遮住的是 -inf
                np.testing.assert_allclose(one.expected, slope, rtol=1e-6, atol=1e-8)
                continue
        np.testing.assert_array_equal(one.expected, wanted)


def test_the_sheet_shows_no_answer(tmp_path: Path) -> None:
    """要读者算的数，练习里一个也不印。"""
    sheet = sheet_of("attention")
    text = write_worksheet(sheet.trace, tmp_path / "sheet.md").read_text()
    for one in sheet.cells.values():
        for number in one.asked.ravel():
            shown = f"{number:.6g}"
            if len(shown.lstrip("-0.")) > 4:
                assert shown not in text, f"{one.id} is printed: {shown}"


@pytest.mark.parametrize("name", sorted(TOYS))
def test_the_story_of_a_toy_gives_its_numbers_away(name: str, tmp_path: Path) -> None:
    """玩具的文档里写着该得到的数，连同程序一起抄进了练习。"""
    text = write_worksheet(run_program(name), tmp_path / "sheet.md").read_text(encoding="utf-8")
    assert "    right " not in text
    assert f"def {name}(" in text


def test_a_row_is_asked_of_a_large_array(tmp_path: Path) -> None:
    """大数组只问一行，整行就是答案。"""
    sheet = sheet_of("gpt")
    one = next(c for c in sheet.cells.values() if c.rows)
    assert one.asked.shape == one.expected.shape[-1:]
    text = write_worksheet(sheet.trace, tmp_path / "sheet.md").read_text()
    assert f"（只填第 `{list(one.rows)}` 行）" in text


# ---- 写了几位，按几位判


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("0.0852", "right"),
        ("0.08519", "right"),
        ("0.085", "right"),
        ("0.0851", "right"),  # 截尾而没有舍入
        ("-log(sigmoid(2.42))", "right"),
        ("-ln(1/(1+exp(-2.42)))", "right"),
        ("0.09", "wrong"),  # 一位有效数字，差了百分之六
        ("0.0855", "wrong"),
        ("0.08530", "wrong"),
        ("852/10000", "wrong"),  # 分数是精确的，而损失不是它
        ("0.0852.", "unreadable"),
        ("abc", "unreadable"),
        ("____", "blank"),
    ],
)
def test_a_number_is_judged_by_the_digits_written(text: str, status: str) -> None:
    """neuron 的损失 0.08518…：末位差一以内、又在百分之一以内才算对。"""
    sheet = sheet_of("neuron")
    name = cell(sheet, "F", "loss")
    assert graded(sheet, **{name: text})[name].status == status


def test_a_row_or_a_column_of_the_same_numbers_is_the_same_answer() -> None:
    """只差长度为 1 的轴不算错；真正换了形状才算。"""
    sheet = sheet_of("broadcast")
    name = cell(sheet, "G", "b")  # (2, 1)
    column = [float(x) for x in sheet.cells[name].expected.ravel()]
    assert graded(sheet, **{name: str(column)})[name].status == "right"
    assert graded(sheet, **{name: str([column, column])})[name].status == "wrong"


def test_part_of_an_array_earns_part_of_the_point() -> None:
    """六个数对了五个，得六分之五，并指出错在哪里；填了一半、都对的，还算空着。"""
    sheet = sheet_of("layernorm")
    one = next(c for c in sheet.cells.values() if c.expected.shape == (2, 3) and c.kind == "F")
    rows = one.expected.tolist()
    rows[1][2] += 1.0
    report = graded(sheet, **{one.id: str(rows)})[one.id]
    assert report.status == "wrong"
    assert report.wrong == [(1, 2)]
    assert report.score == pytest.approx(5 / 6)
    half = f"[{rows[0]}, [_, _, _]]"
    report = graded(sheet, **{one.id: half})[one.id]
    assert (report.status, report.score) == ("blank", 0.5)


def test_a_mistake_in_one_element_is_named() -> None:
    """矩阵里只有一个数反了号，也叫得出名字。"""
    sheet = sheet_of("layernorm")
    one = sheet.cells[cell(sheet, "G", "x")]
    rows = one.expected.copy()
    rows[0, 1] *= -1
    report = graded(sheet, **{one.id: str(rows.tolist())})[one.id]
    assert report.names == ["sign-error"]
    assert report.wrong == [(0, 1)]


# ---- 沿用前面的错


def test_what_follows_from_an_earlier_error_is_not_punished_again() -> None:
    """neuron：z 的符号弄反，此后照自己的 z 一路算对：只有 z 是错的。数全由手算的公式得出，与判分的代码无关。"""
    sheet = sheet_of("neuron")
    w, x, y = 2.2, 1.1, 1.0
    z = -w * x
    a = 1 / (1 + math.exp(-z))
    da, dz = (a - y) / (a * (1 - a)), a - y
    wanted = {
        ("F", "mul_1"): z, ("F", "z"): z, ("F", "a"): a, ("F", "loss"): -math.log(a),
        ("D", "a"): da, ("C", "a"): da, ("D", "z"): a * (1 - a), ("C", "z"): dz,
        ("D", "mul_1"): 1.0, ("C", "mul_1"): dz, ("D", "b"): 1.0, ("C", "b"): dz,
        ("D", "w"): x, ("C", "w"): dz * x, ("G", "w"): dz * x, ("G", "b"): dz,
    }  # fmt: skip
    texts = {cell(sheet, kind, label): f"{number:.4g}" for (kind, label), number in wanted.items()}
    assert len(texts) == len(sheet.cells)
    report = graded(sheet, **texts)
    first = cell(sheet, "F", "mul_1")
    assert report[first].status == "wrong"
    assert report[first].names == ["sign-error"]
    for one in report.cells:
        if one.id != first:
            assert one.status in ("right", "consistent"), one
            assert one.status == "right" or one.sources == [first]
    assert report[cell(sheet, "G", "w")].status == "consistent"
    assert report.score == pytest.approx(100 * (len(texts) - 1) / len(texts))
    assert report.exit_code == 1


def test_a_second_error_on_top_of_the_first_is_still_named() -> None:
    """diamond：s 算成 2x，之后又忘了累加：两处错各有各的名字，中间照着算的不算错。"""
    sheet = sheet_of("diamond")
    x = 1.5
    s = 2 * x
    u = s + 1
    wanted = {("F", "s"): s, ("F", "u"): u, ("F", "y"): s * u, ("C", "s"): u, ("C", "u"): s}
    texts = {cell(sheet, kind, label): f"{number:g}" for (kind, label), number in wanted.items()}
    names = [c.id for c in sheet.cells.values() if c.kind == "S" and sheet.trace.values[c.value].label == "s"]
    texts[names[0]] = f"{s:g}"  # 应当是 u + s，只留了后来的一份
    report = graded(sheet, **texts)
    assert report[cell(sheet, "F", "s")].names == ["power-as-product"]
    assert [report[cell(sheet, "F", one)].status for one in ("u", "y")] == ["consistent"] * 2
    assert report[names[0]].status == "wrong"
    assert report[names[0]].names == ["forgot-accumulate"]


def test_an_error_in_a_matrix_is_carried_through_products() -> None:
    """mlp：H 忘了偏置，之后的 Y 与损失照自己的 H 算：由 NumPy 独立算出，判为沿用。"""
    sheet = sheet_of("mlp")
    X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    values = {v.name: v.data for v in sheet.trace.values if v.name}
    H = np.tanh(X @ values["W1"])
    Y = H @ values["W2"] + values["b2"]
    texts = {
        cell(sheet, "F", "H"): H,
        cell(sheet, "F", "Y"): Y,
        cell(sheet, "F", "loss"): ((Y - values["T"]) ** 2).mean(),
    }
    report = graded(sheet, **{name: str(np.round(number, 6).tolist()) for name, number in texts.items()})
    assert report[cell(sheet, "F", "H")].status == "wrong"
    assert report[cell(sheet, "F", "Y")].status == "consistent"
    assert report[cell(sheet, "F", "loss")].status == "consistent"


def test_a_chain_of_rounded_numbers_is_right() -> None:
    """每一步都用自己舍入过的三位数往下算，末位差一点不算错。"""
    sheet = sheet_of("neuron")
    a = round(1 / (1 + math.exp(-2.42)), 3)
    d = round((a - 1) / (a * (1 - a)), 2)
    s = round(a * (1 - a), 4)
    texts = {
        cell(sheet, "F", "a"): f"{a}",
        cell(sheet, "D", "a"): f"{d}",
        cell(sheet, "C", "a"): f"{d}",
        cell(sheet, "D", "z"): f"{s}",
        cell(sheet, "C", "z"): f"{d * s:.5f}",
    }
    assert [one.status for one in graded(sheet, **texts).cells if one.id in texts] == ["right"] * 5


# ---- 文件


def test_only_the_last_column_matters(tmp_path: Path) -> None:
    """去掉反引号、改动别的列、在表外写笔记、删掉几行，都不妨碍判分。"""
    path = write_worksheet(run_program("neuron", with_torch=False), tmp_path / "sheet.md")
    fill_worksheet(path, path)
    lines = [line.replace("`", "") if line.startswith("| F") else line for line in path.read_text().splitlines()]
    lines = [line.replace("贡献", "我的笔记") for line in lines if not line.startswith("| D1")]
    path.write_text("\ufeff" + "\r\n".join([*lines, "| 随手记的 | 一张表 |"]))
    report = check_worksheet(path)
    assert report.counts() == {"right": 15, "consistent": 0, "wrong": 0, "unreadable": 0, "blank": 1}
    assert report["D1"].status == "blank"


def test_a_bar_in_a_formula_does_not_split_the_row(tmp_path: Path) -> None:
    """公式里的竖线转了义，不会被当作表格的边。"""
    trace: Trace
    with tg.trace(title="bar") as trace:
        x = tg.tensor([-2.0, 3.0], dtype=tg.float64, requires_grad=True)
        x.abs().sum().backward()
    path = write_worksheet(trace, tmp_path / "sheet.md")
    assert "\\|x\\|" in path.read_text()
    assert check_worksheet(fill_worksheet(path, trace=trace), trace).ok


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("tinygrad_llm worksheet:", "something:", "not a worksheet"),
        ('{"version": 1', '{"version": ', "damaged"),
        ('"version": 1', '"version": 99', "another version"),
        ('"program": "neuron"', '"program": "nobody"', 'no toy model "nobody"'),
        ('"program": "neuron"', '"program": "diamond"', "changed since"),
        ("| F2 |", "| F99 |", "no cell F99"),
        ("| F2 |", "| F1 |", "F1 is there twice"),
        ("| G2 | `∂L/∂b` |", "| G2 |", "row of cell G2 is broken"),
    ],
)
def test_a_damaged_file_is_refused_in_three_lines(before: str, after: str, told: str, tmp_path: Path) -> None:
    """改坏的练习：说清哪里坏了、怎么办，至多三行。"""
    path = write_worksheet(run_program("neuron", with_torch=False), tmp_path / "sheet.md")
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    with pytest.raises(UserError, match=told) as caught:
        check_worksheet(path)
    assert 2 <= len(str(caught.value).splitlines()) <= 3


def test_a_missing_or_unreadable_file_is_refused(tmp_path: Path) -> None:
    """没有这个文件，或者不是文字。"""
    with pytest.raises(DataError, match="No such file"):
        check_worksheet(tmp_path / "none.md")
    (tmp_path / "binary.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        check_worksheet(tmp_path / "binary.md")


def test_a_changed_program_is_noticed(tmp_path: Path) -> None:
    """练习写好之后改了程序，判分时拒绝，而不是拿新的数去判旧的题；两个文件一起搬走仍然找得到。"""
    path = make_exercise(1, 0, tmp_path / "one.md")
    program = tmp_path / "one.py"
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for one in (path, program):
        (moved / one.name).write_text(one.read_text())
    assert not check_worksheet(moved / "one.md").ok
    (moved / "one.py").write_text(program.read_text().replace("requires_grad=True)", "requires_grad=True) * 1.5", 1))
    with pytest.raises(DataError, match="changed since"):
        check_worksheet(moved / "one.md")


def test_a_trace_of_ones_own_is_checked_with_the_trace(tmp_path: Path) -> None:
    """自己记的计算没有程序名：判分时把记录再给一次，不给就说清楚。"""
    trace: Trace
    with tg.trace(title="mine") as trace:
        x = tg.tensor(2.0, dtype=tg.float64, requires_grad=True)
        (x * x).backward()
    path = write_worksheet(trace, tmp_path / "sheet.md")
    path.write_text(filled(path.read_text(), {"F1": "4"}))
    assert check_worksheet(path, trace)["F1"].status == "right"
    with pytest.raises(DataError, match="does not say which program"):
        check_worksheet(path)
    with tg.trace() as trace:
        tg.ones(2)
    with pytest.raises(UserError, match="nothing in this trace"):
        write_worksheet(trace, tmp_path / "empty.md")


def test_the_report_reads_well_in_a_terminal() -> None:
    """每个错处一行事实、一行改法；空着的合成一行。"""
    sheet = sheet_of("neuron")
    report = graded(sheet, F1="-2.42", F2="2.42", F3="0.9.", G1="-0.0898")
    text = str(report)
    assert text.splitlines()[0] == "neuron：16 格（对 2，错 1，读不懂 1，空 12），得 12.5 分"
    assert "✗ F1   mul_1 的值：写的是 -2.42" in text
    assert "像是「符号错」（sign-error）：数对了" in text
    assert "? F3   a 的值：读不懂 0.9." in text
    assert "还空着：F4、D1" in text
    assert report.to_dict()["counts"]["right"] == 2


def test_two_backward_passes_add_up() -> None:
    """反传两趟，梯度留在 ``.grad`` 里相加：最终梯度是两趟之和，只记得一趟就是没有累加。"""
    trace: Trace
    with tg.trace(title="twice") as trace:
        w = tg.tensor(3.0, dtype=tg.float64, requires_grad=True)
        (w * 2.0).backward()
        (w * 5.0).backward()
    sheet = Sheet(trace)
    assert graded(sheet, G1="7")["G1"].status == "right"
    assert graded(sheet, G1="5")["G1"].names == ["forgot-accumulate"]
    trace = Trace()
    with tg.trace(title="cleared") as trace:
        w = tg.tensor(3.0, dtype=tg.float64, requires_grad=True)
        (w * 2.0).backward()
        w.grad = None
        (w * 5.0).backward()
    assert graded(Sheet(trace), G1="5")["G1"].status == "right"
