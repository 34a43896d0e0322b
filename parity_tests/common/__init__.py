"""``tinygrad_llm.common`` 的测试：语料、分词、批次、基线、学习率与采样。"""
