#include "hpsae/base/build.h"

#include <cblas.h>
#include <hdf5.h>
#include <jansson.h>
#include <mpi.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#ifndef HPS_BUILD_DESCRIBE
#define HPS_BUILD_DESCRIBE "unknown"
#endif
#ifndef HPS_BUILD_FLAGS
#define HPS_BUILD_FLAGS "unknown"
#endif
#ifdef __clang__
#define HPS_BUILD_COMPILER __VERSION__
#else
#define HPS_BUILD_COMPILER "gcc " __VERSION__
#endif

const char *hps_build_describe(void)
{
    return HPS_BUILD_DESCRIBE;
}

bool hps_build_checks(void)
{
    return strncmp(HPS_BUILD_FLAGS, "debug", 5) == 0 || strncmp(HPS_BUILD_FLAGS, "asan", 4) == 0;
}

static void set(hps_fact *fact, const char *name, const char *text)
{
    fact->name = name;
    snprintf(fact->text, sizeof(fact->text), "%s", text);
}

/* "Open MPI v4.1.4, package: ..." up to the comma. */
static void mpi_fact(hps_fact *fact)
{
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length;

    MPI_Get_library_version(text, &length);
    text[strcspn(text, ",\n")] = '\0';
    set(fact, "mpi", text);
}

static void hdf5_fact(hps_fact *fact)
{
    unsigned major = 0, minor = 0, release = 0;

    H5get_libversion(&major, &minor, &release);
    fact->name = "hdf5";
    snprintf(fact->text, sizeof(fact->text), "%u.%u.%u (built against %s)", major, minor, release, H5_VERS_INFO);
}

static void blas_facts(hps_fact facts[2])
{
    set(&facts[0], "blas", openblas_get_config());
    set(&facts[1], "blas_core", openblas_get_corename());
}

/* Appends to text the word of `line` that starts at `word`, if kernels may use what it names. */
static void take_feature(const char *word, size_t length, char *text, size_t size)
{
    static const char *const known[] = {"avx2",     "fma",         "f16c",        "avx512f",  "avx512bw",
                                        "avx512vl", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16",
                                        "amx_int8", "asimd",       "sve",         "bf16"};
    const size_t used = strlen(text);

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strlen(known[i]) == length && strncmp(known[i], word, length) == 0 && used < size) {
            snprintf(text + used, size - used, "%s%s", used > 0 ? " " : "", known[i]);
        }
    }
}

static void take_features(const char *line, char *text, size_t size)
{
    for (size_t length; *line != '\0'; line += length) {
        line += strspn(line, " \n");
        length = strcspn(line, " \n");
        take_feature(line, length, text, size);
    }
}

/* The first processor's lines of /proc/cpuinfo: "name<tabs>: text". */
static void read_cpuinfo(FILE *file, hps_fact facts[2])
{
    char line[8192];

    while (fgets(line, sizeof(line), file) != NULL && line[0] != '\n') {
        const char *colon = strchr(line, ':');
        if (colon == NULL) {
            continue;
        }
        const char *text = colon + 1 + strspn(colon + 1, " ");
        if (strncmp(line, "model name", 10) == 0) {
            snprintf(facts[0].text, sizeof(facts[0].text), "%.*s", (int)strcspn(text, "\n"), text);
        } else if (strncmp(line, "flags", 5) == 0 || strncmp(line, "Features", 8) == 0) {
            take_features(text, facts[1].text, sizeof(facts[1].text));
        }
    }
}

static void cpu_facts(hps_fact facts[2])
{
    FILE *file = fopen("/proc/cpuinfo", "r");

    set(&facts[0], "cpu", "");
    set(&facts[1], "cpu_features", "");
    if (file != NULL) {
        read_cpuinfo(file, facts);
        fclose(file);
    }
    if (facts[0].text[0] == '\0') {
        set(&facts[0], "cpu", "unknown");
    }
}

void hps_build_facts(hps_fact facts[HPS_BUILD_FACTS])
{
    set(&facts[0], "version", HPS_BUILD_DESCRIBE);
    set(&facts[1], "compiler", HPS_BUILD_COMPILER);
    set(&facts[2], "flags", HPS_BUILD_FLAGS);
    mpi_fact(&facts[3]);
    hdf5_fact(&facts[4]);
    set(&facts[5], "yaml", yaml_get_version_string());
    set(&facts[6], "jansson", jansson_version_str());
    blas_facts(&facts[7]);
    cpu_facts(&facts[9]);
}
