/* The loops that take the time, written so that a compiler vectorises them. */
#ifndef PBAL_KERNELS_H
#define PBAL_KERNELS_H

#include "_clones.h"

/* a[g] + j b[g] = sum_s conj(own[s]) * i[s][g] for g = first .. n - 1. */
static void PBAL_CLONES pbal_gram_row(ptrdiff_t n, ptrdiff_t first, ptrdiff_t scenarios,
                                      const double *re, const double *im,
                                      const double *own_re, const double *own_im,
                                      double *restrict a, double *restrict b)
{
    for (ptrdiff_t g = first; g < n; g++) {
        a[g] = 0.0;
        b[g] = 0.0;
    }
    for (ptrdiff_t s = 0; s < scenarios; s++) {
        const double *r = re + s * n;
        const double *i = im + s * n;
        const double u = own_re[s];
        const double v = own_im[s];
        for (ptrdiff_t g = first; g < n; g++) {
            a[g] += u * r[g] + v * i[g];
            b[g] += u * i[g] - v * r[g];
        }
    }
}

/* min over c of u[c] + v[c] + w[c]; four running minima so that the loop can be unrolled. */
static double PBAL_CLONES pbal_min_sum3(ptrdiff_t n, const double *u, const double *v,
                                        const double *w)
{
    double low[4] = {1e301, 1e301, 1e301, 1e301};
    ptrdiff_t c = 0;
    for (; c + 4 <= n; c += 4) {
        for (int k = 0; k < 4; k++) {
            const double t = u[c + k] + v[c + k] + w[c + k];
            low[k] = t < low[k] ? t : low[k];
        }
    }
    for (; c < n; c++) {
        const double t = u[c] + v[c] + w[c];
        low[0] = t < low[0] ? t : low[0];
    }
    for (int k = 1; k < 4; k++)
        low[0] = low[k] < low[0] ? low[k] : low[0];
    return low[0];
}

/* min over g of low[g] - k * root[g] */
static double PBAL_CLONES pbal_min_reach(ptrdiff_t n, const double *low, const double *root,
                                         double k)
{
    double least[4] = {1e301, 1e301, 1e301, 1e301};
    ptrdiff_t g = 0;
    for (; g + 4 <= n; g += 4) {
        for (int j = 0; j < 4; j++) {
            const double t = low[g + j] - k * root[g + j];
            least[j] = t < least[j] ? t : least[j];
        }
    }
    for (; g < n; g++) {
        const double t = low[g] - k * root[g];
        least[0] = t < least[0] ? t : least[0];
    }
    for (int j = 1; j < 4; j++)
        least[0] = least[j] < least[0] ? least[j] : least[0];
    return least[0];
}

#endif
