/* What this CPU and this operating system allow. Found once; base objects use nothing beyond the baseline. */
#ifndef RS_CPU_H
#define RS_CPU_H

#include <stdbool.h>

enum rs_cpu_feature {
    RS_CPU_AVX2 = 1,          /* with FMA and F16C */
    RS_CPU_AVXVNNI = 2,
    RS_CPU_AVX512 = 4,        /* F, BW, VL, DQ */
    RS_CPU_VNNI = 8,          /* AVX-512 VNNI */
    RS_CPU_AVX512BF16 = 16,
    RS_CPU_AMX_INT8 = 32,     /* with tiles; the system may still refuse them: rs_cpu_allow_amx */
    RS_CPU_AMX_BF16 = 64,
    RS_CPU_DOTPROD = 128,
    RS_CPU_I8MM = 256,
};

unsigned rs_cpu_features(void);
static inline bool rs_cpu_has(unsigned wanted) { return (rs_cpu_features() & wanted) == wanted; }

/* Asks Linux once for permission to use AMX tiles in this process and its future threads. */
bool rs_cpu_allow_amx(void);

/* Words for people: "avx2 avx512 vnni amx-int8". Static memory. */
const char *rs_cpu_words(void);

/* Physical cores that this process may run on, at least 1. */
int rs_cpu_cores(void);

#endif
