"""终端上的对话：读一句，答一句，以 ``/`` 开头的是命令。

流入：标准输入，可以是管道；流出：标准输出上的回答，标准错误上的提示与消息。对话本身在 ``dialogue.py``。

一句话可以写成几行：行末写反斜线接着下一行，或用各占一行的三个双引号括起来。Ctrl-C 停下回答而不退出；Ctrl-D 离开。
标准输入不是终端时不显示提示符，读完就离开，回答各自另起一行。
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from tinygrad_llm.common.chat.dialogue import Dialogue, OpenedModel, template_of
from tinygrad_llm.common.chat.loading import load_conversations
from tinygrad_llm.common.chat.settings import ChatConfig
from tinygrad_llm.common.decoding.drafting import drafter
from tinygrad_llm.common.decoding.generation import Step
from tinygrad_llm.common.decoding.slots import BatchDecoder, OneSlot
from tinygrad_llm.common.errors import DataError, UserError
from tinygrad_llm.common.files import write_atomically
from tinygrad_llm.common.tokenizers.interface import TextTokenizer

__all__ = ["Console", "run_chat"]

OpenModel = Callable[[Path], OpenedModel]
FENCE = '"""'
HELP = """\
/system [TEXT]  show or set the system message; "/system -" removes it
/history        the conversation so far
/undo           take back the last question and its answer
/retry          answer the last question again, with another seed
/tokens         how full the context is, and what the last question reused
/save FILE      write the conversation as a line of JSON
/load FILE      continue a saved conversation
/model NAME     continue with another run
/help           this list
/exit           leave, like Ctrl-D
A line that ends with \\ continues on the next; three double quotes on a line of their own begin and end
a longer text. Ctrl-C stops an answer."""


def run_chat(config: ChatConfig, open_model: OpenModel) -> None:
    """按设置对话：``--prompt`` 问一句就走，否则读到输入结束为止。

    Args:
        config: 设置。
        open_model: 打开一个运行文件夹。
    """
    console = Console(config, open_model)
    if config.load:
        console.load(str(config.load))
    if config.system:
        console.dialogue.system = config.system
    if config.prompt:
        console.ask(config.prompt)
        return
    console.loop()


