"""Builds the Cython balancing core; everything else is in pyproject.toml."""

import os

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

PYX = "pi_controller/pbal_controller/balancing/_core.pyx"

# PBAL_ANNOTATE=1 writes _core.html, which shows where C falls back to Python.
annotate = os.environ.get("PBAL_ANNOTATE") == "1"

extensions = []
if os.path.exists(PYX):
    extensions.append(
        Extension(
            "pbal_controller.balancing._core",
            [PYX],
            include_dirs=[numpy.get_include()],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
            extra_compile_args=["-O3", "-fno-math-errno"],
        )
    )

setup(ext_modules=cythonize(extensions, annotate=annotate, language_level=3))
