# make demo   the paper's ablation on a toy dataset, from ImageNet's weights, frozen and trained, with pictures
# make app    open a page to paint masks on, with an untrained network (installs into .venv-app)
# make test   the test suite, in two processes (JOBS=8: in eight; make test-slow: the long tests)
# make test-page      the page in a browser (installs into .venv-app; needs a Chromium)
# make test-tour      the notebook docs/tour.ipynb, run as a whole
# make test-commands  what README and docs/ tell to type on a toy dataset, for real
# make versions       the first look and tests with the lowest and the newest packages (two times up to 6 GB, one after the other)
# make lint   ruff
# make pictures   the pictures of README and docs/ again, from the demo (installs into .venv-app; needs a Chromium)
# make bench  evaluation and training against the plain ways and by step, planning and sampling at COCO's size, class index against masks,
#             run lengths of LVIS's size
#             (DATA_ROOT=... for a VOC2012 folder of yours)

PYTHON ?= python3
VENV ?= .venv
# gradio takes other packages back, such as Pillow: it has an environment of its own
VENV_APP ?= .venv-app
RUN = $(VENV)/bin/python
DATA_ROOT ?= data/toy
JOBS ?= 2

.PHONY: install demo app test test-slow test-page test-tour test-commands versions lint bench pictures

install: $(VENV)/.installed

$(VENV)/.installed: requirements.txt requirements-dev.txt
	@echo "installing into $(VENV): some minutes, up to 6 GB"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -r requirements-dev.txt
	touch $@

$(VENV_APP)/.installed: requirements.txt requirements-app.txt
	@echo "installing into $(VENV_APP): some minutes, up to 6 GB"
	$(PYTHON) -m venv $(VENV_APP)
	$(VENV_APP)/bin/pip install --quiet -r requirements-app.txt
	touch $@

demo: install
	$(RUN) demo.py

outdir_demo/table.md: | install
	$(RUN) demo.py

pictures: $(VENV_APP)/.installed outdir_demo/table.md
	$(VENV_APP)/bin/pip install --quiet playwright
	$(VENV_APP)/bin/python -m docs.make_pictures

app: $(VENV_APP)/.installed
	$(VENV_APP)/bin/python app.py

test: install
	$(RUN) -m pytest -n $(JOBS) --dist loadfile

test-slow: install
	$(RUN) -m pytest -m slow

test-page: $(VENV_APP)/.installed
	$(VENV_APP)/bin/pip install --quiet pytest playwright
	$(VENV_APP)/bin/python -m pytest -m "" tests/test_app.py tests/page

test-tour: install
	$(RUN) -m pytest -m slow tests/test_tour.py

test-commands: install
	$(RUN) -m tests.toy_commands

versions:
	$(PYTHON) -m tests.versions

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

data/toy: | install
	$(RUN) prepare.py toy --out data/toy

bench: install $(filter data/toy,$(DATA_ROOT))
	$(RUN) -m benchmarks.evaluation --data-root $(DATA_ROOT)
	$(RUN) -m benchmarks.training --data-root $(DATA_ROOT)
	$(RUN) -m benchmarks.breakdown --data-root $(DATA_ROOT)
	$(RUN) -m benchmarks.planning
	$(RUN) -m benchmarks.sampling
	$(RUN) -m benchmarks.class_index --masks $(DATA_ROOT)/SegmentationClassAug
	$(RUN) -m benchmarks.own_index
