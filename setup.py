"""Lists the rooms and builds what is compiled; everything else is in pyproject.toml."""

import os

import numpy
from Cython.Build import cythonize
from setuptools import Extension, find_namespace_packages, setup

ROOM = "pi_controller/pbal_controller/balancing"
STUDY = "tools/pbal_study/feeder"
MODULES = {
    "pbal_controller.balancing": (ROOM, ("_core", "_gains", "_outlook", "_paths")),
    "pbal_study.feeder": (STUDY, ("_loads",)),
}
PARTS = (
    "_clones.h",
    "_gains.h",
    "_kernels.h",
    "_pairs.h",
    "_pairs_wide.h",
    "_street.h",
    "_two.h",
    "_state.pxi",
    "_search.pxi",
    "_exact.pxi",
    "_minute.pxi",
    "_currents.pxi",
    "_ways.pxi",
)

# PBAL_ANNOTATE=1 writes NAME.html, which shows where C falls back to Python.
# PBAL_WARN=1 compiles with the warnings the core is kept clean of.
annotate = os.environ.get("PBAL_ANNOTATE") == "1"
warn = ["-Wall", "-Wconversion"] if os.environ.get("PBAL_WARN") == "1" else []

extensions = [
    Extension(
        f"{package}.{name}",
        [f"{folder}/{name}.pyx"],
        include_dirs=[numpy.get_include(), ROOM, STUDY],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION")],
        depends=[*(f"{ROOM}/{part}" for part in PARTS), f"{STUDY}/_loads.h"],
        extra_compile_args=["-O3", "-fno-math-errno", *warn],
    )
    for package, (folder, names) in MODULES.items()
    for name in names
    if os.path.exists(f"{folder}/{name}.pyx")
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
    options={"build_ext": {"parallel": os.cpu_count()}},
)
