#!/bin/bash
# make demo: the main job on the real sample in data/.  Shuffle, train on 2 ranks, evaluate on held-out rows, export for
# SAELens, plot; then the same training on 1 rank with 2 threads, whose checksums must be the same; a closing table.
set -eu
cd "$(dirname "$0")/.."
: "${PYTHON:=/usr/bin/python3}"
hpsae=${HPSAE:-bin/hpsae}
config=configs/demo.yaml
run=runs/demo
again=runs/demo-again
read -ra mpirun <<< "${MPIRUN:-mpirun}"

if [ "$(id -u)" = 0 ]; then # Open MPI refuses root unless told twice
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
# Two ranks run also where there is one core, and share it politely.
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none
# A run that stops when told to ends with status 75, which mpirun would explain at length.
export OMPI_MCA_orte_execute_quiet=1 OPENBLAS_NUM_THREADS=1 MPLBACKEND=Agg

# job RANKS THREADS COMMAND [OPTION]...
job() {
    local ranks=$1 threads=$2 command=$3 status=0
    shift 3
    printf '\n$ OMP_NUM_THREADS=%s mpirun -n %s hpsae %s %s %s\n' "$threads" "$ranks" "$command" "$config" "$*"
    OMP_NUM_THREADS=$threads "${mpirun[@]}" -n "$ranks" "$hpsae" "$command" "$config" "$@" < /dev/null || status=$?
    [ "$status" = 0 ] || [ "$status" = 75 ] # 75: stopped early, as asked
}

rm -rf "$run" "$again"
mkdir -p "$run"
job 2 1 shuffle
job 2 1 train
job 2 1 eval
job 2 1 export
job 1 2 train -s output="$again" -s train.max_minutes=0.5 -s train.eval_steps=0

echo
"$PYTHON" analysis/plot_run.py "$run"
"$PYTHON" analysis/demo_table.py "$run" "$again"
printf '\nDone in %d min %02d s.  The dictionary is in %s, its curves are %s/run.png.\n' \
    $((SECONDS / 60)) $((SECONDS % 60)) "$run" "$run"
