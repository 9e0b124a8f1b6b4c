#include "hpsae/study/pca.h"

#include "matrix_budget.h"
#include "moments.h"
#include "pca_file.h"
#include "publish.h"
#include "whiten.h"

#include "hpsae/base/log.h"
#include "hpsae/base/memory.h"
#include "hpsae/base/report.h"
#include "hpsae/linalg/products.h"
#include "hpsae/linalg/solve.h"
#include "hpsae/model/dataset.h"

#include <math.h>
#include <stdio.h>

enum { POINTS = 40, SLICE_NUMBERS = 1 << 20 };

typedef struct {
    MPI_Comm world;
    const hps_config *config;
    char output[HPS_PATH_MAX];
    hps_grid grid;
    hps_process_grid over;
    hps_dataset dataset;
    hps_whiten whiten;
    int64_t d, fit_first, fit_rows, first, rows, nb;
    bool same;                /* both are the same rows */
    hps_cyclic C;             /* how all matrices, d x d, are dealt */
    double *c, *v, *t;        /* moments, eigenvectors (columns, ascending), their product */
    double *mean, *offset;    /* [d] */
    double *eigenvalues, *ev; /* [d] descending; ev by the k + 1 first */
    double *explained;        /* [d] sum of squares along each component */
    double total, about;      /* sum |x - mu|^2 of the rows; about the fitted mean */
    double *slice;            /* components on their way to the file */
} components;

static hps_status choose_rows(components *x, const char *key, hps_rows part, int64_t *first, int64_t *rows)
{
    hps_dataset_rows(&x->dataset, part, first, rows);
    if (*first < 0 || *rows < 1) {
        return hps_config_fail(x->config, key, "there are none: data.holdout is %.15g of a store of %lld rows",
                               x->config->data.holdout, (long long)x->dataset.info->rows);
    }
    return HPS_OK;
}

static int64_t batch_of(const components *x, int64_t rows)
{
    return rows < x->config->pca.batch ? rows : x->config->pca.batch;
}

static int64_t slice_columns(const components *x)
{
    return SLICE_NUMBERS / x->d > 0 ? SLICE_NUMBERS / x->d : 1;
}

/* Three matrices, and the rows on their way in, the workspace of the eigenvectors, or what whitening takes. */
static hps_status plan_memory(components *x)
{
    const int64_t d = x->d, part = 8 * hps_cyclic_most_elements(&x->over, d, d, x->nb);
    const int64_t batch = batch_of(x, x->fit_rows > x->rows ? x->fit_rows : x->rows);
    const int64_t reading = hps_moments_bytes(&x->over, d, batch, x->nb);
    const int64_t solving = hps_cyclic_eigen_bytes(&x->over, d, x->nb);
    const int64_t whitening = x->config->pca.whiten[0] != '\0' ? hps_whiten_bytes(&x->whiten) : 0;
    const int64_t most = reading > solving ? reading : solving;
    char what[64];

    snprintf(what, sizeof(what), "principal components of %lld columns", (long long)d);
    return hps_budget_check(x->config, "pca", &x->over,
                            3 * part + (most > whitening ? most : whitening) + 8 * (5 * d + slice_columns(x) * d),
                            what);
}

static hps_status prepare(components *x)
{
    const hps_config *c = x->config;

    HPS_TRY(hps_grid_create(x->world, 1, &x->grid));
    HPS_TRY(hps_matrix_grid(x->world, c, &x->over));
    if (c->pca.output[0] == '\0') {
        HPS_TRY(hps_path_join(c->output, "pca.h5", x->output));
    } else if (snprintf(x->output, HPS_PATH_MAX, "%s", c->pca.output) >= HPS_PATH_MAX) {
        return hps_fail(HPS_EARG, "pca.output: the path is longer than %d characters", HPS_PATH_MAX - 1);
    }
    HPS_TRY(hps_dataset_open(x->world, c, NULL, false, &x->dataset));
    HPS_TRY(choose_rows(x, "pca.fit", c->pca.fit, &x->fit_first, &x->fit_rows));
    HPS_TRY(choose_rows(x, "pca.rows", c->pca.rows, &x->first, &x->rows));
    x->same = c->pca.fit == c->pca.rows;
    x->d = x->dataset.info->d;
    x->whiten =
        (hps_whiten){.grid = &x->grid, .config = c, .dataset = &x->dataset, .first = x->fit_first, .rows = x->fit_rows};
    x->nb = hps_cyclic_block(&x->over, x->d, c->grid.block);
    HPS_TRY(hps_agree(x->world, plan_memory(x)));
    if (c->pca.whiten[0] != '\0') {
        HPS_TRY(hps_whiten_prepare(&x->whiten));
    }
    return hps_cyclic_create(&x->over, x->d, x->d, x->nb, 0, &x->C);
}

