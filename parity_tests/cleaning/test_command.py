"""``python -m torch_llm data clean`` 与 ``data report``：输出、退出码、报告、Ctrl-C，与 Ray。"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parity_tests.cleaning.test_pipeline import SHARD, contents, corpus
from tinygrad_llm.common.cleaning import CleanConfig, Result, clean
from tinygrad_llm.common.cleaning.command import CleanOptions
from tinygrad_llm.common.cleaning.ray_runner import run_ray
from tinygrad_llm.common.cleaning.report import clean_report
from tinygrad_llm.common.cleaning.statistics import Statistics
from tinygrad_llm.common.cleaning.tally import Tally
from tinygrad_llm.common.cli import main
from tinygrad_llm.common.corpora import Faults
from tinygrad_llm.common.errors import UserError
from torch_llm.data import VERBS

COMMAND = [sys.executable, "-m", "torch_llm", "data"]


def write_corpus(path: Path, copies: int = 1) -> Path:
    """把 ``corpus()`` 写成 JSON lines。"""
    rows = [{"text": one.text, "copy": copy} for copy in range(copies) for one in corpus()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_clean_and_report_print_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """清洗、再来一次、看语料：各说各的一句，退出码 0，报告在。"""
    source, out = write_corpus(tmp_path / "in.jsonl"), tmp_path / "out"
    argv = ["clean", str(source), "--out", str(out), "--workers", "1", "--length.min-chars", "20"]
    assert main("data", "", VERBS, argv) == 0
    text = capsys.readouterr().out
    assert re.search(r"^length +54 +1 +0  too short 1$", text, re.MULTILINE)
    assert re.search(r"^kept 49 of 54 documents, .*iB of .*iB, in [\d.]+ s$", text, re.MULTILINE)
    assert main("data", "", VERBS, argv) == 0
    assert "up to date" in capsys.readouterr().out
    assert main("data", "", VERBS, ["report", str(out), "--out", str(tmp_path / "r.html")]) == 0
    assert capsys.readouterr().out.startswith("49 documents")
    for page in (out / "report.html", tmp_path / "r.html"):
        html = page.read_text(encoding="utf-8")
        assert html.count("<h2>") == html.count("</section>") >= 4
        assert not re.search(r"<script|https?://|src=|<link", html)


def test_hostile_text_becomes_markup_in_the_report() -> None:
    """文档里的标签在报告里只是文字。"""
    statistics, tally = Statistics(), Tally()
    evil = "<script>alert(1)</script>" * 3
    statistics.add(evil)
    tally.record("<b>", evil, None, {"<i>": 1}, "<u>")
    html = clean_report("<x>", Result({"length": tally}, statistics, statistics), Faults("skip"))
    assert not re.search(r"<script|<b>|<i>|<u>|<x>", html)


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["clean", "no-such-corpus"], 2, "unknown corpus"),
        (["clean", "nowhere/in.jsonl"], 4, "no such file"),
        (["clean", "python-docs", "--stages", "lenght"], 2, "unknown stage 'lenght'"),
        (["clean", "python-docs", "--near.rows", "20"], 2, "near finds only"),
        (["clean", "python-docs", "--workers", "-1"], 2, "workers must be 0 or more"),
        (["clean", "python-docs", "--decontaminate.test-sets", "missing.jsonl"], 4, "cannot read the test set"),
        (["report", "python-docs", "--out", "no/such/folder/r.html"], 2, "folder of the report"),
    ],
)
def test_a_mistake_gets_a_traceback(
    argv: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """用户的错误至多三行，退出码 2 或 4，什么也不写。"""
    monkeypatch.chdir(tmp_path)
    assert main("data", "", VERBS, argv) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") <= 3
    assert list(tmp_path.iterdir()) == []


def test_a_config_file_is_ignored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TOML 里的设置生效，命令行的优先。"""
    (tmp_path / "c.toml").write_text('stages = ["normalise", "length"]\n[length]\nmin_chars = 400\n', encoding="utf-8")
    source = write_corpus(tmp_path / "in.jsonl")
    argv = [
        "clean",
        str(source),
        "--out",
        str(tmp_path / "out"),
        "--workers",
        "1",
        "--config",
        str(tmp_path / "c.toml"),
    ]
    assert main("data", "", VERBS, argv) == 0
    out = capsys.readouterr().out
    assert "symbols" not in out
    assert "min_chars = 400" in (tmp_path / "out" / "settings.toml").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="shard_mb"):
        CleanOptions(source="x", shard_mb=0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
@pytest.mark.full
def test_interrupting_the_workers_prints_tracebacks(tmp_path: Path) -> None:
    """整个进程组收到 Ctrl-C（终端就是这样发的）：三行以内，退出码 130，再运行就接着做完。"""
    source = write_corpus(tmp_path / "in.jsonl", copies=200)
    command = [*COMMAND, "clean", str(source), "--out", str(tmp_path / "out"), "--workers", "2", "--shard-mb", "0.2"]
    command += ["--stages", "normalise", "length", "pii", "exact"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, text=True
    )
    while not list((tmp_path).glob("out.partial/*.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "run the same command again to resume" in err
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "kept 52 of 10,800" in done.stdout


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")  # Ray 自己的弃用与资源警告
def test_ray_writes_other_files(tmp_path: Path) -> None:
    """本机的一个 Ray 写出的每个文件，与不用 Ray 的逐字节相同；任务里的用户错误原样传回。"""
    ray = pytest.importorskip("ray", reason='needs Ray: pip install "zero-one-llm[ray]"')
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        clean(iter(corpus()), tmp_path / "ray", CleanConfig(), runner=run_ray, workers=2, shard_chars=SHARD)
        clean(iter(corpus()), tmp_path / "local", CleanConfig(), shard_chars=SHARD)
        assert contents(tmp_path / "ray") == contents(tmp_path / "local")
        with pytest.raises(UserError, match="bad task"):
            list(run_ray(_fails, range(3), 2))
    finally:
        ray.shutdown()


def _fails(number: int) -> int:
    raise UserError(f"bad task {number}", fix="mend it")


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_missing_ray_is_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """没有装 Ray 时说怎么装。"""
    assert main("data", "", VERBS, ["clean", "python-docs", "--out", str(tmp_path / "o"), "--runner", "ray"]) == 2
    assert 'pip install "zero-one-llm[ray]"' in capsys.readouterr().err
