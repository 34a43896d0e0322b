"""NumPy 引擎的对照测试：每个算子、图的语义、Tensor 与 nn 的接口、优化器、GPT，都与 torch 逐项比较。"""
