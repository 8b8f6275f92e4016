/* silero.c's product for any CPU. */
#define LANES 4
#define PRODUCT rs_silero_product_portable
#include "vad/silero_product.h"
