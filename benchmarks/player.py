"""播放器：记录一步训练慢多少，网页多大，打开要多久，每秒走几步。

流入：GPT 的层数；流出：每种层数的运算数、字节数、打开的毫秒数、收着与全部展开时每秒的步数。
记录的代价是处理器时间之比，记与不记轮流做，各取最快的一次。
步数是中位数，括号里是较慢的 5% 处。网页在真的 Chromium 里打开，不联网，不用显卡；每秒的步数不会超过屏幕的刷新率。
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import report
from tinygrad_llm.common.errors import UserError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")
BOUNDS = {"recording": 2.0, "bytes": 5_000_000, "open_ms": 1000, "steps_per_s": 30}
_STEPS, _TURNS = 200, 20

# 逐帧走过去，每走一步等浏览器画完一帧
_WALK = """async ({ unfold, steps }) => {
  if (unfold) player.foldAll();
  const times = [];
  for (let i = 1; i <= steps; i++) {
    const started = performance.now();
    player.go(i, true);
    await new Promise((done) => requestAnimationFrame(done));
    times.push(performance.now() - started);
  }
  times.sort((a, b) => a - b);
  const rate = (share) => 1000 / times[Math.floor(share * (times.length - 1))];
  return { rate: rate(0.5), slow: rate(0.95), cards: player.scene.cards };
}"""


@dataclass(frozen=True)
class PlayerOptions:
    """播放器的测速。"""

    json: Path | None = None
    """把全部数字写进这个 JSON 文件。"""
    layers: tuple[int, ...] = (1, 2, 4)
    """GPT 的层数，各量一次；宽 64，融合算子都展开。"""

    def __post_init__(self) -> None:
        if min(self.layers, default=0) < 1:
            raise UserError(f"--layers must be numbers >= 1, got {self.layers}", fix="try --layers 1 4")


def recorded(layers: int) -> Any:
    """一个宽 64 的 GPT 的一次前向与反向。"""
    import tinygrad_llm as tg
    from tinygrad_llm.common.config import GPTConfig
    from tinygrad_llm.gpt import GPT

    tg.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=64, context=16, n_layer=layers, n_head=4, n_embd=64))
    ids, targets = tg.randint(0, 64, (1, 16)), tg.randint(0, 64, (16,))
    with tg.trace(title=f"GPT, {layers} layers", composed=True) as t:
        tg.nn.functional.cross_entropy(model(ids).view(-1, 64), targets).backward()
    return t


def recording_cost() -> dict[str, float]:
    """一步真正的训练：不记与记下各用多少毫秒的处理器时间。"""
    import tinygrad_llm as tg
    from tinygrad_llm.common.config import GPTConfig
    from tinygrad_llm.gpt import GPT

    tg.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=256, context=64, n_layer=2, n_head=4, n_embd=128))
    optimizer, ids = tg.optim.AdamW(model.parameters(), lr=1e-4), tg.randint(0, 256, (4, 64))

    def step_ms(context: AbstractContextManager[Any]) -> float:
        started_at = time.process_time()
        with context:
            optimizer.zero_grad()
            model.loss(ids, ids).backward()
            optimizer.step()
        return (time.process_time() - started_at) * 1e3

    turns = [(step_ms(nullcontext()), step_ms(tg.trace())) for _ in range(_TURNS)]
    plain_ms, recorded_ms = (min(times) for times in zip(*turns, strict=True))
    return {"plain_ms": plain_ms, "recorded_ms": recorded_ms, "ratio": recorded_ms / plain_ms}


def measure(options: PlayerOptions) -> list[dict[str, Any]]:
    """各种层数依次来。"""
    path = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if path is None:
        raise UserError("no Chromium on this machine", fix="install one (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        return [_measured(browser, layers) for layers in options.layers]


def _measured(browser: Browser, layers: int) -> dict[str, Any]:
    trace = recorded(layers)
    html = trace.to_html()
    found: dict[str, Any] = {"layers": layers, "operations": len(trace.nodes), "bytes": len(html.encode())}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "player.html"
        file.write_text(html, encoding="utf-8")
        for name, unfold in (("folded", False), ("unfolded", True)):
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(file.as_uri())
            page.wait_for_selector("body[data-ready=true]")
            found["open_ms"] = int(page.locator("body").get_attribute("data-open-ms") or 0)
            steps = min(_STEPS, page.evaluate("player.frames") - 1)
            walked = page.evaluate(_WALK, {"unfold": unfold, "steps": steps})
            found |= {f"steps_per_s_{name}": walked["rate"], f"slow_{name}": walked["slow"], "cards": walked["cards"]}
            page.close()
    return found


def text(results: list[dict[str, Any]]) -> str:
    """一张表，末行是界限。"""
    rows = [
        [
            f"{one['layers']}",
            f"{one['operations']}",
            f"{one['cards']}",
            f"{one['bytes'] / 1e6:.2f} MB",
            f"{one['open_ms']} ms",
            f"{one['steps_per_s_folded']:.0f} ({one['slow_folded']:.0f})",
            f"{one['steps_per_s_unfolded']:.0f} ({one['slow_unfolded']:.0f})",
        ]
        for one in results
    ]
    bound = [f"{BOUNDS['bytes'] / 1e6:.2f} MB", f"{BOUNDS['open_ms']} ms", *2 * (f"{BOUNDS['steps_per_s']}",)]
    head = ["layers", "operations", "cards", "page", "opens in", "steps/s folded", "steps/s unfolded"]
    return report.table(head, [*rows, ["bound", "", "", *bound]])


def main(options: PlayerOptions) -> None:
    """``python -m benchmarks player``。"""
    cost, results = recording_cost(), measure(options)
    print(
        f"recording a training step: {cost['recorded_ms']:.1f} ms of CPU time beside {cost['plain_ms']:.1f}, "
        f"x {cost['ratio']:.2f} (bound {BOUNDS['recording']:.1f})"
    )
    print(text(results))
    if options.json is not None:
        found = {"benchmark": "player", "recording": cost, "results": results, "bounds": BOUNDS}
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
