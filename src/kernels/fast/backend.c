/*
 * The table and the workspace of the fast kernels.
 */
#include "workspace.h"

#include "hpsae/base/canonical.h"
#include "hpsae/base/memory.h"

#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)

static int64_t padded(int64_t d)
{
    return (d + HPS_LANES - 1) / HPS_LANES * HPS_LANES;
}

static int64_t capacity_for(int64_t k_max)
{
    return 4 * k_max > 512 ? padded(4 * k_max) : 512;
}

static void workspace_destroy(hps_workspace **workspace)
{
    hps_workspace *ws = *workspace;

    if (ws == NULL) {
        return;
    }
    for (int i = 0; ws->thread != NULL && i < ws->size.threads; i++) {
        fast_thread *t = ws->thread + i;
        HPS_FREE(&t->tile);
        HPS_FREE(&t->gathered);
        HPS_FREE(&t->pending);
        HPS_FREE(&t->count);
        HPS_FREE(&t->next);
        HPS_FREE(&t->known);
        HPS_FREE(&t->best);
        HPS_FREE(&t->threshold);
        HPS_FREE(&t->error);
        HPS_FREE(&t->scratch);
        HPS_FREE(&t->row);
        HPS_FREE(&t->sum);
        HPS_FREE(&t->column);
    }
    HPS_FREE(&ws->thread);
    HPS_FREE(workspace);
}

static hps_status thread_create(const hps_workspace *ws, fast_thread *t)
{
    HPS_TRY(HPS_ALLOC(&t->tile, TOKENS * PANEL, "screened tile"));
    HPS_TRY(HPS_ALLOC(&t->gathered, PANEL * ws->ld, "gathered rows"));
    HPS_TRY(HPS_ALLOC(&t->pending, TOKENS * ws->capacity, "pending candidates"));
    HPS_TRY(HPS_ALLOC(&t->count, TOKENS, "pending candidates"));
    HPS_TRY(HPS_ALLOC(&t->next, TOKENS, "pending candidates"));
    HPS_TRY(HPS_ALLOC(&t->known, TOKENS, "largest values"));
    HPS_TRY(HPS_ALLOC(&t->best, TOKENS * ws->size.k_max, "largest values"));
    HPS_TRY(HPS_ALLOC(&t->threshold, TOKENS, "thresholds"));
    HPS_TRY(HPS_ALLOC(&t->error, TOKENS, "error bounds"));
    HPS_TRY(HPS_ALLOC(&t->scratch, ws->capacity + ws->size.k_max, "pending candidates"));
    HPS_TRY(HPS_ALLOC(&t->row, ws->ld, "gradient row"));
    HPS_TRY(HPS_ALLOC(&t->sum, ws->ld, "gradient row"));
    HPS_TRY(HPS_ALLOC(&t->column, ws->ld, "bias gradient"));
    return HPS_OK;
}

static hps_status workspace_create(const hps_workspace_size *size, hps_workspace **workspace)
{
    HPS_TRY(HPS_ALLOC(workspace, 1, "kernel workspace"));
    hps_workspace *ws = *workspace;
    ws->size = *size;
    ws->ld = padded(size->d);
    ws->capacity = capacity_for(size->k_max);

    hps_status status = HPS_ALLOC(&ws->thread, size->threads, "kernel workspace");
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
    .name = "blas",
    .isa = TEXT(HPS_ISA),
    .workspace_create = workspace_create,
    .workspace_destroy = workspace_destroy,
    .encode = FAST(encode),
    .encode_above = FAST(encode_above),
    .decode = FAST(decode),
    .slot_dots = FAST(slot_dots),
    .nested = FAST(nested),
    .suffix_rows = FAST(suffix_rows),
    .column_sums = FAST(column_sums),
    .update_decoder = FAST(update_decoder),
    .update_encoder = FAST(update_encoder),
    .normalise = FAST(normalise),
};
