/* A home's current taken out of the neutral sum of all steps and put back, and what its phases cost.
 *
 * Compiled for several machines as _clones.h says, but everywhere without fused multiplications: a
 * search over paths is to end the same on every x86-64 machine.
 */
#ifndef PBAL_STREET_H
#define PBAL_STREET_H

#include "_clones.h"

static const double pbal_half_sqrt3 = 0.86602540378443864676;

/* 2 beta Re(conj(rest) i a^-q) for the phases q: what a current costs beside the rest. */
static inline void pbal_phase_costs(double beta, double rest_re, double rest_im, double re,
                                    double im, double *out)
{
    const double a = beta * (rest_re * re + rest_im * im);
    const double b = 2.0 * pbal_half_sqrt3 * beta * (rest_re * im - rest_im * re);

    out[0] = 2.0 * a;
    out[1] = -a + b;
    out[2] = -a - b;
}

/* Takes a home out of the sum and tells what its phases cost then, out [steps, 3]. re, im: its
 * current; on_re, on_im: the same turned as it is on now. */
static void PBAL_CLONES_EXACT pbal_leave(ptrdiff_t steps, double beta, const double *re,
                                         const double *im, const double *on_re,
                                         const double *on_im, double *restrict sum_re,
                                         double *restrict sum_im, double *restrict out)
{
    for (ptrdiff_t t = 0; t < steps; t++) {
        sum_re[t] -= on_re[t];
        sum_im[t] -= on_im[t];
        pbal_phase_costs(beta, sum_re[t], sum_im[t], re[t], im[t], out + 3 * t);
    }
}

/* The same for homes h and g together; inter [steps, 3]: what they cost each other when h sits d
 * phases after g. */
static void PBAL_CLONES_EXACT pbal_leave_two(
    ptrdiff_t steps, double beta, const double *hr, const double *hi, const double *hq,
    const double *hj, const double *gr, const double *gi, const double *gq, const double *gj,
    double *restrict sum_re, double *restrict sum_im, double *restrict first,
    double *restrict second, double *restrict inter)
{
    for (ptrdiff_t t = 0; t < steps; t++) {
        const double a = beta * (hr[t] * gr[t] + hi[t] * gi[t]);
        const double b = beta * (hr[t] * gi[t] - hi[t] * gr[t]);

        sum_re[t] = sum_re[t] - hq[t] - gq[t];
        sum_im[t] = sum_im[t] - hj[t] - gj[t];
        pbal_phase_costs(beta, sum_re[t], sum_im[t], hr[t], hi[t], first + 3 * t);
        pbal_phase_costs(beta, sum_re[t], sum_im[t], gr[t], gi[t], second + 3 * t);
        inter[3 * t] = 2.0 * a;
        inter[3 * t + 1] = -a - 2.0 * pbal_half_sqrt3 * b;
        inter[3 * t + 2] = -a + 2.0 * pbal_half_sqrt3 * b;
    }
}

/* Adds a home, on the path it has now, to the sum. */
static void PBAL_CLONES_EXACT pbal_join(ptrdiff_t steps, const double *re, const double *im,
                                        const signed char *path, double *restrict on_re,
                                        double *restrict on_im, double *restrict sum_re,
                                        double *restrict sum_im)
{
    for (ptrdiff_t t = 0; t < steps; t++) { /* times a^-q */
        const double along = path[t] == 0 ? 1.0 : -0.5;
        const double across = path[t] == 0   ? 0.0
                              : path[t] == 1 ? pbal_half_sqrt3
                                             : -pbal_half_sqrt3;

        on_re[t] = along * re[t] + across * im[t];
        on_im[t] = along * im[t] - across * re[t];
        sum_re[t] += on_re[t];
        sum_im[t] += on_im[t];
    }
}

/* How often a path changes phase. */
static ptrdiff_t PBAL_CLONES_EXACT pbal_switchings(ptrdiff_t steps, const signed char *path,
                                                   int start)
{
    ptrdiff_t count = path[0] != start;

    for (ptrdiff_t from = 1; from < steps; from += 128) { /* a block is counted in bytes */
        const ptrdiff_t to = from + 128 < steps ? from + 128 : steps;
        unsigned char some = 0;

        for (ptrdiff_t t = from; t < to; t++)
            some = (unsigned char)(some + (path[t] != path[t - 1]));
        count += some;
    }
    return count;
}

#endif
