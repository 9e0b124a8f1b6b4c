#include "training.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/model/model.h"

#include <inttypes.h>
#include <string.h>

static const double MIB = 1048576.0;

void hps_training_introduce(const hps_training *t)
{
    const hps_model *m = t->model;
    int64_t bytes[] = {t->state, t->buffers, t->starting, t->resident_at_start}; /* of the rank that holds most */

    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, bytes, 4, MPI_INT64_T, MPI_MAX, t->world));
    hps_log(t->name, "%lld latents, k %lld, d %lld; %lld steps of %lld tokens; %lld rows train, %lld are held out",
            (long long)m->shard.n, (long long)m->k, (long long)m->shard.d, (long long)t->options.steps,
            (long long)t->options.B, (long long)t->dataset.train, (long long)t->dataset.holdout);
    if (t->grid.R > 1) {
        hps_log(t->name, "%d data groups of %d ranks, each with %lld tokens of a batch", t->grid.R, t->grid.P,
                (long long)(t->options.B / t->grid.R));
    }
    hps_log(t->name, "%d ranks of %d threads, kernels %s, lr %.3g, inputs scaled by %.5g, V %.5g",
            t->grid.R * t->grid.P, t->options.threads, t->kernels->name, t->options.lr, m->scale, t->options.V);
    hps_log(t->name,
            "memory a rank: parameters and moments %.1f MiB, buffers %.1f MiB, at the start %.1f MiB more, "
            "libraries %.1f MiB",
            (double)bytes[0] / MIB, (double)bytes[1] / MIB, (double)bytes[2] / MIB, (double)bytes[3] / MIB);
}

void hps_training_note_memory(hps_training *t)
{
    int64_t bytes[] = {t->state, t->buffers, t->starting, t->resident_at_start, hps_memory_resident_peak()};

    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, bytes, 5, MPI_INT64_T, MPI_MAX, t->world));
    hps_run_note(t->run, "memory_bytes",
                 json_pack("{s:I,s:I,s:I,s:I,s:I}", "state", (json_int_t)bytes[0], "buffers", (json_int_t)bytes[1],
                           "starting", (json_int_t)bytes[2], "libraries", (json_int_t)bytes[3], "resident_peak",
                           (json_int_t)bytes[4]));
}

void hps_interval_add(const hps_interval *part, hps_interval *sum)
{
    sum->steps += part->steps;
    sum->seconds += part->seconds;
    sum->waiting += part->waiting;
    sum->bytes += part->bytes;
    sum->reading += part->reading;
    for (int p = 0; p < HPS_PHASES; p++) {
        sum->phase[p] += part->phase[p];
    }
}

static double tokens_per_second(const hps_training *t, const hps_interval *i)
{
    return i->seconds > 0 ? (double)(i->steps * t->options.B) / i->seconds : 0;
}

/* Bytes of the store that a step takes, over all ranks. */
static double step_bytes(const hps_training *t)
{
    const hps_store_info *x = t->dataset.info;
    double row = (double)x->d * (double)hps_dtype_size(x->dtype);

    if (t->gradients != NULL) {
        row += (double)x->d * (double)hps_dtype_size(hps_store_about(t->dataset.gradients)->dtype);
    }
    return row * (double)t->options.B;
}

void hps_training_progress(const hps_training *t)
{
    const hps_step_report *r = &t->report;
    const hps_interval *i = &t->shown;
    const int64_t left = t->options.steps - t->model->step;
    const double rate = tokens_per_second(t, i);
    char eta[32];

    hps_duration(rate > 0 ? (double)(left * t->options.B) / rate : 0, eta);
    hps_log(t->name,
            "step %lld/%lld, %.3g tokens: fvu %.4f, L0 %.1f, dead %.1f %%, %.0f tokens/s, input %.3g MB/s (%.1f %% "
            "waited), "
            "%s left",
            (long long)t->model->step, (long long)t->options.steps, (double)t->model->tokens, r->fvu, r->l0,
            100 * (double)r->dead / (double)t->model->shard.n, rate, 1e-6 * rate * step_bytes(t) / (double)t->options.B,
            i->seconds > 0 ? 100 * i->waiting / i->seconds : 0, eta);
}

/*
 * Collective.  How fast the steps took their input, MB/s over all ranks; how fast the slowest rank read while it read, null if none did; and
 * the largest share of the steps' time that a rank waited for words of the input.
 */
static json_t *input(const hps_training *t, const hps_interval *i)
{
    double most[] = {i->seconds > 0 ? i->waiting / i->seconds : 0, i->bytes > 0 ? i->reading / (double)i->bytes : 0};
    const double rate = i->seconds > 0 ? (double)i->steps * step_bytes(t) / i->seconds : 0;

    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, most, 2, MPI_DOUBLE, MPI_MAX, t->world));
    return json_pack("{s:o,s:o,s:o}", "mb_per_s", hps_json_real(1e-6 * rate), "slowest_read_mb_per_s",
                     most[1] > 0 ? hps_json_real(1e-6 / most[1]) : json_null(), "wait_share", hps_json_real(most[0]));
}

void hps_training_note_input(hps_training *t)
{
    json_t *figures = input(t, &t->all);

    if (t->all.steps > 0) {
        hps_log(t->name, "input %.4g MB/s, %.2f %% of the time waited for it",
                json_real_value(json_object_get(figures, "mb_per_s")),
                100 * json_real_value(json_object_get(figures, "wait_share")));
        hps_run_note(t->run, "input", json_incref(figures));
    }
    json_decref(figures);
}

