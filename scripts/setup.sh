#!/bin/sh
# setup.sh [--install] [--write FILE --found-by TEXT] GROUP...: sees to what hpsae needs from the system.
# Groups: build (libraries), test (Python, prove), slurm (for its tests), lint, valgrind.  Silent when everything is there.  Otherwise, with
# --install, on Debian as root or by sudo, installs it; elsewhere says what is missing and how to get it, exit status 2.
# --write: the libraries' flags as a makefile, for the Makefile.
set -u

# need GROUP CHECK | what | Debian | Fedora, EPEL | Spack | variable of the Makefile
table() {
    cat <<'END'
build    compiler  |C compiler with MPI   |gcc libc6-dev libopenmpi-dev openmpi-bin|gcc openmpi-devel          |openmpi        |CC=mpicc
build    mpirun    |MPI launcher          |openmpi-bin                   |openmpi                    |openmpi        |MPIRUN=mpirun
build    hdf5      |Parallel HDF5         |libhdf5-openmpi-dev pkg-config|hdf5-openmpi-devel         |hdf5+mpi       |HDF5_DIR=/path
build    openblas  |OpenBLAS              |libopenblas-dev               |openblas-devel             |openblas       |OPENBLAS_DIR=/path
build    scalapack |ScaLAPACK             |libscalapack-openmpi-dev      |scalapack-openmpi-devel    |netlib-scalapack|SCALAPACK_LIBS=-lscalapack
build    libyaml   |libyaml               |libyaml-dev                   |libyaml-devel              |libyaml        |LIBYAML_DIR=/path
build    jansson   |jansson               |libjansson-dev                |jansson-devel              |jansson        |JANSSON_DIR=/path
build    random123 |Random123             |librandom123-dev              |Random123-devel            |random123      |RANDOM123_DIR=/path
test     prove     |prove                 |perl                          |perl-Test-Harness          |perl           |PATH
test     numpy     |NumPy                 |python3-numpy                 |python3-numpy              |py-numpy       |PYTHON=/path/python3
test     scipy     |SciPy                 |python3-scipy                 |python3-scipy              |py-scipy       |PYTHON=/path/python3
test     h5py      |h5py                  |python3-h5py                  |python3-h5py               |py-h5py        |PYTHON=/path/python3
test     matplotlib|matplotlib            |python3-matplotlib            |python3-matplotlib         |py-matplotlib  |PYTHON=/path/python3
lint     clang     |clang with OpenMP     |clang libomp-dev              |clang libomp-devel         |llvm           |PATH
lint     clang-tidy|clang-tidy            |clang-tidy                    |clang-tools-extra          |llvm           |PATH
lint     clang-format|clang-format        |clang-format                  |clang-tools-extra          |llvm           |PATH
lint     cppcheck  |cppcheck              |cppcheck                      |cppcheck                   |cppcheck       |PATH
lint     shellcheck|shellcheck            |shellcheck                    |ShellCheck                 |shellcheck     |PATH
lint     pyflakes3 |pyflakes              |pyflakes3                     |python3-pyflakes           |py-pyflakes    |PATH
slurm    slurmctld |Slurm                 |slurm-wlm                     |slurm-slurmctld            |slurm          |PATH
slurm    munged    |munge                 |munge                         |munge                      |munge          |PATH
valgrind valgrind  |valgrind              |valgrind                      |valgrind                   |valgrind       |PATH
END
}

install=no write='' found_by='' groups=''
while [ $# -gt 0 ]; do
    case $1 in
    --install) install=yes ;;
    --write) write=$2; shift ;;
    --found-by) found_by=$2; shift ;;
    *) groups="$groups $1" ;;
    esac
    shift
done
: "${CC:=mpicc}" "${PYTHON:=/usr/bin/python3}"
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

