"""PyTorch 上的解码：``cache.py`` 是各槽的 KV 缓存，``slots.py`` 把新 token 算成 logits。"""
