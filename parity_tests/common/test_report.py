"""报告的测试：页面自足、文字都转义、标签配对，各种残缺的运行文件夹都写得出。"""

from __future__ import annotations

import math
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tinygrad_llm.common import report as module
from tinygrad_llm.common.errors import DataError, OutOfDiskError
from tinygrad_llm.common.report import (
    Section,
    page,
    preformatted,
    table,
    tiles,
    training_report,
    write_page,
)
from tinygrad_llm.common.runlog import RunLog

pytestmark = pytest.mark.drawn

HOSTILE = """<script>alert("x")</script>&'"><img src=x onerror=alert(1)>"""
VOID = {"meta", "link", "br", "img"}


class Outline(HTMLParser):
    """收集标签与文字，并核对标签配对。"""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """记下标签。"""
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """自闭合的标签。"""
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        """必须与最近打开的配对。"""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """记下文字。"""
        self.text += data


def assert_self_contained(html: str) -> Outline:
    """没有脚本、外部地址与事件属性；有语言、视口与明暗两色。"""
    outline = Outline(html)
    assert not {"script", "link", "img", "iframe", "object"} & set(outline.tags)
    for name, value in outline.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "action")
        assert "//" not in (value or "")
        if name == "href":
            assert value is not None
            assert value.startswith("#")
    assert "@import" not in html
    assert ("lang", "zh-CN") in outline.attributes
    assert ("name", "viewport") in outline.attributes
    assert "prefers-color-scheme: dark" in html
    return outline


def test_text_is_read_as_markup() -> None:
    """标题、说明、表格、数字牌、文本块里的文字一律转义。"""
    body = (
        table([HOSTILE], [[HOSTILE], [1.5], [1234], [None], [True]]) + tiles({HOSTILE: HOSTILE}) + preformatted(HOSTILE)
    )
    outline = assert_self_contained(page(HOSTILE, [Section(HOSTILE, body, HOSTILE)], subtitle=HOSTILE))
    assert outline.text.count(HOSTILE) == 10
    for shown in ("1.5", "1,234", "–", "True"):
        assert shown in outline.text


def run_folder(tmp_path: Path) -> Path:
    """一次短短的训练留下的文件夹。"""
    folder = tmp_path / "run <1>"
    with RunLog(folder) as log:
        log.config('name = "</pre><script>"\n')
        for step in range(60):
            loss = math.nan if step == 30 else 7.0 - step / 20
            log.metric(step, loss=loss, lr=1e-3, grad_norm=1.0, tokens_per_s=9000.0, elapsed_s=2.0, reward=step)
            if step % 5 == 0:
                log.metric(step, val_loss=7.1 - step / 20, val_bits_per_byte=2.5 - step / 60)
                log.sample(step, f"{HOSTILE} sample {step}." + "长" * 2000)
    return folder


def test_training_report_lacks_something(tmp_path: Path) -> None:
    """损失、学习率、梯度范数、速度、样本、配置、环境都在；别的数字也各有一张图。"""
    path = training_report(run_folder(tmp_path))
    assert path.name == "report.html"
    html = path.read_text(encoding="utf-8")
    outline = assert_self_contained(html)
    for fragment in ["run <1>", "损失", "学习率", "梯度范数", "tokens/s", "bits/byte", "reward", "训练", "验证"]:
        assert fragment in outline.text
    for fragment in [
        "sample 0.",
        "sample 55.",
        'name = "</pre><script>"',
        "numpy",
        "4.0500",
        "4.3500",
        "0:02:00",
        "9,000",
    ]:
        assert fragment in outline.text
    assert "非有限，跳过的步0" in outline.text
    assert outline.tags.count("svg") == 6
    assert outline.text.count(HOSTILE) == module.MAX_SAMPLES


def test_same_run_gives_another_report(tmp_path: Path) -> None:
    """同一个运行文件夹，报告逐字节相同。"""
    folder = run_folder(tmp_path)
    assert training_report(folder).read_bytes() == training_report(folder).read_bytes()


def test_sparse_run_crashes(tmp_path: Path) -> None:
    """没有样本、没有配置、只有一行、一行也没有，都写得出报告。"""
    for number, steps in enumerate((0, 1, 2)):
        folder = tmp_path / str(number)
        with RunLog(folder) as log:
            for step in range(steps):
                log.metric(step, loss=1.0, note="text", flag=True, nothing=None)
        (folder / "samples.txt").unlink()
        assert_self_contained(training_report(folder).read_text(encoding="utf-8"))


def test_folder_without_a_run_is_a_traceback(tmp_path: Path) -> None:
    """不是运行文件夹时报 DataError，什么也不写。"""
    with pytest.raises(DataError):
        training_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_half_written_page_replaces_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """写不进去时旧页面不动，也不留临时文件。"""
    path = tmp_path / "r.html"
    write_page(path, "old")

    def failing(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", failing)
        with pytest.raises(OutOfDiskError, match="No space"):
            write_page(path, "new")
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["r.html"]
    write_page(path, "new \udcff")
    assert path.read_text() == "new ?"


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
def test_browser_finds_scripts_or_errors_in_the_page(tmp_path: Path) -> None:
    """真正的浏览器打开页面：标题正确，恶意文字没有变成元素。"""
    import subprocess

    path = training_report(run_folder(tmp_path))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom"]
    done = subprocess.run(
        ["chromium", *flags, f"--user-data-dir={tmp_path / 'profile'}", path.resolve().as_uri()],
        capture_output=True,
        check=True,
        timeout=60,
    )
    outline = Outline(done.stdout.decode("utf-8"))
    assert outline.tags.count("svg") == 6
    assert not {"script", "img"} & set(outline.tags)
