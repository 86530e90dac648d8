# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, nonecheck=False
"""Best phase paths through time, one or two homes at once, the others held still.

The parts of the hindsight optimum that take the time: a three-state Viterbi pass, its
nine-state twin for two homes, and a Gibbs draw of a whole path at a temperature. All
three minimise (or sample) ``sum_t cost[t, x_t] + sum_t price * [x_t != x_(t-1)]`` with
x_(-1) given.
"""

from libc.math cimport exp, log
from libc.stdint cimport uint64_t

cdef enum:
    _LANES = 4                   # PBAL_LANES

cdef extern from "_pairs.h" nogil:
    void pbal_pairs(Py_ssize_t steps, double beta, double price,
                    const double *all_re, const double *all_im,
                    const double *hr, const double *hi, const double *hq, const double *hj,
                    const double *const *gr, const double *const *gi,
                    const double *const *gq, const double *const *gj,
                    const double *first, const double *second,
                    double *least, double *present) noexcept


cdef inline uint64_t next_random(uint64_t *state) noexcept nogil:
    cdef uint64_t z
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    z = state[0]
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline double uniform(uint64_t *state) noexcept nogil:
    return <double>(next_random(state) >> 11) * (1.0 / 9007199254740992.0)


cdef double viterbi(Py_ssize_t steps, const double *cost, double price, int start,
                    signed char *back, signed char *path) noexcept nogil:
    cdef double f[3]
    cdef double low, stay
    cdef Py_ssize_t t
    cdef int q, arg
    for q in range(3):
        f[q] = 0.0 if q == start else price
    for t in range(steps):
        if t > 0:
            arg = 0
            if f[1] < f[arg]:
                arg = 1
            if f[2] < f[arg]:
                arg = 2
            low = f[arg] + price
            for q in range(3):
                if low < f[q]:
                    f[q] = low
                    back[3 * t + q] = <signed char>arg
                else:
                    back[3 * t + q] = <signed char>q
        for q in range(3):
            f[q] += cost[3 * t + q]
    arg = 0
    if f[1] < f[arg]:
        arg = 1
    if f[2] < f[arg]:
        arg = 2
    low = f[arg]
    for t in range(steps - 1, -1, -1):
        path[t] = <signed char>arg
        if t > 0:
            arg = back[3 * t + arg]
    return low


