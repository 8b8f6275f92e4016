/* See names.h. A rule is two patterns: # stands for a number, * at the end for the rest.
 *
 * Sources: NeMo-Speech.cpp conversion/asr.py; CrispASR models/convert-parakeet-to-gguf.py; transcribe.cpp
 * scripts/convert-parakeet.py; qvac-fabric-speech.cpp engines/parakeet; transformers
 * models/parakeet/convert_nemo_to_hf.py.
 */
#include "model/names.h"

#include <stdbool.h>
#include <string.h>

struct rule { const char *from, *to; };

static const struct rule nemo_speech[] = {
    {"preprocessor.fb", "preprocessor.featurizer.fb"},
    {"decoder.prediction.dec_rnn.lstm.ih_l#.weight", "decoder.prediction.dec_rnn.lstm.weight_ih_l#"},
    {"decoder.prediction.dec_rnn.lstm.hh_l#.weight", "decoder.prediction.dec_rnn.lstm.weight_hh_l#"},
    {"decoder.prediction.dec_rnn.lstm.ih_l#.bias", "decoder.prediction.dec_rnn.lstm.bias_ih_l#"},
    {"decoder.prediction.dec_rnn.lstm.hh_l#.bias", "decoder.prediction.dec_rnn.lstm.bias_hh_l#"},
    {0},
};

#define LAYER(theirs) \
    {theirs "norm_ff1.*", "encoder.layers.#.norm_feed_forward1.*"}, {theirs "ff1.*", "encoder.layers.#.feed_forward1.*"}, \
    {theirs "norm_attn.*", "encoder.layers.#.norm_self_att.*"}, {theirs "conv.bn.*", "encoder.layers.#.conv.batch_norm.*"}, \
    {theirs "norm_ff2.*", "encoder.layers.#.norm_feed_forward2.*"}, {theirs "ff2.*", "encoder.layers.#.feed_forward2.*"}, \
    {theirs "attn.pos_bias_u", "encoder.layers.#.self_attn.pos_bias_u"}, {theirs "attn.pos_bias_v", "encoder.layers.#.self_attn.pos_bias_v"}
#define SHORT_LAYER(theirs) \
    {theirs "attn.q.*", "encoder.layers.#.self_attn.linear_q.*"}, {theirs "attn.k.*", "encoder.layers.#.self_attn.linear_k.*"}, \
    {theirs "attn.v.*", "encoder.layers.#.self_attn.linear_v.*"}, {theirs "attn.out.*", "encoder.layers.#.self_attn.linear_out.*"}, \
    {theirs "attn.pos.*", "encoder.layers.#.self_attn.linear_pos.*"}, {theirs "conv.pw1.*", "encoder.layers.#.conv.pointwise_conv1.*"}, \
    {theirs "conv.dw.*", "encoder.layers.#.conv.depthwise_conv.*"}, {theirs "conv.pw2.*", "encoder.layers.#.conv.pointwise_conv2.*"}
#define LSTM(theirs) \
    {theirs "w_ih", "decoder.prediction.dec_rnn.lstm.weight_ih_l#"}, {theirs "w_hh", "decoder.prediction.dec_rnn.lstm.weight_hh_l#"}, \
    {theirs "b_ih", "decoder.prediction.dec_rnn.lstm.bias_ih_l#"}, {theirs "b_hh", "decoder.prediction.dec_rnn.lstm.bias_hh_l#"}

static const struct rule crispasr[] = {
    {"preprocessor.fb", "preprocessor.featurizer.fb"},
    {"preprocessor.window", "preprocessor.featurizer.window"},
    {"encoder.pre.*", "encoder.pre_encode.*"},
    LAYER("encoder.layers.#."),
    SHORT_LAYER("encoder.layers.#."),
    {"decoder.embed.*", "decoder.prediction.embed.*"},
    LSTM("decoder.lstm.#."),
    {"joint.out.*", "joint.joint_net.2.*"},
    {"ctc.*", "ctc_decoder.decoder_layers.0.*"},
    {0},
};

static const struct rule transcribe[] = {
    {"enc.pre_encode.*", "encoder.pre_encode.*"},
    LAYER("enc.blocks.#."),
    {"enc.blocks.#.attn.*", "encoder.layers.#.self_attn.*"},
    {"enc.blocks.#.conv.pointwise1.*", "encoder.layers.#.conv.pointwise_conv1.*"},
    {"enc.blocks.#.conv.depthwise.*", "encoder.layers.#.conv.depthwise_conv.*"},
    {"enc.blocks.#.conv.pointwise2.*", "encoder.layers.#.conv.pointwise_conv2.*"},
    {"enc.blocks.#.*", "encoder.layers.#.*"},
    {"pred.embed.*", "decoder.prediction.embed.*"},
    {"pred.lstm.#.Wx", "decoder.prediction.dec_rnn.lstm.weight_ih_l#"},
    {"pred.lstm.#.Wh", "decoder.prediction.dec_rnn.lstm.weight_hh_l#"},
    {"pred.lstm.#.bias", "decoder.prediction.dec_rnn.lstm.bias_ih_l#"},      /* the sum of both */
    {"joint.out.*", "joint.joint_net.2.*"},
    {"head.ctc.*", "ctc_decoder.decoder_layers.0.*"},
    {"frontend.mel_filterbank", "preprocessor.featurizer.fb"},
    {0},
};

