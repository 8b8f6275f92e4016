#include <math.h>

/* Beyond FAR nothing changes, and expf must not overflow: -ffast-math knows no infinity. */
static inline float sigmoid(float x)
{
    const float FAR = 40;
    return 1 / (1 + expf(x < -FAR ? FAR : -x));
}
