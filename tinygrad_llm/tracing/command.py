"""``python -m tinygrad_llm trace``：运行一个程序，看它的前向与反向，写出文件，出题与判分。

流入：命令行；流出：终端上的文字与各种文件。下一站：``player/page.py``。
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.tracing.terminal import gradients, sections, text
from tinygrad_llm.tracing.trace import Trace


@dataclass(frozen=True)
class TraceConfig:
    """逐步看反向传播：玩具模型或你自己的函数，前向与反向，数都代进去；与 torch 的梯度对照，写成网页、图与练习。"""

    cli_markers: ClassVar[tuple[str, ...]] = ("PositionalRequiredArgs", "FlagCreatePairsOff")

    program: tuple[str, ...]
    """玩具模型的名字（见 ``--list``），或 FILE.py:FUNCTION：一个不必给参数的函数。"""
    list: bool = False
    """列出玩具模型。"""
    save_as: Path | None = None
    """把玩具模型存成自己的文件，随便改。"""
    step: bool = False
    """每一步等一下回车。"""
    arrays: bool = False
    """写出小矩阵里的各个数。"""
    explain: str = ""
    """解释一个标量的梯度：从损失到它的全部路，各条路上局部导数之积的和。"""
    no_torch: bool = False
    """不用 torch 再运行一遍来对照。"""
    composed: bool = False
    """把融合算子拆成普通算子。"""
    limit: int = 4096
    """至多几个元素的数组留下各个数，更大的只留概要。"""
    html: Path | None = None
    """写出播放器：一个自足的网页，逐步重放。"""
    json: Path | None = None
    """写出记录，格式见 tinygrad_llm/tracing/SCHEMA.md。"""
    svg: Path | None = None
    """写出计算图，SVG。"""
    dot: Path | None = None
    """写出计算图，供 Graphviz。"""
    mermaid: Path | None = None
    """写出计算图，供 Mermaid。"""
    chrome: Path | None = None
    """写出各步的时间，供 chrome://tracing 与 ui.perfetto.dev。"""
    fold: int | None = None
    """计算图里，路径多于几段的模块折成一个方框。"""
    worksheet: Path | None = None
    """写成练习：一个留着空格的 Markdown 文件。"""
    check: Path | None = None
    """给填过的练习判分。"""
    answers: Path | None = None
    """写出一张练习的答案，放在它旁边，名为 NAME.answers.md。"""
    exercise: int | None = None
    """出一道这个难度（1 到 5）的新题，写到 ``--worksheet``。"""
    seed: int = 0
    """新题的种子。"""
    run: str = ""
    """不运行程序，而是追踪一个训练好的运行的下一步。"""
    prompt: str | None = None
    """与 ``--run`` 同用：让训练好的模型读的文字。"""
    flow_steps: int | None = None
    """与 ``--run`` 同用：有残差、没有残差的模型各训练几步，比较各层的梯度；0 则不比。"""
    runs_dir: str = "runs"
    """放各次运行的文件夹。"""

    @property
    def target(self) -> str:
        """要运行的程序；没有给则为空。"""
        return self.program[0] if self.program else ""

    def __post_init__(self) -> None:
        """一次查完。"""
        problems = []
        wants_program = not (self.list or self.check or self.answers or self.exercise is not None or self.run)
        if wants_program and not self.program:
            problems.append("no program given")
        if len(self.program) > 1:
            problems.append(f"one program at a time, got {', '.join(self.program)}")
        if self.exercise is not None and self.worksheet is None:
            problems.append("--exercise needs --worksheet FILE.md, where to write it")
        if self.prompt is not None and not self.run:
            problems.append("--prompt needs --run NAME")
        if self.flow_steps is not None and not self.run:
            problems.append("--flow-steps needs --run NAME")
        if self.flow_steps is not None and self.flow_steps < 0:
            problems.append(f"--flow-steps must be at least 0, got {self.flow_steps}")
        if self.limit < 1:
            problems.append(f"--limit must be at least 1, got {self.limit}")
        if problems:
            raise UserError(
                "; ".join(problems), fix='give a toy model or FILE.py:FUNCTION; "trace --list" lists the toys'
            )


