/*
 * What P ranks export to SAELens or sparsify form, Q ranks import, bit for bit, with latents that no P divides, ranks
 * that own no columns, and many rounds; the files are the same bytes for every P; a scale is folded into the biases.
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

/* Exports on the first P ranks; every rank learns where to. */
static void export_on(int P, int64_t d, hps_format format, double scale, const char *folder, char written[HPS_PATH_MAX])
{
    hps_model *model = NULL;
    hps_grid grid;
    MPI_Comm comm;

    if (sub_grid(P, &grid, &comm)) {
        CHECK(hps_model_create(&grid, N, d, K, 1u << HPS_VALUE, &model) == HPS_OK);
        fixture_fill(model, SEED);
        model->norm = scale == 1 ? HPS_NORM_NONE : HPS_NORM_SCALE;
        model->scale = scale;
        report(hps_export(grid.model, model, format, scratch_path(directory, folder), written));
        hps_model_destroy(&model);
        hps_grid_destroy(&grid);
        MPI_Comm_free(&comm);
    }
    MPI_Bcast(written, HPS_PATH_MAX, MPI_CHAR, 0, MPI_COMM_WORLD);
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
    CHECK(model->k == K && model->norm == HPS_NORM_NONE && model->scale == 1);
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

static void token_normalisation_is_refused(void)
{
    hps_model *model = NULL;
    hps_grid grid;
    char written[HPS_PATH_MAX];

    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    CHECK(hps_model_create(&grid, N, 61, K, 1u << HPS_VALUE, &model) == HPS_OK);
    model->norm = HPS_NORM_TOKEN;
    for (int f = 0; f < 2; f++) {
        CHECK(hps_export(grid.model, model, formats[f], scratch_path(directory, "token"), written) == HPS_EARG);
        CHECK(strstr(hps_status_message(), "data.scale = token cannot be exported") != NULL);
    }
    CHECK(access(scratch_path(directory, "token"), F_OK) != 0);
    hps_model_destroy(&model);
    hps_grid_destroy(&grid);
    tap_case("token normalisation is refused, nothing is written");
}

int main(int argc, char **argv)
{
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
    token_normalisation_is_refused();
    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
