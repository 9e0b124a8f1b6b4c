#include "publish.h"

#include "hpsae/base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

hps_status hps_publish(const char *directory, const char *name, const json_t *out, bool print)
{
    char path[HPS_PATH_MAX];

    HPS_TRY(hps_directory_make(directory));
    HPS_TRY(hps_path_join(directory, name, path));
    char *text = json_dumps(out, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(10));
    if (text == NULL) {
        return hps_fail(HPS_ENOMEM, "no memory for %s", path);
    }
    const hps_status status = hps_file_replace(path, text, strlen(text));
    free(text);
    if (status == HPS_OK && print) {
        json_dumpf(out, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(17));
        printf("\n");
    }
    return status;
}
