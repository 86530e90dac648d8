# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, nonecheck=False
"""What a move of one home saves, for several homes and many moments at once, and which moves are
better put off by it: the loops behind `waiting.put_off`. test_waiting.py holds what is saved against
the objective.
"""

import numpy as np

cdef extern from "_gains.h" nogil:
    void pbal_met(Py_ssize_t n, Py_ssize_t rows, const double *re, const double *im,
                  const double *weight, double *out_re, double *out_im) noexcept

cdef double _HALF_SQRT3 = 0.86602540378443864676


cdef inline double complex turned(double complex amps, int phase) noexcept nogil:
    """amps * a^-phase"""
    cdef double complex out
    cdef double s = _HALF_SQRT3 if phase == 1 else -_HALF_SQRT3
    if phase == 0:
        return amps
    out.real = -0.5 * amps.real + s * amps.imag
    out.imag = -0.5 * amps.imag - s * amps.real
    return out


cdef struct Moments:
    Py_ssize_t n, rows
    double beta
    const double *ohm            # [n, n, 3], NULL where there is none
    double *re                   # [n, rows], turned as the phases say
    double *im
    double *weight               # [n]
    double *met_re               # [rows]: without resistance, of all homes
    double *met_im


cdef void gain_of(Moments *m, Py_ssize_t h, int was, int to, const signed char *phases,
                  const double complex *amps, Py_ssize_t step, double *out,
                  Py_ssize_t apart) noexcept nogil:
    """What home h saves on phase `to` in place of `was`: out [rows], so far `apart`. amps: its
    current at every moment, so far `step`."""
    cdef Py_ssize_t r, g, side
    cdef int phase, between
    cdef double complex one
    cdef double x, y
    for side in range(2):
        phase = was if side == 0 else to
        if m.ohm != NULL:
            for g in range(m.n):
                between = phase - phases[g]
                between = between if between >= 0 else between + 3
                m.weight[g] = m.beta + m.ohm[3 * (h * m.n + g) + between]
            m.weight[h] = 0.0
            pbal_met(m.n, m.rows, m.re, m.im, m.weight, m.met_re, m.met_im)
        for r in range(m.rows):
            one = turned(amps[r * step], phase)
            x, y = m.met_re[r], m.met_im[r]
            if m.ohm == NULL:       # a home does not meet itself
                x -= m.beta * m.re[h * m.rows + r]
                y -= m.beta * m.im[h * m.rows + r]
            x = 2.0 * (one.real * x + one.imag * y)
            out[r * apart] = x if side == 0 else out[r * apart] - x


cdef void turn_home(Moments *m, Py_ssize_t g, int phase, const double complex *amps) noexcept nogil:
    """Puts a home on a phase at every moment: amps complex[rows, n]."""
    cdef Py_ssize_t r
    cdef double complex one
    for r in range(m.rows):
        one = turned(amps[r * m.n + g], phase)
        m.re[g * m.rows + r], m.im[g * m.rows + r] = one.real, one.imag


cdef void meet_all(Moments *m) noexcept nogil:
    """Without resistance what a home meets is the sum of all, less itself."""
    cdef Py_ssize_t g
    if m.ohm == NULL:
        for g in range(m.n):
            m.weight[g] = m.beta
        pbal_met(m.n, m.rows, m.re, m.im, m.weight, m.met_re, m.met_im)


cdef double[::1] room(Moments *m, Py_ssize_t n, Py_ssize_t rows, double beta, resistance):
    """Scratch for so many homes and moments; it and `resistance` must be kept as long as they are
    used."""
    cdef double[::1] work = np.empty(2 * n * rows + n + 2 * rows + 1)
    cdef const double[:, :, ::1] ohm
    m.n, m.rows, m.beta, m.ohm = n, rows, beta, NULL
    if resistance is not None:
        ohm = resistance
        m.ohm = &ohm[0, 0, 0]
    m.re = &work[0]
    m.im = m.re + n * rows
    m.weight = m.im + n * rows
    m.met_re = m.weight + n
    m.met_im = m.met_re + rows
    return work


