/*
 * The .npy reader takes versions 1 to 3 and the three float types, and refuses with its reason what is not a row-major
 * little-endian table of floats; a damaged head never makes it read outside of the file.
 *
 * ranks: 1
 */
#include "../src/store/source.h"
#include "scratch.h"
#include "store_fixture.h"
#include "tap.h"

static char path[SCRATCH_PATH + 64];
static const hps_choice any = {.name = "", .key = "shuffle.dataset"};

static void write_npy(int version, const char *dict, size_t data)
{
    const size_t start = version == 1 ? 10 : 12, length = strlen(dict);
    uint8_t *bytes = calloc(start + length + data, 1);

    const uint8_t magic[] = {0x93, 'N', 'U', 'M', 'P', 'Y'};

    memcpy(bytes, magic, sizeof(magic));
    bytes[6] = (uint8_t)version;
    bytes[8] = (uint8_t)length;
    bytes[9] = (uint8_t)(length >> 8);
    for (size_t i = 0; i < length + data; i++) {
        bytes[start + i] = (uint8_t)(i < length ? (size_t)dict[i] : i - length);
    }
    fixture_file(path, bytes, start + length + data);
    free(bytes);
}

static void good_files(void)
{
    static const struct {
        int version;
        const char *dict;
        hps_dtype dtype;
        size_t data;
    } good[] = {
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }      \n", HPS_F32, 24},
        {2, "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 2), }\n", HPS_F16, 12},
        {3, "{\"shape\": (3L, 2L), \"fortran_order\":False, \"descr\":\"<f8\"}\n", HPS_F64, 48},
    };
    uint8_t row[16];
    hps_source source;

    for (size_t i = 0; i < 3; i++) {
        write_npy(good[i].version, good[i].dict, good[i].data);
        CHECK(hps_source_open(path, any, &source) == HPS_OK);
        CHECK(source.dtype == good[i].dtype && source.d == 2 && source.array.rows == 3);
        CHECK(hps_array_read(&source.array, 2, 1, row) == HPS_OK && row[0] == good[i].data / 3 * 2);
        hps_source_close(&source);
    }
    tap_case("versions 1 to 3, three types");
}

static const struct {
    const char *what, *dict, *words;
} bad[] = {
    {"Fortran order", "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }", "in Fortran order"},
    {"big-endian", "{'descr': '>f4', 'fortran_order': False, 'shape': (3, 2), }", "big-endian numbers"},
    {"pickled objects", "{'descr': '|O', 'fortran_order': False, 'shape': (3, 2), }", "pickled Python objects"},
    {"integers", "{'descr': '<i4', 'fortran_order': False, 'shape': (3, 2), }", "type <i4; activations are float16"},
    {"records", "{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (3,), }", "an array of records"},
    {"one dimension", "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", "has 1 dimension; activations"},
    {"three dimensions", "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2, 1), }", "has 3 dimensions"},
    {"no dimension", "{'descr': '<f4', 'fortran_order': False, 'shape': (), }", "has 0 dimensions"},
    {"no rows", "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2), }", "is empty, of shape [0, 2]"},
    {"more rows than bytes", "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2), }", "truncated: [4, 2]"},
    {"a row beyond 63 bits", "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 9223372036854775807), }",
     "a row does"},
    {"rows beyond 63 bits", "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 2), }",
     "truncated"},
    {"an extent beyond 64 bits", "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 2), }",
     "tuple of"},
    {"a negative extent", "{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 2), }", "not a tuple of numbers"},
    {"no shape", "{'descr': '<f4', 'fortran_order': False, }", "shape is missing"},
    {"a shape that never ends", "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2", "not a tuple of numbers"},
    {"a type that never ends", "{'fortran_order': False, 'shape': (3, 2), 'descr': '<f4", "records"},
};

static void bad_files(void)
{
    hps_source source;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        write_npy(1, bad[i].dict, 24);
        CHECK(hps_source_open(path, any, &source) == HPS_EFORMAT);
        CHECK(fixture_said(path) && fixture_said(bad[i].words));
        tap_case(bad[i].what);
    }
    write_npy(4, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }", 24);
    CHECK(hps_source_open(path, any, &source) == HPS_EFORMAT && fixture_said(".npy version 4.0"));
    fixture_file(path, "PK\3\4 and so on, a zip file", 25);
    CHECK(hps_source_open(path, any, &source) == HPS_EFORMAT && fixture_said("not a .npy file"));
    tap_case("another version, another format");
}

static void damage(void)
{
    const int tries = getenv("TEST_QUICK") != NULL ? 100 : 3000;
    int opened = 0;
    size_t count;
    hps_source source;

    write_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }\n", 24);
    uint8_t *bytes = (uint8_t *)fixture_bytes(path, &count), *broken = malloc(count + 1);
    for (size_t length = 0; length < count; length++) {
        fixture_file(path, bytes, length);
        CHECK(hps_source_open(path, any, &source) == HPS_EFORMAT);
    }
    for (int i = 0; i < tries; i++) {
        const uint64_t bits = hps_random_u64(2, HPS_DRAW_TEST, 0, (uint64_t)i);
        memcpy(broken, bytes, count);
        broken[bits % (count - 24)] = (uint8_t)(bits >> 32);
        fixture_file(path, broken, count);
        if (hps_source_open(path, any, &source) == HPS_OK) {
            CHECK(source.array.begin + source.array.rows * source.array.row_bytes <= (int64_t)count);
            opened++;
        }
        hps_source_close(&source);
    }
    CHECK(opened < tries);
    free(bytes);
    free(broken);
    tap_case("a file cut anywhere, or with any byte of its head changed");
}

int main(int argc, char **argv)
{
    char directory[SCRATCH_PATH];

    MPI_Init(&argc, &argv);
    scratch_make(directory);
    snprintf(path, sizeof(path), "%s/x.npy", directory);

    good_files();
    bad_files();
    damage();
    CHECK(hps_memory_arrays() == 0);
    tap_case("nothing stays allocated");

    scratch_remove(directory);
    tap_done();
    MPI_Finalize();
    return 0;
}
