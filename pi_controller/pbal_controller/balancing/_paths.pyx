# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, nonecheck=False
"""Best phase paths through time, one or two homes at once, the others held still.

The parts of the hindsight optimum that take the time: a three-state Viterbi pass, its
nine-state twin for two homes, and a Gibbs draw of a whole path at a temperature. _ways.pxi
has them; here stands the street that they are made for.
"""

from libc.math cimport exp, log
from libc.stdint cimport uint64_t

cdef enum:
    _LANES = 4                   # PBAL_LANES
    _WIDE = 8                    # of pbal_pairs_wide

ctypedef void (*_Valued)(Py_ssize_t steps, double beta, double price,
                         const double *all_re, const double *all_im,
                         const double *hr, const double *hi, const double *hq, const double *hj,
                         const double *const *gr, const double *const *gi,
                         const double *const *gq, const double *const *gj,
                         const double *first, const double *second,
                         double *least, double *present) noexcept nogil

cdef extern from "_pairs_wide.h" nogil:
    int pbal_wide_here() noexcept
    void pbal_pairs(Py_ssize_t steps, double beta, double price,
                    const double *all_re, const double *all_im,
                    const double *hr, const double *hi, const double *hq, const double *hj,
                    const double *const *gr, const double *const *gi,
                    const double *const *gq, const double *const *gj,
                    const double *first, const double *second,
                    double *least, double *present) noexcept
    void pbal_pairs_wide(Py_ssize_t steps, double beta, double price,
                         const double *all_re, const double *all_im,
                         const double *hr, const double *hi, const double *hq, const double *hj,
                         const double *const *gr, const double *const *gi,
                         const double *const *gq, const double *const *gj,
                         const double *first, const double *second,
                         double *least, double *present) noexcept

cdef extern from "_street.h" nogil:
    void pbal_leave(Py_ssize_t steps, double beta, const double *re, const double *im,
                    const double *on_re, const double *on_im, double *sum_re, double *sum_im,
                    double *out) noexcept
    void pbal_leave_two(Py_ssize_t steps, double beta, const double *hr, const double *hi,
                        const double *hq, const double *hj, const double *gr, const double *gi,
                        const double *gq, const double *gj, double *sum_re, double *sum_im,
                        double *first, double *second, double *inter) noexcept
    void pbal_join(Py_ssize_t steps, const double *re, const double *im, const signed char *path,
                   double *on_re, double *on_im, double *sum_re, double *sum_im) noexcept
    Py_ssize_t pbal_switchings(Py_ssize_t steps, const signed char *path, int start) noexcept

cdef extern from "_two.h" nogil:
    enum:
        PBAL_BITS
    int pbal_two_here() noexcept
    void pbal_two(Py_ssize_t steps, const double *c1, const double *c2, const double *inter,
                  double price, int start1, int start2, unsigned char *bits,
                  signed char *path1, signed char *path2) noexcept

