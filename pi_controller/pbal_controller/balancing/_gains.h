/* What some loads carry together, at many moments at once. */
#ifndef PBAL_GAINS_H
#define PBAL_GAINS_H

#include "_clones.h"

/* out[r] = sum_g weight[g] * (re[g][r] + j im[g][r]) for r = 0 .. rows - 1. */
static void PBAL_CLONES pbal_met(ptrdiff_t n, ptrdiff_t rows, const double *re, const double *im,
                                 const double *weight, double *restrict out_re,
                                 double *restrict out_im)
{
    for (ptrdiff_t r = 0; r < rows; r++)
        out_re[r] = out_im[r] = 0.0;
    for (ptrdiff_t g = 0; g < n; g++) {
        const double w = weight[g];
        const double *x = re + g * rows;
        const double *y = im + g * rows;
        if (w == 0.0)
            continue;
        for (ptrdiff_t r = 0; r < rows; r++) {
            out_re[r] += w * x[r];
            out_im[r] += w * y[r];
        }
    }
}

#endif
