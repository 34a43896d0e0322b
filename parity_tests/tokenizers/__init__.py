"""分词器与对话的测试：神谕是 tiktoken、HF tokenizers、transformers 与朴素的写法。"""
