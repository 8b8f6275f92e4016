/* silero.c's product for AVX2 with FMA; compiled with those flags, called only where the CPU has them. */
#define LANES 8
#define PRODUCT rs_silero_product_avx2
#include "vad/silero_product.h"
