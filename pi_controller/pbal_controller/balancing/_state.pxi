# One problem while it is being searched: fields, gains, limits. Included by _core.pyx.

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
    bint pure                    # C[h, g, :] sums to zero: the neutral alone is priced
    double *spreads              # [n, n] largest less least of C[h, g, :], h < g; only where not pure
    double end_s                 # on the clock of now_s; infinity: take the time it takes


cdef struct Kept:                # an assignment to go back to
    signed char *x
    double *field
    double *phase_re
    double *phase_im
    Py_ssize_t moved


cdef double now_s() noexcept nogil:
    cdef timespec ts
    clock_gettime(CLOCK_MONOTONIC, &ts)
    return <double>ts.tv_sec + 1e-9 * <double>ts.tv_nsec


cdef inline bint late(const Problem *p) noexcept nogil:
    # No clock is read without a limit: the answer then depends on nothing but the seed.
    return p.end_s < INFINITY and now_s() >= p.end_s


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


cdef void field_of(Py_ssize_t n, const double *row, const signed char *x,
                   double *field) noexcept nogil:
    """Field of one home, [3], from its row of the Gram array, [n, 3]."""
    cdef Py_ssize_t g
    cdef int q
    cdef double f0 = 0.0, f1 = 0.0, f2 = 0.0
    cdef int turn[5]
    # C[h, g, (r - q) mod 3] stands at turn[r + 2 - q]
    turn[0] = 1
    turn[1] = 2
    turn[2] = 0
    turn[3] = 1
    turn[4] = 2
    for g in range(n):
        q = x[g]
        f0 += row[3 * g + turn[2 - q]]
        f1 += row[3 * g + turn[3 - q]]
        f2 += row[3 * g + turn[4 - q]]
    field[0] = f0
    field[1] = f1
    field[2] = f2


cdef void refresh(Problem *p) noexcept nogil:
    """Field, phase sums and moved count from scratch, for the phases in p.x."""
    cdef Py_ssize_t h, r
    cdef int q
    p.moved = 0
    for h in range(p.n):
        field_of(p.n, p.gram + 3 * h * p.n, p.x, p.field + 3 * h)
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