static hps_status allocate(components *x)
{
    const int64_t part = hps_cyclic_elements(&x->C);

    HPS_TRY(HPS_ALLOC(&x->c, part, "covariance"));
    HPS_TRY(HPS_ALLOC(&x->v, part, "components"));
    HPS_TRY(HPS_ALLOC(&x->t, x->same ? 1 : part, "covariance along the components"));
    HPS_TRY(HPS_ALLOC(&x->mean, x->d, "mean row"));
    HPS_TRY(HPS_ALLOC(&x->offset, x->d, "mean row"));
    HPS_TRY(HPS_ALLOC(&x->eigenvalues, x->d, "eigenvalues"));
    HPS_TRY(HPS_ALLOC(&x->explained, x->d, "eigenvalues"));
    HPS_TRY(HPS_ALLOC(&x->ev, x->d, "eigenvalues"));
    return HPS_ALLOC(&x->slice, slice_columns(x) * x->d, "components");
}

static void release(components *x)
{
    HPS_FREE(&x->c);
    HPS_FREE(&x->v);
    HPS_FREE(&x->t);
    HPS_FREE(&x->mean);
    HPS_FREE(&x->offset);
    HPS_FREE(&x->eigenvalues);
    HPS_FREE(&x->explained);
    HPS_FREE(&x->ev);
    HPS_FREE(&x->slice);
    hps_dataset_close(&x->dataset);
    hps_process_grid_destroy(&x->over);
    hps_grid_destroy(&x->grid);
}

/* Collective. */
static hps_status take_moments(components *x, bool fit)
{
    const int64_t rows = fit ? x->fit_rows : x->rows;
    const hps_moments_options options = {
        .grid = &x->grid,
        .over = &x->over,
        .store = x->dataset.store,
        .rows = {.first = fit ? x->fit_first : x->first,
                 .rows = rows,
                 .batch = batch_of(x, rows),
                 .norm = x->config->data.scale == HPS_SCALE_TOKEN ? HPS_NORM_TOKEN : HPS_NORM_NONE,
                 .scale = 1},
        .threads = (int)x->config->grid.threads};

    return hps_moments_take(&options, fit, &x->C, x->c, x->mean, x->offset);
}

/* Collective. */
static double trace(const components *x)
{
    double sum = 0;

    for (int64_t j = 0; j < x->C.local_n; j++) {
        const int64_t i = hps_cyclic_local_row(&x->C, hps_cyclic_column(&x->C, j));
        sum += i >= 0 ? x->c[i + j * x->C.ld] : 0;
    }
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, &sum, 1, MPI_DOUBLE, MPI_SUM, x->over.comm));
    return sum;
}

/* Collective.  explained[i] = v_i' S v_i for the moments S in c, about the fitted mean; first comes the last column. */
static void explain(components *x)
{
    hps_cyclic_symmetric_times(&x->C, x->c, &x->C, x->v, &x->C, x->t);
    for (int64_t i = 0; i < x->d; i++) {
        x->explained[i] = 0;
    }
    for (int64_t j = 0; j < x->C.local_n; j++) {
        double *sum = &x->explained[x->d - 1 - hps_cyclic_column(&x->C, j)];
        for (int64_t i = 0; i < x->C.local_m; i++) {
            *sum += x->v[i + j * x->C.ld] * x->t[i + j * x->C.ld];
        }
    }
    HPS_MPI(MPI_Allreduce(MPI_IN_PLACE, x->explained, (int)x->d, MPI_DOUBLE, MPI_SUM, x->over.comm));
}

/* Collective.  Mean, eigenvalues and components of the rows that are fitted. */
static hps_status fit(components *x)
{
    HPS_TRY(take_moments(x, true));
    x->about = x->total = trace(x);
    hps_log("pca", "eigenvectors of %lld columns from %lld rows", (long long)x->d, (long long)x->fit_rows);
    HPS_TRY(hps_cyclic_eigen(&x->C, x->c, x->explained, x->v));
    for (int64_t i = 0; i < x->d / 2; i++) {
        const double other = x->explained[i];
        x->explained[i] = x->explained[x->d - 1 - i];
        x->explained[x->d - 1 - i] = other;
    }
    for (int64_t i = 0; i < x->d; i++) {
        x->eigenvalues[i] = x->explained[i] / (double)x->fit_rows;
    }
    return HPS_OK;
}

/* Collective.  Other rows along the same components. */
static hps_status measure(components *x)
{
    double shift = 0;

    if (!x->same) {
        HPS_TRY(take_moments(x, false));
        x->about = trace(x);
        for (int64_t j = 0; j < x->d; j++) {
            shift += x->offset[j] * x->offset[j];
        }
        x->total = x->about - (double)x->rows * shift;
        explain(x);
    }
    double left = x->about;
    for (int64_t k = 0; k < x->d; k++) {
        left -= x->explained[k];
        x->ev[k] = 1 - left / x->total;
    }
    return HPS_OK;
}

/* 1, 2, 4, ... and d, and model.k in its place, where the configuration has one. */
static int choose_points(const components *x, int64_t at[POINTS])
{
    const int64_t k = x->config->model.k;
    int count = 0;

    for (int64_t q = 1; q < 2 * x->d; q *= 2) {
        const int64_t size = q < x->d ? q : x->d;
        if (k > 0 && k < size && (count == 0 || k > at[count - 1])) {
            at[count++] = k;
        }
        at[count++] = size;
    }
    return count;
}

