/* What people give instead of a model: a file that no reader takes is named by its first bytes, because "unknown
 * format" helps nobody whose download was a web page. Sources of the signs: file(1)'s magic, PyTorch
 * torch/serialization.py, onnx.proto (field 1 is the version, a varint; the next fields are 2 to 7 or 14).
 */
#include <ctype.h>
#include <string.h>

#include "model/container.h"

enum { LOOK = 1 << 16 };

static bool has(const uint8_t *data, size_t size, const char *words)
{
    return memmem(data, size < LOOK ? size : LOOK, words, strlen(words)) != NULL;
}

static const char *zip(const uint8_t *data, size_t size)
{
    if (has(data, size, "model_state_dict") && has(data, size, "n_audio_state"))
        return "a Whisper model of OpenAI's (.pt); this program runs Parakeet models";
    if (has(data, size, "encoder.pre_encode"))
        return "the weights out of a .nemo file; give the whole .nemo file, which also has the configuration and the tokens";
    if (has(data, size, "data.pkl"))
        return "a PyTorch checkpoint (.pt); this program reads .nemo, GGUF and folders with safetensors";
    return "a zip archive, not a model; if a model is in it, unpack it first";
}

/* Text for people, perhaps a server's refusal saved as if it were the file. */
static const char *text(const uint8_t *data, size_t size)
{
    static const char *const pages[] = {"<!doctype", "<html", "<head", "<?xml"};
    size_t at = size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < size && isspace(data[at]))
        at++;
    for (size_t i = 0; i < sizeof pages / sizeof *pages; i++)
        if (size - at >= strlen(pages[i]) && strncasecmp((const char *)data + at, pages[i], strlen(pages[i])) == 0)
            return "a web page, not a model: the download failed";
    if (at < size && data[at] == '{')
        return "a JSON file, not a model: give the folder with config.json, tokenizer.json and model.safetensors";
    for (size_t i = at; i < size && i < 256; i++)
        if (data[i] < ' ' && !isspace(data[i]))
            return NULL;
    return at < size ? "a text file, not a model: look into it, the download may have failed" : NULL;
}

static bool onnx(const uint8_t *p, size_t size)
{
    return size >= 4 && p[0] == 8 && p[1] >= 1 && p[1] < 32 && (p[2] == 0x12 || p[2] == 0x1a || p[2] == 0x22 || p[2] == 0x2a || p[2] == 0x3a || p[2] == 0x42);
}

static bool only_zeros(const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size && i < LOOK; i++)
        if (p[i])
            return false;
    return true;
}

int rs_model_unlike(const char *path, const uint8_t *data, size_t size, struct rs_err *e)
{
    static const struct { size_t at, len; const char *bytes, *what; } signs[] = {
        {0, 23, "version https://git-lfs", "a Git LFS pointer, not the model: run 'git lfs pull' or download the file itself"},
        {0, 2, "\x1f\x8b", "compressed with gzip: give it as a file"},
        {0, 3, "BZh", "compressed with bzip2: unpack it first"},
        {0, 6, "\xfd" "7zXZ", "compressed with xz: unpack it first"},
        {0, 4, "\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first"},
        {0, 4, "7z\xbc\xaf", "a 7-Zip archive: unpack it first"},
        {0, 4, "\x89HDF", "an HDF5 file (Keras?), which this program does not read"},
        {4, 4, "TFL3", "a TensorFlow Lite model, which this program does not read"},
        {0, 4, "\x7f" "ELF", "a program, not a model"},
        {0, 4, "RIFF", "a sound file, not a model"},
        {0, 4, "fLaC", "a sound file, not a model"},
        {0, 4, "OggS", "a sound file, not a model"},
        {0, 3, "ID3", "a sound file, not a model"},
    };
    const char *what = NULL;
    for (size_t i = 0; i < sizeof signs / sizeof *signs && !what; i++)
        if (size >= signs[i].at + signs[i].len && memcmp(data + signs[i].at, signs[i].bytes, signs[i].len) == 0)
            what = signs[i].what;
    if (!what && size >= 4 && memcmp(data, "PK\3\4", 4) == 0)
        what = zip(data, size);
    if (!what && size >= 2 && data[0] == 0x80 && data[1] >= 2 && data[1] <= 5)
        what = "a Python pickle, perhaps a PyTorch checkpoint of before 2020; this program reads .nemo, GGUF and folders with safetensors";
    if (!what && onnx(data, size))
        what = "an ONNX file, which this program does not read; use a GGUF or .nemo of a Parakeet model";
    if (!what && only_zeros(data, size))
        what = "no model: it begins with nothing but zeros, so the download was not finished";
    what = what ? what : text(data, size);
    if (what)
        return rs_fail(e, RS_E_MODEL_UNSUPPORTED, "%s is %s", path, what);
    return rs_fail(e, RS_E_MODEL_UNSUPPORTED, "%s is no model file that this program knows (GGUF, .nemo, a folder with safetensors, ggml .bin)", path);
}
