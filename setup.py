"""Builds the Cython balancing core; everything else is in pyproject.toml."""

import os

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

ROOM = "pi_controller/pbal_controller/balancing"
MODULES = ("_core", "_paths", "_rollout")

# PBAL_ANNOTATE=1 writes NAME.html, which shows where C falls back to Python.
# PBAL_WARN=1 compiles with the warnings the core is kept clean of.
annotate = os.environ.get("PBAL_ANNOTATE") == "1"
warn = ["-Wall", "-Wconversion"] if os.environ.get("PBAL_WARN") == "1" else []

extensions = [
    Extension(
        f"pbal_controller.balancing.{name}",
        [f"{ROOM}/{name}.pyx"],
        include_dirs=[numpy.get_include(), ROOM],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        depends=[f"{ROOM}/_kernels.h"],
        extra_compile_args=["-O3", "-fno-math-errno", *warn],
    )
    for name in MODULES
    if os.path.exists(f"{ROOM}/{name}.pyx")
]

setup(ext_modules=cythonize(extensions, annotate=annotate, language_level=3))
