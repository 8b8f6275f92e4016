/* Any bytes as a model file, through the container to every tensor's values and, for a detector, its weights. */
#include <stdlib.h>
#include <string.h>

#include "model/model.h"
#include "vad/silero.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rs_model *m;
    struct rs_err e = {0};
    void *detector;
    uint8_t *own = malloc(size ? size : 1);      /* of exactly this size, so that a read beyond it is seen */
    if (!own)
        return 0;
    memcpy(own, data, size);
    if (rs_model_open_memory(&m, own, size, "fuzz", &e) == 0) {
        for (size_t i = 0; i < m->n_tensors; i++) {
            const struct rs_tensor *t = &m->tensors[i];
            float block[256];
            if (t->type != RS_I64 && rs_tensor_count(t) >= rs_type_block(t->type) && rs_type_block(t->type) <= 256)
                rs_dequantize(t->type, t->data, block, rs_type_block(t->type));
        }
        if (m->config.arch == RS_ARCH_SILERO_VAD && rs_silero_new(&detector, m, &e) == 0)
            rs_silero_detector.free(detector);
        rs_model_close(m);
    }
    free(own);
    return 0;
}
