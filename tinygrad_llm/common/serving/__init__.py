"""服务：把模型放到 HTTP 后面，说 OpenAI 的接口；两个引擎共用，谁也不认识。

流入：HTTP 请求；流出：回答，一次给完或逐段地给。依次读 ``schemas.py``（请求长什么样）、``wanted.py``
（请求变成要做的事）、``engine.py``（独占模型的线程）、``answers.py``（一步步变成回答）、``routes.py``（各条路由）、``gate.py``（进门先查什么）、
``app.py``（装到一起）、``command.py``（启动与收场）。starlette 与 uvicorn 只在函数里导入。
"""
