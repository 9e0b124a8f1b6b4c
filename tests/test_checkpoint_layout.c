/*
 * A model file does not know how many ranks wrote it: what P ranks write, Q ranks read, bit for bit, for all P and Q up
 * to the size of the job, with latents that no P divides, ranks that own no columns, and tensors moved in many rounds;
 * and the file's bytes are the same for every P.
 *
 * ranks: 1 2 3 4 7
 */
#include "hpsae/base/memory.h"
#include "hpsae/model/checkpoint_file.h"
#include "model_fixture.h"
#include "scratch.h"
#include "tap.h"

enum { N = 283, K = 5, SEED = 11 };

static const char config[] = "train:\n  seed: 1\n";

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

static void write_on(int size, int64_t d, unsigned roles, const char *path)
{
    hps_model *model = NULL;
    hps_grid grid;
    MPI_Comm comm;

    if (sub_grid(size, &grid, &comm)) {
        CHECK(hps_model_create(&grid, N, d, K, roles, &model) == HPS_OK);
        fixture_fill(model, SEED);
        model->norm = HPS_NORM_SCALE;
        model->scale = 0.1;
        CHECK(hps_checkpoint_write(grid.model, model, config, 77, path) == HPS_OK);
        hps_model_destroy(&model);
        hps_grid_destroy(&grid);
        MPI_Comm_free(&comm);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

static void check_model(const hps_grid *grid, const hps_model *model, unsigned roles)
{
    int64_t wrong = 0;

    for (int r = 0; r < HPS_ROLES; r++) {
        CHECK((model->role[r].slab != NULL) == ((roles & 1u << r) != 0));
        CHECK(model->role[r].slab == NULL || fixture_holds(model, SEED, r, r));
    }
    for (int64_t i = 0; model->fired != NULL && i < N; i++) {
        wrong += model->fired[i] != fixture_fired(SEED, i);
    }
    CHECK(wrong == 0);
    CHECK(model->shard.P == grid->P && model->k == K && model->norm == HPS_NORM_SCALE && model->scale == 0.1);
    CHECK(model->tokens == 123456789 && model->step == 4321);
    CHECK(strcmp(model->hook, "blocks.3.hook_resid_post") == 0 && strcmp(model->model_name, "fixture") == 0);
}

static void read_on(int size, unsigned roles, const char *path)
{
    hps_model *model = NULL;
    hps_grid grid;
    MPI_Comm comm;

    if (sub_grid(size, &grid, &comm)) {
        const hps_status status = hps_checkpoint_read(&grid, path, roles, &model);
        CHECK(status == HPS_OK);
        if (status != HPS_OK) {
            fprintf(stderr, "# %s\n", hps_status_message());
        }
        if (model != NULL) {
            check_model(&grid, model, roles);
        }
        hps_model_destroy(&model);
        hps_grid_destroy(&grid);
        MPI_Comm_free(&comm);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* All sizes of a small job, some of a larger one: the next to try. */
static int larger(int size, int world)
{
    return world <= 4 || size == world ? size + 1 : size == 1 ? world / 2 : world;
}

/* P against Q: what a resumed run reads (all roles) and what a program of the values reads. */
static void any_to_any(const char *directory, int world, int64_t d)
{
    const char *path = scratch_path(directory, "model.h5");
    const int64_t live = hps_memory_live();
    char name[96];

    for (int P = 1; P <= world; P = larger(P, world)) {
        write_on(P, d, ALL_ROLES, path);
        for (int Q = 1; Q <= world; Q = larger(Q, world)) {
            read_on(Q, (P + Q) % 2 == 0 ? ALL_ROLES : 1u << HPS_VALUE, path);
        }
    }
    CHECK(hps_memory_live() == live);
    CHECK(access(scratch_path(directory, "model.h5.tmp"), F_OK) != 0);
    snprintf(name, sizeof(name), "any P writes, any Q reads, up to %d ranks, %lld columns", world, (long long)d);
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

static void files_are_alike(const char *directory, int world)
{
    char one[SCRATCH_PATH + 64];

    snprintf(one, sizeof(one), "%s/one.h5", directory);
    write_on(1, 61, ALL_ROLES, one);
    for (int P = 2; P <= world; P++) {
        write_on(P, 61, ALL_ROLES, scratch_path(directory, "many.h5"));
        CHECK(same_bytes(one, scratch_path(directory, "many.h5")));
        MPI_Barrier(MPI_COMM_WORLD);
    }
    tap_case("the same bytes in the file from every number of ranks");
}

static void the_head_is_told(const char *directory)
{
    const char *path = scratch_path(directory, "one.h5");
    hps_checkpoint_head head;

    CHECK(hps_checkpoint_read_head(MPI_COMM_WORLD, path, &head) == HPS_OK);
    CHECK(head.n == N && head.d == 61 && head.k == K && head.tokens == 123456789 && head.step == 4321);
    CHECK(head.config_hash == 77 && head.roles == ALL_ROLES && strcmp(head.config, config) == 0);
    CHECK(head.norm == HPS_NORM_SCALE && head.scale == 0.1 && strcmp(head.hook, "blocks.3.hook_resid_post") == 0);
    hps_grid grid;
    hps_model *model = NULL;
    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    CHECK(hps_checkpoint_read(&grid, path, ALL_ROLES, &model) == HPS_OK);
    const hps_checksum sum = model != NULL ? hps_model_checksum(grid.model, model) : (hps_checksum){0, 0};
    CHECK(sum.values == head.checksum_values && sum.state == head.checksum_state);
    hps_model_destroy(&model);
    hps_grid_destroy(&grid);
    hps_checkpoint_head_free(&head);
    tap_case("the head says what the file holds, with the checksums of the log");
}

static void averages_are_loaded(const char *directory)
{
    const char *path = scratch_path(directory, "one.h5");
    hps_grid grid;
    hps_model *model = NULL;

    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    CHECK(hps_model_load(&grid, path, &model) == HPS_OK);
    CHECK(model != NULL && model->role[HPS_AVERAGE].slab == NULL && fixture_holds(model, SEED, HPS_VALUE, HPS_AVERAGE));
    hps_model_destroy(&model);
    hps_grid_destroy(&grid);
    tap_case("a model is loaded with its average as its values");
}

int main(int argc, char **argv)
{
    char directory[SCRATCH_PATH];
    int world;

    MPI_Init(&argc, &argv);
    MPI_Comm_size(MPI_COMM_WORLD, &world);
    scratch_make(directory);
    any_to_any(directory, world, 61);
    hps_checkpoint_round_bytes = 20000;
    any_to_any(directory, world, 130);
    files_are_alike(directory, world);
    the_head_is_told(directory);
    averages_are_loaded(directory);
    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
