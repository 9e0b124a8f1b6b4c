#!/bin/bash
# sandbox.sh start DIR [HOSTS [CPUS]]: a real Slurm of HOSTS hosts (4) with CPUS each (2) on this machine; its files are in DIR.
# sandbox.sh env DIR                 : what a shell needs to use it:  eval "$(tests/slurm/sandbox.sh env DIR)"
# sandbox.sh kill DIR HOST           : HOST (h1, h2, ...) loses power: every process on it is gone at once
# sandbox.sh boot DIR HOST           : and comes up again
# sandbox.sh stop DIR                : cancels what runs, ends all, removes DIR
# sandbox.sh can                     : exit status 0 where it can run, else 1 and the reason
#
# Needs root and Debian's slurm-wlm and munge.  A host is a slurmd in namespaces of its own: name, process numbers and
# /dev/shm, so that Open MPI sees several hosts, process numbers of one mean nothing on another, and the first process of
# a host takes all others with it.  The file system is shared, as on a cluster.  No cgroups: memory is not enforced.
set -u

fail() { echo "sandbox: $*" >&2; exit 1; }

can() {
    local reason=''
    [ "$(id -u)" = 0 ] || reason="it needs root"
    for program in slurmctld slurmd sbatch munged; do
        [ -n "$reason" ] || command -v $program > /dev/null || reason="there is no $program (Debian: slurm-wlm munge)"
    done
    [ -n "$reason" ] || unshare --uts --mount --pid --fork true 2> /dev/null || reason="namespaces are not allowed here"
    [ -z "$reason" ] || { echo "$reason"; return 1; }
}

# From the process number, so that two sandboxes differ; a range that is in use is passed over.
free_ports() {
    local count=$1 base=$((20000 + $$ % 600 * 20)) used port
    used=$(awk 'FNR > 1 { split($2, a, ":"); print a[2] }' /proc/net/tcp /proc/net/tcp6 2> /dev/null)
    for _ in $(seq 100); do
        for ((port = base; port < base + count; port++)); do
            grep -qix "$(printf %04X $port)" <<< "$used" && { base=$((20000 + (base + 20) % 12000)); continue 2; }
        done
        echo "$base"
        return
    done
    fail "no free ports"
}

