"""具名语料的目录：从哪里下载、多大、什么许可、正文在哪个字段。

流入：语料名；流出：``Entry``。大小与 SHA-256 都取自公开的记载，写得出的才写；写不出的大小是约数，
SHA-256 在第一次下载时记下，以后照着核对（见 ``fetching.py``）。
网址里有提交号的，内容不会再变。下一个文件：``cache.py``。
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CATALOGUE", "Entry", "RemoteFile"]

_HUB = "https://huggingface.co/datasets"
_GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class RemoteFile:
    """一个可以下载的文件。

    Attributes:
        url: 网址。
        size: 字节数。
        sha256: 十六进制的摘要；空串表示第一次下载时记下。
        is_exact: ``size`` 是确数；否则是约数，只供显示与检查磁盘。
    """

    url: str
    size: int
    sha256: str = ""
    is_exact: bool = True

    @property
    def name(self) -> str:
        """缓存里的文件名：网址的最后一段。"""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Entry:
    """一份具名语料。

    Attributes:
        name: 名字。
        summary: 一句话，英文。
        licence: 许可；使用前请到 ``homepage`` 核对。
        homepage: 出处。
        files: 全部文件，按读取的次序。
        field: 正文的字段；文本文件为空。
        separator: 文本文件里文档之间的记号；没有则为空串。
        default_files: 不加说明时下载前几个。
    """

    name: str
    summary: str
    licence: str
    homepage: str
    files: tuple[RemoteFile, ...]
    field: str = ""
    separator: str = ""
    default_files: int = 1


def _hub_shards(repository: str, pattern: str, count: int, size: int) -> tuple[RemoteFile, ...]:
    """编号的分片；``size`` 是每片的约数。"""
    url = f"{_HUB}/{repository}/resolve/main/{pattern}"
    return tuple(RemoteFile(url.format(index), size, is_exact=False) for index in range(count))


_TINY_STORIES = f"{_HUB}/roneneldan/TinyStories/resolve/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64"
_GSM8K = f"{_GITHUB}/openai/grade-school-math/3101c7d5072418e28b9008a6636bde82a006892c/grade_school_math/data"
_MINIMIND = f"{_HUB}/jingyaogong/minimind_dataset/resolve/312afb4f76391145c6902f765bb51691c09a12f5"

_ENTRIES = (
    Entry(
        "tinyshakespeare",
        "Shakespeare's plays",
        "public domain",
        "https://github.com/karpathy/char-rnn",
        (
            RemoteFile(
                f"{_GITHUB}/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
                1_115_394,
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
    ),
    Entry(
        "tinystories-valid",
        "held-out stories of TinyStories",
        "CDLA-Sharing-1.0",
        f"{_HUB}/roneneldan/TinyStories",
        (
            RemoteFile(
                f"{_TINY_STORIES}/TinyStoriesV2-GPT4-valid.txt",
                22_502_601,
                "6874bae9a4c1a4e7edcf0e53b86c17817e9cf881fc75ff2368da457b80c0585d",
            ),
        ),
        separator="<|endoftext|>",
    ),
    Entry(
        "tinystories",
        "2.7 million short stories",
        "CDLA-Sharing-1.0",
        f"{_HUB}/roneneldan/TinyStories",
        (
            RemoteFile(
                f"{_TINY_STORIES}/TinyStoriesV2-GPT4-train.txt",
                2_227_753_162,
                "6418d412de72888f52b5142c761ac21a582f7d1166f0bfbdb5f03ccfdec90443",
            ),
        ),
        separator="<|endoftext|>",
    ),
    Entry(
        "fineweb-edu",
        "educational web pages, 100B tokens",
        "ODC-By-1.0",
        f"{_HUB}/karpathy/fineweb-edu-100b-shuffle",
        _hub_shards("karpathy/fineweb-edu-100b-shuffle", "shard_{:05d}.parquet", 1823, 100_000_000),
        field="text",
    ),
    Entry(
        "wikitext-2",
        "English Wikipedia, 2 million words",
        "CC-BY-SA-3.0",
        f"{_HUB}/Salesforce/wikitext",
        (
            RemoteFile(
                f"{_HUB}/Salesforce/wikitext/resolve/b08601e04326c79dfdd32d625aee71d232d685c3"
                "/wikitext-2-raw-v1/train-00000-of-00001.parquet",
                6_357_543,
                "e83889baabc497075506f91975be5fac0d45c5290b6b20582c8cd1e853d0c9f7",
            ),
        ),
        field="text",
    ),
    Entry(
        "wikipedia-zh",
        "Chinese Wikipedia, November 2023",
        "CC-BY-SA-3.0, GFDL",
        f"{_HUB}/wikimedia/wikipedia",
        _hub_shards("wikimedia/wikipedia", "20231101.zh/train-{:05d}-of-00006.parquet", 6, 250_000_000),
        field="text",
    ),
    Entry(
        "minimind-zh",
        "Chinese text for tiny models",
        "Apache-2.0, mixed",
        f"{_HUB}/jingyaogong/minimind_dataset",
        (
            RemoteFile(
                f"{_MINIMIND}/pretrain_t2t_mini.jsonl",
                1_241_043_656,
                "6dd6716c84ab36897bdbfc7f88e04f4441c48c1ab7ecee88ce0b0e7d4685560c",
            ),
        ),
        field="text",
    ),
    Entry(
        "smoltalk",
        "a million conversations",
        "Apache-2.0, partly",
        f"{_HUB}/HuggingFaceTB/smoltalk",
        _hub_shards("HuggingFaceTB/smoltalk", "data/all/train-{:05d}-of-00009.parquet", 9, 223_000_000),
        field="messages",
    ),
    Entry(
        "smol-smoltalk",
        "460,000 shorter conversations",
        "Apache-2.0",
        f"{_HUB}/HuggingFaceTB/smol-smoltalk",
        _hub_shards("HuggingFaceTB/smol-smoltalk", "data/train-{:05d}-of-00004.parquet", 4, 231_000_000),
        field="messages",
    ),
    Entry(
        "gsm8k",
        "7,473 maths problems with answers",
        "MIT",
        "https://github.com/openai/grade-school-math",
        (
            RemoteFile(
                f"{_GSM8K}/train.jsonl",
                4_166_206,
                "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
            ),
        ),
        field="question,answer",
    ),
    Entry(
        "gsm8k-test",
        "1,319 problems: never train on them",
        "MIT",
        "https://github.com/openai/grade-school-math",
        (
            RemoteFile(
                f"{_GSM8K}/test.jsonl",
                749_738,
                "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
            ),
        ),
        field="question,answer",
    ),
    Entry(
        "humaneval",
        "164 problems: never train on them",
        "MIT",
        "https://github.com/openai/human-eval",
        (
            RemoteFile(
                f"{_GITHUB}/openai/human-eval/6d43fb980f9fee3c892a914eda09951f772ad10d/data/HumanEval.jsonl.gz",
                45_000,
                "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
                is_exact=False,
            ),
        ),
        field="prompt,canonical_solution",
    ),
)

CATALOGUE = {entry.name: entry for entry in _ENTRIES}
