/* The whole test framework: TEST functions listed in main by RUN, checks that count and print.
 * The last line is "N passed, N failed"; the exit status is 1 when anything failed. */
#ifndef RS_TEST_H
#define RS_TEST_H

#include <math.h>
#include <stdio.h>
#include <string.h>

static int tests_passed, tests_failed, checks_failed;

#define CHECK(cond) do { if (!(cond)) { checks_failed++; \
    printf("  %s:%d: %s\n", __FILE__, __LINE__, #cond); } } while (0)
#define CHECK_INT(a, b) do { const long long a_ = (a), b_ = (b); if (a_ != b_) { checks_failed++; \
    printf("  %s:%d: %s is %lld, expected %lld\n", __FILE__, __LINE__, #a, a_, b_); } } while (0)
#define CHECK_NEAR(a, b, tol) do { const double a_ = (a), b_ = (b); if (!(fabs(a_ - b_) <= (tol))) { checks_failed++; \
    printf("  %s:%d: %s is %.9g, expected %.9g within %g\n", __FILE__, __LINE__, #a, a_, b_, (double)(tol)); } } while (0)
#define CHECK_STR(a, b) do { const char *a_ = (a), *b_ = (b); if (strcmp(a_, b_)) { checks_failed++; \
    printf("  %s:%d: %s is \"%s\", expected \"%s\"\n", __FILE__, __LINE__, #a, a_, b_); } } while (0)
#define RUN(fn) do { checks_failed = 0; fn(); if (checks_failed) { tests_failed++; printf("FAIL %s\n", #fn); } \
    else { tests_passed++; printf("ok   %s\n", #fn); } } while (0)
#define REPORT() (printf("%d passed, %d failed\n", tests_passed, tests_failed), tests_failed ? 1 : 0)

#endif
