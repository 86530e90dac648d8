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

from libc.math cimport INFINITY, sqrt
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


# ---------------------------------------------------------------------------- state

cdef struct Problem:
    Py_ssize_t n
    const double *gram           # [n, n, 3]
    const double *price          # [n, 3]; infinity forbids
    signed char *x               # [n] phases now, while searching
    const signed char *x_now     # [n] phases at the start: what counts as a moved home
    double *field                # [n, 3]
    Py_ssize_t limit_rows        # 0: no phase limits
    const double *limit_re       # [rows, n]
    const double *limit_im
    double *phase_re             # [rows, 3] sums of the present assignment
    double *phase_im
    const double *limit_a2       # [3] squared
    double excess                # present excess over the limits, A^2
    double excess_allowed
    Py_ssize_t moved
    Py_ssize_t max_moves
    double eps


cdef inline int mod3(int value) noexcept nogil:
    # value in -2 .. 5
    if value < 0:
        return <int>(value + 3)
    if value >= 3:
        return <int>(value - 3)
    return value


cdef inline double move_delta(const Problem *p, Py_ssize_t h, int q) noexcept nogil:
    cdef const double *f = p.field + 3 * h
    cdef const double *c = p.price + 3 * h
    return 2.0 * (f[q] - f[p.x[h]]) + c[q] - c[p.x[h]]


cdef inline double pair_delta(const Problem *p, Py_ssize_t h, int q, Py_ssize_t g,
                              int v) noexcept nogil:
    # What the two moves do to each other, beyond the sum of their own deltas.
    cdef const double *c = p.gram + 3 * (h * p.n + g)
    cdef int x = p.x[h]
    cdef int u = p.x[g]
    return 2.0 * (c[mod3(q - v)] - c[mod3(q - u)] - c[mod3(x - v)] + c[mod3(x - u)])


cdef double excess_after(const Problem *p, Py_ssize_t n_moves, const Py_ssize_t *home,
                         const int *to) noexcept nogil:
    """Excess over the phase limits if these moves were made, A^2 summed over rows."""
    cdef double total = 0.0
    cdef double re[3]
    cdef double im[3]
    cdef double over
    cdef Py_ssize_t r, k, h
    cdef int q
    for r in range(p.limit_rows):
        for q in range(3):
            re[q] = p.phase_re[3 * r + q]
            im[q] = p.phase_im[3 * r + q]
        for k in range(n_moves):
            h = home[k]
            re[p.x[h]] -= p.limit_re[r * p.n + h]
            im[p.x[h]] -= p.limit_im[r * p.n + h]
            re[to[k]] += p.limit_re[r * p.n + h]
            im[to[k]] += p.limit_im[r * p.n + h]
        for q in range(3):
            over = re[q] * re[q] + im[q] * im[q] - p.limit_a2[q]
            if over > 0.0:
                total += over
    return total


cdef inline bint allowed(const Problem *p, Py_ssize_t n_moves, const Py_ssize_t *home,
                         const int *to) noexcept nogil:
    if p.limit_rows == 0:
        return True
    return excess_after(p, n_moves, home, to) <= p.excess_allowed


cdef inline Py_ssize_t moved_after(const Problem *p, Py_ssize_t h, int q) noexcept nogil:
    return (1 if q != p.x_now[h] else 0) - (1 if p.x[h] != p.x_now[h] else 0)


cdef void apply_move(Problem *p, Py_ssize_t h, int q) noexcept nogil:
    cdef int x = p.x[h]
    cdef Py_ssize_t g, r, k
    cdef const double *c
    cdef double *f
    cdef int d0, d1, d2, e0, e1, e2
    if x == q:
        return
    # C[g, h, r - q] = C[h, g, q - r]: walk along home h's own row, which is contiguous.
    d0, d1, d2 = mod3(q), mod3(q - 1), mod3(q - 2)
    e0, e1, e2 = mod3(x), mod3(x - 1), mod3(x - 2)
    for g in range(p.n):
        c = p.gram + 3 * (h * p.n + g)
        f = p.field + 3 * g
        f[0] += c[d0] - c[e0]
        f[1] += c[d1] - c[e1]
        f[2] += c[d2] - c[e2]
    p.moved += moved_after(p, h, q)
    for r in range(p.limit_rows):
        k = r * p.n + h
        p.phase_re[3 * r + x] -= p.limit_re[k]
        p.phase_im[3 * r + x] -= p.limit_im[k]
        p.phase_re[3 * r + q] += p.limit_re[k]
        p.phase_im[3 * r + q] += p.limit_im[k]
    p.x[h] = <signed char>q


