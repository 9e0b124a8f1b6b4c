# shellcheck shell=bash
# chain.sh: sourced by boost.sbatch where it submits its stages.

hpsae_stage_is_complete() { grep -qs '"status": "complete"' "$1/run.json"; }

# hpsae_submit_chain CONFIG OUTPUT STAGES ARGUMENT...: a job for each stage that is not complete, each after the one before.
hpsae_submit_chain() {
    local output=$2 stages=$3 before='' stage jobs queued options
    read -ra options <<< "${HPSAE_SBATCH:-}"
    mkdir -p "$output" || return 2
    jobs=$(cut -d ' ' -f 2 "$output/chain" 2> /dev/null | paste -sd ,)
    queued=${jobs:+$(squeue --noheader --format=%A --jobs="$jobs" 2> /dev/null | paste -sd ' ')}
    if [ -n "$queued" ]; then
        echo "boost: the chain of $output is in the queue (jobs $queued); to start anew: scancel $queued" >&2
        return 2
    fi
    hpsae_tell_failures "$output"
    : > "$output/chain"
    for ((stage = 1; stage <= stages; stage++)); do
        if [ -z "$before" ] && hpsae_stage_is_complete "$output/stage-$stage"; then
            echo "boost: stage $stage is complete"
            continue
        fi
        before=$(HPSAE_STAGE=$stage sbatch --parsable --export=ALL --kill-on-invalid-dep=yes --job-name="hpsae-boost-$stage" \
            ${before:+--dependency=afterok:"$before"} "${options[@]}" jobs/boost.sbatch "$@") || return 2
        before=${before%%;*} # of several clusters, sbatch adds the name
        echo "$stage $before" >> "$output/chain"
        echo "boost: stage $stage is job $before, log $output/job-$before.log"
    done
}

# What became of the last chain.
hpsae_tell_failures() {
    local stage job line
    while read -r stage job; do
        line=$(grep -ah 'hpsae: error:' "$1/job-$job.log" 2> /dev/null | tail -n 1)
        [ -n "$line" ] || line=$(grep -ahE '^job: .*(stopped|status)' "$1/job-$job.log" 2> /dev/null | tail -n 1)
        hpsae_stage_is_complete "$1/stage-$stage" || [ -z "$line" ] || echo "boost: stage $stage, job $job, ended with: $line"
    done < <(cat "$1/chain" 2> /dev/null)
}
