/* The small loops for any CPU (SSE2 and NEON are the baselines), and the choice among the tables. */
#define WIDTH 16
#define TABLE rs_kernels_portable
#define TABLE_NAME "portable"
#include "tensor/kernels_impl.h"

#include <stdatomic.h>

#include "tensor/cpu.h"

static _Atomic(const struct rs_kernels *) chosen;

const struct rs_kernels *rs_kernels(void)
{
    const struct rs_kernels *k = atomic_load_explicit(&chosen, memory_order_acquire);
    if (k)
        return k;
    k = &rs_kernels_portable;
#if defined __x86_64__
    if (rs_cpu_has(RS_CPU_AVX2))
        k = &rs_kernels_avx2;
    if (rs_cpu_has(RS_CPU_AVX512))
        k = &rs_kernels_avx512;
#endif
    rs_kernels_use(k);
    return k;
}

void rs_kernels_use(const struct rs_kernels *k)
{
    atomic_store_explicit(&chosen, k, memory_order_release);
}
