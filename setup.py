"""Compile the Cython core.  Everything static lives in pyproject.toml.

``FASTMAP_BUILD`` picks the flavour:

* ``release``  - optimised, no checks (default)
* ``debug``    - ``-O0``, bounds checks, annotated HTML
* ``sanitize`` - address and undefined-behaviour sanitizers
"""

import os
import sys

from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup

MODULES = (
    *("_attributes", "_buffer", "_scan", "_fold", "_convert", "_times", "_code", "_compare"),
    *("_inputs", "_keys", "_members", "_outputs", "_parts", "_paths", "_values"),
    *("_objects", "_plan", "_dispatch"),
)

CFLAGS = {
    "release": ["-O3", "-g0", "-DNDEBUG"],
    "debug": ["-O0", "-g3", "-UNDEBUG"],
    "sanitize": ["-O1", "-g", "-UNDEBUG", "-fsanitize=address,undefined"],
}

flavour = os.environ.get("FASTMAP_BUILD", "release")
if flavour not in CFLAGS:
    sys.exit(f"FASTMAP_BUILD={flavour!r}: expected one of {', '.join(CFLAGS)}")
checked = flavour != "release"

Options.warning_errors = True

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"fastmap.{name}",
                [f"fastmap/{name}.pyx"],
                extra_compile_args=["-Wall", "-Werror", *CFLAGS[flavour]],
                extra_link_args=[flag for flag in CFLAGS[flavour] if "sanitize" in flag],
            )
            for name in MODULES
        ],
        compiler_directives={
            "language_level": "3",
            "embedsignature": True,
            "boundscheck": checked,
            "initializedcheck": checked,
            "wraparound": False,
            "cdivision": True,
        },
        build_dir=f"build/cython-{flavour}",  # generated C stays out of the source tree
        annotate=flavour == "debug",
        emit_linenums=checked,
    )
)