cdef void refresh(Problem *p) noexcept nogil:
    """Field, phase sums and moved count from scratch, for the phases in p.x."""
    cdef Py_ssize_t h, g, r
    cdef int q
    cdef const double *c
    cdef double f0, f1, f2
    cdef int turn[5]
    # C[h, g, (r - q) mod 3] stands at turn[r + 2 - q]
    turn[0] = 1
    turn[1] = 2
    turn[2] = 0
    turn[3] = 1
    turn[4] = 2
    p.moved = 0
    for h in range(p.n):
        f0 = f1 = f2 = 0.0
        c = p.gram + 3 * h * p.n
        for g in range(p.n):
            q = p.x[g]
            f0 += c[3 * g + turn[2 - q]]
            f1 += c[3 * g + turn[3 - q]]
            f2 += c[3 * g + turn[4 - q]]
        p.field[3 * h] = f0
        p.field[3 * h + 1] = f1
        p.field[3 * h + 2] = f2
        if p.x[h] != p.x_now[h]:
            p.moved += 1
    for r in range(p.limit_rows):
        for q in range(3):
            p.phase_re[3 * r + q] = 0.0
            p.phase_im[3 * r + q] = 0.0
        for h in range(p.n):
            p.phase_re[3 * r + p.x[h]] += p.limit_re[r * p.n + h]
            p.phase_im[3 * r + p.x[h]] += p.limit_im[r * p.n + h]


cdef double total_cost(const Problem *p) noexcept nogil:
    cdef double total = 0.0
    cdef Py_ssize_t h
    for h in range(p.n):
        total += p.field[3 * h + p.x[h]] + p.price[3 * h + p.x[h]]
    return total


# ---------------------------------------------------------------------------- search

cdef bint best_move(Problem *p) noexcept nogil:
    """Make the best single move; False when none gains."""
    cdef double best = -p.eps
    cdef double delta
    cdef Py_ssize_t h, best_h = -1
    cdef int q, best_q = 0
    for h in range(p.n):
        for q in range(3):
            if q == p.x[h]:
                continue
            delta = move_delta(p, h, q)
            if delta < best:
                if p.max_moves >= 0 and p.moved + moved_after(p, h, q) > p.max_moves:
                    continue
                if not allowed(p, 1, &h, &q):
                    continue
                best, best_h, best_q = delta, h, q
    if best_h < 0:
        return False
    apply_move(p, best_h, best_q)
    return True


cdef bint improve_pairs(Problem *p, double *low, double *root) noexcept nogil:
    """One pass of pair moves (a swap is one kind): for each home its best partner
    among those after it.

    ``low`` [n] and ``root`` [n] are scratch. The interaction of two moves is at least
    -6 |i_h| |i_g| in the Gram's own norm when C is neutral-only, and no pass is made over
    partners that cannot reach a gain; with a resistance array the bound is skipped
    (root holds infinity).
    """
    cdef Py_ssize_t h, g, best_g, m
    cdef int q, v, best_q = 0, best_v = 0
    cdef double best, delta, d_h, low_all, need
    cdef Py_ssize_t homes[2]
    cdef int to[2]
    cdef bint any_gain = False
    for h in range(p.n):
        low[h] = INFINITY
        for q in range(3):
            if q != p.x[h]:
                delta = move_delta(p, h, q)
                if delta < low[h]:
                    low[h] = delta
    for h in range(p.n):
        if low[h] == INFINITY:
            continue
        best = -p.eps
        best_g = -1
        if low[h] + pbal_min_reach(p.n - h - 1, low + h + 1, root + h + 1,
                                   6.0 * root[h]) >= best:
            continue
        for g in range(h + 1, p.n):
            if low[h] + low[g] - 6.0 * root[h] * root[g] >= best:
                continue
            for q in range(3):
                if q == p.x[h]:
                    continue
                d_h = move_delta(p, h, q)
                for v in range(3):
                    if v == p.x[g]:
                        continue
                    delta = d_h + move_delta(p, g, v) + pair_delta(p, h, q, g, v)
                    if delta < best:
                        if p.max_moves >= 0:
                            m = p.moved + moved_after(p, h, q) + moved_after(p, g, v)
                            if m > p.max_moves:
                                continue
                        homes[0], homes[1] = h, g
                        to[0], to[1] = q, v
                        if not allowed(p, 2, homes, to):
                            continue
                        best, best_g, best_q, best_v = delta, g, q, v
        if best_g >= 0:
            apply_move(p, h, best_q)
            apply_move(p, best_g, best_v)
            any_gain = True
            for g in range(p.n):
                low[g] = INFINITY
                for q in range(3):
                    if q != p.x[g]:
                        delta = move_delta(p, g, q)
                        if delta < low[g]:
                            low[g] = delta
    return any_gain


