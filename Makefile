# 每个目标都能在只有 python3 与 make 的新克隆上直接运行：缺 .venv 就先装好它。
.DEFAULT_GOAL := help
.PHONY: help setup run journey test parity lint format bench bench-full clean

PYTHON ?= python3
JOBS ?= 2
BIN := .venv/bin
CODE := tinygrad_llm torch_llm parity_tests examples benchmarks
# 几百条测试各起新的解释器：不许留下字节码，就次次重新编译。
unexport PYTHONDONTWRITEBYTECODE
# 戳记就是上次安装所用 pyproject.toml 的副本：内容没变便不再安装。
STAMP := .venv/.installed-pyproject.toml

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## create .venv and install the package with its test tools (again only if pyproject.toml changed)

$(STAMP): pyproject.toml
	@if cmp -s pyproject.toml $@; then touch $@; else \
	  $(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.12 ..." if sys.version_info < (3, 10) else 0)' && \
	  $(PYTHON) -m venv .venv && \
	  $(BIN)/python -m pip install --quiet --editable '.[dev]' && \
	  $(BIN)/python -m compileall -q tinygrad_llm torch_llm && \
	  cp pyproject.toml $@; fi

# 证明：两个引擎的算子、模型与完整的训练处处相符，以及测试察觉得到错误。其余的测试管的是产品。
PROOF := $(addprefix parity_tests/,contract decoding decoding_batch engine ledger mutants opinfo programs \
  random_programs torch_engine trajectories transformers weights whole_runs)
# 其中用得到融合算子的那些，关掉融合算子再走一遍；逐个算子的两个文件直接调用算子，关与不关是一回事。
COMPOSED := $(addprefix parity_tests/,contract engine programs random_programs trajectories transformers) \
  $(addprefix --ignore parity_tests/engine/,test_ops.py test_complex_ops.py)
# 一个进程做完自己的，就从别的进程那里拿：末尾几条长的不会挤在一个进程里。
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

# 播放页的测试要一个 Chromium；容器里（root、有 apt）缺了就装，别处缺了则跳过那一组，并说明没有运行。
BROWSER = $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
CHROMIUM = test -n "$(BROWSER)" || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends chromium >/dev/null; } || \
  echo "Chromium could not be installed: the browser tests will be skipped"

run: setup ## train the same GPT on both engines and show that they agree
	$(BIN)/python -m tinygrad_llm quickstart

journey: setup ## from raw text to a served, measured chat model, offline, in ten minutes; runs/journey/report.html
	$(BIN)/python -m torch_llm journey

test: setup ## quick lane: every test that is not marked "full"; FULL=1: those too, 300 examples for every property
	@$(CHROMIUM)
	BROWSER_LANE=$(if $(BROWSER),required) $(if $(FULL),HYPOTHESIS_PROFILE=full )$(PYTEST) $(if $(FULL),-m "full or not full" --timeout 3600)

parity: setup ## the proof alone: its full lane, what uses fused ops without them, the whole ledger; QUICK=1: its quick lane
	$(if $(QUICK),,HYPOTHESIS_PROFILE=full )$(PYTEST) $(PROOF) $(if $(QUICK),,-m "not soak" --timeout 3600)
	$(if $(QUICK),,$(PYTEST) --composed $(COMPOSED))
	$(if $(QUICK),,$(BIN)/python -m parity_tests ledger --full)

lint: setup ## ruff (rules and format) and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## rewrite the sources in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## speed and memory beside torch and the peers that are installed, in some ten minutes; runs/bench.json, .png
	@mkdir -p runs
	$(BIN)/python -m benchmarks --quick --json runs/bench.json --plot runs/bench.png

bench-full: setup ## the same on every size and length, with more turns; an hour or two
	@mkdir -p runs
	$(BIN)/python -m benchmarks --json runs/bench.json --plot runs/bench.png

clean: ## remove .venv and the tools' caches; runs/ stays
	rm -rf .venv .ruff_cache .mypy_cache .pytest_cache .hypothesis build dist
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
