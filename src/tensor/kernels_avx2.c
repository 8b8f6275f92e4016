/* The small loops on 32-byte vectors. */
#define WIDTH 32
#define TABLE rs_kernels_avx2
#define TABLE_NAME "avx2"
#include "tensor/kernels_impl.h"