cdef void descend(Problem *p, double *low, double *root) noexcept nogil:
    while True:
        while best_move(p):
            pass
        if not improve_pairs(p, low, root):
            return


cdef void relieve(Problem *p) noexcept nogil:
    """While a phase is over its limit: the move that takes most excess away."""
    cdef Py_ssize_t h, best_h
    cdef int q, best_q = 0
    cdef double now, best, after
    while p.limit_rows > 0:
        now = excess_after(p, 0, NULL, NULL)
        if now <= 0.0:
            break
        best = now * (1.0 - 1e-9)
        best_h = -1
        for h in range(p.n):
            for q in range(3):
                if q == p.x[h] or p.price[3 * h + q] == INFINITY:
                    continue
                if p.max_moves >= 0 and p.moved + moved_after(p, h, q) > p.max_moves:
                    continue
                after = excess_after(p, 1, &h, &q)
                if after < best:
                    best, best_h, best_q = after, h, q
        if best_h < 0:
            break
        apply_move(p, best_h, best_q)
    p.excess = excess_after(p, 0, NULL, NULL) if p.limit_rows > 0 else 0.0
    p.excess_allowed = p.excess * (1.0 + 1e-12)


cdef inline uint64_t next_random(uint64_t *state) noexcept nogil:
    # splitmix64 (Steele, Lea, Flood 2014): one word of state, good enough for kicks.
    cdef uint64_t z
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    z = state[0]
    z = (z ^ (z >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * <uint64_t>0x94D049BB133111EB
    return z ^ (z >> 31)


cdef inline Py_ssize_t random_below(uint64_t *state, Py_ssize_t n) noexcept nogil:
    return <Py_ssize_t>(next_random(state) % <uint64_t>n)


cdef double now_s() noexcept nogil:
    cdef timespec ts
    clock_gettime(CLOCK_MONOTONIC, &ts)
    return <double>ts.tv_sec + 1e-9 * <double>ts.tv_nsec


cdef void kick(Problem *p, uint64_t *rng, Py_ssize_t strength) noexcept nogil:
    cdef Py_ssize_t k, h
    cdef int q
    for k in range(strength):
        h = random_below(rng, p.n)
        q = mod3(p.x[h] + 1 + <int>random_below(rng, 2))
        if p.price[3 * h + q] == INFINITY:
            continue
        if p.max_moves >= 0 and p.moved + moved_after(p, h, q) > p.max_moves:
            continue
        if allowed(p, 1, &h, &q):
            apply_move(p, h, q)


cdef Py_ssize_t search(Problem *p, Py_ssize_t restarts, double budget_s, uint64_t seed,
                       signed char *best_x, double *low, double *root) noexcept nogil:
    """Descent, then kicks and descents from the best so far; returns the kicks made."""
    cdef double end = now_s() + budget_s
    cdef double best, cost
    cdef uint64_t rng = seed
    cdef Py_ssize_t done = 0
    cdef size_t size = <size_t>p.n
    descend(p, low, root)
    best = total_cost(p)
    memcpy(best_x, p.x, size)
    while restarts < 0 or done < restarts:
        if budget_s >= 0.0 and now_s() >= end:
            break
        if restarts < 0 and budget_s < 0.0:
            break
        kick(p, &rng, 2 + random_below(&rng, 5))
        descend(p, low, root)
        cost = total_cost(p)
        if cost < best - p.eps:
            best = cost
            memcpy(best_x, p.x, size)
        elif cost > best + p.eps or next_random(&rng) & 1:
            memcpy(p.x, best_x, size)
            refresh(p)
        done += 1
    return done


# ---------------------------------------------------------------------------- exact

cdef double exact3(Problem *p, Py_ssize_t k, Py_ssize_t m, const Py_ssize_t *home,
                   const int *to, const double *own, double *inter, double *reach,
                   double *cross, Py_ssize_t *chosen) noexcept nogil:
    """Best set of at most k <= 3 of the m candidate moves, by bounded enumeration.

    inter [m, m] gets the pair terms. reach[a] = min_c own_c + inter_ac and
    cross[a] = min_c inter_ac bound what any third move can still add.
    """
    cdef Py_ssize_t a, b, c
    cdef double best = -p.eps
    cdef double d, bound, two
    cdef double *ra
    cdef double *rb
    cdef Py_ssize_t homes[3]
    cdef int dest[3]
    chosen[0] = chosen[1] = chosen[2] = -1
    for a in range(m):
        for b in range(m):
            if home[a] == home[b]:
                inter[a * m + b] = 1e300
            else:
                inter[a * m + b] = pair_delta(p, home[a], to[a], home[b], to[b])
    for a in range(m):
        ra = inter + a * m
        reach[a] = cross[a] = 1e300
        for c in range(m):
            if ra[c] < cross[a]:
                cross[a] = ra[c]
            if own[c] + ra[c] < reach[a]:
                reach[a] = own[c] + ra[c]
        if own[a] < best:
            homes[0], dest[0] = home[a], to[a]
            if allowed(p, 1, homes, dest):
                best = own[a]
                chosen[0], chosen[1], chosen[2] = a, -1, -1
    if k < 2:
        return best
    for a in range(m):
        ra = inter + a * m
        for b in range(a + 1, m):
            d = own[a] + own[b] + ra[b]
            if d < best:
                homes[0], homes[1] = home[a], home[b]
                dest[0], dest[1] = to[a], to[b]
                if allowed(p, 2, homes, dest):
                    best = d
                    chosen[0], chosen[1], chosen[2] = a, b, -1
    if k < 3:
        return best
    for a in range(m):
        ra = inter + a * m
        for b in range(a + 1, m):
            two = own[a] + own[b] + ra[b]
            bound = reach[a] + cross[b]
            if reach[b] + cross[a] > bound:
                bound = reach[b] + cross[a]
            if two + bound >= best:
                continue
            rb = inter + b * m
            # The lowest value first, in a loop the compiler can vectorise; who it was after.
            if two + pbal_min_sum3(m - b - 1, own + b + 1, ra + b + 1, rb + b + 1) >= best:
                continue
            for c in range(b + 1, m):
                d = two + own[c] + ra[c] + rb[c]
                if d < best:
                    homes[0], homes[1], homes[2] = home[a], home[b], home[c]
                    dest[0], dest[1], dest[2] = to[a], to[b], to[c]
                    if allowed(p, 3, homes, dest):
                        best = d
                        chosen[0], chosen[1], chosen[2] = a, b, c
    return best


# ---------------------------------------------------------------------------- Python doors

def build_gram(currents, weights, double beta=1.0, resistance=None, out=None):
    """Gram array of scenarios: float64[n, n, 3].

    currents: complex[S, n] ampere, each referred to the home's own phase voltage.
    weights: float[S]. beta: weight of |I_N|^2 (1 with no feeder model: A^2; ohm with one).
    resistance: None, or float[n, n, 3] ohm, Re(Z) between homes by relative phase.
    out: an array to fill and return; fresh pages cost a third of the build at 1000 homes.
    """
    root = np.sqrt(np.asarray(weights, np.float64))[:, None]
    scaled = np.asarray(currents, np.complex128) * root
    if scaled.ndim != 2:
        raise ValueError("currents: expected an array of shape (scenarios, homes)")
    cdef double[:, ::1] re = np.ascontiguousarray(scaled.real)
    cdef double[:, ::1] im = np.ascontiguousarray(scaled.imag)
    cdef Py_ssize_t scenarios = re.shape[0]
    cdef Py_ssize_t n = re.shape[1]
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
    cdef double[::1] work = np.empty(2 * _BAND * n + 2 * scenarios + 2)
    cdef double *a = &work[0]
    cdef double *b = a + _BAND * n
    cdef double *own_re = b + _BAND * n
    cdef double *own_im = own_re + scenarios
    cdef Py_ssize_t h, g, s, k, first, rows
    cdef double c0, c1, c2, t
    with nogil:
        first = 0
        while first < n:
            rows = n - first if n - first < _BAND else _BAND
            for k in range(rows):
                for s in range(scenarios):
                    own_re[s] = re[s, first + k]
                    own_im[s] = im[s, first + k]
                if scenarios > 0:
                    pbal_gram_row(n, first, scenarios, &re[0, 0], &im[0, 0], own_re, own_im,
                                  a + k * n, b + k * n)
                else:
                    for g in range(n):
                        a[k * n + g] = b[k * n + g] = 0.0
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
        gram = np.ascontiguousarray(gram, np.float64)
        cdef const double[:, :, ::1] c = gram
        cdef Py_ssize_t n = c.shape[0]
        if c.shape[1] != n or c.shape[2] != 3:
            raise ValueError("gram: expected shape (n, n, 3)")
        start = np.ascontiguousarray(phases, np.int8)
        if start.shape != (n,):
            raise ValueError(f"phases: expected {n} values")
        if n and (start.min() < 0 or start.max() > 2):
            raise ValueError("phases: every home must be on 0, 1 or 2")
        cost = np.ascontiguousarray(price, np.float64)
        if cost.shape != (n, 3):
            raise ValueError(f"price: expected shape {(n, 3)}, got {cost.shape}")
        if n and not np.isfinite(cost[np.arange(n), start]).all():
            raise ValueError("price: staying where one is must have a finite price")
        work = start.copy()
        cdef const signed char[::1] now = start
        cdef signed char[::1] x = work
        cdef const double[:, ::1] pr = cost
        field = np.empty((n, 3))
        cdef double[:, ::1] f = field
        rows = 0
        if limit_currents is not None and limits_a is not None:
            limit_currents = np.atleast_2d(np.asarray(limit_currents, np.complex128))
            if limit_currents.shape[1] != n:
                raise ValueError(f"limit_currents: expected {n} homes")
            rows = limit_currents.shape[0]
        lre = np.ascontiguousarray(limit_currents.real) if rows else np.zeros((1, 1))
        lim = np.ascontiguousarray(limit_currents.imag) if rows else np.zeros((1, 1))
        squared = np.square(np.broadcast_to(np.asarray(limits_a if rows else 0.0, np.float64), 3))
        squared = np.ascontiguousarray(squared)
        sums = np.zeros((2, max(rows, 1), 3))
        cdef const double[:, ::1] re = lre
        cdef const double[:, ::1] im = lim
        cdef const double[::1] a2 = squared
        cdef double[:, :, ::1] ph = sums
        self.keep = (gram, start, work, cost, field, lre, lim, squared, sums)
        self.p.n = n
        self.p.limit_rows = rows
        self.p.max_moves = max_moves
        self.p.moved = 0
        self.p.eps = 0.0
        if n:
            self.p.gram = &c[0, 0, 0]
            self.p.price = &pr[0, 0]
            self.p.x = &x[0]
            self.p.x_now = &now[0]
            self.p.field = &f[0, 0]
            self.p.limit_re = &re[0, 0]
            self.p.limit_im = &im[0, 0]
            self.p.phase_re = &ph[0, 0, 0]
            self.p.phase_im = &ph[1, 0, 0]
            self.p.limit_a2 = &a2[0]
            refresh(&self.p)
            self.p.excess = excess_after(&self.p, 0, NULL, NULL) if rows else 0.0
            self.p.excess_allowed = self.p.excess * (1.0 + 1e-12)
        return 0

    cdef phases(self):
        return self.keep[2]

    cdef fields(self):
        return self.keep[4]


def fields(gram, phases):
    """Field F[h, q] = sum_g C[h, g, (q - x_g) mod 3]: float64[n, 3]."""
    cdef _Arrays a = _Arrays()
    a.load(gram, phases, np.zeros((len(phases), 3)), None, None, _UNLIMITED)
    return a.fields()


def cost(gram, phases, price):
    """Cost of an assignment: the Gram sum plus the prices of the phases chosen."""
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
    never grows. restarts / budget_s: kicks, or seconds; with restarts alone the answer is
    a function of the seed.
    """
    cdef _Arrays a = _Arrays()
    a.load(gram, phases, price, limit_currents, limits_a, max_moves)
    cdef Problem *p = &a.p
    cdef Py_ssize_t n = p.n
    if n == 0:
        return np.zeros(0, np.int8), 0.0, 0.0, 0
    cdef double before = total_cost(p)
    cdef double after
    cdef Py_ssize_t kicks, h
    best = np.empty(n, np.int8)
    scratch = np.empty((2, n))
    cdef signed char[::1] best_x = best
    cdef double[:, ::1] work = scratch
    p.eps = _EPS * (abs(before) if abs(before) > 1e-3 else 1e-3)
    # |i_h| in the Gram's own norm bounds what two moves can do to each other; only there
    # where the cost is a pure phasor cost.
    cdef bint pure = _neutral_only(p)
    for h in range(n):
        work[1, h] = sqrt(abs(p.gram[3 * (h * n + h)])) if pure else INFINITY
    with nogil:
        relieve(p)
        kicks = search(p, restarts, budget_s, seed, &best_x[0], &work[0, 0], &work[1, 0])
        if kicks > 0:
            memcpy(p.x, &best_x[0], <size_t>n)
            refresh(p)
        after = total_cost(p)
    return best, before, after, kicks


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
    """The proven best of at most k <= 3 moves: (phases int8[n], cost before, cost after)."""
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
