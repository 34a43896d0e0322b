"""分词器：文本与 id 之间的几种翻译，一个文件添一层难处。

流入：文本；流出：id，以及学好、可以存成 JSON 的分词器。阅读的次序：

1. ``words.py``：一个词一个 id；没见过的词都是 ``<|unk|>``，空白丢了。
2. ``characters.py``：一个字符一个 id；什么词都拼得出，序列却很长。
3. ``symbols.py``、``split.py``、``merges.py`` 与 ``bpe.py``：从字节出发逐对合并；没有不认识的东西，
   常见的词只占一个 id。
   别处来的 BPE 词表由 ``formats.py`` 读入，id 的编排见 ``layout.py``。
4. ``wordpiece.py``：换一个挑选合并的标准，编码改成最长匹配。
5. ``lattice.py`` 与 ``unigram.py``：不再合并，而是给每个片段一个概率，在全部切法里取最好的一种。

``interface.py`` 是它们共同的接口，``vocabulary.py`` 是除 BPE 外共用的词表文件，``views/`` 把切法画出来给人看。
"""

from tinygrad_llm.common.tokenizers.bpe import END_OF_TEXT, Tokenizer, new_rows
from tinygrad_llm.common.tokenizers.interface import TokenIdError
from tinygrad_llm.common.tokenizers.saved import load_tokenizer
from tinygrad_llm.common.tokenizers.training import train_bpe

__all__ = ["END_OF_TEXT", "TokenIdError", "Tokenizer", "load_tokenizer", "new_rows", "train_bpe"]