def main(config: TraceConfig) -> None:
    """``python -m tinygrad_llm trace``。"""
    if config.list:
        from tinygrad_llm.tracing.programs import list_toys

        names = list_toys()
        width = max(len(name) for name, _ in names)
        print("\n".join(f"{name:<{width}}  {what}" for name, what in names))
        return
    if config.save_as is not None:
        from tinygrad_llm.tracing.programs import copy_toy

        path = copy_toy(config.target, config.save_as)
        print(f"wrote {path}: change it, then run  python -m tinygrad_llm trace {path}")
        return
    if config.check is not None or config.answers is not None or config.exercise is not None:
        _practise(config)
        return
    found = _recorded(config)
    if config.explain:
        print(_explained(found, config.explain))
        return
    is_written = _write_files(config, found)
    color = use_color()
    if config.step:
        _walk(found, color, config.arrays)
    elif config.worksheet is not None:
        return  # 要读者算的数，不先印出来
    elif is_written:
        print(gradients(found, color=color))
    else:
        print(text(found, color=color, arrays=config.arrays))


def use_color() -> bool:
    """终端上、用户没有说不要，才用颜色。"""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _recorded(config: TraceConfig) -> Trace:
    """运行程序（或训练好的模型的一步），得到记录。"""
    if config.run:
        from tinygrad_llm.tracing.real.run import FLOW_STEPS, trace_run

        steps = FLOW_STEPS if config.flow_steps is None else config.flow_steps
        shows_panels = config.html is not None or config.json is not None  # 没有人看的图不必训练
        return trace_run(
            config.run,
            config.prompt,
            runs_dir=config.runs_dir,
            flow_steps=steps if shows_panels else 0,
            composed=config.composed,
            limit=config.limit,
        )
    from tinygrad_llm.tracing.programs import run_program

    return run_program(config.target, composed=config.composed, limit=config.limit, with_torch=not config.no_torch)


def _explained(found: Trace, name: str) -> str:
    from tinygrad_llm.tracing.path_sum import explain

    return str(explain(found, name))


def _practise(config: TraceConfig) -> None:
    """出题、写答案、判分；没有全对，退出码不是 0。"""
    from tinygrad_llm.tracing import worksheet

    if config.exercise is not None and config.worksheet is not None:
        path = worksheet.make_exercise(config.exercise, config.seed, config.worksheet)
        print(f"wrote {path}: fill in the blanks, then run  python -m tinygrad_llm trace --check {path}")
    if config.answers is not None:
        print(f"wrote {worksheet.fill_worksheet(config.answers)}: every blank has its number")
    if config.check is not None:
        report = worksheet.check_worksheet(config.check)
        print(report)
        sys.exit(report.exit_code)


def _write_files(config: TraceConfig, found: Trace) -> bool:
    """写出要的文件；一个也没有要则为假。"""
    from tinygrad_llm.tracing import worksheet
    from tinygrad_llm.tracing.real.timeline import write_chrome_trace

    writers: dict[str, Callable[[Path], object]] = {
        "html": found.to_html,
        "json": found.to_json,
        "svg": lambda path: found.to_svg(path, config.fold),
        "dot": lambda path: found.to_dot(path, config.fold),
        "mermaid": lambda path: found.to_mermaid(path, config.fold),
        "chrome": lambda path: write_chrome_trace(found, path),
        "worksheet": lambda path: worksheet.write_worksheet(found, path),
    }
    wanted = {name: getattr(config, name) for name in writers if getattr(config, name) is not None}
    for name, path in wanted.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            writers[name](path)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror}", fix="give a place that can be written") from error
        print(f"wrote {path} ({path.stat().st_size / 1024:,.0f} KB)")
    if config.worksheet is not None:
        print(f"fill in the blanks, then run  python -m tinygrad_llm trace --check {config.worksheet}")
    return bool(wanted)


def _walk(found: Trace, color: bool, arrays: bool) -> None:
    """一段一段地显示：回车是下一段，``a`` 是余下的全部，``q`` 是到此为止。"""
    waits = True
    for n, section in enumerate(sections(found, color=color, arrays=arrays)):
        if n and waits and section.kind != "gradients":
            answer = _answer("[Enter: next step, a: all the rest, q: quit] ")
            if answer == "q":
                return
            waits = answer != "a"
        print("\n".join(section.lines))


def _answer(prompt: str) -> str:
    """读一行；管道里读完了，就当作「余下的全部」。"""
    try:
        answer = input(prompt).strip().lower()
        if sys.stdout.isatty():
            print("\x1b[1A\x1b[2K", end="")  # 擦掉这一行提示，留下的只有各步
        return answer
    except EOFError:
        print()
        return "a"
