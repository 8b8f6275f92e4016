/* The assembler takes the files in as they are; they lie in read-only pages that are only read when used. */
#include "model/embedded.h"

#define EMBED(symbol, file)                                                                   \
    __asm__(".pushsection .rodata\n.balign 64\n.global " #symbol "\n.hidden " #symbol "\n"    \
            #symbol ":\n.incbin \"" file "\"\n.global " #symbol "_end\n.hidden " #symbol "_end\n" \
            #symbol "_end:\n.byte 0\n.popsection\n");                                         \
    extern const unsigned char symbol[], symbol##_end[]

#ifdef RS_EMBED_MODEL
EMBED(rs_embedded_model_image, RS_EMBED_MODEL);
struct rs_embedded rs_embedded_model(void)
{
    return (struct rs_embedded){rs_embedded_model_image, (size_t)(rs_embedded_model_image_end - rs_embedded_model_image), RS_EMBED_MODEL_NAME, RS_EMBED_MODEL_ID};
}
#else
struct rs_embedded rs_embedded_model(void) { return (struct rs_embedded){0}; }
#endif

#ifdef RS_EMBED_VAD
EMBED(rs_embedded_vad_image, RS_EMBED_VAD);
struct rs_embedded rs_embedded_vad(void)
{
    return (struct rs_embedded){rs_embedded_vad_image, (size_t)(rs_embedded_vad_image_end - rs_embedded_vad_image), RS_EMBED_VAD_NAME, RS_EMBED_VAD_ID};
}
#else
struct rs_embedded rs_embedded_vad(void) { return (struct rs_embedded){0}; }
#endif
