# The best of at most three moves, by bounded enumeration. Included by _core.pyx.

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
