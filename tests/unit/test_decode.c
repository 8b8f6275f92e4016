/* The transducer search on scripted networks, the LSTM cell, and ties. */
#include "test.h"

#include <stdlib.h>

#include "asr/greedy.h"
#include "tensor/ops.h"

#define BLANK 9
#define A 1
#define B 2

/* What the network says at a frame: up to 12 answers, the last one for ever. */
struct script { struct rs_step at[5][12]; int answers[5], next[5], steps, taken; };

static bool best(void *net, int frame, struct rs_step *step)
{
    struct script *s = net;
    const int last = s->answers[frame] - 1, i = s->next[frame] < last ? s->next[frame] : last;
    *step = s->at[frame][i];
    s->next[frame]++;
    s->steps++;
    return true;
}

static bool take(void *net, int token)
{
    struct script *s = net;
    CHECK(token != BLANK);
    s->taken++;
    return true;
}

static void say(struct script *s, int frame, int token, int duration)
{
    s->at[frame][s->answers[frame]++] = (struct rs_step){token, duration, 0.5f};
}

static struct rs_transcript search(struct script *s)
{
    const struct rs_transducer_net net = {best, take, s};
    struct rs_transcript t = {0};
    struct rs_err e = {0};
    for (int i = 0; i < 5; i++)
        if (!s->answers[i])
            say(s, i, BLANK, 0);
    CHECK_INT(rs_transducer_search(&net, 5, BLANK, 10, &t, &e), 0);
    CHECK_INT(s->taken, t.count);
    return t;
}

static void expect(const struct rs_transcript *t, size_t i, int id, int frame, int duration)
{
    CHECK(i < t->count);
    if (i >= t->count)
        return;
    CHECK_INT(t->tokens[i].id, id);
    CHECK_INT(t->tokens[i].frame, frame);
    CHECK_INT(t->tokens[i].duration, duration);
}

static void blanks_of_no_duration(void)
{
    struct script s = {0};
    struct rs_transcript t = search(&s);
    CHECK_INT(t.count, 0);
    CHECK_INT(s.steps, 5);
    rs_transcript_free(&t);
}

static void several_tokens_on_a_frame(void)
{
    struct script s = {0};
    say(&s, 0, A, 0);
    say(&s, 0, A, 0);
    say(&s, 0, B, 2);
    say(&s, 2, BLANK, 4);
    struct rs_transcript t = search(&s);
    CHECK_INT(t.count, 3);
    expect(&t, 0, A, 0, 0);
    expect(&t, 1, A, 0, 0);
    expect(&t, 2, B, 0, 2);
    CHECK_INT(s.steps, 4);
    rs_transcript_free(&t);
}

static void ten_tokens_at_most(void)
{
    struct script s = {0};
    say(&s, 0, A, 0);
    struct rs_transcript t = search(&s);
    CHECK_INT(t.count, 10);
    for (size_t i = 0; i < 10; i++)
        expect(&t, i, A, 0, 0);
    CHECK_INT(s.next[1], 1);
    CHECK_INT(s.steps, 14);
    rs_transcript_free(&t);
}

static void duration_beyond_the_end(void)
{
    struct script s = {0};
    say(&s, 4, A, 4);
    struct rs_transcript t = search(&s);
    CHECK_INT(t.count, 1);
    expect(&t, 0, A, 4, 4);
    rs_transcript_free(&t);
}

static void rnnt(void)
{
    struct script s = {0};
    for (int i = 0; i < 5; i++) {
        if (i == 1)
            say(&s, i, A, 0);
        say(&s, i, BLANK, 1);
    }
    struct rs_transcript t = search(&s);
    CHECK_INT(t.count, 1);
    expect(&t, 0, A, 1, 0);
    CHECK_INT(s.steps, 6);
    rs_transcript_free(&t);
}

static void no_frames(void)
{
    struct script s = {0};
    const struct rs_transducer_net net = {best, take, &s};
    struct rs_transcript t = {0};
    CHECK_INT(rs_transducer_search(&net, 0, BLANK, 10, &t, NULL), 0);
    CHECK_INT(t.count, 0);
}

static void ties_go_to_the_first(void)
{
    const float x[] = {-1, 3, 3, 2, 3};
    CHECK_INT(rs_argmax(x, 5), 1);
    CHECK_INT(rs_argmax(x, 1), 0);
    float wide[101];
    for (int k = 0; k < 101; k++) {
        for (int i = 0; i < 101; i++)
            wide[i] = (float)(i % 7) - 20;
        wide[k] = 5;
        wide[100] = 5;
        CHECK_INT(rs_argmax(wide, 101), k);
    }
}

static void lstm(void)
{
    const double ih[] = {.1, .2, .3, .4}, hh[] = {.5, .6, .7, .8}, bi[] = {.01, .02, .03, .04}, bh[] = {.05, .06, .07, .08};
    const double input[] = {1, -1}, cell[] = {0.20514010, 0.04430694}, out[] = {0.12687834, 0.02016834};
    float c = 0, h = 0;
    for (int step = 0; step < 2; step++) {
        float gates[4];
        for (int i = 0; i < 4; i++)
            gates[i] = (float)(ih[i] * input[step] + bi[i] + hh[i] * h + bh[i]);
        rs_lstm_cell(gates, NULL, 1, &c, &c, &h);
        CHECK_NEAR(c, cell[step], 1e-6);
        CHECK_NEAR(h, out[step], 1e-6);
    }
}

int main(void)
{
    RUN(blanks_of_no_duration);
    RUN(several_tokens_on_a_frame);
    RUN(ten_tokens_at_most);
    RUN(duration_beyond_the_end);
    RUN(rnnt);
    RUN(no_frames);
    RUN(ties_go_to_the_first);
    RUN(lstm);
    return REPORT();
}