cdef double viterbi2(Py_ssize_t steps, const double *c1, const double *c2, const double *inter,
                     double price, int start1, int start2, signed char *back,
                     signed char *path1, signed char *path2) noexcept nogil:
    """inter [steps, 3]: what the two cost each other when the first sits d after the second."""
    cdef double f[9]
    cdef double g[9]
    cdef signed char via[9]
    cdef double low
    cdef Py_ssize_t t
    cdef int q, v, arg, s, d
    for q in range(3):
        for v in range(3):
            f[3 * q + v] = (0.0 if q == start1 else price) + (0.0 if v == start2 else price)
    for t in range(steps):
        if t > 0:
            for v in range(3):          # first home moves
                arg = 0
                if f[3 + v] < f[3 * arg + v]:
                    arg = 1
                if f[6 + v] < f[3 * arg + v]:
                    arg = 2
                low = f[3 * arg + v] + price
                for q in range(3):
                    s = 3 * q + v
                    if low < f[s]:
                        g[s] = low
                        via[s] = <signed char>arg
                    else:
                        g[s] = f[s]
                        via[s] = <signed char>q
            for q in range(3):          # then the second
                arg = 0
                if g[3 * q + 1] < g[3 * q + arg]:
                    arg = 1
                if g[3 * q + 2] < g[3 * q + arg]:
                    arg = 2
                low = g[3 * q + arg] + price
                for v in range(3):
                    s = 3 * q + v
                    if low < g[s]:
                        f[s] = low
                        back[9 * t + s] = <signed char>(3 * via[3 * q + arg] + arg)
                    else:
                        f[s] = g[s]
                        back[9 * t + s] = <signed char>(3 * via[s] + v)
        for q in range(3):
            for v in range(3):
                d = q - v
                if d < 0:
                    d += 3
                f[3 * q + v] += c1[3 * t + q] + c2[3 * t + v] + inter[3 * t + d]
    s = 0
    for q in range(1, 9):
        if f[q] < f[s]:
            s = q
    low = f[s]
    for t in range(steps - 1, -1, -1):
        path1[t] = <signed char>(s // 3)
        path2[t] = <signed char>(s % 3)
        if t > 0:
            s = back[9 * t + s]
    return low


cdef void draw(Py_ssize_t steps, const double *cost, double price, int start, double cold,
               uint64_t *rng, double *alpha, signed char *path) noexcept nogil:
    """One path from exp(-cold * cost): filter forwards, draw backwards.

    alpha [steps, 3] holds minus the logarithm of the filtered weights, so that nothing
    underflows however cold it gets.
    """
    cdef double step = cold * price
    cdef double w = exp(-step)
    cdef double low, total, u, direct
    cdef double f[3]
    cdef double e[3]
    cdef Py_ssize_t t
    cdef int q, last
    for q in range(3):
        f[q] = 0.0 if q == start else step
    for t in range(steps):
        if t > 0:
            low = f[0]
            if f[1] < low:
                low = f[1]
            if f[2] < low:
                low = f[2]
            for q in range(3):
                e[q] = exp(low - f[q])
            total = e[0] + e[1] + e[2]
            for q in range(3):
                u = e[q] + w * (total - e[q])
                if u > 1e-200:
                    f[q] = -log(u)
                else:           # so cold that only the best way here counts
                    direct = f[q] - low
                    f[q] = direct if direct < step else step
        for q in range(3):
            f[q] += cold * cost[3 * t + q]
            alpha[3 * t + q] = f[q]
    last = -1
    for t in range(steps - 1, -1, -1):
        for q in range(3):
            f[q] = alpha[3 * t + q] + (step if last >= 0 and q != last else 0.0)
        low = f[0]
        if f[1] < low:
            low = f[1]
        if f[2] < low:
            low = f[2]
        for q in range(3):
            e[q] = exp(low - f[q])
        u = uniform(rng) * (e[0] + e[1] + e[2])
        last = 0 if u < e[0] else (1 if u < e[0] + e[1] else 2)
        path[t] = <signed char>last


cdef inline double soft_step(double f0, double low, double rest, double e, double w,
                             double step) noexcept nogil:
    # One state's filtered cost after a step in which it may have been switched into.
    cdef double u = e + w * rest
    cdef double direct
    if u > 1e-200:
        return low - log(u)
    direct = f0 - low
    return low + (direct if direct < step else step)


cdef void draw2(Py_ssize_t steps, const double *c1, const double *c2, const double *inter,
                double price, int start1, int start2, double cold, uint64_t *rng,
                double *alpha, signed char *path1, signed char *path2) noexcept nogil:
    """Two paths at once from exp(-cold * cost); alpha [steps, 9]."""
    cdef double step = cold * price
    cdef double w = exp(-step)
    cdef double f[9]
    cdef double e[9]
    cdef double low, total, u, x
    cdef Py_ssize_t t
    cdef int q, v, d, s, last1, last2
    for q in range(3):
        for v in range(3):
            f[3 * q + v] = (0.0 if q == start1 else step) + (0.0 if v == start2 else step)
    for t in range(steps):
        if t > 0:
            for v in range(3):
                low = f[v]
                if f[3 + v] < low:
                    low = f[3 + v]
                if f[6 + v] < low:
                    low = f[6 + v]
                total = 0.0
                for q in range(3):
                    e[q] = exp(low - f[3 * q + v])
                    total += e[q]
                for q in range(3):
                    f[3 * q + v] = soft_step(f[3 * q + v], low, total - e[q], e[q], w, step)
            for q in range(3):
                low = f[3 * q]
                if f[3 * q + 1] < low:
                    low = f[3 * q + 1]
                if f[3 * q + 2] < low:
                    low = f[3 * q + 2]
                total = 0.0
                for v in range(3):
                    e[v] = exp(low - f[3 * q + v])
                    total += e[v]
                for v in range(3):
                    f[3 * q + v] = soft_step(f[3 * q + v], low, total - e[v], e[v], w, step)
        for q in range(3):
            for v in range(3):
                d = q - v
                if d < 0:
                    d += 3
                s = 3 * q + v
                f[s] += cold * (c1[3 * t + q] + c2[3 * t + v] + inter[3 * t + d])
                alpha[9 * t + s] = f[s]
    last1 = last2 = -1
    for t in range(steps - 1, -1, -1):
        low = 1e300
        for s in range(9):
            x = alpha[9 * t + s]
            if last1 >= 0:
                x += (step if s // 3 != last1 else 0.0) + (step if s % 3 != last2 else 0.0)
            f[s] = x
            if x < low:
                low = x
        total = 0.0
        for s in range(9):
            e[s] = exp(low - f[s])
            total += e[s]
        u = uniform(rng) * total
        s = 0
        while s < 8 and u >= e[s]:
            u -= e[s]
            s += 1
        last1 = s // 3
        last2 = s % 3
        path1[t] = <signed char>last1
        path2[t] = <signed char>last2


# ---------------------------------------------------------------------------- doors

cdef class Street:
    """Currents of n homes over T steps and the paths they are on now.

    re, im: float64[n, T] ampere, own-phase reference. paths: int8[n, T], changed in place.
    The neutral sum is kept as homes come and go.
    """

    cdef Py_ssize_t n, steps
    cdef const double[:, ::1] re
    cdef const double[:, ::1] im
    cdef signed char[:, ::1] x
    cdef double[::1] sum_re
    cdef double[::1] sum_im
    cdef double[:, ::1] on_re    # each home's current, turned as its path says
    cdef double[:, ::1] on_im
    cdef double[:, ::1] c1
    cdef double[:, ::1] c2
    cdef double[:, ::1] inter
    cdef double[:, ::1] alpha
    cdef signed char[:, ::1] back
    cdef signed char[::1] start
    cdef double beta
    cdef uint64_t rng

    def __init__(self, re, im, paths, start, double beta=1.0, uint64_t seed=1):
        import numpy as np
        self.re, self.im, self.x, self.start = re, im, paths, start
        self.n, self.steps = self.re.shape[0], self.re.shape[1]
        self.beta = beta
        self.rng = seed
        self.sum_re = np.zeros(self.steps)
        self.sum_im = np.zeros(self.steps)
        self.c1 = np.zeros((self.steps, 3))
        self.c2 = np.zeros((self.steps, 3))
        self.inter = np.zeros((self.steps, 3))
        self.alpha = np.zeros((self.steps, 9))
        self.back = np.zeros((self.steps, 9), np.int8)
        self.on_re = np.zeros((self.n, self.steps))
        self.on_im = np.zeros((self.n, self.steps))
        for h in range(self.n):
            self.join(h)

    cdef void leave(self, Py_ssize_t h) noexcept nogil:
        """Take home h out of the neutral sum."""
        cdef Py_ssize_t t
        for t in range(self.steps):
            self.sum_re[t] -= self.on_re[h, t]
            self.sum_im[t] -= self.on_im[h, t]

    cdef void join(self, Py_ssize_t h) noexcept nogil:
        """Add home h, on the path it has now, to the neutral sum."""
        cdef double s = 0.86602540378443864676
        cdef Py_ssize_t t
        cdef double r, i
        cdef int q
        for t in range(self.steps):
            r = self.re[h, t]
            i = self.im[h, t]
            q = self.x[h, t]
            if q == 1:        # times a^-1 = -1/2 - j s
                self.on_re[h, t] = -0.5 * r + s * i
                self.on_im[h, t] = -0.5 * i - s * r
            elif q == 2:
                self.on_re[h, t] = -0.5 * r - s * i
                self.on_im[h, t] = -0.5 * i + s * r
            else:
                self.on_re[h, t] = r
                self.on_im[h, t] = i
            self.sum_re[t] += self.on_re[h, t]
            self.sum_im[t] += self.on_im[h, t]

    cdef void costs(self, Py_ssize_t h, double *out) noexcept nogil:
        """2 beta Re(conj(rest) i_h a^-q) for every step and phase."""
        cdef double s = 0.86602540378443864676
        cdef Py_ssize_t t
        cdef double a, b, r, i
        for t in range(self.steps):
            r = self.re[h, t]
            i = self.im[h, t]
            a = self.beta * (self.sum_re[t] * r + self.sum_im[t] * i)
            b = 2.0 * s * self.beta * (self.sum_re[t] * i - self.sum_im[t] * r)
            out[3 * t] = 2.0 * a
            out[3 * t + 1] = -a + b
            out[3 * t + 2] = -a - b

    def one(self, Py_ssize_t h, double price):
        """Best path of home h, the others as they are."""
        with nogil:
            self.leave(h)
            self.costs(h, &self.c1[0, 0])
            viterbi(self.steps, &self.c1[0, 0], price, self.start[h], &self.back[0, 0],
                    &self.x[h, 0])
            self.join(h)

    def sample(self, Py_ssize_t h, double price, double temperature):
        """A random path of home h, likelier the cheaper it is."""
        with nogil:
            self.leave(h)
            self.costs(h, &self.c1[0, 0])
            draw(self.steps, &self.c1[0, 0], price, self.start[h], 1.0 / temperature,
                 &self.rng, &self.alpha[0, 0], &self.x[h, 0])
            self.join(h)

    def two(self, Py_ssize_t h, Py_ssize_t g, double price, double temperature=0.0):
        """Best paths of homes h and g together; at a temperature, a random draw of both."""
        cdef double s = 0.86602540378443864676
        cdef Py_ssize_t t
        cdef double a, b
        with nogil:
            self.leave(h)
            self.leave(g)
            self.costs(h, &self.c1[0, 0])
            self.costs(g, &self.c2[0, 0])
            for t in range(self.steps):
                a = self.beta * (self.re[h, t] * self.re[g, t] + self.im[h, t] * self.im[g, t])
                b = self.beta * (self.re[h, t] * self.im[g, t] - self.im[h, t] * self.re[g, t])
                self.inter[t, 0] = 2.0 * a
                self.inter[t, 1] = -a - 2.0 * s * b
                self.inter[t, 2] = -a + 2.0 * s * b
            if temperature > 0.0:
                draw2(self.steps, &self.c1[0, 0], &self.c2[0, 0], &self.inter[0, 0], price,
                      self.start[h], self.start[g], 1.0 / temperature, &self.rng,
                      &self.alpha[0, 0], &self.x[h, 0], &self.x[g, 0])
            else:
                viterbi2(self.steps, &self.c1[0, 0], &self.c2[0, 0], &self.inter[0, 0], price,
                         self.start[h], self.start[g], &self.back[0, 0], &self.x[h, 0],
                         &self.x[g, 0])
            self.join(h)
            self.join(g)

    def pairs(self, Py_ssize_t h, partners, double price, double little):
        """Best paths of home h and each partner in turn together, where both gain more than
        `little` by it: the same as `two` with one after the other.

        partners: int64[k]. Most gain nothing. So that is found out for some of them at once,
        without keeping the ways, and only a pair that gains is solved as `two` does.
        """
        cdef const long long[::1] of = partners
        cdef Py_ssize_t k, g, at = 0, count = of.shape[0], ahead
        cdef const double *rows[4][_LANES]
        cdef double first[3]
        cdef double second[3][_LANES]
        cdef double least[_LANES]
        cdef double present[_LANES]
        cdef int q
        while at < count:
            ahead = count - at if count - at < _LANES else _LANES
            with nogil:
                for q in range(3):
                    first[q] = 0.0 if q == self.start[h] else price
                for k in range(_LANES):
                    g = of[at + k] if k < ahead else of[at]
                    rows[0][k], rows[1][k] = &self.re[g, 0], &self.im[g, 0]
                    rows[2][k], rows[3][k] = &self.on_re[g, 0], &self.on_im[g, 0]
                    for q in range(3):
                        second[q][k] = 0.0 if q == self.start[g] else price
                pbal_pairs(self.steps, self.beta, price, &self.sum_re[0], &self.sum_im[0],
                           &self.re[h, 0], &self.im[h, 0], &self.on_re[h, 0], &self.on_im[h, 0],
                           rows[0], rows[1], rows[2], rows[3], first, &second[0][0],
                           least, present)
            for k in range(ahead):
                g = of[at + k]
                present[k] += price * <double>(self.switchings(h) + self.switchings(g))
                if least[k] < present[k] - little:
                    self.two(h, g, price)
                    ahead = k + 1       # what comes after is looked at anew
                    break
            at += ahead

    cdef Py_ssize_t switchings(self, Py_ssize_t h) noexcept nogil:
        cdef Py_ssize_t t, count = self.x[h, 0] != self.start[h]
        for t in range(1, self.steps):
            count += self.x[h, t] != self.x[h, t - 1]
        return count

    def total(self, double price):
        """beta sum_t |I_N|^2 + price * switchings."""
        cdef double energy = 0.0
        cdef Py_ssize_t t, h, switchings = 0
        for t in range(self.steps):
            energy += self.sum_re[t] * self.sum_re[t] + self.sum_im[t] * self.sum_im[t]
        for h in range(self.n):
            switchings += self.switchings(h)
        return self.beta * energy + price * <double>switchings
