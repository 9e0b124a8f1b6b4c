/*
 * The table and the workspace of the fast kernels.
 */
#include "workspace.h"

#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)

static int64_t padded(int64_t count, int64_t to)
{
    return (count + to - 1) / to * to;
}

static int64_t capacity_for(int64_t k_max)
{
    return 4 * k_max > 512 ? padded(4 * k_max, HPS_LANES) : 512;
}

/* Latents whose gradient rows take about half a megabyte, which a core's second cache holds beside what they are made of. */
static int64_t task_for(int64_t ld)
{
    const int64_t rows = (512 << 10) / (ld * (int64_t)sizeof(float)) / HPS_BLOCK * HPS_BLOCK;

    return rows > HPS_BLOCK ? rows : HPS_BLOCK;
}

static void panels_destroy(fast_panels *p)
{
    HPS_FREE(&p->word);
    HPS_FREE(&p->bias);
    HPS_FREE(&p->norm);
    HPS_FREE(&p->lost);
    HPS_FREE(&p->constant);
}

static hps_status panels_create(int64_t depth, int64_t panels, fast_panels *p)
{
    HPS_TRY(HPS_ALLOC(&p->word, panels * product_panel_words(depth), "encoder packed for screening"));
    HPS_TRY(HPS_ALLOC(&p->bias, panels * PANEL, "encoder packed for screening"));
    HPS_TRY(HPS_ALLOC(&p->norm, panels, "encoder packed for screening"));
    HPS_TRY(HPS_ALLOC(&p->lost, panels, "encoder packed for screening"));
    return HPS_ALLOC(&p->constant, panels, "encoder packed for screening");
}

static void thread_destroy(fast_thread *t)
{
    HPS_FREE(&t->token);
    HPS_FREE(&t->packed);
    HPS_FREE(&t->a);
    HPS_FREE(&t->b);
    HPS_FREE(&t->tile);
    panels_destroy(&t->gathered);
    HPS_FREE(&t->low);
    HPS_FREE(&t->number);
    HPS_FREE(&t->count);
    HPS_FREE(&t->next);
    HPS_FREE(&t->known);
    HPS_FREE(&t->best);
    HPS_FREE(&t->threshold);
    HPS_FREE(&t->error);
    HPS_FREE(&t->guess);
    HPS_FREE(&t->scratch);
    HPS_FREE(&t->list);
    HPS_FREE(&t->which);
    HPS_FREE(&t->row);
    HPS_FREE(&t->sum);
    HPS_FREE(&t->column);
    HPS_FREE(&t->gradient);
}

static void workspace_destroy(hps_workspace **workspace)
{
    hps_workspace *ws = *workspace;

    if (ws == NULL) {
        return;
    }
    for (int i = 0; ws->thread != NULL && i < ws->size.threads; i++) {
        thread_destroy(ws->thread + i);
    }
    panels_destroy(&ws->panels);
    HPS_FREE(&ws->thread);
    HPS_FREE(workspace);
}

static hps_status thread_create(const hps_workspace *ws, fast_thread *t)
{
    const bool chunked = ws->depth > CHUNK + CHUNK / 4;
    /* A vector is stored whole behind the last candidate that was put aside. */
    const int64_t pending = TOKENS * ws->capacity + HPS_LANES;

    HPS_TRY(HPS_ALLOC(&t->token, TOKENS * product_row_words(ws->depth), "packed tokens"));
    HPS_TRY(HPS_ALLOC(&t->packed, PANEL * product_row_words(ws->depth), "packed tokens"));
    HPS_TRY(HPS_ALLOC(&t->a, TOKENS, "error bounds"));
    HPS_TRY(HPS_ALLOC(&t->b, TOKENS, "error bounds"));
    HPS_TRY(HPS_ALLOC(&t->tile, (chunked ? GROUP * TOKENS : 2 * STRIP) * PANEL, "screened tiles"));
    HPS_TRY(panels_create(ws->depth, 1, &t->gathered));
    HPS_TRY(HPS_ALLOC(&t->low, pending, "pending candidates"));
    HPS_TRY(HPS_ALLOC(&t->number, pending, "pending candidates"));
    HPS_TRY(HPS_ALLOC(&t->count, TOKENS, "pending candidates"));
    HPS_TRY(HPS_ALLOC(&t->next, TOKENS, "pending candidates"));
    HPS_TRY(HPS_ALLOC(&t->known, TOKENS, "largest values"));
    HPS_TRY(HPS_ALLOC(&t->best, TOKENS * ws->size.k_max, "largest values"));
    HPS_TRY(HPS_ALLOC(&t->threshold, TOKENS, "thresholds"));
    HPS_TRY(HPS_ALLOC(&t->error, TOKENS, "error bounds"));
    HPS_TRY(HPS_ALLOC(&t->guess, TOKENS, "thresholds"));
    HPS_TRY(HPS_ALLOC(&t->scratch, ws->capacity + ws->size.k_max, "pending candidates"));
    HPS_TRY(HPS_ALLOC(&t->list, ws->capacity, "pending candidates"));
    HPS_TRY(HPS_ALLOC(&t->which, TOKENS, "tokens of a task"));
    HPS_TRY(HPS_ALLOC(&t->row, ws->ld, "gradient row"));
    HPS_TRY(HPS_ALLOC(&t->sum, ws->ld, "gradient row"));
    HPS_TRY(HPS_ALLOC(&t->column, ws->ld, "bias gradient"));
    return HPS_ALLOC(&t->gradient, ws->task * ws->ld, "gradients of a task");
}

static hps_status workspace_create(const hps_workspace_size *size, hps_workspace **workspace)
{
    HPS_TRY(HPS_ALLOC(workspace, 1, "kernel workspace"));
    hps_workspace *ws = *workspace;
    ws->size = *size;
    ws->ld = padded(size->d, HPS_LANES);
    ws->depth = padded(size->d, DEPTH);
    ws->task = task_for(ws->ld);
    ws->capacity = capacity_for(size->k_max);

    hps_status status = panels_create(ws->depth, (size->own + PANEL - 1) / PANEL, &ws->panels);
    if (status == HPS_OK) {
        status = HPS_ALLOC(&ws->thread, size->threads, "kernel workspace");
    }
    for (int i = 0; status == HPS_OK && i < size->threads; i++) {
        status = thread_create(ws, ws->thread + i);
    }
    if (status != HPS_OK) {
        workspace_destroy(workspace);
    }
    return status;
}

extern const hps_kernels FAST(kernels);
const hps_kernels FAST(kernels) = {
    .name = TEXT(HPS_ISA),
    .isa = TEXT(HPS_ISA),
    .workspace_create = workspace_create,
    .workspace_destroy = workspace_destroy,
    .prepare = FAST(prepare),
    .encode = FAST(encode),
    .encode_above = FAST(encode_above),
    .decode = FAST(decode),
    .slot_dots = FAST(slot_dots),
    .nested = FAST(nested),
    .suffix_rows = FAST(suffix_rows),
    .nested_sums = FAST(nested_sums),
    .column_sums = FAST(column_sums),
    .update_decoder = FAST(update_decoder),
    .update_encoder = FAST(update_encoder),
    .gradients = FAST(gradients),
    .normalise = FAST(normalise),
    .screen_peak = FAST(screen_peak),
    .screen_trial = FAST(screen_trial),
    .float_peak = FAST(float_peak),
};
