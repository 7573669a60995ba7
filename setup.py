"""Compile the Cython core.  Everything static lives in pyproject.toml.

``FASTMAP_BUILD`` picks the flavour:

* ``release``  - optimised, no checks (default)
* ``debug``    - ``-O0``, bounds checks, annotated HTML
* ``sanitize`` - address and undefined-behaviour sanitizers

Warnings of the compilers are errors in the latter two, which developers build: a newer compiler
that warns of something new must not keep anybody from installing.

``python setup.py preflight`` needs nothing installed and says what is missing to build.
"""

import multiprocessing
import os
import shutil
import sys
import sysconfig
from pathlib import Path

OLDEST = (3, 11)


def preflight():
    """Return what keeps the core from being built here, with its remedy; "" when nothing does."""
    running = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return (
            f"this is Python {running} ({sys.executable}); Python {oldest} or newer is needed.\n"
            f"Install one and name it, as in: make PYTHON=python{oldest}"
        )
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return (
            f"there is no C compiler: {compiler} is not on the PATH.\n"
            "Install one (Debian, Ubuntu: apt-get install gcc libc6-dev; Fedora: dnf install gcc; "
            "Alpine: apk add gcc musl-dev), or name yours with CC=..."
        )
    headers = sysconfig.get_path("include")
    if not Path(headers, "Python.h").exists():
        version = ".".join(map(str, sys.version_info[:2]))
        return (
            f"the headers of Python {version} are missing: there is no {headers}/Python.h.\n"
            f"Install them (Debian, Ubuntu: apt-get install python{version}-dev; "
            "Fedora: dnf install python3-devel; Alpine: apk add python3-dev)"
        )
    return ""


missing = preflight()
if missing and "sdist" not in sys.argv:
    sys.exit(f"mixpanel-gateway cannot be built: {missing}")
if sys.argv[1:] == ["preflight"]:
    sys.exit()

from Cython.Build import cythonize  # noqa: E402 - after what needs nothing installed
from Cython.Compiler import Options  # noqa: E402
from setuptools import Extension, setup  # noqa: E402
from setuptools.command.build_ext import build_ext  # noqa: E402
from setuptools.modified import newer_group  # noqa: E402

MODULES = (
    *("_beside", "_buffer", "_code", "_convert", "_fold", "_inputs", "_keys", "_members"),
    *("_objects", "_paths", "_plan", "_recover", "_scan", "_times", "_values"),
)

CFLAGS = {
    "release": ["-O3", "-g0", "-DNDEBUG"],
    "debug": ["-O0", "-g3", "-UNDEBUG", "-Werror"],
    "sanitize": ["-O1", "-g", "-UNDEBUG", "-Werror", "-fsanitize=address,undefined"],
}

flavour = os.environ.get("FASTMAP_BUILD", "release")
if flavour not in CFLAGS:
    sys.exit(f"FASTMAP_BUILD={flavour!r}: expected one of {', '.join(CFLAGS)}")
checked = flavour != "release"

Options.warning_errors = checked

JOBS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Build(build_ext):
    """Compiles several modules at once, and says how far it is."""

    def initialize_options(self):
        """Use all processors, unless the command line says otherwise."""
        super().initialize_options()
        self.parallel = JOBS

    def build_extensions(self):
        """Build all, counting."""
        self.done = 0
        super().build_extensions()

    def build_extension(self, extension):
        """Build one module, if it is not there already."""
        target = Path(self.get_ext_fullpath(extension.name))
        in_place = Path("fastmap", target.name)
        sources = [*extension.sources, *extension.depends]
        if self.editable_mode and not newer_group(sources, str(in_place), missing="newer"):
            # An editable installation would compile again what has just been compiled in place.
            self.mkpath(str(target.parent))
            self.copy_file(str(in_place), str(target))
            return
        super().build_extension(extension)
        self.done += 1
        print(f"[{self.done:2}/{len(self.extensions)}] {extension.name} is compiled", flush=True)


setup(
    cmdclass={"build_ext": Build},
    ext_modules=cythonize(
        [
            Extension(
                f"fastmap.{name}",
                [f"fastmap/{name}.pyx"],
                extra_compile_args=["-Wall", *CFLAGS[flavour]],
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
        nthreads=JOBS if multiprocessing.get_start_method() == "fork" else 0,
        quiet=True,  # the command below says how far it is
        build_dir=f"build/cython-{flavour}",  # generated C stays out of the source tree
        annotate=flavour == "debug",
        emit_linenums=checked,
    ),
)
