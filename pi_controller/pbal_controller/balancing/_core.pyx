# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False, nonecheck=False
"""The balancing core: arrays in, phases out, plain C in between.

Everything rests on one array, the Gram array ``C[h, g, d]``: the weighted cost that homes
h and g cause together when home h sits d phases after home g (d = x_h - x_g mod 3). The
cost of an assignment is ``sum_hg C[h, g, x_h - x_g] + sum_h P[h, x_h]``, however many
scenarios went into C. ``C[h, h, :]`` is constant, so a home never disturbs its own field.

``reference.py`` says the same in NumPy, for reading; one set of tests runs on both.
"""

import numpy as np

from libc.math cimport INFINITY, isfinite, sqrt
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef double _HALF_SQRT3 = 0.86602540378443864676
cdef double _EPS = 1e-9          # relative to the cost at the start: smaller gains are rounding
cdef int _UNLIMITED = -1

cdef enum:
    _BAND = 16                   # rows of the Gram array made at a time


cdef extern from "_kernels.h" nogil:
    void pbal_gram_row(Py_ssize_t n, Py_ssize_t first, Py_ssize_t scenarios, const double *re,
                       const double *im, const double *own_re, const double *own_im,
                       double *a, double *b) noexcept
    double pbal_min_sum3(Py_ssize_t n, const double *u, const double *v,
                         const double *w) noexcept
    double pbal_min_reach(Py_ssize_t n, const double *low, const double *root,
                          double k) noexcept

include "_state.pxi"
include "_search.pxi"
include "_exact.pxi"


def build_gram(currents, weights, double beta=1.0, resistance=None, out=None):
    """Gram array of scenarios: float64[n, n, 3].

    currents: complex[S, n] ampere, each referred to the home's own phase voltage.
    weights: float[S], zero or more. beta: weight of |I_N|^2 (1 with no feeder model: A^2; ohm with one).
    resistance: None, or float[n, n, 3] ohm, Re(Z) between homes by relative phase.
    out: an array to fill and return; fresh pages cost a third of the build at 1000 homes.
    Raises ValueError where shapes do not fit.
    """
    amps = np.asarray(currents, np.complex128)
    if amps.ndim != 2:
        raise ValueError("currents: expected an array of shape (scenarios, homes)")
    each = np.asarray(weights, np.float64)
    if each.shape != amps.shape[:1]:
        raise ValueError(f"weights: expected {amps.shape[0]} values, got shape {each.shape}")
    cdef const double complex[:, :] drawn = amps
    cdef const double[:] weight = each
    cdef Py_ssize_t scenarios = drawn.shape[0]
    cdef Py_ssize_t n = drawn.shape[1]
    cdef bint with_r = resistance is not None
    cdef const double[:, :, ::1] r
    if with_r:
        resistance = np.ascontiguousarray(resistance, np.float64)
        if resistance.shape != (n, n, 3):
            raise ValueError(f"resistance: expected shape {(n, n, 3)}, got {resistance.shape}")
        r = resistance
    if out is None:
        out = np.empty((n, n, 3))
    elif out.shape != (n, n, 3):
        raise ValueError(f"out: expected shape {(n, n, 3)}, got {out.shape}")
    if n == 0:
        return out
    cdef double[:, :, ::1] gram = out
    # Rows are made a band at a time, so that the mirrored halves are written in runs.
    cdef double[::1] work = np.empty(2 * _BAND * n + 2 * scenarios * (n + 1) + 2)
    cdef double *a = &work[0]
    cdef double *b = a + _BAND * n
    cdef double *own_re = b + _BAND * n
    cdef double *own_im = own_re + scenarios
    cdef double *re = own_im + scenarios     # [scenarios, n], times the root of the weight
    cdef double *im = re + scenarios * n
    cdef Py_ssize_t h, g, s, k, first, rows
    cdef double c0, c1, c2, t
    with nogil:
        for s in range(scenarios):
            t = sqrt(weight[s])
            for g in range(n):
                re[s * n + g] = drawn[s, g].real * t
                im[s * n + g] = drawn[s, g].imag * t
        first = 0
        while first < n:
            rows = n - first if n - first < _BAND else _BAND
            for k in range(rows):
                for s in range(scenarios):
                    own_re[s] = re[s * n + first + k]
                    own_im[s] = im[s * n + first + k]
                pbal_gram_row(n, first, scenarios, re, im, own_re, own_im, a + k * n, b + k * n)
            for k in range(rows):
                h = first + k
                for g in range(first, n):
                    # a + jb = sum_s conj(i_h) i_g; turned by a^d, d = x_h - x_g.
                    c0 = a[k * n + g]
                    t = _HALF_SQRT3 * b[k * n + g]
                    c1 = -0.5 * c0 - t
                    c2 = -0.5 * c0 + t
                    gram[h, g, 0] = c0 * (beta + r[h, g, 0]) if with_r else beta * c0
                    gram[h, g, 1] = c1 * (beta + r[h, g, 1]) if with_r else beta * c1
                    gram[h, g, 2] = c2 * (beta + r[h, g, 2]) if with_r else beta * c2
            for g in range(first + rows, n):
                for k in range(rows):
                    h = first + k
                    c0 = a[k * n + g]
                    t = _HALF_SQRT3 * b[k * n + g]
                    c1 = -0.5 * c0 - t
                    c2 = -0.5 * c0 + t
                    # C[g, h, d] = C[h, g, -d]
                    gram[g, h, 0] = c0 * (beta + r[g, h, 0]) if with_r else beta * c0
                    gram[g, h, 1] = c2 * (beta + r[g, h, 1]) if with_r else beta * c2
                    gram[g, h, 2] = c1 * (beta + r[g, h, 2]) if with_r else beta * c1
            for k in range(rows):
                h = first + k
                gram[h, h, 1] = gram[h, h, 2] = gram[h, h, 0]
            first += _BAND
    return out