class Console:
    """一个终端前的对话。

    Args:
        config: 设置。
        open_model: 打开一个运行文件夹。

    Attributes:
        dialogue: 对话。
    """

    def __init__(self, config: ChatConfig, open_model: OpenModel) -> None:
        self._config, self._open = config, open_model
        self._is_tty = sys.stdin.isatty()
        self._stop = threading.Event()
        self.dialogue = self._dialogue(open_model(config.folder))

    def _dialogue(self, model: OpenedModel) -> Dialogue:
        config = self._config
        return Dialogue(
            model,
            template_of(model, config.template),
            config.sampling,
            max_tokens=config.tokens,
            stop=config.stop,
            constraint=config.constraint(model.tokenizer),
            new_draft=drafter(config, model.tokenizer, self._open_draft),
            guesses=config.guesses,
        )

    def _open_draft(self, folder: Path) -> tuple[TextTokenizer, BatchDecoder]:
        opened = self._open(folder)
        assert isinstance(opened.decoder, OneSlot)
        return opened.tokenizer, opened.decoder.decoder

    def is_stopped(self) -> bool:
        """用户按了 Ctrl-C 吗。"""
        return self._stop.is_set()

    def loop(self) -> None:
        """读一句，做一句，直到输入结束。"""
        if self._is_tty:
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401  有它，输入行可以编辑、可以翻看
            self._tell(f"{self._described()}; /help lists the commands, Ctrl-D leaves")
        while True:
            try:
                text = self._read()
            except KeyboardInterrupt:
                self._tell("\nCtrl-D leaves")
                continue
            if text is None or text.strip() in ("/exit", "/quit"):
                return
            try:
                self._do(text)
            except UserError as error:
                self._tell(str(error))

    def ask(self, text: str) -> None:
        """问一句；回答里调用工具的话，运行之后接着答。"""
        self.answer(lambda: self.dialogue.ask(text, self.is_stopped))
        self._run_tools()

    def answer(self, steps: Callable[[], Iterator[Step]]) -> None:
        """把一次回答边生成边写到标准输出。"""
        with _interrupts_set(self._stop):
            for step in steps():
                sys.stdout.write(step.text)
                sys.stdout.flush()
        sys.stdout.write("\n")
        sys.stdout.flush()
        dialogue = self.dialogue
        if dialogue.dropped:
            self._tell(f"(the context is full: the oldest {dialogue.dropped} messages were left out)")
        if dialogue.finish == "length":
            self._tell("(stopped: --tokens or the context is used up)")
        elif dialogue.finish == "cancelled":
            self._tell("(stopped)")

    def _do(self, text: str) -> None:
        if not text.strip():
            return
        if not text.startswith("/"):
            self.ask(text)
            return
        name, _, rest = text[1:].strip().partition(" ")
        commands: dict[str, Callable[[str], None]] = {
            "system": self._system,
            "history": self._history,
            "undo": self._undo,
            "retry": lambda _: self.answer(lambda: self.dialogue.retry(self.is_stopped)),
            "tokens": self._tokens,
            "save": self._save,
            "load": self.load,
            "model": self._model,
            "help": lambda _: self._tell(HELP),
        }
        if name not in commands:
            raise UserError(f"unknown command /{name[:40]}", fix="see /help; a message cannot start with /")
        commands[name](rest.strip())

    def _run_tools(self) -> None:
        """回答是一次工具调用，就运行，把结果交回去接着答；至多几次，用户打断了就不再来。"""
        if self._config.tools == "none":
            return
        from tinygrad_llm.common.safety.tools import MAX_CALLS, python_call, result_message
        from tinygrad_llm.common.sandbox import run_python

        for _ in range(MAX_CALLS):
            code = python_call(self.dialogue.messages[-1].content) if self.dialogue.messages else None
            if code is None or self.dialogue.finish == "cancelled":
                return
            result = result_message(run_python(code)).content
            self._tell(result)
            self.answer(lambda text=result: self.dialogue.ask(text, self.is_stopped))  # type: ignore[misc]

    def _read(self) -> str | None:
        """一句话，可以有几行；输入结束时为 ``None``。"""
        first = self._line("> ")
        if first is None or first.strip() == FENCE:
            lines, line = list[str](), self._line(". ") if first is not None else None
            while line is not None and line.strip() != FENCE:
                lines.append(line)
                line = self._line(". ")
            return "\n".join(lines) if lines else None if first is None else ""
        text = first
        while text.endswith("\\") and (line := self._line(". ")) is not None:
            text = text[:-1] + "\n" + line
        return text

    def _line(self, prompt: str) -> str | None:
        try:
            if self._is_tty:
                return input(prompt)
            line = sys.stdin.readline()
            return line.rstrip("\r\n") if line else None
        except EOFError:
            return None

    def _tell(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def _described(self) -> str:
        dialogue = self.dialogue
        return f"{dialogue.model.name}, context {dialogue.model.decoder.context}, template {dialogue.template.name}"

    # ---- 命令 ----

    def _system(self, text: str) -> None:
        if text:
            self.dialogue.system = "" if text == "-" else text
        self._tell(f"system: {self.dialogue.system or '(none)'}")

    def _history(self, _: str) -> None:
        """``/history``：说过的话，连同 system。"""
        said = [f"{one.role}: {one.content}" for one in self.dialogue.messages]
        self._tell("\n\n".join(said) or "nothing has been said yet")

    def _undo(self, _: str) -> None:
        asked = self.dialogue.undo()
        self._tell(f"took back: {asked}" if asked else "there is nothing to take back")

    def _tokens(self, _: str) -> None:
        dialogue = self.dialogue
        context, held = dialogue.model.decoder.context, len(dialogue.fed)
        turns = len(dialogue.messages) - bool(dialogue.system)
        self._tell(
            f"{held} of {context} tokens in the context, {turns} messages; "
            f"the last question reused {dialogue.reused} cached tokens"
        )

    def _save(self, name: str) -> None:
        if not name:
            raise UserError("/save needs a file name", fix="/save talk.jsonl")
        if not self.dialogue.messages or self.dialogue.messages[-1].role == "system":
            raise UserError("there is nothing to save yet", fix="ask something first")
        messages = [{"role": one.role, "content": one.content} for one in self.dialogue.messages]
        try:
            write_atomically(Path(name), (json.dumps({"messages": messages}, ensure_ascii=False) + "\n").encode())
        except OSError as error:
            raise DataError(f"cannot write the file: {error.strerror}", where=name, fix="check the folder") from error
        self._tell(f"saved {len(messages)} messages to {name}")

    def load(self, name: str) -> None:
        """``/load FILE``：换成文件里的第一份对话。"""
        if not name:
            raise UserError("/load needs a file name", fix="/load talk.jsonl")
        conversation = next(load_conversations(Path(name)), None)
        if conversation is None:
            raise DataError("the file holds no conversation", where=name, fix="use a file that /save wrote")
        self.dialogue.adopt(conversation)
        self._tell(f"loaded {len(self.dialogue.messages)} messages")

    def _model(self, name: str) -> None:
        """换一个模型，对话照旧。"""
        if not name:
            self._tell(self._described())
            return
        folder = Path(self._config.runs_dir) / name
        replacement = self._dialogue(self._open(folder if folder.exists() else Path(name)))
        replacement.messages = self.dialogue.messages
        self.dialogue = replacement
        self._tell(self._described())


@contextlib.contextmanager
def _interrupts_set(flag: threading.Event) -> Iterator[None]:
    """在其中 Ctrl-C 只立起 ``flag``，由生成在两个 token 之间查看；再按一次照常打断。"""
    flag.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
