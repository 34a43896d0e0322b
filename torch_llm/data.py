"""``python -m torch_llm data VERB``：文本怎样变成 token，token 怎样变成批次。

流入：命令行；流出：分片、报告与终端上的表。各动词都在 ``tinygrad_llm/common`` 里实现，这里只列出它们，不导入 torch。
"""

from tinygrad_llm.common.cli import Verb

VERBS: dict[str, Verb] = {
    "list": Verb("tinygrad_llm.common.corpora.command:list_corpora", "corpora at hand and for download"),
    "fetch": Verb("tinygrad_llm.common.corpora.command:fetch_corpus", "download a corpus: resume, verify, cache"),
    "peek": Verb("tinygrad_llm.common.corpora.command:peek", "show the first documents of a corpus and count them"),
    "clean": Verb("tinygrad_llm.common.cleaning.command:clean_corpus", "clean a corpus: filter, deduplicate, scrub"),
    "report": Verb("tinygrad_llm.common.cleaning.command:report_corpus", "what a corpus is made of, as a page"),
    "shard": Verb("tinygrad_llm.common.batches.shard:main", "turn a corpus into memory-mapped token shards"),
    "show-chat": Verb("tinygrad_llm.common.chat.command:main", "see which words of a conversation are trained on"),
    "inspect": Verb("tinygrad_llm.common.batches.inspect:main", "counts, lengths and a decoded batch of token shards"),
    "pack-report": Verb("tinygrad_llm.common.batches.pack_report:main", "ways to fill rows, with what each one loses"),
    "verify": Verb("tinygrad_llm.common.batches.verify:main", "check every file of token shards against its hash"),
    "storyworld": Verb("tinygrad_llm.common.corpora.storyworld.command:main", "stories, tasks and answers, made here"),
}
