#include "hpsae/model/train.h"

#include "training.h"

#include "hpsae/base/file.h"
#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/model/checkpoint.h"

#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

static const double PROGRESS_SECONDS = 5;

/* Collective over the first data group, whose model is that of all. */
static hps_status write_checkpoint(const hps_training *t, const char *path)
{
    HPS_TRY(hps_checkpoint_write(t->grid.model, t->model, t->text, t->hash, path));
    return hps_checkpoint_prune(t->grid.model, t->config->output, t->config->train.checkpoint.keep);
}

hps_status hps_training_checkpoint(hps_training *t)
{
    char name[64], path[HPS_PATH_MAX];
    const double begin = hps_elapsed();

    snprintf(name, sizeof(name), "checkpoint-%012lld.h5", (long long)t->model->step);
    HPS_TRY(hps_path_join(t->config->output, name, path));
    HPS_TRY(hps_run_check(t->run));
    HPS_TRY(hps_share_status(t->world, t->grid.r == 0 ? write_checkpoint(t, path) : HPS_OK));
    hps_log(t->name, "wrote %s in %.1f s", path, hps_elapsed() - begin);
    return HPS_OK;
}

static void swap_average(hps_training *t)
{
    hps_tensors *role = t->model->role;
    const hps_tensors value = role[HPS_VALUE];

    role[HPS_VALUE] = role[HPS_AVERAGE];
    role[HPS_AVERAGE] = value;
    hps_forward_refresh(hps_trainer_forward(t->trainer));
}

hps_status hps_training_evaluate(hps_training *t)
{
    const bool averaged = t->options.ema > 0 && t->model->step > 0;
    const hps_evaluate_options options = {.rows = t->dataset.holdout, .pick = hps_pick_in_use(t->model)};

    if (averaged) {
        swap_average(t);
    }
    const hps_status status = hps_evaluate(hps_trainer_forward(t->trainer), t->heldout, &options, NULL, &t->evaluation);
    if (averaged) {
        swap_average(t);
    }
    if (status == HPS_OK) {
        hps_log(t->name, "held-out ev %.5f, L0 %.1f after %.3g tokens", t->evaluation.ev, t->evaluation.l0,
                (double)t->model->tokens);
    }
    return status;
}

/* What goes on beside a step: the next batch's way from rank to rank. */
static void spread_next(void *context)
{
    const hps_training *t = context;

    hps_feed_exchange(t->feed);
    if (t->gradients != NULL) {
        hps_feed_exchange(t->gradients);
    }
}

/*
 * The data group's tokens of the step's batch; once the last member takes them, those of the next are read while these are
 * computed on.
 */
static hps_status take_batch(const hps_training *t, bool last)
{
    const int64_t B = t->options.B / t->grid.R, position = t->model->tokens + t->grid.r * B, lde = t->model->lde;
    const int64_t next = position + t->options.B;
    const bool ahead = last && t->config->train.read_ahead && t->model->step + 1 < t->options.steps;
    const hps_forward *f = hps_trainer_forward(t->trainer);

    HPS_TRY(hps_feed_batch(t->feed, position, B, lde, f->y));
    if (t->gradients != NULL) {
        HPS_TRY(hps_feed_batch(t->gradients, position, B, lde, f->g));
    }
    if (ahead) {
        hps_feed_begin(t->feed, next, B);
    }
    if (ahead && t->gradients != NULL) {
        hps_feed_begin(t->gradients, next, B);
    }
    return HPS_OK;
}

/* Of both feeds, since the start. */
static hps_feed_figures input_so_far(const hps_training *t)
{
    hps_feed_figures all = hps_feed_so_far(t->feed);

    if (t->gradients != NULL) {
        const hps_feed_figures more = hps_feed_so_far(t->gradients);
        all.bytes += more.bytes;
        all.reading += more.reading;
        all.waiting += more.waiting;
    }
    return all;
}

static hps_status one_step(hps_training *t, double *flag, bool last)
{
    const hps_feed_figures before = input_so_far(t);
    const double begin = omp_get_wtime();
    hps_step_report *report = &t->report;

    HPS_TRY(hps_grid_agree(&t->grid, take_batch(t, last)));
    report->seconds[HPS_PHASE_IO] = omp_get_wtime() - begin;
    HPS_TRY(hps_trainer_step(t->trainer, flag, report));
    const hps_feed_figures after = input_so_far(t);
    hps_interval step = {.steps = 1,
                         .seconds = omp_get_wtime() - begin,
                         .waiting = after.waiting - before.waiting,
                         .bytes = after.bytes - before.bytes,
                         .reading = after.reading - before.reading};
    memcpy(step.phase, report->seconds, sizeof(step.phase));
    hps_interval_add(&step, &t->interval);
    hps_interval_add(&step, &t->shown);
    hps_interval_add(&step, &t->all);
    return HPS_OK;
}

