"""分词器：文本与 id 之间的几种翻译，一个文件添一层难处。

流入：文本；流出：id，以及学好、可以存成 JSON 的分词器。先读 ``merges.py``（合并是怎样学出来的）。
"""

from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT, TokenIdError, Tokenizer, load_tokenizer, train_bpe

__all__ = ["END_OF_TEXT", "TokenIdError", "Tokenizer", "load_tokenizer", "train_bpe"]
