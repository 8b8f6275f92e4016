/* Word error rate of an opened recogniser over a folder of recordings. */
#ifndef RS_BENCH_WER_H
#define RS_BENCH_WER_H

#include "asr/asr.h"

/* folder/data.tsv: a heading line, then lines of tab-separated file (under folder or folder/audio), speaker,
 * transcript. *wer is errors / words over all of them; letters' case and punctuation do not count. */
int rs_bench_wer(struct rs_asr *a, const char *folder, double *wer, struct rs_err *e);

/* The fewest substitutions, insertions and deletions that turn words of `said` into words of `meant`, and
 * how many words those are; -1 when memory ends. Both are lower-cased and stripped of punctuation first. */
long rs_word_errors(const char *meant, const char *said, long *words);

#endif