def saved(double beta, resistance, const double complex[:, ::1] amps,
          const signed char[::1] phases, const long long[::1] homes,
          const signed char[::1] was, const signed char[::1] to):
    """Cost of homes [k] on phases `was` less that on `to`, each alone: float64[moments, k]. What
    `put_off` weighs, for the tests that hold it against the objective's definition.

    amps: complex[moments, n] A; phases: int8[n], of all, where those of `homes` do not matter.
    resistance: None, or float64[n, n, 3] ohm; beta: weight of the neutral current.
    """
    cdef Py_ssize_t g, k, rows = amps.shape[0], n = amps.shape[1], count = homes.shape[0]
    cdef Moments m
    work = room(&m, n, rows, beta, resistance)
    result = np.empty((rows, count))
    cdef double[:, ::1] out = result
    if not rows or not count:
        return result
    with nogil:
        for g in range(n):
            turn_home(&m, g, phases[g], &amps[0, 0])
        meet_all(&m)
        for k in range(count):
            gain_of(&m, homes[k], was[k], to[k], &phases[0], &amps[0, homes[k]], n, &out[0, k],
                    count)
    return result


def put_off(double beta, resistance, const signed char[::1] start, const signed char[::1] best,
            const double[:, ::1] price, const double complex[:, ::1] soon,
            const double[::1] soon_weights, const double complex[:, :, ::1] later,
            const double[::1] later_weights):
    """`best` without the moves that are better waited for: see waiting.put_off."""
    cdef Py_ssize_t n = start.shape[0], first = soon.shape[0]
    cdef Py_ssize_t ways = later.shape[0], each = later.shape[1]
    cdef Py_ssize_t g, h, k, r, w, i, count = 0, bad, worst, rows = first + ways * each
    cdef double lost, worth
    cdef Moments m
    work = room(&m, n, rows, beta, resistance)
    result, moving = np.array(best), np.flatnonzero(np.not_equal(start, best))
    moments, scratch = np.empty((rows, n), np.complex128), np.empty((2, rows + n))
    cdef signed char[::1] x = result
    cdef Py_ssize_t[::1] left = moving
    cdef double complex[:, ::1] amps = moments
    cdef double *gain = NULL
    cdef double *short_of
    cdef double[:, ::1] held = scratch
    count = left.shape[0]
    if not count:
        return result
    moments[:first], moments[first:] = soon, np.asarray(later).reshape(ways * each, n)
    gain, short_of = &held[0, 0], &held[1, 0]
    with nogil:
        for g in range(n):
            turn_home(&m, g, x[g], &amps[0, 0])
        while count:
            meet_all(&m)
            bad = 0
            for k in range(count):
                h = left[k]
                gain_of(&m, h, start[h], best[h], &x[0], &amps[0, h], n, gain, 1)
                lost = 0.0
                for r in range(first):
                    lost += soon_weights[r] * gain[r]
                short_of[k] = 0.0
                for w in range(ways):
                    worth = 0.0
                    for i in range(each):
                        worth += later_weights[i] * gain[first + w * each + i]
                    worth = price[h, best[h]] - worth
                    short_of[k] += worth if worth > 0.0 else 0.0
                short_of[k] = short_of[k] / <double>ways - lost
                bad += short_of[k] > 0.0
            if not bad:
                break
            # The worst first, a quarter at a time: what is left is judged anew without them.
            for i in range(bad // 4 if bad >= 4 else 1):
                worst = 0
                for k in range(1, count):
                    if short_of[k] > short_of[worst]:
                        worst = k
                h = left[worst]
                x[h] = start[h]
                turn_home(&m, h, x[h], &amps[0, 0])
                count -= 1
                for k in range(worst, count):
                    left[k], short_of[k] = left[k + 1], short_of[k + 1]
    return result
