/* whisper.cpp's ggml file */
#include "open.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return fuzz_open(data, size, "lmgg"); }
