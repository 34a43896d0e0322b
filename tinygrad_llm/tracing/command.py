"""``python -m tinygrad_llm trace``：运行一个程序，看它的前向与反向，写出文件，出题与判分。

流入：命令行；流出：终端上的文字与各种文件。下一站：``player/page.py``。
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tyro

from tinygrad_llm.common.errors import UserError
from tinygrad_llm.tracing.terminal import gradients, sections, text
from tinygrad_llm.tracing.trace import Trace


@dataclass(frozen=True)
class TraceConfig:
    """See every step of backprop: run a toy model or your own function, forward and backward, with the numbers.

    The program is a toy model (``--list`` shows them) or FILE.py:FUNCTION, a function that needs no arguments.
    """

    program: tyro.conf.Positional[str] = ""
    """toy model, or FILE.py:FUNCTION"""
    list: tyro.conf.FlagCreatePairsOff[bool] = False
    """list the toy models"""
    save_as: Path | None = None
    """save the toy model as a file of your own, to change it"""
    step: tyro.conf.FlagCreatePairsOff[bool] = False
    """wait for Enter before each step"""
    arrays: tyro.conf.FlagCreatePairsOff[bool] = False
    """write out the numbers of small matrices"""
    explain: str = ""
    """explain the gradient of one scalar: the sum over all paths"""
    no_torch: tyro.conf.FlagCreatePairsOff[bool] = False
    """do not run the same file on torch to compare"""
    composed: tyro.conf.FlagCreatePairsOff[bool] = False
    """unfold fused ops into plain ones"""
    limit: int = 4096
    """keep arrays of at most so many numbers, and a summary of larger ones"""
    html: Path | None = None
    """write the player: one page that replays every step"""
    json: Path | None = None
    """write the recording"""
    svg: Path | None = None
    """write the graph as SVG"""
    dot: Path | None = None
    """write the graph for Graphviz"""
    mermaid: Path | None = None
    """write the graph for Mermaid"""
    chrome: Path | None = None
    """write the times of all steps, for chrome://tracing"""
    fold: int | None = None
    """fold modules nested deeper than this in the graph"""
    worksheet: Path | None = None
    """write the computation as a worksheet with blanks"""
    check: Path | None = None
    """grade a filled worksheet"""
    answers: Path | None = None
    """write the answers of a worksheet beside it, as NAME.answers.md"""
    exercise: int | None = None
    """write a new exercise of this level, 1 to 5, as --worksheet FILE.md"""
    seed: int = 0
    """seed of the exercise"""
    run: str = ""
    """trace a step of a trained run instead of a program"""
    prompt: str | None = None
    """with --run: the text that the trained model reads"""
    flow_steps: int | None = None
    """with --run: steps trained with and without residuals, to compare their gradients; 0 leaves them out"""
    runs_dir: str = "runs"
    """folder of the runs"""

    def __post_init__(self) -> None:
        """一次查完。"""
        problems = []
        wants_program = not (self.list or self.check or self.answers or self.exercise is not None or self.run)
        if wants_program and not self.program:
            problems.append("no program given")
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

        path = copy_toy(config.program, config.save_as)
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

    return run_program(config.program, composed=config.composed, limit=config.limit, with_torch=not config.no_torch)


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
