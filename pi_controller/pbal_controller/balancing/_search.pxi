# Descent over moves and pairs, relief of overloads, kicks. Included by _core.pyx.

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
                    if p.max_moves >= 0:
                        # First, because once K have moved hardly any pair is left, and the
                        # Gram of the others need not be fetched.
                        m = p.moved + moved_after(p, h, q) + moved_after(p, g, v)
                        if m > p.max_moves:
                            continue
                    delta = d_h + move_delta(p, g, v) + pair_delta(p, h, q, g, v)
                    if delta < best:
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