#define QVAC_HEAD(head) \
    {head ".predict.embed.*", "decoder.prediction.embed.*"}, LSTM(head ".predict.lstm.#."), {head ".joint.enc.*", "joint.enc.*"}, \
    {head ".joint.pred.*", "joint.pred.*"}, {head ".joint.out.*", "joint.joint_net.2.*"}

static const struct rule qvac[] = {
    {"preproc.mel_filterbank", "preprocessor.featurizer.fb"},
    {"preproc.window", "preprocessor.featurizer.window"},
    {"encoder.subsampling.conv0.*", "encoder.pre_encode.conv.0.*"},
    {"encoder.subsampling.conv1_dw.*", "encoder.pre_encode.conv.2.*"},
    {"encoder.subsampling.conv1_pw.*", "encoder.pre_encode.conv.3.*"},
    {"encoder.subsampling.conv2_dw.*", "encoder.pre_encode.conv.5.*"},
    {"encoder.subsampling.conv2_pw.*", "encoder.pre_encode.conv.6.*"},
    {"encoder.subsampling.out.*", "encoder.pre_encode.out.*"},
    {"encoder.blk.#.conv.bn.scale", "encoder.layers.#.conv.batch_norm.weight"},     /* mean and variance are in it */
    {"encoder.blk.#.conv.bn.shift", "encoder.layers.#.conv.batch_norm.bias"},
    LAYER("encoder.blk.#."),
    SHORT_LAYER("encoder.blk.#."),
    {"encoder.blk.#.*", "encoder.layers.#.*"},
    QVAC_HEAD("tdt"),
    QVAC_HEAD("rnnt"),
    {"ctc.decoder.*", "ctc_decoder.decoder_layers.0.*"},
    {0},
};

static const struct rule huggingface[] = {
    {"encoder.subsampling.layers.#.*", "encoder.pre_encode.conv.#.*"},
    {"encoder.subsampling.linear.*", "encoder.pre_encode.out.*"},
    {"encoder.layers.#.conv.norm.*", "encoder.layers.#.conv.batch_norm.*"},
    {"encoder.layers.#.self_attn.q_proj.*", "encoder.layers.#.self_attn.linear_q.*"},
    {"encoder.layers.#.self_attn.k_proj.*", "encoder.layers.#.self_attn.linear_k.*"},
    {"encoder.layers.#.self_attn.v_proj.*", "encoder.layers.#.self_attn.linear_v.*"},
    {"encoder.layers.#.self_attn.o_proj.*", "encoder.layers.#.self_attn.linear_out.*"},
    {"encoder.layers.#.self_attn.relative_k_proj.*", "encoder.layers.#.self_attn.linear_pos.*"},
    {"encoder.layers.#.self_attn.bias_u", "encoder.layers.#.self_attn.pos_bias_u"},
    {"encoder.layers.#.self_attn.bias_v", "encoder.layers.#.self_attn.pos_bias_v"},
    {"ctc_head.*", "decoder.decoder_layers.0.*"},
    {"decoder.embedding.*", "decoder.prediction.embed.*"},
    {"decoder.lstm.*", "decoder.prediction.dec_rnn.lstm.*"},
    {"encoder_projector.*", "joint.enc.*"},
    {"decoder.decoder_projector.*", "joint.pred.*"},
    {"joint.head.*", "joint.joint_net.2.*"},
    {0},
};

static const struct rule *const rules[] = {
    [RS_NAMES_NEMO_SPEECH] = nemo_speech, [RS_NAMES_CRISPASR] = crispasr, [RS_NAMES_TRANSCRIBE] = transcribe,
    [RS_NAMES_QVAC] = qvac, [RS_NAMES_HUGGINGFACE] = huggingface,
};

struct span { const char *at; size_t len; };

static bool fits(const char *pattern, const char *name, size_t len, struct span *number, struct span *rest)
{
    size_t i = 0;
    for (; *pattern && *pattern != '*'; pattern++) {
        if (*pattern != '#') {
            if (i >= len || name[i++] != *pattern)
                return false;
            continue;
        }
        *number = (struct span){name + i, 0};
        while (i < len && name[i] >= '0' && name[i] <= '9')
            i++, number->len++;
        if (!number->len)
            return false;
    }
    *rest = (struct span){name + i, len - i};
    return *pattern == '*' ? rest->len > 0 : i == len;
}

static size_t build(const char *pattern, struct span number, struct span rest, char *to, size_t size)
{
    size_t n = 0;
    for (; *pattern; pattern++) {
        const struct span part = *pattern == '#' ? number : *pattern == '*' ? rest : (struct span){pattern, 1};
        if (part.len >= size - n)
            return 0;
        memcpy(to + n, part.at, part.len);
        n += part.len;
    }
    to[n] = '\0';
    return n;
}

size_t rs_canonical_name(enum rs_naming naming, const char *name, size_t len, char *to, size_t size)
{
    struct span number = {"", 0}, rest;
    for (const struct rule *r = naming == RS_NAMES_NEMO ? NULL : rules[naming]; r && r->from; r++)
        if (fits(r->from, name, len, &number, &rest))
            return build(r->to, number, rest, to, size);
    return build("*", number, (struct span){name, len}, to, size);
}