cdef class _Arrays:
    """Owns the arrays one solve points into."""

    cdef Problem p
    cdef object keep

    cdef int load(self, gram, phases, price, limit_currents, limits_a,
                  Py_ssize_t max_moves) except -1:
        """Check and take in what `solve` was given; raises ValueError where it does not fit."""
        gram = np.ascontiguousarray(gram, np.float64)
        cdef const double[:, :, ::1] c = gram
        cdef Py_ssize_t n = c.shape[0]
        if c.shape[1] != n or c.shape[2] != 3:
            raise ValueError("gram: expected shape (n, n, 3)")
        start = np.ascontiguousarray(phases, np.int8)
        if start.shape != (n,):
            raise ValueError(f"phases: expected {n} values")
        cost = np.ascontiguousarray(price, np.float64)
        if cost.shape != (n, 3):
            raise ValueError(f"price: expected shape {(n, 3)}, got {cost.shape}")
        work = start.copy()
        field = np.empty((n, 3))
        cdef const signed char[::1] now = start
        cdef signed char[::1] x = work
        cdef const double[:, ::1] pr = cost
        cdef double[:, ::1] f = field
        cdef Py_ssize_t h
        for h in range(n):
            if now[h] < 0 or now[h] > 2:
                raise ValueError("phases: every home must be on 0, 1 or 2")
            if not isfinite(pr[h, now[h]]):
                raise ValueError("price: staying where one is must have a finite price")
        self.keep = [gram, start, work, cost, field]
        self.p.n = n
        self.p.limit_rows = 0
        self.p.max_moves = max_moves
        self.p.moved = 0
        self.p.eps = 0.0
        self.p.excess = self.p.excess_allowed = 0.0
        self.p.end_s = INFINITY
        if n == 0:
            return 0
        self.p.gram = &c[0, 0, 0]
        self.p.price = &pr[0, 0]
        self.p.x = &x[0]
        self.p.x_now = &now[0]
        self.p.field = &f[0, 0]
        if limit_currents is not None and limits_a is not None:
            self.limit(limit_currents, limits_a)
        refresh(&self.p)
        if self.p.limit_rows:
            self.p.excess = excess_after(&self.p, 0, NULL, NULL)
            self.p.excess_allowed = self.p.excess * (1.0 + 1e-12)
        return 0

    cdef int limit(self, currents, limits_a) except -1:
        """Take in the phase limits: currents complex[R, n] A, limits one or three, A."""
        currents = np.atleast_2d(np.asarray(currents, np.complex128))
        if currents.shape[1] != self.p.n:
            raise ValueError(f"limit_currents: expected {self.p.n} homes")
        cdef Py_ssize_t rows = currents.shape[0]
        if rows == 0:
            return 0
        lre, lim = np.ascontiguousarray(currents.real), np.ascontiguousarray(currents.imag)
        squared = np.square(np.broadcast_to(np.asarray(limits_a, np.float64), 3))
        sums = np.zeros((2, rows, 3))
        cdef const double[:, ::1] re = lre
        cdef const double[:, ::1] im = lim
        cdef const double[::1] a2 = squared
        cdef double[:, :, ::1] ph = sums
        self.keep += [lre, lim, squared, sums]
        self.p.limit_rows = rows
        self.p.limit_re = &re[0, 0]
        self.p.limit_im = &im[0, 0]
        self.p.phase_re = &ph[0, 0, 0]
        self.p.phase_im = &ph[1, 0, 0]
        self.p.limit_a2 = &a2[0]
        return 0

    cdef phases(self):
        return self.keep[2]


