"""语料：不联网也有的文本、用户自己的文件与具名的下载，都成为文档流。

流入：语料名或路径；流出：``Document`` 的流，或一整段文本。先读 ``document.py``，再读 ``sources.py``。
"""

from tinygrad_llm.common.corpora.corpus import Corpus, load_corpus, split_text
from tinygrad_llm.common.corpora.document import Document
from tinygrad_llm.common.corpora.faults import Faults
from tinygrad_llm.common.corpora.sources import CORPUS_NAMES, documents

__all__ = ["CORPUS_NAMES", "Corpus", "Document", "Faults", "documents", "load_corpus", "split_text"]
