# Every target works from a bare clone: it builds .venv first, with the versions in constraints.txt. pip compiles what it
# installs on one core, which takes longer than the rest of it; here all cores do (a file or two are for another Python).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := runs/sample

.PHONY: install demo test benchmark benchmark-peers clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "compress needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[offline,openvino,dev]'
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null || true
	@touch $@

demo: $(INSTALLED)
	$(BIN)/compress finetune minilm-l6 --task sample --num-train-epochs 1
	$(BIN)/compress distill --teacher $(DEMO)/minilm-l6 --student albert-tiny --task sample --no-general --copies 0 --num-train-epochs 3
	$(BIN)/compress quantize $(DEMO)/albert-tiny --method dynamic-int8
	$(BIN)/compress measure $(DEMO)
	$(BIN)/compress report $(DEMO) --output-dir reports/sample

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 --durations 20 -rs

benchmark: $(INSTALLED)
	$(BIN)/pytest -m benchmark -s

benchmark-peers: $(INSTALLED)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --requirement tests/benchmarks/peers/requirements.txt
	$(BIN)/python -m tests.benchmarks.textbrewer

# The README's picture: the head of a report, in a browser, down to the captions of its charts. A browser writes 225 kB;
# with 256 colours it is a third of that.
PICTURE := build/picture
reports/picture.png: reports/first-light/index.html
	chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1200,1664 --screenshot=$@ file://$(CURDIR)/$<
	$(PYTHON) -m venv $(PICTURE)
	$(PICTURE)/bin/pip install --quiet --disable-pip-version-check pillow==13.0.0
	$(PICTURE)/bin/python -c 'import sys; from PIL import Image; path = sys.argv[1]; Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)' $@

clean:
	rm -rf $(VENV) build dist
