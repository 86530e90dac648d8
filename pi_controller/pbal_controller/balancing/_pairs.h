/* Two homes' best paths through time, valued for several pairs at once.
 *
 * Every statement is a loop over the pairs, so that a compiler makes each of them a few wide
 * instructions. Compiled for several machines as _kernels.h says.
 */
#ifndef PBAL_PAIRS_H
#define PBAL_PAIRS_H

#include "_clones.h"

/* How many pairs are looked at together. */
#define PBAL_LANES 4
#define EACH_LANE for (int k = 0; k < PBAL_LANES; k++)

typedef double pbal_lanes[PBAL_LANES];

/* The four phase costs' parts of one current in another's field: 2 a, b - a and -b - a. */
static inline void pbal_three(const double *a, const double *b, pbal_lanes *out)
{
    EACH_LANE out[0][k] = 2.0 * a[k];
    EACH_LANE out[1][k] = b[k] - a[k];
    EACH_LANE out[2][k] = -b[k] - a[k];
}

/* One home may change phase before this step: x, y, z are the costs of its three phases. */
static inline void pbal_change(double *x, double *y, double *z, double price)
{
    pbal_lanes low;
    EACH_LANE low[k] = x[k] < y[k] ? x[k] : y[k];
    EACH_LANE low[k] = low[k] < z[k] ? low[k] : z[k];
    EACH_LANE low[k] += price;
    EACH_LANE x[k] = x[k] < low[k] ? x[k] : low[k];
    EACH_LANE y[k] = y[k] < low[k] ? y[k] : low[k];
    EACH_LANE z[k] = z[k] < low[k] ? z[k] : low[k];
}

/* The least cost of two homes' paths, for pairs that share their first home, and what the paths
 * that they are on cost without their switchings. Both leave out what depends on neither path.
 *
 * all: the sum of all homes; hr, hi: the first home's current, hq, hj: the same turned as it is on
 * now; gr, gi, gq, gj: the second homes'. first [3], second [3][lanes]: cost of the phases before
 * step 0. For each pair the nine costs of a step are those of viterbi2 in _ways.pxi.
 */
static void PBAL_CLONES pbal_pairs(ptrdiff_t steps, double beta, double price,
                                   const double *all_re, const double *all_im,
                                   const double *hr, const double *hi,
                                   const double *hq, const double *hj,
                                   const double *const *gr, const double *const *gi,
                                   const double *const *gq, const double *const *gj,
                                   const double *first, const double *second,
                                   double *least, double *present)
{
    const double turn = 1.7320508075688772 * beta;
    pbal_lanes f[9], one[3], two[3], met[3], sum;
    pbal_lanes g_re, g_im, o_re, o_im, a, b;

    EACH_LANE sum[k] = 0.0;
    for (int s = 0; s < 9; s++)
        EACH_LANE f[s][k] = first[s / 3] + second[PBAL_LANES * (s % 3) + k];
    for (ptrdiff_t t = 0; t < steps; t++) {
        const double a_re = all_re[t], a_im = all_im[t], h_re = hr[t], h_im = hi[t];
        const double without_re = a_re - hq[t], without_im = a_im - hj[t];
        const double fixed = a_re * a_re + a_im * a_im - h_re * h_re - h_im * h_im;

        EACH_LANE g_re[k] = gr[k][t];
        EACH_LANE g_im[k] = gi[k][t];
        /* What all others carry. */
        EACH_LANE o_re[k] = without_re - gq[k][t];
        EACH_LANE o_im[k] = without_im - gj[k][t];
        EACH_LANE sum[k] += fixed - o_re[k] * o_re[k] - o_im[k] * o_im[k];
        EACH_LANE sum[k] -= g_re[k] * g_re[k] + g_im[k] * g_im[k];
        /* Each of the two with them, and with each other. */
        EACH_LANE a[k] = beta * (o_re[k] * h_re + o_im[k] * h_im);
        EACH_LANE b[k] = turn * (o_re[k] * h_im - o_im[k] * h_re);
        pbal_three(a, b, one);
        EACH_LANE a[k] = beta * (o_re[k] * g_re[k] + o_im[k] * g_im[k]);
        EACH_LANE b[k] = turn * (o_re[k] * g_im[k] - o_im[k] * g_re[k]);
        pbal_three(a, b, two);
        EACH_LANE a[k] = beta * (h_re * g_re[k] + h_im * g_im[k]);
        EACH_LANE b[k] = turn * (h_im * g_re[k] - h_re * g_im[k]);
        pbal_three(a, b, met);
        if (t > 0) {
            for (int v = 0; v < 3; v++)
                pbal_change(f[v], f[3 + v], f[6 + v], price);
            for (int q = 0; q < 3; q++)
                pbal_change(f[3 * q], f[3 * q + 1], f[3 * q + 2], price);
        }
        for (int q = 0; q < 3; q++)
            for (int v = 0; v < 3; v++)
                EACH_LANE f[3 * q + v][k] += one[q][k] + two[v][k] + met[(q - v + 3) % 3][k];
    }
    EACH_LANE least[k] = f[0][k];
    for (int s = 1; s < 9; s++)
        EACH_LANE least[k] = f[s][k] < least[k] ? f[s][k] : least[k];
    EACH_LANE present[k] = beta * sum[k];
}

#endif