# Ended but not waited for, as the first process of a container may leave it, is gone too.
lives() { [ -n "$1" ] && grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$1/status"; }
end() {
    lives "$1" || return 0
    kill "$1" 2> /dev/null
    for _ in $(seq 50); do lives "$1" || return 0; sleep 0.1; done
    kill -9 "$1" 2> /dev/null
}

configure() { # DIR HOSTS CPUS
    local dir=$1 hosts=$2 cpus=$3 base memory
    base=$(free_ports $((hosts + 1))) || exit 1
    memory=$(awk -v n="$hosts" '/^MemTotal/ { print int($2 / 1024 / n) }' /proc/meminfo)
    cat > "$dir/slurm.conf" << END
ClusterName=sandbox$base
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$base
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge/socket
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
TmpFS=$dir/tmp/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=${SANDBOX_KILL_WAIT:-10}
SlurmctldTimeout=30
SlurmdTimeout=30
MinJobAge=3600
NodeName=h[1-$hosts] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[$((base + 1))-$((base + hosts))] CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES DefaultTime=10 MaxTime=1440 State=UP
END
    cat > "$dir/env" << END
export SLURM_CONF='$dir/slurm.conf'
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo
export OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none
export OMPI_MCA_orte_tmpdir_base='$dir/tmp'
export OMP_WAIT_POLICY=passive OPENBLAS_NUM_THREADS=1
END
}

# The host's first process: mounts what is its own, starts slurmd, waits for whom the others leave behind.
# shellcheck disable=SC2016 # expanded on the host
host_script='
mount -t proc proc /proc && mount -t tmpfs -o mode=1777 shm /dev/shm && hostname "$1" && mount --bind "$2/hosts" /etc/hosts || exit 1
slurmd -N "$1" -D &
while :; do wait -n; sleep 0.2; done'

boot() { # DIR HOST
    mkdir -p "$1/spool/$2" "$1/tmp/$2"
    chmod 1777 "$1/tmp/$2"
    SLURM_CONF=$1/slurm.conf setsid unshare --uts --mount --pid --fork --kill-child \
        bash -c "$host_script" host "$2" "$1" > "$1/$2.log" 2>&1 < /dev/null &
    echo $! > "$1/$2.pid"
}

# unshare stays outside; its child is the host's first process.
power_off() { # DIR HOST
    local outside first
    outside=$(cat "$1/$2.pid" 2> /dev/null) && lives "$outside" || return 0
    first=$(cat "/proc/$outside/task/$outside/children")
    # shellcheck disable=SC2086 # one word, or none
    kill -9 $first 2> /dev/null
    for _ in $(seq 50); do lives "$outside" || break; sleep 0.1; done
}

start() { # DIR HOSTS CPUS
    local dir=$1 hosts=$2 i
    can > /dev/null || fail "$(can)"
    [ ! -s "$dir/slurm.conf" ] || fail "$dir is in use; stop it first"
    mkdir -p "$dir"/{munge,state,spool,tmp} && dir=$(cd "$dir" && pwd -P) || exit 1
    [ ${#dir} -le 60 ] || fail "$dir: names of sockets in it would be too long; take a shorter one"
    chmod 755 "$dir" "$dir"/{munge,spool}
    chmod 1777 "$dir/tmp"
    configure "$dir" "$hosts" "$3"
    { cat /etc/hosts; for ((i = 1; i <= hosts; i++)); do echo "127.0.0.1 h$i"; done; } > "$dir/hosts"
    (umask 077; head -c 1024 /dev/urandom > "$dir/munge/key")
    munged --force --num-threads=2 --socket="$dir/munge/socket" --key-file="$dir/munge/key" --log-file="$dir/munge/log" \
        --pid-file="$dir/munge/pid" --seed-file="$dir/munge/seed" 2> "$dir/munge/err" || { stop "$dir"; fail "munged did not start"; }
    export SLURM_CONF=$dir/slurm.conf
    slurmctld -i > "$dir/slurmctld.out" 2>&1 || { cat "$dir/slurmctld.out" >&2; stop "$dir"; fail "slurmctld did not start"; }
    for ((i = 1; i <= hosts; i++)); do boot "$dir" "h$i"; done
    for _ in $(seq 300); do
        [ "$(sinfo -h -N -o %T 2> /dev/null | grep -cx idle)" = "$hosts" ] && { cat "$dir/env"; return; }
        sleep 0.1
    done
    tail -n 5 "$dir"/*.log >&2
    stop "$dir"
    fail "the hosts did not come up"
}

stop() { # DIR
    local dir file host
    dir=$(cd "$1" 2> /dev/null && pwd -P) && [ -f "$dir/slurm.conf" ] || return 0
    export SLURM_CONF=$dir/slurm.conf
    for file in "$dir"/h*.pid; do
        host=$(basename "$file" .pid)
        [ ! -f "$file" ] || power_off "$dir" "$host"
    done
    end "$(cat "$dir/slurmctld.pid" 2> /dev/null)"
    end "$(cat "$dir/munge/pid" 2> /dev/null)"
    rm -rf "$dir"
}

command=${1:-}
dir=${2:-}
[ "$command" = can ] || [ -n "$dir" ] || fail "usage: $0 start|stop|env DIR, kill|boot DIR HOST, can"
case $command in
can) can ;;
start) start "$dir" "${3:-4}" "${4:-2}" ;;
stop) stop "$dir" ;;
env) cat "$dir/env" ;;
kill) power_off "$(cd "$dir" && pwd -P)" "$3" ;;
boot) boot "$(cd "$dir" && pwd -P)" "$3" ;;
*) fail "$command: start, stop, env, kill, boot or can" ;;
esac
