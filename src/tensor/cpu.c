/* CPUID and XGETBV on x86, hwcaps on Arm: an instruction set counts only if the operating system also
 * keeps its registers over a context switch. */
#include "tensor/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined __x86_64__
#include <cpuid.h>

static uint64_t xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static bool bit(uint32_t word, int n) { return word >> n & 1; }

/* Bits: Intel's Software Developer's Manual, volume 2A, CPUID; XCR0: 2 AVX, 5-7 AVX-512, 17-18 AMX tiles. */
static unsigned detect(void)
{
    uint32_t a, b, c, d, a7, b7, c7, d7, a71 = 0, unused;
    unsigned f = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !bit(c, 27) || !__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7))
        return 0;
    if (a7 >= 1)
        __get_cpuid_count(7, 1, &a71, &unused, &unused, &unused);
    const uint64_t os = xcr0();
    if ((os & 0x6) == 0x6 && bit(c, 28) && bit(b7, 5) && bit(c, 12) && bit(c, 29)) {
        f |= RS_CPU_AVX2;
        if (bit(a71, 4))
            f |= RS_CPU_AVXVNNI;
    }
    if ((f & RS_CPU_AVX2) && (os & 0xe6) == 0xe6 && bit(b7, 16) && bit(b7, 30) && bit(b7, 31) && bit(b7, 17)) {
        f |= RS_CPU_AVX512;
        if (bit(c7, 11))
            f |= RS_CPU_VNNI;
        if (bit(a71, 5))
            f |= RS_CPU_AVX512BF16;
    }
    if ((f & RS_CPU_VNNI) && (os & 0x60000) == 0x60000 && bit(d7, 24)) {
        if (bit(d7, 25))
            f |= RS_CPU_AMX_INT8;
        if (bit(d7, 22) && (f & RS_CPU_AVX512BF16))
            f |= RS_CPU_AMX_BF16;
    }
    return f;
}

/* Linux 5.16: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA). */
static bool request_amx(void)
{
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
}
#elif defined __aarch64__
#include <sys/auxv.h>

static unsigned detect(void)
{
    unsigned f = 0;
    if (getauxval(AT_HWCAP) & 1ul << 20)      /* HWCAP_ASIMDDP */
        f |= RS_CPU_DOTPROD;
    if (getauxval(AT_HWCAP2) & 1ul << 13)     /* HWCAP2_I8MM */
        f |= RS_CPU_I8MM;
    return f;
}

static bool request_amx(void) { return false; }
#else
static unsigned detect(void) { return 0; }
static bool request_amx(void) { return false; }
#endif

static unsigned features;
static bool amx;
static char words[160];
static pthread_once_t once = PTHREAD_ONCE_INIT, amx_once = PTHREAD_ONCE_INIT;

static void find(void)
{
    static const char *const names[] = {"avx2", "avx-vnni", "avx512", "vnni", "avx512-bf16", "amx-int8", "amx-bf16",
                                        "dotprod", "i8mm"};
    features = detect();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (features >> i & 1) {
            const size_t used = strlen(words);
            snprintf(words + used, sizeof words - used, "%s%s", used ? " " : "", names[i]);
        }
}

unsigned rs_cpu_features(void)
{
    pthread_once(&once, find);
    return features;
}

const char *rs_cpu_words(void)
{
    pthread_once(&once, find);
    return words;
}

static void allow(void)
{
    amx = (rs_cpu_features() & (RS_CPU_AMX_INT8 | RS_CPU_AMX_BF16)) && request_amx();
}

bool rs_cpu_allow_amx(void)
{
    pthread_once(&amx_once, allow);
    return amx;
}

/* The first hardware thread of a core stands for it; without the kernel's word each CPU counts. */
static bool is_first_sibling(int cpu)
{
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "re");
    if (!f)
        return true;
    int first = cpu;
    if (fscanf(f, "%d", &first) != 1)
        first = cpu;
    fclose(f);
    return first == cpu;
}

int rs_cpu_cores(void)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        return 1;
    int cores = 0, cpus = 0;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &allowed)) {
            cpus++;
            cores += is_first_sibling(i);
        }
    return cores ? cores : cpus ? cpus : 1;     /* an affinity of second siblings only: each counts */
}
