#include "matrix_budget.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/model/forward.h"

static const double MIB = 1048576;
enum { TRANSFER = 64 << 20 }; /* of a model file's numbers, at a time */

hps_status hps_matrix_grid(MPI_Comm world, const hps_config *config, hps_process_grid *over)
{
    const int64_t rows = config->grid.rows, columns = config->grid.columns;

    return hps_process_grid_create(world, rows == HPS_AUTO_INT ? 0 : rows, columns == HPS_AUTO_INT ? 0 : columns, over);
}

int64_t hps_budget(const hps_config *config)
{
    const double bytes = config->grid.memory * MIB;

    return bytes < 9e18 ? (int64_t)bytes : INT64_MAX;
}

hps_status hps_budget_check(const hps_config *config, const char *module, const hps_process_grid *over, int64_t bytes,
                            const char *what)
{
    if (bytes > hps_budget(config)) {
        return hps_config_fail(
            config, "grid.memory",
            "%.15g MiB a rank are too few for %s: on %d ranks they take %.0f MiB; allow that much, or "
            "start more ranks",
            config->grid.memory, what, over->P * over->Q, (double)bytes / MIB + 1);
    }
    hps_log(module, "%d x %d ranks; at most %.15g MiB a rank (grid.memory), of which about %.0f will be used", over->P,
            over->Q, config->grid.memory, (double)bytes / MIB);
    return HPS_OK;
}

void hps_budget_tell(MPI_Comm comm, const char *module)
{
    int64_t most = hps_memory_peak();

    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &most, 1, MPI_INT64_T, MPI_MAX, comm));
    hps_log(module, "a rank held at most %.0f MiB in arrays", (double)most / MIB);
}

static hps_status create(const hps_coding_size *s, const hps_grid *grid, hps_model **model, hps_forward **forward)
{
    HPS_TRY(hps_model_create(grid, s->n, s->d, s->k, 1u << HPS_VALUE, model));
    (*model)->select = s->select;
    (*model)->threshold = 0;
    if (!s->encodes) {
        return HPS_OK;
    }
    const hps_forward_options passes = {
        .B = s->batch, .k_max = s->k, .k = s->k, .rules = 1u << hps_pick_in_use(*model).rule, .threads = s->threads};
    return hps_forward_create(grid, s->kernels, *model, &passes, forward);
}

/* On one of the ranks. */
static hps_status bytes_of(const hps_coding_size *s, int rank, int64_t *bytes)
{
    const hps_grid planned = {
        .world = MPI_COMM_NULL, .model = MPI_COMM_NULL, .groups = MPI_COMM_NULL, .R = 1, .P = s->ranks, .p = rank};
    hps_model *model = NULL;
    hps_forward *forward = NULL;

    hps_memory_rehearse(true);
    const int64_t before = hps_memory_live();
    hps_status status = create(s, &planned, &model, &forward);
    *bytes = hps_memory_live() - before;
    hps_forward_destroy(&forward);
    hps_model_destroy(&model);
    hps_memory_rehearse(false);
    return status;
}

/* The first has most latents, the last most columns. */
hps_status hps_coding_bytes(const hps_coding_size *s, int64_t *bytes)
{
    int64_t last;

    HPS_TRY(bytes_of(s, 0, bytes));
    HPS_TRY(bytes_of(s, s->ranks - 1, &last));
    *bytes = *bytes > last ? *bytes : last;
    const int64_t values = 2 * s->n * s->d / s->ranks * (int64_t)sizeof(float), fired = s->n * (int64_t)sizeof(int64_t);
    *bytes += (values < TRANSFER ? values : TRANSFER) + fired;
    *bytes += s->encodes ? s->batch * s->d * (int64_t)sizeof(float) : 0;
    return HPS_OK;
}
