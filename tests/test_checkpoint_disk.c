/*
 * A disk that is full, or fills, or a rank whose writes fail, costs one checkpoint and nothing else: every rank gets
 * the same error, nobody hangs, no .tmp stays, the older checkpoint is whole, and the next one succeeds when there is
 * room again.
 *
 * ranks: 1 2 3
 */
#include "hpsae/base/memory.h"
#include "hpsae/model/checkpoint.h"
#include "model_fixture.h"
#include "scratch.h"
#include "tap.h"

#include <errno.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum { D = 64, K = 4, SEED = 3 };

static hps_grid grid;
static char directory[SCRATCH_PATH];

static hps_status write_model(const char *name, int64_t n)
{
    hps_model *model = NULL;

    CHECK(hps_model_create(&grid, n, D, K, ALL_ROLES, &model) == HPS_OK);
    fixture_fill(model, SEED);
    const hps_status status = hps_checkpoint_write(grid.model, model, "a: 1\n", 5, scratch_path(directory, name));
    hps_model_destroy(&model);
    return status;
}

static bool reads(const char *name)
{
    hps_model *model = NULL;
    const bool good = hps_checkpoint_read(&grid, scratch_path(directory, name), ALL_ROLES, &model) == HPS_OK &&
                      fixture_holds(model, SEED, HPS_MOMENT2, HPS_MOMENT2);

    hps_model_destroy(&model);
    return good;
}

static bool there(const char *name)
{
    return access(scratch_path(directory, name), F_OK) == 0;
}

/* The words must be rank 0's, whatever rank reads them. */
static void failed_alike(hps_status status, const char *words)
{
    CHECK(status == HPS_EIO);
    CHECK(strstr(hps_status_message(), words) != NULL);
    CHECK(strstr(hps_status_message(), "; the older checkpoint is kept") != NULL);
    if (strstr(hps_status_message(), words) == NULL) {
        fprintf(stderr, "# said: %s\n", hps_status_message());
    }
}

/* Fills what is left of the disk, all but `spare` bytes. */
static void fill_disk(const char *name, size_t spare)
{
    if (grid.p == 0) {
        struct statvfs about = {.f_bsize = 0};
        FILE *file = fopen(scratch_path(directory, name), "wb");
        CHECK(file != NULL && statvfs(directory, &about) == 0);
        const size_t left = about.f_bavail * about.f_frsize - spare;
        for (size_t i = 0; i < left / 4096; i++) {
            static const char zeros[4096];
            fwrite(zeros, 1, sizeof(zeros), file);
        }
        fclose(file);
    }
    MPI_Barrier(grid.model);
}

static void a_full_disk(void)
{
    CHECK(write_model("old.h5", 300) == HPS_OK);
    failed_alike(write_model("new.h5", 3000), "new.h5.tmp: no room for 6.2 MiB: no space left on device");
    CHECK(reads("old.h5") && !there("new.h5") && !there("new.h5.tmp"));
    for (size_t spare = 0; spare < 5; spare += 4) {
        fill_disk("filler", spare * 4096);
        failed_alike(write_model("new.h5", 300), "no space left on device");
        CHECK(reads("old.h5") && !there("new.h5") && !there("new.h5.tmp"));
        failed_alike(write_model("old.h5", 301), "no space left on device");
        CHECK(reads("old.h5") && !there("old.h5.tmp"));
        MPI_Barrier(grid.model);
        if (grid.p == 0) {
            unlink(scratch_path(directory, "filler"));
        }
        MPI_Barrier(grid.model);
    }
    CHECK(write_model("old.h5", 310) == HPS_OK);
    CHECK(reads("old.h5"));
    tap_case("a full disk, down to the last byte and with a little room");
}

/* Runs a case on a file system of 4 MiB; where none can be mounted, says why not. */
static void on_small_disk(void (*body)(void))
{
    int mounted = grid.p == 0 ? (mount("hpsae-test", directory, "tmpfs", 0, "size=4m") == 0 ? 0 : errno) : 0;
    char name[128];

    MPI_Bcast(&mounted, 1, MPI_INT, 0, grid.model);
    if (mounted != 0) {
        snprintf(name, sizeof(name), "a full disk # SKIP a tmpfs cannot be mounted: %s", strerror(mounted));
        tap_case(name);
        return;
    }
    body();
    MPI_Barrier(grid.model);
    if (grid.p == 0) {
        CHECK(umount(directory) == 0);
    }
    MPI_Barrier(grid.model);
}

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    setrlimit(RLIMIT_FSIZE, &limit);
}

/*
 * One rank after the other may not write beyond 100 kB: rank 0 learns it when it takes the room, others in the middle of
 * the collective writes, if MPI-IO lets them write at all.
 */
static void one_rank_cannot_write(void)
{
    for (int victim = 0; victim < grid.P; victim++) {
        CHECK(write_model("old.h5", 300) == HPS_OK);
        if (grid.p == victim) {
            limit_files(100000);
        }
        const hps_status status = write_model("new.h5", 3000);
        limit_files(RLIM_INFINITY);
        int codes[2] = {(int)status, -(int)status};
        MPI_Allreduce(MPI_IN_PLACE, codes, 2, MPI_INT, MPI_MAX, grid.model);
        CHECK(codes[0] == -codes[1]);
        if (status != HPS_OK && grid.p == 0) {
            printf("# rank %d may not: %s\n", victim, hps_status_message());
        }
        CHECK(victim > 0 || status == HPS_EIO);
        CHECK(!there("new.h5.tmp") && there("new.h5") == (status == HPS_OK));
        MPI_Barrier(grid.model);
        CHECK(status != HPS_OK || reads("new.h5"));
        CHECK(reads("old.h5"));
        MPI_Barrier(grid.model);
        if (grid.p == 0) {
            unlink(scratch_path(directory, "new.h5"));
        }
        CHECK(write_model("new.h5", 3000) == HPS_OK);
        CHECK(reads("new.h5"));
        MPI_Barrier(grid.model);
        if (grid.p == 0) {
            unlink(scratch_path(directory, "new.h5"));
        }
        MPI_Barrier(grid.model);
    }
    tap_case("one rank that cannot write fails all, or none");
}

static void nowhere_to_write(void)
{
    char expected[SCRATCH_PATH + 160];

    snprintf(expected, sizeof(expected), "%s.tmp: cannot be written: No such file or directory",
             scratch_path(directory, "none/new.h5"));
    failed_alike(write_model("none/new.h5", 300), expected);
    tap_case("a directory that is not there");
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    signal(SIGXFSZ, SIG_IGN);
    CHECK(hps_grid_create(MPI_COMM_WORLD, 1, &grid) == HPS_OK);
    scratch_make(directory);
    on_small_disk(a_full_disk);
    one_rank_cannot_write();
    nowhere_to_write();
    CHECK(hps_memory_live() == 0);
    tap_case("nothing is left allocated");
    scratch_remove(directory);
    hps_grid_destroy(&grid);
    tap_done();
    MPI_Finalize();
    return 0;
}
