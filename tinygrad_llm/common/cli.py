"""命令行：一个动词对应一个函数，函数的参数是一个冻结的 dataclass。

流入：``argv`` 与可选的 ``--config FILE.toml``；流出：调用动词的函数，返回进程的退出码。
动词的模块在点到它时才导入，所以 ``--help`` 总是立刻回答。配置文件的读写见 ``toml.py``，错误的写法见 ``errors.py``。
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import inspect
import io
import os
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

from .environment import launched
from .errors import UserError
from .toml import ABSENT, field_defaults, read_toml, typed

__all__ = ["Verb", "main", "parse"]

T = TypeVar("T")

HELP_WIDTH = 100
FLAG_WIDTH = 34
DEFAULT = ""
FIRST_SPEAKS_S = 10.0
"""几个进程都遇到的错，等头一个进程这么久：它说完便退出，torchrun 随即结束其余的；到时还活着，便是它没有遇到。"""
BROKEN_PIPE_EXIT_CODE = 141  # 128 + SIGPIPE，与 shell 的惯例一致


class Verb(NamedTuple):
    """一个动词。

    Attributes:
        target: 实现它的函数，写作 ``"package.module:function"``；函数有唯一的参数，标注为 dataclass。
            也可以是一个动词表（名字到 ``Verb`` 的字典）：这个动词之下又有动词；
            名字是空串的那个，第一个词不是动词时就是它。
        summary: 程序的 ``--help`` 里的一句话。
    """

    target: str
    summary: str


def main(prog: str, description: str, verbs: Mapping[str, Verb], argv: Sequence[str] | None = None) -> int:
    """解析命令行，运行一个动词，返回退出码。

    用户的错误至多三行，写到 stderr；程序自身的缺陷照常抛出，留下 traceback。

    Args:
        prog: 程序名，如 ``"python -m tinygrad_llm"``。
        description: 程序的 ``--help`` 开头的说明。
        verbs: 动词名到 ``Verb``。
        argv: 参数，不含程序名；默认取 ``sys.argv[1:]``。

    Returns:
        0 完成；2 用法或配置错误；3、4 见 ``errors.py``；130 被中断；141 读者关闭了管道。
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # 终端编码写不出中文时，退化而不崩溃
    try:
        _dispatch(prog, description, verbs, list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except UserError as error:
        if launched().rank and error.everywhere:
            time.sleep(FIRST_SPEAKS_S)
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        with open(os.devnull, "w") as devnull:  # noqa: PTH123  解释器退出时还会再刷一次 stdout，让它有处可去
            os.dup2(devnull.fileno(), sys.stdout.fileno())
        return BROKEN_PIPE_EXIT_CODE
    return 0


def parse(config_type: type[T], argv: Sequence[str], prog: str) -> T:
    """把参数解析成一个 dataclass 实例。

    取值的先后：命令行上的 flag，``--config`` 指定的 TOML 文件，字段的默认值。字段名里的下划线在 flag 里写作短横。

    Args:
        config_type: dataclass 类型；字段下方的字符串就是帮助文字。它可以有静态方法 ``implied_config(argv)``，
            在没有 ``--config`` 时指出一个配置文件（例如续训沿用那次运行的配置）；也可以有 ``cli_markers``，
            ``tyro.conf`` 里的几个名字，例如 ``("PositionalRequiredArgs",)``；还可以有 ``cli_names``，字段名到 flag 的
            另一个名字，用于 Python 的关键字；与静态方法 ``dialled(given)``，由用户点名的几项定出别的几项的缺省值。
        argv: 动词之后的参数。
        prog: 到动词为止的命令，用于帮助与错误消息。

    Returns:
        ``config_type`` 的实例，已经过它自己的 ``__post_init__`` 校验。

    Raises:
        UserError: 参数或配置文件不对（退出码 2）。
        SystemExit: 打印完 ``--help``（退出码 0）。
    """
    import tyro

    renamed: Mapping[str, str] = getattr(config_type, "cli_names", {})
    rest, config_file = _split_config_flag(list(argv), prog)
    rest = _renamed_words(rest, {flag: name for name, flag in renamed.items()})
    implied: Callable[[Sequence[str]], Path | None] | None = getattr(config_type, "implied_config", None)
    if config_file is None and implied is not None:
        config_file = implied(rest)
    values = read_toml(config_file, config_type) if config_file is not None else {}
    dialled: Callable[[Mapping[str, Any]], dict[str, Any]] | None = getattr(config_type, "dialled", None)
    if dialled is not None:
        values = {**dialled({**values, **_given(config_type, rest)}), **values}
    default: Any = ABSENT
    if values:
        default = _prefilled(config_type, values, ABSENT, tyro.MISSING)
    options: dict[str, Any] = {} if default is ABSENT else {"default": default}
    options["config"] = [getattr(tyro.conf, name) for name in getattr(config_type, "cli_markers", ())]
    out, err = _utf8_buffer(), _utf8_buffer()
    try:
        with _wide_terminal(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            config: T = tyro.cli(config_type, prog=prog, args=rest, **options)
            return config
    except SystemExit as exit_request:
        if not exit_request.code:
            print(_readable_help(_renamed_text(_written(out), renamed)), flush=True)
            raise
        raise _condensed_error(_renamed_text(_written(err), renamed), config_type, prog) from None


# ---- 动词 ----


def _dispatch(prog: str, description: str, verbs: Mapping[str, Verb], argv: list[str]) -> None:
    if argv and argv[0] in ("-h", "--help"):
        print(_program_help(prog, description, verbs))
        if DEFAULT not in verbs:
            return
        print()
    if DEFAULT in verbs and argv and argv[0] not in verbs:
        argv = [DEFAULT, *argv]
    if not argv:
        raise UserError("no verb given", fix=f'use one of: {", ".join(verbs)}; see "{prog} --help"')
    name = argv[0]
    if name not in verbs:
        near = get_close_matches(name, verbs, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"use one of: {', '.join(verbs)};"
        raise UserError(f'unknown verb "{_clipped(name)}"', fix=f'{hint} see "{prog} --help"')
    module_name, attribute = verbs[name].target.split(":")
    target: Callable[[Any], None] | Mapping[str, Verb] = getattr(importlib.import_module(module_name), attribute)
    if isinstance(target, Mapping):
        return _dispatch(f"{prog} {name}", verbs[name].summary, target, argv[1:])
    try:
        config = parse(_config_type(target), argv[1:], f"{prog} {name}".rstrip())
    except SystemExit:  # 只有 --help 会走到这里
        return
    target(config)


def _config_type(function: Callable[[Any], None]) -> type[Any]:
    """从函数唯一参数的类型标注得到配置的类型。"""
    (parameter,) = inspect.signature(function).parameters
    config_type: type[Any] = get_type_hints(function)[parameter]
    return config_type


def _program_help(prog: str, description: str, verbs: Mapping[str, Verb]) -> str:
    width = max(len(name) for name in verbs)
    lines = [f"usage: {prog} VERB [flags]", "", description, "", "verbs:"]
    lines += [f"  {name:<{width}}  {verb.summary}" for name, verb in verbs.items() if name != DEFAULT]
    return "\n".join([*lines, "", f'"{prog} VERB --help" lists the flags of a verb.'])


# ---- 配置文件作默认值 ----


def _split_config_flag(argv: list[str], prog: str) -> tuple[list[str], Path | None]:
    """从参数里取出 ``--config FILE`` 或 ``--config=FILE``。"""
    rest: list[str] = []
    found: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--config":
            found.append(next(words, ""))
        elif word.startswith("--config="):
            found.append(word.removeprefix("--config="))
        else:
            rest.append(word)
    if len(found) > 1 or "" in found:
        raise UserError("--config takes one file, once", fix=f'use --config FILE.toml; see "{prog} --help"')
    return rest, Path(found[0]) if found else None


def _given(config_type: type[Any], words: Sequence[str]) -> dict[str, Any]:
    """命令行上点名的设置，值已转成字段的类型；转不成的略去，由 tyro 去报错。"""
    hints, found = get_type_hints(config_type), dict[str, Any]()
    for i, word in enumerate(words):
        flag, equals, text = word.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name not in hints:
            continue
        value = typed(text if equals else next(iter(words[i + 1 : i + 2]), ""), hints[name])
        if value is not ABSENT:
            found[name] = value
    return found


def _renamed_words(words: list[str], fields: Mapping[str, str]) -> list[str]:
    """把 flag 的别名换回字段的名字：``--from X`` 与 ``--from=X`` 变成 ``--from-run X``。"""
    found = []
    for word in words:
        flag, equals, value = word.partition("=")
        field = fields.get(flag[2:]) if flag.startswith("--") else None
        found.append(word if field is None else f"--{field.replace('_', '-')}{equals}{value}")
    return found


def _renamed_text(text: str, names: Mapping[str, str]) -> str:
    """帮助与报错里的字段名换成 flag 的别名；补上空格，列宽不变。"""
    for name, flag in names.items():
        long = f"--{name.replace('_', '-')} "
        text = text.replace(long, f"--{flag} ")
    return text


def _prefilled(config_type: type[Any], values: Mapping[str, Any], base: Any, missing: Any) -> Any:
    """造一个未经校验的实例，装着配置文件里的值，供 tyro 作默认值。

    不能直接调用构造函数：必填字段也许要等命令行来给，文件里的矛盾也许会被命令行改正。
    """
    hints = get_type_hints(config_type)
    instance = object.__new__(config_type)
    for name, default in field_defaults(config_type, base).items():
        value = values.get(name, default)
        if dataclasses.is_dataclass(hints[name]):
            value = _prefilled(hints[name], values.get(name, {}), default, missing)
        object.__setattr__(instance, name, missing if value is ABSENT else value)
    return instance


# ---- tyro 的输出：它画框，并且把一个汉字当作一列宽；我们取出文字，自己排 ----


def _utf8_buffer() -> io.TextIOWrapper:
    """编码固定为 UTF-8 的内存流：tyro 按 stdout 的编码选择画框的字符。"""
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")


def _written(buffer: io.TextIOWrapper) -> str:
    buffer.seek(0)
    text = buffer.read().replace("{None}|", "")  # 可以不给的 flag，不必教用户写 None
    return text.replace("[[STR [STR ...]]]", "[WORD ...]").replace(" (default: )", "")


@contextlib.contextmanager
def _wide_terminal() -> Iterator[None]:
    """让 tyro 以为终端极宽，于是它不折行，每条文字独占一行。"""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100000"
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def _condensed_error(boxes: str, config_type: type[Any], prog: str) -> UserError:
    """把 tyro 的一框错误缩成 ``UserError``：一句问题，一句办法。"""
    blocks: list[list[str]] = [[]]
    for line in boxes.splitlines():
        if line.startswith("╰"):
            break  # 只说第一个错
        if line.startswith("│ ──"):
            blocks.append([])
        elif not line.startswith("╭"):
            blocks[-1].append(line.removeprefix("│").removesuffix("│").strip())
    problem = " ".join(blocks[0]).split(" Got errors:")[0].replace("Error parsing", "Cannot parse")
    usage = next((line for block in blocks[1:] for line in block if line.startswith("-")), "")
    hint = f"give it as {usage}; " if usage else ""
    if problem.startswith("Missing from"):
        names = [line for line in blocks[0][1:] if not line.endswith("(required)")]  # 名字与说明交替
        problem = "missing required " + ", ".join(names)
        hint = ""
    elif problem.startswith("Unrecognized options: "):
        words = problem.removeprefix("Unrecognized options: ").split(", ")
        name = words[0].split("=")[0].strip("-").replace("_", "-")
        near = get_close_matches(name, _flags(config_type), n=1) if words[0].startswith("-") else []
        hint = f"did you mean --{near[0]}? " if near else ""
    return UserError(_clipped(problem[:1].lower() + problem[1:]), fix=f'{hint}see "{prog} --help"')


def _flags(config_type: type[Any], prefix: str = "") -> list[str]:
    """一个 dataclass 的全部 flag，不带开头的短横；嵌套的写作 ``model.n-layer``。"""
    hints = get_type_hints(config_type)
    flags: list[str] = []
    for name in field_defaults(config_type):
        flag = prefix + name.replace("_", "-")
        flags += _flags(hints[name], f"{flag}.") if dataclasses.is_dataclass(hints[name]) else [flag]
    return flags


def _readable_help(boxes: str) -> str:
    """把 tyro 画的帮助框改排成两列文字，列宽按汉字占两列计算。"""
    rows: list[tuple[str, str] | str] = []
    for line in _one_column(boxes.splitlines()):
        title = re.match(r"╭─ (.*?) ─*╮", line)
        if title:
            rows.append(f"{title[1]}:")
        elif line.startswith("│ ") and not line.startswith("│ ──"):
            text = line.removeprefix("│ ").removesuffix("│").strip().replace("``", "").removesuffix(" (default: None)")
            flag, _, help_text = text.partition("  ")
            if text.startswith("-"):
                rows.append((flag, help_text.strip()))
            elif rows and isinstance(rows[-1], tuple) and not rows[-1][1]:
                rows[-1] = (rows[-1][0], text)  # flag 太长，tyro 把说明放到了下一行
            else:
                rows.append(f"  {text}")
            if flag.startswith("-h,"):
                rows.append(("--config FILE", "TOML file with defaults for the flags below; a flag overrides it"))
        elif not line.startswith("│"):
            rows.append("" if line.startswith("╰") else line)
    width = min(FLAG_WIDTH, max((len(row[0]) for row in rows if isinstance(row, tuple)), default=0))
    return "\n".join(row if isinstance(row, str) else _help_row(*row, width) for row in rows).strip()


def _one_column(lines: list[str]) -> list[str]:
    """tyro 的框太多时分成几列并排；从两框相接处竖着切开，右边的接到左边的下面。"""
    seam = next((line.index("╮╭") + 1 for line in lines if "╮╭" in line), 0)
    if not seam:
        return lines
    first = next(index for index, line in enumerate(lines) if line.startswith("╭"))
    # 有汉字的行宽窄不一：两条边相接处优先于固定的列
    joints = [re.search(r"(?<=.[│╮╯])[│╭╰]", line) for line in lines[first:]]
    cuts = [joint.start() if joint else seam for joint in joints]
    left = [line[:cut].rstrip() for line, cut in zip(lines[first:], cuts, strict=True)]
    right = [line[cut:] for line, cut in zip(lines[first:], cuts, strict=True)]
    return [*lines[:first], *filter(None, left), *_one_column(right)]


def _help_row(flag: str, text: str, width: int) -> str:
    lines = _wrapped(text, HELP_WIDTH - width - 4)
    if len(flag) > width:
        lines.insert(0, "")
    indent = " " * (width + 4)
    return "\n".join([f"  {flag:<{width}}  {lines[0]}".rstrip(), *(indent + line for line in lines[1:])])


def _wrapped(text: str, width: int) -> list[str]:
    """按显示宽度折行：西文在空格处断开，汉字处处可断，但句读不落在行首。"""
    lines, used = [""], 0
    for token in re.findall(r"[⺀-鿿][，。、；：！？）》」]*|[^\s⺀-鿿]+|\s+", text):
        columns = sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in token)
        if used and used + columns > width:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
            used = 0
        if used or not token.isspace():
            lines[-1] += token
            used += columns
    return lines


def _clipped(text: str, limit: int = 240) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= limit else one_line[: limit - 3] + "..."
