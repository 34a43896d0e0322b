"""主线：一条命令走完全程，打印对照表，写出自足的报告；有一条超界就以 1 退出；再跑一次得到同样的损失。

第一遍在本进程里走；第二遍用真正的命令（它自己再起七个进程），在同一个文件夹里。
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

from parity_tests.whole_runs.commands import (
    ENGINES,
    PROGRAMS,
    VERBS,
    Ended,
    Place,
    as_flags,
    finish,
    text_of,
    wait_for_steps,
)
from tinygrad_llm.common import cli, report
from tinygrad_llm.common.checkpoint import load_checkpoint
from tinygrad_llm.common.ngram import ByteNgram
from tinygrad_llm.common.runlog import read_metrics
from tinygrad_llm.common.toml import load_toml
from tinygrad_llm.common.train_config import TrainConfig
from tinygrad_llm.quickstart import command as quickstart
from tinygrad_llm.quickstart import runs as quickstart_runs

SMALL = {"vocab_size": 300, "steps": 10, "batch_size": 2}
LAST_CHECK = "validation bits/byte"
EXTERNAL = re.compile(r"url\(\s*['\"]?(?!#|data:)|@import|<script|<iframe|<object|<embed", re.IGNORECASE)


class Links(HTMLParser):
    """收集页面里一切会让浏览器去取东西的属性。"""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """记下不是页内锚点、也不是 data: 的地址。"""
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data"):
                self.found += [value or ""] if not (value or "").startswith(("#", "data:")) else []


def assert_self_contained(page: Path) -> None:
    """页面不从任何别处取东西，也没有脚本。"""
    html = page.read_text(encoding="utf-8")
    links = Links()
    links.feed(html)
    assert links.found == []
    assert EXTERNAL.search(html) is None
    assert "default-src 'none'" in html


@dataclass(frozen=True)
class Done:
    """跑完的主线。

    Attributes:
        ended: 它的输出。
        folder: 结果文件夹。
        flags: 重跑它要给的 flag。
    """

    ended: Ended
    folder: Path
    flags: list[str]

    def losses(self) -> dict[str, list[float]]:
        """各次训练的损失。"""
        return {
            name: [record["loss"] for record in read_metrics(self.folder / name) if "loss" in record]
            for name in quickstart.RUNS
        }


def in_process(program: str, *argv: str) -> str:
    """代替 ``runs._run``：在本进程里跑一条命令，交出它的 stdout。"""
    engine = next(name for name, found in PROGRAMS.items() if found == program)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert cli.main(program, "", VERBS[engine], argv) == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """一次缩小的主线；基线换成一个很差的，十步也比得过。"""
    home = tmp_path_factory.mktemp("quickstart")
    (home / "small.txt").write_text(text_of(150), encoding="utf-8")
    flags = as_flags({"runs_dir": home / "runs", "corpus": home / "small.txt", **SMALL})
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patched.setattr(quickstart_runs, "_run", in_process)
        patched.setattr(report, "_training_charts", lambda metrics: [])
        patched.setattr(ByteNgram, "bits_per_byte", lambda *_: 7.5)
        code = cli.main("tinygrad_llm", "", VERBS["numpy"], ["quickstart", *flags])
    return Done(Ended(code, out.getvalue(), err.getvalue()), home / "runs" / "quickstart", flags)


def table_of(out: str) -> dict[str, str]:
    """对照表：比的是什么 → 结论。"""
    rows = [line.rstrip() for line in out.splitlines()]
    return {re.split(r"\s{2,}", row)[0]: row.split()[-1] for row in rows if row.endswith((" ok", " FAILED"))}


def test_quickstart_finds_a_difference(done: Done) -> None:
    """每一条对照都在界限之内：表里全是 ok，退出码 0。"""
    assert done.ended.code == 0, done.ended
    table = table_of(done.ended.out)
    assert len(table) >= 8
    assert set(table.values()) == {"ok"}


def test_quickstart_leaves_out_a_stage(done: Done) -> None:
    """六个阶段、神经元的每个数、速度与报告的路径都打印了；进度在 stderr 上，没有警告。"""
    for number in range(1, 7):
        assert f"[{number}/6]" in done.ended.out
    for text in (
        "+2.4200",
        "-0.0817",
        "byte 3-gram model",
        "tokens/s: NumPy",
        f"report: {done.folder / 'report.html'}",
    ):
        assert text in done.ended.out
    for run in ("numpy:numpy", "torch:torch", "torch:handover"):
        assert f"{run} step=10/10" in done.ended.err
    assert "Warning" not in done.ended.err
    assert "Traceback" not in done.ended.err


def test_report_loads_something_from_elsewhere(done: Done) -> None:
    """主线的报告与各次训练的报告都自足；主线的报告画出了损失与差。"""
    for page in (done.folder / "report.html", *(done.folder / name / "report.html" for name in quickstart.RUNS)):
        assert_self_contained(page)
    html = (done.folder / "report.html").read_text(encoding="utf-8")
    assert html.count("<svg") >= 2
    for text in ("NumPy", "torch", "NumPy → torch", "三元字节模型", "每字节比特", "h.3"):
        assert text in html


def test_hand_over_happens_elsewhere(done: Done) -> None:
    """交接的那一次：前一半就是 NumPy 那次的日志，后一半是 torch 走的。"""
    ours, handed = (done.losses()[name] for name in ("numpy", "handover"))
    assert len(ours) == len(handed) == SMALL["steps"]
    assert handed[:5] == ours[:5]
    config = load_toml(done.folder / "handover" / "config.toml", TrainConfig)
    assert (config.run, config.steps, config.stop_at) == ("handover", 10, None)


def test_repeated_quickstart_hides_a_failed_bound(done: Done) -> None:
    """用真正的命令在同一个文件夹里再跑一次：换掉旧结果，损失逐位相同，别的文件不动。

    十步当然比不过真的三元字节模型：退出码 1，表里恰好这一条 FAILED。
    """
    before = done.losses()
    (done.folder / "my-notes.txt").write_text("mine")
    command = [sys.executable, "-m", "tinygrad_llm", "quickstart", *done.flags]
    found = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert found.returncode == 1, found.stderr
    failed = [what for what, verdict in table_of(found.stdout).items() if verdict == "FAILED"]
    assert len(failed) == 1
    assert failed[0].startswith(LAST_CHECK)
    assert table_of(found.stdout).keys() == table_of(done.ended.out).keys()
    assert done.losses() == before
    assert (done.folder / "my-notes.txt").read_text() == "mine"


@pytest.fixture
def untouched(done: Done) -> Iterator[None]:
    """测试前后，上一次的结果一个文件也不少。"""
    before = sorted(done.folder.rglob("*"))
    yield
    assert sorted(done.folder.rglob("*")) == before


WRONG: list[tuple[list[str], int, str]] = [
    (["--corpus=missing.txt"], 4, "missing.txt"),
    (["--vocab-size=5000"], 2, "use vocab_size <= "),
    (["--preset=huge"], 2, "unknown preset"),
    (["--steps=3"], 2, "--steps must be at least 10"),
    (["--batch-size=0"], 2, "--batch-size must be at least 1"),
    (["--seed=-1"], 2, "--seed must be at least 0"),
    (["--run=a/b"], 2, "--run must be a plain folder name"),
    (["--stepz=3"], 2, "did you mean --steps?"),
]


@pytest.mark.parametrize(("flags", "code", "said"), WRONG)
@pytest.mark.usefixtures("untouched")
def test_wrong_quickstart_deletes_the_previous_one(
    done: Done, place: Place, flags: list[str], code: int, said: str
) -> None:
    """用户弄错时在动手之前就拒绝：至多三行，上一次的结果原样保留。"""
    ended = place.call("numpy", "quickstart", *done.flags, *flags)
    assert (ended.code, ended.out) == (code, ""), ended
    lines = ended.err.splitlines()
    assert len(lines) <= 3
    assert lines[-1].startswith("  fix: ")
    assert said in ended.err


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_quickstart_leaves_a_child_behind(place: Place, number: signal.Signals) -> None:
    """Ctrl-C 发给整组进程，SIGTERM 只发给主线：训练存好再走，主线以它的退出码结束，只有它的三行消息。"""
    flags = as_flags({"runs_dir": place.runs, "corpus": place.corpus, **SMALL, "steps": 5000})
    command = [sys.executable, "-m", "tinygrad_llm", "quickstart", *flags]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
    )
    run = place.runs / "quickstart" / "numpy"
    wait_for_steps(process, run, 3)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    ended = finish(process)
    assert (ended.code, len(ended.error)) == (128 + number, 3), ended
    assert "Traceback" not in ended.err
    place.runs = run.parent
    assert load_checkpoint(run).step == len(place.curve("numpy"))
    steps = load_checkpoint(run).step + 1
    assert place.call("numpy", "train", *ended.error[2].partition("with ")[2].split(), f"--stop-at={steps}").code == 0


def test_quickstart_overwrites_a_training_run(place: Place) -> None:
    """--run 指着一次普通的训练：拒绝，它原样保留。"""
    assert place.train("numpy", "a").code == 0
    before = place.contents()
    flags = as_flags({"run": "a", "runs_dir": place.runs, "corpus": place.corpus, **SMALL})
    ended = place.call("numpy", "quickstart", *flags)
    assert (ended.code, ended.out) == (2, "")
    assert "holds a training run" in ended.error[0]
    assert place.contents() == before


@pytest.mark.drawn
def test_training_report_is_not_self_contained(place: Place) -> None:
    """两个引擎的训练都写出带图的、自足的报告；续训之后重写。"""
    for engine in ENGINES:
        ended = place.train(engine, engine, eval_every=4, sample_every=4)
        path = place.runs / engine / "report.html"
        assert (ended.code, ended.out) == (0, f"report: {path}\n")
        assert_self_contained(path)
        assert path.read_text(encoding="utf-8").count("<svg") >= 4
    assert path.name == report.REPORT


@pytest.mark.full
@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_default_quickstart_fails(tmp_path: Path, dtype: str) -> None:
    """缺省大小的主线：退出码 0，每一条都是 ok，损失低于三元字节模型。"""
    command = [sys.executable, "-m", "tinygrad_llm", "quickstart", f"--runs-dir={tmp_path}", f"--dtype={dtype}"]
    found = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    table = table_of(found.stdout)
    assert found.returncode == 0, found.stdout + found.stderr
    assert len(table) >= 8
    assert set(table.values()) == {"ok"}
    assert_self_contained(tmp_path / "quickstart" / "report.html")
    shutil.rmtree(tmp_path / "quickstart")