static json_t *describe(const components *x)
{
    json_t *out = json_object(), *ks = json_array(), *evs = json_array();
    int64_t at[POINTS];
    const int points = choose_points(x, at);

    json_object_set_new(out, "hook", json_string(x->dataset.info->hook));
    json_object_set_new(out, "d", json_integer(x->d));
    json_object_set_new(out, "fit", json_string(hps_config_word("pca.fit", x->config->pca.fit)));
    json_object_set_new(out, "fit_rows", json_integer(x->fit_rows));
    json_object_set_new(out, "rows", json_integer(x->rows));
    json_object_set_new(out, "variance", hps_json_real(x->total / (double)x->rows));
    for (int i = 0; i < points; i++) {
        json_array_append_new(ks, json_integer(at[i]));
        json_array_append_new(evs, hps_json_real(x->ev[at[i] - 1]));
        hps_log("pca", "  rank %6lld   ev %.5f", (long long)at[i], x->ev[at[i] - 1]);
    }
    json_object_set_new(out, "ev_at_k", json_pack("{s:o,s:o}", "k", ks, "ev", evs));
    return out;
}

/* The number of largest size becomes positive: an eigenvector's sign is anybody's. */
static void set_sign(int64_t d, double *row)
{
    int64_t largest = 0;

    for (int64_t j = 1; j < d; j++) {
        largest = fabs(row[j]) > fabs(row[largest]) ? j : largest;
    }
    for (int64_t j = 0; j < d && row[largest] < 0; j++) {
        row[j] = j == largest ? row[j] : -row[j];
    }
    row[largest] = fabs(row[largest]);
}

/* Collective.  Components in descending order: the columns of v from the last. */
static hps_status write_components(components *x, hps_pca_file *file)
{
    const int64_t step = slice_columns(x), d = x->d;

    for (int64_t first = 0; first < d; first += step) {
        const int64_t count = d - first < step ? d - first : step;
        for (int64_t r = 0; r < count; r++) {
            hps_cyclic_gather_columns(&x->C, x->v, d - 1 - first - r, 1, x->slice + r * d);
            set_sign(d, x->slice + r * d);
        }
        HPS_TRY(hps_share_status(x->world, x->grid.p == 0 ? hps_pca_file_add(file, first, count, x->slice) : HPS_OK));
    }
    return HPS_OK;
}

/* Collective. */
static hps_status write_file(components *x)
{
    const hps_pca_about about = {.hook = x->dataset.info->hook,
                                 .model_name = x->dataset.info->model_name,
                                 .scale = x->config->data.scale == HPS_SCALE_TOKEN ? "token" : "none",
                                 .d = x->d,
                                 .fit_rows = x->fit_rows,
                                 .first_row = x->fit_first,
                                 .mean = x->mean,
                                 .eigenvalues = x->eigenvalues,
                                 .ev = x->ev};
    hps_pca_file *file = NULL;

    HPS_TRY(hps_agree(x->world, HPS_ALLOC(&file, 1, "file of components")));
    const bool root = x->grid.p == 0;
    hps_status status = hps_share_status(x->world, root ? hps_pca_file_begin(x->output, &about, file) : HPS_OK);
    if (status == HPS_OK) {
        status = write_components(x, file);
    }
    status = hps_share_status(x->world, root ? hps_pca_file_finish(file, status) : HPS_OK);
    HPS_FREE(&file);
    return status;
}

static hps_status finish(components *x, bool json)
{
    hps_status status = HPS_OK;

    HPS_TRY(write_file(x));
    json_t *out = describe(x);
    if (x->grid.p == 0) {
        status = hps_publish(x->config->output, "pca.json", out, json);
    }
    json_decref(out);
    HPS_TRY(hps_share_status(x->world, status));
    hps_log("pca", "wrote %s: mean, eigenvalues and components", x->output);
    hps_budget_tell(x->world, "pca");
    return HPS_OK;
}

/* Collective. */
static hps_status work(components *x, bool json)
{
    HPS_TRY(hps_agree(x->world, allocate(x)));
    HPS_TRY(fit(x));
    HPS_TRY(measure(x));
    if (!(x->total > 0)) {
        return hps_fail(HPS_EFORMAT, "%s: its %lld rows are all alike; components need rows that differ",
                        x->dataset.info->hook, (long long)x->rows);
    }
    if (x->config->pca.whiten[0] != '\0') {
        HPS_TRY(hps_whiten_run(&x->whiten, x->mean));
    }
    return finish(x, json);
}

hps_status hps_study_pca(MPI_Comm world, const hps_config *config, bool json, bool dry_run)
{
    components x = {.world = world, .config = config, .grid.model = MPI_COMM_NULL};

    hps_status status = hps_agree(world, prepare(&x));
    if (status == HPS_OK) {
        hps_log("pca", "%s: components of %lld rows, ev on %s", x.dataset.info->hook, (long long)x.fit_rows,
                x.same ? "the same" : "others");
        status = dry_run ? HPS_OK : work(&x, json);
    }
    release(&x);
    return status;
}
