/* The table of subcommands, nothing else. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/cmd.h"

static const struct rs_cmd *const commands[] = {
    &rs_cmd_progressive_record, &rs_cmd_transcribe, &rs_cmd_stop, &rs_cmd_cancel, &rs_cmd_toggle, &rs_cmd_status,
    &rs_cmd_devices, &rs_cmd_model, &rs_cmd_doctor, &rs_cmd_bench, &rs_cmd_timing,
};
enum { N_COMMANDS = sizeof commands / sizeof commands[0] };

static int overview(FILE *to)
{
    fprintf(to, "Usage: rec-stt COMMAND [OPTION]...\n\n"
                "Records speech, transcribes it on the CPU while you talk, prints JSON lines, exits.\n\nCommands:\n");
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(to, "  %-20s%s\n", commands[i]->name, commands[i]->summary);
    fprintf(to, "  %-20s%s\n", "pull", "fetch a published model over https (a script with curl)");
    fprintf(to, "\n'rec-stt COMMAND --help' explains each. 'rec-stt NAME' runs rec-stt-NAME where there is one.\n");
    return to == stdout ? 0 : 2;
}

/* As git does: rec-stt-NAME from libexec, else from PATH; first from scripts/ beside this program, where it was built. It
 * finds this program in REC_STT. Returns only when there is none. */
static void run_external(char **argv)
{
    char self[PATH_MAX], path[PATH_MAX];
    if (strchr(argv[1], '/') || argv[1][0] == '-')
        return;
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = 0;
        setenv("REC_STT", self, 0);
        if (snprintf(path, sizeof path, "%.*s/scripts/rec-stt-%s", (int)(strrchr(self, '/') - self), self, argv[1]) < (int)sizeof path)
            execv(path, argv + 1);
    }
    if (snprintf(path, sizeof path, "%s/rec-stt-%s", RS_LIBEXECDIR, argv[1]) < (int)sizeof path)
        execv(path, argv + 1);
    if (snprintf(path, sizeof path, "rec-stt-%s", argv[1]) < (int)sizeof path)
        execvp(path, argv + 1);
}

int main(int argc, char **argv)
{
    rs_clock_init();
    if (argc < 2)
        return overview(stderr);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
        return overview(stdout);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        puts("rec-stt " RS_VERSION);
        return 0;
    }
    for (int i = 0; i < N_COMMANDS; i++)
        if (strcmp(argv[1], commands[i]->name) == 0)
            return commands[i]->run(argc - 1, argv + 1);
    run_external(argv);
    fprintf(stderr, "rec-stt: There is no command '%.80s'.\nTry 'rec-stt --help'.\n", argv[1]);
    return 2;
}
