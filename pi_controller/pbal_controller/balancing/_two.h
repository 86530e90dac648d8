/* Two homes' best paths through time with four numbers in a register: the same as viterbi2 in
 * _ways.pxi, to the bit, where the machine has 256-bit registers.
 *
 * Rows are the first home's phases and columns the second's, then the other way round, so that each
 * home's change of phase is a few instructions for all phases of the other. Which way was best is
 * kept as bits; only the way that is gone in the end is read from them.
 */
#ifndef PBAL_TWO_H
#define PBAL_TWO_H

#include <stddef.h>

/* Bytes of bits kept for a step. */
#define PBAL_BITS 10

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>

#define PBAL_QUAD __attribute__((target("avx2")))

/* Turns rows and columns over; the fourth column is never looked at. */
static inline PBAL_QUAD void pbal_turn_over(__m256d *f)
{
    const __m256d a = _mm256_unpacklo_pd(f[0], f[1]), b = _mm256_unpackhi_pd(f[0], f[1]);
    const __m256d c = _mm256_unpacklo_pd(f[2], f[2]), d = _mm256_unpackhi_pd(f[2], f[2]);

    f[0] = _mm256_permute2f128_pd(a, c, 0x20);
    f[1] = _mm256_permute2f128_pd(b, d, 0x20);
    f[2] = _mm256_permute2f128_pd(a, c, 0x31);
}

/* The home whose phases are the rows may change phase. bits [5]: row 1 is less than row 0, row 2
 * less than both, and for each row, whether coming from the least of them is less than staying. */
static inline PBAL_QUAD void pbal_change_rows(__m256d *f, __m256d price, unsigned char *bits)
{
    const __m256d least = _mm256_min_pd(f[1], f[0]);
    const __m256d low = _mm256_add_pd(_mm256_min_pd(f[2], least), price);

    bits[0] = (unsigned char)_mm256_movemask_pd(_mm256_cmp_pd(f[1], f[0], _CMP_LT_OQ));
    bits[1] = (unsigned char)_mm256_movemask_pd(_mm256_cmp_pd(f[2], least, _CMP_LT_OQ));
    for (int q = 0; q < 3; q++) {
        bits[2 + q] = (unsigned char)_mm256_movemask_pd(_mm256_cmp_pd(low, f[q], _CMP_LT_OQ));
        f[q] = _mm256_min_pd(low, f[q]);
    }
}

/* The row from which one came to this row, in this column. */
static inline int pbal_came_from(const unsigned char *bits, int row, int column)
{
    if (!(bits[2 + row] >> column & 1))
        return row;
    return bits[1] >> column & 1 ? 2 : bits[0] >> column & 1;
}

/* c1, c2, inter: [steps, 3] and one number more; bits: scratch [steps, PBAL_BITS]. */
static PBAL_QUAD void pbal_two(ptrdiff_t steps, const double *c1, const double *c2,
                               const double *inter, double price, int start1, int start2,
                               unsigned char *bits, signed char *path1, signed char *path2)
{
    const __m256d cost = _mm256_set1_pd(price);
    __m256d f[3];
    double end[12];
    int q = 0, v = 0;

    for (int s = 0; s < 12; s++)
        end[s] = (s / 4 == start1 ? 0.0 : price) + (s % 4 == start2 ? 0.0 : price);
    for (int row = 0; row < 3; row++)
        f[row] = _mm256_loadu_pd(end + 4 * row);
    for (ptrdiff_t t = 0; t < steps; t++) {
        /* What the two cost each other, at the phases of the first for each of the second. */
        const __m256d met = _mm256_loadu_pd(inter + 3 * t), one = _mm256_loadu_pd(c1 + 3 * t);
        const __m256d next = _mm256_permute4x64_pd(met, 0xd2);
        const __m256d last = _mm256_permute4x64_pd(met, 0xc9);

        if (t > 0)
            pbal_change_rows(f, cost, bits + PBAL_BITS * t);
        pbal_turn_over(f);
        if (t > 0)
            pbal_change_rows(f, cost, bits + PBAL_BITS * t + 5);
        f[0] += (one + _mm256_set1_pd(c2[3 * t])) + met;
        f[1] += (one + _mm256_set1_pd(c2[3 * t + 1])) + next;
        f[2] += (one + _mm256_set1_pd(c2[3 * t + 2])) + last;
        pbal_turn_over(f);
    }
    for (int row = 0; row < 3; row++)
        _mm256_storeu_pd(end + 4 * row, f[row]);
    for (int s = 1; s < 9; s++) {
        if (end[4 * (s / 3) + s % 3] < end[4 * q + v]) {
            q = s / 3;
            v = s % 3;
        }
    }
    for (ptrdiff_t t = steps - 1; t >= 0; t--) {
        path1[t] = (signed char)q;
        path2[t] = (signed char)v;
        if (t > 0) {
            v = pbal_came_from(bits + PBAL_BITS * t + 5, v, q);
            q = pbal_came_from(bits + PBAL_BITS * t, q, v);
        }
    }
}

static int pbal_two_here(void)
{
    return __builtin_cpu_supports("avx2") != 0;
}
#else
static void pbal_two(ptrdiff_t steps, const double *c1, const double *c2, const double *inter,
                     double price, int start1, int start2, unsigned char *bits,
                     signed char *path1, signed char *path2)
{
    (void)steps, (void)c1, (void)c2, (void)inter, (void)price, (void)start1, (void)start2;
    (void)bits, (void)path1, (void)path2;
}
static int pbal_two_here(void) { return 0; }
#endif

#endif
