/* The small loops on 64-byte vectors. */
#define WIDTH 64
#define TABLE rs_kernels_avx512
#define TABLE_NAME "avx512"
#include "tensor/kernels_impl.h"
