/*
 * What P ranks export to SAELens or sparsify form, Q ranks import, bit for bit, with latents that no P divides, ranks
 * that own no columns, and many rounds; the files are the same bytes for every P; a scale is folded into the biases and
 * the threshold; a prefix is the first latents alone; what cannot be said there is refused.
 *
 * ranks: 1 2 3 4 7
 */
#include "hpsae/base/memory.h"
#include "hpsae/model/exchange.h"
#include "hpsae/model/exchange_format.h"
#include "model_fixture.h"
#include "scratch.h"
#include "tap.h"

enum { N = 283, K = 5, SEED = 21 };

static char directory[SCRATCH_PATH];
static const hps_format formats[] = {HPS_FORMAT_SAELENS, HPS_FORMAT_SPARSIFY};

/* The first `size` ranks as a grid of their own; false on the others. */
static bool sub_grid(int size, hps_grid *grid, MPI_Comm *comm)
{
    int rank;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_split(MPI_COMM_WORLD, rank < size ? 0 : MPI_UNDEFINED, rank, comm);
    if (*comm == MPI_COMM_NULL) {
        return false;
    }
    CHECK(hps_grid_create(*comm, 1, grid) == HPS_OK);
    return true;
}

static void report(hps_status status)
{
    CHECK(status == HPS_OK);
    if (status != HPS_OK) {
        fprintf(stderr, "# %s\n", hps_status_message());
    }
}

/* What the fixture is exported as: a threshold makes it BatchTopK. */
typedef struct {
    hps_export_options options;
    int64_t d;
    double scale, threshold;
} export_case;

/* Exports on the first P ranks; every rank learns where to. */
static void export_as(int P, const export_case *c, const char *folder, char written[HPS_PATH_MAX])
{
    hps_model *model = NULL;
    hps_grid grid;
    MPI_Comm comm;

    if (sub_grid(P, &grid, &comm)) {
        CHECK(hps_model_create(&grid, N, c->d, K, 1u << HPS_VALUE, &model) == HPS_OK);
        fixture_fill(model, SEED);
        model->norm = c->scale == 1 ? HPS_NORM_NONE : HPS_NORM_SCALE;
        model->scale = c->scale;
        model->select = c->threshold < 0 ? HPS_SELECT_TOPK : HPS_SELECT_BATCH_TOPK;
        model->threshold = c->threshold;
        report(hps_export(grid.model, model, &c->options, scratch_path(directory, folder), written));
        hps_model_destroy(&model);
        hps_grid_destroy(&grid);
        MPI_Comm_free(&comm);
    }
    MPI_Bcast(written, HPS_PATH_MAX, MPI_CHAR, 0, MPI_COMM_WORLD);
}

static void export_on(int P, int64_t d, hps_format format, double scale, const char *folder, char written[HPS_PATH_MAX])
{
    const export_case c = {{.format = format}, d, scale, -1};

    export_as(P, &c, folder, written);
}

/* Biases times `scale` (a power of two) make the fixture again. */
static void check_model(hps_model *model, double scale)
{
    for (int64_t q = 0; q < model->shard.own; q++) {
        model->role[HPS_VALUE].b_enc[q] *= (float)scale;
    }
    for (int64_t c = 0; c < model->shard.d; c++) {
        model->role[HPS_VALUE].b[c] *= (float)scale;
    }
    CHECK(fixture_holds(model, SEED, HPS_VALUE, HPS_VALUE));
    CHECK(model->norm == HPS_NORM_NONE && model->scale == 1);
    CHECK(strcmp(model->hook, "blocks.3.hook_resid_post") == 0 && strcmp(model->model_name, "fixture") == 0);
}

