# make demo             the whole chain on a bundled recording, over real ROS 2 topics
# make test             ruff, mypy, pytest
# make test ROS=jazzy   the same on ROS 2 Jazzy, in an environment of its own
# make clean            back to a fresh checkout
#
# Needs python3 (3.10 to 3.13) with venv and headers, g++ and make (apt install python3-venv python3-dev g++ make);
# everything else, cmake and ROS 2 included, comes through pip.

ROS ?= kilted
PYTHON ?= python3
# a second requirement on torch for `make test`, such as TORCH=torch==2.13.0+cpu or a wheel's path
TORCH ?=

VENV := $(if $(filter kilted,$(ROS)),.venv,.venv-$(ROS))
PIP := $(VENV)/bin/pip --disable-pip-version-check install --quiet --constraint requirements/$(ROS).txt
INSTALLED := $(VENV)/.installed
INSTALLED_FOR_TESTS := $(VENV)/.installed-for-tests
BUILT_FROM := CMakeLists.txt package.xml pyproject.toml setup.py requirements/$(ROS).txt requirements/$(ROS)-build.txt \
  $(shell find cmake config interfaces launch msg resource scripts srv -type f -not -name '*.pyc')

# the environment stands alone, also where a shell has a ROS 2 installation or another environment sourced
export ROS_DISTRO := $(ROS)
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH _ROS_WHEELS_BOOTSTRAP_COMPLETE
# modules are compiled when they are first imported, not 20 000 of them at installation: that must be kept then
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo venv test lint clean
.DELETE_ON_ERROR:

demo: $(INSTALLED)
	$(VENV)/bin/focus-depth demo

venv: $(INSTALLED)

test: lint
	$(VENV)/bin/python -m pytest

lint: $(INSTALLED_FOR_TESTS)
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy

clean:
	rm -rf .venv .venv-* build output .mypy_cache .pytest_cache .ruff_cache

$(INSTALLED): $(BUILT_FROM)
	@command -v g++ >/dev/null || { echo 'g++ is missing: apt install g++' >&2; exit 1; }
	@$(PYTHON) -c 'import os, sysconfig; assert os.path.exists(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null \
	  || { echo 'Python.h of $(PYTHON) is missing: apt install python3-dev' >&2; exit 1; }
	@test -x $(VENV)/bin/python || { echo 'Creating $(VENV)'; $(PYTHON) -m venv $(VENV); }
	@echo 'Installing ROS 2 $(ROS) and this package into $(VENV), compiling its messages: one to ten minutes, by network and machine, in which pip says nothing'
	$(PIP) --editable .
	@touch $@

$(INSTALLED_FOR_TESTS): $(INSTALLED) pyproject.toml
	@echo 'Installing what training and tests need into $(VENV), torch among it: several minutes, in which pip says nothing'
	$(PIP) --no-compile 'focus_depth_ros[cluster,datasets,foundation,report,test,train,view]' $(TORCH)
	@touch $@
