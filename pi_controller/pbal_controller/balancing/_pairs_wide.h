/* Two homes' best paths through time, valued for eight pairs at once: the same as _pairs.h on
 * machines with 512-bit registers, where the nine costs of eight pairs stay in registers.
 */
#ifndef PBAL_PAIRS_WIDE_H
#define PBAL_PAIRS_WIDE_H

#include "_pairs.h"

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>

#define PBAL_WIDE __attribute__((target("avx512f,fma")))

/* How many steps ahead homes are asked for: 32 rows are more than the machine foresees by itself. */
#define PBAL_AHEAD 64

typedef __m512d pbal_wide;

/* Eight rows of eight numbers, turned over: out[j][k] = rows[k][j]. */
static inline PBAL_WIDE void pbal_turn(const double *const *rows, ptrdiff_t at, pbal_wide *out)
{
    pbal_wide a[8], b[8];

    for (int k = 0; k < 8; k++)
        a[k] = _mm512_loadu_pd(rows[k] + at);
    for (int k = 0; k < 8; k += 2) {
        b[k] = _mm512_unpacklo_pd(a[k], a[k + 1]);
        b[k + 1] = _mm512_unpackhi_pd(a[k], a[k + 1]);
    }
    for (int k = 0; k < 2; k++) {
        a[k] = _mm512_shuffle_f64x2(b[k], b[k + 2], 0x88);
        a[k + 2] = _mm512_shuffle_f64x2(b[k], b[k + 2], 0xdd);
        a[k + 4] = _mm512_shuffle_f64x2(b[k + 4], b[k + 6], 0x88);
        a[k + 6] = _mm512_shuffle_f64x2(b[k + 4], b[k + 6], 0xdd);
    }
    for (int k = 0; k < 2; k++) {
        out[k] = _mm512_shuffle_f64x2(a[k], a[k + 4], 0x88);
        out[k + 4] = _mm512_shuffle_f64x2(a[k], a[k + 4], 0xdd);
        out[k + 2] = _mm512_shuffle_f64x2(a[k + 2], a[k + 6], 0x88);
        out[k + 6] = _mm512_shuffle_f64x2(a[k + 2], a[k + 6], 0xdd);
    }
}

/* One home may change phase before this step: x, y, z are the costs of its three phases. */
static inline PBAL_WIDE void pbal_change_wide(pbal_wide *x, pbal_wide *y, pbal_wide *z,
                                              pbal_wide price)
{
    const pbal_wide low = _mm512_min_pd(_mm512_min_pd(*x, *y), *z) + price;

    *x = _mm512_min_pd(*x, low);
    *y = _mm512_min_pd(*y, low);
    *z = _mm512_min_pd(*z, low);
}

/* pbal_pairs for eight pairs; second is [3][8]. At least eight steps. */
static PBAL_WIDE void pbal_pairs_wide(ptrdiff_t steps, double beta, double price,
                                      const double *all_re, const double *all_im,
                                      const double *hr, const double *hi,
                                      const double *hq, const double *hj,
                                      const double *const *gr, const double *const *gi,
                                      const double *const *gq, const double *const *gj,
                                      const double *first, const double *second,
                                      double *least, double *present)
{
    const double turn = 1.7320508075688772 * beta;
    const pbal_wide cost = _mm512_set1_pd(price);
    pbal_wide f[9], re[8], im[8], on_re[8], on_im[8], sum = _mm512_setzero_pd();

    for (int s = 0; s < 9; s++)
        f[s] = first[s / 3] + _mm512_loadu_pd(second + 8 * (s % 3));
    for (ptrdiff_t from = 0; from < steps; from += 8) {
        /* The last block begins earlier where the steps are no multiple of eight. */
        const ptrdiff_t at = from + 8 <= steps ? from : steps - 8;

        for (int k = 0; k < 8; k++) { /* a cache line each */
            _mm_prefetch((const char *)(gr[k] + at + PBAL_AHEAD), _MM_HINT_T0);
            _mm_prefetch((const char *)(gi[k] + at + PBAL_AHEAD), _MM_HINT_T0);
            _mm_prefetch((const char *)(gq[k] + at + PBAL_AHEAD), _MM_HINT_T0);
            _mm_prefetch((const char *)(gj[k] + at + PBAL_AHEAD), _MM_HINT_T0);
        }
        pbal_turn(gr, at, re);
        pbal_turn(gi, at, im);
        pbal_turn(gq, at, on_re);
        pbal_turn(gj, at, on_im);
        for (ptrdiff_t j = from - at; j < 8; j++) {
            const ptrdiff_t t = at + j;
            const double a_re = all_re[t], a_im = all_im[t], h_re = hr[t], h_im = hi[t];
            const double fixed = a_re * a_re + a_im * a_im - h_re * h_re - h_im * h_im;
            const pbal_wide g_re = re[j], g_im = im[j];
            /* What all others carry. */
            const pbal_wide o_re = (a_re - hq[t]) - on_re[j], o_im = (a_im - hj[t]) - on_im[j];
            pbal_wide a, b, one[3], two[3], met[3];

            sum += fixed - o_re * o_re - o_im * o_im;
            sum -= g_re * g_re + g_im * g_im;
            /* Each of the two with them, and with each other. */
            a = beta * (o_re * h_re + o_im * h_im);
            b = turn * (o_re * h_im - o_im * h_re);
            one[0] = a + a, one[1] = b - a, one[2] = -b - a;
            a = beta * (o_re * g_re + o_im * g_im);
            b = turn * (o_re * g_im - o_im * g_re);
            two[0] = a + a, two[1] = b - a, two[2] = -b - a;
            a = beta * (h_re * g_re + h_im * g_im);
            b = turn * (h_im * g_re - h_re * g_im);
            met[0] = a + a, met[1] = b - a, met[2] = -b - a;
            if (t > 0) {
                for (int v = 0; v < 3; v++)
                    pbal_change_wide(&f[v], &f[3 + v], &f[6 + v], cost);
                for (int q = 0; q < 3; q++)
                    pbal_change_wide(&f[3 * q], &f[3 * q + 1], &f[3 * q + 2], cost);
            }
            for (int q = 0; q < 3; q++)
                for (int v = 0; v < 3; v++)
                    f[3 * q + v] += one[q] + two[v] + met[(q - v + 3) % 3];
        }
    }
    for (int s = 1; s < 9; s++)
        f[0] = _mm512_min_pd(f[0], f[s]);
    _mm512_storeu_pd(least, f[0]);
    _mm512_storeu_pd(present, beta * sum);
}

static int pbal_wide_here(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma");
}
#else
#define pbal_pairs_wide pbal_pairs
static int pbal_wide_here(void) { return 0; }
#endif

#endif