include "_ways.pxi"


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
    cdef Py_ssize_t lanes
    cdef bint quad               # pbal_two is there for this machine
    cdef signed char[::1] start
    cdef double beta
    cdef uint64_t rng

    def __init__(self, re, im, paths, start, double beta=1.0, uint64_t seed=1, bint wide=True):
        import numpy as np
        self.re, self.im, self.x, self.start = re, im, paths, start
        self.n, self.steps = self.re.shape[0], self.re.shape[1]
        self.beta = beta
        self.rng = seed
        self.sum_re = np.zeros(self.steps)
        self.sum_im = np.zeros(self.steps)
        # A step more than there are: pbal_two reads four numbers at a time.
        self.c1, self.c2, self.inter = np.zeros((3, self.steps + 1, 3))
        self.alpha = np.zeros((self.steps, 3))
        self.back = np.zeros((self.steps, PBAL_BITS), np.int8)
        self.quad = wide and pbal_two_here()
        self.lanes = _WIDE if wide and self.steps >= _WIDE and pbal_wide_here() else _LANES
        self.on_re = np.zeros((self.n, self.steps))
        self.on_im = np.zeros((self.n, self.steps))
        for h in range(self.n):
            self.join(h)

    cdef void leave(self, Py_ssize_t h) noexcept nogil:
        """Take home h out of the neutral sum; c1 is then what its phases cost."""
        pbal_leave(self.steps, self.beta, &self.re[h, 0], &self.im[h, 0], &self.on_re[h, 0],
                   &self.on_im[h, 0], &self.sum_re[0], &self.sum_im[0], &self.c1[0, 0])

    cdef void join(self, Py_ssize_t h) noexcept nogil:
        """Add home h, on the path it has now, to the neutral sum."""
        pbal_join(self.steps, &self.re[h, 0], &self.im[h, 0], &self.x[h, 0], &self.on_re[h, 0],
                  &self.on_im[h, 0], &self.sum_re[0], &self.sum_im[0])

    def one(self, Py_ssize_t h, double price):
        """Best path of home h, the others as they are."""
        with nogil:
            self.leave(h)
            viterbi(self.steps, &self.c1[0, 0], price, self.start[h], &self.back[0, 0],
                    &self.x[h, 0])
            self.join(h)

    def sample(self, Py_ssize_t h, double price, double temperature):
        """A random path of home h, likelier the cheaper it is."""
        with nogil:
            self.leave(h)
            draw(self.steps, &self.c1[0, 0], price, self.start[h], 1.0 / temperature,
                 &self.rng, &self.alpha[0, 0], &self.x[h, 0])
            self.join(h)

    def two(self, Py_ssize_t h, Py_ssize_t g, double price):
        """Best paths of homes h and g together."""
        with nogil:
            pbal_leave_two(self.steps, self.beta, &self.re[h, 0], &self.im[h, 0],
                           &self.on_re[h, 0], &self.on_im[h, 0], &self.re[g, 0], &self.im[g, 0],
                           &self.on_re[g, 0], &self.on_im[g, 0], &self.sum_re[0],
                           &self.sum_im[0], &self.c1[0, 0], &self.c2[0, 0], &self.inter[0, 0])
            if self.quad:
                pbal_two(self.steps, &self.c1[0, 0], &self.c2[0, 0], &self.inter[0, 0], price,
                         self.start[h], self.start[g], <unsigned char *>&self.back[0, 0],
                         &self.x[h, 0], &self.x[g, 0])
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
        cdef Py_ssize_t lanes = self.lanes
        cdef const double *rows[4][_WIDE]
        cdef double first[3]
        cdef double second[3 * _WIDE]
        cdef double least[_WIDE]
        cdef double present[_WIDE]
        cdef _Valued valued = pbal_pairs_wide if lanes == _WIDE else pbal_pairs
        cdef int q
        while at < count:
            ahead = count - at if count - at < lanes else lanes
            with nogil:
                for q in range(3):
                    first[q] = 0.0 if q == self.start[h] else price
                for k in range(lanes):
                    g = of[at + k] if k < ahead else of[at]
                    rows[0][k], rows[1][k] = &self.re[g, 0], &self.im[g, 0]
                    rows[2][k], rows[3][k] = &self.on_re[g, 0], &self.on_im[g, 0]
                    for q in range(3):
                        second[q * lanes + k] = 0.0 if q == self.start[g] else price
                valued(self.steps, self.beta, price, &self.sum_re[0], &self.sum_im[0],
                       &self.re[h, 0], &self.im[h, 0], &self.on_re[h, 0], &self.on_im[h, 0],
                       rows[0], rows[1], rows[2], rows[3], first, second, least, present)
            for k in range(ahead):
                g = of[at + k]
                present[k] += price * <double>(self.switchings(h) + self.switchings(g))
                if least[k] < present[k] - little:
                    self.two(h, g, price)
                    ahead = k + 1       # what comes after is looked at anew
                    break
            at += ahead

    cdef Py_ssize_t switchings(self, Py_ssize_t h) noexcept nogil:
        return pbal_switchings(self.steps, &self.x[h, 0], self.start[h])

    def total(self, double price):
        """beta sum_t |I_N|^2 + price * switchings."""
        cdef double energy = 0.0
        cdef Py_ssize_t t, h, switchings = 0
        for t in range(self.steps):
            energy += self.sum_re[t] * self.sum_re[t] + self.sum_im[t] * self.sum_im[t]
        for h in range(self.n):
            switchings += self.switchings(h)
        return self.beta * energy + price * <double>switchings
