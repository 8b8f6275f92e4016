/* To be preloaded: lets a program see a CPU with fewer instruction sets than there are, at full speed, so that a
 * peer without such an option can be measured on what an older CPU would run.
 *
 *   cc -O1 -shared -fPIC -o cpu-limit.so cpu-limit.c
 *   CPU_LIMIT=avx2 LD_PRELOAD=./cpu-limit.so PROGRAM…          (avx2, avxvnni or vnni)
 *
 * Linux can make the CPUID instruction fault (arch_prctl, ARCH_SET_CPUID; flag cpuid_fault in /proc/cpuinfo).
 * The fault's handler answers in its place, with the newer sets' bits taken away: Intel's manual, volume 2,
 * CPUID, leaf 7. The C library looks before this is loaded and keeps what it chose for memcpy and the like.
 *
 * Where CPUID cannot fault (AMD before Zen 5), CPU_LIMIT_MARKED=1 says that a copy of the library in question has UD2
 * in the place of every CPUID (scripts/bench/peers makes it): that faults everywhere, and is answered alike.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define SET_CPUID 0x1012                    /* ARCH_SET_CPUID: 0 lets CPUID fault, 1 allows it */
#define BIT(n) (1u << (n))

struct hidden { uint32_t ebx, ecx, edx, eax1, edx1; };      /* leaf 7: part 0, and part 1 */

static const struct hidden amx = {.edx = BIT(22) | BIT(24) | BIT(25), .eax1 = BIT(21), .edx1 = BIT(8)};
static const struct hidden avx512 = {
    .ebx = BIT(16) | BIT(17) | BIT(21) | BIT(26) | BIT(27) | BIT(28) | BIT(30) | BIT(31),
    .ecx = BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14), .edx = BIT(2) | BIT(3) | BIT(8) | BIT(23), .eax1 = BIT(5)};
static const struct hidden avxvnni = {.eax1 = BIT(4) | BIT(23), .edx1 = BIT(4) | BIT(5) | BIT(10)};
static struct hidden away;
static int marked;                          /* UD2 stands for CPUID */

static void hide(const struct hidden *h)
{
    away.ebx |= h->ebx;
    away.ecx |= h->ecx;
    away.edx |= h->edx;
    away.eax1 |= h->eax1;
    away.edx1 |= h->edx1;
}

static void answer(int signal_number, siginfo_t *info, void *context)
{
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)info;
    if (memcmp((const void *)r[REG_RIP], marked ? "\x0f\x0b" : "\x0f\xa2", 2)) {  /* a fault of its own: let it happen */
        signal(signal_number, SIG_DFL);
        return;
    }
    const uint32_t leaf = (uint32_t)r[REG_RAX], part = (uint32_t)r[REG_RCX];
    uint32_t a, b, c, d;
    if (!marked)
        syscall(SYS_arch_prctl, SET_CPUID, 1);
    __cpuid_count(leaf, part, a, b, c, d);
    if (!marked)
        syscall(SYS_arch_prctl, SET_CPUID, 0);
    if (leaf == 7 && part == 0) {
        b &= ~away.ebx;
        c &= ~away.ecx;
        d &= ~away.edx;
    } else if (leaf == 7 && part == 1) {
        a &= ~away.eax1;
        d &= ~away.edx1;
    }
    r[REG_RAX] = a;
    r[REG_RBX] = b;
    r[REG_RCX] = c;
    r[REG_RDX] = d;
    r[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void)
{
    const char *limit = getenv("CPU_LIMIT");
    const struct sigaction s = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    if (!limit)
        return;
    hide(&amx);
    if (strcmp(limit, "vnni"))
        hide(&avx512);
    if (strcmp(limit, "vnni") && strcmp(limit, "avxvnni"))
        hide(&avxvnni);
    marked = getenv("CPU_LIMIT_MARKED") != NULL;
    if (sigaction(marked ? SIGILL : SIGSEGV, &s, NULL) || (!marked && syscall(SYS_arch_prctl, SET_CPUID, 0))) {
        fprintf(stderr, "cpu-limit: this computer cannot let CPUID fault\n");
        exit(1);
    }
}