# What is linked from a directory of its own is found there when the program starts, too, whatever LD_LIBRARY_PATH says in a job.
with_rpath() {
    for word in "$@"; do
        case $word in
        -L/lib/* | -L/usr/lib/* | -L/usr/lib64) printf '%s ' "$word" ;;
        -L/*) printf '%s ' "$word" "-Wl,-rpath,${word#-L}" ;;
        *) printf '%s ' "$word" ;;
        esac
    done
}

# found_at DIRECTORY LIBRARY HEADER PKG-CONFIG-NAME...: compiler flags in $cflags, linker flags in $ldflags.  Without a
# directory and unknown to pkg-config, a prefix in CMAKE_PREFIX_PATH that has the header (Spack's load and many modules
# name theirs there); else the compiler's own paths (CPATH, LIBRARY_PATH) have to do.
found_at() {
    directory=$1 cflags='' ldflags=${2:+-l$2} header=$3
    shift 3
    if [ -z "$directory" ]; then
        for name in "$@"; do
            if pkg-config --exists "$name" 2>/dev/null; then
                cflags=$(pkg-config --cflags "$name" | sed 's/-I */-isystem /g')
                # shellcheck disable=SC2046 # options
                ldflags=$(with_rpath $(pkg-config --libs "$name"))
                return
            fi
        done
        directory=$(prefix_with "$header")
        [ -n "$directory" ] || return
    fi
    cflags="-isystem $directory/include"
    for lib in "$directory/lib" "$directory/lib64"; do
        [ -d "$lib" ] && [ -n "$ldflags" ] && ldflags="-L$lib -Wl,-rpath,$lib $ldflags"
    done
}

prefix_with() {
    echo "${CMAKE_PREFIX_PATH:-}" | tr ':' '\n' | while read -r prefix; do
        [ ! -f "$prefix/include/$1" ] || { echo "$prefix"; break; }
    done
}

# It has no header; a module system's is named whole, as its maker says: SCALAPACK_LIBS="-L... -lmkl_scalapack_lp64 ...".
# Of what pkg-config says only the library itself: BLAS and LAPACK are OpenBLAS's.
scalapack_at() {
    cflags='' ldflags=${SCALAPACK_LIBS:-}
    if [ -z "$ldflags" ]; then
        ldflags=-lscalapack
        for name in scalapack-openmpi scalapack; do
            pkg-config --exists "$name" 2>/dev/null && ldflags="$(pkg-config --libs-only-L "$name") -l$name" && break
        done
    fi
    # shellcheck disable=SC2086 # options
    ldflags=$(with_rpath $ldflags)
}

where() {
    cflags='' ldflags=''
    case $1 in
    hdf5) found_at "${HDF5_DIR:-}" hdf5 hdf5.h hdf5-openmpi hdf5-mpi hdf5 ;;
    openblas) found_at "${OPENBLAS_DIR:-}" openblas cblas.h openblas ;;
    scalapack) scalapack_at ;;
    libyaml) found_at "${LIBYAML_DIR:-}" yaml yaml.h yaml-0.1 ;;
    jansson) found_at "${JANSSON_DIR:-}" jansson jansson.h jansson ;;
    random123) found_at "${RANDOM123_DIR:-}" '' Random123/philox.h ;;
    esac
}

program_of() {
    case $1 in
    compiler) echo '#include <mpi.h>
int main(int argc, char **argv) { return MPI_Init(&argc, &argv) || MPI_Finalize(); }' ;;
    hdf5) echo '#include <hdf5.h>
#ifndef H5_HAVE_PARALLEL
#error this HDF5 was built without MPI
#endif
int main(void) { return H5open(); }' ;;
    openblas) echo '#include <cblas.h>
extern char *openblas_get_corename(void);
int main(void) { return !openblas_get_corename(); }' ;;
    scalapack) echo 'void psgemr2d_(void), pdsyevd_(void), Cblacs_gridinit(void);
int main(int argc, char **argv) { if (argc > 9) { psgemr2d_(), pdsyevd_(), Cblacs_gridinit(); } return !argv; }' ;;
    libyaml) echo '#include <yaml.h>
int main(void) { return !yaml_get_version_string(); }' ;;
    jansson) echo '#include <jansson.h>
int main(void) { json_decref(json_null()); return 0; }' ;;
    random123) echo '#include <Random123/philox.h>
int main(void) { return 0; }' ;;
    esac
}

# Compiles and links a few lines, not only looks for a file: a library of another MPI or another CPU is missing too.
compiles() {
    where "$1"
    program_of "$1" > "$scratch/$1.c"
    under=''
    [ "$1" != scalapack ] || { where openblas && under=$ldflags; where scalapack; }
    # shellcheck disable=SC2086 # lists of options
    $CC $cflags -o "$scratch/$1" "$scratch/$1.c" $ldflags $under > "$scratch/$1.log" 2>&1
}

