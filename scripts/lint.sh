#!/bin/bash
# lint.sh: every check that reads the sources instead of running them.  LINT_FLAGS: the compiler's flags (the Makefile
# gives them).  Says nothing but the findings and one line a check; exit status 1 if any check found something.
# shellcheck disable=SC2317 # functions are called through "check"
set -u
cd "$(dirname "$0")/.." || exit 1
read -ra flags <<< "${LINT_FLAGS:--Iinclude -std=c11 -D_GNU_SOURCE}"
jobs=$(nproc)
failed=0

# Tracked and new files alike, so that a file is looked at before it is committed.
files() { git ls-files --cached --others --exclude-standard -- "$@" | sort -u | while read -r f; do [ -f "$f" ] && echo "$f"; done; }
mapfile -t sources < <(files 'src/*.c')
mapfile -t headers < <(files '*.h')
mapfile -t tests < <(files 'tests/*.c')
mapfile -t python < <(files '*.py')
mapfile -t shell < <(files '*.sh' 'tests/run' '.ci/run' 'jobs/*.sbatch')

# check NAME COMMAND...: the command prints what it found; a non-zero status is a failure.
check() {
    local name=$1 log start=$SECONDS
    shift
    log=$("$@" 2>&1) && { printf '  ok    %s (%d s)\n' "$name" $((SECONDS - start)); return; }
    printf '  FAIL  %s (%d s)\n%s\n' "$name" $((SECONDS - start)) "$log"
    failed=1
}

# The compiler that wraps MPI knows its include folders; the other tools are told.
mpi_flags() { ${CC:-mpicc} -showme:compile 2> /dev/null || ${CC:-mpicc} -compile_info 2> /dev/null | cut -d' ' -f2-; }
read -ra tool_flags <<< "$(mpi_flags | sed 's/-I */-isystem /g')"
tool_flags+=("${flags[@]}" -DHPS_ISA=base -Itests)

one_header() { clang -fsyntax-only -x c "${tool_flags[@]}" -Wno-unused-function -include "$1" - < /dev/null; }
headers_alone() {
    local status=0
    for header in "${headers[@]}"; do
        one_header "$header" || { echo "$header does not compile on its own"; status=1; }
    done
    return "$status"
}

run_tidy() {
    local log
    log=$(printf '%s\0' "${sources[@]}" "${tests[@]}" |
        xargs -0 -I FILE -P "$jobs" clang-tidy --quiet FILE -- "${tool_flags[@]}" 2>&1)
    local status=$?
    grep -vE '^[0-9]+ warnings? (generated|treated)' <<< "$log"
    return "$status"
}

run_cppcheck() {
    cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 -j "$jobs" -D_GNU_SOURCE -DHPS_ISA=base -U__clang__ \
        --enable=warning,performance,portability -Iinclude -Itests --suppressions-list=scripts/cppcheck.txt \
        "${sources[@]}" "${tests[@]}"
}

echo "lint:"
check "include layering" scripts/lint_layers.sh
check "headers stand alone" headers_alone
[ ! -f .clang-format ] || check "clang-format" clang-format --dry-run -Werror "${sources[@]}" "${headers[@]}" "${tests[@]}"
check "clang-tidy" run_tidy
check "cppcheck" run_cppcheck
check "shellcheck" shellcheck "${shell[@]}"
[ ${#python[@]} = 0 ] || check "pyflakes" pyflakes3 "${python[@]}"
exit $failed
