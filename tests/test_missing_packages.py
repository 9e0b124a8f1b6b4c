#!/usr/bin/python3
"""setup.sh finds libraries in a prefix of the user's own, in such a way that programs find them when they start, and names what
is missing with the compiler's reason; a script whose Python lacks a package says so in one line."""
import glob
import os
import subprocess
import sys

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "oracle"))
import program
import tap

ROOT = os.path.dirname(HERE)


def setup(*arguments, **environment):
    """(exit status, what setup.sh said)."""
    done = subprocess.run([os.path.join(ROOT, "scripts", "setup.sh"), *arguments], env={**os.environ, **environment}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode, done.stdout


def check_prefix(path):
    """A prefix with Random123's headers, and ScaLAPACK in another."""
    for folder in ("headers/include/Random123", "scalapack/lib"):
        os.makedirs(os.path.join(path, folder))
    with open(os.path.join(path, "headers/include/Random123/philox.h"), "w", encoding="ascii"):
        pass
    found = glob.glob("/usr/lib/*/libscalapack-openmpi.so")
    if not found:
        return tap.note("no ScaLAPACK of Debian here: no prefix to try")
    os.symlink(found[0], os.path.join(path, "scalapack/lib/libscalapack.so"))
    flags = os.path.join(path, "deps.mk")
    status, said = setup("--write", flags, "--found-by", "test", "build", CMAKE_PREFIX_PATH=f"/nowhere:{path}/headers", RANDOM123_DIR="",
                         SCALAPACK_LIBS=f"-L{path}/scalapack/lib -lscalapack")
    if not tap.check(status == 0 and not said, "nothing is missing", said):
        return None
    with open(flags, encoding="utf-8") as file:
        text = file.read()
    tap.check(f"-isystem {path}/headers/include" in text, "headers are found by CMAKE_PREFIX_PATH", text)
    return tap.check(f"-L{path}/scalapack/lib -Wl,-rpath,{path}/scalapack/lib -lscalapack" in text, "a library's directory is kept", text)


def check_missing():
    status, said = setup("build", HDF5_DIR="/nowhere")
    tap.check(status == 2 and "\nhdf5: hdf5.c:1:10: fatal error: hdf5.h" in said, "the compiler's reason", said)
    tap.check(all(word in said for word in (" libhdf5-openmpi-dev ", " hdf5-openmpi-devel ", "spack install hdf5+mpi ")),
              "the packages of Debian, Fedora and Spack", said)
    status, said = setup("build", CC="no-such-compiler")
    tap.check(status == 2 and "\ncompiler: no-such-compiler: not found\n" in said and "hdf5: " not in said, "no compiler: that alone", said)


def check_scripts():
    """Without the directories of packages (-S), as in a Python that has none."""
    for name in ("plot_run", "plot_objectives", "plot_ensemble", "scaling_laws", "reproduce", "nightly", "ensemble_study"):
        done = subprocess.run([sys.executable, "-S", os.path.join(ROOT, "analysis", f"{name}.py")], text=True, capture_output=True,
                              env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"}, check=False)
        tap.check(done.returncode == 2 and " lacks " in done.stderr and done.stderr.count("\n") == 1, f"{name}.py: one line", done.stderr)


with program.Directory() as scratch:
    check_prefix(scratch)
check_missing()
check_scripts()
tap.done()
