# `make run` and `make test` are all a newcomer needs. Both make what is missing first.
PYTHON ?= python3
COMPANY ?= jackon
URL ?= http://127.0.0.1:$(or $(PORT),8000)
export RASA_TELEMETRY_ENABLED = false
VENV = .venv/bin/python

.PHONY: run test lint setup train chat evaluate shell clean

run: setup
	@$(VENV) tools/run.py

test: setup lint train
	@$(VENV) -m pytest

setup:
	@$(PYTHON) tools/setup.py

train: setup
	@$(VENV) tools/train.py

lint: setup
	@.venv/bin/ruff check --quiet . && .venv/bin/ruff format --check --quiet . && .venv/bin/mypy

chat: setup
	@.venv/bin/personvern chat --company $(COMPANY) --url $(URL)

evaluate: setup
	@test -n "$(FILE)" || { echo "Say which questions: make evaluate FILE=tests/questions/jackon.jsonl"; exit 2; }
	@.venv/bin/personvern evaluate $(FILE) --url $(URL) $(if $(OUT),--out $(OUT))

# Rasa's own shell, without the app: it needs the action server (make run starts one).
shell: setup train
	@engine/.venv/bin/rasa shell -m models/personvern.tar.gz

clean:
	rm -rf .venv engine/.venv .tools models var results
