/* rec-stt model: which models there are, what is in them, where they lie. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/paths.h"
#include "cmd/cmd.h"
#include "model/embedded.h"
#include "model/model.h"

static bool is_model_file(const char *name)
{
    const size_t n = strlen(name);
    return n > 5 && name[0] != '.' && strcmp(name + n - 5, ".gguf") == 0;
}

/* The names that --model takes, the default marked with '*'. */
static int list(struct rs_err *e)
{
    char folder[1000], first[1100];
    const struct rs_embedded own = rs_embedded_model();
    int found = own.size > 0;
    if (rs_path_data(folder, sizeof folder, "models", e))
        return -e->code;
    snprintf(first, sizeof first, "%s/default.gguf", folder);
    if (own.size)
        printf("%c %s  (linked in, %.1f MB)\n", access(first, R_OK) == 0 ? ' ' : '*', own.name, (double)own.size / 1e6);
    DIR *d = opendir(folder);
    for (const struct dirent *f; d && (f = readdir(d));)
        if (is_model_file(f->d_name)) {
            printf("%c %.*s  %s/%s\n", strcmp(f->d_name, "default.gguf") == 0 ? '*' : ' ', (int)strlen(f->d_name) - 5, f->d_name,
                   folder, f->d_name);
            found++;
        }
    if (d)
        closedir(d);
    return found ? 0 : rs_fail(e, RS_E_MODEL_MISSING, "There is no model in %s and none is linked in.", folder);
}

static int info(const char *name, struct rs_err *e)
{
    struct rs_model *m;
    double parameters = 0, bytes = 0;
    size_t by_type[RS_TYPE_COUNT] = {0};
    const int rc = rs_model_open(&m, name, e);
    if (rc)
        return rc;
    for (size_t i = 0; i < m->n_tensors; i++) {
        parameters += (double)rs_tensor_count(&m->tensors[i]);
        bytes += (double)m->tensors[i].bytes;
        by_type[m->tensors[i].type]++;
    }
    printf("name        %s\nfile        %s\ncontainer   %s\nkind        %s\n", m->name, m->path, m->container,
           m->config.arch == RS_ARCH_SILERO_VAD ? "voice detector" : "speech recogniser (FastConformer)");
    printf("language    %s\nlicence     %s\nparameters  %.2f million, %.1f MB\ntensors     %zu:", m->language[0] ? m->language : "not said",
           m->licence[0] ? m->licence : "not said", parameters / 1e6, bytes / 1e6, m->n_tensors);
    for (int i = 0; i < RS_TYPE_COUNT; i++)
        if (by_type[i])
            printf(" %zu %s", by_type[i], rs_type_name((enum rs_type)i));
    printf("\npieces      %d\n", m->n_pieces);
    rs_model_close(m);
    return 0;
}

static int path(const char *name, struct rs_err *e)
{
    struct rs_model *m;
    const int rc = rs_model_open(&m, name, e);
    if (rc)
        return rc;
    const bool embedded = access(m->path, F_OK) != 0;
    if (!embedded)
        puts(m->path);
    const int result = embedded ? rs_fail(e, RS_E_MODEL_MISSING, "The model %.200s is linked into the program; it has no file.", m->name) : 0;
    rs_model_close(m);
    return result;
}

static int run(int argc, char **argv)
{
    const struct rs_opt options[] = {{0}};
    struct rs_err e = {0};
    int nargs, rc = rs_opt_parse(&rs_cmd_model, options, argc, argv, &nargs, &e);
    if (rc)
        return rc == RS_OPT_DONE ? 0 : rs_report(&rs_cmd_model, &e);
    const char *name = nargs > 1 ? argv[2] : NULL;
    if (strcmp(argv[1], "list") == 0 && !name)
        rc = list(&e);
    else if (strcmp(argv[1], "info") == 0)
        rc = info(name, &e);
    else if (strcmp(argv[1], "path") == 0)
        rc = path(name, &e);
    else
        rc = rs_fail(&e, RS_E_USAGE, "'%.80s' is none of list, info [MODEL], path [MODEL].", argv[1]);
    if (!rc && (fflush(stdout) || ferror(stdout)))
        rc = rs_fail(&e, RS_E_STDOUT, "Writing the answer failed: %s.", strerror(errno));
    return rc ? rs_report(&rs_cmd_model, &e) : 0;
}

const struct rs_cmd rs_cmd_model = {
    .name = "model",
    .synopsis = "list | info [MODEL] | path [MODEL]",
    .summary = "list models, say what is in one, say where its file is",
    .details = "MODEL is a name from the list or a file; without it the default, which the list marks with '*': the file\n"
               "default.gguf in the models folder if it is there, else the model that is linked in.\n",
    .min_args = 1, .max_args = 2, .run = run,
};