static bool due(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

/* What follows a step: evaluation, metrics, checkpoint, as their turn comes. */
static hps_status after_step(hps_training *t, hps_wish wish, double *saved)
{
    const hps_config *c = t->config;
    const int64_t step = t->model->step;
    const bool last = step == t->options.steps, stops = wish > HPS_SAVE;
    const bool evaluates = t->heldout != NULL && (due(step, c->train.eval_steps) || last);

    if (evaluates) {
        HPS_TRY(hps_training_evaluate(t));
    }
    if (due(step, c->train.log_steps) || evaluates || last || stops) {
        HPS_TRY(hps_training_record(t, evaluates));
        t->interval = (hps_interval){0};
    }
    if (due(step, c->train.checkpoint.every_steps) || wish != HPS_GO_ON || last) {
        HPS_TRY(hps_training_checkpoint(t));
        *saved = hps_elapsed();
    }
    return HPS_OK;
}

static hps_status stop(const hps_training *t, hps_wish wish, int rank)
{
    if (wish == HPS_STOP_FILE && rank == 0) {
        hps_wish_obeyed(&t->job->ends);
    }
    hps_log(t->name, "stopped at step %lld of %lld: %s; the same command goes on from here", (long long)t->model->step,
            (long long)t->options.steps, hps_wish_words(wish));
    return hps_fail(HPS_STOPPED, "stopped at step %lld of %lld: %s", (long long)t->model->step,
                    (long long)t->options.steps, hps_wish_words(wish));
}

/* The member of fewest steps; the first of those that have as many. */
static hps_training *most_behind(hps_training *all, int members)
{
    hps_training *t = all;

    for (int j = 1; j < members; j++) {
        t = all[j].model->step < t->model->step ? &all[j] : t;
    }
    return t;
}

/* A step of all members that have done `step` steps, with one batch; the ranks' largest wish rides on the first. */
static hps_status one_round(hps_training *all, int members, int64_t step, hps_wish *wish)
{
    double flag = (double)*wish;
    int last = 0;

    for (int j = 0; j < members; j++) {
        all[j].stepped = all[j].model->step == step;
        last = all[j].stepped ? j : last;
    }
    for (int j = 0; j < members; j++) {
        if (all[j].stepped) {
            HPS_TRY(one_step(&all[j], &flag, j == last));
        }
    }
    *wish = (hps_wish)flag;
    return HPS_OK;
}

static void show_progress(hps_training *all, int members, bool last, double *spoke)
{
    const double seconds = hps_elapsed() - *spoke;

    if (seconds < PROGRESS_SECONDS && !last) {
        return;
    }
    for (int j = 0; j < members; j++) {
        if (all[j].shown.steps > 0) {
            all[j].shown.seconds = seconds; /* with what stands between the steps */
            hps_training_progress(&all[j]);
            all[j].shown = (hps_interval){0};
        }
    }
    *spoke = hps_elapsed();
}

static hps_status loop(hps_training *all, int members, int rank)
{
    const hps_config *c = all[0].config;
    double saved = hps_elapsed(), spoke = hps_elapsed();

    for (int j = 0; j < members; j++) {
        hps_trainer_forward(all[j].trainer)->beside = spread_next;
        hps_trainer_forward(all[j].trainer)->beside_context = &all[j];
    }
    for (hps_training *t = most_behind(all, members); t->model->step < t->options.steps;
         t = most_behind(all, members)) {
        hps_wish wish =
            hps_wish_now(rank, &all[0].job->ends, c->train.max_minutes, 60 * c->train.checkpoint.every_minutes, saved);
        HPS_TRY(one_round(all, members, t->model->step, &wish));
        show_progress(all, members, t->model->step == t->options.steps, &spoke);
        for (int j = 0; j < members; j++) {
            HPS_TRY(all[j].stepped ? after_step(&all[j], wish, &saved) : HPS_OK);
        }
        if (wish > HPS_SAVE && t->model->step < t->options.steps) {
            return stop(t, wish, rank);
        }
    }
    return HPS_OK;
}

/* Notes the outcome in run.json. */
static void note_result(hps_training *t)
{
    const hps_checksum sum = hps_model_checksum(t->grid.model, t->model);
    const hps_model *m = t->model;
    char hex[17];

    hps_run_note(t->run, "step", json_integer(m->step));
    hps_run_note(t->run, "tokens", json_integer(m->tokens));
    snprintf(hex, sizeof(hex), "%016" PRIx64, sum.values);
    hps_run_note(t->run, "checksum", json_string(hex));
    hps_log(t->name, "checksum of the parameters %s", hex);
    snprintf(hex, sizeof(hex), "%016" PRIx64, sum.state);
    hps_run_note(t->run, "state_checksum", json_string(hex));
    if (t->evaluation.rows > 0) {
        hps_run_note(t->run, "heldout_ev", hps_json_real(t->evaluation.ev));
    }
    t->result = (hps_train_result){.checksum = sum.values,
                                   .config_hash = t->hash,
                                   .norm = m->norm,
                                   .scale = m->scale,
                                   .n = m->shard.n,
                                   .d = m->shard.d,
                                   .k = m->k,
                                   .evaluation = t->evaluation};
}

static hps_status open_output(hps_training *t, int rank)
{
    char path[HPS_PATH_MAX];
    hps_status status;

    HPS_TRY(hps_run_begin(t->world, t->config->output, t->job->argc, t->job->argv, &t->run));
    hps_run_note(t->run, "kernels", json_pack("{s:s,s:s}", "backend", t->kernels->name, "isa", t->kernels->isa));
    hps_training_note_groups(t);
    HPS_TRY(hps_run_save(t->run));
    HPS_TRY(hps_config_save(t->world, t->config, t->config->output));
    status = hps_path_join(t->config->output, "metrics.jsonl", path);
    if (status == HPS_OK && rank == 0) {
        status = hps_metrics_open(path, t->model->step > 0 ? t->model->step : -1, &t->metrics);
    }
    return hps_agree(t->world, status);
}

static hps_status begin(hps_training *t, int rank)
{
    HPS_TRY(open_output(t, rank));
    if (t->model->step >= t->options.steps) {
        hps_log(t->name, "all %lld steps were trained before: nothing to do", (long long)t->options.steps);
        if (t->heldout != NULL) {
            HPS_TRY(hps_training_evaluate(t));
        }
    }
    return HPS_OK;
}

static hps_status run(hps_training *all, int members, int rank)
{
    for (int j = 0; j < members; j++) {
        HPS_TRY(begin(&all[j], rank));
    }
    hps_wish_listen();
    hps_status status = loop(all, members, rank);
    hps_wish_restore();
    for (int j = 0; j < members && (status == HPS_OK || status == HPS_STOPPED); j++) {
        note_result(&all[j]);
        hps_training_note_input(&all[j]);
        hps_training_note_memory(&all[j]);
    }
    return status;
}

static hps_status prepare(hps_training *all, int members, const hps_train_member *member, const hps_train_job *job,
                          MPI_Comm world)
{
    for (int j = 0; j < members; j++) {
        all[j] = (hps_training){.world = world,
                                .config = member[j].config,
                                .name = member[j].name,
                                .job = job,
                                .change = member[j].change,
                                .shares = members > 1,
                                .first = j > 0 ? all : NULL,
                                .grid.model = MPI_COMM_NULL};
    }
    for (int j = 0; j < members; j++) {
        HPS_TRY(hps_agree(world, hps_training_prepare(&all[j])));
        hps_training_introduce(&all[j]);
    }
    return HPS_OK;
}

static hps_status train(hps_training *all, int members, const hps_train_job *job)
{
    int rank;

    HPS_MPI(MPI_Comm_rank(all[0].world, &rank));
    if (job->dry_run) {
        hps_log(all[0].name, "dry run: everything fits; nothing was written");
        return HPS_OK;
    }
    hps_status status = run(all, members, rank);
    for (int j = 0; j < members; j++) {
        status = hps_run_end(&all[j].run, status);
    }
    return status;
}

hps_status hps_train(MPI_Comm world, int members, const hps_train_member *member, const hps_train_job *job,
                     hps_train_result *result)
{
    hps_training *all = NULL;

    HPS_TRY(hps_agree(world, HPS_ALLOC(&all, members, "members")));
    hps_status status = prepare(all, members, member, job, world);
    if (status == HPS_OK) {
        status = train(all, members, job);
    }
    for (int j = members - 1; j >= 0; j--) {
        if (result != NULL) {
            result[j] = all[j].result;
        }
        hps_training_release(&all[j]);
    }
    HPS_FREE(&all);
    return status;
}