has() {
    case $1 in
    compiler | hdf5 | openblas | scalapack | libyaml | jansson | random123) compiles "$1" ;;
    mpirun) launcher=${MPIRUN:-mpirun} && command -v "${launcher%% *}" > /dev/null ;;
    numpy | scipy | h5py | matplotlib) "$PYTHON" -c "import importlib.util as u, sys; sys.exit(not u.find_spec('$1'))" 2>/dev/null ;;
    *) command -v "$1" > /dev/null ;;
    esac
}

missing() {
    table | while IFS='|' read -r which rest; do
        # shellcheck disable=SC2086 # two words
        set -- $which
        case " $groups " in *" $1 "*) has "$2" || echo "$which|$rest" ;; esac
    done
}

column() { cut -d'|' -f"$1" "$scratch/missing" | xargs -n1 | sort -u | xargs; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

can_install() {
    [ "$install" = yes ] && command -v apt-get > /dev/null || return 1
    [ "$(id -u)" = 0 ] || { command -v sudo > /dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; }
}

install_missing() {
    packages=$(column 3)
    echo "setup: apt-get install $packages"
    as_root apt-get update -qq || echo "setup: the list of packages could not be refreshed; trying with what there is" >&2
    # shellcheck disable=SC2086 # a list
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Use-Pty=0 $packages > "$scratch/apt.log" 2>&1 || { tail -n 20 "$scratch/apt.log" >&2; return 1; }
}

# What the compiler said, a line each; without a compiler nothing could be tried, and the libraries may be there.
reasons() {
    cut -d'|' -f1 "$scratch/missing" > "$scratch/names"
    while read -r group name; do
        log=$scratch/$name.log
        if [ "$group" != build ] || [ ! -s "$log" ]; then continue; fi
        printf '%s%s: %s\n' "${heading-
}" "$name" "$({ grep -m 1 -iE 'error|not found|no such' "$log" || head -n 1 "$log"; } | sed "s|$scratch/||g; s|^[^ ]*setup.sh: [0-9]*: ||")"
        heading=''
        [ "$name" != compiler ] || { echo "(the libraries may be there: without a compiler none could be tried)"; break; }
    done < "$scratch/names"
}

explain() {
    echo "hpsae needs the following, which this machine lacks (or the compiler $CC cannot use):"
    echo
    {
        echo "for|what|Debian, Ubuntu|Fedora, EPEL|Spack|or set"
        cat "$scratch/missing"
    } | awk -F'|' '{ sub(/ .*/, "", $1); printf "  %-8s %-19s %-44s %-23s %-15s %s\n", $1, trim($2), trim($3), trim($4), trim($5), trim($6) }
                   function trim(s) { gsub(/^ +| +$/, "", s); return s }'
    reasons
    cat <<END

Debian, Ubuntu:   sudo apt-get install --no-install-recommends $(column 3)
                  (as root or with sudo, "make setup" does it)
Fedora, EPEL:     sudo dnf install $(column 4) && module load mpi/openmpi-$(uname -m)
Spack:            spack install $(column 5) && spack load $(column 5)
Module system:    load its MPI, parallel HDF5 and so on; then name what is still missing, for example
                  make CC=mpicc HDF5_DIR=\$HDF5_ROOT OPENBLAS_DIR=\$OPENBLAS_ROOT
                  (the same lines in a file config.mk are kept: HDF5_DIR := /path)
END
}

write_flags() {
    all_cflags='' all_ldflags=''
    for library in hdf5 openblas scalapack libyaml jansson random123; do
        where "$library"
        all_cflags="$all_cflags $cflags" all_ldflags="$all_ldflags $ldflags"
    done
    mkdir -p "$(dirname "$1")"
    printf '# Written by scripts/setup.sh.\ndeps.found_by := %s\ndeps.cppflags := %s\ndeps.ldlibs := %s\n' \
        "$found_by" "$all_cflags" "$all_ldflags" > "$1"
}

missing > "$scratch/missing"
if [ -s "$scratch/missing" ] && can_install; then
    install_missing && missing > "$scratch/missing"
fi
if [ -s "$scratch/missing" ]; then
    explain >&2
    exit 2
fi
[ -z "$write" ] || write_flags "$write"
