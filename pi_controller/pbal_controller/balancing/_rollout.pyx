# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, nonecheck=False
"""What would happen next if we did this now: the simple rule played through sampled futures.

For each candidate assignment and each sampled future, minute by minute: the neutral
current is squared and added up, and the simple rule (move the home that saves most, if it
saves more than a threshold) reacts as it would, at its price. All candidates meet the same
futures, so their difference carries little noise.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memcpy


cdef inline void turned(double r, double i, int q, double *out_r, double *out_i) noexcept nogil:
    # (r + j i) a^-q
    cdef double s = 0.86602540378443864676
    if q == 0:
        out_r[0] = r
        out_i[0] = i
    elif q == 1:
        out_r[0] = -0.5 * r + s * i
        out_i[0] = -0.5 * i - s * r
    else:
        out_r[0] = -0.5 * r - s * i
        out_i[0] = -0.5 * i + s * r


cdef double play(Py_ssize_t n, Py_ssize_t steps, const float *re, const float *im,
                 signed char *x, short *hold, double threshold, double price,
                 short dwell, const double *weight) noexcept nogil:
    """Cost of one future. re, im: [steps, n]; hold [n]: steps until a home may move again."""
    cdef double s = 0.86602540378443864676
    cdef double total = 0.0
    cdef double nr, ni, a, b, r, i, best, delta, u, v
    cdef double p0r, p0i, p1r, p1i, p2r, p2i
    cdef Py_ssize_t t, h, best_h
    cdef int q, best_q = 0, x0, d
    for t in range(steps):
        p0r = p0i = p1r = p1i = p2r = p2i = 0.0
        for h in range(n):
            r = re[t * n + h]
            i = im[t * n + h]
            if x[h] == 0:
                p0r += r
                p0i += i
            elif x[h] == 1:
                p1r += r
                p1i += i
            else:
                p2r += r
                p2i += i
        nr = p0r - 0.5 * (p1r + p2r) + s * (p1i - p2i)
        ni = p0i - 0.5 * (p1i + p2i) - s * (p1r - p2r)
        # |N - e + e a^-d|^2 - |N|^2 with e the home's present share
        best = -threshold
        best_h = -1
        if nr * nr + ni * ni > threshold:
            for h in range(n):
                if hold[h] > 0:
                    continue
                turned(re[t * n + h], im[t * n + h], x[h], &r, &i)
                # k = conj(N) e; moving by d adds 2 Re(k (a^-d - 1)) + 3 |e|^2
                a = nr * r + ni * i
                b = nr * i - ni * r
                u = 3.0 * (r * r + i * i) - 3.0 * a
                v = 2.0 * s * b
                if v >= 0.0:
                    delta = u - v
                    d = 2
                else:
                    delta = u + v
                    d = 1
                if delta < best:
                    best = delta
                    best_h = h
                    best_q = d
        total += weight[t] * (nr * nr + ni * ni)
        if best_h >= 0:
            total += weight[t] * (best + price)
            x0 = x[best_h] + best_q
            x[best_h] = <signed char>(x0 - 3 if x0 >= 3 else x0)
            hold[best_h] = dwell
        for h in range(n):
            if hold[h] > 0:
                hold[h] -= 1
    return total


def rollouts(const float[:, :, ::1] re, const float[:, :, ::1] im,
             const signed char[:, ::1] candidates, const short[:, ::1] hold,
             double threshold, double price, short dwell, const double[::1] weight,
             double[:, ::1] out):
    """out[c, m] = cost of candidate c in future m.

    re, im: float32[M, steps, n]. candidates: int8[C, n]. hold: int16[C, n] steps.
    weight: float64[steps], discount of each step.
    """
    cdef Py_ssize_t futures = re.shape[0], steps = re.shape[1], n = re.shape[2]
    cdef Py_ssize_t count = candidates.shape[0]
    cdef Py_ssize_t c, m
    cdef signed char *x = <signed char *>malloc(<size_t>n)
    cdef short *left = <short *>malloc(<size_t>n * sizeof(short))
    if x == NULL or left == NULL:
        free(x)
        free(left)
        raise MemoryError("rollouts")
    with nogil:
        for c in range(count):
            for m in range(futures):
                memcpy(x, &candidates[c, 0], <size_t>n)
                memcpy(left, &hold[c, 0], <size_t>n * sizeof(short))
                out[c, m] = play(n, steps, &re[m, 0, 0], &im[m, 0, 0], x, left, threshold,
                                 price, dwell, &weight[0])
    free(x)
    free(left)