def fields(gram, phases, homes=None):
    """Field F[h, q] = sum_g C[h, g, (q - x_g) mod 3]: float64[n, 3], or of these homes alone.

    homes: int[k], each 0 to n - 1. Raises ValueError where shapes or values do not fit.
    """
    cdef const double[:, :, ::1] c = np.ascontiguousarray(gram, np.float64)
    cdef const signed char[::1] x = np.ascontiguousarray(phases, np.int8)
    cdef Py_ssize_t n = x.shape[0]
    if c.shape[0] != n or c.shape[1] != n or c.shape[2] != 3:
        raise ValueError("gram: expected shape (n, n, 3)")
    if n and (np.min(phases) < 0 or np.max(phases) > 2):
        raise ValueError("phases: every home must be on 0, 1 or 2")
    of = np.arange(n, dtype=np.intp) if homes is None else np.ascontiguousarray(homes, np.intp)
    cdef const Py_ssize_t[::1] wanted = of
    if wanted.shape[0] and (of.min() < 0 or of.max() >= n):
        raise ValueError(f"homes: expected homes 0 to {n - 1}")
    out = np.empty((wanted.shape[0], 3))
    cdef double[:, ::1] field = out
    cdef Py_ssize_t k
    for k in range(wanted.shape[0]):
        field_of(n, &c[wanted[k], 0, 0], &x[0], &field[k, 0])
    return out


def cost(gram, phases, price):
    """Cost of an assignment int8[n]: the Gram sum plus the prices float[n, 3] of its phases."""
    cdef _Arrays a = _Arrays()
    a.load(gram, phases, price, None, None, _UNLIMITED)
    return total_cost(&a.p) if a.p.n else 0.0


def solve(gram, phases, price, *, Py_ssize_t max_moves=-1, limit_currents=None, limits_a=None,
          Py_ssize_t restarts=20, double budget_s=-1.0, uint64_t seed=1):
    """Search from ``phases``; returns (phases int8[n], cost before, cost after, kicks made).

    price: float[n, 3], cost of each home on each phase; infinity forbids (a fixed home).
    max_moves: at most so many homes end elsewhere than they began; -1 for any number.
    limit_currents complex[R, n] A and limits_a [3] A: |sum of a phase| in each row stays
    within its limit; where it is over at the start, the excess is first brought down and
    never grows. restarts: kicks at most, any number where it is negative. budget_s: seconds at
    most from the call on, whatever it is doing then; only the first look at the whole Gram array
    and the relief of an excess are never cut short. Without a budget the answer is a function
    of the seed. Raises ValueError where shapes or values do not fit.
    """
    cdef double began_s = now_s()
    cdef _Arrays a = _Arrays()
    a.load(gram, phases, price, limit_currents, limits_a, max_moves)
    cdef Problem *p = &a.p
    cdef Py_ssize_t n = p.n
    if n == 0:
        return np.zeros(0, np.int8), 0.0, 0.0, 0
    cdef double before = total_cost(p)
    cdef double after
    cdef Py_ssize_t kicks, h, rows = p.limit_rows if p.limit_rows > 1 else 1
    cdef Kept best
    phases_kept = np.empty(n, np.int8)
    scratch = np.empty(5 * n + 6 * rows)
    moved = np.empty(n, np.intp)
    cdef signed char[::1] x = phases_kept
    cdef double[::1] work = scratch
    cdef Py_ssize_t[::1] homes = moved
    cdef double[::1] spreads
    cdef double *low = &work[0]
    cdef double *root = low + n
    best.x = &x[0]
    best.field = root + n
    best.phase_re = best.field + 3 * n
    best.phase_im = best.phase_re + 3 * rows
    p.eps = _EPS * (abs(before) if abs(before) > 1e-3 else 1e-3)
    # |i_h| in the Gram's own norm bounds what two moves can do to each other; only there
    # where the cost is a pure phasor cost.
    p.pure = _neutral_only(p)
    if p.pure:
        for h in range(n):
            root[h] = sqrt(abs(p.gram[3 * (h * n + h)]))
    else:
        apart = np.empty(n * n)
        spreads = apart
        p.spreads = &spreads[0]
        reaches(p, p.spreads, root)
    with nogil:
        if budget_s >= 0.0:
            p.end_s = began_s + budget_s
        relieve(p)
        kicks = search(p, restarts, seed, &best, low, root, &homes[0])
        after = total_cost(p)
    return a.phases(), before, after, kicks


