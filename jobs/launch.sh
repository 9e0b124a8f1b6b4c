# shellcheck shell=bash
# launch.sh: sourced by the job scripts, which stay short.  How ranks are started, what signals do, how a job ends.
#   hpsae_open OUTPUT      the job's log is OUTPUT/job-ID.log from here on; nothing is written elsewhere
#   hpsae_run ARGUMENTS    hpsae ARGUMENTS on all ranks of the job; goes on only after status 0
#   hpsae_do NAME COMMAND  likewise a command that starts ranks itself
# Exit status of a job: 0 done; 1 a fault of the program or the machine; 2 something to mend, said in one line; 75 stopped
# early with a checkpoint.  At the time limit (Slurm sends USR1 before: --signal=B:USR1@120) the job goes back to the queue
# by itself and later on from its checkpoint; after scancel, a file `stop` or train.max_minutes it stays out, and the
# same command goes on.  What went wrong is also in `scontrol show job ID`, at Comment.
# Settings, by the environment: HPSAE (the program), HPSAE_LAUNCH=pmix|pmi2|mpirun, HPSAE_BIND=cores|none, HPSAE_WAIT=30 (seconds).

: "${HPSAE:=$PWD/bin/hpsae}"
hpsae_log=/dev/null hpsae_child='' hpsae_limit='' hpsae_ended=''

hpsae_fail() { # STATUS WORDS [WORDS FOR SLURM]
    echo "job: $2" >&2
    scontrol update JobId="$SLURM_JOB_ID" Comment="status $1: ${3:-$2}" > /dev/null 2>&1
    exit "$1"
}

hpsae_last_error() { grep -a 'hpsae: error:' "$hpsae_log" | tail -n 1 | cut -c 1-400 | tr '"' "'"; }

hpsae_open() {
    local id=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
    hpsae_log=$1/job-${id:-$SLURM_JOB_ID}.log
    { mkdir -p "$1" && touch "$hpsae_log"; } || hpsae_fail 2 "$1: cannot be written to; choose another output"
    exec >> "$hpsae_log" 2>&1 < /dev/null
    [ -x "$HPSAE" ] || hpsae_fail 2 "$HPSAE: there is no such program; build it (make) or set HPSAE"
    echo "job: $SLURM_JOB_ID, run $((${SLURM_RESTART_COUNT:-0} + 1)), on $SLURM_JOB_NODELIST, $(date)"
    # OpenBLAS before 0.3.22 takes recent Xeons for old ones; this changes the speed, never the result.
    grep -qs avx512f /proc/cpuinfo && export OPENBLAS_CORETYPE=${OPENBLAS_CORETYPE:-SkylakeX}
    # Debian's Open MPI leaves out the one component for one-sided messages (sweep's queue) between hosts over TCP.
    grep -qsE '^osc *=.*pt2pt' /etc/openmpi/openmpi-mca-params.conf && export OMPI_MCA_osc=${OMPI_MCA_osc:-^ucx}
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
}

# pmix: Open MPI, where srun has it.  pmi2: MPICH and its relatives, likewise.  Else mpirun, which knows Slurm's allocation.
hpsae_choose_launcher() {
    local types mpi
    types=$(srun --mpi=list 2>&1)
    mpi=$(ldd "$HPSAE" | grep -oE 'libmpi(ch)?\.so\.[0-9]+' | head -n 1)
    if [ "$mpi" = libmpi.so.40 ] && grep -qw pmix <<< "$types"; then
        HPSAE_LAUNCH=pmix
    elif [ "$mpi" != libmpi.so.40 ] && grep -qw pmi2 <<< "$types"; then
        HPSAE_LAUNCH=pmi2
    elif command -v mpirun > /dev/null; then
        HPSAE_LAUNCH=mpirun
    else
        hpsae_fail 2 "$mpi: srun --mpi=list has neither pmix nor pmi2 for it, and there is no mpirun; load the MPI's module"
    fi
}

hpsae_launcher() { # into the array `launcher`; one rank --ntasks-per-node of --cpus-per-task cores each
    local cpus=${SLURM_CPUS_PER_TASK:-1} per_node=${SLURM_NTASKS_PER_NODE:-}
    [ -n "${HPSAE_LAUNCH:-}" ] || hpsae_choose_launcher
    case $HPSAE_LAUNCH in
    pmix | pmi2)
        # A rank that is lost takes the others with it after so long, should the MPI not do so.
        launcher=(srun --mpi="$HPSAE_LAUNCH" --cpus-per-task="$cpus" --wait="${HPSAE_WAIT:-30}")
        [ "${HPSAE_BIND:-cores}" = none ] || launcher+=(--cpu-bind=cores)
        ;;
    mpirun)
        launcher=(mpirun --map-by "${per_node:+ppr:$per_node:node:pe=$cpus}" --bind-to core)
        [ -n "$per_node" ] || launcher=(mpirun --map-by "slot:pe=$cpus" --bind-to core)
        [ "${HPSAE_BIND:-cores}" = cores ] || launcher=(mpirun --bind-to none)
        ;;
    *) hpsae_fail 2 "HPSAE_LAUNCH=$HPSAE_LAUNCH: allowed: pmix, pmi2, mpirun" ;;
    esac
}

# srun and mpirun pass both signals on to the ranks, which write a checkpoint after the current step.
hpsae_on_usr1() { hpsae_woken=yes hpsae_limit=yes; [ -z "$hpsae_child" ] || kill -USR1 "$hpsae_child" 2> /dev/null; }
hpsae_on_term() { hpsae_woken=yes hpsae_ended=yes; [ -z "$hpsae_child" ] || kill -USR1 "$hpsae_child" 2> /dev/null; }
trap hpsae_on_usr1 USR1
trap hpsae_on_term TERM

hpsae_run() {
    local launcher
    hpsae_launcher
    hpsae_do "hpsae $1" "${launcher[@]}" "$HPSAE" "$@"
}

hpsae_do() { # NAME COMMAND...
    local name=$1 status=0
    shift
    echo "job: $*"
    "$@" &
    hpsae_child=$!
    hpsae_woken=yes
    while [ -n "$hpsae_woken" ]; do # a signal ends `wait`, not the ranks
        hpsae_woken=''
        wait "$hpsae_child"
        status=$?
    done
    hpsae_child=''
    [ "$status" != 0 ] || return 0
    # A signal that came while the program was starting ended it; nothing is lost by that either.
    if [ -n "$hpsae_limit" ] && [ -z "$hpsae_ended" ] && { [ "$status" = 75 ] || [ "$status" -gt 128 ]; }; then
        echo "job: stopped before the time limit; back to the queue"
        scontrol requeue "$SLURM_JOB_ID" ||
            hpsae_fail 75 "stopped before the time limit, and may not be requeued; submit the same command again"
        sleep 120 # until the requeue ends this script
        exit 75
    fi
    [ "$status" != 75 ] || { echo "job: stopped early, with a checkpoint; the same command goes on"; exit 75; }
    hpsae_fail "$status" "$name ended with status $status" "$(hpsae_last_error)"
}
