"""Lists the rooms and builds the Cython balancing core; everything else is in pyproject.toml."""

import os

import numpy
from Cython.Build import cythonize
from setuptools import Extension, find_namespace_packages, setup

ROOM = "pi_controller/pbal_controller/balancing"
MODULES = ("_core", "_outlook", "_paths")
PARTS = ("_clones.h", "_kernels.h", "_pairs.h", "_state.pxi", "_search.pxi", "_exact.pxi")

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
        depends=[f"{ROOM}/{part}" for part in PARTS],
        extra_compile_args=["-O3", "-fno-math-errno", *warn],
    )
    for name in MODULES
    if os.path.exists(f"{ROOM}/{name}.pyx")
]

# Every room keeps its packages under its own folder. The boards and the two scripts of the
# node's flash are no packages in the checkout; a wheel carries them as data under these names.
package_dir = {"pbal_boards": "boards", "pbal_firmware": "firmware"}
packages = [*package_dir, "pbal_boards.hats", "pbal_boards.meters", "pbal_boards.modems"]
for room in ("protocol", "firmware", "pi_controller", "tools", "sim", "hq"):
    found = find_namespace_packages(room, include=["pbal_*"], exclude=["*__pycache__*"])
    packages += found
    package_dir |= {name: f"{room}/{name}" for name in found if "." not in name}

setup(
    packages=packages,
    package_dir=package_dir,
    ext_modules=cythonize(extensions, annotate=annotate, language_level=3),
)
