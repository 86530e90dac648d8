/* What loads of constant power draw, and impedances above their voltage band: the loop in which a
 * study's power flow spends its time. Complex numbers are pairs, real part first.
 */
#ifndef PBAL_LOADS_H
#define PBAL_LOADS_H

#include "_clones.h"

/* conj(S / v) of n loads at once; where |v|^2 is over high [n], conj(S) v above [n]. Returns how
 * many are below low [n], of which what it wrote is not to be used. */
static ptrdiff_t PBAL_CLONES_EXACT pbal_constant_power(ptrdiff_t n, const double *power,
                                                       const double *v, const double *low,
                                                       const double *high, const double *above,
                                                       double *restrict out)
{
    double below = 0.0;

    for (ptrdiff_t k = 0; k < n; k++) {
        const double p = power[2 * k], q = power[2 * k + 1], x = v[2 * k], y = v[2 * k + 1];
        const double square = x * x + y * y;
        const double each = square > high[k] ? above[k] : 1.0 / square;

        below += square < low[k] ? 1.0 : 0.0;
        out[2 * k] = each * (p * x + q * y);
        out[2 * k + 1] = each * (p * y - q * x);
    }
    return (ptrdiff_t)below;
}

/* Of how many of n numbers |a - b|^2 is not below a limit; what is no number is not. */
static ptrdiff_t PBAL_CLONES_EXACT pbal_apart(ptrdiff_t n, const double *a, const double *b,
                                              double limit)
{
    double count = 0.0;

    for (ptrdiff_t k = 0; k < n; k++) {
        const double x = a[2 * k] - b[2 * k], y = a[2 * k + 1] - b[2 * k + 1];

        count += x * x + y * y < limit ? 0.0 : 1.0;
    }
    return (ptrdiff_t)count;
}

/* Takes sum_k current[k] z[k][j] off v[j], j = 0 .. n - 1; z in two parts. */
static void PBAL_CLONES_EXACT pbal_drop(ptrdiff_t n, const double *current, const double *z_re,
                                        const double *z_im, double *restrict v_re,
                                        double *restrict v_im)
{
    for (ptrdiff_t k = 0; k < n; k++) {
        const double p = current[2 * k], q = current[2 * k + 1];
        const double *r = z_re + k * n, *x = z_im + k * n;

        for (ptrdiff_t j = 0; j < n; j++) {
            v_re[j] -= p * r[j] - q * x[j];
            v_im[j] -= p * x[j] + q * r[j];
        }
    }
}

#endif
