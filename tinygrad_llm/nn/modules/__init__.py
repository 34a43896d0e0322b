"""与 ``torch.nn.modules`` 同一路径；全局钩子在 ``module`` 里，层在 ``tinygrad_llm.nn`` 里。"""