cdef bint _neutral_only(const Problem *p) noexcept nogil:
    """True when C[h, g, :] sums to zero off the diagonal: a pure phasor cost.

    A few rows tell: resistances are nowhere the same for all relative phases. Were it
    wrong, pairs would be overlooked, nothing else.
    """
    cdef Py_ssize_t n = p.n
    cdef Py_ssize_t h, g, k
    cdef const double *c
    cdef double total
    for k in range(8):
        h = k * n // 8
        for g in range(n):
            if g != h:
                c = p.gram + 3 * (h * n + g)
                total = c[0] + c[1] + c[2]
                if total * total > 1e-18 * p.gram[3 * (h * n + h)] * p.gram[3 * (g * n + g)] + 1e-30:
                    return False
    return True


def best_of(gram, phases, price, Py_ssize_t k, *, limit_currents=None, limits_a=None):
    """The proven best of at most k <= 3 moves: (phases int8[n], cost before, cost after).

    price and limits as in `solve`; an excess may not grow, but is not brought down at any price.
    Memory: 32 n^2 bytes. Raises ValueError where something does not fit, and MemoryError.
    """
    if not 1 <= k <= 3:
        raise ValueError("best_of: k must be 1, 2 or 3")
    cdef _Arrays a = _Arrays()
    a.load(gram, phases, price, limit_currents, limits_a, k)
    cdef Problem *p = &a.p
    cdef Py_ssize_t n = p.n
    if n == 0:
        return np.zeros(0, np.int8), 0.0, 0.0
    cdef double before = total_cost(p)
    p.eps = _EPS * (abs(before) if abs(before) > 1e-3 else 1e-3)
    cdef Py_ssize_t h, m = 0
    cdef int q
    cdef Py_ssize_t *home = <Py_ssize_t *>malloc(<size_t>(2 * n) * sizeof(Py_ssize_t))
    cdef int *to = <int *>malloc(<size_t>(2 * n) * sizeof(int))
    cdef double *own = <double *>malloc(<size_t>(6 * n) * sizeof(double))
    cdef double *inter = <double *>malloc(<size_t>(4 * n * n) * sizeof(double))
    cdef Py_ssize_t chosen[3]
    cdef Py_ssize_t i
    try:
        if home == NULL or to == NULL or own == NULL or inter == NULL:
            raise MemoryError("best_of: too many homes for an exact search")
        with nogil:
            for h in range(n):
                for q in range(3):
                    if q != p.x[h] and p.price[3 * h + q] < INFINITY:
                        home[m] = h
                        to[m] = q
                        own[m] = move_delta(p, h, q)
                        m += 1
            exact3(p, k, m, home, to, own, inter, own + 2 * n, own + 4 * n, chosen)
            for i in range(3):
                if chosen[i] >= 0:
                    apply_move(p, home[chosen[i]], to[chosen[i]])
            refresh(p)
        return a.phases(), before, total_cost(p)
    finally:
        free(home)
        free(to)
        free(own)
        free(inter)
