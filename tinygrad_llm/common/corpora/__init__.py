"""语料：不联网也有的文本，与用户自己的文件。

流入：语料名或路径；流出：文本。先读 ``corpus.py``。
"""

from tinygrad_llm.common.corpora.corpus import CORPUS_NAMES, Corpus, load_corpus, split_text
from tinygrad_llm.common.corpora.document import Document
from tinygrad_llm.common.corpora.faults import Faults

__all__ = ["CORPUS_NAMES", "Corpus", "Document", "Faults", "load_corpus", "split_text"]
