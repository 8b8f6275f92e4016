/* model.safetensors of a Hugging Face folder */
#include "open.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return fuzz_folder(data, size, "model.safetensors"); }