/* Mean seconds a step of each phase: the smallest, mean and largest over the ranks, and the rank of the largest. */
static json_t *phases(const hps_training *t, const hps_interval *i)
{
    static const char *const name[HPS_PHASES] = {"io", "encode", "select", "decode", "aux", "gradient_adam", "comm"};
    double least[HPS_PHASES], sum[HPS_PHASES];
    struct {
        double value;
        int rank;
    } mine[HPS_PHASES], most[HPS_PHASES];
    int rank, size;
    const MPI_Comm comm = t->world;

    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    memset(mine, 0, sizeof(mine));
    for (int p = 0; p < HPS_PHASES; p++) {
        mine[p].value = least[p] = sum[p] = i->phase[p] / (double)(i->steps > 0 ? i->steps : 1);
        mine[p].rank = rank;
    }
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, least, HPS_PHASES, MPI_DOUBLE, MPI_MIN, comm));
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, sum, HPS_PHASES, MPI_DOUBLE, MPI_SUM, comm));
    HPS_MPI(MPI_Allreduce(mine, most, HPS_PHASES, MPI_DOUBLE_INT, MPI_MAXLOC, comm));
    json_t *all = json_object();
    for (int p = 0; p < HPS_PHASES; p++) {
        json_object_set_new(all, name[p],
                            json_pack("{s:f,s:f,s:f,s:i}", "min", least[p], "mean", sum[p] / size, "max", most[p].value,
                                      "max_rank", most[p].rank));
    }
    return all;
}

double hps_training_flops(int64_t n, int64_t d, int64_t k, double tokens)
{
    return tokens * (2 * (double)n * (double)d + 8 * (double)k * (double)d);
}

static json_t *line_of(const hps_training *t)
{
    const hps_step_report *r = &t->report;
    const hps_interval *i = &t->interval;
    const hps_model *m = t->model;
    const double n = (double)m->shard.n, rate = tokens_per_second(t, i);
    json_t *line = json_object();

    json_object_set_new(line, "step", json_integer(m->step));
    json_object_set_new(line, "tokens", json_integer(m->tokens));
    json_object_set_new(line, "loss", hps_json_real(r->loss));
    json_object_set_new(line, "fvu", hps_json_real(r->fvu));
    json_object_set_new(line, "aux_fvu", hps_json_real(r->aux_fvu));
    json_object_set_new(line, "l0", hps_json_real(r->l0));
    json_object_set_new(line, "k", json_integer(r->k));
    if (m->select == HPS_SELECT_BATCH_TOPK) {
        json_object_set_new(line, "threshold", m->threshold < 0 ? json_null() : hps_json_real(m->threshold));
    }
    json_object_set_new(line, "dead", hps_json_real((double)r->dead / n));
    json_object_set_new(line, "lr", hps_json_real(r->lr));
    json_object_set_new(line, "grad_norm", hps_json_real(r->grad_norm));
    json_object_set_new(line, "tokens_per_s", hps_json_real(rate));
    json_object_set_new(line, "gflops", hps_json_real(1e-9 * hps_training_flops(m->shard.n, m->shard.d, m->k, rate)));
    return line;
}

/* Held-out ev of each nested size, the smallest first. */
static json_t *prefix_ev(const hps_evaluation *r)
{
    json_t *list = json_array();

    for (int i = 0; i < r->prefixes; i++) {
        json_array_append_new(list, hps_json_real(r->prefix_ev[i]));
    }
    return list;
}

/* The data groups hold the same numbers, or a message was lost or a machine computes wrongly. */
static hps_status groups_agree(const hps_training *t, uint64_t checksum)
{
    uint64_t ends[2] = {checksum, ~checksum};

    if (t->grid.R > 1) {
        HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, ends, 2, MPI_UINT64_T, MPI_MAX, t->grid.groups));
    }
    if (ends[0] == ~ends[1]) {
        return HPS_OK;
    }
    return hps_fail(
        HPS_EINTERNAL,
        "step %lld: the data groups' parameters differ: a machine of this job computes wrongly, or this is a "
        "fault of the program; the last checkpoint is as it was",
        (long long)t->model->step);
}

hps_status hps_training_record(hps_training *t, bool evaluated)
{
    const hps_checksum sum = hps_model_checksum(t->grid.model, t->model);
    HPS_TRY(hps_agree(t->world, groups_agree(t, sum.values)));
    json_t *seconds = phases(t, &t->interval);
    json_t *of_input = input(t, &t->interval);
    hps_status status = HPS_OK;
    char hex[17];

    snprintf(hex, sizeof(hex), "%016" PRIx64, sum.values);
    if (t->metrics != NULL) {
        json_t *line = line_of(t);
        json_object_set(line, "seconds", seconds);
        json_object_set(line, "input", of_input);
        if (evaluated) {
            json_object_set_new(line, "heldout_ev", hps_json_real(t->evaluation.ev));
            json_object_set_new(line, "heldout_l0", hps_json_real(t->evaluation.l0));
            json_object_set_new(line, "heldout_mse", hps_json_real(t->evaluation.mse));
            if (t->evaluation.prefixes > 0) {
                json_object_set_new(line, "prefix_ev", prefix_ev(&t->evaluation));
            }
        }
        json_object_set_new(line, "checksum", json_string(hex));
        status = hps_metrics_line(t->metrics, line);
    }
    json_decref(seconds);
    json_decref(of_input);
    return hps_agree(t->world, status);
}