static void import_on(int Q, const char *folder, hps_format format, double scale)
{
    hps_model *model = NULL;
    hps_grid grid;
    MPI_Comm comm;

    if (sub_grid(Q, &grid, &comm)) {
        report(hps_import(&grid, folder, format, &model));
        if (model != NULL) {
            check_model(model, scale);
            CHECK(model->k == K && model->select == HPS_SELECT_TOPK && model->shard.n == N);
        }
        hps_model_destroy(&model);
        hps_grid_destroy(&grid);
        MPI_Comm_free(&comm);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* All sizes of a small job, some of a larger one. */
static int larger(int size, int world)
{
    return world <= 4 || size == world ? size + 1 : size == 1 ? world / 2 : world;
}

static void any_to_any(int world, int64_t d, double scale)
{
    const int64_t live = hps_memory_live();
    char written[HPS_PATH_MAX], name[96];

    for (int f = 0; f < 2; f++) {
        for (int P = 1; P <= world; P = larger(P, world)) {
            export_on(P, d, formats[f], scale, f == 0 ? "lens" : "sparse", written);
            for (int Q = 1; Q <= world; Q = larger(Q, world)) {
                import_on(Q, written, (P + Q) % 2 == 0 ? HPS_FORMAT_AUTO : formats[f], scale);
            }
        }
    }
    CHECK(hps_memory_live() == live);
    snprintf(name, sizeof(name), "any P exports, any Q imports, up to %d ranks, %lld columns, scale %g", world,
             (long long)d, scale);
    tap_case(name);
}

/* Exports as the case says on some ranks, imports on others; the caller looks at the model and destroys it. */
static void there_and_back(int P, const export_case *c, const hps_grid *grid, hps_model **model)
{
    char written[HPS_PATH_MAX];

    export_as(P, c, "case", written);
    report(hps_import(grid, written, HPS_FORMAT_AUTO, model));
    CHECK(*model != NULL);
}

static void thresholds_come_back(int world, const hps_grid *grid)
{
    const double third = 1.0 / 3, thresholds[] = {third, 0, 0.75, third};
    const double scales[] = {1, 1, 0.25, 0.1};
    hps_model *model = NULL;

    for (int i = 0; i < 4; i++) {
        const export_case c = {{.format = HPS_FORMAT_SAELENS}, 61, scales[i], thresholds[i]};
        const double want = thresholds[i] / scales[i];
        for (int P = 1; P <= world; P += world > 1 ? world - 1 : 1) {
            there_and_back(P, &c, grid, &model);
            if (model != NULL) {
                /* rounded down: of the same float p, p > it says the same */
                CHECK(model->threshold <= want && (double)nextafterf((float)model->threshold, INFINITY) > want);
                CHECK(model->select == HPS_SELECT_BATCH_TOPK && model->k == K && model->shard.n == N);
            }
            if (model != NULL && scales[i] != 0.1) {
                check_model(model, scales[i]);
            }
            hps_model_destroy(&model);
        }
    }
    tap_case("a threshold comes back, divided by the scale, with k");
}

static void prefixes_stand_alone(int world, const hps_grid *grid)
{
    const int64_t sizes[] = {N, N - 1, 65, 64, 9, 1};
    hps_model *model = NULL;

    for (int i = 0; i < 6; i++) {
        for (int f = 0; f < 2; f++) {
            const export_case c = {{.format = formats[f], .prefix = sizes[i]}, 61, 0.25, -1};
            if (sizes[i] < world) {
                continue; /* an import needs a latent a rank */
            }
            there_and_back(world, &c, grid, &model);
            if (model != NULL) {
                check_model(model, 0.25);
                CHECK(model->shard.n == sizes[i] && model->k == (K < sizes[i] ? K : sizes[i]));
            }
            hps_model_destroy(&model);
        }
    }
    const export_case one = {{.format = HPS_FORMAT_SAELENS, .k = 2, .prefix = 65}, 61, 1, -1};
    there_and_back(world, &one, grid, &model);
    CHECK(model != NULL && model->shard.n == 65 && model->k == 2);
    hps_model_destroy(&model);
    const export_case cut = {{.format = HPS_FORMAT_SAELENS, .prefix = 65}, 61, 1, 0.5};
    there_and_back(1, &cut, grid, &model);
    CHECK(model != NULL && model->shard.n == 65 && model->k == K && model->threshold == 0.5);
    hps_model_destroy(&model);
    tap_case("a prefix is the first latents, with their k or another, or with the threshold");
}

static bool same_bytes(const char *a, const char *b)
{
    FILE *x = fopen(a, "rb"), *y = fopen(b, "rb");
    bool same = x != NULL && y != NULL;
    int c = 0;

    while (same && c != EOF) {
        c = getc(x);
        same = c == getc(y);
    }
    if (x != NULL) {
        fclose(x);
    }
    if (y != NULL) {
        fclose(y);
    }
    return same;
}

/* A prefix of fewer latents than ranks is written all the same. */
static void shorter_than_the_job(int world)
{
    char few[HPS_PATH_MAX], one[HPS_PATH_MAX];
    const export_case c = {{.format = HPS_FORMAT_SAELENS, .prefix = 1}, 61, 1, -1};
    hps_model *model = NULL;
    hps_grid alone;

    export_as(world, &c, "few", few);
    export_as(1, &c, "few-one", one);
    strcat(few, "/sae_weights.safetensors");
    strcat(one, "/sae_weights.safetensors");
    CHECK(same_bytes(few, one));
    *strrchr(few, '/') = '\0';
    CHECK(hps_grid_create(MPI_COMM_SELF, 1, &alone) == HPS_OK);
    report(hps_import(&alone, few, HPS_FORMAT_AUTO, &model));
    if (model != NULL) {
        check_model(model, 1);
        CHECK(model->shard.n == 1 && model->k == 1);
    }
    hps_model_destroy(&model);
    hps_grid_destroy(&alone);
    tap_case("a prefix of one latent from any number of ranks");
}

static void files_are_alike(int world)
{
    char one[HPS_PATH_MAX], many[HPS_PATH_MAX], a[HPS_PATH_MAX], b[HPS_PATH_MAX];

    for (int f = 0; f < 2; f++) {
        const char *const names[] = {"cfg.json", hps_exchange_format_of(formats[f])->weights};
        export_on(1, 61, formats[f], 0.1, f == 0 ? "lens-one" : "sparse-one", one);
        export_on(world, 61, formats[f], 0.1, f == 0 ? "lens-many" : "sparse-many", many);
        for (int i = 0; i < 2; i++) {
            CHECK(hps_path_join(one, names[i], a) == HPS_OK && hps_path_join(many, names[i], b) == HPS_OK);
            CHECK(same_bytes(a, b));
        }
        strcat(b, ".tmp");
        CHECK(access(b, F_OK) != 0);
    }
    tap_case("the same bytes in both files from one rank and from all");
}

static void refused(const hps_grid *grid, const hps_model *model, hps_export_options options, const char *words)
{
    char written[HPS_PATH_MAX];

    CHECK(hps_export(grid->model, model, &options, scratch_path(directory, "refused"), written) == HPS_EARG);
    CHECK(strstr(hps_status_message(), words) != NULL);
    if (strstr(hps_status_message(), words) == NULL) {
        fprintf(stderr, "# said: %s\n", hps_status_message());
    }
    CHECK(access(scratch_path(directory, "refused"), F_OK) != 0);
}

static void what_cannot_be_said_is_refused(const hps_grid *grid)
{
    const hps_format lens = HPS_FORMAT_SAELENS, sparsify = HPS_FORMAT_SPARSIFY;
    hps_model *model = NULL;

    CHECK(hps_model_create(grid, N, 61, K, 1u << HPS_VALUE, &model) == HPS_OK);
    refused(grid, model, (hps_export_options){.format = lens, .k = N + 1}, "export.k 284: 283 latents are exported");
    refused(grid, model, (hps_export_options){.format = lens, .k = 9, .prefix = 8},
            "export.k 9: 8 latents are exported");
    refused(grid, model, (hps_export_options){.format = sparsify, .prefix = N + 1},
            "export.prefix 284: the model has 283 latents; allowed: 1 to 283");
    model->select = HPS_SELECT_BATCH_TOPK;
    model->step = 999;
    refused(
        grid, model, (hps_export_options){.format = lens},
        "no threshold yet: it is averaged from step train.threshold.start_step on, and this one has done 999; train");
    model->threshold = 0.5;
    refused(grid, model, (hps_export_options){.format = lens, .k = 3}, "export.k 3: a model of select batch_topk");
    refused(grid, model, (hps_export_options){.format = sparsify}, "to sparsify, which knows no thresholds");
    hps_model_destroy(&model);
    tap_case("sizes beyond the model, unknown thresholds, a k beside a threshold, sparsify: refused");
}

static void token_normalisation_is_refused(void)
{
    hps_model *model = NULL;
    hps_grid grid;
    char written[HPS_PATH_MAX];

    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    CHECK(hps_model_create(&grid, N, 61, K, 1u << HPS_VALUE, &model) == HPS_OK);
    model->norm = HPS_NORM_TOKEN;
    for (int f = 0; f < 2; f++) {
        const hps_export_options options = {.format = formats[f]};
        CHECK(hps_export(grid.model, model, &options, scratch_path(directory, "token"), written) == HPS_EARG);
        CHECK(strstr(hps_status_message(), "data.scale = token cannot be exported") != NULL);
    }
    CHECK(access(scratch_path(directory, "token"), F_OK) != 0);
    hps_model_destroy(&model);
    hps_grid_destroy(&grid);
    tap_case("token normalisation is refused, nothing is written");
}

int main(int argc, char **argv)
{
    hps_grid grid;
    int world;

    MPI_Init(&argc, &argv);
    MPI_Comm_size(MPI_COMM_WORLD, &world);
    scratch_make(directory);
    any_to_any(world, 61, 1);
    files_are_alike(world);
    hps_export_round_bytes = 20000;
    hps_import_piece = 1000;
    any_to_any(world, 130, 0.25);
    any_to_any(world, 1, 1);
    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    thresholds_come_back(world, &grid);
    prefixes_stand_alone(world, &grid);
    shorter_than_the_job(world);
    what_cannot_be_said_is_refused(&grid);
    hps_grid_destroy(&grid);
    token_normalisation_is_refused();
    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
